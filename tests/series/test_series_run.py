"""A series computed to its end: kept as it comes, gone on with, nothing stopped by one bad compound."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md import cli
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.errors import InputError, StageError
from esr1md.ligand.affinity_table import Measured
from esr1md.ligand.parameters import parametrise
from esr1md.ligand.states import ligand_from_smiles
from esr1md.poses.references import load_references
from esr1md.receptor.frame import bundled_model
from esr1md.series import energy, run
from esr1md.series.compare import compare_columns, compared, results_csv
from esr1md.series.compounds import compounds_of
from esr1md.series.page import series_page
from esr1md.specs import HelixState
from esr1md.store import Store
from esr1md.store.locks import only_run

CPU = PlatformChoice("CPU", {"Threads": "1"}, "test")
TAILS = ("Cl", "Br", "C", "OC", "F")


@pytest.fixture
def compounds():
    rows = [
        Measured(i + 2, f"c{i}", f"Oc1cc({tail})c2oc(-c3ccc(O)cc3)cc2c1", "s", -8.0 - i) for i, tail in enumerate(TAILS)
    ]
    return compounds_of(rows)[0]


@pytest.fixture
def setting(tmp_path):
    pdb = bundled_model("agonist")
    return run.Setting(tmp_path / "store", tmp_path / "energies", pdb, HelixState.AGONIST, "0" * 64, (), CPU, poses=2)


@pytest.fixture
def stand_ins(monkeypatch):
    """Posing and scoring that take no time, in this process; the third compound cannot be posed."""
    calls: list[str] = []

    def place(form, setting):
        calls.append(f"place {form.ligand.name}")
        if form.ligand.name == "c2":
            raise StageError("pose", "it does not fit")
        mol = Chem.AddHs(Chem.MolFromSmiles(form.ligand.smiles))
        AllChem.EmbedMolecule(mol, randomSeed=1)

        def make(folder):
            rows = []
            for rank in (1, 2, 3):
                Chem.MolToMolFile(mol, str(folder / f"pose_{rank}.sdf"))
                rows.append({"rank": rank, "sdf": f"pose_{rank}.sdf", "above_kcal": float(rank - 1),
                             "confidence": "high", "reason": "", "reference": "x", "vina_kcal": -9.0 - rank,
                             "misfit": ""})  # fmt: skip
            (folder / "record.json").write_text(json.dumps({"poses": rows}))

        identity = run.pose_identity(form, setting)
        Store(setting.store).produce("poses", run.digest_of(identity), make, spec=identity)
        return run.digest_of(identity)

    def score(form, poses, rank, setting):
        calls.append(f"score {form.ligand.name} {rank}")
        terms = dict.fromkeys(("vdw", "coulomb", "gb", "surface", "strain"), 1.0)
        binding = -30.0 - int(form.ligand.name[1:2]) * 2 + rank
        return {**terms, "interaction": binding - 1.0, "binding": binding, "moved_angstrom": 0.1}

    table = {run.place_form: place, run.score_pose: score}
    monkeypatch.setattr(run.WorkerPool, "call", lambda self, function, *arguments: table[function](*arguments))
    return calls


def test_every_compound_is_scored_but_the_one_that_fails(compounds, setting, stand_ins):
    said = []
    results, modes = run.compute(compounds, setting, 2, lambda *step: said.append(step))
    assert [result["score"] is None for result in results] == [False, False, True, False, False]
    assert results[2]["failures"] == ["c2: pose: it does not fit"]
    assert results[0]["score"] == pytest.approx(-29.0, abs=0.1)  # pose 1, and next to nothing for its state
    assert results[0]["in_mode"] and results[0]["vina"] == -10.0 and modes["s"].scaffold
    assert said[0] == ("posing", 0, 5) and ("scoring", 8, 8) in said
    assert sum(call.startswith("score") for call in stand_ins) == 8  # two poses of each of four
    comparison = compared(compounds, results)
    ours = comparison["scores"][0]
    assert comparison["n"] == 4 and ours["pooled"]["tau"]["value"] == pytest.approx(1.0)
    by_name = {row["score"]: row for row in comparison["scores"]}
    assert by_name["molecular weight"]["pooled"]["rmse"]["value"] is None
    assert by_name["molecular weight"]["pooled"]["n"] == 4
    json.dumps(comparison, allow_nan=False)
    lines = results_csv(compounds, results).splitlines()
    assert len(lines) == 6 and "it does not fit" in lines[3]
    document = {"comparison": comparison, "notes": ["<b>"], "left_out": [],
                "compounds": [{"name": c.name, **r} for c, r in zip(compounds, results, strict=True)]}  # fmt: skip
    page = series_page("title", compounds, results, document)
    assert comparison["headline"].split(",")[0] in page and "&lt;b&gt;" in page and "src='http" not in page


def test_a_fault_in_the_store_stops_everything(compounds, setting, monkeypatch):
    def full(self, function, *arguments):
        raise InputError("the disk is full")

    monkeypatch.setattr(run.WorkerPool, "call", full)
    with pytest.raises(InputError, match="disk is full"):
        run.compute(compounds, setting, 2, lambda *step: None)


def test_what_decides_an_energy_is_in_its_identity(compounds, setting, monkeypatch):
    form = compounds[0].forms[0]
    one = run.pose_identity(form, setting)
    assert run.pose_identity(compounds[1].forms[0], setting) != one
    assert run.pose_identity(form, run.dataclasses.replace(setting, receptor="1" * 64)) != one
    assert run.pose_identity(form, run.dataclasses.replace(setting, exclude=("4PPS",))) != one
    before = run.energy_identity("a", 1)
    assert run.energy_identity("a", 2) != before != run.energy_identity("b", 1)
    monkeypatch.setattr(energy, "MOBILE_NM", 0.5)
    assert run.energy_identity("a", 1) != before


def test_a_null_model_that_wins_is_the_headline():
    measured = list(np.arange(12.0))
    noise = list(np.random.default_rng(2).normal(size=12))
    found = compare_columns(measured, {"MM/GBSA": noise, "cLogP": measured}, ["a"] * 12)
    assert found["headline"].startswith("A null model wins") and "cLogP" in found["headline"]
    found = compare_columns(measured, {"MM/GBSA": measured, "cLogP": noise}, ["a"] * 12)
    assert "above the best null model" in found["headline"] and "cannot tell" not in found["headline"]
    found = compare_columns(measured[:2], {"MM/GBSA": measured[:2], "cLogP": noise[:2]}, ["a"] * 2)
    assert "too few" in found["headline"]


def test_one_run_at_a_time(tmp_path):
    with only_run(tmp_path, "esr1md series"), pytest.raises(InputError, match="another 'esr1md series'"):
        with only_run(tmp_path, "esr1md series"):
            pass


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("smiles,pKi\nCCO,5\n", (), "say where the compounds bind"),
        ("smiles,pKi\nCCO,5\n", ("--state", "agonst"), "did you mean 'agonist'"),
        ("smiles,Ki\nCCO,5\n", ("--state", "agonist"), "--value-kind"),
        ("smiles,pKi\nC1CC,5\n", ("--state", "agonist"), "no compound can be prepared"),
        ("smiles,pKi\nCCO,5\n", ("--receptor", "nowhere.pdb"), "nowhere.pdb"),
        ("smiles,pKi\nCCO,5\n", ("--receptor", "x.pdb", "--variant", "Y537S"), "taken with its own residues"),
        ("smiles,pKi\nCCO,5\n", ("--state", "agonist", "--exclude", "nobody"), "no reference pose of 'nobody'"),
        ("smiles,pKi\nCCO,5\n", ("--state", "agonist", "--out", "full"), "holds something else than a series"),
    ],
)
def test_bad_requests_are_one_line(capfd, tmp_path, monkeypatch, text, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESR1MD_TRACEBACK", raising=False)
    (tmp_path / "series.csv").write_text(text)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    code = cli.main(["series", "series.csv", *arguments])
    out, err = capfd.readouterr()
    assert code == 2 and out == "" and message in " ".join(err.split()) and "Traceback" not in err


@pytest.mark.slow
def test_the_energy_of_estradiol_where_its_crystal_has_it(tmp_path):
    """Signs and sizes of every term; last digits depend on the processor."""
    estradiol = ligand_from_smiles("estradiol", "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O")
    parameters = parametrise(estradiol, tmp_path)
    reference = next(each for each in load_references() if each.name == "1QKU_EST")
    mol = parameters.molecule()
    match = mol.GetSubstructMatch(Chem.RemoveHs(reference.mol))
    places = {
        atom: point
        for atom, point in zip(match, Chem.RemoveHs(reference.mol).GetConformer().GetPositions(), strict=True)
    }
    posed = AllChem.ConstrainedEmbed(Chem.Mol(mol), _core(mol, places), randomseed=1)
    posed.SetProp("atom_names", " ".join(parameters.atom_names))
    with Chem.SDWriter(str(tmp_path / "pose.sdf")) as writer:
        writer.write(posed)
    found = energy.pose_energy(
        bundled_model("agonist"), parameters, tmp_path / "pose.sdf", energy.series_protocol(), CPU, tmp_path / "at.pdb"
    )
    assert -60 < found.interaction < -25 and found.vdw < -30 and found.surface < 0 < found.gb
    assert 0 <= found.strain < 10 and found.moved_angstrom < 1.0
    assert found.binding == pytest.approx(found.interaction + found.strain)
    assert (tmp_path / "at.pdb").stat().st_size > 100_000


def _core(mol: Chem.Mol, places: dict[int, np.ndarray]) -> Chem.Mol:
    heavy = Chem.RemoveHs(mol)
    core = Chem.Mol(heavy)
    for i in range(core.GetNumAtoms()):
        core.GetConformer().SetAtomPosition(i, places[i].tolist())
    return core
