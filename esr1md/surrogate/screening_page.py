"""The best compounds of a screening as one small page that opens anywhere, offline, without scripts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from esr1md import __version__
from esr1md.report.depiction import structure_pictures

ASSETS = Path(__file__).resolve().parents[1] / "report" / "assets"
#: Width of a whisker (px).
WIDTH = 110


def screening_page(summary: dict[str, Any]) -> str:
    """The page as HTML with everything it needs inside.

    Parameters
    ----------
    summary
        Content of ``summary.json`` (:func:`esr1md.surrogate.screening_tables.write_tables`).
    """
    units = {column["name"]: column.get("unit", "") for column in summary["columns"]}
    values = [name for name in units if f"{name}_low" in units and f"{name}_high" in units]
    meanings = {column["name"]: column["meaning"] for column in summary["columns"]}
    shares = {name: share(meanings[f"{name}_low"]) for name in values}
    extra = "" if summary["by"] in values else summary["by"]
    listed = [*summary["top"], *summary["outside_domain"]]
    axes = {name: _Axis([row[f"{name}{end}"] for row in listed for end in ("", "_low", "_high")], shares[name])
            for name in values}  # fmt: skip
    names = ("top", "outside_domain")
    top, outside = ([_shown(row, axes, extra) for row in summary[name]] for name in names)
    return _template().render(
        s=summary, title=Path(summary["source"]).name, css=Markup((ASSETS / "report.css").read_text(encoding="utf-8")),
        facts=_facts(summary), headline=_headline(summary), lead=_lead(summary), top=top, outside=outside,
        units=units, values=values, shares=shares, extra=extra, provenance=_provenance(summary),
        made_by=f"esr1md {__version__} surrogate screen",
    )  # fmt: skip


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("screening.html.j2")


# -- words ----------------------------------------------------------------------------------------------------


def _facts(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("Rows", f"{summary['rows']:,}"), ("Predicted", f"{summary['predicted']:,}"),
        ("Inside the model's domain", f"{summary['in_domain']:,}"), ("Not predicted", f"{summary['failed']:,}"),
        ("Variants", ", ".join(summary["variants"]) or "wild type"), ("Model", summary["model_sha256"][:12]),
    ]  # fmt: skip


def _headline(summary: dict[str, Any]) -> str:
    return (
        f"{summary['predicted']:,} of {summary['rows']:,} compounds are predicted; "
        f"{summary['in_domain']:,} resemble what the model was trained on."
    )


def _lead(summary: dict[str, Any]) -> str:
    failed = summary["failed"]
    if not failed:
        return "No row was refused."
    return f"{failed:,} {'row' if failed == 1 else 'rows'} could not be predicted; failures.csv says why."


def _provenance(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    first = f"the first {summary['limit']:,} rows" if summary["limit"] else "every row"
    return [
        ("Library", summary["source"]), ("Rows taken", first), ("Model", summary["model"]),
        ("SHA-256 of its weights", summary["model_sha256"]), ("Helix-12 state", summary["state"]),
        ("Files", ", ".join(summary["files"])),
    ]  # fmt: skip


# -- rows -----------------------------------------------------------------------------------------------------


def _shown(row: dict[str, Any], axes: dict[str, _Axis], extra: str) -> dict[str, Any]:
    # drawn one by one: laying unlike compounds on each other's scaffolds takes a second for each pair
    (picture,) = structure_pictures([row["smiles"]])
    return {
        **row, "picture": picture, "extra": _number(row[extra]) if extra else "",
        "similarity_words": _similarity(row["similarity"]),
        "cells": [_cell(row, name, axis) for name, axis in axes.items()],
    }  # fmt: skip


def _similarity(value: float | None) -> str:
    if value is None:
        return "not known"
    return "1.00, a training compound or its stereoisomer" if value > 0.999 else f"{value:.2f}"


def _cell(row: dict[str, Any], name: str, axis: _Axis) -> dict[str, Any]:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    known = low is not None and high is not None
    return {
        "value": _number(value), "interval": f"{_number(low)} to {_number(high)}" if known else "no interval",
        "more": concentration(value) if name == "pchembl" and value is not None else "",
        "whisker": axis.whisker(value, low, high),
    }  # fmt: skip


def share(meaning: str) -> str:
    """``90 % interval``, as the meaning of its low end says it."""
    found = re.search(r"\d+ % interval", meaning)
    return found[0] if found else "interval"


def concentration(pchembl: float) -> str:
    """A pChEMBL value, -log10 of molar, as a chemist says it: ``about 3 nM``."""
    molar = 10.0**-pchembl
    for unit, size in (("mM", 1e-3), ("\u00b5M", 1e-6), ("nM", 1e-9), ("pM", 1e-12)):
        rounded = float(f"{molar / size:.1g}")
        if rounded >= 1 or unit == "pM":
            return f"about {rounded:g} {unit}"
    raise AssertionError


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "\u2212")


class _Axis:
    """The range of one column over the rows shown."""

    def __init__(self, values: Sequence[float | None], interval: str) -> None:
        self._interval = interval
        known = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
        pad = 0.06 * (max(known) - min(known)) or 1.0
        self._low, self._high = min(known) - pad, max(known) + pad

    def _x(self, value: float) -> float:
        return round((value - self._low) / (self._high - self._low) * WIDTH, 1)

    def whisker(self, value: float | None, low: float | None, high: float | None) -> Markup:
        """The value as a hollow point (a prediction) on its interval."""
        if value is None:
            return Markup("")
        parts = []
        if low is not None and high is not None:
            a, b = self._x(low), self._x(high)
            parts.append(f"<line class='bar' x1='{a}' x2='{b}' y1='9' y2='9'/>")
            parts += [f"<line class='cap' x1='{end}' x2='{end}' y1='5' y2='13'/>" for end in (a, b)]
        parts.append(f"<circle cx='{self._x(value)}' cy='9' r='3.6'/>")
        said = escape(f"{_number(value)}, {self._interval} {_number(low)} to {_number(high)}")
        return Markup(
            f"<svg width='{WIDTH}' height='18' viewBox='0 0 {WIDTH} 18' role='img' "
            f"aria-label='{said}'>{''.join(parts)}</svg>"
        )
