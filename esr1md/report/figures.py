"""Plotly figures of a screen, for the report and the dashboard: heat maps, traces, energies.

Colour means one thing everywhere: orange is worse for an antagonist (weaker binding, helix 12 nearer the
active position), blue is better, grey and hatched is *cannot tell*. All colours are from palettes that
colour-blind readers can tell apart (Okabe and Ito 2008; ColorBrewer PuOr).
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from esr1md.report.data import Replica
from esr1md.report.depiction import interval, number, unit_in_words
from esr1md.scoring.comparisons import HORMONE
from esr1md.scoring.scores import Ranking, Score, Verdict
from esr1md.specs import HelixState

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, MUTED, GRID, HATCH, UNDECIDED = "#1f2933", "#5f6b7a", "#e6e9ee", "#c3cad3", "#eceff3"

#: Wild type is dark; mutants follow Okabe and Ito's order, without yellow, which white paper swallows.
WILD_TYPE_COLOUR = "#3a3f47"
VARIANT_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31")

#: A heat map of one or two mutants is laid out as if it had this many, so that its squares stay squares.
LEAST_COLUMNS = 4

WORSE_IS_HIGH = [[0, "#2b6cb0"], [0.25, "#8db8de"], [0.5, "#ffffff"], [0.75, "#f5b374"], [1, "#c05a00"]]
WORSE_IS_LOW = [[1 - x, colour] for x, colour in reversed(WORSE_IS_HIGH)]
#: For values that are neither good nor bad.
PLAIN = [[0, "#ffffff"], [0.5, "#8db8de"], [1, "#2b6cb0"]]

TEMPLATE = go.layout.Template(
    layout=dict(
        font=dict(family=FONT, size=13, color=INK),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel=dict(bgcolor="#ffffff", bordercolor="#9aa5b1", font=dict(family=FONT, color=INK), align="left"),
        xaxis=dict(gridcolor=GRID, zeroline=False, linecolor="#9aa5b1", ticks="outside", tickcolor="#9aa5b1"),
        yaxis=dict(gridcolor=GRID, zeroline=False, linecolor="#9aa5b1"),
    )
)


def variant_colours(variants: Sequence[str]) -> dict[str, str]:
    """One colour per variant, the wild type dark; beyond eight mutants colours repeat."""
    mutants = [v for v in dict.fromkeys(variants) if v != "WT"]
    return {
        "WT": WILD_TYPE_COLOUR,
        **{v: VARIANT_COLOURS[i % len(VARIANT_COLOURS)] for i, v in enumerate(mutants)},
    }


def error_bars(
    spans: Sequence[tuple[float, float, float] | None], colour: str = MUTED, *, width: float = 0, thickness: float = 1
) -> dict:
    """Plotly's error bars of points by (value, low, high); of a point that is ``None`` there is none.

    ``width`` of the caps and ``thickness`` in pixels.
    """
    known = [span or (0.0, 0.0, 0.0) for span in spans]
    return dict(
        type="data", symmetric=False, thickness=thickness, width=width, color=colour,
        array=[high - value for value, _, high in known], arrayminus=[value - low for value, low, _ in known],
    )  # fmt: skip


def span(score: Score | None) -> tuple[float, float, float] | None:
    """(value, low, high) of a score for :func:`error_bars`; ``None`` without an interval."""
    if score is None or score.low is None or score.high is None:
        return None
    return score.value, score.low, score.high


# --- heat maps ------------------------------------------------------------------------------------------

Kind = Literal["binding", "helix12"]
Over = Literal["over_hormone", "over_apo"]
PREDICTED = "surrogate prediction, no replica"

#: Beside a verdict that holds by itself but not together with all others of the screen.
ALONE = "\u2020"

#: Rows and columns up to which squares carry words, and columns up to which they carry numbers.
MOST_ROWS_WITH_WORDS, MOST_COLUMNS_WITH_WORDS, MOST_COLUMNS_WITH_NUMBERS = 16, 6, 14


@dataclass(frozen=True)
class Look:
    """How a heat map shows its squares.

    Attributes
    ----------
    title, scale_title
        What a value is; what the colours say.
    scale
        Colours; of a ``diverging`` one the middle is zero.
    undecided
        What a hatched square means.
    counted
        What the replicas behind a value are called.
    """

    title: str
    scale_title: str
    scale: list
    diverging: bool = True
    undecided: str = "cannot tell"
    counted: str = "replica pairs"

    def number(self, value: float, digits: int = 1) -> str:
        """A difference has a sign, a plain value only where it is below zero."""
        text = number(value, digits)
        return text if self.diverging else text.removeprefix("+")

    def interval(self, score: Score, unknown: str = "not known (too few replicas)") -> str:
        text = interval(score, unknown)
        return text if self.diverging else text.replace("+", "")

    def range_of(self, z: np.ndarray) -> tuple[float, float]:
        """Ends of the colours for the values ``z``, of which NaN are not coloured."""
        known = z[np.isfinite(z)]
        if self.diverging:
            limit = float(max(1.0, np.abs(known).max() if len(known) else 1.0))
            return -limit, limit
        if not len(known):
            return 0.0, 1.0
        low, high = float(known.min()), float(known.max())
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def is_strong(self, value: float, low: float, high: float) -> bool:
        """Whether the colour of a value is too dark for dark text."""
        if self.diverging:
            return abs(value) > 0.75 * high
        return value - low > 0.6 * (high - low)


LOOKS: dict[Kind | Over, Look] = {
    "binding": Look("Binding shift", "binding shift, kcal/mol (orange: weaker in the mutant)", WORSE_IS_HIGH),
    "helix12": Look("Helix-12 shift", "helix-12 shift, \u00c5 (orange: towards the active position)", WORSE_IS_LOW),
    "over_hormone": Look("Helix 12 over estradiol", "\u00c5 over estradiol (blue: farther from the active place)",
                         WORSE_IS_LOW, undecided="interval holds 0"),
    "over_apo": Look("Helix 12 over apo", "\u00c5 over the empty receptor (blue: farther from the active place)",
                     WORSE_IS_LOW, undecided="interval holds 0"),
}  # fmt: skip


@dataclass(frozen=True)
class Shift:
    """A difference for one ligand in one variant and state: to the wild type, to the hormone or to apo.

    ``verdict`` is ``None`` where none is given (a prediction, a helix-12 score); ``stands`` whether it holds together
    with all others of the screen.
    """

    variant: str
    ligand: str
    state: str
    score: Score
    verdict: Verdict | None
    reason: str
    stands: bool | None = None

    @property
    def cell(self) -> tuple[str, str, str]:
        """(variant, ligand, state)."""
        return self.variant, self.ligand, self.state

    @property
    def decided(self) -> bool:
        """Whether the value may be coloured: a verdict says something, or without one the interval excludes 0."""
        if self.verdict is not None:
            return self.verdict is not Verdict.CANNOT_TELL
        low, high = self.score.low, self.score.high
        return low is not None and high is not None and (low > 0 or high < 0)


class Level(Shift):
    """A cell's own value: nothing is decided by it, but without an interval it may not be told from its neighbours."""

    @property
    def decided(self) -> bool:
        return self.score.low is not None and self.score.high is not None


