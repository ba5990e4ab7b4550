"""The figures and pictures of the report on a dark page: each of its colours has one counterpart."""

from __future__ import annotations

import json
import re
from typing import Any

import plotly.graph_objects as go

from esr1md.report import figures

#: Colour on paper -> colour on a dark page. Scales that are white in the middle are dark there, and bright at the ends.
DARK = {
    figures.INK: "#e7ebf0",
    figures.MUTED: "#a3afbd",
    figures.GRID: "#343c47",
    figures.HATCH: "#5d6875",
    figures.UNDECIDED: "#2b323c",
    figures.WILD_TYPE_COLOUR: "#d5dae1",
    "#ffffff": "#1d232b",
    "#9aa5b1": "#66717e",
    "#2b6cb0": "#79b8f2",
    "#8db8de": "#2f5f8c",
    "#f5b374": "#8f5a20",
    "#c05a00": "#f5a24a",
    "#0072b2": "#56a8e0",
    "#009e73": "#35c79c",
    "#7a5195": "#b890d4",
    "#8c6d31": "#c9a55c",
    "#d55e00": "#f08040",
    # structures, as RDKit writes them
    "#000000": "#e7ebf0",
    "#0059A5": "#7fb8ee",
    "#B73300": "#f2936c",
    "#007259": "#4fcfa8",
}
_COLOUR = re.compile("|".join(map(re.escape, DARK)), re.IGNORECASE)
_LOWER = {paper.lower(): dark for paper, dark in DARK.items()}


def recoloured(text: str, dark: bool) -> str:
    """SVG or JSON text with the colours of the page."""
    return _COLOUR.sub(lambda found: _LOWER[found.group().lower()], text) if dark else text


def themed(figure: go.Figure | None, dark: bool) -> dict[str, Any] | None:
    """A figure as Plotly's JSON in the colours of the page."""
    if figure is None:
        return None
    return json.loads(recoloured(figure.to_json(), dark))
