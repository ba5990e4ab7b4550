"""A simulation that becomes unstable is rescued in documented steps, or fails with the atoms that did it."""

from __future__ import annotations

import dataclasses
import gzip

import numpy as np
import openmm
import pytest

from esr1md.complex import Complex
from esr1md.dynamics import rescue
from esr1md.dynamics.run import DryRun, simulate
from esr1md.errors import StageError
from systems import CPU, apo_complex, hydroxytamoxifen_complex, tiny_protocol

STAGES = [
    {"kind": "minimise", "iterations": 40, "solvent": False},
    {"kind": "equilibrate", "duration_ps": 0.08},
    {"kind": "produce", "duration_ps": 0.12, "frame_ps": 0.04},
]


@pytest.fixture(autouse=True)
def short_relaxation(monkeypatch):
    monkeypatch.setattr(rescue, "RELAX_ITERATIONS", 20)


def with_stiff_bond(kj_per_nm2: float) -> Complex:
    """Apo with a bond between two heavy atoms of helix 12 so stiff that large time steps are unstable."""
    complex_ = apo_complex()
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(complex_.system))
    force = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    names = {(a.residue.id, a.name): a.index for a in complex_.topology.atoms()}
    a, b = names[("540", "CG")], names[("540", "CD1")]
    for i in range(force.getNumBonds()):
        first, second, length, _ = force.getBondParameters(i)
        if {first, second} == {a, b}:
            force.setBondParameters(i, first, second, length, kj_per_nm2)
    return dataclasses.replace(complex_, system=system)


def stiffness(stable_fs: float) -> float:
    """Force constant whose harmonic limit (2 / omega) between two carbons with heavy hydrogens is ``stable_fs``."""
    # masses of L540 CG (one H taken from) and CD1 (three), Da: 10.0 and 6.0; the exact values only shift the limit
    reduced = 10.0 * 6.0 / 16.0
    return reduced * (2 / (stable_fs * 1e-3)) ** 2


def test_a_step_that_is_too_long_is_halved_until_it_is_stable_and_recorded(tmp_path):
    noted = []
    record = simulate(
        with_stiff_bond(stiffness(2.6)), tiny_protocol(stages=STAGES), seed=1, platform=CPU, folder=tmp_path,
        note=lambda event, **fields: noted.append((event, fields)),
    )  # fmt: skip
    assert [fields for event, fields in noted if event == "rescue"] == record.rescues
    assert record.time_step_fs < 4.0 and record.n_frames == 3
    assert [entry["stage"] for entry in record.rescues][:1] == ["equilibrate"]
    first = record.rescues[0]
    assert {"LEU540"} >= {atom["residue"] for atom in first["worst_atoms"][:2]}
    assert all(atom["force"] > 0 for atom in first["worst_atoms"])
    assert "step 4 fs" in first["done"] and "step 2 fs" in record.rescues[1]["done"]
    state = openmm.XmlSerializer.deserialize(gzip.decompress((tmp_path / first["state"]).read_bytes()).decode())
    assert np.isfinite(state.getPositions(asNumpy=True)._value).all(), "the last good state can be looked at"


def test_what_no_step_can_save_fails_with_the_atoms_and_what_was_tried(tmp_path):
    with pytest.raises(StageError, match=r"unstable in stage equilibrate .* after 3 rescues .*down to 1 fs.*LEU540:C"):
        simulate(with_stiff_bond(stiffness(0.2)), tiny_protocol(stages=STAGES), seed=1, platform=CPU, folder=tmp_path)
    assert not list(tmp_path.glob("*checkpoint*")), "a failure is not gone on with"
    assert len(list(tmp_path.glob("unstable-*.xml.gz"))) == 1 + len(rescue.ATTEMPTS)


def test_atoms_on_each_other_are_named_before_anything_runs(tmp_path):
    complex_ = hydroxytamoxifen_complex()
    positions = complex_.positions.copy()
    names = {(a.residue.id, a.name): a.index for a in complex_.topology.atoms()}
    positions[complex_.ligand_atoms[1]] = positions[names[("525", "CD1")]] + 1e-4
    broken = dataclasses.replace(complex_, positions=positions)
    with pytest.raises(StageError, match=r"1 pairs of atoms lie on each other \(LEU525:CD1 and LIG1:.*: 0.00 A"):
        simulate(broken, tiny_protocol(), seed=1, platform=CPU, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_restraint_that_holds_nothing_is_refused(tmp_path):
    for selection, words in (
        ("residue 537 and name XX", "holds no atom that can move"),
        ("residue 400", "holds no atom of the simulated region"),
    ):
        stages = [{**STAGES[0], "restrain": {"selection": selection, "kcal_per_angstrom2": 1}}, *STAGES[1:]]
        with pytest.raises(StageError, match=f"'{selection}' {words}"):
            simulate(apo_complex(), tiny_protocol(stages=stages), seed=1, platform=CPU, folder=tmp_path)


def test_a_dry_run_builds_everything_and_runs_nothing(tmp_path):
    found = simulate(apo_complex(), tiny_protocol(), seed=1, platform=CPU, folder=tmp_path, dry=True)
    assert isinstance(found, DryRun) and np.isfinite(found.energy) and found.n_atoms_mobile < found.n_atoms_simulated
    assert found.steps == 50 and not list(tmp_path.iterdir())
