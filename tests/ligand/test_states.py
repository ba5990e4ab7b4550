"""A user's ligand: every bad input has one clear line, and good ones get the right charge."""

from __future__ import annotations

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_entries, catalogue_entry
from esr1md.ligand.protonation import find_sites, neutralised, protonation_states
from esr1md.ligand.states import (
    ligand_from_sdf,
    ligand_from_smiles,
    ligands_from_sdf,
    ligands_from_smiles,
    prepare_compound,
)
from esr1md.ligand.tautomers import canonical_tautomer

BAD_SMILES = {
    "": "empty SMILES",
    "c1ccc": "'c1ccc' cannot be parsed .syntax.",
    "CC(C)(C)(C)C": "cannot be parsed .*valence for atom # 1 C",
    "CCO ethanol": "text after the SMILES",
    "Oc1ccccc1.Nc1ccccc1": "a mixture of Oc1ccccc1, Nc1ccccc1; expected one compound.*perhaps",
    "C[C@@H](N)CC.C[C@H](N)CC": "a mixture of 2 stereoisomers",
    "CCO.CCN": "a mixture of CCO, CCN",  # ethanol is a solvent only of what is larger
    "[Na+].[Cl-]": "no organic compound, only sodium, chloride",
    "CC(F)Cl": r"undefined stereochemistry at atom 2 \(C\).*C\[C@@H\]\(F\)Cl or C\[C@H\]\(F\)Cl.*stereo: enumerate",
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


@pytest.mark.parametrize(
    ("smiles", "state"),
    [
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
    ],
)
def test_dominant_state_at_ph_7(smiles, state):
    ligand = ligand_from_smiles("mine", smiles)
    assert ligand.smiles == Chem.CanonSmiles(state)
    assert ligand.formal_charge == Chem.GetFormalCharge(Chem.MolFromSmiles(state))
    assert "pH 7.4" in ligand.notes and ligand.confidence == "user"


def test_a_charge_the_user_wrote_is_kept():
    ligand = ligand_from_smiles("mine", "CC[NH2+]c1ccccc1")
    assert ligand.smiles == Chem.CanonSmiles("CC[NH2+]c1ccccc1")
    assert "as given (protonated secondary amine; charge +1)" in ligand.notes


@pytest.mark.parametrize("smiles", ["CCN=[N+]=[N-]", "CN=C=O", "CC(=N)N", "CC1=NCCC1", "C1=CCCCC1"])
def test_double_bonds_without_isomers_need_no_marks(smiles):
    assert ligand_from_smiles("mine", smiles).confidence == "user"


def test_spelling_does_not_change_identity():
    one, two = ligand_from_smiles("a", "OCC"), ligand_from_smiles("b", "[CH3:5][CH2]O")
    assert one.identity == two.identity


@pytest.mark.parametrize("entry", [e for e in catalogue_entries() if e.simulated], ids=lambda e: e.name)
def test_the_automatic_state_is_the_curated_one(entry):
    """Every catalogued compound, from the registered SMILES: no exception."""
    found = prepare_compound(entry.name, Chem.MolFromSmiles(entry.smiles))
    curated = entry.ligand()
    assert curated.smiles in [each.ligand.smiles for each in found.ligands]
    assert {each.ligand.formal_charge for each in found.ligands} == {curated.formal_charge}
    assert len(found.ligands) == (2 if entry.name == "fulvestrant" else 1)


def test_fulvestrant_is_its_two_sulfoxides():
    entry = catalogue_entry("fulvestrant")
    found = prepare_compound("fulvestrant", Chem.MolFromSmiles(entry.smiles))
    assert {each.label for each in found.ligands} == {"R", "S"} and found.possible_isomers == 2
    by_label = {each.label: each.ligand for each in found.ligands}
    assert by_label["R"].smiles == entry.ligand().smiles and by_label["R"].name == "fulvestrant (R)"
    assert by_label["R"].inchikey != by_label["S"].inchikey
    assert "2 stereoisomers" in by_label["S"].notes


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
        "two.sdf": (good + "$$$$\n" + good + "$$$$\n", "holds 2 molecules or more"),
        "cut.sdf": (good[: len(good) // 2], "truncated"),
        "broken.sdf": (good.replace("V2000", "V2OOO"), "cannot be read"),
        "mixture.sdf": (_block("CCN.CCO.CCF", three_d=False), "a mixture of"),
        "flat.sdf": (_block("CC(F)Cl", three_d=False), "undefined stereochemistry"),
    }
    for name, (text, message) in cases.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            ligand_from_sdf(path, where="screen.yaml:9")
        assert str(caught.value).startswith("screen.yaml:9: ") and name in str(caught.value)
    for missing in (tmp_path / "absent.sdf", tmp_path):
        with pytest.raises(InputError, match="is not a file that can be read"):
            ligand_from_sdf(missing)


# -- salts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "compound", "removed"),
    [
        ("CN.Cl", "C[NH3+]", "hydrochloride"),
        ("C[NH3+].[Cl-]", "C[NH3+]", "chloride"),
        ("[Na+].[O-]C(=O)CC", "CCC(=O)[O-]", "sodium"),
        ("CCC(=O)O[Na]", "CCC(=O)[O-]", "sodium"),
        ("CC(=O)[O-].[Na+]", "CC(=O)[O-]", "sodium"),
        ("CCCCN.CCCCN.OS(=O)(=O)O", "CCCC[NH3+]", "sulfate"),
        ("CCCCN.OC(=O)/C=C\\C(=O)O.O.O", "CCCC[NH3+]", "maleate or fumarate, 2 x water"),
        ("OC(CC(O)=O)(CC(O)=O)C(O)=O.CN(C)CCOc1ccccc1", "C[NH+](C)CCOc1ccccc1", "citrate"),
        ("c1ccccc1S(=O)(=O)[O-].CC[NH+](C)C", "CC[NH+](C)C", "besylate"),
        ("[Br-].C[N+](C)(C)CCCC", "CCCC[N+](C)(C)C", "bromide"),
        ("CCO.NCc1ccccc1", "[NH3+]Cc1ccccc1", "ethanol"),
        ("OC(=O)C(F)(F)F.NCc1ccccc1", "[NH3+]Cc1ccccc1", "trifluoroacetate"),
    ],
)
def test_salts_come_off_and_are_named(smiles, compound, removed):
    ligand = ligand_from_smiles("mine", smiles)
    assert ligand.smiles == Chem.CanonSmiles(compound)
    assert f"Removed {removed}." in ligand.notes


def test_no_counter_ion_is_unreadable():
    from esr1md.ligand.salts import COUNTER_IONS, _flat

    assert all(Chem.MolFromSmiles(smiles) is not None for smiles in COUNTER_IONS)
    assert len({_flat(Chem.MolFromSmiles(smiles)) for smiles in COUNTER_IONS}) == len(COUNTER_IONS)


# -- protonation ------------------------------------------------------------------------------------------

#: Charge at pH 7.4 by the measured pKa (Perrin 1981; DrugBank; Hansch), well away from the pH.
MEASURED = {
    "NCc1ccccc1": 1, "CCN(CC)CC(=O)Nc1c(C)cccc1C": 1, "CCN(CC)CCOC(=O)c1ccc(N)cc1": 1,
    "CC(=O)CC(c1ccccc1)c1c(O)c2ccccc2oc1=O": -1, "O=C1NC(=O)C(c2ccccc2)(c2ccccc2)N1": 0,
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C": 0, "CCC(=O)N(c1ccccc1)C1CCN(CCc2ccccc2)CC1": 1, "NCCc1c[nH]cn1": 1,
    "Nc1ccc(cc1)S(=O)(=O)Nc1ncccn1": -1, "Cc1ccc(cc1)c1cc(nn1c1ccc(cc1)S(N)(=O)=O)C(F)(F)F": 0,
    "O=c1cccc[nH]1": 0, "O=c1cc[nH]c(=O)[nH]1": 0, "Nc1ccncc1": 1, "CCN(CC)CCCC(C)Nc1ccnc2cc(Cl)ccc12": 2,
    "NC(CCCNC(N)=N)C(=O)O": 1, "NNC(=O)c1ccncc1": 0, "CN(C)C(=N)NC(N)=N": 1, "C1CNCCN1": 1, "NCCN": 1,
    "NCCCCN": 2, "CCCCc1nc(Cl)c(CO)n1Cc1ccc(cc1)c1ccccc1-c1nnn[nH]1": -1, "NC(=N)NC(=O)c1nc(Cl)c(N)nc1N": 1,
    "Oc1c(Cl)c(Cl)c(Cl)c(Cl)c1Cl": -1, "CC(=O)c1ccc(O)cc1": 0, "OC(=O)c1ccccc1O": -1, "Sc1ccccc1": -1,
    "CC(=O)NO": 0, "CC(=O)NN": 0, "CC(=O)C=C(C)N": 0, "CS(C)=O": 0, "CS(=O)(=O)O": -1, "FC1(F)CCNCC1": 1,
    "O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O": 0, "COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C": 0,
    "CN1CCCC1c1cccnc1": 1, "C[N+](C)([O-])Cc1ccccc1": 0, "O=C1NS(=O)(=O)c2ccccc12": -1,
    "CCCCNC(=O)NS(=O)(=O)c1ccc(C)cc1": -1, "O=[N+]([O-])c1cc([N+](=O)[O-])c(O)c([N+](=O)[O-])c1": -1,
}  # fmt: skip


@pytest.mark.parametrize("smiles", MEASURED)
def test_the_dominant_state_has_the_measured_charge(smiles):
    assert protonation_states(neutralised(Chem.MolFromSmiles(smiles)))[0].charge == MEASURED[smiles]


def test_every_state_with_a_share_is_listed_and_shares_add_up():
    states = protonation_states(Chem.MolFromSmiles("Oc1ccc([N+](=O)[O-])cc1"))  # pKa 7.15
    assert [state.charge for state in states] == [-1, 0]
    assert states[0].share == pytest.approx(0.64, abs=0.03)
    assert sum(state.share for state in states) == pytest.approx(1.0, abs=0.01)
    assert [state.charge for state in protonation_states(Chem.MolFromSmiles("Oc1ccc([N+](=O)[O-])cc1"), ph=5.0)] == [0]
    assert "phenolate" in states[0].description


@pytest.mark.parametrize(
    ("smiles", "kind", "pka"),
    [
        ("Oc1ccccc1", "Phenol", 9.9),
        ("Oc1ccc([N+](=O)[O-])cc1", "Phenol", 7.15),
        ("Oc1ccc(Cl)cc1", "Phenol", 9.41),
        ("Oc1ccccc1F", "Phenol", 8.73),
        ("Oc1ccc(C(C)=O)cc1", "Phenol", 8.05),
        ("CN1CCOCC1", "Amines", 7.4),
        ("NCC(=O)OC", "Amines", 7.7),
        ("FCCN", "Amines", 9.0),
        ("FC(F)CN", "Amines", 7.5),
        ("CN1CCN(c2ccccc2)CC1", "Amines", 7.9),
        ("OC(=O)CCC", "Carboxyl", 4.8),
    ],
)
def test_estimated_pka_values_are_near_the_measured_ones(smiles, kind, pka):
    """Within 0.7 units for what the corrections are for; a carboxylic acid has Dimorphite's own mean."""
    _, sites = find_sites(Chem.MolFromSmiles(smiles))
    found = [site.pka for site in sites if site.kind.startswith(kind)]
    assert min(abs(each - pka) for each in found) < (1.5 if kind == "Carboxyl" else 0.7)


def test_both_azetidines_of_the_oral_serds_are_basic_and_their_fluorinated_amines_are_not():
    for name in ("camizestrant", "giredestrant", "palazestrant"):
        _, sites = find_sites(Chem.MolFromSmiles(catalogue_entry(name).smiles))
        amines = sorted(site.pka for site in sites if site.base and site.kind.startswith(("Amines", "Fluoro")))
        assert amines[0] < 6.5 and 7.6 < amines[-1] < 9.5


# -- tautomers and stereoisomers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawn", "canonical"),
    [
        ("Oc1ccccn1", "O=c1cccc[nH]1"),
        ("c1ccc2n[nH]cc2c1", "c1ccc2[nH]ncc2c1"),
        ("CC(O)=N", "CC(N)=O"),
        ("c1ccc2n[nH]nc2c1", "c1ccc2[nH]nnc2c1"),
        ("Cc1cnc[nH]1", "Cc1c[nH]cn1"),
    ],
)
def test_two_drawings_of_one_compound_are_one_ligand(drawn, canonical):
    assert ligand_from_smiles("a", drawn).identity == ligand_from_smiles("b", canonical).identity
    assert "Canonical tautomer" in ligand_from_smiles("a", drawn).notes


