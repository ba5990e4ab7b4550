"""The report: self-contained, escaped, honest, and drawable for screens of every size."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from esr1md.commands.terminal import ranking_view
from esr1md.config import Thresholds, Weights
from esr1md.errors import InputError
from esr1md.report.caveats import DISBELIEVE, LOOK_AT, SHORT_RUNS, missing_helix12_scores, weights_in_words
from esr1md.report.data import mutated_positions, read_store, trim_complex
from esr1md.report.depiction import Axis, number, structure_pictures
from esr1md.report.page import ASSETS, asset_digests, write_report
from esr1md.report.words import headline, methods, names
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.coverage import coverages
from esr1md.scoring.evidence import evidence
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import Ranking, Verdict
from esr1md.screen.finish import coverage_table
from esr1md.specs import Ligand, digest_of
from report_example import (
    LIGANDS,
    PEPTIDE,
    bundled_complex,
    empty_ranking,
    failures,
    make_screen,
    write_plan,
    write_replica,
)


class Page(HTMLParser):
    """The text a reader sees, all attributes that can load something, and the ids of the sections."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads, self.links, self.tags, self.words, self._inside = [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside.append(tag)
        for name, value in attributes:
            if name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("src", "href", "srcset", "poster", "action", "data", "xlink:href"):
                self.loads.append((tag, name, value))

    def handle_endtag(self, tag):
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report_of(ranking: Ranking, root: Path) -> tuple[str, Page]:
    path = write_report(ranking, root, root / "screens" / "quickstart" / "report.html")
    page = path.read_text(encoding="utf-8")
    return page, Page(page)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    ranking = make_screen(root, pdb=bundled_complex(), hormone=True, apo=True)
    write_plan(root)
    (root / "screens" / "quickstart" / "ranking.csv").write_text("rank,ligand\n")
    page, parsed = report_of(ranking, root)
    return root, ranking, page, parsed


# --- one file, no request -------------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(quickstart):
    _, _, page, parsed = quickstart
    assert parsed.loads == []
    assert not [link for link in parsed.links if re.match(r"(?i)[a-z]+:|//", link)]
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page and "connect-src" not in page


def test_it_is_small_and_holds_both_libraries_once(quickstart):
    _, _, page, _ = quickstart
    assert 2_000_000 < len(page.encode()) < 3_500_000
    assert page.count("plotly.js (cartesian - minified)") == 1
    assert page.count("3dmol v2.5.5") <= 1 and "$3Dmol" in page


def test_vendored_files_are_the_published_ones():
    table = (ASSETS / "README.md").read_text()
    digests = asset_digests()
    assert set(digests) == {"plotly-cartesian.min.js", "3Dmol-min.js"}
    for name, digest in digests.items():
        assert f"`{name}`" in table and digest in table
    assert (ASSETS / "3Dmol-LICENSE.txt").is_file() and (ASSETS / "plotly-LICENSE.txt").is_file()


def test_links_reach_the_files_of_the_store(quickstart):
    root, ranking, _, parsed = quickstart
    relative = [link for link in parsed.links if not link.startswith("#")]
    assert "ranking.csv" in relative
    for link in relative:
        assert (root / "screens" / "quickstart" / link).exists()
    assert sum("replicas/" in link for link in relative) == sum(len(c.replicas) for c in ranking.cells)


def test_text_is_escaped_everywhere(tmp_path):
    evil = "<script>alert(1)</script>"
    ranking = make_screen(tmp_path, n_ligands=1).model_dump()
    ranking["screen"] = ranking["platform"] = ranking["created"] = evil
    for part in ("ranking", "cells", "comparisons", "predictions", "failures"):
        for record in ranking[part]:
            record["ligand"] = evil
    ranking["failures"][0]["cause"] = ranking["controls"][0]["detail"] = evil
    ranking["ranking"][0]["notes"] = "</script><img src=x onerror=alert(1)>"
    ranking["limits"] = [evil]
    page, parsed = report_of(Ranking.model_validate(ranking), tmp_path)
    assert evil not in page and parsed.loads == []
    assert parsed.tags.count("script") == 5 and "img" not in parsed.tags
    assert evil in parsed.text  # the reader sees the name as it is


