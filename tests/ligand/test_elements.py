"""Phosphorus is parametrised, boron and silicon are refused with the reason; phosphate acids are no stereocentres."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.ligand.parameters import parametrise
from esr1md.ligand.states import ligand_from_smiles


@pytest.mark.parametrize(
    ("smiles", "charge"),
    [("OP(=O)(O)Oc1ccc(O)cc1", -2), ("CCOP(=O)(OCC)Cc1ccc(O)cc1", 0), ("COP(=O)(O)Cc1ccc(O)cc1", -1)],
    ids=["phosphate", "phosphonate diester", "phosphonate monoester"],
)
def test_phosphorus_has_gaff2_parameters_and_charges(smiles, charge, tmp_path):
    ligand = ligand_from_smiles("mine", smiles)
    parameters = parametrise(ligand, tmp_path)
    assert ligand.formal_charge == charge and parameters.warnings == ()
    assert sum(parameters.charges) == pytest.approx(charge, abs=1e-6)
    mol = parameters.molecule()
    phosphorus = next(a for a in mol.GetAtoms() if a.GetSymbol() == "P")
    assert 0.8 < parameters.charges[phosphorus.GetIdx()] < 2.0
    xyz = mol.GetConformer().GetPositions()
    for other in phosphorus.GetNeighbors():
        length = np.linalg.norm(xyz[phosphorus.GetIdx()] - xyz[other.GetIdx()])
        assert 1.4 < length < (1.9 if other.GetSymbol() == "C" else 1.75)
    assert 'element="P"' in parameters.xml.read_text()


@pytest.mark.parametrize(
    ("smiles", "atom"),
    [("OB(O)c1ccccc1", "atom 2 is B"), ("CC[Si](C)(C)CCO", "atom 3 is Si")],
    ids=["boron", "silicon"],
)
def test_boron_and_silicon_are_refused_with_atom_and_reason(smiles, atom):
    with pytest.raises(InputError) as refused:
        ligand_from_smiles("mine", smiles)
    assert f"{atom}, for which GAFF2 has no atom type" in str(refused.value) and "\n" not in str(refused.value)


def test_borestrant_is_refused_for_its_boron():
    with pytest.raises(InputError, match="borestrant.*GAFF2 has no atom type for boron"):
        catalogue_ligand("borestrant")


@pytest.mark.parametrize(
    ("drawn", "simulated"),
    [
        ("COP(=O)(O)Oc1ccccc1", "COP(=O)([O-])Oc1ccccc1"),
        ("CO[P@](=O)(O)Oc1ccccc1", "COP(=O)([O-])Oc1ccccc1"),
        ("CS(=O)O", "CS(=O)[O-]"),
    ],
    ids=["phosphodiester", "drawn with a centre", "sulfinic acid"],
)
def test_an_acid_whose_oxygens_share_a_proton_is_no_stereocentre(drawn, simulated):
    assert ligand_from_smiles("mine", drawn).smiles == Chem.CanonSmiles(simulated)


def test_a_phosphonate_with_three_different_groups_is_a_stereocentre():
    with pytest.raises(InputError, match=r"undefined stereochemistry at atom 3 \(P\)"):
        ligand_from_smiles("mine", "COP(=O)(CC)Oc1ccccc1")
