"""Cysteine-reactive groups found in a ligand, and the labels that must stand beside it."""

from __future__ import annotations

import pytest
from rdkit import Chem

from esr1md.ligand.catalogue import catalogue_entries, catalogue_entry, catalogue_ligand
from esr1md.ligand.labels import LOW_CONFIDENCE, NO_STRUCTURE, TERNARY, labels, labels_of
from esr1md.ligand.states import ligand_from_smiles
from esr1md.ligand.warheads import find_warheads

#: Group and the electrophilic carbon, marked by atom map 1 in the SMILES.
REACTIVE = {
    "CN(C)C(=O)/C=[CH:1]/C[NH2+]CCOc1ccccc1": "4-aminobut-2-enamide",
    "C/[CH:1]=C/C(=O)Nc1ccccc1": "crotonamide",
    "[CH2:1]=CC(=O)N1CCCCC1": "acrylamide",
    "[CH2:1]=C(C)C(=O)Nc1ccccc1": "acrylamide",
    "C[C:1]#CC(=O)N1CCCC1": "propynamide",
    "[CH2:1]=CS(=O)(=O)c1ccccc1": "vinyl sulfone",
    "[CH2:1]=CS(=O)(=O)Nc1ccccc1": "vinyl sulfonamide",
    "Cl[CH2:1]C(=O)Nc1ccccc1": "haloacetamide",
    "Cl[C@H:1](F)C(=O)Nc1ccccc1": "haloacetamide",
    "Cl[CH2:1]C(=O)Cc1ccccc1": "halomethyl ketone",
    "N#CC(=[CH:1]c1ccccc1)C(=O)N1CCCC1": "cyanoacrylamide",
    "[CH2:1]=CC(=O)OCC": "acrylate ester",
    "[CH2:1]=CC(=O)CCc1ccccc1": "enone",
    "O=[N+]([O-])/C=[CH:1]/c1ccccc1": "nitroalkene",
    "S=[C:1]=NCc1ccccc1": "isothiocyanate",
    "C1[CH2:1]O1": "epoxide",
}
UNREACTIVE = {
    "acrylic acid of a SERD": "OC(=O)/C=C/c1ccccc1",
    "its anion": "[O-]C(=O)/C=C/c1ccccc1",
    "acrylic acid": "C=CC(=O)O",
    "cinnamamide": "CNC(=O)/C=C/c1ccccc1",
    "chalcone": "O=C(/C=C/c1ccccc1)c1ccccc1",
    "enamine of an amide": "CN(C)/C=C/C(N)=O",
    "no hydrogen on the double bond": "CNC(=O)C=C(C)C",
    "saturated amide": "CCC(=O)NC",
    "dichloroacetamide": "ClC(Cl)C(=O)NCC",
    "chloroethyl of toremifene": "CN(C)CCOc1ccc(/C(=C(/CCCl)c2ccccc2)c2ccccc2)cc1",
    "enone of progesterone": "CC(=O)[C@H]1CC[C@H]2[C@@H]3CCC4=CC(=O)CC[C@]4(C)[C@H]3CC[C@]12C",
    "isoflavone": "O=c1c(-c2ccc(O)cc2)coc2cc(O)cc(O)c12",
    "dihydropyridine": "COC(=O)C1=C(C)NC(C)=C(C(=O)OC)C1c1ccccc1",
}


@pytest.mark.parametrize(("smiles", "group"), REACTIVE.items(), ids=REACTIVE.values())
def test_a_warhead_is_found_with_its_electrophilic_carbon(smiles, group):
    mol = Chem.MolFromSmiles(smiles)
    marked = next(a for a in mol.GetAtoms() if a.GetAtomMapNum())
    marked.SetAtomMapNum(0)
    found = find_warheads(mol)
    assert {each.group for each in found} == {group}
    assert marked.GetIdx() in {each.atom for each in found}
    assert find_warheads(Chem.AddHs(mol)) == found


@pytest.mark.parametrize("smiles", UNREACTIVE.values(), ids=UNREACTIVE)
def test_what_does_not_react_with_thiols_is_no_warhead(smiles):
    assert find_warheads(Chem.MolFromSmiles(smiles)) == ()


def test_a_symmetric_ring_has_two_electrophilic_carbons():
    for smiles, group in (("CCN1C(=O)C=CC1=O", "maleimide"), ("c1ccccc1OCCN1CC1", "aziridine")):
        found = find_warheads(Chem.MolFromSmiles(smiles))
        assert [each.group for each in found] == [group] * 2 and len({each.atom for each in found}) == 2


def test_of_the_catalogue_only_the_serca_is_covalent():
    covalent = [e.name for e in catalogue_entries() if e.smiles and find_warheads(Chem.MolFromSmiles(e.smiles))]
    assert covalent == ["H3B-6545"]


# --------------------------------------------------------------------------------------------- labels


def test_labels_of_the_catalogue():
    said = {entry.name: entry.labels for entry in catalogue_entries() if entry.labels}
    assert {name for name, each in said.items() if LOW_CONFIDENCE in each} == {
        entry.name for entry in catalogue_entries() if entry.confidence == "low" and entry.smiles
    }
    assert {name for name, each in said.items() if NO_STRUCTURE in each} == {"ZN-c5", "taragarestrant"}
    assert said["vepdegestrant"] == (TERNARY,)
    assert said["H3B-6545"][1] == "covalent warhead (4-aminobut-2-enamide), no bond to the receptor modelled"
    assert catalogue_entry("fulvestrant").labels == ()


def test_labels_come_from_the_structure_not_from_a_name():
    vepdegestrant = catalogue_ligand("vepdegestrant")
    own = ligand_from_smiles("mine", vepdegestrant.smiles)
    assert own.drug_class == "" and labels(own) == (TERNARY,)
    vhl = "Cc1ncsc1-c1ccc(CNC(=O)[C@@H]2C[C@@H](O)CN2C(=O)C)cc1"
    assert labels(ligand_from_smiles("degrader", vhl)) == (TERNARY,)
    assert labels_of("Oc1ccccc1", "SERD/PROTAC", "user") == (TERNARY,)
    assert labels(ligand_from_smiles("mine", "C=CC(=O)Nc1ccc(O)cc1"))[0].startswith("covalent warhead (acrylamide)")
    assert labels(ligand_from_smiles("mine", "O=C1CCC(=O)N1")) == ()