def test_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the report cannot be written") as caught:
        write_report(empty_ranking(), tmp_path, tmp_path / "file" / "report.html")
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(empty_ranking(), tmp_path, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["report.html"]


# --- what it says ---------------------------------------------------------------------------------------


def test_headline_and_verdicts_reach_the_reader(quickstart):
    _, ranking, _, parsed = quickstart
    told = headline(ranking)
    assert told.title in parsed.text and told.detail in parsed.text
    assert "Research use only" in parsed.text
    assert "agonist and antagonist positions do not interconvert" in parsed.text
    for limit in ranking.limits:
        assert limit in parsed.text
    for line in ranking.ranking:
        assert line.ligand in parsed.text
    assert DISBELIEVE not in parsed.text and "Controls first: 1 agrees, 1 not run." in parsed.text


def test_each_state_is_ranked_by_itself(quickstart):
    _, _, page, parsed = quickstart
    assert page.count('<tr class="group">') == 2
    antagonist = parsed.text.index("Helix 12 started in the antagonist position")
    assert antagonist < parsed.text.index("Helix 12 started in the agonist position")


def test_a_contradicted_control_comes_before_everything(tmp_path):
    page, parsed = report_of(make_screen(tmp_path, contradiction=True), tmp_path)
    banner = page.index(DISBELIEVE)
    assert banner < page.index("<header>") < page.index("How far to trust this") < page.index(">Ranking</h2>")
    head = page[: page.index("<header>")]
    assert "estradiol keeps the agonist state" in head and all(step in head for step in LOOK_AT)
    assert "Controls first: 1 contradicts, 1 not run." in parsed.text


def test_undecided_screen_says_that_it_cannot_tell(tmp_path):
    told = headline(make_screen(tmp_path, undecided=True))
    assert told.title.startswith("This screen cannot tell")
    assert all(verdict is Verdict.CANNOT_TELL for m in told.mutants for verdict, _ in m.binding + m.helix12)
    assert "4 cannot be decided on binding and 4 on helix 12" in told.detail
    assert "2 replica pairs" in told.detail


def test_headline_leaves_agonist_controls_out_of_the_answer(tmp_path):
    ranking = make_screen(tmp_path)
    assert "estradiol" not in headline(ranking).title  # in the agonist state: a control
    assert "estradiol (agonist)" in " ".join(who for m in headline(ranking).mutants for _, who in m.binding)


def test_headline_names_who_keeps_both(tmp_path):
    ranking = make_screen(tmp_path, n_ligands=2)
    kept = ranking.comparisons[1].model_copy(
        update={"binding_verdict": Verdict.RETAINED, "helix12_verdict": Verdict.RETAINED}
    )
    ranking = ranking.model_copy(update={"comparisons": (ranking.comparisons[0], kept)})
    assert headline(ranking).title == "In Y537S, 4-hydroxytamoxifen keeps both binding and helix-12 position."


def test_headline_says_what_is_lost(tmp_path):
    ranking = make_screen(tmp_path, n_ligands=3)
    lost = [
        c.model_copy(update={"binding_verdict": Verdict.RETAINED, "helix12_verdict": Verdict.LOST})
        for c in ranking.comparisons
    ]
    assert headline(ranking.model_copy(update={"comparisons": tuple(lost)})).title == (
        "In Y537S, 4-hydroxytamoxifen and fulvestrant keep binding, but helix 12 is not shown to stay put. "
        "Helix 12 weakened or lost: 4-hydroxytamoxifen and fulvestrant."
    )


def test_nothing_simulated(tmp_path):
    _, parsed = report_of(empty_ranking(), tmp_path)
    assert "No answer yet: nothing has been simulated." in parsed.text
    assert "No ligand can be ranked" in parsed.text and "No final structure was found" in parsed.text


def test_failures_only(tmp_path):
    ranking = empty_ranking(failures=failures())
    _, parsed = report_of(ranking, tmp_path)
    assert "nothing in this screen could be simulated to the end" in parsed.text
    assert "2 attempts ended early, 1 of them by an error" in parsed.text
    outcomes, errors = parsed.text.index("Explained outcomes"), parsed.text.index("Errors 1")
    assert outcomes < parsed.text.index("does not fit under a closed helix 12") < errors
    assert errors < parsed.text.index("energy became NaN")


def test_predictions_are_labelled(quickstart):
    _, _, page, parsed = quickstart
    section = page[page.index('<section id="predictions">') : page.index('<section id="methods">')]
    assert "not simulated" in section and "imlunestrant" in section
    assert "circle class='predicted'" in section and "circle class='simulated'" not in section
    assert "Predictions come from a surrogate" in parsed.text


def test_methods_describe_what_was_run(quickstart):
    root, ranking, _, parsed = quickstart
    for words in (
        "antagonist state from 3ERT chain A",
        "OBC2 implicit solvent (12 \u00c5 cutoff)",
        "4 fs steps with hydrogens of 3 Da",
        "produce 4 ps, a frame every 0.2 ps",
        "openmm 8.6.1",
        "doi:10.1002/prot.20033",
    ):
        assert words in parsed.text
    paragraphs, references = methods(ranking, [])
    assert "details are in spec.json" in paragraphs[1] and not any("prot.20033" in r for r in references)


def test_what_is_missing_is_said(tmp_path):
    ranking = make_screen(tmp_path, n_ligands=1)
    wild, mutant = (tmp_path / "replicas" / cell.replicas[0] for cell in ranking.cells)
    shutil.rmtree(wild)
    (mutant / "observation.parquet").write_bytes(b"not parquet")
    (mutant / "final.pdb").unlink()
    _, parsed = report_of(ranking, tmp_path)
    assert "WT/estradiol/agonist" in parsed.text and "no folder in the store" in parsed.text
    assert "observation.parquet cannot be read" in parsed.text and "no final.pdb" in parsed.text


def test_pairs_never_simulated_are_not_blamed_on_the_interval(tmp_path):
    ranking = make_screen(tmp_path, n_ligands=3, undecided=True)
    bare = ranking.comparisons[2].model_copy(update={"binding_shift": None, "helix12_shift": None})
    ranking = ranking.model_copy(update={"comparisons": (*ranking.comparisons[:2], bare)})
    assert "or (1 of them) there is nothing to compare" in headline(ranking).detail


def test_names_are_cut_when_there_are_many():
    assert names(["a"]) == "a" and names(["a", "b", "c"]) == "a, b and c"
    assert names([str(i) for i in range(12)]).endswith("7 and 4 more")


def test_a_ranking_made_by_the_scoring_is_drawn_whole(tmp_path):
    observations, ligands = [], {}
    for name, (drug_class, state, smiles) in list(LIGANDS.items())[:3]:
        ligands[name] = Ligand(name, smiles, name, 0, drug_class)
        for variant in ("WT", "Y537S"):
            for seed in (1, 2, 3):
                digest = digest_of([name, variant, seed])
                write_replica(tmp_path, digest, seed, PEPTIDE)
                summary = {
                    "binding_kcal": -50.0 + 0.3 * seed + 6 * (name == "fulvestrant"),
                    "helix12_angstrom": 11.0 + 0.1 * seed - 5 * (variant == "Y537S"),
                }
                observations.append(ReplicaObservation(digest, variant, name, state, seed, summary))
    for seed in (1, 2):
        closed = {"helix12_angstrom": -11.0}
        observations.append(ReplicaObservation(f"{seed:064x}", "WT", "apo", "agonist", seed, closed))
    ranking = rank_screen(
        screen="quickstart", protocol="quick", observations=observations, ligands=ligands,
        reference_ligand={"antagonist": "4-hydroxytamoxifen", "agonist": "estradiol"},
        platform="CPU", versions={"openmm": "8.6.1"}, failures=failures(), production_ps=4.0,
    )  # fmt: skip
    page, parsed = report_of(ranking, tmp_path)
    assert headline(ranking).title in parsed.text
    for limit in ranking.limits:
        assert " ".join(limit.split()) in parsed.text
    for control in ranking.controls:
        assert control.name in parsed.text
    assert page.count('class="structure"') == len(ranking.ranking)
    assert "WT/apo/agonist" in parsed.text  # its folders are not in this store, and the report says so


# --- the new scores -------------------------------------------------------------------------------------


def test_chances_front_and_weights_stand_beside_the_rank(quickstart):
    _, ranking, page, parsed = quickstart
    antagonists = [line for line in ranking.ranking if line.state == "antagonist"]
    assert antagonists[0].p_best == 0.5 and "best: 50 %" in parsed.text
    assert page.count("\u25c6 front, 90 %") == sum(bool(line.on_front) for line in ranking.ranking)
    assert "front with 20 %" in parsed.text
    assert "the rank by binding, helix 12 and the worst mutant alike" in parsed.text
    assert parsed.text.count("Rank by all wishes") == 0 and page.count('data-label="Rank by all wishes"') == len(
        ranking.ranking
    )


def test_weights_are_said_in_words():
    assert weights_in_words(Weights(binding=2, helix12=1, resistance=0.5)) == (
        "binding 2, helix 12 1 and the worst mutant 0.5"
    )
    assert weights_in_words(Weights(helix12=0)) == "binding and the worst mutant alike; helix 12 not at all"
    assert weights_in_words(Weights(binding=0, helix12=3, resistance=0)) == "helix 12 alone"


def test_verdicts_that_do_not_stand_together_are_marked(quickstart, tmp_path):
    _, ranking, page, parsed = quickstart
    alone = sum(c.binding_stands is False for c in ranking.comparisons)
    told = sum(s is not None for c in ranking.comparisons for s in (c.binding_stands, c.helix12_stands))
    assert alone and f"\u2020 {alone} of the {told} verdicts hold" in parsed.text
    name = next(c.ligand for c in ranking.comparisons if c.binding_stands is False)
    assert any(f"{name}" in who and "\u2020" in who for m in headline(ranking).mutants for _, who in m.binding)
    firm = [c.model_copy(update={"binding_stands": True}) for c in ranking.comparisons if c.binding_stands is not None]
    _, parsed = report_of(ranking.model_copy(update={"comparisons": tuple(firm)}), tmp_path)
    assert "are to be true together" not in parsed.text.split("Methods")[-2]


def test_helix12_score_has_definition_unit_and_caveat(quickstart):
    _, _, page, parsed = quickstart
    section = page[page.index('<section id="helix12">') : page.index('<section id="energy">')]
    assert "minus the same of estradiol" in section and "0 is as active as the hormone leaves it" in section
    assert SHORT_RUNS in section and "AF-2 clamp" in section and ">9.4<" in section
    assert "No helix-12 score" not in section


@pytest.mark.parametrize(
    ("absent", "said", "do"),
    [
        ("hormone", "No helix-12 score over estradiol's complex in", "add 'estradiol' to the ligands"),
        ("apo", "No helix-12 score over the empty receptor in WT and Y537S", "set 'apo: true' in the screen"),
    ],
)
def test_what_the_helix12_score_lacks_is_said_with_how_to_add_it(tmp_path, absent, said, do):
    ranking = make_screen(tmp_path, **{"hormone": True, "apo": True, absent: False})
    if absent == "hormone":
        kept = tuple(c for c in ranking.cells if c.ligand != "estradiol")
        ranking = ranking.model_copy(update={"cells": kept})
    page, parsed = report_of(ranking, tmp_path)
    text = parsed.text.replace("\u2019", "'")
    assert said in text and do in text
    other = "over_apo-map" if absent == "hormone" else "over_hormone-map"
    assert f'data-figure="{other}"' in page  # what is there is shown


def test_a_failed_or_older_hormone_cell_is_not_called_absent(tmp_path):
    ranking = make_screen(tmp_path, apo=True)
    assert "was simulated there" in missing_helix12_scores(ranking)[0]
    failed = tuple(
        c.model_copy(update={"n_replicas": 0, "n_failed": 2, "helix12": None}) if c.ligand == "estradiol" else c
        for c in ranking.cells
    )
    assert (
        "estradiol in the agonist state failed there"
        in missing_helix12_scores(ranking.model_copy(update={"cells": failed}))[0]
    )


def test_coverage_adds_up_and_says_research_use_only(quickstart):
    _, ranking, page, _ = quickstart
    section = page[page.index('<section id="coverage">') : page.index('<section id="helix12">')]
    assert "Research use only" in section and evidence().populations.named().source in section
    bars = re.findall(r"<div class='stack'>(.*?)</div>", section)
    assert len(bars) == len(ranking.ranking)
    for bar in bars:
        assert sum(float(w) for w in re.findall(r"width:([\d.]+)%", bar)) == pytest.approx(100, abs=0.05)
    for low, width in re.findall(r"class='reach'><span style='left:([\d.]+)%;width:([\d.]+)%", section):
        assert 0 <= float(low) and float(low) + float(width) <= 100.01


def test_clinical_results_are_collapsed_and_said_to_be_in_no_score(quickstart):
    _, _, page, parsed = quickstart
    section = page[page.index('<section id="clinical">') : page.index('<section id="failures">')]
    assert "it never enters a score" in section and "<details open" not in section
    results = evidence().clinical_of("elacestrant")
    assert f"elacestrant: {len(results)} published results" in parsed.text
    for result in results:
        assert any(result.trial in word for word in parsed.words)
    place = re.search(r'id="clinical-(\d+)"><summary>elacestrant', section).group(1)
    assert f'href="#clinical-{place}"' in page[: page.index('<section id="clinical">')]


def test_residues_are_the_same_in_every_report_and_name_an_earlier_version(tmp_path):
    page, parsed = report_of(make_screen(tmp_path / "new", n_ligands=2), tmp_path / "new")
    figure = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S).group(1))["residue-map"]
    assert figure["layout"]["xaxis"]["ticktext"] == ["D351", "E353", "F404", "L525"]  # L999 lines no pocket
    assert "leave out how the solvent screens charges" not in parsed.text
    hover = figure["data"][0]["text"][0][3]
    assert "\u22121.7 kcal/mol" in hover and "van der Waals \u22121.0" in hover and "Y537S - WT: 0.0" in hover
    _, parsed = report_of(make_screen(tmp_path / "old", n_ligands=2, old=True), tmp_path / "old")
    assert "leave out how the solvent screens charges" in parsed.text


