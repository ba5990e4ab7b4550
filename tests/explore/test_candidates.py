"""Ligands to choose from: rows of a file, and how a screen names its own."""

from __future__ import annotations

import pytest

from esr1md.errors import InputError
from esr1md.explore.candidates import candidate_pool, file_candidates
from esr1md.explore.written import choices


def test_bad_rows_of_a_file_are_left_out_with_their_reasons(tmp_path):
    path = tmp_path / "hits.csv"
    path.write_text("name,smiles\ngood,Oc1ccccc1CC\nopen,CC(O)F\nbroken,C1CC\ngood,CCCCc1ccccc1\ntwin,CCc1ccccc1O\n")
    found, left = file_candidates(path)
    assert [c.ligand.name for c in found] == ["good", "good (row 4)"]
    reasons = {entry.name: entry.reason for entry in left}
    assert set(reasons) == {"open", "broken", "twin"} and reasons["twin"] == "line 6: the same compound as 'good'"
    assert all(reason.startswith("line ") for reason in reasons.values())
    assert found[0].choice == {"name": "good", "smiles": "Oc1ccccc1CC"}
    assert len(candidate_pool(path, with_catalogue=True)[0]) > len(candidate_pool(None)[0]) > 20


def test_a_file_without_a_candidate_is_refused(tmp_path):
    path = tmp_path / "bad.smi"
    path.write_text("C1CC broken\n")
    with pytest.raises(InputError, match="no row can be a candidate .broken: line 1"):
        file_candidates(path)


def test_a_ligand_stays_named_as_the_user_named_it():
    plain = {"smiles": None, "sdf": None, "drug_class": "", "stereo": "defined", "protonation": "dominant"}
    drawn = {**plain, "name": "x", "smiles": "CC(O)F", "stereo": "enumerate"}
    a_file = {"file": "/library.smi", "drug_class": "agonist", "stereo": "defined", "skip_bad": True}
    named = ("fulvestrant", "x (R)", "x (S)", "from the file")
    ligands = [{"name": name, "smiles": "C[NH3+]", "drug_class": "agonist"} for name in named]
    found = choices([{**plain, "name": "Faslodex"}, drawn, a_file], ligands)
    both = {"name": "x", "smiles": "CC(O)F", "stereo": "enumerate"}
    row = {"name": "from the file", "smiles": "C[NH3+]", "drug_class": "agonist", "protonation": "as written"}
    assert found == {"fulvestrant": "Faslodex", "x (R)": both, "x (S)": both, "from the file": row}
