"""Fill what a crystal left out: gaps inside the chain and residues missing at its ends.

A gap takes its residues from the bundled model whose flanks fit best, as they lie there, if that joins well and
touches nothing. Otherwise its backbone is closed anew (:mod:`esr1md.receptor.loops`), starting from each model's
torsions and, if these do not fit, from the common ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from esr1md.errors import StageError
from esr1md.receptor.frame import superpose
from esr1md.receptor.loops import (
    Loop,
    internal_coordinates,
    overlap_of_backbone,
    put_backbone,
    random_starts,
    sample_loops,
    vary,
)
from esr1md.receptor.residues import BACKBONE
from esr1md.receptor.sequence import THREE_LETTER, wild_type_residue

#: Longest gap that is modelled; a longer one would be a guess about a fifth of a helical domain's surface.
LONGEST_GAP = 20

_FLANK = 4  # residues on each side of a gap that place the graft
_FIT = 1.0  # angstrom RMSD over the flanks' backbone up to which a graft may stay as it lies
_JOINT = (1.15, 1.75)  # angstrom between C and N where a graft meets the chain; relaxation takes up the rest
#: Residues of the crystal and of the graft that are closed anew to join them, tried in this order.
_MEND = ((0, 3), (1, 3), (1, 4), (2, 4), (3, 5))
_TOUCHES = 2.0  # badness (squared overlap, angstrom^2) per residue that a graft or a loop may have
_MOVED = 1.0  # badness that each crystal residue moved must save
_GOOD = 0.2  # badness per residue below which nothing better is looked for
#: Flanking residues before and behind that a closure may move where it must, tried in this order.
_GIVE = ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1), (0, 3), (3, 0), (1, 2), (2, 1), (2, 2))
_NOISE = np.repeat((0.0, 5.0, 10.0, 20.0), (1, 8, 12, 12))  # degrees
_RANDOM = 150  # starts from common torsions


@dataclass
class Filled:
    """A chain without gaps.

    Attributes
    ----------
    chain
        Complete from its first to its last residue.
    modelled
        Residues that have no crystal coordinates, or whose backbone was moved to join them.
    side_chains
        Those of them whose side chains still have to be chosen.
    steps
        What was done, in words.
    """

    chain: gemmi.Chain
    modelled: set[int]
    side_chains: set[int]
    steps: list[str]


def fill_gaps(chain: gemmi.Chain, donors: dict[str, gemmi.Chain]) -> Filled:
    """Model every stretch of residues missing inside a chain.

    Parameters
    ----------
    chain
        Numbered as P03372, heavy atoms only, in the frame of the models.
    donors
        Prepared models by name.

    Raises
    ------
    StageError
        If a gap is longer than 20 residues or nothing that fits closes it.
    """
    numbers = [residue.seqid.num for residue in chain]
    gaps = [(a + 1, b - 1) for a, b in zip(numbers, numbers[1:], strict=False) if b != a + 1]
    for first, last in gaps:
        if last - first + 1 > LONGEST_GAP:
            raise StageError(
                "receptor",
                f"{_words(first, last)} missing, {last - first + 1} in a row: at most {LONGEST_GAP} can be modelled",
            )
    filled = Filled(chain, set(), set(), [])
    for first, last in gaps:
        # what fits without a change of the crystal's own residues goes first, so that others see it
        if not donors:
            raise StageError("receptor", f"{_words(first, last)} missing and no model to take them from")
        _graft(filled, donors, first, last) or _close(filled, donors, first, last)
    return filled


def extend(filled: Filled, donors: dict[str, gemmi.Chain], first: int, last: int) -> None:
    """Add the residues missing before and after a chain, from the model that fits its last four residues best.

    Raises
    ------
    StageError
        If they would run into the chain in every model.
    """
    numbers = [residue.seqid.num for residue in filled.chain]
    for missing, flank in (
        (list(range(first, numbers[0])), numbers[:_FLANK]),
        (list(range(numbers[-1] + 1, last + 1)), numbers[-_FLANK:]),
    ):
        if not missing:
            continue
        fits = []
        for name, donor in donors.items():
            copies, rmsd = _copied(filled.chain, donor, missing, flank)
            fits.append((_touching(filled.chain, copies), rmsd, name, copies))
        touching, rmsd, name, copies = min(fits, key=lambda fit: fit[0] + fit[1])
        where = _words(missing[0], missing[-1])
        if touching > _TOUCHES * len(missing):
            raise StageError("receptor", f"{where} missing at the end, and those of no bundled model fit there")
        filled.chain = joined(filled.chain, copies)
        filled.modelled |= set(missing)
        filled.steps.append(
            f"{where} not in the crystal, added from the {name} model ({_FLANK} residues fit at {rmsd:.2f} A)"
        )


def _graft(filled: Filled, donors: dict[str, gemmi.Chain], first: int, last: int) -> bool:
    """Put a model's residues into a gap as they lie, if they fit; whether they did."""
    own = {residue.seqid.num for residue in filled.chain}
    flank = [n for n in (*range(first - _FLANK, first), *range(last + 1, last + 1 + _FLANK)) if n in own]
    fits = []
    for name, donor in donors.items():
        copies, rmsd = _copied(filled.chain, donor, list(range(first, last + 1)), flank)
        fits.append((rmsd, name, copies))
    for rmsd, name, copies in sorted(fits, key=lambda fit: fit[0]):
        if rmsd > _FIT or _touching(filled.chain, copies) > _TOUCHES * len(copies):
            continue
        whole, moved = mended(joined(filled.chain, copies), first, last)
        if whole is None:
            continue
        filled.chain = whole
        filled.modelled |= set(range(first, last + 1)) | moved
        step = f"{_words(first, last)} taken from the {name} model (flanks fit at {rmsd:.2f} A)"
        filled.steps.append(step + _for_which(moved))
        return True
    return False


