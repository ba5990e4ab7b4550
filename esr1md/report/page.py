"""The report of a screen: one HTML file that works offline, for the chemist who decides what to advance.

Everything the page shows is inside the file (figures, 2D and 3D structures, the two JavaScript libraries),
and a Content-Security-Policy in it forbids the browser any request. Words are made in ``words`` and ``caveats``,
figures in ``figures``, ``trade_off`` and ``residues``, the store is read in ``data``; this module only puts them on the
page.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup

from esr1md.errors import InputError
from esr1md.report import caveats, figures
from esr1md.report.data import (
    HELIX12,
    KEY_RESIDUES,
    Replica,
    ScreenSettings,
    StoreData,
    read_settings,
    read_store,
    receptor_sources,
)
from esr1md.report.depiction import Axis, coverage_bar, interval, number, percent, structure_pictures
from esr1md.report.residues import residue_heatmap, shown_variant, without_solvent
from esr1md.report.trade_off import trade_off
from esr1md.report.words import headline, methods, production_ps
from esr1md.scoring.coverage import RESEARCH_USE, Coverage, coverages
from esr1md.scoring.evidence import evidence
from esr1md.scoring.population import Population
from esr1md.scoring.scores import Ranking
from esr1md.scoring.validation import CLINICAL_USE

ASSETS = Path(__file__).parent / "assets"

#: What short dynamics can and cannot say, whatever the screen; ``Ranking.limits`` adds what is special to it.
CAN_SAY = (
    "Whether a ligand's pose and the contacts of helix 12 stay put near where they started.",
    "How mutant and wild type differ in interaction energy when both are treated alike, seed by seed.",
)
CANNOT_SAY = (
    "Populations of helix-12 states: agonist and antagonist positions do not interconvert even in 240 ns.",
    "Absolute affinities: MM/GBSA leaves out entropy, and its noise is about as large as the 0.5 to 2 "
    "kcal/mol that separates a mutant from the wild type.",
    "Degradation, cell permeability, dose or clinical benefit.",
)

#: Other measures of helix 12, where a screen has them: metric, heading, unit, what it is.
HELIX12_MEASURES = (
    ("h12_state_margin_angstrom", "State margin", "\u00c5", "how far the frames are from another state's label"),
    ("h12_helicity", "Helicity", "", "helical share of residues 536 to 544"),
    ("clamp_362_542_angstrom", "AF-2 clamp", "\u00c5", "K362 to E542, between which a coactivator is held"),
    ("h12_groove_area_angstrom2", "Groove area", "\u00c5\u00b2", "area that helix 12 and the AF-2 groove bury"),
    ("h12_core_rmsf_ratio", "Mobility over core", "", "RMSF of helix 12 over that of the core of the domain"),
    ("loop_rmsf_angstrom", "Loop RMSF", "\u00c5", "mobility of the H11-H12 loop (527 to 536)"),
    ("latch_537_351_angstrom", "537 to D351", "\u00c5", "the latch of the active place"),
)


def write_report(ranking: Ranking, store_root: Path, path: Path) -> Path:
    """Write the report of a screen as one self-contained HTML file.

    Parameters
    ----------
    ranking
        The result document of the screen.
    store_root
        The store; replicas are read from ``replicas/DIGEST/``. What cannot be read is listed in the report.
    path
        The file to write. It is replaced only when the new one is complete.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    InputError
        If ``path`` cannot be written.
    """
    store_root, path = Path(store_root), Path(path)
    page = _environment().get_template("report.html.j2").render(_context(ranking, store_root, path.parent))
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise InputError(
            f"the report cannot be written ({error.strerror or error})",
            where=str(path),
            expected="a file in a folder you may write to, with room for about 10 MB",
            do="give another path",
        ) from error
    return path


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=number, interval=interval, percent=percent, cautious=caveats.cautious)
    return environment


def _context(ranking: Ranking, store_root: Path, folder: Path) -> dict[str, Any]:
    data = read_store(ranking, store_root)
    specs = list(data.specs.values())
    several_states = len({r.state for r in ranking.ranking}) > 1
    colours = figures.variant_colours([c.variant for c in (*ranking.cells, *ranking.predictions)])
    settings = read_settings(store_root, ranking.screen)
    clinical = _clinical(ranking)
    plots = {f"{kind}-map": figures.shift_heatmap(ranking, kind) for kind in ("binding", "helix12")}
    plots |= {f"{kind}-map": figures.place_heatmap(ranking, kind) for kind in ("over_hormone", "over_apo")}
    order = [(r.ligand, r.state) for r in ranking.ranking]
    plots["residue-map"] = residue_heatmap(data.interactions, order)
    states = list(dict.fromkeys(r.state for r in ranking.ranking))
    fronts = [(state, trade_off([r for r in ranking.ranking if r.state == state])) for state in states]
    plots |= {f"front-{i}": figure for i, (_, figure) in enumerate(fronts)}
    traces = _per_ligand(ranking, data.replicas, several_states)
    panels = _panels(traces, colours, plots)
    paragraphs, references = methods(ranking, specs, receptor_sources(specs))
    return {
        "r": ranking,
        "created": _when(ranking.created),
        "headline": headline(ranking),
        "contradictions": [c for c in ranking.controls if c.outcome == "contradicts"],
        "can_say": CAN_SAY,
        "cannot_say": CANNOT_SAY,
        "production": _duration(production_ps(specs)),
        "n_simulated": sum(c.n_replicas for c in ranking.cells),
        "n_cells": sum(c.n_replicas > 0 for c in ranking.cells),
        "rows": _rows(ranking, {ligand: place for place, (ligand, _, _) in enumerate(clinical)}),
        "shown": {
            column: any(getattr(r, column) is not None for r in ranking.ranking)
            for column in ("binding", "helix12", "worst_shift", "p_best", "on_front", "p_front", "weighted_rank")
        },
        "weights": caveats.weights_in_words(settings and settings.weights),
        "controls_said": caveats.controls_in_words(ranking),
        "disbelieve": caveats.DISBELIEVE,
        "look_at": caveats.LOOK_AT,
        "alone": figures.ALONE,
        "does_not_stand": caveats.does_not_stand(ranking),
        "fronts": [(state, f"front-{i}") for i, (state, figure) in enumerate(fronts) if figure is not None],
        "short_runs": caveats.SHORT_RUNS,
        "missing_scores": caveats.missing_helix12_scores(ranking),
        "place_cells": [c for c in ranking.cells if c.helix12_over_hormone or c.helix12_over_apo],
        "measures": [m for m in HELIX12_MEASURES if any(m[0] in c.metrics for c in ranking.cells)],
        "coverage": _coverage(ranking, settings),
        "research_use": RESEARCH_USE,
        "clinical": clinical,
        "clinical_use": CLINICAL_USE,
        "residue_variant": shown_variant(data.interactions) if plots["residue-map"] else None,
        "without_solvent": without_solvent(data.interactions),
        "several_states": several_states,
        "has_maps": {
            kind: plots[f"{kind}-map"] is not None for kind in ("binding", "helix12", "over_hormone", "over_apo")
        },
        "wide_maps": len({c.variant for c in ranking.cells}) > figures.MOST_COLUMNS_WITH_WORDS,
        "panels": panels,
        "legend": [(v, c) for v, c in colours.items() if any(r.variant == v for r in data.replicas)],
        "complexes": data.complexes,
        "predictions": _predictions(ranking),
        "outcomes": [f for f in ranking.failures if f.kind == "outcome"],
        "errors": [f for f in ranking.failures if f.kind == "error"],
        "methods": paragraphs,
        "references": references,
        "files": _files(ranking, store_root, folder),
        "folders": _replica_links(ranking, data, store_root, folder),
        "missing": data.missing,
        "css": Markup(_asset("report.css")),
        "js": _script("report.js"),
        "plotly": _script("plotly-cartesian.min.js") if any(plots.values()) else "",
        "viewer": _script("3Dmol-min.js") if data.complexes else "",
        "figures_json": _json({k: _figure(f) for k, f in plots.items() if f is not None}),
        "complexes_json": _json(
            {
                "helix12": f"{HELIX12.start}-{HELIX12.stop - 1}",
                "key": list(KEY_RESIDUES),
                "list": [asdict(c) for c in data.complexes],
            }
        ),
    }


# --- tables ---------------------------------------------------------------------------------------------


def _rows(ranking: Ranking, clinical: dict[str, int]) -> list[dict[str, Any]]:
    """One dict per ranked ligand, with its pictures, in the order of the ranking (state by state).

    ``clinical`` maps a ligand with clinical results to its place among them.
    """
    pictures = structure_pictures([r.smiles for r in ranking.ranking])
    axes = {c: Axis([getattr(r, c) for r in ranking.ranking]) for c in ("binding", "worst_shift")}
    # The two references are about 12 angstrom apart: one axis for both states would hide every interval.
    h12 = {
        state: Axis([r.helix12 for r in ranking.ranking if r.state == state], zero=False)
        for state in {r.state for r in ranking.ranking}
    }
    return [
        {
            "r": r,
            "picture": picture,
            "whiskers": {
                "helix12": h12[r.state].whisker(r.helix12),
                **{c: axis.whisker(getattr(r, c)) for c, axis in axes.items()},
            },
            "confidence": _pose_confidence(ranking, r.ligand, r.state),
            "alone": {
                kind: caveats.ligand_stands(ranking, r.ligand, r.state, kind) is False
                for kind in ("binding", "helix12")
            },
            "chance": "" if r.p_best is None else f"best: {caveats.cautious(r.p_best)}",
            "clinical": clinical.get(r.ligand),
        }
        for r, picture in zip(ranking.ranking, pictures, strict=True)
    ]


def _pose_confidence(ranking: Ranking, ligand: str, state: str) -> dict[str, str] | None:
    """The least sure pose of a ligand over the variants, to be shown unless all are ``high``."""
    order = ("low", "medium", "high")
    cells = [c for c in ranking.cells if (c.ligand, c.state) == (ligand, state)]
    cells = [c for c in cells if c.pose_confidence in order]
    if not cells:
        return None
    worst = min(cells, key=lambda c: order.index(c.pose_confidence))
    return {"confidence": worst.pose_confidence, "reason": worst.pose_reason}


def _coverage(ranking: Ranking, settings: ScreenSettings | None) -> dict[str, Any] | None:
    """The default published population, and for each ranked ligand its coverage with the bar; ``None`` without plan."""
    if settings is None:
        return None
    population: Population = evidence().populations.named()
    found: list[Coverage] = [c for c in coverages(ranking, population, settings.thresholds) if c.headline]
    return {
        "population": population,
        "rows": [(c, coverage_bar(c)) for c in found],
        "notes": list(dict.fromkeys(note for c in found for note in c.notes)),
    }


def _clinical(ranking: Ranking) -> list[tuple[str, tuple[Any, ...], int]]:
    """``(ligand, results, how many are of ESR1-mutant disease)`` for the ligands that have any."""
    known = evidence()
    ligands = dict.fromkeys([*(r.ligand for r in ranking.ranking), *(c.ligand for c in ranking.cells)])
    found = [(ligand, known.clinical_of(ligand)) for ligand in ligands]
    return [(ligand, results, sum(r.of_mutants for r in results)) for ligand, results in found if results]


def _predictions(ranking: Ranking) -> list[dict[str, Any]]:
    axes = {
        k: Axis([getattr(p, k) for p in ranking.predictions], zero=False) for k in ("binding", "helix12")
    }  # fmt: skip
    return [
        {"cell": p, "whiskers": {k: axis.whisker(getattr(p, k)) for k, axis in axes.items()}}
        for p in ranking.predictions
    ]


# --- figures --------------------------------------------------------------------------------------------


def _per_ligand(ranking: Ranking, replicas: list[Replica], several_states: bool) -> list[tuple[str, list[Replica]]]:
    """Replicas grouped by ligand and state, in the order of the ranking; unranked ones (apo) last."""
    keys = [(r.ligand, r.state) for r in ranking.ranking]
    keys += [(r.ligand, r.state) for r in replicas]
    groups = []
    for ligand, state in dict.fromkeys(keys):
        mine = [r for r in replicas if (r.ligand, r.state) == (ligand, state)]
        if mine:
            groups.append((figures.row_label(ligand, state, several_states), mine))
    return groups


def _panels(
    groups: list[tuple[str, list[Replica]]], colours: dict[str, str], plots: dict[str, go.Figure | None]
) -> dict[str, list[tuple[str, str]]]:
    """Make the small multiples, put them into ``plots``; return ``(title, plot key)`` by section."""
    everyone = [r for _, group in groups for r in group]
    # The same axes for all ligands that started in the same state; states are far apart.
    ranges = {
        state: [
            figures.shared_range([r for r in everyone if r.state == state], column) for column in figures.H12_COLUMNS
        ]
        for state in {r.state for r in everyone}
    }
    panels: dict[str, list[tuple[str, str]]] = {"helix12": [], "energy": []}
    for i, (title, group) in enumerate(groups):
        made = {
            "helix12": figures.helix12_traces(group, colours, ranges[group[0].state]),
            # Total energies of different ligands are not comparable, so each has its own range.
            "energy": figures.energy_panels(group, colours),
        }
        for kind, figure in made.items():
            if figure is not None:
                plots[f"{kind}-{i}"] = figure
                panels[kind].append((title, f"{kind}-{i}"))
    return panels


def _figure(figure: go.Figure) -> dict[str, Any]:
    return json.loads(figure.to_json())


# --- embedding ------------------------------------------------------------------------------------------


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _script(name: str) -> Markup:
    """JavaScript that can stand inside ``<script>``: nothing in it may end the element or open a comment."""
    return Markup(re.sub(r"<(?=/script|!--)", r"\\x3c", _asset(name), flags=re.I))


def _json(value: Any) -> Markup:
    """JSON for a ``<script type=application/json>``: without ``<``, text in it cannot end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


