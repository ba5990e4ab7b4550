"""From a molecule as someone drew it to the ligands that can be simulated.

Counter-ions come off and are named, one tautomer stands for all, every open stereocentre is either refused or
enumerated (each stereoisomer is a ligand of its own), and each gets its dominant protonation state at pH 7.4 with the
others beside it. Nothing is done silently: every step is in the notes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rdkit import Chem, rdBase
from rdkit.Chem.EnumerateStereoisomers import (
    EnumerateStereoisomers,
    GetStereoisomerCount,
    StereoEnumerationOptions,
)

from esr1md.errors import InputError
from esr1md.ligand.protonation import PH, State, describe, has_ion, neutralised, percent, protonation_states
from esr1md.ligand.salts import metal_atom, without_salt
from esr1md.ligand.tautomers import canonical_tautomer
from esr1md.specs import Ligand

#: Elements with GAFF2 atom types (and in the training domain of the charge network).
ELEMENTS = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"})
MAX_HEAVY_ATOMS = 150
#: Stereoisomers that are made of one compound at most.
MAX_ISOMERS = 16

#: ``dominant``: the state at pH 7.4, whatever was drawn; ``as written``: charges and tautomer stay;
#: ``charges win``: as written if the molecule is drawn with a charge and no counter-ion, else dominant.
Charges = Literal["dominant", "as written", "charges win"]

_ISOMERS_SHOWN = 4


@dataclass(frozen=True)
class PreparedLigand:
    """One stereoisomer: the ligand in its dominant state, what tells it from its siblings, and all its states."""

    ligand: Ligand
    label: str
    states: tuple[State, ...]


@dataclass(frozen=True)
class PreparedCompound:
    """A compound and the ligands that were made of it.

    Attributes
    ----------
    name
        As given; a ligand's name is this with the label of its stereoisomer: ``fulvestrant (R)``.
    smiles, inchikey
        The neutral compound, canonical tautomer, stereochemistry as given.
    removed
        Counter-ions and solvents that came off.
    ligands
        One for each stereoisomer.
    possible_isomers
        How many there are; more than ``len(ligands)`` when the limit cut them.
    notes
        What was done, one sentence each.
    """

    name: str
    smiles: str
    inchikey: str
    removed: tuple[str, ...]
    ligands: tuple[PreparedLigand, ...]
    possible_isomers: int
    notes: tuple[str, ...]


def prepare_compound(
    name: str,
    mol: Chem.Mol,
    *,
    where: str = "",
    drug_class: str = "",
    stereo: Literal["defined", "enumerate"] = "enumerate",
    charges: Charges = "dominant",
    max_isomers: int = MAX_ISOMERS,
) -> PreparedCompound:
    """The ligands of a molecule.

    Parameters
    ----------
    name
        Name for tables.
    mol
        As read; counter-ions, charges, explicit hydrogens and atom maps are all right.
    where
        File and line for messages.
    drug_class
        ``SERM``, ``SERD`` ... if known.
    stereo
        ``defined`` refuses an open stereocentre and names the choices; ``enumerate`` makes every stereoisomer.
    charges
        See :data:`Charges`.
    max_isomers
        Stereoisomers made at most; a note says when there are more.

    Raises
    ------
    InputError
        A mixture, a polymer, a metal complex, a radical, an isotope, a dummy atom, an element without GAFF2 types,
        no carbon, more than 150 heavy atoms, or (``stereo="defined"``) an open stereocentre.
    """
    mol = Chem.Mol(mol)
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    _check_kind(name, mol, where)
    mol, removed = without_salt(name, mol, where)
    _check_composition(name, mol, where)
    with rdBase.BlockLogs():
        mol = Chem.RemoveHs(_joined(mol))
    notes = [f"Removed {', '.join(removed)}."] if removed else []
    keep = charges == "as written" or (charges == "charges win" and not removed and has_ion(mol))
    if not keep:
        mol, moved = canonical_tautomer(_neutral(name, mol, where))
        notes += [f"Canonical tautomer {Chem.MolToSmiles(mol)}."] if moved else []
    isomers, possible = _isomers(name, mol, where, stereo, max_isomers)
    labels = _labels(mol, isomers) if possible > 1 else [""]
    if possible > 1:
        more = f", of which {len(isomers)} were made" if possible > len(isomers) else ""
        notes.append(f"Undefined stereochemistry: {possible} stereoisomers{more}.")
    ligands = []
    for isomer, label in zip(isomers, labels, strict=True):
        states = _states(isomer, keep)
        said = f"Charges and tautomer as given ({states[0].description})." if keep else _said(states)
        ligands.append(PreparedLigand(
            _ligand(f"{name} ({label})" if label else name, states[0].smiles, drug_class, [*notes, said]),
            label, tuple(states),
        ))  # fmt: skip
    neutral = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    with rdBase.BlockLogs():
        inchikey = Chem.MolToInchiKey(neutral)
    return PreparedCompound(name, Chem.MolToSmiles(neutral), inchikey, tuple(removed), tuple(ligands), possible,
                            tuple(notes))  # fmt: skip


def ligands_from_smiles(name: str, smiles: str, *, where: str = "", drug_class: str = "",
                        stereo: Literal["defined", "enumerate"] = "enumerate",
                        charges: Charges = "charges win") -> list[Ligand]:  # fmt: skip
    """Every stereoisomer of a user's SMILES as a ligand; raises as :func:`prepare_compound`."""
    from esr1md.ligand.inputs import molecule_from_smiles

    name = checked_name(name, where)
    mol = molecule_from_smiles(name, smiles, where)
    found = prepare_compound(name, mol, where=where, drug_class=drug_class, stereo=stereo, charges=charges)
    return [each.ligand for each in found.ligands]


