"""The quality report of a receptor as one small page that opens anywhere, offline."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import gemmi
import jinja2
from markupsafe import Markup, escape

from esr1md import __version__
from esr1md.errors import InputError
from esr1md.receptor.protonation import FORMS
from esr1md.receptor.quality import LIMITS, WORDS, ramachandran, ramachandran_allowed
from esr1md.receptor.residues import HEAVY_ATOMS

ASSETS = Path(__file__).resolve().parents[1] / "report" / "assets"
_EXAMPLES = 6
_GRID = 5  # degrees: resolution of the drawn regions


def write_quality_page(record: dict[str, Any], pdb: Path, path: Path) -> Path:
    """Write the page of a model built by ``esr1md receptors build``.

    Parameters
    ----------
    record
        Content of ``record.json``: ``receptor`` and ``provenance``.
    pdb
        The model.
    path
        The HTML file; replaced only when the new one is complete.
    """
    model, origin = record["receptor"], record["provenance"]
    source, options = origin["source"], origin["options"]
    facts = [
        ("Variant", model["variant"]), ("Helix-12 state", model["state"]), ("Built from", model["source"]),
        ("Residues", model["quality"]["residues"]), ("pH", f"{options['ph']:g}"),
        ("Assembly", options["assembly"]),
    ]  # fmt: skip
    provenance = [
        ("Starting structure", model["source"]), ("SHA-256", model["source_digest"]),
        *(("Found", step) for step in source["found"]),
        ("Differs from P03372", ", ".join(origin["differences_in_source"]) or "nowhere"),
        ("Gaps of the structure", _gaps(origin["gaps_in_source"])),
        *((f"Option {name}", value) for name, value in options.items() if value not in ("", None)),
        ("Versions", ", ".join(f"{name} {number}" for name, number in origin["versions"].items())),
        ("Time", f"{origin['seconds']:g} s"),
    ]  # fmt: skip
    context = _context(model["quality"], pdb) | {
        "title": f"{model['variant']} · {model['state']}", "facts": facts, "accepted": options["accept_quality"],
        "steps_title": "What was changed, and why", "steps": model["steps"], "provenance": provenance,
        "made_by": origin["made_by"], **_protonation(model["protonation"]),
    }  # fmt: skip
    return _write(_render(context), path)


def write_check_page(check: dict[str, Any], structure: gemmi.Structure, path: Path) -> Path:
    """Write the page of ``esr1md receptors check`` (:func:`esr1md.receptor.check.check_structure`)."""
    facts = [
        ("File", check["file"]), ("Chain", check["chain"]), ("Residues", check["quality"]["residues"]),
        ("Differs from P03372", ", ".join(check["mutations"]) or "nowhere"), ("Gaps", _gaps(check["gaps"])),
    ]  # fmt: skip
    context = _context(check["quality"], structure) | {
        "title": check["name"], "facts": facts, "accepted": "", "steps_title": "What the file holds",
        "steps": check["steps"], "provenance": [("SHA-256", check["sha256"])], "sites": [],
        "made_by": f"esr1md {__version__} receptors check",
    }  # fmt: skip
    return _write(_render(context), path)


def _context(quality: dict[str, Any], model: Path | gemmi.Structure) -> dict[str, Any]:
    structure = gemmi.read_structure(str(model)) if isinstance(model, Path) else model
    points = [point for chain in structure[0] for point in ramachandran([r for r in chain if r.name in HEAVY_ATOMS])]
    problems = quality["problems"]
    outliers = [label for label, *_, allowed in points if not allowed]
    exceeded = f"{len(problems)} of {len(LIMITS)} limits exceeded."
    return {
        "problems": problems,
        "headline": exceeded if problems else "Every measure is within its limit.",
        "lead": _lead(quality),
        "measures": [_measure(key, quality) for key in LIMITS],
        "bond_rms": f"{quality['bond_rms_angstrom']:.3f}", "angle_rms": f"{quality['angle_rms_degrees']:.1f}",
        "plot": ramachandran_plot(points),
        "backbone": f"{len(points) - len(outliers)} of {len(points)} residues lie in an allowed region"
        + (f"; outside: {', '.join(outliers)}." if outliers else "."),
        "helix12": [_helix12(each) for each in quality.get("helix12_by_chain", [quality["helix12"]])],
    }  # fmt: skip


def _helix12(found: dict[str, Any] | None) -> str:
    if found is None:
        return "Helix 12 (residues 537-544) is not complete, so its state cannot be measured."
    return (
        f"Measured {found['state']}: C-alpha RMSD of residues 537-544 is {found['agonist_angstrom']:.1f} Å to the "
        f"agonist and {found['antagonist_angstrom']:.1f} Å to the antagonist place, after superposition of the core. "
        "Within 3 Å of neither, it counts as displaced."
    )


def _lead(quality: dict[str, Any]) -> str:
    helix12 = quality["helix12"]
    state = f"helix 12 measured {helix12['state']}" if helix12 else "helix 12 not complete"
    return (
        f"{quality['residues']} residues, {quality['heavy_atoms']} heavy atoms; {state}; "
        f"{quality['ramachandran_outliers_percent']:g} % Ramachandran and "
        f"{quality['rotamer_outliers_percent']:g} % rotamer outliers; "
        f"{quality['clashes_per_1000_atoms']:g} clashes per 1000 heavy atoms."
    )


def _measure(key: str, quality: dict[str, Any]) -> dict[str, Any]:
    examples = quality["details"].get(key) or quality["details"].get(key.split("_p")[0]) or []
    more = f" and {len(examples) - _EXAMPLES} more" if len(examples) > _EXAMPLES else ""
    return {"words": WORDS[key][:1].upper() + WORDS[key][1:], "value": f"{quality[key]:g}", "limit": f"{LIMITS[key]:g}",
            "passes": quality[key] <= LIMITS[key], "where": ", ".join(examples[:_EXAMPLES]) + more}  # fmt: skip


def _protonation(record: dict[str, Any]) -> dict[str, Any]:
    sites = record.get("sites", [])
    notable = [
        site
        for site in sites
        if site["residue"] == "HIS" or site["state"] != FORMS[site["residue"]][0] or "both forms" in site["reason"]
    ]
    return {"sites": sites, "notable": notable, "ph": f"{record.get('ph', 7.4):g}", "ligand": record.get("ligand", ""),
            "method": record.get("method", "")}  # fmt: skip


def _gaps(gaps: list) -> str:
    return ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in gaps) or "none"


def ramachandran_plot(points: list[tuple[str, str, float, float, bool]]) -> Markup:
    """Inline SVG of phi against psi, regions behind, outliers named.

    Parameters
    ----------
    points
        From :func:`esr1md.receptor.quality.ramachandran`.
    """
    size, margin = 400, 44

    def x(phi: float) -> float:
        return margin + (phi + 180) / 360 * size

    def y(psi: float) -> float:
        return margin / 2 + (180 - psi) / 360 * size

    parts = [
        f'<svg class="ramachandran" viewBox="0 0 {size + margin + 12} {size + margin + 10}" role="img" '
        'aria-label="Ramachandran plot" font-family="system-ui,sans-serif" font-size="11">'
    ]
    step = size * _GRID / 360
    for psi in range(-180, 180, _GRID):
        run = None
        for phi in range(-180, 181, _GRID):
            inside = phi < 180 and ramachandran_allowed(phi + _GRID / 2, psi + _GRID / 2, "ALA")
            if inside and run is None:
                run = phi
            elif not inside and run is not None:
                parts.append(
                    f'<rect x="{x(run):.1f}" y="{y(psi + _GRID):.1f}" width="{x(phi) - x(run):.1f}" '
                    f'height="{step + 0.3:.1f}" fill="#e3ecf6"/>'
                )
                run = None
    for value in range(-180, 181, 60):
        parts.append(
            f'<path d="M{x(value):.1f} {y(180):.1f}V{y(-180):.1f}M{x(-180):.1f} {y(value):.1f}H{x(180):.1f}" '
            'stroke="#dfe3e8" stroke-width=".8" fill="none"/>'
            f'<text x="{x(value):.1f}" y="{y(-180) + 14:.1f}" text-anchor="middle" fill="#5a6673">{value}</text>'
            f'<text x="{x(-180) - 5:.1f}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#5a6673">{value}</text>'
        )
    parts.append(
        f'<text x="{x(0):.1f}" y="{y(-180) + 30:.1f}" text-anchor="middle" fill="#3a4653">phi (degrees)</text>'
        f'<text transform="translate(11 {y(0):.1f}) rotate(-90)" text-anchor="middle" fill="#3a4653">'
        "psi (degrees)</text>"
    )
    for label, residue, phi, psi, allowed in sorted(points, key=lambda point: not point[4]):
        px, py, colour = x(phi), y(psi), "#51606f" if allowed else "#9b1c31"
        title = f"<title>{escape(label)}: {phi:.0f}, {psi:.0f}</title>"
        if residue == "GLY":
            shape = f'<path d="M{px:.1f} {py - 3.6:.1f}l3.4 6h-6.8z" fill="{colour}" fill-opacity=".75">{title}</path>'
        elif residue == "PRO":
            shape = (
                f'<rect x="{px - 2.6:.1f}" y="{py - 2.6:.1f}" width="5.2" height="5.2" fill="{colour}" '
                f'fill-opacity=".75">{title}</rect>'
            )
        else:
            shape = f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}" fill-opacity=".75">{title}</circle>'
        parts.append(shape)
        if not allowed:
            side, anchor = (7, "start") if phi < 90 else (-7, "end")
            parts.append(
                f'<text x="{px + side:.1f}" y="{py + 4:.1f}" text-anchor="{anchor}" fill="{colour}">'
                f"{escape(label)}</text>"
            )
    return Markup("".join([*parts, "</svg>"]))


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip


def _render(context: dict[str, Any]) -> str:
    css = Markup((ASSETS / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    return _environment().get_template("quality.html.j2").render(css=css, **context)


def _write(page: str, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(page)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"the quality page cannot be written ({error.strerror})", where=str(path),
            expected="a file in a folder you may write to", do="give another path",
        ) from None  # fmt: skip
    return path
