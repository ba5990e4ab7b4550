"""Reading a store once for each change of it, and saying what cannot be read."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
from example_store import example_store
from rdkit import Chem

from esr1md.config import Weights
from esr1md.dashboard import data as reading
from esr1md.dashboard.address import Address, cell_href, href
from esr1md.dashboard.app import make_app
from esr1md.dashboard.cell_data import read_cell
from esr1md.dashboard.comparing import difference, residue_differences
from esr1md.dashboard.data import Reader, read_screen
from esr1md.dashboard.exports import encoded, shown_table
from esr1md.dashboard.memo import Memo
from esr1md.dashboard.rows import ranking_rows, row_key, weighted_ranks
from esr1md.dashboard.settings import DashboardSettings
from esr1md.dashboard.substructure import holding, molecules_of, pattern_of
from esr1md.report import page
from esr1md.report.depiction import VERDICT_COLOURS, in_words
from esr1md.scoring.priorities import reweighed
from esr1md.scoring.scores import Score, supported_digits
from esr1md.store import Store

NAME = "quickstart"


@pytest.fixture
def own(tmp_path):
    """A store that the test may change."""
    return tmp_path / "store", example_store(tmp_path / "store", n_ligands=3)


def rewrite(path, text: str) -> None:
    """Write as a screen does: beside, then renamed; with another time."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    later = path.stat().st_mtime + 5
    os.utime(beside, (later, later))
    os.replace(beside, path)


def wait(seen, seconds: float = 20.0):
    limit = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < limit
        time.sleep(0.02)


# -- once for each change ---------------------------------------------------------------------------------


def test_a_screen_is_read_once_until_it_changes(own, monkeypatch):
    root, ranking = own
    monkeypatch.setattr(reading, "LOOK_S", 0.0)
    count = []
    read = reading.read_screen
    monkeypatch.setattr(reading, "read_screen", lambda *a, **k: count.append(1) or read(*a, **k))
    reader = Reader(Store(root))
    threads = [threading.Thread(target=reader.screen, args=(NAME,)) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    first = reader.screen(NAME)
    assert len(count) == 1 and len(first.ranking.ranking) == 3
    time.sleep(0.3)
    assert reader.screen(NAME) is first and len(count) == 1
    changed = ranking.model_copy(update={"ranking": ranking.ranking[:2]})
    rewrite(root / "screens" / NAME / "ranking.json", changed.model_dump_json())
    wait(lambda: len(reader.screen(NAME).ranking.ranking) == 2)
    assert len(count) == 2 and reader.screen(NAME).version != first.version
    reader.close()


def test_a_name_that_is_no_screen_of_the_store_is_not_read(own):
    root, _ = own
    shutil.copytree(root / "screens" / NAME, root / "elsewhere")
    reader = Reader(Store(root))
    for name in ("../elsewhere", f"{NAME}/", "gone", ""):
        assert reader.screen(name).ranking is None and "no such screen" in reader.screen(name).problem
    assert reader.screen(NAME).ranking is not None
    reader.close()


def test_a_running_screen_shows_what_has_finished(real_store, tmp_path):
    root = tmp_path / "running"
    shutil.copytree(real_store, root)
    store = Store(root)
    run = root / "screens" / "tiny" / "run.json"
    said = json.loads(run.read_text()) | {"finished": None}
    rewrite(run, json.dumps(said))
    (root / "screens" / "tiny" / "ranking.json").unlink()
    before = sorted(p for p in root.rglob("*"))
    screen = read_screen(store, "tiny")
    assert screen.live and not screen.problem
    assert sum(c.n_replicas for c in screen.ranking.cells) == 8
    assert sorted(p for p in root.rglob("*")) == before  # looking writes nothing


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("ranking.json", "{", "ranking.json is damaged"),
        ("ranking.json", '{"screen": 1}', "ranking.json is damaged"),
        ("plan.json", "not json", "is damaged"),
        ("plan.json", "[]", "cannot be read"),
    ],
)
def test_a_damaged_screen_is_a_problem_in_words(own, file, content, said):
    root, _ = own
    (root / "screens" / NAME / file).write_text(content)
    screen = read_screen(Store(root), NAME)
    assert screen.ranking is None and said in screen.problem and "Traceback" not in screen.problem


