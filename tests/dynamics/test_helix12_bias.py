from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import openmm
import pytest
import yaml
from pydantic import ValidationError

import double_well
from double_well import Run
from esr1md.catalogue import data_path
from esr1md.dynamics.helix12_bias import (
    AGONIST_BASIN,
    ANCHORS,
    ANTAGONIST_BASIN,
    HELIX12_HALVES,
    Bias,
    Helix12Bias,
    Hills,
    coordinate,
    helix12_groups,
    install,
    price,
)
from esr1md.dynamics.protocol import Region, load_protocol
from esr1md.dynamics.region import Subsystem, extract, select_region, whole
from esr1md.errors import InputError, StageError
from esr1md.receptor.frame import CORE, bundled_model, model_alpha_carbons
from systems import CPU, apo_complex

#: The biased part of a protocol, as a user writes it; the defaults.
YAML = """
height_kcal: 0.2 kcal/mol
width_angstrom: 0.025 nm
bias_factor: 15
deposit_ps: 5 ps
minimum_angstrom: -5
maximum_angstrom: 5.5
off_line_angstrom: 0.8 nm
wall_kcal_per_angstrom2: 20
"""

#: The protocol that drives helix 12, whole.
PROTOCOL = (data_path("configs") / "protocols" / "helix12-metadynamics.yaml").read_text()


# --- the coordinate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "basin"),
    [
        ("agonist", AGONIST_BASIN),
        ("agonist-5WGD", AGONIST_BASIN),
        ("agonist-2P15", AGONIST_BASIN),
        ("antagonist", ANTAGONIST_BASIN),
        ("antagonist-1XPC", ANTAGONIST_BASIN),
    ],
)
def test_every_bundled_model_lies_in_its_basin_and_on_the_line(model, basin):
    s, z = coordinate(model_alpha_carbons(bundled_model(model)))
    assert basin[0] + 0.6 < s < basin[1] - 0.6
    assert z < 0.8


def test_the_displaced_place_has_the_s_of_the_antagonist_one_but_lies_off_the_line():
    s, z = coordinate(model_alpha_carbons(bundled_model("displaced")))
    assert ANTAGONIST_BASIN[0] < s < ANTAGONIST_BASIN[1]
    assert z > 1.5


def test_a_helix_12_turned_round_in_its_place_is_seen():
    """Its centroid alone would not show that it points the other way."""
    alpha = dict(model_alpha_carbons(bundled_model("antagonist")))
    numbers = range(538, 545)
    place = [alpha[n] for n in numbers]
    alpha.update(zip(numbers, reversed(place), strict=True))
    s, z = coordinate(alpha)
    assert s < coordinate(model_alpha_carbons(bundled_model("antagonist")))[0] - 0.3
    assert z > 2


def test_anchors_are_of_the_core_and_never_of_the_loop_or_helix_12():
    anchors = {n for group in ANCHORS for n in group}
    helix12 = {n for half in HELIX12_HALVES for n in half}
    assert anchors <= set(CORE)
    assert not anchors & (set(range(527, 553)) | helix12)


# --- settings -------------------------------------------------------------------------------------------


def test_settings_read_units():
    settings = Helix12Bias(**yaml.safe_load(YAML))
    assert settings == Helix12Bias()
    assert settings.grid_angstrom[[0, -1]] == pytest.approx([-7, 7.5])


def test_a_protocol_holds_them(tmp_path):
    path = tmp_path / "helix12-metadynamics.yaml"
    path.write_text(PROTOCOL)
    assert load_protocol(str(path)).production.helix12_bias == Helix12Bias()