@pytest.mark.parametrize(
    "smiles",
    [
        "Oc1ccc2c(c1)CCCC(c1ccccc1)=C2c1ccc(O[C@H]2CCN(CCCF)C2)cc1",  # RDKit's full list of shifts draws a quinoid here
        "C#C[C@]1(O)CC[C@H]2[C@@H]3CCC4=CC(=O)CCC4=C3CC[C@@]21C",
        "Oc1ccc(-c2n[nH]c3cc(O)ccc23)c(O)c1",
        "CC(=O)NO",
        "CC(=O)CC(C)=O",
        "Oc1cccc2cccnc12",
        "O=C1C=CC(=O)C=C1",
        "Oc1ccc(N=Nc2ccccc2)cc1",
        "Cc1ccc(N/C=C2/C(=O)N(C)C(=O)c3ccccc32)cc1",
    ],
)
def test_tautomers_harm_no_phenol_no_ring_and_no_stereocentre(smiles):
    mol = Chem.MolFromSmiles(smiles)
    found, moved = canonical_tautomer(mol)
    assert not moved and Chem.MolToSmiles(found) == Chem.MolToSmiles(mol)


def test_open_stereocentres_become_ligands_with_labels():
    found = ligands_from_smiles("x", "CC(F)C(=O)Nc1ccccc1")
    assert [ligand.name for ligand in found] in (["x (R)", "x (S)"], ["x (S)", "x (R)"])
    double = {ligand.name for ligand in ligands_from_smiles("x", "CC(F)=C(Cl)c1ccccc1")}
    assert double == {"x (E)", "x (Z)"}
    assert len(ligands_from_smiles("x", "C1CC(O)CCC1N")) == 2  # cis and trans
    assert [ligand.name for ligand in ligands_from_smiles("x", "C[C@H](F)Cl")] == ["x"]


