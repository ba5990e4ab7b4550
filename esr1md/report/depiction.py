"""Small pictures as SVG text: 2D structures drawn alike, and a value with its interval on a shared axis."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdFMCS, rdMolTransforms
from rdkit.Chem.Draw import rdMolDraw2D

from esr1md.scoring.coverage import Coverage
from esr1md.scoring.scores import Score, supported_digits

#: A phenol (the mimic of estradiol's A ring, held by E353 and R394) is turned to the left of every picture.
PHENOL = Chem.MolFromSmarts("[OX2H,OX1-]-c1ccccc1")

#: Two ligands that share at least this many atoms in a ring scaffold are drawn in the same orientation.
SHARED_ATOMS = 12

#: Length of a bond (px) where the picture has room, and the smallest share of it that alignment may cost.
BOND_LENGTH, LEAST_SCALE = 19, 0.8


def structure_pictures(smiles: Sequence[str], size: tuple[int, int] = (210, 142)) -> list[Markup | None]:
    """Draw structures with one bond length, aligned on shared scaffolds, phenol to the left.

    Parameters
    ----------
    smiles
        One SMILES per picture.
    size
        Width and height (px).

    Returns
    -------
    list
        SVG markup in the order of ``smiles``; ``None`` where RDKit cannot read the SMILES.
    """
    molecules = [Chem.MolFromSmiles(s) if s else None for s in smiles]
    templates: list[Chem.Mol] = []
    for molecule in molecules:
        if molecule is None:
            continue
        _lay_out(molecule)
        alone = Chem.Mol(molecule)
        if _align(molecule, templates) and _scale(molecule, size) >= LEAST_SCALE * _scale(alone, size):
            continue
        # A long side chain that the shared orientation would shrink is laid along the picture instead.
        molecule.RemoveAllConformers()
        molecule.AddConformer(alone.GetConformer())
        templates.append(molecule)
    return [m and _draw(m, *size) for m in molecules]


def _lay_out(molecule: Chem.Mol) -> None:
    """Coordinates with the long axis across the picture, bonds at multiples of 30 degrees, phenol left."""
    rdDepictor.SetPreferCoordGen(True)
    try:
        rdDepictor.Compute2DCoords(molecule)
    finally:
        rdDepictor.SetPreferCoordGen(False)
    rdMolTransforms.CanonicalizeConformer(molecule.GetConformer())
    rdDepictor.StraightenDepiction(molecule, minimizeRotation=True)
    _phenol_left(molecule)


def _scale(molecule: Chem.Mol, size: tuple[int, int]) -> float:
    """Pixels per angstrom at which the layout fills ``size``, at most that of :data:`BOND_LENGTH`."""
    extent = molecule.GetConformer().GetPositions()[:, :2]
    width, height = extent.max(axis=0) - extent.min(axis=0) + 1.0
    return min(size[0] / width, size[1] / height, BOND_LENGTH / 1.5)


def _align(molecule: Chem.Mol, templates: Sequence[Chem.Mol]) -> bool:
    """Give ``molecule`` the layout of the template it shares the largest scaffold with; False if none."""
    best = None
    for template in templates:
        shared = rdFMCS.FindMCS(
            [template, molecule],
            timeout=1,
            ringMatchesRingOnly=True,
            completeRingsOnly=True,
            bondCompare=rdFMCS.BondCompare.CompareOrder,
        )
        if shared.numAtoms >= SHARED_ATOMS and (best is None or shared.numAtoms > best[0]):
            best = shared.numAtoms, template, Chem.MolFromSmarts(shared.smartsString)
    if best is None:
        return False
    try:
        rdDepictor.GenerateDepictionMatching2DStructure(molecule, best[1], refPatt=best[2])
    except (ValueError, RuntimeError):  # the pattern matches one of the two in another ring state
        return False
    return True


def _phenol_left(molecule: Chem.Mol) -> None:
    """Mirror the layout in x if its phenol oxygen lies right of the centre; wedges are set at drawing."""
    match = molecule.GetSubstructMatch(PHENOL)
    if not match:
        return
    conformer = molecule.GetConformer()
    xs = conformer.GetPositions()[:, 0]
    if xs[match[0]] > xs.mean():
        for i in range(molecule.GetNumAtoms()):
            p = conformer.GetAtomPosition(i)
            conformer.SetAtomPosition(i, (-p.x, p.y, 0.0))


def _draw(molecule: Chem.Mol, width: int, height: int) -> Markup:
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options = drawer.drawOptions()
    options.clearBackground = False
    options.fixedBondLength = BOND_LENGTH
    options.bondLineWidth = 1.3
    options.fixedFontSize = 10
    options.padding = 0.03
    options.addStereoAnnotation = False
    options.updateAtomPalette({7: (0.0, 0.35, 0.65), 8: (0.72, 0.2, 0.0), 9: (0.0, 0.45, 0.35)})
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    svg = drawer.GetDrawingText()
    svg = re.sub(r"^.*?<svg", "<svg", svg, flags=re.S)  # the XML declaration is not valid inside HTML
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r" class='[^']*'", "", svg)
    svg = svg.replace("<svg", "<svg aria-hidden='true'", 1)
    return Markup(svg)


# --- a value with its interval ----------------------------------------------------------------------


class Axis:
    """A horizontal axis shared by the whiskers of one table column.

    With ``zero`` the range (in the scores' unit) is widened to hold zero, so that every picture shows it.
    """

    def __init__(self, scores: Sequence[Score | None], *, zero: bool = True, width: int = 84) -> None:
        ends = [e for s in scores if s for e in (s.value, s.low, s.high) if e is not None]
        if zero or not ends:
            ends.append(0.0)
        pad = 0.06 * (max(ends) - min(ends)) or 1.0
        self.low, self.high, self.width = min(ends) - pad, max(ends) + pad, width

    def x(self, value: float) -> float:
        return round((value - self.low) / (self.high - self.low) * self.width, 1)

    def whisker(self, score: Score | None) -> Markup:
        """The score as a point with its 95 % interval and a line at zero; a prediction is hollow."""
        if score is None:
            return Markup("")
        w, zero, point = self.width, self.x(0.0), self.x(score.value)
        parts = [f"<line class='zero' x1='{zero}' x2='{zero}' y1='0' y2='20'/>"] if 0 <= zero <= w else []
        if score.low is not None and score.high is not None:
            a, b = self.x(score.low), self.x(score.high)
            parts.append(f"<line class='bar' x1='{a}' x2='{b}' y1='10' y2='10'/>")
            parts += [f"<line class='cap' x1='{e}' x2='{e}' y1='6' y2='14'/>" for e in (a, b)]
        parts.append(f"<circle class='{score.origin}' cx='{point}' cy='10' r='3.6'/>")
        label = escape(f"{number(score.value)} {score.unit}, 95 % interval {interval(score)}")
        return Markup(
            f"<svg class='whisker' width='{w}' height='20' viewBox='0 0 {w} 20' role='img' "
            f"aria-label='{label}'>{''.join(parts)}</svg>"
        )


def number(value: float, digits: int = 1) -> str:
    """A signed number with a true minus sign: ``+0.4``, ``\u22121.2``, ``0.0``."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\u2212")


