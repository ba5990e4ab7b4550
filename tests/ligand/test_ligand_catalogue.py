"""The catalogue: complete, fully specified, and honest about what cannot be simulated."""

from __future__ import annotations

import csv
import re

import pytest
from rdkit import Chem

from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_entries, catalogue_entry, catalogue_ligand, catalogue_ligands
from esr1md.ligand.states import ELEMENTS
from esr1md.ligand.stereo import undefined_stereo

NOT_SIMULATED = {"ZN-c5": "no public structure", "taragarestrant": "no public structure", "borestrant": "boron"}

#: Charge of the simulated state, by chemistry: basic amines +1, acids -1, a zwitterion and phenols 0.
CHARGES = {
    "estradiol": 0,
    "diethylstilbestrol": 0,
    "estrone": 0,
    "tamoxifen": 1,
    "4-hydroxytamoxifen": 1,
    "endoxifen": 1,
    "raloxifene": 1,
    "lasofoxifene": 1,
    "bazedoxifene": 1,
    "toremifene": 1,
    "enclomifene": 1,
    "zuclomifene": 1,
    "fulvestrant": 0,
    "elacestrant": 1,
    "imlunestrant": 1,
    "camizestrant": 1,
    "giredestrant": 1,
    "amcenestrant": 0,
    "rintodestrant": -1,
    "brilanestrant": -1,
    "AZD9496": -1,
    "GDC-0927": 1,
    "LSZ102": -1,
    "palazestrant": 1,
    "H3B-6545": 1,
    "vepdegestrant": 1,
    "etacstil": -1,
    "GW7604": -1,
    "pipendoxifene": 1,
    "arzoxifene": 1,
    "ICI-164384": 0,
    "ospemifene": 0,
    "genistein": 0,
    "bisphenol A": 0,
}


def test_it_lists_37_compounds_of_which_34_are_simulated():
    entries = catalogue_entries()
    assert len(entries) == 37
    assert {e.name for e in entries if not e.simulated} == set(NOT_SIMULATED)
    assert [ligand.name for ligand in catalogue_ligands()] == [e.name for e in entries if e.simulated]


def test_it_agrees_with_the_reference_table(shared_data):
    with open(shared_data / "reference" / "ligands.csv", newline="") as handle:
        rows = {row["name"]: row for row in csv.DictReader(handle)}
    assert [e.name for e in catalogue_entries()] == list(rows)
    for entry in catalogue_entries():
        row = rows[entry.name]
        assert entry.drug_class == row["drug_class"]
        assert entry.confidence == row["confidence"]
        if row["isomeric_smiles"]:
            assert Chem.CanonSmiles(entry.smiles) == Chem.CanonSmiles(row["isomeric_smiles"])
            assert Chem.MolToInchiKey(Chem.MolFromSmiles(entry.smiles)) == row["inchikey"]
        else:
            assert entry.smiles is None


@pytest.mark.parametrize("ligand", catalogue_ligands(), ids=lambda ligand: ligand.name)
def test_every_simulated_ligand_is_fully_specified(ligand):
    mol = Chem.MolFromSmiles(ligand.smiles)
    assert undefined_stereo(mol) == []
    assert len(Chem.GetMolFrags(mol)) == 1
    assert {atom.GetSymbol() for atom in mol.GetAtoms()} <= ELEMENTS
    assert ligand.smiles == Chem.MolToSmiles(mol)
    assert ligand.formal_charge == Chem.GetFormalCharge(mol) == CHARGES[ligand.name]


@pytest.mark.parametrize("entry", [e for e in catalogue_entries() if e.simulated], ids=lambda e: e.name)
def test_the_simulated_state_is_the_registered_compound(entry):
    """Same skeleton (first InChIKey block); only protons, fulvestrant's sulfur and a tautomer may differ."""
    keys = [Chem.MolToInchiKey(Chem.MolFromSmiles(s)).split("-") for s in (entry.smiles, entry.simulated_smiles)]
    assert keys[0][0] == keys[1][0]
    if entry.name != "fulvestrant":
        assert keys[0][1] == keys[1][1]


def test_inchikeys_are_unique():
    ligands = catalogue_ligands()
    assert len({ligand.inchikey for ligand in ligands}) == len(ligands)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Fulvestrant", "fulvestrant"),
        ("faslodex", "fulvestrant"),
        ("ICI 182780", "fulvestrant"),
        ("4 OHT", "4-hydroxytamoxifen"),
        ("rad1901", "elacestrant"),
        ("BISPHENOL-A", "bisphenol A"),
    ],
)
def test_names_and_synonyms_are_found_however_written(typed, name):
    assert catalogue_ligand(typed).name == name


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match="unknown ligand 'fulvestrent'.*did you mean 'fulvestrant'"):
        catalogue_ligand("fulvestrent")


@pytest.mark.parametrize("name", NOT_SIMULATED)
def test_what_cannot_be_simulated_says_why(name):
    with pytest.raises(InputError, match=NOT_SIMULATED[name]):
        catalogue_ligand(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fulvestrant", r"\(R\)-sulfoxide is simulated"),
        ("vepdegestrant", "[Tt]ernary complex not modelled"),
        ("H3B-6545", "[Cc]ovalent to Cys530"),
        ("GW7604", "low confidence"),
        ("etacstil", "low confidence"),
        ("palazestrant", "low confidence"),
        ("genistein", "neutral"),
    ],
)
def test_notes_tell_the_reader_what_limits_a_score(name, said):
    assert re.search(said, catalogue_ligand(name).notes)


def test_the_named_sulfoxide_is_the_one_simulated():
    mol = Chem.MolFromSmiles(catalogue_ligand("fulvestrant").smiles)
    labels = dict(Chem.FindMolChiralCenters(mol, useLegacyImplementation=False))
    sulfur = next(atom.GetIdx() for atom in mol.GetAtoms() if atom.GetSymbol() == "S")
    assert labels[sulfur] == "R"


def test_texts_are_plain_facts():
    for entry in catalogue_entries():
        text = " ".join((entry.approval, entry.notes, entry.protonation, entry.source))
        assert not re.search(r"\bseeds?\b|from memory|unverified", text), entry.name
        assert "\n" not in entry.approval and entry.approval
        assert not entry.simulated or entry.protonation


def test_crystal_ids_at_hand_are_marked_checked(shared_data):
    have = {path.name[:4] for path in (shared_data / "pdb").glob("????.*")}
    named = {pdb.id: pdb.checked for entry in catalogue_entries() for pdb in entry.pdb}
    assert {"3ERT", "1ERR", "1QKU", "5WGD"} <= have & set(named)
    assert all(checked for code, checked in named.items() if code in have)


def test_an_entry_can_be_looked_up_without_simulating():
    assert catalogue_entry("ZB716").not_simulated
