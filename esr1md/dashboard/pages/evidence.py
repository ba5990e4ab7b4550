"""Evidence: what is published, beside what this screen says and clearly apart from it."""

from __future__ import annotations

import html as text

import numpy as np
import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

from esr1md.dashboard.address import Address
from esr1md.dashboard.context import context
from esr1md.dashboard.data import UNREADABLE, Screen
from esr1md.dashboard.parts import chip, empty, external, graph, heading, problem, table
from esr1md.dashboard.shell import Page
from esr1md.report.depiction import number
from esr1md.report.figures import MUTED, TEMPLATE, error_bars, span, variant_colours
from esr1md.scoring.evidence import ClinicalResult, evidence
from esr1md.scoring.rank_agreement import RankAgreement
from esr1md.scoring.validation import CLINICAL_USE, OUTCOMES, Validation


def layout(screen: Screen, address: Address) -> Component:
    head = heading("Evidence", note="Published values stand apart: no score of this program uses them, and values of "
                   "different papers are never pooled.")  # fmt: skip
    try:
        found: Validation = context().memos["validation"](screen)
    except UNREADABLE as error:
        return html.Div([head, problem("This screen cannot be compared with what is published", str(error)[:300])])
    return html.Div(
        [
            head,
            html.P([chip(o, f"{o} {found.counts[o]}") for o in OUTCOMES if found.counts.get(o)], className="outcomes"),
            *(html.P(note, className="note") for note in found.notes),
            html.Section([html.H2("Measured and predicted"), *_agreement(found)]),
            html.Section([html.H2("Published claims"), _claims(found)]),
            html.Section([html.H2("Published values"), _values(screen)]),
            html.Section([html.H2("Clinical results"), html.P(CLINICAL_USE, className="note"), *_clinical(screen)]),
        ]
    )  # fmt: skip


def _agreement(found: Validation) -> list[Component]:
    series = [s for s in found.agreement if sum(p.predicted is not None for p in s.points) >= 2]
    if not series:
        return [empty("Too little to plot", "No published series has two of its ligands or mutants in this screen.")]
    return [html.Div([_plot(k, s) for k, s in enumerate(series)], className="two")]


def _plot(k: int, series: RankAgreement) -> Component:
    """Published against predicted, each with its error; the orders are compared, not the sizes."""
    points = [p for p in series.points if p.predicted is not None]
    colours = variant_colours([p.variant for p in points])
    figure = go.Figure()
    for variant in dict.fromkeys(p.variant for p in points):
        mine = [p for p in points if p.variant == variant]
        figure.add_scatter(
            x=[p.measured for p in mine], y=[p.predicted.value for p in mine], mode="markers", name=variant,
            marker=dict(size=9, color=colours[variant]), text=[text.escape(f"{p.ligand}, {p.variant}") for p in mine],
            hovertemplate="%{text}<br>published %{x:.1f}, predicted %{y:.1f} kcal/mol<extra></extra>",
            error_x=dict(type="data", array=[p.measured_error or 0 for p in mine], thickness=1, width=0, color=MUTED),
            error_y=error_bars([span(p.predicted) for p in mine]),
        )  # fmt: skip
    what = "log10 ratio mutant/WT" if series.kind == "mutations" else "log10 affinity constant"
    figure.update_layout(template=TEMPLATE, height=330, margin=dict(l=8, r=8, t=40, b=8), hovermode="closest",
                         legend=dict(orientation="h", x=0, y=1.02, yanchor="bottom"))  # fmt: skip
    figure.update_xaxes(title=dict(text=f"published {what} (left: tighter)", font=dict(size=12)), automargin=True)
    figure.update_yaxes(title=dict(text="predicted, kcal/mol", font=dict(size=12)), automargin=True)
    tau = ""
    if series.tau is not None and np.isfinite(series.tau):
        tau = f"Kendall's tau {number(series.tau, 1)}"
        if series.low is not None and series.high is not None:
            tau += f" ({number(series.low)} to {number(series.high)})"
    return html.Div(
        [html.H3(series.series), html.P([chip(series.outcome), f" {tau}"]),
         graph(f"evidence-{k}", figure, f"Published against predicted values of {series.series}"),
         html.P([series.detail, " ", html.Small(series.source)], className="note")],
        className="card",
    )  # fmt: skip