def ligand_from_smiles(name: str, smiles: str, *, where: str = "", drug_class: str = "") -> Ligand:
    """A ligand from the SMILES a user wrote.

    A neutral SMILES, or one with a counter-ion, is brought to its dominant state at pH 7.4; one that is charged
    without a counter-ion is taken as it is. What was done is in ``notes``.

    Parameters
    ----------
    name
        Name for tables.
    smiles
        One compound, every stereocentre and double bond defined.
    where
        File and line for messages.
    drug_class
        ``SERM``, ``SERD`` ... if known.

    Raises
    ------
    InputError
        The SMILES is empty or cannot be parsed, and all of :func:`prepare_compound`.
    """
    return ligands_from_smiles(name, smiles, where=where, drug_class=drug_class, stereo="defined")[0]


def ligands_from_sdf(path: Path | str, name: str | None = None, *, where: str = "", drug_class: str = "",
                     stereo: Literal["defined", "enumerate"] = "enumerate",
                     charges: Charges = "charges win") -> list[Ligand]:  # fmt: skip
    """Every stereoisomer of the one molecule of an SDF or MOL file; raises as :func:`ligand_from_sdf`."""
    from esr1md.ligand.inputs import molecule_of, open_input

    path = Path(path).expanduser()
    place = f"{where}: {path}" if where else str(path)
    if not path.is_file():
        raise InputError(f"'{path}' is not a file that can be read", where=where, expected="an SDF file")
    try:
        with open_input(path, kind="sdf") as source:
            rows = list(itertools.islice(source, 2))
    except InputError as error:
        raise error.at(where) if where else error from error
    if not rows:
        raise InputError("the file holds no molecule", where=place, expected="an SDF file with one molecule")
    if len(rows) > 1:
        raise InputError("the file holds 2 molecules or more", where=place, expected="one",
                         do="give each ligand its own file, or prepare them all: esr1md ligands prepare")  # fmt: skip
    row = rows[0]
    mol = molecule_of(row, place)
    name = checked_name(name or row.name or path.stem, place)
    found = prepare_compound(name, mol, where=place, drug_class=drug_class, stereo=stereo, charges=charges)
    unused = "Coordinates of the file are not used."
    return [
        Ligand(**{**each.ligand.__dict__, "notes": f"{each.ligand.notes} {unused}"}) for each in found.ligands
    ]  # fmt: skip