def test_a_store_of_an_earlier_version_is_shown_without_what_it_lacks(tmp_path):
    ranking = make_screen(tmp_path, old=True)
    page, parsed = report_of(ranking, tmp_path)
    for absent in ("chance of being the best", "All wishes", "\u25c6", "Pareto", "AF-2 clamp"):
        assert absent not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S), absent
    assert "these scores are of an earlier version" in parsed.text
    assert "The store has no plan.json of this screen" in parsed.text
    for line in ranking.ranking:
        assert line.ligand in parsed.text


# --- the terminal says the same ---------------------------------------------------------------------------


def terminal(ranking: Ranking) -> str:
    console = Console(width=100, record=True, file=io.StringIO(), highlight=False)
    console.print(ranking_view(ranking))
    return console.export_text()


def test_the_terminal_too_says_first_that_a_run_is_not_to_be_believed(tmp_path):
    text = terminal(make_screen(tmp_path, contradiction=True))
    first = text.splitlines()[0]
    assert DISBELIEVE in first and text.index("estradiol keeps the agonist state") < text.index(
        "Look at, in this order"
    )
    assert text.index(LOOK_AT[-1]) < text.index("Controls first: 1 contradicts, 1 not run")
    assert text.index("Controls first") < text.index(
        headline(make_screen(tmp_path / "2", contradiction=True)).title[:40]
    )
    assert DISBELIEVE not in terminal(make_screen(tmp_path / "3"))


