"""``esr1md ligands pose``: what it writes, what it refuses, and poses in a stranger's frame."""

from __future__ import annotations

import json

import gemmi
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from esr1md import cli
from esr1md.catalogue import data_path
from esr1md.receptor.frame import bundled_model

ESTRADIOL = "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O"
TURN = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESR1MD_TRACEBACK", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["ligands", "pose", *arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--state", "agonist"), "name one ligand"),
        (("--ligand", "estradiol", "--smiles", "C", "--state", "agonist"), "name one ligand"),
        (("--ligand", "estradiol"), "say where to pose"),
        (("--ligand", "estradiol", "--state", "agonist", "--receptor", "x.pdb"), "say where to pose"),
        (("--ligand", "estradiol", "--state", "agonst"), "did you mean 'agonist'"),
        (("--ligand", "estradiol", "--state", "agonist", "--box-ligand", "x.sdf"), "--box-ligand shows the pocket of"),
        (("--ligand", "estradiol", "--receptor", "x.pdb", "--variant", "Y537S"), "taken with its own residues"),
        (("--ligand", "estradiol", "--receptor", "nowhere.pdb"), "nowhere.pdb"),
        (("--ligand", "estradiole", "--state", "agonist"), "estradiol"),
        (("--smiles", "C1CC", "--state", "agonist"), "C1CC"),
        (("--ligand", "estradiol", "--state", "agonist", "--exclude", "nobody"), "no reference pose of 'nobody'"),
    ],
)
def test_bad_requests_are_one_line(run, arguments, message):
    code, out, err = run(*arguments, "--out", "poses")
    assert code == 2 and out == "" and "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in " ".join(err.split())


def test_a_folder_with_something_else_is_left_alone(run, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("mine")
    code, _, err = run("--ligand", "estradiol", "--state", "agonist", "--out", "thesis")
    assert code == 2 and "holds something else than poses" in err
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "mine"


@pytest.mark.slow
def test_poses_lie_in_the_frame_of_the_given_file(run, tmp_path):
    structure = gemmi.read_structure(str(bundled_model("agonist")))
    structure.remove_hydrogens()
    for residue in structure[0][0]:
        for atom in residue:
            atom.pos = gemmi.Position(*(TURN @ np.array(atom.pos.tolist()) + 12.0))
    structure.write_pdb("mine.pdb")
    crystal = Chem.MolFromMolFile(str(data_path("structures") / "poses" / "1QKU_EST.sdf"))
    crystal.GetConformer().SetPositions(crystal.GetConformer().GetPositions() @ TURN.T + 12.0)
    Chem.MolToMolFile(crystal, "box.sdf")
    code, out, err = run(
        "--smiles",
        ESTRADIOL,
        "--receptor",
        "mine.pdb",
        "--box-ligand",
        "box.sdf",
        "--out",
        "there",
        "--exclude",
        "1QKU",
        "--json",
    )
    assert code == 0, err
    document = json.loads(out)
    (ligand,) = document["ligands"]
    first = ligand["poses"][0]
    assert document["receptor"]["state"] == "agonist" and ligand["failure"] is None
    assert first["rank"] == 1 and first["confidence"] in ("high", "medium") and first["reason"]
    assert first["reference"] != "1QKU_EST" and first["failed_checks"] == []
    assert first["anchors_angstrom"]["hydroxyl_E353"] < 3.6
    poses = list(Chem.SDMolSupplier(f"there/{ligand['name']}/poses.sdf"))
    assert len(poses) == len(ligand["poses"]) <= 5
    assert rdMolAlign.CalcRMS(Chem.RemoveHs(poses[0]), crystal) < 1.5
    again = Chem.MolFromMolFile(f"there/{first['sdf']}")
    assert np.allclose(again.GetConformer().GetPositions(), poses[0].GetConformer().GetPositions())
