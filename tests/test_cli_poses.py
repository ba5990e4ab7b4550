"""``esr1md ligands pose``: what it writes, what it refuses, and poses in a stranger's frame."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from esr1md import cli
from esr1md.catalogue import data_path
from esr1md.errors import StageError
from esr1md.poses import request
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


def test_a_call_that_was_interrupted_early_goes_on(run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def unlucky(*_, **__):
        raise StageError("pose", "no conformer could be made")

    question = ("--ligand", "estradiol", "--state", "agonist", "--out", "poses")
    monkeypatch.setattr(request, "build_receptor", interrupted)
    assert run(*question)[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(request, "place_ligand", unlucky)
    code, out, _ = run(*question)
    assert code == 3 and "no conformer could be made" in out
    (row,) = json.loads(Path("poses/request.json").read_text())["ligands"]
    assert row["poses"] == [] and "no conformer" in row["failure"]


@pytest.mark.slow
def test_ctrl_c_ends_the_search_whatever_handler_rdkit_has_left_behind(tmp_path):
    command = [sys.executable, "-m", "esr1md.cli", "ligands", "pose", "--ligand", "estradiol", "--state", "agonist",
               "--threads", "2", "--out", str(tmp_path / "poses")]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(tmp_path.glob("poses/estradiol/logs/*.log")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(3.0)  # by then substructure searches have been made
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "run the same command again to go on" in said
    assert not (tmp_path / "poses" / "estradiol" / "record.json").exists()


@pytest.mark.slow
def test_poses_lie_in_the_frame_of_the_given_file_and_are_read_again(run, tmp_path, monkeypatch):
    structure = gemmi.read_structure(str(bundled_model("agonist")))
    structure.remove_hydrogens()
    for residue in structure[0][0]:
        for atom in residue:
            atom.pos = gemmi.Position(*(TURN @ np.array(atom.pos.tolist()) + 12.0))
    structure.write_pdb("mine.pdb")
    crystal = Chem.MolFromMolFile(str(data_path("structures") / "poses" / "1QKU_EST.sdf"))
    crystal.GetConformer().SetPositions(crystal.GetConformer().GetPositions() @ TURN.T + 12.0)
    Chem.MolToMolFile(crystal, "box.sdf")
    question = ("--smiles", ESTRADIOL, "--receptor", "mine.pdb", "--box-ligand", "box.sdf", "--exclude", "1QKU")
    code, out, err = run(*question, "--out", "there", "--json")
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

    def placed_again(*_, **__):
        raise StageError("pose", "placed again")

    monkeypatch.setattr(request, "place_ligand", placed_again)
    assert json.loads(run(*question, "--out", "there", "--json")[1]) == document
    code, out, _ = run(*question, "--out", "there", "--json", "--seed", "2")
    assert code == 3 and json.loads(out)["ligands"][0]["failure"] == "pose: placed again"