def ligand_from_sdf(path: Path | str, name: str | None = None, *, where: str = "",
                    drug_class: str = "") -> Ligand:  # fmt: skip
    """A ligand from an SDF or MOL file with exactly one molecule; ``name`` defaults to its title.

    Its coordinates give the stereochemistry and are not used otherwise: poses are made anew.

    Raises
    ------
    InputError
        No such file, no molecule, several, a truncated or unreadable record, and all of
        :func:`ligand_from_smiles`.
    """
    return ligands_from_sdf(path, name, where=where, drug_class=drug_class, stereo="defined")[0]


def checked_name(name: str, where: str) -> str:
    """A name that a screen's tables and addresses can carry.

    Raises
    ------
    InputError
        Empty, ``apo``, longer than 60 characters, unprintable, or with one of ``/ \\ #``.
    """
    name = str(name).strip()
    if not name:
        raise InputError("a ligand has no name", where=where, do="give it one with name:")
    if name.casefold() == "apo":
        raise InputError("a ligand cannot be called 'apo'", where=where, do="the empty receptor is called so")
    if any(c in "/\\#" or not c.isprintable() for c in name) or len(name) > 60:
        raise InputError(f"ligand name {name[:80]!r} is not usable", where=where,
                         expected="at most 60 printable characters without / \\ #")  # fmt: skip
    return name


def undefined_stereo(mol: Chem.Mol) -> list[str]:
    """Stereocentres and double bonds that are possible but not set: ``atom 12 (S)``, ``bond 3=4 (C=C)``.

    Nitrogen that inverts or exchanges its proton is not counted, nor a ring carbon that is a centre only
    relative to such a nitrogen (the C3 of an azetidinium). A centre of an ``and`` or ``or`` group (enhanced
    stereochemistry: a racemate, or one of two unknown) is open too.
    """
    mol = _without_exchanging_protons(mol)
    relative = {
        atom.GetIdx() for group in mol.GetStereoGroups()
        if group.GetGroupType() != Chem.StereoGroupType.STEREO_ABSOLUTE for atom in group.GetAtoms()
    }  # fmt: skip
    found = []
    for info in Chem.FindPotentialStereo(mol):
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            atom = mol.GetAtomWithIdx(info.centeredOn)
            if info.specified == Chem.StereoSpecified.Specified and info.centeredOn not in relative:
                continue
            if atom.GetSymbol() == "N" and atom.GetDegree() < 4:
                continue
            found.append(f"atom {info.centeredOn + 1} ({atom.GetSymbol()})")
        elif info.type == Chem.StereoType.Bond_Double and info.specified != Chem.StereoSpecified.Specified:
            bond = mol.GetBondWithIdx(info.centeredOn)
            ends = [bond.GetBeginAtom(), bond.GetEndAtom()]
            if not _exchanges(bond):
                found.append("bond " + "=".join(str(end.GetIdx() + 1) for end in ends)
                             + " (" + "=".join(end.GetSymbol() for end in ends) + ")")  # fmt: skip
    return found


def _exchanges(bond: Chem.Bond) -> bool:
    """A double bond without isomers: an imine N-H, or linear (azide, isocyanate)."""
    ends = [bond.GetBeginAtom(), bond.GetEndAtom()]
    return any(end.GetSymbol() == "N" and end.GetTotalNumHs() for end in ends) or any(
        end.GetHybridization() == Chem.HybridizationType.SP for end in ends
    )


def _check_kind(name: str, mol: Chem.Mol, where: str) -> None:
    """What is no single defined molecule, or no organic one, whatever its counter-ion."""
    for group in Chem.GetMolSubstanceGroups(mol):
        kind = group.GetProp("TYPE") if group.HasProp("TYPE") else ""
        if kind in ("SRU", "MON", "COP", "CRO", "MOD", "GRA", "MER"):
            raise InputError(f"ligand '{name}': a polymer (repeating unit {kind})", where=where,
                             expected="one molecule of defined size")  # fmt: skip
    for number, atom in enumerate(mol.GetAtoms(), start=1):
        if atom.GetAtomicNum() == 0 or atom.HasQuery():
            raise InputError(f"ligand '{name}': atom {number} is a dummy or query atom", where=where,
                             expected="a real element")  # fmt: skip
    metal = metal_atom(mol)
    if metal is not None:
        raise InputError(f"ligand '{name}': atom {metal.GetIdx() + 1} is a metal ({metal.GetSymbol()})", where=where,
                         expected="an organic molecule")  # fmt: skip


