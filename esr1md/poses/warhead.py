"""How near a pose brings a covalent ligand's warhead to a cysteine. No bond is made: a pose is the complex before it.

In ER-alpha the cysteine in reach of a ligand is Cys530, at the start of the H11-H12 loop: the class of H3B-6545 binds
it (shown for H3B-5942: Puyang et al., Cancer Discov. 2018, 8, 1176), and so do the aziridines of tamoxifen and
ketononestrol (Harlow et al., J. Biol. Chem. 1989, 264, 17476).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from esr1md.ligand.warheads import find_warheads
from esr1md.poses import pocket

TARGET = 530
#: Farthest (angstrom) that the electrophilic carbon may be from the sulfur in a pose from which the two can react:
#: half an angstrom beyond the sum of their van der Waals radii (1.7 and 1.8).
REACTIVE = 4.0


@dataclass(frozen=True)
class Approach:
    """Where a warhead is: distance (angstrom) of the electrophilic carbon to SG of Cys530, and the label to show.

    ``cys530`` is ``None`` where the receptor has no Cys530.
    """

    cys530: float | None
    label: str

    @property
    def reactive(self) -> bool:
        """Whether the two are near enough to react."""
        return self.cys530 is not None and self.cys530 <= REACTIVE


def approach(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor) -> Approach | None:
    """The warhead of a pose (positions n x 3, angstrom) nearest to Cys530; ``None`` for a ligand without one.

    Measured in the receptor as it was given, as the anchors are. Where another cysteine is nearer than Cys530, or
    there is no Cys530, the label names it.
    """
    warheads = find_warheads(mol)
    if not warheads:
        return None
    sulfurs = {int(residue.id): receptor.named(int(residue.id), "SG") for residue in receptor.topology.residues()
               if residue.name in ("CYS", "CYM", "CYX")}  # fmt: skip
    target = sulfurs.pop(TARGET, None)
    away = {warhead: _distance(xyz[warhead.atom], target) for warhead in warheads}
    other = {(w, n): _distance(xyz[w.atom], sulfur) for w in warheads for n, sulfur in sulfurs.items()}
    nearest = min(other, key=other.get, default=None)
    unbound = "no bond is modelled"
    if target is None:
        said = f"no Cys{TARGET} in this receptor"
        if nearest is not None:
            said += f": {nearest[0].place} {other[nearest]:.1f} A from Cys{nearest[1]} SG, the nearest cysteine"
        return Approach(None, f"{said}; {unbound}")
    warhead = min(away, key=away.get)
    said = f"pre-reaction complex: {warhead.place} {away[warhead]:.1f} A from Cys{TARGET} SG; {unbound}"
    if away[warhead] > REACTIVE:
        said += f"; not a reactive pose (beyond {REACTIVE:.0f} A)"
    if nearest is not None and other[nearest] < away[warhead]:
        said += f"; Cys{nearest[1]} is nearer ({other[nearest]:.1f} A)"
    return Approach(round(away[warhead], 2), said)


def preferred_order(costs: Sequence[float], reactive: Sequence[bool], tie: float) -> list[int]:
    """Poses in the order of their costs (kcal/mol), but a reactive one first if it is within ``tie`` of the best.

    Nothing else moves: nearness to the cysteine counts where the energy cannot tell, and only where the bond could
    form from the pose as it is.
    """
    order = sorted(range(len(costs)), key=costs.__getitem__)
    chosen = next((i for i in order if reactive[i] and costs[i] - costs[order[0]] < tie), order[0])
    return [chosen, *(i for i in order if i != chosen)]


def _distance(one: np.ndarray, two: np.ndarray | None) -> float:
    return float("inf") if two is None else float(np.linalg.norm(one - two))