def test_the_terminal_shows_the_new_scores_within_its_width(tmp_path):
    text = terminal(make_screen(tmp_path, hormone=True))
    assert "50 %" in text and "\u25c6 90 %" in text and "all wishes: rank by these three" in text
    assert "retained \u2020" in text and "are to be" in text
    assert "Helix 12: how much farther" in text and "Short runs show" in text
    assert "No helix-12 score over the empty receptor" in text and "over apo" not in text.split("No helix-12")[0]
    assert max(map(len, text.splitlines())) <= 100 and "\u2026" not in text


def test_the_terminal_leaves_out_columns_that_would_be_empty(tmp_path):
    text = terminal(make_screen(tmp_path, old=True))
    assert "wishes" not in text and "\u25c6" not in text and "\u2020" not in text and "best:" not in text


def test_coverage_is_written_as_a_table(tmp_path):
    ranking = make_screen(tmp_path)
    table = coverage_table(coverages(ranking, evidence().populations.named(), Thresholds()))
    shares = table[["retained", "weakened", "lost", "cannot_tell", "not_simulated"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1.0)
    assert int(table["headline"].sum()) == len(ranking.ranking) and (table["use"].str.startswith("Research use")).all()
    assert "D538G 0." in table["parts"][0]
    assert list(coverage_table(()).columns) == list(table.columns)


# --- sizes ----------------------------------------------------------------------------------------------


def test_one_ligand(tmp_path):
    page, parsed = report_of(make_screen(tmp_path, n_ligands=1, replicas=1, predicted=False, apo=True), tmp_path)
    assert "estradiol" in parsed.text and "No prediction was made" in parsed.text
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S).group(1))
    maps = {"binding-map", "helix12-map", "over_apo-map", "residue-map"}  # estradiol over itself is no news
    assert set(figures) == maps | {"helix12-0", "energy-0"}  # one ligand has no front
    assert "chance of being the best" not in parsed.text and "All wishes" not in parsed.text