def test_a_misspelt_key_is_answered_at_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(PROTOCOL.replace("bias_factor", "bias_faktor"))
    line = 1 + PROTOCOL.split("bias_factor")[0].count("\n")
    with pytest.raises(InputError, match=rf"mine.yaml:{line}: unknown key 'bias_faktor'.*bias_factor"):
        load_protocol(str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height_kcal": 0}, "greater than 0"),
        ({"bias_factor": 1}, "greater than 1"),
        ({"minimum_angstrom": -4}, "cut into where helix 12 lies"),
        ({"maximum_angstrom": 4}, "cut into where helix 12 lies"),
        ({"minimum_angstrom": 6, "maximum_angstrom": -6}, "cut into where helix 12 lies"),
        ({"maximum_angstrom": 25}, "less than or equal to 12"),
        ({"off_line_angstrom": 1}, "greater than or equal to 4"),
        ({"grid_points": 50}, "too coarse .* at least 117"),
        ({"width_angstrom": "10 ps"}, "is a time"),
        ({"hight_kcal": 1}, "unknown key 'hight_kcal'"),
        ({"height_kcal": float("nan")}, "finite"),
        ({"wall_kcal_per_angstrom2": 0.1}, "greater than or equal to 5"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(changes, message):
    with pytest.raises(ValidationError, match=message):
        Helix12Bias(**changes)


def test_the_grid_that_the_refusal_asks_for_is_accepted():
    assert len(Helix12Bias(grid_points=117).grid_angstrom) == 117


def test_filling_time_is_that_of_hills_laid_evenly_one_by_one():
    settings = Helix12Bias(bias_factor=6, height_kcal=0.01)
    kt, length = 8.31446261815324e-3 / 4.184 * 300, 10.5
    bias, n = 0.0, 0
    while bias < 7 * 5 / 6:
        bias += 0.01 * np.exp(-bias / (5 * kt)) * 0.25 * np.sqrt(2 * np.pi) / length
        n += 1
    assert settings.filling_ps(7.0) == pytest.approx(5.0 * n, rel=0.01)


def test_the_price_says_when_production_cannot_even_fill_the_wells():
    assert "2 x 1 ns" in price(Helix12Bias(), 1000, 2) and "longer than this production" in price(
        Helix12Bias(), 1000, 2
    )
    assert "longer than this production" not in price(Helix12Bias(), 500_000, 4)


# --- hills, chunks, checkpoints -------------------------------------------------------------------------


def test_hills_are_laid_at_the_same_steps_whatever_the_chunks():
    at_once = Run()
    at_once.step(200)
    in_chunks = Run()
    for chunk in (1, 19, 20, 33, 7, 80, 40):
        in_chunks.step(chunk)
    assert at_once.bias.deposit_steps == 20
    np.testing.assert_allclose(at_once.bias.hills().time_ps, np.arange(1, 11) * 0.4)
    for name in ("time_ps", "s_angstrom", "height_kcal"):
        np.testing.assert_array_equal(getattr(at_once.bias.hills(), name), getattr(in_chunks.bias.hills(), name))
    np.testing.assert_array_equal(at_once.positions(), in_chunks.positions())


def test_a_halved_time_step_lays_hills_at_the_same_times():
    run = Run(per_step=4)
    run.step(100)
    np.testing.assert_allclose(run.bias.hills().time_ps, np.arange(1, 6) * 0.4)
    assert run.context.getStepCount() == 400
    assert run.context.getTime()._value == pytest.approx(100 * double_well.STEP_FS / 1000)


def test_the_first_hill_is_whole_and_later_ones_on_it_are_tempered():
    run = Run()
    run.step(2000)
    heights = run.bias.hills().height_kcal
    assert heights[0] == pytest.approx(double_well.SETTINGS.height_kcal)
    assert heights.min() < 0.7 * heights[0] and (heights > 0).all()


def test_a_resumed_run_is_the_uninterrupted_one():
    whole_run = Run(seed=5)
    whole_run.step(1000)
    first = Run(seed=5)
    first.step(507)  # between two hills
    state, blob = {k: v.copy() for k, v in first.bias.state().items()}, first.context.createCheckpoint()
    first.step(60)  # what came after the checkpoint is lost
    second = Run(seed=9)
    second.context.loadCheckpoint(blob)
    second.bias.restore(second.context, state)
    assert len(second.bias.hills().time_ps) == 25
    second.step(493)
    np.testing.assert_array_equal(second.positions(), whole_run.positions())
    for key, value in whole_run.bias.state().items():
        np.testing.assert_array_equal(second.bias.state()[key], value)


def test_a_bias_can_be_taken_back_in_the_same_context():
    run = Run(seed=3)
    run.step(400)
    state, blob = run.bias.state(), run.context.createCheckpoint()
    run.step(300)
    run.context.loadCheckpoint(blob)
    run.bias.restore(run.context, state)
    run.step(300)
    again = Run(seed=3)
    again.step(700)
    np.testing.assert_array_equal(run.positions(), again.positions())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("hills"), "lacks hills"),
        (lambda state: state.update(grid_kj=np.zeros(7)), r"grid of shape \(7,\); expected \(\d+,\)"),
        (lambda state: state.update(grid_kj=state["grid_kj"] * np.nan), "expected"),
    ],
)
def test_a_state_of_another_bias_is_refused(change, message):
    run = Run()
    run.step(100)
    state = run.bias.state()
    change(state)
    with pytest.raises(StageError, match=message):
        run.bias.restore(run.context, state)


