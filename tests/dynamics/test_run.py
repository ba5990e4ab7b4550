from __future__ import annotations

import json

import mdtraj
import numpy as np
import openmm
import pandas
import pytest

from esr1md.complex import GROUP_RESTRAINT
from esr1md.dynamics.output import BOX_COLUMNS
from esr1md.dynamics.protocol import Minimise, Region
from esr1md.dynamics.region import extract, select_region
from esr1md.dynamics.restraints import add_restraint, set_restraint
from esr1md.dynamics.run import simulate
from systems import CPU, apo_complex, hydroxytamoxifen_complex, tiny_protocol


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replica")
    seen = []
    record = simulate(
        hydroxytamoxifen_complex(), tiny_protocol(), seed=1, platform=CPU, folder=folder,
        progress=lambda stage, fraction: seen.append((stage, fraction)),
    )  # fmt: skip
    return folder, record, seen


def test_writes_frames_of_the_whole_solute(finished):
    folder, record, _ = finished
    trajectory = mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    assert trajectory.n_frames == record.n_frames == 3
    assert trajectory.n_atoms == len(hydroxytamoxifen_complex().solute_atoms)
    np.testing.assert_allclose(trajectory.time, [0.04, 0.08, 0.12], atol=1e-4)


def test_only_the_mobile_atoms_moved(finished):
    folder, record, _ = finished
    trajectory = mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    start = hydroxytamoxifen_complex().positions
    moved = np.linalg.norm(trajectory.xyz[-1] - start, axis=1) > 0.002
    assert 0.7 * record.n_atoms_mobile < moved.sum() <= record.n_atoms_mobile


def test_the_final_structure_is_the_last_frame(finished):
    folder, _, _ = finished
    trajectory = mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    final = mdtraj.load(str(folder / "final.pdb"))
    np.testing.assert_allclose(final.xyz[0], trajectory.xyz[-1], atol=2e-3)


def test_energies_and_progress_are_complete(finished):
    folder, record, seen = finished
    rows = pandas.read_parquet(folder / "energies.parquet")
    assert set(rows["stage"]) == {"heat", "produce"} and (rows["stage"] == "produce").sum() == 3
    assert np.isfinite(rows[["potential_kj", "kinetic_kj", "temperature_kelvin"]]).all(axis=None)
    assert rows[list(BOX_COLUMNS)].isna().all(axis=None), "no periodic box"
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)
    assert json.loads((folder / "simulation.json").read_text())["n_frames"] == record.n_frames


def test_same_seed_same_trajectory_other_seed_another(tmp_path):
    protocol = tiny_protocol()
    xyz = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        folder = tmp_path / name
        folder.mkdir()
        simulate(apo_complex(), protocol, seed=seed, platform=CPU, folder=folder)
        xyz.append(mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb")).xyz)
    assert np.array_equal(xyz[0], xyz[1])
    assert not np.array_equal(xyz[0], xyz[2])


@pytest.mark.parametrize("selection", ["protein-heavy", "protein-backbone", "ligand-heavy", "solute-heavy"])
def test_a_restraint_costs_k_times_distance_squared_for_each_atom_it_selects(selection):
    complex_ = hydroxytamoxifen_complex()
    sub = extract(complex_, *select_region(complex_, Region()))
    restraint = add_restraint(sub, complex_)
    context = openmm.Context(sub.system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
    stage = Minimise(kind="minimise", iterations=1, restrain={"selection": selection, "kcal_per_angstrom2": 3.0})
    set_restraint(context, restraint, sub, complex_, stage.restrain)
    context.setPositions(complex_.positions[sub.atoms] + [0.02, 0.0, 0.0])
    energy = context.getState(energy=True, groups={GROUP_RESTRAINT}).getPotentialEnergy()._value / 4.184
    ligand = set(complex_.ligand_atoms.tolist())
    selected = {
        "protein-heavy": lambda a: a.index not in ligand,
        "protein-backbone": lambda a: a.name in ("N", "CA", "C", "O") and a.index not in ligand,
        "ligand-heavy": lambda a: a.index in ligand,
        "solute-heavy": lambda a: True,
    }[selection]
    mobile = set(sub.atoms[sub.mobile].tolist())
    n = sum(a.element.symbol != "H" and a.index in mobile and selected(a) for a in complex_.topology.atoms())
    assert n > 20
    assert energy == pytest.approx(n * 3.0 * 0.2**2, rel=1e-4)


def test_apo_passes_a_stage_that_restrains_the_ligand(tmp_path):
    stages = [
        {"kind": "minimise", "iterations": 5, "restrain": {"selection": "ligand-heavy", "kcal_per_angstrom2": 1}},
        {"kind": "produce", "duration_ps": 0.08, "frame_ps": 0.04},
    ]
    record = simulate(apo_complex(), tiny_protocol(stages=stages), seed=1, platform=CPU, folder=tmp_path)
    assert record.n_frames == 2