@pytest.mark.slow
def test_forty_ligands_in_six_variants_stay_below_ten_megabytes(tmp_path):
    mutants = ("Y537S", "D538G", "E380Q", "L536H", "S463P")
    ranking = make_screen(tmp_path, pdb=bundled_complex(), n_ligands=40, mutants=mutants, replicas=5, frames=201)
    page, parsed = report_of(ranking, tmp_path)
    assert len(page.encode()) < 10_000_000
    assert parsed.text.count("raloxifene analogue 7") > 1
    assert "complexes of the lowest-ranked ligands are left out" in parsed.text


# --- 3D -------------------------------------------------------------------------------------------------


def test_trimming_keeps_what_the_view_draws():
    text, _ = trim_complex(PEPTIDE, mutated=(537,))
    kept = [(line[17:20], line[12:16].strip()) for line in text.splitlines() if line != "END"]
    assert ("TYR", "H") in kept and ("TYR", "HA") not in kept  # polar hydrogens only
    assert ("LIG", "H1") in kept and ("LIG", "H2") not in kept
    assert ("TYR", "CB") in kept and ("ALA", "CB") not in kept  # far side chains are left out
    assert ("ALA", "CA") in kept


def test_trimmed_text_is_pdb():
    text, _ = trim_complex(PEPTIDE)
    line = next(line for line in text.splitlines() if line[12:16].strip() == "O1")
    assert line[:6] == "HETATM" and (line[17:20], line[21], int(line[22:26])) == ("LIG", "B", 1)
    assert [float(line[i : i + 8]) for i in (30, 38, 46)] == [5.2, 3.0, 0.0]
    assert line[76:78].strip() == "O"