def test_an_explosion_lays_no_hill():
    run = Run()
    run.step(200)
    before = run.bias.state()
    run.put(float("nan"))
    with pytest.raises(openmm.OpenMMException):
        run.step(20)
    for key in ("grid_kj", "hills"):
        np.testing.assert_array_equal(run.bias.state()[key], before[key])


def test_hills_survive_their_file(tmp_path):
    run = Run()
    run.step(500)
    run.bias.hills().write(tmp_path / "hills.csv")
    found = Hills.read(tmp_path / "hills.csv")
    np.testing.assert_allclose(found.s_angstrom, run.bias.hills().s_angstrom, atol=1e-5)
    np.testing.assert_allclose(found.height_kcal, run.bias.hills().height_kcal, rtol=1e-5)
    Hills(*np.empty((3, 0))).write(tmp_path / "none.csv")
    assert Hills.read(tmp_path / "none.csv").time_ps.shape == (0,)
    (tmp_path / "bad.csv").write_text("time_ps,s_angstrom\n1,2\n")
    with pytest.raises(StageError, match="three columns"):
        Hills.read(tmp_path / "bad.csv")


# --- forces ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "kcal"),
    [
        (-0.3, 0.0, 0.0),
        (-0.6, 0.0, 20 * 1.0**2),  # s = -6
        (0.6, 0.0, 20 * 0.5**2),  # s = 6
        # z = sqrt(9.25^2 + 15^2) - 9.25 = 8.37
        (0.0, 1.5, 20 * (8.373**2 - 8**2) ** 2 / (4 * 8**2)),
    ],
)
def test_walls_cost_k_times_distance_squared_beyond_them_and_nothing_within(x, y, kcal):
    run = Run()
    run.put(x, y)
    # group 0 also holds the well, whose energy here is known
    well = double_well.potential_kcal(np.array(10 * x), 0.0) + 2000 * y**2 / 4.184
    energy = run.context.getState(energy=True, groups={0}).getPotentialEnergy()._value / 4.184
    assert energy - well == pytest.approx(kcal, abs=0.02)
    assert np.isfinite(run.context.getState(forces=True).getForces(asNumpy=True)._value).all()


def test_the_bias_pushes_as_its_hills_say():
    run = Run()
    run.step(2000)
    grid, bias = double_well.SETTINGS.grid_angstrom, run.bias.state()["grid_kj"]
    for s in (-3.55, -3.1, -2.5):
        run.put(s / 10)
        force = run.context.getState(forces=True, groups={run.bias.force_group}).getForces(asNumpy=True)._value[0]
        slope = np.interp(s, grid, np.gradient(bias, grid / 10))
        assert force[0] == pytest.approx(-slope, rel=0.1, abs=2)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("periodic", [False, True])
def test_forces_agree_with_reference_also_in_a_periodic_box(platform, periodic):
    system = double_well.system(periodic=periodic)
    bias = Bias(
        system, double_well.GROUPS, double_well.LINE, double_well.SETTINGS, temperature_kelvin=300, time_step_fs=20
    )
    assert system.usesPeriodicBoundaryConditions() is periodic
    integrator = openmm.VerletIntegrator(0.02)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions([[0.21, 0.03, 0.02], [-0.925, 0, 0], [0.925, 0, 0]])
    assert bias.value(context) == pytest.approx(2.1, abs=0.05)
    bias.step(context, integrator, 40)
    before = bias.state()
    assert bias.force_error(context) < 1e-4
    for key, value in bias.state().items():
        np.testing.assert_array_equal(value, before[key])
    if periodic:  # a particle in another image of the box (5 nm) is where it was
        here = bias.value(context)
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value
        context.setPositions(positions + [[5.0, 0, 0], [0, 0, 0], [0, 0, 0]])
        assert bias.value(context) == pytest.approx(here, abs=1e-4)


