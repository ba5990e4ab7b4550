"""A screen's ranking as rows of the grid: one for each ligand in each state, what is only predicted below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from esr1md.config import Weights
from esr1md.dashboard.data import Screen
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.report.caveats import cautious
from esr1md.report.depiction import interval, number
from esr1md.scoring.priorities import N_DRAWS, Priority, reweighed
from esr1md.scoring.scores import CellScore, Comparison, RankedLigand, Score, Verdict, supported_digits

Row = dict[str, Any]

#: Score columns of a row: name, heading, unit, what it is.
SCORES = (
    ("binding", "Binding", "kcal/mol", "relative to the reference ligand, mean over the variants; left binds better"),
    ("helix12", "Helix 12", "\u00c5", "RMSD to the active place minus RMSD to the AF-2 groove; right is held away"),
    ("worst", "Worst mutant", "kcal/mol", "largest binding shift of a mutant against the wild type; right is worse"),
)

#: One letter for each verdict in a row; the page's script has the words.
LETTERS = {Verdict.RETAINED: "r", Verdict.WEAKENED: "w", Verdict.LOST: "l", Verdict.CANNOT_TELL: "c"}
NOT_COMPARED = "-"

#: Above so many ligands the intervals of weighted ranks are made of fewer draws, so that a slider answers at once.
MANY, FEW_DRAWS = 300, 400


def row_key(ligand: str, state: str) -> str:
    """Names a row; the state comes first, for it has no bar in it."""
    return f"{state}|{ligand}"


def ranking_rows(screen: Screen) -> list[Row]:
    """Rows in the order of the ranking, then the ligands that were only predicted."""
    if screen.ranking is None:
        return []
    predicted = _by_ligand(screen.ranking.predictions)
    rows = [_ranked_row(line, screen, predicted) for line in screen.ranking.ranking]
    ranked = set(screen.lines)
    rows += [_predicted_row(key, cells, screen.mutants) for key, cells in predicted.items() if key not in ranked]
    for row in rows:
        row["drawn"] = row["ligand"] in screen.smiles
    return rows


def _by_ligand(cells: tuple[CellScore, ...]) -> dict[tuple[str, str], dict[str, CellScore]]:
    found: dict[tuple[str, str], dict[str, CellScore]] = {}
    for cell in cells:
        if cell.ligand != "apo":
            found.setdefault((cell.ligand, cell.state), {})[cell.variant] = cell
    return found


def _ranked_row(
    line: RankedLigand, screen: Screen, predicted: Mapping[tuple[str, str], Mapping[str, CellScore]]
) -> Row:
    key = (line.ligand, line.state)
    verdicts = {f"v{i}": _letters(screen.comparisons.get((m, *key))) for i, m in enumerate(screen.mutants)}
    return {
        **_about(line.ligand, line.state, line.drug_class),
        "rank": line.rank,
        "rank_low": line.rank_low,
        "rank_high": line.rank_high,
        **_score("binding", line.binding),
        **_score("helix12", line.helix12),
        **_score("worst", line.worst_shift),
        "worst_variant": line.worst_variant or "",
        "overall": LETTERS[line.binding_verdict] + LETTERS[line.helix12_verdict],
        **verdicts,
        "origin": "mixed" if key in predicted else "simulated",
        "best": cautious(line.p_best) if line.p_best is not None else "",
        "weighted": line.weighted_rank,
        "weighted_low": line.weighted_low,
        "weighted_high": line.weighted_high,
        "notes": line.notes,
    }


def _predicted_row(key: tuple[str, str], cells: Mapping[str, CellScore], mutants: Sequence[str]) -> Row:
    """A ligand that was not simulated: the mean of its predictions over the variants, with the widest interval."""
    ligand, state = key
    return {
        **_about(ligand, state, ""),
        "rank": None,
        "rank_low": None,
        "rank_high": None,
        **_score("binding", _widest_mean([c.binding_relative for c in cells.values()])),
        **_score("helix12", _widest_mean([c.helix12 for c in cells.values()])),
        **_score("worst", None),
        "worst_variant": "",
        "overall": NOT_COMPARED * 2,
        **{f"v{i}": ("p" if m in cells else NOT_COMPARED) * 2 for i, m in enumerate(mutants)},
        "origin": "predicted",
        "best": "",
        "weighted": None,
        "weighted_low": None,
        "weighted_high": None,
        "notes": "; ".join(dict.fromkeys(c.notes for c in cells.values() if c.notes)),
    }


def _widest_mean(scores: list[Score | None]) -> Score | None:
    """Mean of predictions; they err together, so the interval is the mean of the ends and not narrower."""
    found = [s for s in scores if s is not None]
    if not found:
        return None
    n = len(found)
    known = all(s.low is not None and s.high is not None for s in found)
    return Score(
        value=sum(s.value for s in found) / n,
        low=sum(s.low for s in found) / n if known else None,
        high=sum(s.high for s in found) / n if known else None,
        n_replicas=0,
        unit=found[0].unit,
        origin="predicted",
    )


def _about(ligand: str, state: str, drug_class: str) -> Row:
    known = _catalogue().get(ligand)
    return {
        "id": row_key(ligand, state),
        "ligand": ligand,
        "state": state,
        "class": drug_class or (known.drug_class if known else "") or "not given",
        "approval": known.approval if known else "",
    }


@cache
def _catalogue() -> dict[str, Any]:
    return {entry.name: entry for entry in catalogue_entries()}


def _score(name: str, score: Score | None) -> Row:
    """``name`` (for sorting), ``name_l`` and ``name_h`` (to draw), ``name_t`` and ``name_i`` (to read)."""
    if score is None:
        return {name: None}
    digits = supported_digits(score)
    found = {name: round(score.value, 4), f"{name}_t": number(score.value, digits), f"{name}_n": score.n_replicas}
    if score.low is not None and score.high is not None:
        found |= {
            f"{name}_l": round(score.low, 4),
            f"{name}_h": round(score.high, 4),
            f"{name}_i": interval(score, digits=digits),
        }
    return found


def _letters(comparison: Comparison | None) -> str:
    """Verdicts on binding and helix 12, as two letters."""
    if comparison is None:
        return NOT_COMPARED * 2
    binding = LETTERS[comparison.binding_verdict] if comparison.binding_shift is not None else NOT_COMPARED
    helix12 = LETTERS[comparison.helix12_verdict] if comparison.helix12_shift is not None else NOT_COMPARED
    return binding + helix12


def weighted_ranks(screen: Screen, weights: tuple[float, float, float]) -> dict[str, tuple[int, int, int]]:
    """Row key -> weighted rank with its interval under other weights; rows without one of the criteria have none."""
    if screen.ranking is None or not any(weights):
        return {}
    wanted = Weights(binding=weights[0], helix12=weights[1], resistance=weights[2])
    found: dict[str, tuple[int, int, int]] = {}
    for state in dict.fromkeys(line.state for line in screen.ranking.ranking):
        lines = [line for line in screen.ranking.ranking if line.state == state]
        places: Mapping[str, Priority] = reweighed(lines, wanted, FEW_DRAWS if len(lines) > MANY else 2 * N_DRAWS)
        found |= {
            row_key(name, state): (place.rank, place.low, place.high)
            for name, place in places.items()
            if place.rank is not None
        }
    return found
