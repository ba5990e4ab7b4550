"""Explicit solvent keeps the conserved water between E353 and R394, unless a ligand lies there."""

from __future__ import annotations

import numpy as np
import pytest
from openmm import app, unit

from esr1md.complex import _add_conserved_water, build_complex
from esr1md.dynamics.protocol import load_protocol
from esr1md.receptor.build import build_receptor
from esr1md.receptor.surroundings import WATERS
from esr1md.specs import WILD_TYPE, HelixState


@pytest.fixture(scope="module")
def receptor(tmp_path_factory):
    return build_receptor(WILD_TYPE, HelixState.ANTAGONIST, tmp_path_factory.mktemp("receptor"))


def oxygens(topology, positions) -> np.ndarray:
    """Oxygens of all waters, w x 3, angstrom."""
    index = [a.index for a in topology.atoms() if a.residue.name == "HOH" and a.element.symbol == "O"]
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