def _check_composition(name: str, mol: Chem.Mol, where: str) -> None:
    def refuse(what: str, do: str = "", expected: str = "") -> None:
        raise InputError(f"ligand '{name}': {what}", where=where, expected=expected, do=do)

    for number, atom in enumerate(mol.GetAtoms(), start=1):
        symbol = atom.GetSymbol()
        if atom.GetIsotope():
            refuse(f"atom {number} ({symbol}) carries the isotope label {atom.GetIsotope()}",
                   do="leave the label out; isotopes bind alike")  # fmt: skip
        if symbol not in ELEMENTS:
            refuse(f"atom {number} is {symbol}, for which GAFF2 has no atom type",
                   expected="H C N O F P S Cl Br I only")  # fmt: skip
        if symbol in ("S", "P") and atom.GetDegree() > 4:
            refuse(f"atom {number} is {symbol} with {atom.GetDegree()} neighbours, which GAFF2 cannot describe")
        if atom.GetNumRadicalElectrons():
            refuse(f"atom {number} ({symbol}) is a radical", expected="every valence filled")
    if not any(atom.GetAtomicNum() == 6 for atom in mol.GetAtoms()):
        refuse("no carbon atom", expected="an organic molecule")
    if mol.GetNumHeavyAtoms() > MAX_HEAVY_ATOMS:
        refuse(f"{mol.GetNumHeavyAtoms()} heavy atoms", expected=f"at most {MAX_HEAVY_ATOMS}")


def _joined(mol: Chem.Mol) -> Chem.Mol:
    """``[S+][O-]`` and ``[P+][O-]`` drawn as the double bonds they are, so that one drawing is one identity."""
    edited = Chem.RWMol(mol)
    for bond in edited.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        for centre, oxygen in (ends, ends[::-1]):
            if (centre.GetSymbol() in ("S", "P") and centre.GetFormalCharge() > 0 and oxygen.GetSymbol() == "O"
                    and oxygen.GetFormalCharge() == -1 and oxygen.GetDegree() == 1):  # fmt: skip
                centre.SetFormalCharge(centre.GetFormalCharge() - 1)
                oxygen.SetFormalCharge(0)
                bond.SetBondType(Chem.BondType.DOUBLE)
    return edited.GetMol() if Chem.SanitizeMol(edited, catchErrors=True) == 0 else mol


def _neutral(name: str, mol: Chem.Mol, where: str) -> Chem.Mol:
    bare = neutralised(mol)
    for atom in bare.GetAtoms():
        if atom.GetSymbol() == "N" and atom.GetFormalCharge() == 0:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)  # it inverts
    try:
        Chem.SanitizeMol(bare)
    except ValueError as error:
        raise InputError(f"ligand '{name}': its charges cannot be neutralised ({error})", where=where) from None
    return bare


def _states(mol: Chem.Mol, keep: bool) -> list[State]:
    if keep:
        return [State(_canonical(mol), 1.0, describe(mol))]
    return [State(_canonical(Chem.MolFromSmiles(s.smiles)), s.share, s.description) for s in protonation_states(mol)]


def _canonical(state: Chem.Mol) -> str:
    state = Chem.Mol(state)
    for atom in state.GetAtoms():
        if atom.GetSymbol() == "N" and atom.GetTotalNumHs():
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)  # it exchanges its proton, so it is no centre
    return Chem.CanonSmiles(Chem.MolToSmiles(state))


def _said(states: list[State]) -> str:
    """What the state is, and the runners-up that a reader should know of (5 % and more)."""
    text = f"State at pH {PH}: {states[0].description}"
    text += f" (estimated {percent(states[0].share)})" if len(states) > 1 else ""
    others = [f"{s.description} {percent(s.share)}" for s in states[1:] if s.share >= 0.05]
    return text + (f"; also {', '.join(others)}" if others else "") + "."


def _ligand(name: str, smiles: str, drug_class: str, notes: list[str]) -> Ligand:
    mol = Chem.MolFromSmiles(smiles)
    with rdBase.BlockLogs():
        inchikey = Chem.MolToInchiKey(mol)
    return Ligand(name, smiles, inchikey, Chem.GetFormalCharge(mol), drug_class, " ".join(notes), "user")


