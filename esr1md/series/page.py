"""A self-contained page of a compared series: the headline, a scatter plot for each series, the table of scores."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from esr1md.report.figures import FONT, INK, MUTED, TEMPLATE, VARIANT_COLOURS
from esr1md.series.compounds import NULL_MODELS, Compound

_STYLE = f"""body{{font-family:{FONT};color:{INK};max-width:60rem;margin:2rem auto;padding:0 1rem;line-height:1.45}}
h1{{font-size:1.4rem}} h2{{font-size:1.1rem;margin-top:2rem}} table{{border-collapse:collapse;font-size:.9rem}}
th,td{{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e6e9ee}}
th:first-child,td:first-child{{text-align:left}}
.muted{{color:{MUTED}}} li{{margin:.2rem 0}}"""


def scatter(compounds: Sequence[Compound], results: Sequence[dict[str, Any]]) -> go.Figure:
    """Score against measured free energy (both kcal/mol), one colour for each series."""
    figure = go.Figure().update_layout(template=TEMPLATE)
    for k, series in enumerate(dict.fromkeys(compound.series for compound in compounds)):
        rows = [row for row in zip(compounds, results, strict=True) if row[0].series == series]
        rows = [(c, r) for c, r in rows if r["score"] is not None]
        figure.add_scatter(
            x=[c.dg_kcal for c, _ in rows], y=[r["score"] for _, r in rows], mode="markers", name=series or "all",
            marker=dict(size=9, color=VARIANT_COLOURS[k % len(VARIANT_COLOURS)], line=dict(width=1, color="#ffffff")),
            text=[html.escape(f"{c.name}, pose {r['pose']}, {r['confidence']} confidence") for c, r in rows],
            hovertemplate="%{text}<br>measured %{x:.1f}, MM/GBSA %{y:.1f} kcal/mol<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="measured free energy, kcal/mol")
    figure.update_yaxes(title="MM/GBSA, kcal/mol")
    figure.update_layout(height=480, margin=dict(l=60, r=20, t=20, b=60), legend=dict(orientation="h", y=-0.18))
    return figure


def series_page(
    title: str, compounds: Sequence[Compound], results: Sequence[dict[str, Any]], document: dict[str, Any]
) -> str:
    """The page as HTML with everything it needs inside."""
    comparison = document["comparison"]
    plot = scatter(compounds, results).to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    notes = list(document["notes"])
    notes += [f"{row['name']} (line {row['line']}): {row['reason']}" for row in document["left_out"]]
    notes += [f"{row['name']}: {said}" for row in document["compounds"] for said in (*row["failures"], *row["notes"])]
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f"<p><strong>{html.escape(comparison['headline'])}</strong></p>{plot}<h2>Agreement with experiment</h2>"
        f"{_table(comparison)}<p class='muted'>Kendall's tau-b and Pearson's r of values within a series, centred RMSE "
        f"in kcal/mol, each with its 95 % bootstrap interval. {html.escape(_directions())}</p>"
        f"<h2>What was done</h2><ul>{items}</ul></body></html>"
    )


def estimate_text(estimate: dict[str, Any], digits: int = 2) -> str:
    """``+0.31 (+0.05 to +0.55)``; empty where it is not defined."""
    if estimate["value"] is None:
        return ""
    sign = "" if estimate.get("unsigned") else "+"
    text = f"{estimate['value']:{sign}.{digits}f}"
    if estimate["low"] is not None and math.isfinite(estimate["low"]):
        text += f" ({estimate['low']:{sign}.{digits}f} to {estimate['high']:{sign}.{digits}f})"
    return text


def _table(comparison: dict[str, Any]) -> str:
    head = "<tr><th>score</th><th>n</th><th>tau</th><th>r</th><th>RMSE</th><th>tau, ours less this</th><th></th></tr>"
    body = ""
    for row in comparison["scores"]:
        for label, found in [("", row["pooled"]), *row["series"].items()]:
            if label and len(row["series"]) == 1:
                continue
            against = row.get("ours_less_this") if not label else None
            name = f"<span class='muted'>&emsp;{html.escape(label)}</span>" if label else html.escape(row["score"])
            cells = [found["n"], estimate_text(found["tau"]), estimate_text(found["r"]),
                     estimate_text({**found["rmse"], "unsigned": True}),
                     estimate_text(against["tau"]) if against else "",
                     against["verdict"] if against else ""]  # fmt: skip
            body += f"<tr><td>{name}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _directions() -> str:
    return "Null models: " + ", ".join(f"{name} ({way})" for name, way in NULL_MODELS.items()) + "."
