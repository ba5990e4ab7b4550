"""Placement: what fits a helix-12 state, what does not, and how near the crystal a placed ligand comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolAlign

from esr1md.catalogue import data_path
from esr1md.errors import InputError, StageError
from esr1md.ligand.parameters import LigandParameters, parametrise
from esr1md.poses import docking_score, growth, placement, pocket, references, search
from esr1md.poses.place import Pose, contacts, cost, place_ligand
from esr1md.poses.search import same_stereo
from esr1md.specs import HelixState, Ligand

SMILES = {
    "estradiol": "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O",
    "4-hydroxytamoxifen": r"CC/C(=C(\c1ccc(O)cc1)c1ccc(OCC[NH+](C)C)cc1)c1ccccc1",
    "raloxifene": "O=C(c1ccc(OCC[NH+]2CCCCC2)cc1)c1c(-c2ccc(O)cc2)sc2cc(O)ccc12",
    "AIT": "C[C@H](COc1ccc([C@@H]2Oc3ccc(O)cc3S[C@@H]2c2ccc(O)cc2)cc1)[NH+]1CCCC1",
    "fulvestrant": "C[C@]12CC[C@@H]3c4ccc(O)cc4C[C@@H](CCCCCCCCC[S@](=O)CCCC(F)(F)C(F)(F)F)[C@H]3[C@@H]1CC[C@@H]2O",
    "ICI-164384": "CCCCN(C)C(=O)CCCCCCCCCC[C@@H]1Cc2cc(O)ccc2[C@H]2CC[C@]3(C)[C@@H](O)CC[C@H]3[C@H]12",
    "elacestrant": "CC[NH2+]CCc1ccc(CN(CC)c2cc(OC)ccc2[C@@H]2CCc3cc(O)ccc3C2)cc1",
    "imlunestrant": "Oc1ccc2c3c(cnc2c1)-c1ccc(C(F)(F)F)cc1O[C@@H]3c1ccc(OCC[NH+]2CC(CF)C2)cc1",
}
CRYSTAL = {
    "estradiol": "1QKU_EST",
    "4-hydroxytamoxifen": "3ERT_OHT",
    "raloxifene": "1ERR_RAL",
    "AIT": "1XPC_AIT",
}


@pytest.fixture(scope="module")
def parametrised(tmp_path_factory):
    """Parameters of a ligand by name, made once."""
    made: dict[str, LigandParameters] = {}

    def get(name: str) -> LigandParameters:
        if name not in made:
            mol = Chem.MolFromSmiles(SMILES[name])
            ligand = Ligand(name, Chem.MolToSmiles(mol), Chem.MolToInchiKey(mol), Chem.GetFormalCharge(mol))
            made[name] = parametrise(ligand, tmp_path_factory.mktemp("parameters"))
        return made[name]

    return get


@pytest.fixture(scope="module")
def place(parametrised, tmp_path_factory):
    """Place a ligand by name in the bundled model of a state."""

    def run(name: str, state: HelixState, **settings) -> Pose:
        parameters = parametrised(name)
        model = data_path("structures") / "models" / f"{state}.pdb"
        return place_ligand(parameters.ligand, parameters, model, state, tmp_path_factory.mktemp("pose"), **settings)[0]

    return run


def read(path: Path) -> Chem.Mol:
    return next(iter(Chem.SDMolSupplier(str(path), removeHs=False)))


def crystal_rmsd(pose: Pose) -> float:
    """Symmetry-corrected heavy-atom RMSD (angstrom) to the crystal pose, without moving either."""
    crystal = next(r.mol for r in references.load_references() if r.name == CRYSTAL[pose.ligand])
    return rdMolAlign.CalcRMS(Chem.RemoveHs(read(pose.sdf)), Chem.RemoveHs(crystal))


# ------------------------------------------------------------------------------------------ references


def test_every_reference_loads_with_hydrogens_and_the_stereochemistry_it_states():
    document = yaml.safe_load((data_path("structures") / "poses" / "poses.yaml").read_text())
    loaded = references.load_references()
    assert {r.name for r in loaded} == {line["name"] for line in document["poses"]} and len(loaded) >= 15
    for reference, line in zip(loaded, document["poses"], strict=True):
        assert any(a.GetAtomicNum() == 1 for a in reference.mol.GetAtoms())
        assert len(line["source_sha256"]) == 64 and line["relaxed_rmsd_angstrom"] < 0.4
        stated = Chem.CanonSmiles(line["smiles"])
        Chem.AssignStereochemistryFrom3D(reference.mol, replaceExistingTags=True)
        for atom in reference.mol.GetAtoms():
            if atom.GetAtomicNum() == 7:
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        assert Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(reference.mol))) == stated


def test_references_are_regenerated_identically(shared_data, tmp_path):
    references.generate(shared_data / "pdb", tmp_path)
    bundled = data_path("structures") / "poses"
    assert (tmp_path / "poses.yaml").read_text() == (bundled / "poses.yaml").read_text()
    for old, new in zip(references.load_references(bundled), references.load_references(tmp_path), strict=True):
        assert np.abs(old.mol.GetConformer().GetPositions() - new.mol.GetConformer().GetPositions()).max() < 0.01


def test_a_missing_entry_is_named(tmp_path):
    with pytest.raises(InputError, match="entry 1ERR not found"):
        references.find_entry_files(tmp_path, next(s for s in references.SOURCES if s.entry == "1ERR"))


# ------------------------------------------------------------------------------------------- geometry


def embedded(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    return mol


def test_turning_a_bond_keeps_every_bond_length_and_returns_after_a_full_turn():
    mol = embedded("OCCCc1ccccc1")
    xyz = mol.GetConformer().GetPositions()
    _, rotors = growth.rotor_tree(mol, set())
    assert len(rotors) == 3
    for rotor in rotors:
        out = growth.turned(xyz[None], rotor, np.deg2rad([70.0, 360.0]))
        assert np.allclose(out[1], xyz, atol=1e-6) and not np.allclose(out[0], xyz, atol=0.1)
        for bond in mol.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            assert np.linalg.norm(out[0, i] - out[0, j]) == pytest.approx(np.linalg.norm(xyz[i] - xyz[j]), abs=1e-5)


def test_the_tabulated_score_agrees_with_its_terms():
    mol = embedded("Oc1ccccc1CC[NH3+]")
    ligand = docking_score.ligand_features(mol)
    rng = np.random.default_rng(3)
    pocket_xyz = rng.uniform(-7.0, 7.0, (40, 3)).astype(np.float32)
    kinds = rng.integers(0, 2, (4, 40)).astype(bool)
    other = docking_score.Features(np.arange(40), np.full(40, 1.8), *kinds[:3], np.where(kinds[3], -1.0, 0.0), kinds[0])
    xyz = mol.GetConformer().GetPositions()
    found = docking_score.pocket_score(ligand, pocket_xyz, other).atoms(xyz[None], ligand.index)[0]

    def row(f, k):
        return {n: float(getattr(f, n)[k]) for n in ("radius", "hydrophobic", "donor", "acceptor", "charge", "clamp")}

    exact = sum(
        float(docking_score.pair_terms(np.linalg.norm(xyz[i] - pocket_xyz[j]), row(ligand, a), row(other, j)))
        for a, i in enumerate(ligand.index)
        for j in range(40)
    )
    assert found == pytest.approx(exact, rel=0.03, abs=0.3)


def test_vina_terms_at_contact():
    plain = {"radius": 1.9, "hydrophobic": 1.0, "donor": 0.0, "acceptor": 0.0, "charge": 0.0, "clamp": 0.0}
    # two carbons at the sum of their radii: gauss1 = 1, gauss2 = exp(-2.25), hydrophobic = 1, no repulsion
    expected = -0.035579 - 0.005156 * np.exp(-2.25) - 0.035069
    assert docking_score.pair_terms(np.array(3.8), plain, plain) == pytest.approx(expected, abs=1e-9)


def test_a_mirrored_pose_is_refused():
    mol = embedded(SMILES["estradiol"])
    xyz = mol.GetConformer().GetPositions()
    assert same_stereo(mol, xyz)
    assert not same_stereo(mol, xyz * np.array([1.0, 1.0, -1.0]))


def test_the_common_core_of_fulvestrant_and_estradiol_is_the_steroid():
    pair = [Chem.AddHs(Chem.MolFromSmiles(SMILES[n])) for n in ("fulvestrant", "estradiol")]
    assert len(placement.common_core(*pair)[0]) == 20


def test_a_core_that_was_not_searched_to_the_end_is_no_core(monkeypatch):
    """What had been found by then would depend on the machine's load."""
    bazedoxifene = Chem.MolFromSmiles("Cc1c(-c2ccc(O)cc2)n(Cc2ccc(OCC[NH+]3CCCCCC3)cc2)c2ccc(O)cc12")
    raloxifene = next(r.mol for r in references.load_references() if r.name == "1ERR_RAL")
    monkeypatch.setattr(placement, "CORE_LIMIT", 1)  # it takes 15 s
    placement._all_ways.cache_clear()
    try:
        assert placement.common_core(bazedoxifene, raloxifene) == []
    finally:
        placement._all_ways.cache_clear()


