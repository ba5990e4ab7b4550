"""What must stand beside a ligand stands in the ranking, its cells, the terminal and the report."""

from __future__ import annotations

from esr1md.commands.terminal import ranking_view, stdout_console
from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.report.page import write_report
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import CellScore, Ranking
from esr1md.scoring.tables import ranking_tables

NAMES = ("fulvestrant", "H3B-6545", "vepdegestrant", "palazestrant")
NEAR, FAR = (f"pre-reaction complex: C-beta {d} A from Cys530 SG; no bond is modelled" for d in (3.6, 7.9))


def ranked(warheads: tuple[str, str] = (NEAR, NEAR)) -> Ranking:
    """Two seeds of four ligands in WT and Y537S; the poses of H3B-6545 as given."""
    made = [
        ReplicaObservation(
            f"{variant}-{name}-{seed}", variant, name, "antagonist", seed,
            {"binding_kcal": -50.0 - number - seed, "helix12_angstrom": 12.0}, "high",
            pose_label=warheads[seed - 1] if name == "H3B-6545" else "",
        )
        for number, name in enumerate(NAMES) for variant in ("WT", "Y537S") for seed in (1, 2)
    ]  # fmt: skip
    return rank_screen(
        screen="special", protocol="quick", platform="CPU", versions={}, reference_ligand="fulvestrant",
        observations=made, ligands={name: catalogue_ligand(name) for name in NAMES},
    )  # fmt: skip


def test_every_line_of_the_ranking_says_what_is_special():
    notes = {line.ligand: line.notes for line in ranked().ranking}
    assert notes["H3B-6545"].startswith("low-confidence structure; covalent warhead (4-aminobut-2-enamide)")
    assert notes["H3B-6545"].count(NEAR) == 1
    assert "ternary complex not modelled" in notes["vepdegestrant"]
    assert "low-confidence structure" in notes["palazestrant"]
    assert not any(word in notes["fulvestrant"] for word in ("low-confidence", "ternary", "covalent"))


def test_replicas_that_start_from_different_poses_show_each_distance():
    (line,) = (line for line in ranked((NEAR, FAR)).ranking if line.ligand == "H3B-6545")
    assert NEAR in line.notes and FAR in line.notes


def test_cells_and_tables_say_it_too():
    ranking = ranked()
    assert all(NEAR in cell.notes for cell in ranking.cells if cell.ligand == "H3B-6545")
    tables = ranking_tables(ranking)
    for name in ("ranking", "cells"):
        rows = tables[name].set_index("ligand")["notes"]
        assert "ternary complex not modelled" in rows.loc[["vepdegestrant"]].iloc[0]
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


def test_the_terminal_shows_it_under_the_table():
    console = stdout_console()
    with console.capture() as shown:
        console.print(ranking_view(ranked()))
    text = " ".join(shown.get().split())
    assert "palazestrant: low-confidence structure" in text and NEAR in text
    assert "vepdegestrant: ternary complex not modelled" in text


def test_the_report_shows_it_for_ranked_and_predicted_ligands(tmp_path):
    predicted = CellScore(
        variant="WT", ligand="etacstil", state="antagonist", n_replicas=0, n_failed=0, binding=None,
        binding_relative=None, helix12=None, notes="low-confidence structure", origin="predicted",
    )  # fmt: skip
    ranking = ranked().model_copy(update={"predictions": (predicted,)})
    page = write_report(ranking, tmp_path, tmp_path / "report.html").read_text()
    assert NEAR in page and "ternary complex not modelled" in page
    assert '<td class="ligand">etacstil<span class="notes">low-confidence structure</span></td>' in page
