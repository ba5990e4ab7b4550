"""Read a structure file into one clean ER-alpha chain in P03372 numbering.

Only reading happens here: no atom is built and none is moved. What was chosen and what was dropped is
written down in :attr:`SourceChain.steps`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import gemmi
import numpy as np

from esr1md.errors import InputError
from esr1md.receptor.frame import HELIX12, alpha_carbons, bundled_model, model_alpha_carbons, superpose_core
from esr1md.receptor.residues import HEAVY_ATOMS, is_protonation_name, parent_residue
from esr1md.receptor.sequence import (
    LBD_FIRST,
    LBD_LAST,
    ONE_LETTER,
    THREE_LETTER,
    Alignment,
    align_to_p03372,
    wild_type_residue,
)
from esr1md.receptor.structure_file import DO_FILE, DO_WHOLE, read_structure
from esr1md.specs import Mutation

#: Identity to P03372 (percent) below which a protein is not taken for ER-alpha; ER-beta's LBD has 59.
MINIMUM_IDENTITY = 90.0
#: A chain with fewer aligned LBD residues than this cannot be completed into a model.
MINIMUM_RESIDUES = 150

#: Residues that line the ligand-binding pocket: they tell the ligand from a buffer molecule.
POCKET = (346, 347, 350, 353, 383, 384, 387, 388, 391, 394, 404, 421, 424, 428, 521, 524, 525)

_PEPTIDE_LENGTH = 30  # shorter chains are coactivator peptides
_BOND_LIMIT = 2.5  # C-N distance (angstrom) above which two residues are not bonded
_N_CA = (1.2, 1.8)  # angstrom: the median N-CA bond of anything that is a protein in angstrom; it is 1.46
_LIGAND_ATOMS = 8  # a molecule with fewer heavy atoms is a buffer or an ion
_CONTACT = 5.0  # angstrom
_WATER_BRIDGE = 3.5  # angstrom, oxygen to both partners of the conserved water

Position = tuple[float, float, float]


@dataclass(frozen=True)
class Molecule:
    """A molecule of the file that is neither protein nor water.

    Attributes
    ----------
    name
        ``OHT A600``: residue name, chain and number in the file.
    atoms
        Element and position (angstrom) of its heavy atoms.
    """

    name: str
    atoms: tuple[tuple[str, Position], ...]


@dataclass(frozen=True)
class SourceChain:
    """One chain of a structure file, cleaned and numbered as P03372.

    Attributes
    ----------
    chain
        Chain ``A``: standard residues 305-554 only, one conformer, no hydrogens.
    mutations
        Where the chain differs from P03372 (``mutant`` is what the file has).
    gaps
        First and last number of each stretch without coordinates inside the chain.
    incomplete
        Residues that lack side-chain atoms: number and the missing names.
    molecules
        What else the file holds, waters excepted, wherever it lies.
    waters
        Positions (angstrom) of the water oxygens.
    steps
        What was chosen and dropped, in words.
    """

    chain: gemmi.Chain
    mutations: tuple[Mutation, ...]
    gaps: tuple[tuple[int, int], ...]
    incomplete: dict[int, tuple[str, ...]]
    molecules: tuple[Molecule, ...] = ()
    waters: tuple[Position, ...] = ()
    steps: tuple[str, ...] = field(default=())

    @property
    def ligand_atoms(self) -> tuple[tuple[str, Position], ...]:
        """Element and position (angstrom) of the heavy atoms of all :attr:`molecules`."""
        return tuple(atom for molecule in self.molecules for atom in molecule.atoms)

    @property
    def pocket_ligand(self) -> Molecule | None:
        """The molecule with the most heavy atoms within 5 angstrom of the residues of :data:`POCKET`."""
        lining = np.array([a.pos.tolist() for r in self.chain if r.seqid.num in POCKET for a in r])
        touching = {}
        for molecule in self.molecules:
            if len(molecule.atoms) >= _LIGAND_ATOMS and len(lining):
                atoms = np.array([position for _, position in molecule.atoms])
                near = (np.linalg.norm(atoms[:, None] - lining[None], axis=2) < _CONTACT).any(axis=1)
                touching[molecule] = int(near.sum())
        best = max(touching, key=touching.__getitem__, default=None)
        return best if best is not None and touching[best] >= _LIGAND_ATOMS else None

    @property
    def conserved_water(self) -> Position | None:
        """The crystal water within 3.5 angstrom of both E353's carboxylate and R394's guanidinium, if it is there.

        It completes the hydrogen-bond network around the phenol of the ligands (Brzozowski 1997; Shiau 1998).
        """
        ends = []
        for number, names in ((353, ("OE1", "OE2")), (394, ("NE", "NH1", "NH2"))):
            residue = next((r for r in self.chain if r.seqid.num == number), None)
            ends.append([np.array(residue[n][0].pos.tolist()) for n in names if residue is not None and n in residue])
        if not all(ends):
            return None
        reach = {
            water: [min(float(np.linalg.norm(atom - np.array(water))) for atom in atoms) for atoms in ends]
            for water in self.waters
        }
        bridging = [water for water, distances in reach.items() if max(distances) <= _WATER_BRIDGE]
        return min(bridging, key=lambda water: sum(reach[water]), default=None)


def moved(source: SourceChain, rotation: np.ndarray, translation: np.ndarray) -> SourceChain:
    """The same chain, molecules and waters after ``new = rotation @ old + translation`` (angstrom)."""

    def move(position: Position) -> Position:
        return tuple(float(x) for x in rotation @ np.array(position) + translation)

    chain = source.chain.clone()
    for residue in chain:
        for atom in residue:
            atom.pos = gemmi.Position(*move(atom.pos.tolist()))
    molecules = tuple(
        Molecule(molecule.name, tuple((element, move(position)) for element, position in molecule.atoms))
        for molecule in source.molecules
    )
    return dataclasses.replace(source, chain=chain, molecules=molecules, waters=tuple(map(move, source.waters)))


def read_source(path: Path, chain_name: str | None = None) -> SourceChain:
    """Read a file and return its best ER-alpha chain (see :func:`choose_chain`).

    Raises
    ------
    InputError
        For a file that cannot be used, with the reason.
    """
    return choose_chain(read_structure(path), str(path), chain_name)


def choose_chain(structure: gemmi.Structure, where: str = "", name: str | None = None) -> SourceChain:
    """The ER-alpha chain with helix 12 and the most residues and atoms, or the one called ``name``.

    Raises
    ------
    InputError
        If there is no protein, none of it is ER-alpha (identity to P03372 below 90 %), or the chain
        covers too little of the ligand-binding domain.
    """
    model = structure[0]
    if name is not None and name not in {chain.name for chain in model}:
        raise InputError(f"no chain {name!r}", where=where, expected=f"one of {', '.join(c.name for c in model)}")
    candidates = []
    for chain in model:
        if name is not None and chain.name != name:
            continue
        residues = _amino_acids(chain)
        if residues:
            candidates.append((chain, residues, _align(residues)))
    if not candidates:
        traced = sum(parent_residue(residue.name) is not None for chain in model for residue in chain)
        if traced:
            raise InputError(
                f"none of the {traced} amino acids has a complete backbone", where=where,
                expected="N, CA and C of each residue", do="a C-alpha trace cannot be completed; give all atoms",
            )  # fmt: skip
        raise InputError("no protein found", where=where, do=DO_FILE)
    # a coactivator peptide must not decide the message about a file that holds a larger protein
    long = [entry for entry in candidates if len(entry[1]) >= _PEPTIDE_LENGTH] or candidates
    estrogen_receptors = [entry for entry in long if entry[2].identity >= MINIMUM_IDENTITY]
    if not estrogen_receptors:
        chain, residues, alignment = max(long, key=lambda entry: entry[2].identity)
        kin = ", as ER-beta and other nuclear receptors are" if 40 < alignment.identity < 75 else ""
        raise InputError(
            f"not ER-alpha: chain {chain.name} ({len(residues)} residues) is {alignment.identity:.0f} % "
            f"identical to UniProt P03372{kin}", where=where,
            expected=f"at least {MINIMUM_IDENTITY:.0f} %", do=DO_FILE,
        )  # fmt: skip
    chain, residues, alignment = max(estrogen_receptors, key=_completeness)
    _check_atoms(chain, residues, where)
    cleaned = _clean(structure, chain, residues, alignment, _why_chosen(chain, estrogen_receptors, name))
    if len(cleaned.chain) < MINIMUM_RESIDUES:
        raise InputError(
            f"chain {chain.name} has only {len(cleaned.chain)} residues of the ligand-binding domain",
            where=where, expected=f"at least {MINIMUM_RESIDUES} of {LBD_FIRST}-{LBD_LAST}",
            do=DO_WHOLE,
        )  # fmt: skip
    return cleaned


def superpose_on_frame(structure: gemmi.Structure | Path) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3 x 3) and translation (3, angstrom) that bring an ER-alpha structure into the frame.

    Apply them to any coordinates of the same file, for instance the crystal ligand:
    ``new = old @ rotation.T + translation``.

    Raises
    ------
    InputError
        If the structure is not ER-alpha or lacks most of the core.
    """
    where = str(structure) if isinstance(structure, Path) else ""
    if isinstance(structure, Path):
        structure = read_structure(structure)
    chain = choose_chain(structure, where).chain
    reference = model_alpha_carbons(bundled_model("antagonist"))
    rotation, translation, _ = superpose_core(alpha_carbons(chain), reference, where)
    return rotation, translation