@pytest.mark.parametrize(
    ("smiles", "isomers"),
    [
        ("OC12CC3CC(CC(C3)C1)C2", 1),  # adamantan-1-ol
        ("CN1C2CCC1CC(O)C2", 2),  # tropine and pseudotropine: the bridge can only be cis
        ("C1CC2CCC1C2", 1),  # norbornane
    ],
)
def test_stereoisomers_that_a_bridge_forbids_are_not_made(smiles, isomers):
    assert len(ligands_from_smiles("x", smiles)) == isomers


def test_a_racemate_of_enhanced_stereochemistry_is_open():
    with pytest.raises(InputError, match="undefined stereochemistry"):
        ligand_from_smiles("x", "C[C@H](F)Cl |&1:1|")
    assert len(ligands_from_smiles("x", "C[C@H](F)Cl |&1:1|")) == 2
    assert len(ligands_from_smiles("x", "C[C@H](F)Cl |o1:1|")) == 2
    assert len(ligands_from_smiles("x", "C[C@H](F)Cl |a:1|")) == 1


def test_the_limit_of_stereoisomers_is_said():
    mol = Chem.MolFromSmiles("FC(C)C(F)C(F)C(F)C(F)C(F)Cl")
    found = prepare_compound("x", mol, max_isomers=8)
    assert len(found.ligands) == 8 and found.possible_isomers > 8
    assert len({each.ligand.inchikey for each in found.ligands}) == len({e.label for e in found.ligands}) == 8
    assert f"{found.possible_isomers} stereoisomers, of which 8 were made" in found.notes[0]