def test_complexes_are_superposed_on_the_core():
    original = bundled_complex()
    first, reference = trim_complex(original)
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = []
    for line in original.splitlines():
        if line.startswith(("ATOM", "HETATM")):
            x, y, z = turn @ [float(line[i : i + 8]) for i in (30, 38, 46)] + [10, -5, 3]
            line = f"{line[:30]}{x:8.3f}{y:8.3f}{z:8.3f}{line[54:]}"
        moved.append(line)
    second, _ = trim_complex("\n".join(moved), reference=reference)

    def coordinates(text):
        lines = [line for line in text.splitlines() if line != "END"]
        return np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines])

    np.testing.assert_allclose(coordinates(first), coordinates(second), atol=0.02)


def test_complexes_travel_in_the_page(quickstart):
    root, ranking, page, _ = quickstart
    held = json.loads(re.search(r'id="complexes-data">(.*?)</script>', page, re.S).group(1))
    assert len(held["list"]) == len(ranking.cells)
    assert held["key"] == [351, 353, 394, 524] and held["helix12"] == "536-546"
    text = gzip.decompress(base64.b64decode(held["list"][1]["pdb"])).decode()
    assert held["list"][1]["mutated"] == [537] and " LIG " in text
    assert len(text) < 0.6 * len(bundled_complex())


