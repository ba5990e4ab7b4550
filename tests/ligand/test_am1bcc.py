"""AM1-BCC charges by sqm: values, what is refused, what is shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rdkit import Chem

from esr1md.catalogue import data_path
from esr1md.errors import StageError
from esr1md.ligand import am1bcc
from esr1md.ligand.assessment import assess_parameters
from esr1md.ligand.catalogue import catalogue_ligand, catalogue_ligands
from esr1md.ligand.charges import charge_ligand
from esr1md.ligand.parameters import parameters_identity, parametrise
from esr1md.specs import Ligand, numeric_versions

needs_sqm = pytest.mark.skipif(bool(am1bcc.missing_library()), reason="sqm lacks a system library (see esr1md doctor)")


def molecule(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


@needs_sqm
def test_methanol_has_its_published_charges(tmp_path):
    """Jakalian 2002's parameters give O -0.60, H(O) 0.40, C 0.12, H(C) 0.03 e."""
    charges = am1bcc.compute(molecule("CO"), tmp_path)
    assert charges == pytest.approx([0.117, -0.599, 0.029, 0.029, 0.029, 0.396], abs=0.01)
    assert charges.sum() == pytest.approx(0.0, abs=1e-9)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@needs_sqm
def test_an_ion_has_its_charge_and_is_near_the_network(tmp_path):
    mol = molecule("CC(=O)[O-]")
    charges = am1bcc.compute(mol, tmp_path)
    assert charges.sum() == pytest.approx(-1.0, abs=1e-9)
    assert np.sqrt(np.mean((charges - charge_ligand(mol).charges) ** 2)) < 0.03


@needs_sqm
def test_a_proton_that_jumps_in_the_gas_phase_is_refused(tmp_path):
    with pytest.raises(StageError, match=r"broke the bond .*not stable in the gas phase; use NAGL"):
        am1bcc.compute(molecule("[NH3+]c1ccccc1C(=O)[O-]"), tmp_path)


def test_a_missing_system_library_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(am1bcc, "missing_library", lambda: "liblapack.so.3")
    with pytest.raises(StageError, match=r"needs liblapack\.so\.3.*apt-get install .*liblapack3"):
        am1bcc.compute(molecule("CO"), tmp_path)


def test_the_loader_s_own_words_are_understood(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "sqm"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        "echo 'sqm: error while loading shared libraries: libarpack.so.2: cannot open shared object file: "
        "No such file or directory' >&2\nexit 127\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(am1bcc, "amber_home", lambda: tmp_path)
    assert am1bcc.missing_library() == "libarpack.so.2"


def test_the_conformer_is_extended_and_the_same_every_time():
    mol = molecule("[NH3+]CCCCCC(=O)[O-]")
    first, second = am1bcc.extended_conformer(mol), am1bcc.extended_conformer(mol)
    xyz = first.GetConformer().GetPositions()
    assert np.array_equal(xyz, second.GetConformer().GetPositions()) and first.GetNumConformers() == 1
    assert np.linalg.norm(xyz[0] - xyz[6]) > 7.0, "the charged ends point away from each other"


def test_shipped_charges_are_of_the_catalogue_and_whole():
    known = {ligand.inchikey: ligand for ligand in catalogue_ligands()}
    files = list((data_path("ligands") / "am1bcc").glob("*.json"))
    assert {path.stem for path in files} == set(known)
    for path in files:
        ligand = known[path.stem]
        record = am1bcc.shipped(ligand)
        assert record is not None and record.seconds > 1.0 and record.versions["acpype"]
        assert len(record.charges) == molecule(ligand.smiles).GetNumAtoms()
        assert sum(record.charges) == pytest.approx(ligand.formal_charge, abs=1e-4)


def test_another_state_of_a_shipped_ligand_is_not_it():
    ligand = catalogue_ligand("estrone")
    assert am1bcc.shipped(ligand) is not None
    assert am1bcc.shipped(Ligand("odd", "[O-]" + ligand.smiles, ligand.inchikey, -1)) is None


def test_a_screen_can_ask_for_them(tmp_path):
    """Shipped charges are used as they are: no program runs."""
    ligand = catalogue_ligand("estrone")
    parameters = parametrise(ligand, tmp_path, "am1bcc")
    shipped = am1bcc.shipped(ligand)
    assert "AM1-BCC (sqm" in parameters.method
    assert np.abs(np.array(parameters.charges) - np.array(shipped.charges)).max() < 0.02, "but for equal atoms"
    assert json.loads((tmp_path / "record.json").read_text())["method"] == parameters.method
    versions = numeric_versions()
    assert parameters_identity(ligand, versions) != parameters_identity(ligand, versions, "am1bcc")


def test_the_network_agrees_with_am1bcc_over_the_catalogue_where_it_warns_of_nothing():
    """RMS over all atoms; with the ligands it warns of it is 0.033 e (docs/validation.md)."""
    squares, atoms = 0.0, 0
    for ligand in catalogue_ligands():
        found = charge_ligand(molecule(ligand.smiles))
        if not found.warnings:
            apart = found.charges - np.array(am1bcc.shipped(ligand).charges)
            squares, atoms = squares + float((apart**2).sum()), atoms + len(apart)
    assert atoms > 1000 and np.sqrt(squares / atoms) < 0.02


def test_what_gaff_had_to_guess_is_said(tmp_path):
    found = assess_parameters(catalogue_ligand("tamoxifen"), tmp_path)
    assert found.doubtful.penalty > 100 and found.doubtful.kind == "torsion"
    assert all(term.source and term.penalty != 0 for term in found.estimated)
    assert found.rmse < 0.03 and abs(found.worst_difference) >= found.rmse and "bonded to" in found.worst_atom
