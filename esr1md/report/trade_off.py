"""Binding against helix 12, one point per ligand: who is on the Pareto front, at a glance."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from esr1md.report.depiction import interval, number
from esr1md.report.figures import GRID, INK, MUTED, TEMPLATE, WORSE_IS_HIGH, error_bars, least_width, span
from esr1md.scoring.scores import RankedLigand, Score

#: Ligands up to which every point has its name and its intervals; with more, only those on the front have.
MOST_NAMED = 14

#: Size (px) of the figure that names are laid out for, and diameters of points from the smallest to the largest loss.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1080, 440, 64, 122, 34
SMALLEST, LARGEST = 11, 24
_CORNERS = ((1, 1), (-1, 1), (1, -1), (-1, -1))


def trade_off(lines: Sequence[RankedLigand]) -> go.Figure | None:
    """Scatter of the ligands of one state; ``None`` with fewer than two that have both scores.

    x is the mean binding (kcal/mol), y helix 12 (angstrom), colour and size the binding that the worst mutant costs. A
    ligand on the Pareto front is a diamond with a dark rim, any other a circle.
    """
    lines = [line for line in lines if line.binding is not None and line.helix12 is not None]
    if len(lines) < 2:
        return None
    losses = [line.worst_shift.value for line in lines if line.worst_shift is not None]
    limit = max(1.0, *(abs(x) for x in losses)) if losses else 1.0
    named = [line for line in lines if len(lines) <= MOST_NAMED or line.on_front]
    figure = go.Figure()
    if len(lines) <= MOST_NAMED:
        figure.add_scatter(
            x=[line.binding.value for line in lines], y=[line.helix12.value for line in lines], mode="markers",
            marker=dict(size=1, color=MUTED), error_x=_bars([line.binding for line in lines]),
            error_y=_bars([line.helix12 for line in lines]), hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    for on_front, name, symbol, rim in ((True, "on the Pareto front", "diamond", 2.2), (False, "beaten", "circle", 1)):
        mine = [line for line in lines if bool(line.on_front) is on_front]
        if not mine:
            continue
        values = [line.worst_shift.value if line.worst_shift is not None else 0.0 for line in mine]
        figure.add_scatter(
            x=[line.binding.value for line in mine], y=[line.helix12.value for line in mine], mode="markers",
            name=name if any(line.on_front is not None for line in mine) else "front not known",
            text=[_hover(line) for line in mine], hovertemplate="%{text}<extra></extra>",
            marker=dict(
                symbol=symbol, size=[_size(v, limit) for v in values], color=values, cmin=-limit, cmax=limit,
                colorscale=WORSE_IS_HIGH, line=dict(width=rim, color=INK if on_front else MUTED), opacity=1,
                **(dict(colorbar=_colorbar(), showscale=True) if losses and mine[0] is _first(lines) else {}),
            ),
        )  # fmt: skip
    ranges = _range([line.binding for line in lines]), _range([line.helix12 for line in lines])
    figure.update_layout(
        template=TEMPLATE, height=HEIGHT, margin=dict(l=LEFT, r=12, t=TOP, b=BOTTOM), hovermode="closest",
        meta=least_width(560),
        annotations=[*_names(named, lines, ranges, limit), _better()],
        legend=dict(orientation="h", x=0, y=1, yref="container", yanchor="top", xanchor="left", itemsizing="constant"),
        xaxis=dict(title=_title("binding, kcal/mol (left binds better)"), range=ranges[0], fixedrange=True,
                   gridcolor=GRID),
        yaxis=dict(title=_title("helix 12, \u00c5 (up: held away)"), range=ranges[1], fixedrange=True),
    )  # fmt: skip
    return figure


def _title(text: str) -> dict:
    return dict(text=text, standoff=6, font=dict(size=12))


def _first(lines: Sequence[RankedLigand]) -> RankedLigand:
    """The ligand whose trace bears the colour bar: of the front if there is one."""
    return next((line for line in lines if line.on_front), lines[0])


def _size(loss: float, limit: float) -> float:
    return SMALLEST + (LARGEST - SMALLEST) * max(0.0, loss) / limit


def _bars(scores: Sequence[Score]) -> dict:
    return error_bars([span(score) for score in scores], "#aab4bf")


def _range(scores: Sequence[Score]) -> list[float]:
    ends = [e for s in scores for e in (s.value, s.low, s.high) if e is not None]
    pad = 0.08 * (max(ends) - min(ends)) or 1.0
    return [min(ends) - pad, max(ends) + pad]


def _colorbar() -> dict:
    return dict(
        orientation="h", thickness=8, len=0.5, x=0, xanchor="left", xpad=0, nticks=7, y=0, yref="container",
        yanchor="bottom", outlinewidth=0, tickfont=dict(size=11),
        title=dict(text="worst mutant's binding shift, kcal/mol (orange and large: loses binding)", side="bottom",
                   font=dict(size=12, color=MUTED)),
    )  # fmt: skip


def _better() -> dict:
    return dict(
        xref="paper", yref="paper", x=0, y=1, xanchor="left", yanchor="top", showarrow=False, xshift=8, yshift=-6,
        text="\u2196 better", font=dict(size=13, color=MUTED),
    )  # fmt: skip


def _names(
    named: Sequence[RankedLigand], lines: Sequence[RankedLigand], ranges: Sequence[list[float]], limit: float
) -> list[dict]:
    """Names off the lines of the intervals, each at the corner of its point where it covers least of what is there."""
    width, height = WIDTH - LEFT - 12, HEIGHT - TOP - BOTTOM

    def at(line: RankedLigand) -> tuple[float, float]:
        (x0, x1), (y0, y1) = ranges
        return ((line.binding.value - x0) / (x1 - x0) * width, (line.helix12.value - y0) / (y1 - y0) * height)

    taken = [_box(*at(line), 2 * LARGEST / 3, 2 * LARGEST / 3, 0, 0) for line in lines]
    notes = []
    for line in sorted(named, key=lambda each: (not each.on_front, each.rank)):
        x, y = at(line)
        text = line.ligand if len(line.ligand) <= 28 else line.ligand[:27] + "\u2026"
        away = _size(line.worst_shift.value, limit) / 2 + 4 if line.worst_shift is not None else SMALLEST
        boxes = {(dx, dy): _box(x, y, 6.8 * len(text), 15, away * dx, 0.5 * away * dy) for dx, dy in _CORNERS}

        def cost(box: tuple[float, ...]) -> float:
            outside = max(0.0, -box[0]) + max(0.0, box[2] - width) + max(0.0, -box[1]) + max(0.0, box[3] - height)
            return sum(_shared(box, other) for other in taken) + 20 * outside

        dx, dy = min(boxes, key=lambda corner: cost(boxes[corner]))
        taken.append(boxes[dx, dy])
        notes.append(
            dict(
                x=line.binding.value, y=line.helix12.value, text=html.escape(text, quote=False), showarrow=False,
                xshift=away * dx, yshift=0.5 * away * dy, xanchor="left" if dx > 0 else "right",
                yanchor="bottom" if dy > 0 else "top",
                font=dict(size=12, color=INK if line.on_front else MUTED),
            )
        )  # fmt: skip
    return notes


def _box(x: float, y: float, width: float, height: float, dx: float, dy: float) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a box that is centred at (x, y), or beside it where a shift is given."""
    x += dx + np.sign(dx) * width / 2
    y += dy + np.sign(dy) * height / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Area that two boxes share (px^2)."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _hover(line: RankedLigand) -> str:
    said = [f"<b>{html.escape(line.ligand, quote=False)}</b>"]
    for name, score, unit in (
        ("binding", line.binding, "kcal/mol"),
        ("helix 12", line.helix12, "\u00c5"),
        (f"worst mutant {line.worst_variant or ''}".strip(), line.worst_shift, "kcal/mol"),
    ):
        if score is None:
            said.append(f"{name}: not known")
        else:
            said.append(f"{name}: {number(score.value)} {unit} ({interval(score)})")
    if line.p_front is not None:
        said.append(f"on the front with a chance of {100 * line.p_front:.0f} %")
    return "<br>".join(said)