def test_structures_over_the_budget_are_counted(tmp_path):
    ranking = make_screen(tmp_path, n_ligands=2)
    data = read_store(ranking, tmp_path, max_complex_bytes=1)
    assert data.complexes == [] and "3D views of 4 complexes" in data.missing[-1]


def test_mutated_positions():
    assert mutated_positions("WT") == ()
    assert mutated_positions("D538G+F404L") == (404, 538)
    assert mutated_positions("V422del") == (422,)


# --- small pictures -------------------------------------------------------------------------------------


def test_structures_are_drawn_and_bad_smiles_are_none():
    estradiol = "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O"
    pictures = structure_pictures([estradiol, "not a smiles", ""])
    assert pictures[0].startswith("<svg") and pictures[0].rstrip().endswith("</svg>")
    assert pictures[1] is None and pictures[2] is None


def test_numbers_read_well():
    assert [number(x) for x in (0.04, -0.04, 1.25, -1.26)] == ["0.0", "0.0", "+1.2", "\u22121.3"]


def test_whiskers_of_a_column_share_an_axis(quickstart):
    _, ranking, _, _ = quickstart
    scores = [line.binding for line in ranking.ranking]
    axis = Axis(scores)
    at = sorted((s.value, axis.x(s.value)) for s in scores)
    assert [x for _, x in at] == sorted(x for _, x in at) and 0 < at[0][1] and at[-1][1] < axis.width
    assert "class='cap'" in axis.whisker(scores[0])
    alone = scores[0].model_copy(update={"low": None, "high": None})
    assert "class='cap'" not in axis.whisker(alone) and "too few replicas" in axis.whisker(alone)


# --- in a browser ---------------------------------------------------------------------------------------


# Headless Chromium paints no frames while it dumps the page, so "near the window" is answered at once; its
# virtual time would run out before the thread that unpacks the structure ends, so waiting takes real work.
EVERYTHING_IN_SIGHT = """<script>
window.IntersectionObserver = class {
  constructor(callback) { this.callback = callback; }
  observe(target) { setTimeout(() => this.callback([{isIntersecting: true, target}], this)); }
  unobserve() {} disconnect() {}
};
(function wait(polls) {
  const viewer = document.getElementById("viewer");
  if (polls > 300 || (document.readyState === "complete" && viewer && viewer.dataset.shown)) return;
  let work = 0;
  for (let i = 0; i < 2e7; i++) work += i;
  setTimeout(() => wait(polls + 1), 50);
})(0);
</script></head>"""


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("which", ["quickstart", "empty"])
def test_opens_in_a_browser_without_errors(which, quickstart, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    path = tmp_path / "report.html"
    if which == "empty":
        write_report(empty_ranking(failures=failures()), tmp_path, path)
    else:
        path.write_text(quickstart[2].replace("</head>", EVERYTHING_IN_SIGHT, 1), encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,9000",
            "--virtual-time-budget=20000", "--enable-logging=stderr", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver" not in line]
    assert console == []
    if which == "quickstart":
        assert done.stdout.count('class="main-svg"') >= 12  # every figure was drawn
        assert 'data-shown="0"' in done.stdout  # the first complex was unpacked and shown
