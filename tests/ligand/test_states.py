"""A user's ligand: every bad input has one clear line, and good ones get the right charge."""

from __future__ import annotations

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.ligand.states import ligand_from_sdf, ligand_from_smiles

BAD_SMILES = {
    "": "empty SMILES",
    "c1ccc": "'c1ccc' cannot be parsed .syntax.",
    "CC(C)(C)(C)C": "cannot be parsed .*valence for atom # 1 C",
    "CCO ethanol": "text after the SMILES",
    "CN.Cl": "salt or mixture of CN, Cl.*perhaps CN",
    "[Na+].[O-]C(=O)CC": r"salt or mixture of CCC\(=O\)\[O-\], \[Na\+\]",
    "CC(F)Cl": r"undefined stereochemistry at atom 2 \(C\).*choose C\[C@@H\]\(F\)Cl or C\[C@H\]\(F\)Cl",
    "CCS(=O)C": r"undefined stereochemistry at atom 3 \(S\)",
    "CC=CC": r"undefined stereochemistry at bond 2=3 \(C=C\).*C/C=C/C",
    "FC(C)C(F)C(F)C(F)Cl": "or 12 more",
    "C[Fe]C": r"atom 2 is a metal \(Fe\)",
    "[CH2]C": r"atom 1 \(C\) is a radical",
    "[2H]OC": "isotope label 2",
    "[13CH3]O": r"atom 1 \(C\) carries the isotope label 13",
    "*CC": "atom 1 is a dummy",
    "CB(O)O": "atom 2 is B, for which GAFF2 has no atom type",
    "C[Si](C)(C)C": "atom 2 is Si",
    "C[Se]C": "atom 2 is Se",
    "FS(F)(F)(F)(F)c1ccccc1": "atom 2 is S with 6 neighbours, which GAFF2 cannot describe",
    "O": "no carbon atom",
    "C" * 151: "151 heavy atoms; expected at most 150",
}


@pytest.mark.parametrize("smiles", BAD_SMILES)
def test_bad_smiles_say_what_is_wrong_on_one_line(smiles):
    with pytest.raises(InputError, match=BAD_SMILES[smiles]) as caught:
        ligand_from_smiles("mine", smiles, where="screen.yaml:7")
    message = str(caught.value)
    assert message.startswith("screen.yaml:7: ") and "mine" in message and "\n" not in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", "apo", "a/b", "x" * 61])
def test_unusable_names(name):
    with pytest.raises(InputError):
        ligand_from_smiles(name, "CCO")


@pytest.mark.parametrize(("smiles", "state"), [
    ("CCN(CC)CC", "CC[NH+](CC)CC"),
    ("OC(=O)/C=C/c1ccccc1", "O=C([O-])/C=C/c1ccccc1"),
    ("Oc1ccccc1", "Oc1ccccc1"),
    ("O=[N+]([O-])c1ccc(O)cc1", "O=[N+]([O-])c1ccc([O-])cc1"),
    ("CN1CCN(C)CC1", "CN1CC[NH+](C)CC1"),
    ("FC(F)(F)CN(C)C", "CN(C)CC(F)(F)F"),
    ("FCCCN1CCC1", "FCCC[NH+]1CCC1"),
    ("Nc1ccccc1", "Nc1ccccc1"),
    ("c1ccncc1", "c1ccncc1"),
    ("CC(=N)N", "CC(N)=[NH2+]"),
    ("CC[S@](C)=O", "CC[S@](C)=O"),
])
def test_dominant_state_at_ph_7(smiles, state):
    ligand = ligand_from_smiles("mine", smiles)
    assert ligand.smiles == Chem.CanonSmiles(state)
    assert ligand.formal_charge == Chem.GetFormalCharge(Chem.MolFromSmiles(state))
    assert "pH 7.4" in ligand.notes and ligand.confidence == "user"