def shifts(ranking: Ranking, kind: Kind) -> list[Shift]:
    """All shifts of a ranking: compared cells, then predicted cells that no comparison covers.

    A predicted shift is the prediction for the mutant minus the wild type's value, simulated if there is one.
    Its interval is the widest that the two allow (low - high to high - low), since how their errors go
    together is not known.
    """
    found: dict[tuple[str, str, str], Shift] = {}
    for c in ranking.comparisons:
        score = c.binding_shift if kind == "binding" else c.helix12_shift
        verdict = c.binding_verdict if kind == "binding" else c.helix12_verdict
        stands = c.binding_stands if kind == "binding" else c.helix12_stands
        if score is not None:
            key = (c.variant, c.ligand, c.state)
            found[key] = Shift(*key, score, verdict, c.reason, stands)
    values: dict[tuple[str, str, str], Score] = {}
    for cell in (*ranking.predictions, *ranking.cells):  # simulated last: it takes the place of a prediction
        score = cell.binding if kind == "binding" else cell.helix12
        if score is not None:
            values[cell.variant, cell.ligand, cell.state] = score
    for cell in ranking.predictions:
        key = (cell.variant, cell.ligand, cell.state)
        mutant, wild = values.get(key), values.get(("WT", cell.ligand, cell.state))
        if cell.variant == "WT" or key in found or mutant is None or wild is None:
            continue
        reason = "predicted by the surrogate, not simulated"
        found[key] = Shift(*key, _widest_difference(mutant, wild), None, reason)
    return list(found.values())