def _check_atoms(chain: gemmi.Chain, residues: list[gemmi.Residue], where: str) -> None:
    """Refuse a chain that says one thing twice or is not in angstrom."""
    copies = Counter(
        (str(residue.seqid), residue.name)
        for residue in chain
        if parent_residue(residue.name) is not None and "CA" in residue and not residue["CA"][0].has_altloc()
    )
    twice = [f"residue {name} {number}" for (number, name), count in copies.items() if count > 1]
    for residue in residues:
        names = Counter((atom.name, atom.altloc) for atom in residue)
        twice += [f"atom {atom} of {residue.name} {residue.seqid}" for (atom, _), n in names.items() if n > 1]
    if twice:
        raise InputError(
            f"{twice[0]} of chain {chain.name} occurs twice" + (f" ({len(twice)} such)" if len(twice) > 1 else ""),
            where=where, expected="each atom once, or alternate locations with letters",
            do="keep one copy, or give each copy a chain name of its own",
        )  # fmt: skip
    bond = float(np.median([residue["N"][0].pos.dist(residue["CA"][0].pos) for residue in residues]))
    if not _N_CA[0] <= bond <= _N_CA[1]:
        raise InputError(
            f"the N-CA bonds of chain {chain.name} have a median length of {bond:.2f} A", where=where,
            expected="1.46 A", do="check the unit (angstrom) and the columns of the coordinates",
        )  # fmt: skip