def interval(score: Score, unknown: str = "not known (too few replicas)", digits: int = 1) -> str:
    """``-1.2 to +0.4`` or why there is none."""
    if score.low is None or score.high is None:
        return unknown if score.origin == "simulated" else "not known"
    return f"{number(score.low, digits)} to {number(score.high, digits)}"


#: How the units of a score are printed; others as they are.
_UNITS = {"angstrom": "\u00c5", "angstrom^2": "\u00c5\u00b2", "fraction": "", "ratio": "", "count": ""}


def unit_in_words(score: Score) -> str:
    """The unit of a score as it is printed; empty for shares, ratios and counts."""
    return _UNITS.get(score.unit, score.unit)


def in_words(score: Score, *, signed: bool = True, with_unit: bool = True, unknown: str = "") -> str:
    """``-1.2 kcal/mol (-2.0 to -0.4)``: a value with its interval, in the digits that the interval supports.

    Parameters
    ----------
    score
        The value; an interval of no width, as a count has it, is left out.
    signed
        A plain value has a sign only where it is below zero.
    with_unit
        Print the unit.
    unknown
        What stands in the brackets where there is no interval; no brackets without.
    """
    digits = supported_digits(score)
    said = number(score.value, digits)
    if with_unit:
        said = f"{said} {unit_in_words(score)}".rstrip()
    between = interval(score, digits=digits) if score.low is not None and score.high is not None else unknown
    if between and (score.low is None or score.low != score.high):
        said += f" ({between})"
    return said if signed else said.replace("+", "")


# --- shares of a population ---------------------------------------------------------------------------

FATES = {"retained": "\u2713", "weakened": "\u25bc", "lost": "\u2715", "cannot tell": "?", "not simulated": "\u2013"}

#: Fill, border and text of a verdict on white paper, as ``report.css`` and ``dashboard.css`` have them; what cannot be
#: told has no colour and is hatched.
VERDICT_COLOURS = {
    "retained": ("#e0f2ec", "#a9d8c8", "#00614a"),
    "weakened": ("#fdeedd", "#efc596", "#9a4700"),
    "lost": ("#fbe4e7", "#e6b0b8", "#9b1c31"),
}

#: A part of the bar carries its percentage from this share on.
LEAST_WITH_TEXT = 0.075


def percent(share: float) -> str:
    """``33 %``."""
    return f"{100 * share:.0f} %"


def coverage_bar(coverage: Coverage) -> Markup:
    """The five shares of a population as one bar, and below it the 95 % interval of the retained share."""
    segments, said = [], []
    for fate, sign in FATES.items():
        share = getattr(coverage, fate.replace(" ", "_"))
        if share <= 0:
            continue
        named = ", ".join(f"{p.name} {percent(p.share)}" for p in coverage.parts if p.fate == fate)
        said.append(f"{fate} {percent(share)}")
        title = escape(f"{fate}: {percent(share)} ({named})")
        text = f"{sign} {percent(share)}" if share >= LEAST_WITH_TEXT else ""
        style = f"width:{100 * share:.2f}%"
        segments.append(f"<span class='seg {fate.replace(' ', '-')}' style='{style}' title='{title}'>{text}</span>")
    reach = f"left:{100 * coverage.low:.2f}%;width:{100 * (coverage.high - coverage.low):.2f}%"
    label = escape(f"{'; '.join(said)}; retained {percent(coverage.low)} to {percent(coverage.high)} at 95 %")
    return Markup(
        f"<div role='img' aria-label='{label}'><div class='stack'>{''.join(segments)}</div>"
        f"<div class='reach'><span style='{reach}'></span></div></div>"
    )