def _widest_difference(mutant: Score, wild: Score) -> Score:
    known = None not in (mutant.low, mutant.high, wild.low, wild.high)
    return Score(
        value=mutant.value - wild.value,
        low=mutant.low - wild.high if known else None,
        high=mutant.high - wild.low if known else None,
        n_replicas=0,
        unit=mutant.unit,
        origin="predicted",
    )


def places(ranking: Ranking, kind: Over) -> list[Shift]:
    """The helix-12 score of all cells that have one; what a cell is over itself is left out."""
    itself = HORMONE if kind == "over_hormone" else "apo"
    return [
        Shift(c.variant, c.ligand, c.state, score, None, "")
        for c in ranking.cells
        if (score := getattr(c, f"helix12_{kind}")) is not None
        and (c.ligand, c.state) != (itself, str(HelixState.AGONIST))
    ]


def row_label(ligand: str, state: str, several_states: bool) -> str:
    """``fulvestrant``; a state other than antagonist is said where a screen has several: ``E2 (agonist)``."""
    return f"{ligand} ({state})" if several_states and state != "antagonist" else ligand


def shift_heatmap(ranking: Ranking, kind: Kind) -> go.Figure | None:
    """Mutant x ligand heat map of the shifts; ``None`` when there is no shift to show.

    Rows are ligands in the order of the ranking, columns mutants. A cell is coloured only where the screen
    can tell; *cannot tell* is hatched grey; a predicted cell carries a diamond; an empty square was neither. Ligands
    that were only predicted are left out where others were simulated: the surrogate has a whole catalogue of them.
    """
    simulated = {(c.ligand, c.state) for c in ranking.cells if c.n_replicas}
    cells = shifts(ranking, kind)
    return heatmap(ranking, [c for c in cells if not simulated or (c.ligand, c.state) in simulated], LOOKS[kind])


def place_heatmap(ranking: Ranking, kind: Over) -> go.Figure | None:
    """Variant x ligand heat map of the helix-12 score (angstrom); ``None`` when there is none.

    A square is coloured only where its interval excludes 0: as active as with estradiol, or as without a ligand.
    """
    return heatmap(ranking, places(ranking, kind), LOOKS[kind])