def _why_chosen(chosen: gemmi.Chain, candidates: list, name: str | None) -> str:
    """Why this chain: what it has, next to what the others have."""
    described = {}
    for entry in candidates:
        helix12, residues, _ = _completeness(entry)
        described[entry[0].name] = f"{residues} LBD residues{'' if helix12 else ', helix 12 incomplete'}"
    others = "; ".join(f"{other}: {words}" for other, words in described.items() if other != chosen.name)
    alike = len(set(described.values())) == 1
    best = "the first of equals" if alike else "the most complete"
    asked = "as asked" if name is not None else best if others else "the only ER-alpha chain"
    return f"{asked}: {described[chosen.name]}" + (f"; {others}" if others else "")


def _amino_acids(chain: gemmi.Chain) -> list[gemmi.Residue]:
    """Residues with a backbone, one per sequence position (the most occupied where two share a number)."""
    best: dict[str, gemmi.Residue] = {}
    for residue in chain:
        if parent_residue(residue.name) is None or not all(atom in residue for atom in ("N", "CA", "C")):
            continue
        key = str(residue.seqid)
        if key not in best or residue["CA"][0].occ > best[key]["CA"][0].occ:
            best[key] = residue
    return list(best.values())


def _align(residues: list[gemmi.Residue]) -> Alignment:
    letters = "".join(ONE_LETTER[parent_residue(residue.name)] for residue in residues)
    breaks = {
        i for i in range(1, len(residues)) if residues[i - 1]["C"][0].pos.dist(residues[i]["N"][0].pos) > _BOND_LIMIT
    }
    return align_to_p03372(letters, breaks)


def _completeness(entry: tuple[gemmi.Chain, list[gemmi.Residue], Alignment]) -> tuple[bool, int, int]:
    """Rank of a chain: helix 12 first, then residues, then heavy atoms; equal chains keep file order."""
    _, residues, alignment = entry
    numbers = {n for n in alignment.numbers if n is not None and LBD_FIRST <= n <= LBD_LAST}
    atoms = sum(not atom.is_hydrogen() for residue in residues for atom in residue)
    return all(n in numbers for n in HELIX12), len(numbers), atoms


