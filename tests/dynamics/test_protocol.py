from __future__ import annotations

import pytest
from pydantic import ValidationError

from esr1md.dynamics.protocol import Protocol, load_protocol


@pytest.mark.parametrize("name", ["quick", "standard", "explicit", "production"])
def test_shipped_protocols_load_under_their_own_name(name):
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.production.kind == "produce"
    assert protocol.dynamics_ps > protocol.production.duration_ps


def changed(**changes) -> dict:
    return load_protocol("quick").model_dump(mode="json") | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_step_fs": 4, "hydrogen_mass_dalton": 1.008}, "unstable"),
        ({"time_step_fs": 5}, "unstable"),
        ({"time_step_fs": -1}, "greater than or equal to 0.1"),
        ({"time_step_fs": 0.004}, "greater than or equal to 0.1"),  # ps
        ({"temperature_kelvin": 27}, "greater than or equal to 100"),  # degrees Celsius
        ({"hydrogen_mass_dalton": 30}, "less than or equal to 5"),
        ({"solvent": {"model": "obc2", "cutoff_angstrom": 1.2}}, "greater than or equal to 5"),  # nm
        (
            {
                "stages": [
                    {"kind": "minimise", "iterations": 5, "restrain": {"selection": "CA;", "kcal_per_angstrom2": 1}}
                ]
            },
            "neither one of solute-heavy.* nor an MDTraj selection",
        ),
        ({"stages": []}, "exactly one produce stage"),
        ({"stages": [{"kind": "equilibrate", "duration_ps": 1}]}, "exactly one produce stage"),
        (
            {"stages": [{"kind": "produce", "duration_ps": 1, "frame_ps": 1}, {"kind": "minimise", "iterations": 5}]},
            "as its last stage",
        ),
        ({"stages": [{"kind": "produce", "duration_ps": 1, "frame_ps": 2}]}, "no frame would be kept"),
        ({"region": None}, "needs a region"),
        ({"solvent": {"model": "tip3p", "cutoff_angstrom": 9}}, "cannot stand in for a water box"),
        ({"solvent": {"model": "tip3p"}, "region": None, "scoring": {}}, "needs cutoff_angstrom"),
        ({"region": {"helix12": [550, 527]}}, "not a residue range"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_impossible_protocols_are_refused_with_the_reason(changes, message):
    with pytest.raises(ValidationError, match=message):
        Protocol(**changed(**changes))


def test_light_hydrogens_allow_two_femtoseconds():
    assert Protocol(**changed(time_step_fs=2, hydrogen_mass_dalton=1.008)).time_step_fs == 2


def test_steps_count_whole_time_steps():
    protocol = load_protocol("quick")
    assert protocol.steps(1.0) == round(1000 / protocol.time_step_fs)
    assert protocol.steps(1e-6) == 1


def test_a_selection_may_be_mdtrajs_own():
    restrain = {"selection": "residue 537 to 544 and name CA", "kcal_per_angstrom2": 1}
    stages = [{"kind": "minimise", "iterations": 5, "restrain": restrain}]
    stages += [{"kind": "produce", "duration_ps": 1, "frame_ps": 1}]
    assert Protocol(**changed(stages=stages)).stages[0].restrain.selection == restrain["selection"]