def heatmap(
    ranking: Ranking, cells: Sequence[Shift], look: Look, rows: Sequence[tuple[str, str]] | None = None
) -> go.Figure | None:
    """Variant x ligand heat map of ``cells``; ``None`` without any.

    Parameters
    ----------
    cells
        What the squares show.
    look
        How.
    rows
        (ligand, state) of the rows; those of ``cells`` in the order of the ranking if not given.
    """
    if not cells:
        return None
    ranked = [(r.ligand, r.state) for r in ranking.ranking]
    present = {(c.ligand, c.state) for c in cells}
    if rows is None:
        rows = [k for k in dict.fromkeys(ranked) if k in present] + sorted(present - set(ranked))
    row_of = {row: i for i, row in enumerate(rows)}
    cells = [c for c in cells if (c.ligand, c.state) in row_of]
    columns = list(dict.fromkeys(c.variant for c in cells))
    several = len({state for _, state in rows}) > 1
    z = np.full((len(rows), len(columns)), np.nan)
    back = np.full_like(z, np.nan)
    hover = np.full(z.shape, "", dtype=object)
    annotations, hatch_x, hatch_y, predicted = [], [], [], []
    words = len(rows) <= MOST_ROWS_WITH_WORDS and len(columns) <= MOST_COLUMNS_WITH_WORDS
    for c in cells:
        i, j = row_of[c.ligand, c.state], columns.index(c.variant)
        hover[i, j] = _hover(c, look)
        back[i, j] = 0
        if c.decided:
            z[i, j] = c.score.value
        else:
            _hatch(j, i, hatch_x, hatch_y)
        if c.score.origin == "predicted":
            predicted.append((j - 0.41, i - 0.3))
        if len(columns) <= MOST_COLUMNS_WITH_NUMBERS:
            annotations.append(_cell_text(c, i, j, words, look))
    low, high = look.range_of(z)
    for note, value in zip(annotations, (z[a["y"], a["x"]] for a in annotations), strict=True):
        if look.is_strong(value, low, high):
            note["font"]["color"] = "#ffffff"

    figure = go.Figure()
    grid = dict(x=list(range(len(columns))), y=list(range(len(rows))), xgap=3, ygap=3, showscale=False)
    figure.add_heatmap(
        z=back,
        zmin=0,
        zmax=1,
        colorscale=[[0, UNDECIDED], [1, UNDECIDED]],
        text=hover,
        hoverinfo="text",
        **grid,
    )  # fmt: skip  (it lies under every square, so it alone answers the pointer)
    grid["showscale"] = True
    figure.add_heatmap(
        z=z,
        zmin=low,
        zmax=high,
        colorscale=look.scale,
        hoverinfo="skip",
        colorbar=_colorbar(look),
        **grid,
    )
    figure.add_scatter(
        x=hatch_x or [None],
        y=hatch_y or [None],
        mode="lines",
        line=dict(color=HATCH, width=1),
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=[None], y=[None], mode="markers",
        name=look.undecided,
        marker=dict(symbol="square", size=13, color=UNDECIDED, line=dict(color="#9aa5b1", width=1)),
    )  # fmt: skip
    if predicted:
        figure.add_scatter(
            x=[p[0] for p in predicted],
            y=[p[1] for p in predicted],
            mode="markers",
            marker=dict(symbol="diamond-open", size=8, color=INK, line=dict(width=1.5)),
            hoverinfo="skip",
            name="predicted, not simulated",
        )
    labels = [html.escape(row_label(*row, several), quote=False) for row in rows]
    tilted = len(columns) > MOST_COLUMNS_WITH_WORDS
    top = 64 + (6 * max(map(len, columns)) if tilted else 0)
    figure.update_layout(
        template=TEMPLATE,
        height=len(rows) * (44 if words else 24) + top + 90,
        meta=least_width(len(columns) * (94 if words else 20) + 150),
        margin=dict(l=8, r=8, t=top, b=82),
        annotations=annotations,
        legend=dict(orientation="h", x=0, y=1, yref="container", yanchor="top", xanchor="left"),
        xaxis=dict(
            tickvals=list(range(len(columns))), ticktext=columns, side="top", showgrid=False, ticks="",
            tickangle=-60 if tilted else 0,
            range=[-0.5, max(len(columns), LEAST_COLUMNS) - 0.5], fixedrange=True,
        ),
        yaxis=dict(
            tickvals=list(range(len(rows))), ticktext=[shorten(t) + " " for t in labels], showgrid=False,
            range=[len(rows) - 0.5, -0.5], automargin=True, fixedrange=True,
        ),
    )  # fmt: skip
    return figure


def least_width(pixels: int) -> dict[str, int]:
    """``meta`` of a layout that would be crowded on a phone: the page scrolls it sideways below this width."""
    return {"least_width": pixels}


def _colorbar(look: Look) -> dict:
    return dict(
        orientation="h", thickness=8, len=1, x=0, xanchor="left", xpad=0, nticks=7,
        y=0, yref="container", yanchor="bottom", outlinewidth=0, tickfont=dict(size=11),
        title=dict(text=look.scale_title, side="bottom", font=dict(size=12, color=MUTED)),
    )  # fmt: skip