# -------------------------------------------------------------------------------------------- placing


def test_estradiol_fits_the_agonist_state(place, parametrised):
    pose = place("estradiol", HelixState.AGONIST)
    assert pose.clashes == 0 and pose.interaction_kcal < -30.0
    assert crystal_rmsd(pose) < 1.0
    assert max(pose.anchors_angstrom[n] for n in ("hydroxyl_E353", "hydroxyl_R394", "hydroxyl_H524")) < 3.6
    template, posed = parametrised("estradiol").molecule(), read(pose.sdf)
    assert [a.GetSymbol() for a in posed.GetAtoms()] == [a.GetSymbol() for a in template.GetAtoms()]
    assert posed.GetProp("atom_names") == template.GetProp("atom_names")
    folder = pose.sdf.parent
    again = Pose.from_folder(folder)
    assert again.to_json() == pose.to_json() and again.details == pose.details
    kept = [Pose.from_folder(folder, rank) for rank in range(1, len(list(folder.glob("pose_*.sdf"))) + 1)]
    assert [p.rank for p in kept] == list(range(1, len(kept) + 1))
    costs = [cost(p.above_kcal, p.interaction_kcal, p.vina_kcal, p.failed_checks) for p in kept]
    assert len(kept) > 1 and costs == sorted(costs)
    assert Pose.from_folder(folder, len(kept) + 1).rank == 1  # replicas take the poses in turn
    written = list(Chem.SDMolSupplier(str(folder / "poses.sdf"), removeHs=False))
    assert [m.GetProp("confidence") for m in written] == [p.confidence for p in kept]
    assert not pose.failed_checks and pose.vina_kcal < -7.0