# --- links ----------------------------------------------------------------------------------------------


def _link(target: Path, folder: Path) -> str:
    """Relative URL from the report's folder, so that the store can be moved or copied as a whole."""
    return quote(Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix())


def _files(ranking: Ranking, store_root: Path, folder: Path) -> list[tuple[str, str]]:
    """Tables and documents of the screen that exist now, as ``(name, link)``."""
    found = {}
    for place in (folder, store_root / "screens" / ranking.screen):
        for pattern in ("*.csv", "ranking.json", "plan.json"):
            for file in sorted(place.glob(pattern)) if place.is_dir() else ():
                found[file.resolve()] = (file.name, _link(file, folder))
    return list(found.values())


def _replica_links(
    ranking: Ranking, data: StoreData, store_root: Path, folder: Path
) -> list[tuple[str, list[tuple[str, str]]]]:
    """``(cell, [(replica, link)])`` for the replica folders that exist."""
    rows = []
    for cell in ranking.cells:
        places = {digest: store_root / "replicas" / digest for digest in cell.replicas}
        links = [
            (_seed_name(data.specs.get(digest, {}), digest), _link(place, folder) + "/")
            for digest, place in places.items()
            if place.is_dir()
        ]
        if links:
            rows.append((f"{cell.variant} / {cell.ligand} / {cell.state}", links))
    return rows


def _seed_name(spec: dict[str, Any], digest: str) -> str:
    return f"seed {spec['seed']}" if "seed" in spec else digest[:10]


def _when(text: str) -> str:
    """``31 January 2026, 10:20 UTC`` for an ISO 8601 time; other text as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    if time.tzinfo is not None:
        time = time.astimezone(UTC)
    return f"{time.day} {time:%B %Y, %H:%M}" + (" UTC" if time.tzinfo else "")


def _duration(picoseconds: float | None) -> str:
    if picoseconds is None:
        return ""
    return f"{picoseconds / 1000:g} ns" if picoseconds >= 1000 else f"{picoseconds:g} ps"


def asset_digests() -> dict[str, str]:
    """SHA-256 of each vendored file, for the test that compares them with ``report/assets/README.md``."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in vendored()}


def vendored() -> Iterable[Path]:
    """The JavaScript libraries that are copies of published packages."""
    return sorted(ASSETS.glob("*min.js"))