def shorten(text: str, limit: int = 32) -> str:
    """At most ``limit`` characters, cut with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def _cell_text(c: Shift, i: int, j: int, words: bool, look: Look) -> dict:
    text = look.number(c.score.value)
    if words:
        if c.verdict is not None:
            word = f"{c.verdict} {ALONE}" if c.stands is False else str(c.verdict)
        else:
            word = "predicted" if c.score.origin == "predicted" else look.interval(c.score, "few replicas")
        text += f"<br><span style='font-size:10px'>{word}</span>"
    colour = INK if c.decided else MUTED
    return dict(x=j, y=i, text=text, showarrow=False, font=dict(size=13 if words else 11, color=colour))


def _hover(c: Shift, look: Look) -> str:
    counted = f"{c.score.n_replicas} {look.counted}" if c.score.origin == "simulated" else PREDICTED
    lines = [
        f"<b>{html.escape(c.ligand, quote=False)}</b>, {c.variant}, from the {c.state} state",
        f"{look.title}: {look.number(c.score.value, 2)} {unit_in_words(c.score)}".rstrip(),
        f"95 % interval: {look.interval(c.score)}; {counted}",
    ]
    if c.verdict is not None:
        lines.append(f"Verdict: {c.verdict}")
    if c.stands is False:
        lines.append(f"{ALONE} does not stand when all verdicts of the screen are to be true together")
    if c.reason:
        lines.append(_wrap(html.escape(c.reason, quote=False)))
    return "<br>".join(lines)


def _wrap(text: str, width: int = 60) -> str:
    """Break a sentence into lines of about ``width`` characters, for a hover box."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def _hatch(column: int, row: int, xs: list, ys: list, n: int = 6) -> None:
    """Append diagonal strokes over a unit square, inset by the gap; ``None`` ends a stroke."""
    inset = 0.03
    for k in range(1, 2 * n):
        c = k / n
        x0, x1 = max(0.0, c - 1), min(1.0, c)
        for x in (x0, x1):
            xs.append(round(column - 0.5 + inset + x * (1 - 2 * inset), 3))
            ys.append(round(row - 0.5 + inset + (c - x) * (1 - 2 * inset), 3))
        xs.append(None)
        ys.append(None)


# --- time series and components -------------------------------------------------------------------------

H12_COLUMNS = ("h12_rmsd_agonist_angstrom", "h12_rmsd_antagonist_angstrom")


def shared_range(replicas: Sequence[Replica], column: str, least_span: float = 2.0) -> list[float] | None:
    """One axis range for ``column`` over many panels, so that they can be compared; ``None`` without data.

    It spans ``least_span`` at least, so that noise is not blown up to fill a panel.
    """
    values = [r.columns[column] for r in replicas if column in r.columns]
    values = np.concatenate(values) if values else np.array([])
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    middle = (values.max() + values.min()) / 2
    half = max(0.56 * (values.max() - values.min()), least_span / 2)
    return [float(middle - half), float(middle + half)]


def helix12_traces(
    replicas: Sequence[Replica],
    colours: dict[str, str],
    ranges: Sequence[list[float] | None] = (None, None),
) -> go.Figure | None:
    """Helix-12 RMSD (angstrom) of one ligand to the agonist and the antagonist reference against time (ps).

    ``ranges`` are the y ranges of the two panels. ``None`` if no replica has either column.
    """
    if not any(column in r.columns for r in replicas for column in H12_COLUMNS):
        return None
    traces = [
        trace
        for axis, column in zip(("", "2"), H12_COLUMNS, strict=True)
        for trace in _traces(replicas, column, colours, axis, "\u00c5")
    ]
    layout = _two_panels("to the agonist reference", "to the antagonist reference")
    for axis, wanted in zip(("yaxis", "yaxis2"), ranges, strict=True):
        layout[axis]["range"] = wanted
    layout["yaxis"]["title"]["text"] = "H12 RMSD (\u00c5)"
    return go.Figure(traces, layout)


def energy_panels(replicas: Sequence[Replica], colours: dict[str, str]) -> go.Figure | None:
    """MM/GBSA of one ligand (kcal/mol): against time per replica, and its components per variant.

    Coulomb and GB energies nearly cancel, so their sum is drawn; both are in the hover text. A bar is the
    mean over replicas of the mean over frames; its whisker runs from the lowest to the highest replica.
    ``None`` if no replica has energies.
    """
    if not any("binding_kcal" in r.columns for r in replicas):
        return None
    traces = _traces(replicas, "binding_kcal", colours, "", "kcal/mol")
    for variant in dict.fromkeys(r.variant for r in replicas):
        bars = _components([r for r in replicas if r.variant == variant])
        if not bars:
            continue
        names, means, lows, highs, texts = zip(*bars, strict=True)
        traces.append(
            go.Bar(
                x=names, y=means, marker_color=colours.get(variant, MUTED), name=variant, meta=variant,
                error_y=error_bars(list(zip(means, lows, highs, strict=True)), INK, width=2),
                xaxis="x2", yaxis="y2", text=texts, textposition="none",
                hovertemplate=f"{variant} %{{text}}<extra></extra>",
            )
        )  # fmt: skip
    layout = _two_panels("total, each replica", "components, mean over replicas")
    layout["yaxis"]["title"]["text"] = "MM/GBSA (kcal/mol)"
    layout["yaxis2"].update(zeroline=True, zerolinecolor="#9aa5b1")
    layout["xaxis2"].update(title=dict(text=""), ticks="", tickangle=0)
    return go.Figure(traces, layout)