def _clean(
    structure: gemmi.Structure, chain: gemmi.Chain, residues: list[gemmi.Residue], alignment: Alignment, why: str
) -> SourceChain:
    steps = [
        f"chain {chain.name} of {', '.join(c.name for c in structure[0])} ({why}); identity to P03372 "
        f"{alignment.identity:.1f} %"
    ]
    if len(structure) > 1:
        steps.append(f"first of {len(structure)} models")
    clean = gemmi.Chain("A")
    renumbered, outside, alternates, hydrogens, modified, unseen = 0, [], [], 0, [], []
    for residue, number in zip(residues, alignment.numbers, strict=True):
        if number is None or not LBD_FIRST <= number <= LBD_LAST:
            outside.append(str(residue.seqid))
            continue
        renumbered += str(residue.seqid) != str(number)
        parent = parent_residue(residue.name)
        if parent != residue.name and not is_protonation_name(residue.name):
            modified.append(f"{residue.name}{number} to {parent}")
        kept, had_alternates = _one_conformer(residue, parent)
        if had_alternates:
            alternates.append(number)
        hydrogens += sum(atom.is_hydrogen() for atom in residue)
        if all(atom.occ == 0 for atom in residue):
            unseen.append(number)
        kept.name, kept.seqid, kept.het_flag = parent, gemmi.SeqId(number, " "), "A"
        clean.add_residue(kept)
    numbers = [residue.seqid.num for residue in clean]
    incomplete = {}
    for residue in clean:
        missing = tuple(name for name in HEAVY_ATOMS[residue.name] if name not in residue)
        if missing:
            incomplete[residue.seqid.num] = missing
    dropped, molecules, waters = _other_molecules(structure, residues)
    mutations = tuple(
        Mutation(r.seqid.num, wild_type_residue(r.seqid.num), ONE_LETTER[r.name])
        for r in clean
        if r.name != THREE_LETTER[wild_type_residue(r.seqid.num)]
    )
    if len(unseen) == len(clean):  # a program that does not write occupancies
        unseen = []
    for found, words in (
        (mutations, f"differs from P03372 at {', '.join(map(str, mutations))}"),
        (renumbered, f"{renumbered} residues renumbered by alignment"),
        (outside, f"residues outside {LBD_FIRST}-{LBD_LAST} dropped: {', '.join(outside)}"),
        (alternates, f"most occupied conformer kept of residues {', '.join(map(str, alternates))}"),
        (modified, f"modified residues mapped: {', '.join(modified)}"),
        (hydrogens, f"{hydrogens} hydrogens of the file dropped"),
        (unseen, f"occupancy 0 (not seen in the density): residues {', '.join(map(str, unseen))}"),
        (dropped, f"dropped {', '.join(dropped)}"),
    ):
        if found:
            steps.append(words)
    return SourceChain(
        chain=clean,
        mutations=mutations,
        gaps=tuple((a + 1, b - 1) for a, b in zip(numbers, numbers[1:], strict=False) if b != a + 1),
        incomplete=incomplete,
        molecules=molecules,
        waters=waters,
        steps=tuple(steps),
    )


def _one_conformer(residue: gemmi.Residue, parent: str) -> tuple[gemmi.Residue, bool]:
    """The residue with its most occupied alternate location (first by letter if equal), parent atoms only."""
    occupancy: dict[str, float] = {}
    for atom in residue:
        if atom.has_altloc():
            occupancy[atom.altloc] = occupancy.get(atom.altloc, 0.0) + atom.occ
    order = sorted(occupancy, key=lambda letter: (-occupancy[letter], letter))
    kept = gemmi.Residue()
    for name in HEAVY_ATOMS[parent]:
        source = "SE" if name == "SD" and "SD" not in residue and "SE" in residue else name
        choices = {atom.altloc: atom for atom in residue if atom.name == source}
        chosen = next((choices[letter] for letter in ("\0", *order) if letter in choices), None)
        if chosen is not None:
            copy = chosen.clone()
            copy.name, copy.altloc, copy.occ = name, "\0", 1.0
            copy.element = gemmi.Element("S") if source == "SE" else copy.element
            kept.add_atom(copy)
    return kept, bool(order)


def _other_molecules(
    structure: gemmi.Structure, protein: list[gemmi.Residue]
) -> tuple[list[str], tuple[Molecule, ...], tuple[Position, ...]]:
    """Names of what is left out (waters and other residues counted), the molecules and the water oxygens."""
    own = {id(residue) for residue in protein}
    others, molecules, waters = Counter(), [], []
    for chain in structure[0]:
        for residue in chain:
            if residue.is_water():
                waters += [tuple(atom.pos.tolist()) for atom in residue if atom.element.name == "O"][:1]
            elif parent_residue(residue.name) is not None:
                if id(residue) not in own:
                    others[chain.name] += 1
            else:
                atoms = tuple((a.element.name, tuple(a.pos.tolist())) for a in residue if not a.is_hydrogen())
                molecules.append(Molecule(f"{residue.name} {chain.name}{residue.seqid}", atoms))
    dropped = [molecule.name for molecule in molecules]
    dropped += [f"{len(waters)} waters"] if waters else []
    dropped += [f"{count} residues of chain {name}" for name, count in others.items()]
    return dropped, tuple(molecules), tuple(waters)