def _claims(found: Validation) -> Component:
    order = ("contradicts", *(outcome for outcome in OUTCOMES if outcome != "contradicts"))
    rows, silent = [], []
    for c in sorted(found.claims, key=lambda c: order.index(c.outcome)):
        proxy = [html.Small(f" Measured instead: {c.proxy}")] if c.proxy else []
        into = silent if c.outcome in ("not run", "not checkable") else rows
        into.append((c.id, chip(c.outcome), c.statement, [c.detail, *proxy], _source(c.source, c.doi)))
    heads = ("Claim", "This screen", "What was published", "Detail", "Source")
    said = table(heads, rows, name="claims") if rows else html.P("This screen says nothing on any.", className="muted")
    rest = html.Details([html.Summary(f"{len(silent)} more that this screen cannot speak for"),
                         table(heads, silent, name="claims")])  # fmt: skip
    return html.Div([said, rest] if silent else [said])


def _values(screen: Screen) -> Component:
    """Measured values of the ligands and variants of this screen, beside its own binding scores."""
    mine = {(variant, ligand): cell for (variant, ligand, _), cell in screen.cells.items()}
    rows = []
    for dataset, value in evidence().values():
        cell = mine.get((value.variant, value.ligand))
        if cell is None:
            continue
        sign = {"=": "", "~": "~"}.get(value.relation, f"{value.relation} ")
        given = f"{sign}{value.value:g}" if value.value is not None else value.value_text
        error = f" \u00b1 {value.error:g}" if value.error is not None else ""
        own = "\u2013"
        if value.kind == "binding" and cell.binding is not None:
            own = f"{number(cell.binding.value).removeprefix('+')} kcal/mol" + (
                ", predicted" if cell.binding.origin == "predicted" else "")  # fmt: skip
        rows.append((value.ligand, value.variant, value.quantity, f"{given}{error} {value.unit}", value.kind,
                     value.assay or dataset.assay, own, _source(dataset.source, dataset.doi)))  # fmt: skip
    if not rows:
        return html.P("Nothing published of these ligands and variants is carried here.", className="muted")
    heads = ("Ligand", "Variant", "Quantity", "Published", "About", "Assay", "MM/GBSA of this screen", "Source")
    return table(heads, rows, name="values")


def _clinical(screen: Screen) -> list[Component]:
    found = [(ligand, results) for ligand in screen.ligands if (results := evidence().clinical_of(ligand))]
    if not found:
        return [html.P("No trial of these ligands is carried here.", className="muted")]
    heads = ("Trial", "Drugs", "ESR1", "Endpoint", "Value", "Hazard ratio (95 %)", "p", "Source")
    return [
        html.Details([html.Summary(f"{ligand}: {len(results)} results"), table(heads, [_trial(r) for r in results])],
                     open=k < 3)
        for k, (ligand, results) in enumerate(found)
    ]  # fmt: skip


def _trial(r: ClinicalResult) -> tuple:
    ratio = "\u2013" if r.hr is None else f"{r.hr:g}" + (f" ({r.hr_low:g} to {r.hr_high:g})" if r.hr_low else "")
    drugs = r.drugs + (f" against {r.comparator}" if r.comparator else "")
    trial = [r.trial, *(html.Div(external(n, f"https://clinicaltrials.gov/study/{n}")) for n in r.nct)]
    return (trial, drugs, r.esr1_status or "not said", r.endpoint, r.value or "\u2013", ratio, r.p or "\u2013",
            _source(r.source, r.doi))  # fmt: skip


def _source(source: str, doi: str) -> Component:
    return external(source, f"https://doi.org/{doi}") if doi else html.Span(source)


PAGE = Page("/evidence", "Evidence", layout)