def _without_exchanging_protons(mol: Chem.Mol) -> Chem.Mol:
    bare = Chem.RWMol(mol)
    for atom in bare.GetAtoms():
        if atom.GetSymbol() == "N" and atom.GetFormalCharge() == 1 and atom.GetTotalNumHs():
            hydrogens = atom.GetTotalNumHs() - 1
            atom.SetFormalCharge(0)
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(hydrogens)
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    Chem.SanitizeMol(bare)
    return bare.GetMol()


def _isomers(name: str, mol: Chem.Mol, where: str, stereo: str, limit: int) -> tuple[list[Chem.Mol], int]:
    """The stereoisomers to make, in the order of their SMILES, and how many there are."""
    missing = undefined_stereo(mol)
    if not missing:
        return [mol], 1
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=0)
    found: dict[str, Chem.Mol] = {}
    most = max(limit, _ISOMERS_SHOWN + 1) if stereo == "enumerate" else 64
    with rdBase.BlockLogs():
        bound = GetStereoisomerCount(mol, options)
        for isomer in itertools.islice(EnumerateStereoisomers(mol, options=options), 8 * most):
            smiles = _plain_isomer(isomer)
            found.setdefault(smiles, Chem.MolFromSmiles(smiles))
            if len(found) == most:
                break
    possible = len(found) if len(found) < most else max(len(found), bound)
    if len(found) < 2:
        return [mol], 1
    ordered = sorted(found)
    if stereo == "defined":
        shown = " or ".join(ordered[:_ISOMERS_SHOWN])
        more = f" or {possible - _ISOMERS_SHOWN} more" if possible > _ISOMERS_SHOWN else ""
        raise InputError(f"ligand '{name}': undefined stereochemistry at {', '.join(missing)}", where=where,
                         expected="one stereoisomer",
                         do=f"choose {shown}{more}, or write 'stereo: enumerate' to take each as a ligand")  # fmt: skip
    return [found[smiles] for smiles in ordered[:limit]], possible


def _plain_isomer(isomer: Chem.Mol) -> str:
    """Canonical SMILES without the marks on bonds that have no isomers."""
    plain = Chem.RWMol(isomer)
    plain.SetStereoGroups([])
    for bond in plain.GetBonds():
        if bond.GetBondType() == Chem.BondType.DOUBLE and _exchanges(bond):
            bond.SetStereo(Chem.BondStereo.STEREONONE)
    for atom in plain.GetAtoms():
        if atom.GetSymbol() == "N" and atom.GetDegree() < 4:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return Chem.CanonSmiles(Chem.MolToSmiles(plain))


def _labels(mol: Chem.Mol, isomers: list[Chem.Mol]) -> list[str]:
    """``R``, ``S``, ``E``, ``2R,5S`` ...: the descriptors of what was open; numbered where they do not tell apart."""
    from rdkit.Chem import rdCIPLabeler

    found = []
    for isomer in isomers:
        isomer = Chem.Mol(isomer)
        rdCIPLabeler.AssignCIPLabels(isomer)
        order = isomer.GetSubstructMatch(mol) or range(isomer.GetNumAtoms())  # flat query: atoms as in the parent
        place = {index: position for position, index in enumerate(order)}
        marks = [(place.get(a.GetIdx(), 0), a.GetProp("_CIPCode")) for a in isomer.GetAtoms() if a.HasProp("_CIPCode")]
        marks += [(min(place.get(b.GetBeginAtomIdx(), 0), place.get(b.GetEndAtomIdx(), 0)), b.GetProp("_CIPCode"))
                  for b in isomer.GetBonds() if b.HasProp("_CIPCode")]  # fmt: skip
        found.append(sorted(marks))
    if len({len(marks) for marks in found}) == 1:
        varying = [i for i in range(len(found[0])) if len({marks[i][1] for marks in found}) > 1]
        labels = [",".join(marks[i][1] for i in varying) for marks in found]
        if len(set(labels)) == len(labels) and all(labels):
            return labels
    return [f"isomer {number}" for number in range(1, len(isomers) + 1)]
