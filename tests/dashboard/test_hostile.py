"""A store that somebody has filled with what breaks pages: each page still works and marks the item."""

from __future__ import annotations

import sqlite3
from urllib.parse import quote

import pytest
from example_store import example_store, write_screen

from esr1md.dashboard.data import read_screen
from esr1md.dashboard.reviews import Reviews, subject_of
from esr1md.scoring.scores import Ranking
from esr1md.store import Store

pytestmark = pytest.mark.browser

EVIL = '<img src=x onerror="window.stolen=1"><script>window.stolen=1</script>\'"&;{{7*7}}'


def renamed(ranking: Ranking, old: str, new: str) -> Ranking:
    """The ranking with another name of a ligand, and the same in every note."""
    text = ranking.model_dump(mode="json")
    for part in ("ranking", "cells", "comparisons", "predictions", "failures"):
        for item in text[part]:
            if item["ligand"] == old:
                item["ligand"] = new
                for note in ("notes", "reason", "cause", "pose_reason"):
                    if note in item:
                        item[note] = f"{new} {item[note]}"
    text["limits"] = [new]
    return Ranking.model_validate(text)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, serve):
    """Address and store: scripts in names, replicas that are damaged, half-written or gone, screens that are broken."""
    root = tmp_path_factory.mktemp("hostile") / "store"
    ranking = renamed(example_store(root, n_ligands=4), "fulvestrant", EVIL)
    write_screen(root, ranking)
    cell = next(c for c in ranking.cells if c.ligand == EVIL and c.variant == "Y537S")
    damaged, gone = (root / "replicas" / digest for digest in cell.replicas)
    (damaged / "observation.parquet").write_bytes(b"\0" * 100)
    (damaged / "contacts.json").write_text('{"fingerprint": 7}')
    (damaged / "record.json").write_text('{"name": "cut')
    (gone / "done.json").unlink()
    for name, content in {"cut": '{"screen": "cut", "ranking": [', "empty": "", "huge": "[" * 100_000}.items():
        folder = root / "screens" / name
        folder.mkdir()
        (folder / "plan.json").write_text(content)
    return serve(root), root


def test_names_are_text_on_every_page(hostile, visit):
    url, _ = hostile
    visited = visit(f"{url}/?screen=quickstart")
    visited.wait_for_text(EVIL, "#ranking-grid")
    query = "screen=quickstart&variant=Y537S&state=antagonist"
    name = quote(EVIL)
    cells = quote(f"WT|{EVIL}|antagonist~Y537S|{EVIL}|antagonist")
    for path in (
        "/matrix?screen=quickstart", f"/cell?{query}&ligand={name}", f"/compare?screen=quickstart&cells={cells}",
        f"/review?screen=quickstart&ligand={name}", "/evidence?screen=quickstart", "/library?screen=quickstart",
    ):  # fmt: skip
        visited.go(path)
        visited.page.wait_for_timeout(600)
        assert visited.page.evaluate("() => window.stolen") is None, path
        assert visited.page.locator("#page img[src='x']").count() == 0, path
    assert visited.complaints == []


def test_damaged_replicas_are_marked_and_the_rest_is_shown(hostile, visit):
    url, _ = hostile
    query = f"screen=quickstart&variant=Y537S&state=antagonist&ligand={quote(EVIL)}"
    visited = visit(f"{url}/cell?{query}", width=800)
    said = visited.text("#page .problem")
    for expected in ("observation.parquet is damaged", "record.json is damaged", "half-written"):
        assert expected in said
    visited.page.wait_for_selector("#cell-residues .main-svg")  # of the wild type
    visited.wait_for_text("This replica has no film", "#cell-stage")
    assert visited.complaints == []


def test_broken_screens_say_so_and_leave_the_others_alone(hostile, visit):
    url, _ = hostile
    visited = visit(f"{url}/?screen=cut")
    assert "cannot be shown" in visited.text() and "damaged" in visited.text()
    for name in ("empty", "huge"):
        visited.go(f"/?screen={name}")
        assert "cannot be shown" in visited.text("#page .problem")
    visited.go("/runs")
    assert visited.page.locator(".run").count() >= 1 and "cannot be read" in visited.text()
    visited.go("/?screen=quickstart")
    visited.page.wait_for_selector("[row-id]")
    assert visited.complaints == []


def test_a_comment_of_ten_megabytes_is_refused_and_the_page_lives(hostile, visit):
    url, root = hostile
    visited = visit(f"{url}/review?screen=quickstart&ligand=estradiol")
    visited.page.fill("#review-reviewer", "Eve")
    visited.page.locator("#review-verdict label", has_text="hold").click()
    visited.page.evaluate("() => document.querySelector('#review-comment').removeAttribute('maxlength')")
    write = "n => window.dash_clientside.set_props('review-comment', {value: 'x'.repeat(n)})"
    visited.page.evaluate(write, 10 * 1024 * 1024)
    with visited.page.expect_response(lambda r: "_dash-update-component" in r.url and r.status == 413):
        visited.page.click("#review-record")
    visited.page.evaluate(write, 20_000)
    visited.page.click("#review-record")
    visited.wait_for_text("comment", "#review-said")
    assert "Recorded" not in visited.text("#review-said")
    visited.page.evaluate("() => window.dash_clientside.set_props('review-comment', {value: 'short'})")
    visited.page.click("#review-record")
    visited.wait_for_text("Recorded.", "#review-said")
    visited.wait_for_text("short", "#review-history")


def test_comment_that_is_in_the_database_already_does_not_break_the_page(hostile, visit):
    """What another program wrote there, without our limit."""
    url, root = hostile
    store = Store(root)
    reviews = Reviews(store)
    subject = subject_of(read_screen(store, "quickstart"), "elacestrant")
    review = reviews.record(subject, "hold", reviewer="Eve", comment=EVIL)
    with sqlite3.connect(root / "store.sqlite") as connection:
        connection.execute("UPDATE reviews SET comment = ? WHERE id = ?", (EVIL + "z" * 10 * 1024 * 1024, review.id))
    visited = visit(f"{url}/review?screen=quickstart&ligand=elacestrant")
    visited.page.wait_for_function("() => document.querySelector('#review-history').innerText.length > 10")
    assert visited.page.evaluate("() => window.stolen") is None
    assert len(visited.text("#page")) < 200_000
    assert visited.complaints == []


def test_damaged_reviews_are_a_message(tmp_path, serve, visit):
    root = tmp_path / "store"
    example_store(root, n_ligands=2)
    (root / "store.sqlite").write_bytes(b"this is no database" * 100)
    visited = visit(serve(root) + "/review")
    visited.wait_for_text("cannot be read", "#page .problem")
    visited.go("/")
    visited.page.wait_for_selector("[row-id]")
    assert visited.complaints == []
