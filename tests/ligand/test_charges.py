"""NAGL charges: against AM1-BCC values, symmetry, sums, and a file that must not run code."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
from rdkit import Chem

from esr1md.errors import StageError
from esr1md.ligand import am1bcc, nagl_model
from esr1md.ligand.assessment import AGREEMENT
from esr1md.ligand.catalogue import catalogue_ligand, catalogue_ligands
from esr1md.ligand.charges import charge_ligand, equal_on_equal_atoms, equilibrate, nagl_charges
from esr1md.ligand.resonance import average_formal_charges


def molecule(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize("ligand", catalogue_ligands(), ids=lambda ligand: ligand.name)
def test_charges_sum_to_the_formal_charge_and_the_chemistry_is_in_the_training_domain(ligand):
    result = charge_ligand(molecule(ligand.smiles))
    assert result.charges.sum() == pytest.approx(ligand.formal_charge, abs=1e-6)
    assert np.all(np.abs(result.charges) < 1.6)
    assert not any("outside the training domain" in said for said in result.warnings)


def test_equal_atoms_have_equal_charges():
    mol = molecule(catalogue_ligand("4-hydroxytamoxifen").smiles)
    charges = nagl_charges(mol)
    ranks = np.array(Chem.CanonicalRankAtoms(mol, breakTies=False))
    for rank in set(ranks):
        assert np.ptp(charges[ranks == rank]) == 0.0
    methyls = [
        a.GetIdx()
        for a in mol.GetAtoms()
        if a.GetSymbol() == "C" and a.GetTotalNumHs(True) == 3 and a.GetNeighbors()[0].GetSymbol() == "N"
    ]
    assert len(methyls) == 2 and charges[methyls[0]] == charges[methyls[1]]


def test_4_hydroxytamoxifen_carries_its_charge_on_the_ammonium_end():
    mol = molecule(catalogue_ligand("4-hydroxytamoxifen").smiles)
    charges = nagl_charges(mol)
    nitrogen = next(a for a in mol.GetAtoms() if a.GetSymbol() == "N")
    # the ammonium with its three carbons and all their hydrogens: most of the charge; the phenol hydrogen near 0.42
    head = {nitrogen.GetIdx()}
    for neighbour in nitrogen.GetNeighbors():
        head |= {neighbour.GetIdx(), *(n.GetIdx() for n in neighbour.GetNeighbors() if n.GetSymbol() == "H")}
    assert 0.7 < charges[sorted(head)].sum() < 1.0
    phenol_h = next(
        a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() == "H" and a.GetNeighbors()[0].GetSymbol() == "O"
    )
    assert charges[phenol_h] == pytest.approx(0.42, abs=0.02)


@pytest.fixture(scope="module")
def am1bcc_table() -> dict:
    """AM1-BCC ELF10 charges (OpenEye) of tiny molecules: the look-up table in the model file, by InChI."""
    content = nagl_model.read_checkpoint(nagl_model._model_file())
    return content["hyperparameters"]["lookup_tables"]["am1bcc_charges"]["properties"]


def _reference_charges(table: dict, smiles: str) -> tuple[Chem.Mol, np.ndarray]:
    wanted = Chem.MolToInchi(Chem.MolFromSmiles(smiles)).removeprefix("InChI=1S/")
    entry = table[f"InChI=1/{wanted}"].state["__dict__"]
    mol = Chem.MolFromSmiles(entry["mapped_smiles"], sanitize=False)
    Chem.SanitizeMol(mol)
    values = [
        np.frombuffer(item.arguments[1].arguments[0].encode("latin1"), "<f8")[0] for item in entry["property_value"]
    ]
    return mol, np.array([values[atom.GetAtomMapNum() - 1] for atom in mol.GetAtoms()])


@pytest.mark.parametrize("smiles", ["CO", "CCO", "CN", "CCN", "CC=O", "COC", "CC#N", "CCF", "CCCl", "C=C"])
def test_charges_match_am1bcc_of_small_molecules(smiles, am1bcc_table):
    mol, reference = _reference_charges(am1bcc_table, smiles)
    charges = nagl_charges(mol)
    assert np.sqrt(np.mean((charges - reference) ** 2)) < 0.025
    assert np.abs(reference).max() > 0.05


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CC(=O)[O-]", {"O": [-0.5, -0.5]}),
        ("CC([O-])=O", {"O": [-0.5, -0.5]}),
        ("NC(N)=[NH2+]", {"N": [1 / 3, 1 / 3, 1 / 3]}),
        ("CC(N)=[NH2+]", {"N": [0.5, 0.5]}),
        ("C[N+](=O)[O-]", {"N": [1], "O": [-0.5, -0.5]}),
        ("CS(C)=O", {"S": [1], "O": [-1]}),
        ("CS(=O)(=O)[O-]", {"S": [0], "O": [-1 / 3, -1 / 3, -1 / 3]}),
        ("C[NH+](C)C", {"N": [1]}),
        ("[O-]c1ccccc1", {"O": [-1]}),
        ("O=c1cc[nH]cc1", {"O": [0], "N": [0]}),
        ("c1c[nH+]c[nH]1", {"N": [0.5, 0.5]}),
        ("O=C([O-])/C=C/C(=O)[O-]", {"O": [-0.5, -0.5, -0.5, -0.5]}),
    ],
)
def test_formal_charges_are_averaged_over_resonance_forms(smiles, expected):
    mol = molecule(smiles)
    charges = average_formal_charges(mol)
    assert charges.sum() == pytest.approx(Chem.GetFormalCharge(mol))
    for symbol, values in expected.items():
        found = sorted(charges[a.GetIdx()] for a in mol.GetAtoms() if a.GetSymbol() == symbol)
        assert found == pytest.approx(sorted(values))


def test_how_a_molecule_is_written_does_not_change_its_charges():
    for one, two in (("CC(=O)[O-]", "[O-]C(C)=O"), ("Cc1cc[nH+]c(N)c1", "Cc1cc[nH]c(=[NH2+])c1")):
        first, second = (np.sort(nagl_charges(molecule(s))) for s in (one, two))
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_equilibration_against_the_two_atom_solution():
    # minimising sum(e q + s q^2 / 2) with q1 + q2 = Q gives q1 = (e2 - e1 + s2 Q) / (s1 + s2)
    e, s, total = np.array([0.3, -0.2]), np.array([1.5, 2.5]), 1.0
    charges = equilibrate(np.zeros(2), e, s, total)
    assert charges[0] == pytest.approx((e[1] - e[0] + s[1] * total) / s.sum())
    assert charges.sum() == pytest.approx(total)


def test_missing_hydrogens_and_unknown_elements_are_refused():
    with pytest.raises(StageError, match="every hydrogen"):
        nagl_charges(Chem.MolFromSmiles("CCO"))
    with pytest.raises(StageError, match="no charge model for B"):
        nagl_charges(molecule("CB(O)O"))


def test_groups_outside_the_training_domain_are_reported():
    assert any("outside the training domain" in w for w in charge_ligand(molecule("CSI")).warnings)


@pytest.mark.parametrize("ligand", catalogue_ligands(), ids=lambda ligand: ligand.name)
def test_charges_that_differ_from_am1bcc_are_warned_of(ligand):
    mol, record = molecule(ligand.smiles), am1bcc.shipped(ligand)
    result = charge_ligand(mol)
    apart = result.charges - equal_on_equal_atoms(mol, np.array(record.charges))
    differs = float(np.sqrt((apart**2).mean())) > AGREEMENT
    assert differs == any("use charges: am1bcc" in said for said in result.warnings)


@pytest.mark.parametrize(
    ("smiles", "atom"), [("c1ccc2[nH]ncc2c1", 5), ("Cn1cnc2ccccc21", 2), ("c1cc[nH]c1", None), ("c1ccc2occc2c1", None)]
)
def test_nitrogen_in_a_ring_fused_to_benzene_is_named(smiles, atom):
    said = charge_ligand(molecule(smiles)).warnings
    assert said == () if atom is None else f"(atom {atom})" in said[0]


def test_the_model_file_cannot_run_code(tmp_path):
    trap = tmp_path / "trap"

    class Malicious:
        def __reduce__(self):
            return (os.system, (f"touch {trap}",))

    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"hyperparameters": Malicious()}))
    content = nagl_model.read_checkpoint(path)
    assert not trap.exists()
    assert isinstance(content["hyperparameters"], nagl_model._Inert)


def test_a_broken_model_file_is_a_clear_failure(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"not a zip")
    with pytest.raises(StageError, match="not a readable torch checkpoint"):
        nagl_model.read_checkpoint(path)
