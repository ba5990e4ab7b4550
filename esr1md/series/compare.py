"""A scored series beside what was measured and beside the null models, and the sentence that says who is better."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from esr1md.analysis.agreement import Agreement, agreement, centred, tau_difference
from esr1md.ligand.molecules import table_cell
from esr1md.series.compounds import NULL_MODELS, Compound

OURS = "MM/GBSA"
#: Scores that are in kcal/mol, so that an error in that unit means something.
_NO_UNIT = set(NULL_MODELS)


def score_columns(compounds: Sequence[Compound], results: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Every score by name, one value for each compound, lower binds better; NaN where it failed.

    Ours first, then Vina's score of the same pose, the null models, and what the file had beside.
    """

    def of(result: dict[str, Any], name: str) -> float:
        value = result.get(name)
        return math.nan if value is None else float(value)

    columns = {OURS: [of(result, "score") for result in results]}
    columns["Vina score of the pose"] = [of(result, "vina") for result in results]
    for name in NULL_MODELS:
        columns[name] = [-compound.nulls[name] for compound in compounds]
    for name in dict.fromkeys(key for compound in compounds for key in compound.beside):
        columns[name] = [compound.beside.get(name, math.nan) for compound in compounds]
    return columns


def compared(compounds: Sequence[Compound], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Agreement of every score, by series and pooled, and ours against each other one.

    Only compounds that our score has are compared, so that all scores answer for the same ones.
    """
    columns = score_columns(compounds, results)
    return compare_columns(
        [compound.dg_kcal for compound in compounds], columns, [compound.series for compound in compounds]
    )


def compare_columns(
    measured: Sequence[float], columns: dict[str, list[float]], series: Sequence[str]
) -> dict[str, Any]:
    """As :func:`compared`, from plain columns; the first of ``columns`` is ours."""
    ours = next(iter(columns))
    have = [i for i, value in enumerate(columns[ours]) if math.isfinite(value)]
    measured, series = [measured[i] for i in have], [series[i] for i in have]
    columns = {name: [values[i] for i in have] for name, values in columns.items()}
    rows = []
    for name, values in columns.items():
        row = {"score": name, "pooled": _json(name, agreement(measured, values, series)), "series": {}}
        for each in dict.fromkeys(series):
            at = [i for i, s in enumerate(series) if s == each]
            picked = [[values_[i] for i in at] for values_ in (measured, values)]
            row["series"][each] = _json(name, agreement(*picked, [each] * len(at)))
        if name != ours:
            row["ours_less_this"] = tau_difference(measured, columns[ours], values, series).to_json()
        rows.append(row)
    spread = float(np.sqrt(np.mean(centred(measured, series) ** 2))) if measured else None
    return {
        "n": len(measured), "spread_kcal": spread, "scores": rows,
        "headline": headline(rows, len(measured)),
    }  # fmt: skip


def headline(rows: Sequence[dict[str, Any]], n: int) -> str:
    """What the comparison with the null models says, the worst news first."""
    ours = rows[0]
    tau = ours["pooled"]["tau"]["value"]
    if tau is None:
        return f"{n} compounds with a score: too few, or too much alike, for a correlation."
    nulls = [row for row in rows if row["score"] in NULL_MODELS or row["score"].startswith("Vina")]
    ranked = [row for row in nulls if row["pooled"]["tau"]["value"] is not None]
    interval = _interval(ours["pooled"]["tau"])
    if not ranked:
        return f"{ours['score']} ranks {n} compounds with a pooled tau of {tau:+.2f} ({interval})."
    best = max(ranked, key=lambda row: row["pooled"]["tau"]["value"])
    value = best["pooled"]["tau"]["value"]
    verdict = best["ours_less_this"]["verdict"]
    against = f"the best null model, {best['score']} ({value:+.2f})"
    said = f"{ours['score']} ranks {n} compounds with a pooled tau of {tau:+.2f} ({interval})"
    if verdict == "below" or value > tau:
        sure = "" if verdict == "below" else "; their difference is within its interval"
        return f"A null model wins: {said}, below {against}{sure}."
    sure = "" if verdict == "above" else ", but the interval of the difference includes zero: cannot tell"
    return f"{said}, above {against}{sure}."


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["low"] is None:
        return "no interval"
    return f"95 % {estimate['low']:+.2f} to {estimate['high']:+.2f}"


def _json(name: str, found: Agreement) -> dict[str, Any]:
    row = found.to_json()
    if name in _NO_UNIT:
        row["rmse"] = {"value": None, "low": None, "high": None}
    return row


def results_csv(compounds: Sequence[Compound], results: Sequence[dict[str, Any]]) -> str:
    """One line for each compound: measured, scored, its terms, the null models."""
    out = io.StringIO()
    writer = csv.writer(out)
    terms = ("vdw", "coulomb", "gb", "surface", "strain", "state_penalty")
    beside = list(dict.fromkeys(key for compound in compounds for key in compound.beside))
    writer.writerow(["name", "series", "smiles", "measured_dg_kcal", "score_kcal", *(f"{t}_kcal" for t in terms),
                     "vina_kcal", *NULL_MODELS, *beside, "form", "pose", "confidence", "in_mode", "notes",
                     "failures"])  # fmt: skip
    for compound, result in zip(compounds, results, strict=True):
        writer.writerow([
            table_cell(compound.name), table_cell(compound.series), compound.smiles, _cell(compound.dg_kcal),
            _cell(result["score"]), *(_cell(result.get(term)) for term in terms), _cell(result.get("vina")),
            *(_cell(compound.nulls[name]) for name in NULL_MODELS), *(_cell(compound.beside.get(b)) for b in beside),
            table_cell(result.get("form") or ""), result.get("pose"), result.get("confidence"), result.get("in_mode"),
            table_cell(" ".join(result["notes"])), table_cell("; ".join(result["failures"])),
        ])  # fmt: skip
    return out.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3f}"