def test_the_same_seed_gives_the_same_poses_with_any_number_of_threads(place):
    first, second = (place("estradiol", HelixState.AGONIST, seed=5, threads=n) for n in (1, 3))
    assert first.sdf.with_name("poses.sdf").read_bytes() == second.sdf.with_name("poses.sdf").read_bytes()
    assert first.to_json() == second.to_json()


def test_poses_are_ordered_by_three_estimates_together():
    first = cost(0.0, -50.0, -10.0, ())
    assert cost(2.0, -53.0, -10.0, ()) < first < cost(2.0, -51.0, -10.0, ()), "interaction against energy"
    assert cost(5.0, -50.0, -11.0, ()) < first < cost(7.0, -50.0, -11.0, ()), "a unit of Vina's counts for six"
    assert cost(0.0, -50.0, -10.0, ("bond_lengths",)) == pytest.approx(first + 5.0)
    assert cost(2.0, -50.0, None, ()) == -24.0, "where Vina cannot be had the others decide"


@pytest.mark.slow
def test_an_antagonist_does_not_fit_under_the_closed_helix_12(place):
    message = r"4-hydroxytamoxifen does not fit the agonist state: clashes with [A-Z]\d+"
    with pytest.raises(StageError, match=message) as error:
        place("4-hydroxytamoxifen", HelixState.AGONIST)
    assert error.value.stage == "pose"