def test_charges_and_tautomers_can_be_kept():
    mol = Chem.MolFromSmiles("[O-]c1ccccn1")
    assert prepare_compound("x", mol, charges="as written").ligands[0].ligand.smiles == "[O-]c1ccccn1"
    assert prepare_compound("x", mol, charges="dominant").ligands[0].ligand.smiles == "O=c1cccc[nH]1"


def test_a_sulfoxide_with_separated_charges_keeps_its_stereochemistry():
    one = ligand_from_smiles("a", "CC[S@+]([O-])CCC")
    other = Chem.MolFromSmiles("CC[S@](=O)CCC")
    assert one.smiles in {"CCC[S@](=O)CC", "CCC[S@@](=O)CC"} and one.smiles == Chem.MolToSmiles(other)


def test_sdf_stereochemistry_from_wedges_and_from_nothing(tmp_path):
    path = tmp_path / "flat.sdf"
    mol = Chem.MolFromSmiles("C[C@H](F)c1ccccc1")
    AllChem.Compute2DCoords(mol)
    Chem.WedgeMolBonds(mol, mol.GetConformer())
    path.write_text(Chem.MolToMolBlock(mol) + "$$$$\n")
    assert ligand_from_sdf(path, "x").smiles == Chem.MolToSmiles(mol)
    path.write_text(_block("CC(F)c1ccccc1", three_d=False) + "$$$$\n")
    assert len(ligands_from_sdf(path, "x")) == 2