def _components(replicas: Sequence[Replica]) -> list[tuple[str, float, float, float, str]]:
    """``(name, mean, lowest, highest, hover text)`` per component, over replicas that have its columns."""
    found = []
    for name, columns in (
        ("vdW", ("vdw_kcal",)),
        ("Coulomb<br>+ GB", ("coulomb_kcal", "gb_kcal")),
        ("surface", ("sasa_kcal",)),
    ):
        having = [r for r in replicas if all(c in r.columns for c in columns)]
        if not having:
            continue
        parts = np.array([[np.nanmean(r.columns[c]) for c in columns] for r in having])
        totals = parts.sum(axis=1)
        text = f"{name.replace('<br>', ' ')}: {number(totals.mean())} kcal/mol ({len(having)} replicas)"
        if len(columns) > 1:
            text += f"<br>Coulomb {number(parts[:, 0].mean())}, GB {number(parts[:, 1].mean())}"
        found.append((name, float(totals.mean()), float(totals.min()), float(totals.max()), text))
    return found


def _traces(
    replicas: Sequence[Replica], column: str, colours: dict[str, str], axis: str, unit: str
) -> list[go.Scatter]:
    """One Plotly trace per variant: its replicas one after the other, parted by NaN. Many traces are slow."""
    traces = []
    for variant in dict.fromkeys(r.variant for r in replicas):
        x, y, seeds = [], [], []
        for replica in replicas:
            if replica.variant != variant or column not in replica.columns:
                continue
            known = np.isfinite(replica.columns[column])  # energies may be scored for some frames only
            x += [*replica.columns["time_ps"][known], np.nan]
            y += [*replica.columns[column][known], np.nan]
            seeds += [-1 if replica.seed is None else replica.seed] * (int(known.sum()) + 1)
        if not x:
            continue
        traces.append(
            go.Scatter(
                x=np.array(x, dtype=np.float32),
                y=np.array(y, dtype=np.float32),
                customdata=np.array(seeds, dtype=np.int16 if max(seeds) < 2**15 else np.int32),
                mode="lines", line=dict(color=colours.get(variant, MUTED), width=1.3), opacity=0.85,
                name=variant, meta=variant, xaxis=f"x{axis}", yaxis=f"y{axis}",
                hovertemplate=f"{variant}, seed %{{customdata}}<br>%{{x:.3~g}} ps: %{{y:.2f}} {unit}"
                "<extra></extra>",
            )
        )  # fmt: skip
    return traces


def _two_panels(left: str, right: str) -> dict:
    """Layout of two panels side by side, each with a small title above."""
    title = dict(yref="paper", y=1, xanchor="left", yanchor="bottom", showarrow=False)
    title["font"] = dict(size=12, color=MUTED)
    time = dict(title=dict(text="time (ps)", standoff=4, font=dict(size=12)), fixedrange=True, nticks=6)
    value = dict(title=dict(text="", standoff=4, font=dict(size=12)), fixedrange=True, nticks=6)
    return dict(
        template=TEMPLATE,
        height=250,
        margin=dict(l=56, r=8, t=26, b=44),
        showlegend=False,
        hovermode="closest",
        bargap=0.25,
        annotations=[
            dict(title, text=left, xref="x domain", x=0),
            dict(title, text=right, xref="x2 domain", x=0),
        ],
        xaxis=dict(time, domain=[0, 0.45], anchor="y", title=dict(time["title"])),
        xaxis2=dict(time, domain=[0.55, 1], anchor="y2", title=dict(time["title"])),
        yaxis=dict(value, anchor="x", title=dict(value["title"])),
        yaxis2=dict(value, anchor="x2", title=dict(value["title"])),
    )
