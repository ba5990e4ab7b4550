"""From a molecule as someone drew it to the ligands that can be simulated.

Counter-ions come off and are named, one tautomer stands for all, every open stereocentre is either refused or
enumerated (each stereoisomer is a ligand of its own), and each gets its dominant protonation state at pH 7.4 with the
others beside it. Nothing is done silently: every step is in the notes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rdkit import Chem, rdBase

from esr1md.errors import InputError
from esr1md.ligand.protonation import PH, State, describe, has_ion, neutralised, percent, protonation_states
from esr1md.ligand.salts import metal_atom, without_salt
from esr1md.ligand.stereo import equal_oxygens, stereo_labels, stereoisomers
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
    isomers, possible = stereoisomers(name, mol, where, stereo, max_isomers)
    labels = stereo_labels(mol, isomers) if possible > 1 else [""]
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
    from esr1md.ligand.molecules import molecule_from_smiles

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
    from esr1md.ligand.inputs import open_input
    from esr1md.ligand.molecules import molecule_of

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
    return [replace(each.ligand, notes=f"{each.ligand.notes} {unused}") for each in found.ligands]


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
    for bond in mol.GetBonds():
        if bond.HasQuery():
            ends = f"{bond.GetBeginAtomIdx() + 1}-{bond.GetEndAtomIdx() + 1}"
            raise InputError(f"ligand '{name}': bond {ends} is a query bond", where=where, expected="a real bond")
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
        if equal_oxygens(atom) or (atom.GetSymbol() == "N" and atom.GetTotalNumHs()):
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