def test_a_charge_the_user_wrote_is_kept():
    ligand = ligand_from_smiles("mine", "CC[NH2+]c1ccccc1")
    assert ligand.smiles == Chem.CanonSmiles("CC[NH2+]c1ccccc1")
    assert "as given (charge +1)" in ligand.notes


@pytest.mark.parametrize("smiles", ["CCN=[N+]=[N-]", "CN=C=O", "CC(=N)N", "CC1=NCCC1", "C1=CCCCC1"])
def test_double_bonds_without_isomers_need_no_marks(smiles):
    assert ligand_from_smiles("mine", smiles).confidence == "user"


def test_spelling_does_not_change_identity():
    one, two = ligand_from_smiles("a", "OCC"), ligand_from_smiles("b", "[CH3:5][CH2]O")
    assert one.identity == two.identity


#: The automatic route differs from the curated state for these, with the reason.
KNOWN_DISAGREEMENTS = {"brilanestrant": "the registered SMILES draws the 2H-indazole, the stabler 1H is simulated"}


@pytest.mark.parametrize("entry", [e for e in catalogue_entries() if e.simulated], ids=lambda e: e.name)
def test_automatic_states_agree_with_the_curated_ones(entry):
    # fulvestrant's registered SMILES leaves the sulfoxide open, which a user's ligand may not
    neutral = entry.simulated_smiles if entry.name == "fulvestrant" else entry.smiles
    automatic, curated = ligand_from_smiles(entry.name, neutral), entry.ligand()
    assert automatic.formal_charge == curated.formal_charge
    assert (automatic.smiles != curated.smiles) == (entry.name in KNOWN_DISAGREEMENTS)


def _block(smiles: str, three_d: bool = True) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if three_d:
        assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    mol.SetProp("_Name", "from file")
    return Chem.MolToMolBlock(mol)


def test_sdf_stereochemistry_comes_from_its_coordinates(tmp_path):
    path = tmp_path / "mine.sdf"
    path.write_text(_block("C[C@H](F)Cl") + "$$$$\n")
    ligand = ligand_from_sdf(path)
    assert ligand.name == "from file"
    assert ligand.smiles == Chem.CanonSmiles("C[C@H](F)Cl")
    assert ligand_from_sdf(path, name="given").name == "given"
    assert "Coordinates of the file are not used" in ligand.notes


def test_a_protonated_nitrogen_is_no_stereocentre(tmp_path):
    path = tmp_path / "azetidine.sdf"
    path.write_text(_block("FCCC[NH+]1CC(O)C1") + "$$$$\n")
    assert ligand_from_sdf(path).smiles == ligand_from_smiles("mine", "FCCC[NH+]1CC(O)C1").smiles


def test_sdf_gets_the_dominant_state(tmp_path):
    path = tmp_path / "amine.mol"
    path.write_text(_block("CCN(C)C"))
    assert ligand_from_sdf(path).formal_charge == 1


def test_bad_sdf_files_say_what_is_wrong(tmp_path):
    good = _block("CCO")
    cases = {
        "empty.sdf": ("", "holds no molecule"),
        "only-end.sdf": ("$$$$\n", "holds no molecule"),
        "two.sdf": (good + "$$$$\n" + good + "$$$$\n", "holds 2 molecules"),
        "cut.sdf": (good[: len(good) // 2], "truncated"),
        "broken.sdf": (good.replace("V2000", "V2OOO"), "cannot be read"),
        "salt.sdf": (_block("CN.Cl", three_d=False), "salt or mixture"),
        "flat.sdf": (_block("CC(F)Cl", three_d=False), "undefined stereochemistry"),
    }
    for name, (text, message) in cases.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            ligand_from_sdf(path, where="screen.yaml:9")
        assert str(caught.value).startswith("screen.yaml:9: ") and name in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        ligand_from_sdf(tmp_path / "absent.sdf")
    with pytest.raises(InputError, match="cannot be read"):
        ligand_from_sdf(tmp_path)
