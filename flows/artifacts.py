"""What Prefect shows of a screen on the page of its run: how far it is, ranking, heat map, where the report is."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from esr1md.repeating import repeating
from esr1md.report.depiction import VERDICT_COLOURS, in_words, number, supported_digits
from esr1md.screen.status import screen_status

#: Seconds between two looks at the store.
LOOK_S = 10.0


@contextmanager
def progress(plan: Any, store: Any) -> Iterator[None]:
    """A progress bar on the page of the run while the body runs the screen."""
    context = FlowRunContext.get()
    if context is None:
        yield
        return
    bar = create_progress_artifact(0.0, key=key(plan.name, "progress"), description=f"replicas of {plan.name}")

    def say() -> None:
        with suppress(Exception):  # a display never ends a screen
            status = screen_status(store, plan.name)
            answered = 100.0 * (status.done + status.n_failed) / max(1, status.total)
            said = f"{status.done} of {status.total} replicas of {plan.name}"
            update_progress_artifact(bar, answered, description=said)

    try:
        with repeating(say, LOOK_S, "progress artifact"):
            yield
    finally:
        say()


def ranking(found: Any, folder: Path) -> None:
    """Table, heat map and report of a finished screen; nothing where no flow runs."""
    if FlowRunContext.get() is None:
        return
    lines = [
        {
            "rank": f"{line.rank} ({line.rank_low} to {line.rank_high})",
            "ligand": line.ligand,
            "class": line.drug_class,
            "state": line.state,
            "binding": _score(line.binding),
            "helix 12": _score(line.helix12),
            "worst mutant": line.worst_variant or "",
            "binding verdict": str(line.binding_verdict),
            "helix-12 verdict": str(line.helix12_verdict),
        }
        for line in found.ranking
    ]
    create_table_artifact(lines, key=key(found.screen, "ranking"), description=f"Ranking of {found.screen}")
    limits = "\n".join(f"- {said}" for said in found.limits)
    failures = "\n".join(
        f"- {each.variant}/{each.ligand}/{each.state}: {each.stage}: {each.cause}" for each in found.failures
    )
    create_markdown_artifact(
        f"# {found.screen}\n\n## What the numbers can and cannot say\n\n{limits}\n"
        + (f"\n## Not computed\n\n{failures}\n" if failures else ""),
        key=key(found.screen, "limits"),
    )
    if found.comparisons:
        picture = base64.b64encode(heat_map(found.comparisons).encode()).decode()
        create_image_artifact(
            f"data:image/svg+xml;base64,{picture}",
            key=key(found.screen, "heat-map"),
            description="Binding shift of each mutant from the wild type (kcal/mol); hatched: cannot tell",
        )
    create_link_artifact((folder / "report.html").as_uri(), "report", key=key(found.screen, "report"))


def heat_map(comparisons: Any) -> str:
    """SVG of the binding shifts, ligands down and variants across; what cannot be told is hatched, not coloured."""
    rows = list(dict.fromkeys((each.ligand, each.state) for each in comparisons))
    columns = list(dict.fromkeys(each.variant for each in comparisons))
    wide, high, left, top = 92, 26, 260, 34
    drawn = []
    for each in comparisons:
        x, y = left + wide * columns.index(each.variant), top + high * rows.index((each.ligand, each.state))
        fill, line, ink = VERDICT_COLOURS.get(str(each.binding_verdict), ("url(#hatch)", "#b0b0b0", "#1a1a1a"))
        shift = (
            "" if each.binding_shift is None else number(each.binding_shift.value, supported_digits(each.binding_shift))
        )
        said = f"{each.variant} {each.ligand} {each.state}: {_score(each.binding_shift)}, {each.binding_verdict}"
        drawn.append(
            f"<g><title>{escape(said)}</title>"
            f'<rect x="{x}" y="{y}" width="{wide - 2}" height="{high - 2}" fill="{fill}" stroke="{line}"/>'
            f'<text x="{x + wide / 2}" y="{y + 17}" text-anchor="middle" fill="{ink}">{shift}</text></g>'
        )
    heads = [f'<text x="{left + wide * (i + 0.5)}" y="22" text-anchor="middle">{escape(name)}</text>'
             for i, name in enumerate(columns)]  # fmt: skip
    names = [f'<text x="8" y="{top + high * i + 17}">{escape(f"{ligand}, {state}")}</text>'
             for i, (ligand, state) in enumerate(rows)]  # fmt: skip
    size = f'width="{left + wide * len(columns)}" height="{top + high * len(rows) + 6}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" fill="#1a1a1a">'
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="6" height="6" fill="#f2f2f2"/><line x1="0" y1="0" x2="0" y2="6" stroke="#b0b0b0"/>'
        "</pattern></defs>"
        '<rect width="100%" height="100%" fill="#ffffff"/>' + "".join(heads + names + drawn) + "</svg>"
    )


def key(screen: str, what: str) -> str:
    """A name that Prefect takes for an artifact: lower-case letters, digits and dashes."""
    return f"{re.sub(r'[^a-z0-9]+', '-', screen.lower()).strip('-')}-{what}"


def _score(score: Any) -> str:
    return "not available" if score is None else in_words(score, unknown="no interval")
