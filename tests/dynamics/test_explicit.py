"""Explicit solvent keeps the conserved water between E353 and R394, unless a ligand lies there."""

from __future__ import annotations

import numpy as np
import openmm
import pandas
import pytest
from openmm import app, unit

from esr1md.analysis.observe import load_frames
from esr1md.complex import _add_conserved_water, build_complex
from esr1md.dynamics.output import BOX_COLUMNS
from esr1md.dynamics.protocol import Protocol, load_protocol
from esr1md.dynamics.run import simulate
from esr1md.receptor.build import build_receptor
from esr1md.receptor.surroundings import WATERS
from esr1md.specs import WILD_TYPE, HelixState
from systems import CPU


@pytest.fixture(scope="module")
def receptor(tmp_path_factory):
    return build_receptor(WILD_TYPE, HelixState.ANTAGONIST, tmp_path_factory.mktemp("receptor"))


def oxygens(topology, positions) -> np.ndarray:
    """Oxygens of all waters, w x 3, angstrom."""
    index = [a.index for a in topology.atoms() if a.residue.name == "HOH" and a.name == "O"]
    return np.asarray(positions)[index] * 10


@pytest.mark.slow
def test_explicit_solvent_goes_around_the_conserved_water(receptor):
    made = build_complex(receptor.pdb, None, None, load_protocol("explicit"))
    waters = oxygens(made.topology, made.positions)
    place = np.linalg.norm(waters - np.array(receptor.conserved_water), axis=1)
    assert len(waters) > 5000 and np.sort(place)[0] < 0.01 and np.sort(place)[1] > 2.0
    assert made.system.getNumParticles() == made.topology.getNumAtoms() == len(made.positions)


def test_implicit_solvent_has_no_water(receptor):
    made = build_complex(receptor.pdb, None, None, load_protocol("quick"))
    assert len(oxygens(made.topology, made.positions)) == 0


@pytest.mark.parametrize(("away_nm", "kept"), [(0.1, False), (0.5, True)])
def test_a_ligand_in_its_place_displaces_the_water(receptor, away_nm, kept):
    pdb = app.PDBFile(str(receptor.pdb))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"))
    topology.addAtom("C1", app.Element.getBySymbol("C"), residue)
    oxygen = np.array(receptor.conserved_water) / 10
    heavy = np.array([a.element.symbol != "H" for a in modeller.topology.atoms()])
    others = np.array(pdb.positions.value_in_unit(unit.nanometer))[heavy]
    assert np.linalg.norm(others - oxygen, axis=1).min() > 0.23
    modeller.add(topology, [oxygen + [away_nm, 0, 0]] * unit.nanometer)
    _add_conserved_water(modeller, receptor.pdb.with_name(WATERS))
    assert (len(oxygens(modeller.topology, modeller.positions.value_in_unit(unit.nanometer))) == 1) is kept


@pytest.mark.slow
def test_four_site_water_and_amber19_run_with_a_barostat_and_say_how_large_the_box_was(receptor, tmp_path):
    """OPC in a small box: the conserved water has its fourth site, the box is recorded."""
    data = load_protocol("production").model_dump(mode="json")
    data["solvent"]["padding_angstrom"] = 4
    data["stages"] = [
        {"kind": "minimise", "iterations": 25},
        {"kind": "produce", "duration_ps": 0.032, "frame_ps": 0.016},
    ]
    protocol = Protocol(**data)
    made = build_complex(receptor.pdb, None, None, protocol, seed=3)
    sites = [a for a in made.topology.atoms() if a.residue.name == "HOH" and a.element is None]
    assert len(sites) == len(oxygens(made.topology, made.positions)) > 2000
    assert made.system.getParticleMass(sites[0].index)._value == 0
    assert any(a.residue.name in ("NA", "CL") for a in made.topology.atoms())
    record = simulate(made, protocol, seed=1, platform=CPU, folder=tmp_path)
    assert record.n_frames == 2 and record.n_atoms_mobile == len(made.positions) - len(sites)
    rows = pandas.read_parquet(tmp_path / "energies.parquet")
    assert rows[list(BOX_COLUMNS)].notna().all(axis=None)
    edges = rows[["box_a_nm", "box_b_nm", "box_c_nm"]].to_numpy()
    np.testing.assert_allclose(edges, edges[:, :1] * np.ones(3), rtol=1e-4)  # a rhombic dodecahedron
    np.testing.assert_allclose(rows["volume_nm3"], edges[:, 0] ** 3 * np.sqrt(0.5), rtol=1e-3)
    frames = load_frames(tmp_path)
    assert frames.n_atoms == len(made.solute_atoms) and frames.unitcell_vectors is not None
    assert 50 < record.temperature_kelvin < 1000


@pytest.mark.slow
def test_gbn2_is_built_and_its_energy_is_finite(receptor, tmp_path):
    data = load_protocol("standard").model_dump(mode="json")
    data["solvent"]["model"] = "gbn2"
    made = build_complex(receptor.pdb, None, None, Protocol(**data))
    assert any(isinstance(force, openmm.CustomGBForce) for force in made.system.getForces())
    found = simulate(made, Protocol(**data), seed=1, platform=CPU, folder=tmp_path, dry=True)
    assert -80_000 < found.energy < -20_000