@pytest.mark.slow
def test_who_asks_gets_poses_of_a_ligand_that_does_not_fit_and_they_say_so(place, monkeypatch):
    monkeypatch.setattr("esr1md.poses.place.FIT_LIMIT", -100.0)
    monkeypatch.setattr(search, "THOROUGH", search.USUAL)
    pose = place("estradiol", HelixState.AGONIST, anyway=True)
    assert pose.misfit.startswith("estradiol does not fit the agonist state") and pose.confidence == "low"
    assert pose.reason.startswith("does not fit; ") and read(pose.sdf).GetProp("misfit") == pose.misfit


@pytest.mark.slow
@pytest.mark.parametrize("name", ["elacestrant", "imlunestrant"])
def test_antagonists_fit_the_antagonist_state(place, name):
    pose = place(name, HelixState.ANTAGONIST)
    assert pose.clashes <= 2 and pose.interaction_kcal < -50.0
    assert min(pose.anchors_angstrom["hydroxyl_E353"], pose.anchors_angstrom["hydroxyl_R394"]) < 3.6
    parts = Chem.GetMolFrags(read(pose.sdf))
    assert len(parts) == 1


@pytest.mark.slow
def test_no_ligand_is_refused_before_a_wider_search(place):
    """The usual search misses the way out for this long chain; saying that it does not fit would be false."""
    pose = place("ICI-164384", HelixState.ANTAGONIST)
    assert pose.interaction_kcal + pose.strain_kcal < -20.0 and pose.clashes <= 2


def test_amides_are_not_turned():
    mol = Chem.AddHs(Chem.MolFromSmiles("CCN(C)C(=O)CCc1ccccc1"))
    carbonyl, nitrogen = mol.GetSubstructMatch(Chem.MolFromSmarts("[CX3](=O)N"))[0::2]
    assert frozenset((carbonyl, nitrogen)) not in growth.rotatable_bonds(mol)


@pytest.mark.slow
def test_hydroxytamoxifen_returns_to_its_crystal_pose(place):
    pose = place("4-hydroxytamoxifen", HelixState.ANTAGONIST)
    assert crystal_rmsd(pose) < 1.5 and pose.confidence == "high"  # its chain reaches for D351: 1.2 A


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("raloxifene", 2.5), ("AIT", 2.0)])
def test_a_ligand_finds_its_crystal_pose_from_other_ligands(place, name, limit):
    pose = place(name, HelixState.ANTAGONIST, exclude=(name,))
    assert pose.reference != CRYSTAL[name]
    assert crystal_rmsd(pose) < limit


def test_contacts_name_the_residue(place):
    model = data_path("structures") / "models" / "agonist.pdb"
    receptor = pocket.read_receptor(model)
    atom = Chem.MolFromSmiles("C")
    AllChem.EmbedMolecule(atom)
    found = contacts(atom, receptor.named(540, "CB")[None] + 0.5, receptor, receptor.positions)
    assert "L540" in {name for name, _ in found}


def test_without_references_the_error_says_so(place):
    everything = tuple({r.ligand for r in references.load_references()})
    with pytest.raises(StageError, match="no reference pose"):
        place("estradiol", HelixState.AGONIST, exclude=everything)
