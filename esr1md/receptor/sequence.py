"""The ER-alpha sequence (UniProt P03372), mutation notation and alignment to it.

Every residue number in esr1md is a P03372 number. A structure's own numbers are never trusted: they are
replaced by those of its alignment to P03372.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import gemmi

from esr1md.errors import InputError
from esr1md.specs import Mutation, Variant

#: UniProt P03372 (ESR1_HUMAN), canonical isoform, 595 residues; glycine at 400 (the V400 of the first cDNA
#: clones was a cloning artefact).
P03372 = (
    "MTMTLHTKASGMALLHQIQGNELEPLNRPQLKIPLERPLGEVYLDSSKPAVYNYPEGAAY"
    "EFNAAAAANAQVYGQTGLPYGPGSEAAAFGSNGLGGFPPLNSVSPSPLMLLHPPPQLSPF"
    "LQPHGQQVPYYLENEPSGYTVREAGPPAFYRPNSDNRRQGGRERLASTNDKGSMAMESAK"
    "ETRYCAVCNDYASGYHYGVWSCEGCKAFFKRSIQGHNDYMCPATNQCTIDKNRRKSCQAC"
    "RLRKCYEVGMMKGGIRKDRRGGRMLKHKRQRDDGEGRGEVGSAGDMRAANLWPSPLMIKR"
    "SKKNSLALSLTADQMVSALLDAEPPILYSEYDPTRPFSEASMMGLLTNLADRELVHMINW"
    "AKRVPGFVDLTLHDQVHLLECAWLEILMIGLVWRSMEHPGKLLFAPNLLLDRNQGKCVEG"
    "MVEIFDMLLATSSRFRMMNLQGEEFVCLKSIILLNSGVYTFLSSTLKSLEEKDHIHRVLD"
    "KITDTLIHLMAKAGLTLQQQHQRLAQLLLILSHIRHMSNKGMEHLYSMKCKNVVPLYDLL"
    "LEMLDAHRLHAPTSRGGASVEETDQSHLATAGSTSSHSLQKYYITGEAEGFPATV"
)

#: The ligand-binding domain a variant may be made in (first and last residue, inclusive).
LBD_FIRST, LBD_LAST = 305, 554

THREE_LETTER = {
    "A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY",
    "H": "HIS", "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER",
    "T": "THR", "W": "TRP", "Y": "TYR", "V": "VAL",
}  # fmt: skip
_P03372_THREE = [THREE_LETTER[letter] for letter in P03372]
ONE_LETTER = {three: one for one, three in THREE_LETTER.items()}

_MUTATION = re.compile(r"(?:p\.)?([A-Za-z]{1,3}?)(\d+)(del|[A-Za-z]{1,3}|=|\*)", re.IGNORECASE)
_EXPECTED = "WT or mutations such as Y537S, p.Tyr537Ser, D538G+F404L or V422del"


def wild_type_residue(position: int) -> str:
    """One-letter code of P03372 at ``position`` (1 to 595)."""
    return P03372[position - 1]


def residue_of(variant: Variant, position: int) -> str:
    """One-letter code of a variant at ``position`` (1 to 595); empty if it is deleted."""
    changed = {mutation.position: mutation.mutant for mutation in variant.mutations}
    return changed.get(position, wild_type_residue(position))


def parse_variant(text: str, where: str = "") -> Variant:
    """Read a receptor variant as chemists write it, checked against P03372.

    ``WT``, ``Y537S``, ``p.Y537S``, ``p.Tyr537Ser`` and ``V422del`` are accepted in any case, combined
    with ``+``. Mutations are ordered by position, so that equal variants have equal names.

    Parameters
    ----------
    text
        The variant.
    where
        File and line it came from, for the message.

    Raises
    ------
    InputError
        For anything that is not a variant of the P03372 ligand-binding domain.
    """
    written = text.strip() if isinstance(text, str) else str(text)
    if written.upper() in ("WT", "WILD TYPE", "WILD-TYPE", "WILDTYPE"):
        return Variant()
    mutations = [_parse_mutation(part.strip(), written, where) for part in written.split("+")]
    positions = [mutation.position for mutation in mutations]
    for position in positions:
        if positions.count(position) > 1:
            both = " and ".join(str(m) for m in mutations if m.position == position)
            raise InputError(
                f"residue {position} is mutated twice in {written!r} ({both})", where=where,
                expected="one mutation per position", do="list them as separate variants",
            )  # fmt: skip
    return Variant(tuple(sorted(mutations)))


def _parse_mutation(part: str, written: str, where: str) -> Mutation:
    if part.upper() == "WT":
        raise InputError(f"'WT' cannot be combined with mutations in {written!r}", where=where, expected=_EXPECTED)
    match = _MUTATION.fullmatch(part)
    if not match:
        named = repr(part) if part == written else f"{part!r} in {written!r}"
        raise InputError(f"cannot read variant {named}", where=where, expected=_EXPECTED)
    wild, position = _residue_code(match[1], part, where), int(match[2])
    last = match[3].lower()
    if last == "*":
        raise InputError(
            f"{part!r} is a stop codon", where=where, expected=_EXPECTED,
            do="truncated receptors have no ligand-binding domain to simulate",
        )  # fmt: skip
    deletion = last == "del"
    mutant = "" if deletion else wild if last == "=" else _residue_code(match[3], part, where)
    if not LBD_FIRST <= position <= LBD_LAST:
        raise InputError(
            f"residue {position} of {part!r} is outside the ligand-binding domain", where=where,
            expected=f"a position from {LBD_FIRST} to {LBD_LAST} of P03372",
        )  # fmt: skip
    true = wild_type_residue(position)
    if wild != true:
        name = THREE_LETTER[true].capitalize()
        raise InputError(
            f"wrong wild-type residue in {part!r}: {position} is {name} ({true}) in P03372", where=where,
            do=_did_you_mean(wild, position, "del" if deletion else mutant),
        )  # fmt: skip
    if mutant == wild:
        raise InputError(
            f"{part!r} is synonymous: it leaves {THREE_LETTER[true].capitalize()}{position} as it is",
            where=where, expected="a different residue", do="write WT for the wild type",
        )  # fmt: skip
    return Mutation(position, wild, mutant)


def _residue_code(code: str, part: str, where: str) -> str:
    upper = code.upper()
    if upper in THREE_LETTER:
        return upper
    if upper in ONE_LETTER:
        return ONE_LETTER[upper]
    raise InputError(
        f"unknown residue {code!r} in {part!r}", where=where,
        expected="a one-letter or three-letter code of the 20 standard amino acids",
    )  # fmt: skip


def _did_you_mean(wild: str, position: int, mutant: str) -> str:
    """Suggest the mutation of the position as it is, and of the nearest position that has ``wild``."""
    right = wild_type_residue(position)
    # written the wrong way round (G538D), the position already has the "mutant"
    suggestions = [f"{right}{position}{wild if mutant == right else mutant}"]
    near = [p for p in range(position - 3, position + 4) if wild_type_residue(p) == wild != mutant]
    if near:
        closest = min(near, key=lambda p: abs(p - position))
        suggestions.append(f"{wild}{closest}{mutant}")
    return f"did you mean {', or '.join(suggestions)}?" if suggestions else ""


@dataclass(frozen=True)
class Alignment:
    """A chain's residues on P03372.

    Attributes
    ----------
    numbers
        P03372 number of each residue of the chain, ``None`` for one that is not part of it.
    identity
        Percent of the aligned residues that equal P03372.
    """

    numbers: tuple[int | None, ...]
    identity: float


def align_to_p03372(sequence: str, breaks: Collection[int] = ()) -> Alignment:
    """Align a one-letter sequence (unknown residues ``X``) to P03372.

    Needleman-Wunsch with affine gaps and BLOSUM62 (gemmi). A gap costs nothing to open at the ends of the
    chain and at ``breaks``, where residues were not modelled.

    Parameters
    ----------
    sequence
        The residues that have coordinates, never SEQRES.
    breaks
        Indices of residues that are not bonded to the one before them.

    Raises
    ------
    ValueError
        If ``sequence`` is empty.
    """
    if not sequence:
        raise ValueError("an empty sequence cannot be aligned")
    scoring = gemmi.AlignmentScoring("b")
    size = len(sequence)
    free = {0, size, *breaks}
    opening = [scoring.good_gapo if i in free else scoring.bad_gapo for i in range(size + 1)]
    chain = [THREE_LETTER.get(letter, "UNK") for letter in sequence]
    result = gemmi.align_string_sequences(_P03372_THREE, chain, opening, scoring)
    numbers: list[int | None] = []
    position = 0
    for count, operation in re.findall(r"(\d+)([MID])", result.cigar_str()):
        if operation == "M":
            numbers += range(position + 1, position + int(count) + 1)
        elif operation == "D":  # residues of the chain that P03372 lacks: a tag or an insertion
            numbers += [None] * int(count)
        if operation != "D":
            position += int(count)
    pairs = [(number, letter) for number, letter in zip(numbers, sequence, strict=True) if number]
    same = sum(wild_type_residue(number) == letter for number, letter in pairs)
    return Alignment(tuple(numbers), 100.0 * same / max(len(pairs), 1))