def test_a_force_that_is_wrong_is_seen():
    run = Run()
    wrong = copy.copy(run.bias._coordinate)
    wrong.setEnergyFunction("0.5*distance(g1,g2)-0.45*distance(g1,g3)")
    run.bias._coordinate = wrong
    assert run.bias.force_error(run.context) > 0.03


@pytest.fixture(scope="module")
def vacuum():
    """The bundled agonist model without its solvent force, which is most of a step."""
    complex_ = apo_complex()
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(complex_.system))
    for i in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(i), openmm.GBSAOBCForce):
            system.removeForce(i)
    return replace(complex_, system=system)


def driven(complex_, sub: Subsystem, slope_kj_per_nm: float, steps: int) -> tuple[float, float, float, Bias]:
    """s before and after ``steps`` under a bias of constant slope, and the error of its forces."""
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(sub.system))
    sub = replace(sub, system=system)
    bias = install(sub, complex_, Helix12Bias(deposit_ps=0.05), temperature_kelvin=300, time_step_fs=2)
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.002)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, CPU.platform(), CPU.properties)
    context.setPositions(complex_.positions[sub.atoms])
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=20)
    context.setVelocitiesToTemperature(100, 1)
    state = bias.state()
    slope = slope_kj_per_nm * bias.settings.grid_angstrom / 10
    bias.restore(context, state | {"grid_kj": slope - slope.min()})
    before = bias.value(context)
    error = bias.force_error(context)
    bias.step(context, integrator, steps)
    return before, bias.value(context), error, bias


@pytest.mark.slow
def test_helix_12_of_the_whole_domain_is_driven_with_right_forces(vacuum):
    start, _ = coordinate(model_alpha_carbons(bundled_model("agonist")))
    before, after, error, bias = driven(vacuum, whole(vacuum), -6000.0, 50)
    assert before == pytest.approx(start, abs=0.3)
    assert error < 1e-3
    np.testing.assert_allclose(bias.hills().time_ps, [0.05, 0.1])
    opposite = driven(vacuum, whole(vacuum), 6000.0, 50)
    assert opposite[1] + 0.2 < before < after - 0.2


def test_fixed_anchors_of_a_wide_region_count_like_mobile_ones(vacuum):
    atoms, mobile = select_region(vacuum, Region(mobile_angstrom=4, shell_angstrom=14))
    sub = extract(vacuum, atoms, mobile)
    groove = helix12_groups(sub, vacuum)[-1]
    assert {sub.system.getParticleMass(i)._value for i in groove} == {0.0}
    before, after, error, _ = driven(vacuum, sub, -6000.0, 50)
    assert before == pytest.approx(coordinate(model_alpha_carbons(bundled_model("agonist")))[0], abs=0.3)
    assert error < 1e-3 and after > before + 0.15


# --- refusals -------------------------------------------------------------------------------------------


def test_a_region_without_the_groove_is_refused_with_the_residues():
    complex_ = apo_complex()
    region = Region(mobile_angstrom=4, shell_angstrom=2.5, helix12=(527, 547))  # the quick protocol's
    sub = extract(complex_, *select_region(complex_, region))
    n_forces = sub.system.getNumForces()
    with pytest.raises(StageError, match=r"leaves out residues \[.*\b37\d\b.*\].*whole domain"):
        install(sub, complex_, Helix12Bias(), temperature_kelvin=300, time_step_fs=4)
    assert sub.system.getNumForces() == n_forces


def test_a_fixed_helix_12_is_refused():
    complex_ = apo_complex()
    n = complex_.system.getNumParticles()
    mobile = np.ones(n, dtype=bool)
    residues = [r for r in complex_.topology.residues() if r.id == "540"]
    mobile[[atom.index for atom in residues[0].atoms()]] = False
    sub = Subsystem(complex_.system, np.arange(n), mobile)
    with pytest.raises(StageError, match=r"residues \[540\] are fixed"):
        helix12_groups(sub, complex_)


def test_a_receptor_without_helix_12_is_refused():
    complex_ = apo_complex()
    atoms = list(complex_.topology.atoms())
    kept = np.array([i for i in complex_.receptor_atoms if atoms[i].residue.id not in ("543", "544")])
    with pytest.raises(StageError, match=r"lacks residues \[543, 544\]"):
        helix12_groups(whole(complex_), replace(complex_, receptor_atoms=kept))