def _close(filled: Filled, donors: dict[str, gemmi.Chain], first: int, last: int) -> None:
    """Build the backbone of a gap anew, moving a few residues beside it where it must."""
    own = {residue.seqid.num: residue for residue in filled.chain}
    generator = np.random.default_rng(first)
    best: Loop | None = None
    for left, right in _GIVE:
        numbers = list(range(first - left, last + right + 1))
        around = range(numbers[0] - 2, numbers[-1] + 3)
        if not all(n in own for n in (*around[:2], *around[-2:])):
            break
        names = [own[n].name if n in own else THREE_LETTER[wild_type_residue(n)] for n in numbers]
        known = []
        for donor in donors.values():
            theirs = {residue.seqid.num: residue for residue in donor}
            known.append(vary(generator, internal_coordinates([theirs.get(n) for n in around]), _NOISE))
        guesses = random_starts(generator, [own[around[1]].name, *names, own[around[-2]].name], _RANDOM)
        for starts in (np.concatenate(known), guesses):
            usable = ~np.isnan(starts[:, 1:-1, :2]).any(axis=(1, 2)) & ~np.isnan(starts[:, 0, 1])
            for loop in sample_loops(filled.chain, numbers, names, starts[usable & ~np.isnan(starts[:, -1, 0])]):
                if best is None or loop.score < best.score - _MOVED * (len(loop.numbers) - len(best.numbers)):
                    best = loop
            if best is not None and not best.outliers and best.score <= _GOOD * len(best.numbers):
                break
        else:
            continue
        break
    if best is None or best.score > _TOUCHES * len(best.numbers):
        raise StageError(
            "receptor", f"{_words(first, last)} missing, and no backbone closes the gap without touching the rest"
        )
    library = {residue.seqid.num: _bare(residue) for donor in donors.values() for residue in donor}
    missing = {n: library[n] for n in range(first, last + 1)}
    filled.chain = put_backbone(filled.chain, best, missing)
    filled.modelled |= set(best.numbers)
    filled.side_chains |= set(best.numbers)
    moved = {n for n in best.numbers if not first <= n <= last}
    filled.steps.append(f"{_words(first, last)} built by closing the backbone" + _for_which(moved))