def test_memo_makes_each_result_once():
    made = []
    memo = Memo(lambda key: time.sleep(0.05) or made.append(key) or key * 2, size=2)
    threads = [threading.Thread(target=memo, args=(1,)) for _ in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert made == [1] and memo(1) == 2
    memo(2), memo(3), memo(1)
    assert made == [1, 2, 3, 1]  # the oldest was forgotten


# -- cells ------------------------------------------------------------------------------------------------


def test_a_cell_says_what_is_missing_and_shows_the_rest(own):
    root, ranking = own
    cell = ranking.cells[0]
    whole, broken = (root / "replicas" / digest for digest in cell.replicas)
    (broken / "observation.parquet").write_bytes(b"PAR1 nothing")
    (broken / "contacts.json").write_text("[")
    (broken / "final.pdb").unlink()
    found = read_cell(Store(root), read_screen(Store(root), NAME), (cell.variant, cell.ligand, cell.state))
    good, bad = found.replicas
    assert good.digest == whole.name and len(good.frames) == 21
    assert bad.frames.empty and bad.contacts == {}
    assert any("observation.parquet is damaged" in p for p in found.problems)
    assert any("contacts.json is damaged" in p for p in found.problems)
    assert any("final.pdb is missing" in p for p in found.problems)
    (broken / "done.json").unlink()
    again = read_cell(Store(root), read_screen(Store(root), NAME), found.cell)
    assert any("half-written" in p for p in again.problems)


def test_differences_have_signs_and_intervals(own):
    one = Score(value=3.0, low=2.0, high=4.0, n_replicas=2, unit="angstrom")
    other = Score(value=1.0, low=0.0, high=2.0, n_replicas=3, unit="angstrom")
    apart = difference(one, other)
    assert apart.value == 2.0 and apart.n_replicas == 2
    assert apart.low == pytest.approx(2 - np.sqrt(2)) and apart.high == pytest.approx(2 + np.sqrt(2))
    root, ranking = own
    screen = read_screen(Store(root), NAME)
    name, state = ranking.cells[0].ligand, ranking.cells[0].state
    cells = [read_cell(Store(root), screen, (variant, name, state)) for variant in ("Y537S", "WT")]
    residues = residue_differences(*cells)
    assert residues[351].value == pytest.approx(0.0) and residues[351].n_replicas == 2


# -- rows, weights, substructures, exports ----------------------------------------------------------------


def test_rows_are_the_ranking_then_what_is_only_predicted(own):
    root, ranking = own
    rows = ranking_rows(read_screen(Store(root), NAME))
    assert [row["ligand"] for row in rows[:3]] == [line.ligand for line in ranking.ranking]
    assert rows[3]["ligand"] == "imlunestrant" and rows[3]["origin"] == "predicted" and rows[3]["rank"] is None
    line = ranking.ranking[0]
    assert rows[0]["binding"] == pytest.approx(line.binding.value, abs=1e-3)
    letters = {"r": "retained", "w": "weakened", "l": "lost", "c": "cannot tell"}
    comparison = next(c for c in ranking.comparisons if (c.ligand, c.variant) == (line.ligand, "D538G"))
    assert letters[rows[0]["v1"][0]] == comparison.binding_verdict
    assert rows[0]["approval"]  # from the catalogue


@pytest.mark.parametrize(
    ("half", "digits"), [(None, 1), (0.0, 1), (3.2, 0), (1.8, 1), (12.0, 0), (0.4, 1), (0.14, 2), (0.003, 2)]
)
def test_no_more_digits_than_the_interval_supports(half, digits):
    low, high = (None, None) if half is None else (5 - half, 5 + half)
    assert supported_digits(Score(value=5.0, low=low, high=high, n_replicas=2, unit="ps")) == digits


@pytest.mark.parametrize(
    ("low", "high", "options", "said"),
    [
        (-2.1, -0.3, {}, "\u22121.2 kcal/mol (\u22122.1 to \u22120.3)"),
        (-2.1, 0.4, {"signed": False}, "\u22121.2 kcal/mol (\u22122.1 to 0.4)"),
        (-2.1, 0.4, {"with_unit": False}, "\u22121.2 (\u22122.1 to +0.4)"),
        (None, None, {}, "\u22121.2 kcal/mol"),
        (None, None, {"unknown": "too few"}, "\u22121.2 kcal/mol (too few)"),
        (-1.2, -1.2, {"unknown": "too few"}, "\u22121.2 kcal/mol"),
    ],
)
def test_scores_in_words(low, high, options, said):
    assert in_words(Score(value=-1.2, low=low, high=high, n_replicas=2, unit="kcal/mol"), **options) == said


@pytest.mark.parametrize(
    ("sheet", "prefix"),
    [(page.ASSETS / "report.css", ".chip."), (Path(reading.__file__).parent / "assets" / "dashboard.css", ".")],
)
def test_verdicts_have_the_colours_that_both_stylesheets_give_them(sheet, prefix):
    css = sheet.read_text()
    for name, value in re.findall(r"(--[a-z-]+):(#\w+)", css.split("}")[0]):  # on white paper
        css = css.replace(f"var({name})", value)
    rules = {names.strip(): declared for names, declared in re.findall(r"([^{}]+){([^{}]*)}", css)}
    for verdict, (fill, border, text) in VERDICT_COLOURS.items():
        declared = next(rules[names] for names in rules if f"{prefix}{verdict}" in names.split(","))
        assert declared == f"background:{fill};color:{text};border-color:{border}"


def test_reweighing_orders_as_a_new_ranking_would(own):
    lines = own[1].ranking
    group = [line for line in lines if line.state == "antagonist"]
    alone = reweighed(group, Weights(binding=1, helix12=0, resistance=0))
    by_binding = sorted(group, key=lambda line: line.binding.value)
    assert sorted(alone, key=lambda name: alone[name].rank) == [line.ligand for line in by_binding]
    helix12 = reweighed(group, Weights(binding=0, helix12=1, resistance=0))
    best = max(group, key=lambda line: line.helix12.value)
    assert helix12[best.ligand].rank == 1
    assert all(p.low <= p.rank <= p.high for p in helix12.values())


def test_weighted_ranks_are_by_row(own):
    screen = read_screen(Store(own[0]), NAME)
    ranks = weighted_ranks(screen, (1.0, 0.0, 0.0))
    for state in {line.state for line in own[1].ranking}:
        names = [line.ligand for line in own[1].ranking if line.state == state]
        if len(names) > 1:
            assert sorted(ranks[row_key(name, state)][0] for name in names) == list(range(1, len(names) + 1))
    assert weighted_ranks(screen, (0.0, 0.0, 0.0)) == {}


def test_substructures(own):
    molecules = molecules_of(read_screen(Store(own[0]), NAME))
    assert "fulvestrant" in holding(molecules, pattern_of("S(=O)"))
    assert "estradiol" not in holding(molecules, pattern_of("S(=O)"))
    for bad in ("", "c1ccc(", "C" * 401):
        assert pattern_of(bad) is None


def test_exports_hold_what_is_shown(own, tmp_path):
    root, ranking = own
    app = make_app(DashboardSettings(store=root))
    screen = app.server.extensions["esr1md"].reader.screen(NAME)
    keys = [row_key(line.ligand, line.state) for line in reversed(ranking.ranking)]
    columns = ["rank", "ligand", "binding", "v0", "weighted", "review"]
    with app.server.test_request_context("/"):
        table = shown_table(screen, [*keys, "antagonist|nobody"], columns, None)
        mine = shown_table(screen, keys[:1], ["weighted"], {keys[0]: (7, 1, 9)})
    assert list(table["ligand"]) == [line.ligand for line in reversed(ranking.ranking)]
    last = ranking.ranking[-1]
    assert table.loc[0, "binding"] == last.binding.value and table.loc[0, "binding_low"] == last.binding.low
    assert table.loc[0, "binding_unit"] == "kcal/mol" and "helix12" not in table
    assert "binding verdict, Y537S" in table and "binding verdict, D538G" not in table
    assert mine.loc[0, "weighted_rank"] == 7

    for kind, reader in (("csv", pandas.read_csv), ("parquet", pandas.read_parquet), ("xlsx", pandas.read_excel)):
        path = tmp_path / f"out.{kind}"
        path.write_bytes(encoded(table, kind, screen))
        read = reader(path)
        assert list(read["ligand"]) == list(table["ligand"])
        np.testing.assert_allclose(read["binding"], table["binding"])
    path = tmp_path / "out.sdf"
    path.write_bytes(encoded(table, "sdf", screen))
    molecules = list(Chem.SDMolSupplier(str(path)))
    assert [m.GetProp("_Name") for m in molecules] == list(table["ligand"])
    assert float(molecules[0].GetProp("binding")) == pytest.approx(last.binding.value)


def test_exports_hold_no_formula(own):
    screen = read_screen(Store(own[0]), NAME)
    table = pandas.DataFrame({"ligand": ["=cmd|' /C calc'!A0", "fine"], "binding": [1.0, 2.0]})
    assert "\n'=cmd" in encoded(table, "csv", screen).decode()
    assert pandas.read_excel(io.BytesIO(encoded(table, "xlsx", screen))).loc[0, "ligand"].startswith("'=cmd")


# -- addresses --------------------------------------------------------------------------------------------


def test_address_and_back():
    to = href("/", screen="a b", **{"class": ["SERM", "SERD"], "find": ""})
    address = Address.of(to.partition("?")[2])
    assert address["screen"] == "a b" and address.choices("class", ["SERM", "SERD", "x"]) == ["SERM", "SERD"]
    assert "find" not in to and address["find"] == ""
    assert Address.of(cell_href("s", "Y537S", "a&b=c", "agonist").partition("?")[2])["ligand"] == "a&b=c"
    assert address.choice("screen", ["other"], "other") == "other"
    assert [Address.of(f"w={w}").number("w", 1.0, 0, 3) for w in ("2", "9", "nan", "x", "")] == [2, 3, 1, 1, 1]
