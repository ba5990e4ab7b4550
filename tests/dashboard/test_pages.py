"""Every page in a real browser, as a user walks through it; the console stays silent."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pandas
import pytest
from example_store import example_store, write_screen
from rdkit import Chem

from esr1md.config import load_screen
from report_example import make_screen

pytestmark = pytest.mark.browser

CELL = "/cell?screen=tiny&variant=Y537S&ligand=estradiol&state=agonist"
PAGES = ("/", "/matrix", "/compare", "/evidence", "/library", "/review", "/runs")


def address_of(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


# -- all pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["example", "real", "quickstart"])
def test_pages_open_without_a_complaint(store, request, visit):
    url = request.getfixturevalue(f"{store}_url")
    visited = visit(url + "/")
    for path in PAGES:
        visited.go(path)
        assert visited.page.locator("#page .problem h2").count() == 0, visited.text()
        assert visited.page.locator("nav a.current").count() == 1
        assert " - " in visited.page.title()
    assert visited.complaints == []


def test_pages_in_the_dark(example_url, visit):
    visited = visit(example_url + "/matrix", color_scheme="dark")
    visited.page.wait_for_selector(".js-plotly-plot .main-svg")
    style = "element => getComputedStyle(element).getPropertyValue"
    assert visited.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert visited.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 28, 34)"
    tick = visited.page.locator(".js-plotly-plot .ytick text").first.evaluate(f"{style}('fill')")
    assert tick == "rgb(231, 235, 240)"  # light text: figures follow the page
    visited.page.click("#theme")
    visited.page.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
    visited.settle()
    assert visited.complaints == []


def test_unknown_addresses_say_so(example_url, visit):
    visited = visit(example_url + "/nothing")
    assert "no such page" in visited.text()
    visited.go("/?screen=gone")
    assert "There is no screen 'gone'" in visited.text()
    visited.go("/cell?screen=quickstart&variant=Y537S&ligand=nobody&state=agonist")
    assert "no such cell" in visited.text()
    assert visited.complaints == []


def test_an_empty_store_says_what_to_do(tmp_path, serve, visit):
    visited = visit(serve(tmp_path / "empty") + "/")
    assert "Nothing has been screened" in visited.text() and "esr1md screen quickstart" in visited.text()
    visited.go("/runs")
    assert "No screen has been started" in visited.text()
    assert visited.complaints == []


# -- ranking ----------------------------------------------------------------------------------------------


def test_ranking_is_filtered_and_the_address_remembers(example_url, example, visit):
    visited = visit(example_url + "/")
    page = visited.page
    page.wait_for_selector("[row-id='antagonist|fulvestrant']")
    all_rows = visited.rows()
    page.fill("#ranking-find", "fulv")
    visited.wait_for_rows(["antagonist|fulvestrant"])
    visited.wait_for_text("1 of 6 ligands", "#ranking-count")
    page.fill("#ranking-find", "")
    visited.choose("ranking-class", "SERM")
    serms = [f"antagonist|{n}" for n in ("4-hydroxytamoxifen", "raloxifene")]
    visited.wait_for_rows([row for row in all_rows if row in serms])
    page.fill("#ranking-smarts", "c1ccsc1")
    visited.wait_for_rows(["antagonist|raloxifene"])
    visited.wait_for_text("in 1 of", "#ranking-smarts-said")
    page.wait_for_function("() => location.search.includes('smarts')")
    kept = address_of(page)
    assert kept["class"] == "SERM" and kept["smarts"] == "c1ccsc1"

    colleague = visit(page.url)
    colleague.wait_for_rows(["antagonist|raloxifene"])
    assert colleague.page.input_value("#ranking-smarts") == "c1ccsc1"

    page.fill("#ranking-smarts", "c1ccc(")
    visited.wait_for_text("not a SMARTS pattern", "#ranking-smarts-said")
    assert visited.complaints == [] and colleague.complaints == []


def test_verdicts_filter_and_lead_to_cells(example_url, example, visit):
    ranking = example[1]
    visited = visit(example_url + "/?verdict=0w&in=v1")
    wanted = {f"{c.state}|{c.ligand}" for c in ranking.comparisons
              if c.variant == "D538G" and c.binding_verdict == "weakened"}  # fmt: skip
    visited.page.wait_for_selector("[row-id]")
    assert wanted and set(visited.rows()) == wanted
    ligand = next(iter(wanted)).split("|")[1]
    visited.page.locator("a.marks[title='open D538G']").first.click()
    visited.wait_for_text(f"{ligand} in D538G", "#page h1")
    assert address_of(visited.page)["variant"] == "D538G"
    visited.page.go_back()
    visited.wait_for_text("Ranking", "#page h1")
    assert set(visited.rows()) == wanted or visited.page.wait_for_selector("[row-id]")
    assert visited.complaints == []


def test_weights_move_the_ranks(tmp_path, serve, visit):
    root = tmp_path / "store"
    ranking = example_store(root)
    mine = [line for line in ranking.ranking if line.state == "antagonist"]
    turned = dict(zip((line.ligand for line in mine), reversed([line.helix12 for line in mine]), strict=True))
    lines = [line.model_copy(update={"helix12": turned.get(line.ligand, line.helix12)}) for line in ranking.ranking]
    write_screen(root, ranking.model_copy(update={"ranking": tuple(lines)}))
    by_binding = [f"antagonist|{line.ligand}" for line in sorted(mine, key=lambda line: line.binding.value)]

    visited = visit(serve(root) + "/?wb=3&wh=0&wr=0&class=SERM~SERD&origin=simulated")
    visited.wait_for_text("your weights", "#ranking-weights-said")
    visited.wait_for_rows(by_binding)
    for name, key in (("wb", "Home"), ("wh", "End")):
        visited.page.locator(f"#ranking-{name} [role=slider]").focus()
        visited.page.keyboard.press(key)
    visited.wait_for_rows(by_binding[::-1])
    visited.page.wait_for_function("() => new URLSearchParams(location.search).get('wh') === '3'")
    assert visited.page.locator(".moved").count() > 0  # arrows against the screen's own weights
    assert visited.complaints == []


def test_grouped_rows_stay_together_however_sorted(example_url, visit):
    visited = visit(example_url + "/?group=class")
    visited.page.wait_for_selector("[col-id=group] >> text=SERD")
    visited.page.locator(".ag-header-cell[col-id=binding] .ag-header-cell-text").click()
    groups = visited.page.locator(".ag-pinned-left-cols-container [row-id]").evaluate_all(
        "rows => rows.map(r => [+r.getAttribute('row-index'), r.querySelector('[col-id=group]').innerText])"
    )
    order = [name for _, name in sorted(groups)]
    assert (
        len(set(order)) > 1
        and len([1 for a, b in zip(order, order[1:], strict=False) if a != b]) == len(set(order)) - 1
    )
    assert visited.complaints == []


@pytest.mark.parametrize("kind", ["csv", "parquet", "sdf", "xlsx"])
def test_export_is_exactly_what_is_shown(kind, example_url, example, visit, tmp_path):
    visited = visit(example_url + "/?class=SERD")
    visited.page.wait_for_selector("[row-id='antagonist|fulvestrant']")
    shown = [row.split("|")[1] for row in visited.rows()]
    with visited.page.expect_download() as waiting:
        visited.page.click(f"#ranking-{kind}")
    path = tmp_path / f"shown.{kind}"
    waiting.value.save_as(path)
    assert waiting.value.suggested_filename == f"quickstart-ranking.{kind}"
    if kind == "sdf":
        names = [m.GetProp("_Name") for m in Chem.SDMolSupplier(str(path))]
    else:
        table = {"csv": pandas.read_csv, "parquet": pandas.read_parquet, "xlsx": pandas.read_excel}[kind](path)
        names = list(table["ligand"])
        line = next(r for r in example[1].ranking if r.ligand == names[0])
        assert table.loc[0, "binding"] == pytest.approx(line.binding.value)
        assert table.loc[0, "binding_low"] == pytest.approx(line.binding.low)
    assert names == shown
    assert visited.complaints == []


# -- matrix -----------------------------------------------------------------------------------------------


def test_matrix_hatches_what_cannot_be_told_and_opens_cells(example_url, example, visit):
    visited = visit(example_url + "/matrix")
    page = visited.page
    page.wait_for_selector("#matrix-map .main-svg")
    figure = page.evaluate(
        """() => {
          const plot = document.querySelector('#matrix-map .js-plotly-plot');
          const squares = [...plot.calcdata[1][0].z].flatMap(row => [...row]);
          const hatch = plot.data[2].x.filter(x => x === null).length;
          return {coloured: squares.filter(Number.isFinite).length, hatch};
        }"""
    )
    undecided = [c for c in example[1].comparisons if c.binding_verdict == "cannot tell"]
    assert figure["coloured"] == len(example[1].comparisons) - len(undecided)  # never a colour for what cannot be told
    assert figure["hatch"] == 11 * (len(undecided) + 2)  # the two of the predicted ligand's mutants as well
    page.get_by_text("The same as a table").click()
    page.locator("#matrix-table a", has_text="cannot tell").first.click()
    page.wait_for_selector("#page h1")
    assert urlsplit(page.url).path == "/cell"
    page.go_back()
    page.wait_for_selector("#matrix-map .main-svg")
    page.locator("#matrix-map .nsewdrag").first.click(position={"x": 30, "y": 15}, force=True)
    page.wait_for_function("() => location.pathname === '/cell'")
    assert visited.complaints == []


# -- cell -------------------------------------------------------------------------------------------------


def test_cell_shows_what_was_simulated_and_plays_it(real_url, real_store, visit):
    visited = visit(real_url + CELL, width=760, height=700)
    page = visited.page
    for graph in ("cell-helix12", "cell-latches", "cell-residues", "cell-contacts", "cell-convergence"):
        page.wait_for_selector(f"#{graph} .main-svg", state="attached")
    page.wait_for_selector("#cell-stage canvas")
    page.wait_for_selector(".msp-plugin :text('Model 1 / 2')")
    visited.wait_for_text("1 of 2", "#cell-frame-said")
    page.click("#cell-play")
    page.wait_for_selector(".msp-plugin :text('Model 2 / 2')")
    page.click("#cell-play")
    cursor = page.evaluate("document.querySelector('#cell-helix12 .js-plotly-plot').layout.shapes.at(-1)")
    assert cursor["name"] == "now" and cursor["x0"] in (pytest.approx(0.1, abs=0.01), pytest.approx(0.2, abs=0.01))
    assert len(page.locator(".samples tbody tr").all()) == 8  # four replicas of the cell, four of its wild type
    page.locator("summary", has_text="Y537S, seed 1").click()
    with page.expect_download() as waiting:
        page.locator("details[open] a", has_text="summary.json").click()
    digest = re.search(r"/files/replicas/([0-9a-f]{64})/", waiting.value.url).group(1)
    stored = json.loads((real_store / "replicas" / digest / "summary.json").read_text())
    assert json.loads(waiting.value.path().read_text()) == stored
    assert visited.complaints == []


def test_other_cells_are_a_choice_away(real_url, visit):
    visited = visit(real_url + CELL, width=760, height=700)
    visited.page.wait_for_selector(".msp-plugin :text('Model 1 / 2')")
    visited.choose("cell-variant", "WT")
    visited.wait_for_text("estradiol in WT", "#page h1")
    assert address_of(visited.page)["variant"] == "WT"
    visited.page.get_by_role("link", name="Compare", exact=True).last.click()
    visited.wait_for_text("Compare", "#page h1")
    assert visited.complaints == []


@pytest.mark.parametrize("wait_ms", [0, 300, 1500])
def test_a_cell_may_be_left_while_its_viewer_starts_or_loads(real_url, visit, wait_ms):
    visited = visit(real_url, width=760, height=700)
    visited.page.evaluate(
        """([cell, wait]) => {
          new MutationObserver((_, observer) => {
            if (!document.getElementById('cell-viewer')) return;
            observer.disconnect();
            const leave = () => window.esr1md.go('/evidence' + location.search);
            if (wait) setTimeout(leave, wait); else leave();
          }).observe(document.body, {childList: true, subtree: true});
          window.esr1md.go(cell);
        }""",
        [CELL, wait_ms],
    )
    visited.wait_for_text("Evidence", "#page h1")
    visited.page.wait_for_timeout(4000)
    assert visited.complaints == []


def test_compare_shows_differences_by_measure_and_residue(real_url, visit):
    cells = "WT|estradiol|agonist~Y537S|estradiol|agonist"
    visited = visit(f"{real_url}/compare?screen=tiny&cells={cells}")
    visited.page.wait_for_selector("#compare-residues .main-svg")
    rows = visited.page.locator(".compared tbody tr")
    assert rows.count() > 15
    assert re.search(r"[+\u2212]?\d.* \(", rows.first.locator(".apart").inner_text())
    assert visited.complaints == []


# -- evidence, runs, live ---------------------------------------------------------------------------------


def test_evidence_is_apart_and_linked(real_url, visit):
    visited = visit(real_url + "/evidence?screen=tiny")
    text = visited.text()
    assert "Published claims" in text and "no score of this program uses them" in text
    links = visited.page.locator("#page a[href^='https://']")
    assert links.count() > 5
    assert all(a.get_attribute("rel") == "noopener noreferrer" for a in links.all()[:5])
    assert visited.complaints == []


def test_a_running_screen_moves_by_itself(tmp_path, serve, visit):
    root = tmp_path / "store"
    ranking = make_screen(root, n_ligands=4, predicted=False)
    few = ranking.model_copy(update={"ranking": ranking.ranking[:2]})
    write_screen(root, few)
    ended = [root / "replicas" / digest / "done.json" for c in ranking.cells for digest in c.replicas]
    for path in ended[8:]:
        path.unlink()
    url = serve(root)
    rows, runs = visit(url + "/"), visit(url + "/runs")
    rows.wait_for_text("2 ligands", "#ranking-count")
    runs.wait_for_text("8 of 16 replicas done")
    write_screen(root, ranking)
    rows.wait_for_text("4 ligands", "#ranking-count")
    runs.wait_for_text("16 of 16 replicas done")
    assert rows.complaints == [] and runs.complaints == []


def test_failures_say_why_and_how_to_try_again(tmp_path, serve, visit):
    root = tmp_path / "store"
    ranking = example_store(root, n_ligands=2)
    folder = root / "replicas" / ranking.cells[0].replicas[0]
    (folder / "done.json").unlink()
    failure = {"stage": "dynamics", "cause": "energy became NaN <b>here</b>", "where": "", "kind": "error",
               "unexpected": False, "finished": "2026-01-31T10:00:00+00:00"}  # fmt: skip
    (folder / "failure.json").write_text(json.dumps(failure))
    visited = visit(serve(root) + "/runs")
    text = visited.text()
    assert "energy became NaN <b>here</b>" in text and "--retry" in text
    assert visited.complaints == []


# -- review -----------------------------------------------------------------------------------------------


def record(visited, verdict: str, comment: str) -> None:
    visited.page.locator("#review-verdict label", has_text=verdict).click()
    visited.page.fill("#review-comment", comment)
    visited.page.click("#review-record")
    visited.wait_for_text("Recorded.", "#review-said")


def test_review_keeps_history_shows_conflicts_and_undoes(tmp_path, serve, visit):
    root = tmp_path / "store"
    example_store(root, n_ligands=3)
    url = serve(root)
    to = f"{url}/review?screen=quickstart&ligand=fulvestrant"
    ada, bob = visit(to), visit(to)
    for visited, name in ((ada, "Ada"), (bob, "Bob")):
        visited.wait_for_text("Nobody has reviewed it yet", "#review-history")
        visited.page.fill("#review-reviewer", name)
    ada.page.click("#review-record")
    ada.wait_for_text("Choose a verdict first", "#review-said")
    record(ada, "advance", "holds <script>alert(1)</script> helix 12")
    ada.wait_for_text("holds <script>alert(1)</script> helix 12", "#review-history")
    record(bob, "reject", "poor pose")  # has not seen Ada's
    bob.wait_for_text("Reviewers disagree", "#review-history")
    record(bob, "hold", "agreed with Ada")
    bob.page.wait_for_function("() => !document.querySelector('#review-history').innerText.includes('disagree')")
    bob.page.locator("#review-history button", has_text="Take back").first.click()
    bob.wait_for_text("Reviewers disagree", "#review-history")
    assert bob.page.locator("#review-history li").count() == 4  # nothing is lost
    with bob.page.expect_download() as waiting:
        bob.page.click("#review-export")
    lines = waiting.value.path().read_text().splitlines()
    assert len(lines) == 4 and json.loads(lines[0])["comment"].startswith("holds <script>")
    ada.go(f"{url}/")
    ada.page.locator(".ag-center-cols-viewport").evaluate("grid => grid.scrollLeft = 2000")
    ada.wait_for_text("in conflict", "[row-id='antagonist|fulvestrant']")
    assert ada.complaints == [] and bob.complaints == []


def test_read_only_takes_nothing(example, serve, visit):
    visited = visit(serve(example[0], read_only=True) + "/review")
    assert "read only" in visited.text() and visited.page.locator("#review-record").count() == 0
    assert visited.complaints == []


def test_login_page_lets_in(example, serve, browser):
    url = serve(example[0], token="a-long-enough-token")
    context = browser.new_context()
    page = context.new_page()
    page.goto(url + "/matrix?screen=quickstart")
    page.fill("#token", "wrong-wrong-wrong")
    page.click("button")
    assert "not the token" in page.inner_text(".problem")
    page.fill("#token", "a-long-enough-token")
    page.click("button")
    page.wait_for_selector("#matrix-map .main-svg", timeout=60_000)
    assert urlsplit(page.url).path == "/matrix"
    context.close()


# -- library ----------------------------------------------------------------------------------------------


def test_library_rows_become_a_screen(tmp_path, serve, visit):
    root = tmp_path / "store"
    example_store(root, n_ligands=3)
    folder = root / "libraries" / "vendor"
    folder.mkdir(parents=True)
    top = [{"rank": 1, "row": 7, "name": "hit <i>7</i>", "smiles": "Oc1ccc(cc1)C(=O)c1ccccc1", "pchembl": 7.123,
            "pchembl_low": 6.2, "pchembl_high": 8.0, "similarity": 0.61, "in_domain": True}]  # fmt: skip
    summary = {"statement": "Assay affinity for the wild type.", "by": "pchembl", "rows": 1000, "predicted": 990,
               "in_domain": 900, "failed": 10, "out_of_domain": 90, "columns": [], "top": top}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    broken = root / "libraries" / "broken"
    broken.mkdir()
    (broken / "summary.json").write_text("{")
    visited = visit(serve(root) + "/library?library=vendor")
    page = visited.page
    visited.wait_for_text("hit <i>7</i>", "#library-grid")
    visited.wait_for_text("6.2 to 8.0", "#library-grid")
    page.click("#library-simulate")
    visited.wait_for_text("cannot be the name", "#library-said")
    page.fill("#library-request", "my-hits")
    page.locator("#library-grid .ag-checkbox-input").last.check()
    page.click("#library-simulate")
    visited.wait_for_text("Written: my-hits.yaml", "#library-said")
    written = load_screen(root / "requests" / "my-hits.yaml")
    assert [ligand.name for ligand in written.ligands] == ["4-hydroxytamoxifen", "hit <i>7</i>"]
    visited.choose("library-name", "broken")
    visited.wait_for_text("its summary is damaged")
    assert visited.complaints == []
