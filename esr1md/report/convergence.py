"""The page of a convergence plot: what is concluded in words, then the figure; one file that works offline."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from esr1md.report.figures import FONT, INK, MUTED
from esr1md.report.page import ASSETS


def write_figure_page(figure: go.Figure, heading: str, said: Sequence[str], path: Path) -> Path:
    """Write a figure under its heading and the sentences of ``said`` as one self-contained HTML file."""
    script = (ASSETS / "plotly-cartesian.min.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    data = figure.to_json().replace("</", "<\\/")
    paragraphs = "\n".join(f"<p>{html.escape(line)}</p>" for line in said)
    title = html.escape(heading)
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<style>body {{ font-family: {FONT}; color: {INK}; max-width: 1100px; margin: 2em auto; padding: 0 1em }}
p {{ color: {MUTED}; margin: .3em 0 }}</style></head><body>
<h1>{title}</h1>
{paragraphs}
<div id="plot"></div>
<script>{script}</script>
<script>const figure = {data};
Plotly.newPlot("plot", figure.data, figure.layout, {{responsive: true, displayModeBar: false}});</script>
</body></html>
""",
        encoding="utf-8",
    )
    return path