def _copied(
    chain: gemmi.Chain, donor: gemmi.Chain, numbers: list[int], flank: list[int]
) -> tuple[list[gemmi.Residue], float]:
    """A donor's residues superposed by the backbone of ``flank``, heavy atoms only, and the RMSD (angstrom)."""
    own, theirs = ({residue.seqid.num: residue for residue in c} for c in (chain, donor))
    shared = [n for n in flank if n in own and n in theirs]
    if len(shared) < _FLANK or any(n not in theirs for n in numbers):
        return [], np.inf
    target, source = (
        np.array([r[n][atom][0].pos.tolist() for n in shared for atom in ("N", "CA", "C")]) for r in (own, theirs)
    )
    rotation, translation, rmsd = superpose(source, target)
    copies = []
    for number in numbers:
        residue = _bare(theirs[number])
        for atom in residue:
            atom.pos = gemmi.Position(*(rotation @ np.array(atom.pos.tolist()) + translation))
        copies.append(residue)
    return copies, rmsd


def _bare(residue: gemmi.Residue) -> gemmi.Residue:
    """A copy without hydrogens."""
    copy = gemmi.Residue()
    copy.name, copy.seqid, copy.het_flag = residue.name, gemmi.SeqId(residue.seqid.num, " "), "A"
    for atom in residue:
        if not atom.is_hydrogen():
            copy.add_atom(atom.clone())
    return copy


def mended(chain: gemmi.Chain, first: int, last: int) -> tuple[gemmi.Chain | None, set[int]]:
    """A chain whose graft (``first`` to ``last``) is joined at both ends, and which crystal residues moved for it.

    ``None`` instead of the chain if an end cannot be joined.

    Where a graft does not meet the chain, its last residues there (and, if that is not enough, the crystal's next
    to it) are closed anew, starting from their own torsions.
    """
    moved: set[int] = set()
    for edge, inward in ((first, 1), (last, -1)):
        residues = {residue.seqid.num: residue for residue in chain}
        before, after = (edge - 1, edge) if inward == 1 else (edge, edge + 1)
        if _JOINT[0] <= residues[before]["C"][0].pos.dist(residues[after]["N"][0].pos) <= _JOINT[1]:
            continue
        for outside, inside in _MEND:
            numbers = sorted(edge + inward * k for k in range(-outside, inside))
            numbers = [n for n in numbers if n <= last] if inward == 1 else [n for n in numbers if n >= first]
            loops = _reclosed(chain, residues, numbers)
            if loops and not loops[0].outliers and loops[0].score <= _TOUCHES * len(numbers):
                chain = put_backbone(chain, loops[0])
                moved |= {n for n in numbers if not first <= n <= last}
                break
        else:
            return None, set()
    return chain, moved


def _reclosed(chain: gemmi.Chain, residues: dict[int, gemmi.Residue], numbers: list[int]) -> list[Loop]:
    """Closures of a stretch from its own torsions, or common ones next to a joint that is not closed."""
    generator = np.random.default_rng(numbers[0])
    own = internal_coordinates([residues.get(n) for n in range(numbers[0] - 2, numbers[-1] + 3)])
    starts = vary(generator, own, np.repeat(_NOISE[_NOISE > 0], 3))
    unknown = np.isnan(own[:, :2])
    common = random_starts(generator, ["ALA"] * len(own), len(starts))[..., :2]
    starts[..., :2] = np.where(unknown, common, starts[..., :2])
    return sample_loops(chain, numbers, [residues[n].name for n in numbers], starts)


def _touching(chain: gemmi.Chain, copies: list[gemmi.Residue]) -> float:
    """How much copied residues' backbone overlaps with the chain (angstrom^2)."""
    if not copies:
        return np.inf
    numbers = [residue.seqid.num for residue in copies]
    ends = {numbers[0] - 1, numbers[-1] + 1}
    backbone = np.array([[r[a][0].pos.tolist() for a in BACKBONE] for r in copies])
    return overlap_of_backbone(backbone, [r.name for r in copies], list(chain), ends)


def joined(chain: gemmi.Chain, copies: list[gemmi.Residue]) -> gemmi.Chain:
    """The chain with residues added, or put in the place of those of the same number."""
    residues = {residue.seqid.num: residue for residue in [*chain, *copies]}
    new = gemmi.Chain(chain.name)
    for number in sorted(residues):
        new.add_residue(residues[number])
    return new


def _words(first: int, last: int) -> str:
    return f"residues {first}-{last}" if first != last else f"residue {first}"


def _for_which(moved: set[int]) -> str:
    return f", for which {', '.join(map(str, sorted(moved)))} moved" if moved else ""
