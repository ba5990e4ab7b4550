"""A user's own ligand, from SMILES or SDF: checked, and brought to its dominant state at pH 7.4."""

from __future__ import annotations

from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from esr1md.errors import InputError
from esr1md.ligand.protonation import dominant_state
from esr1md.specs import Ligand

#: Elements with GAFF2 atom types (and in the training domain of the charge network).
ELEMENTS = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"})
MAX_HEAVY_ATOMS = 150

_NON_METALS = frozenset({"B", "Si", "Ge", "As", "Se", "Te", "At", "He", "Ne", "Ar", "Kr", "Xe", "Rn"})
_MAX_ISOMERS_SHOWN = 4


def ligand_from_smiles(name: str, smiles: str, *, where: str = "", drug_class: str = "") -> Ligand:
    """A ligand from the SMILES a user wrote.

    A neutral SMILES is brought to its dominant state at pH 7.4; a charged one is taken as it is. What was
    done is in ``notes``.

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
        The SMILES is empty or cannot be parsed; it is a salt or mixture; it has an undefined stereocentre or
        double bond, a metal, a radical, an isotope, a dummy atom, an element without GAFF2 types, no carbon,
        or more than 150 heavy atoms.
    """
    name = _checked_name(name, where)
    mol = _parse(name, smiles, where)
    return _checked_ligand(name, mol, where, drug_class, [])


def ligand_from_sdf(path: Path | str, name: str | None = None, *, where: str = "",
                    drug_class: str = "") -> Ligand:
    """A ligand from an SDF or MOL file with exactly one molecule; ``name`` defaults to its title.

    Its coordinates give the stereochemistry and are not used otherwise: poses are made anew.

    Raises
    ------
    InputError
        No such file, no molecule, several, a truncated or unreadable record, and all of
        :func:`ligand_from_smiles`.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"ligand file '{path}' cannot be read ({error.strerror})", where=where,
                         expected="an SDF file with one molecule") from error
    records = _records(text)
    place = f"{where}: {path}" if where else str(path)
    if not records:
        raise InputError("the file holds no molecule", where=place, expected="an SDF file with one molecule")
    if len(records) > 1:
        raise InputError(f"the file holds {len(records)} molecules", where=place, expected="one",
                         do="give each ligand its own file")
    if "M  END" not in records[0]:
        raise InputError("the molecule is truncated (no 'M  END' line)", where=place, do="write it again")
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(records[0])
        problem = "" if mol else _why_unreadable(Chem.MolFromMolBlock(records[0], sanitize=False))
    if mol is None:
        raise InputError(f"the molecule cannot be read{problem}", where=place,
                         expected="an SDF record with elements, bonds and charges")
    if mol.GetNumConformers() and mol.GetConformer().Is3D():
        Chem.AssignStereochemistryFrom3D(mol)
    title = mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""
    name = _checked_name(name or title or path.stem, place)
    return _checked_ligand(name, mol, place, drug_class, ["Coordinates of the file are not used."])


def _records(text: str) -> list[str]:
    """The molecules of an SDF as text; a MOL file is one record without the closing ``$$$$``."""
    records: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == "$$$$":
            records.append([])
        else:
            records[-1].append(line)
    return ["\n".join(lines) + "\n" for lines in records if any(line.strip() for line in lines)]


def _checked_name(name: str, where: str) -> str:
    name = str(name).strip()
    if not name:
        raise InputError("a ligand has no name", where=where, do="give it one with name:")
    if name.casefold() == "apo":
        raise InputError("a ligand cannot be called 'apo'", where=where, do="the empty receptor is called so")
    if any(c in "/\\#" or not c.isprintable() for c in name) or len(name) > 60:
        raise InputError(f"ligand name {name!r} is not usable", where=where,
                         expected="at most 60 printable characters without / \\ #")
    return name


def _parse(name: str, smiles: str, where: str) -> Chem.Mol:
    text = str(smiles or "").strip()
    if not text:
        raise InputError(f"ligand '{name}' has an empty SMILES", where=where, do="give smiles: or sdf:")
    if len(text.split()) > 1:
        raise InputError(f"ligand '{name}': text after the SMILES in '{text}'", where=where,
                         expected="one SMILES and nothing else")
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
        problem = "" if mol else _why_unreadable(Chem.MolFromSmiles(text, sanitize=False))
    if mol is None:
        raise InputError(f"ligand '{name}': the SMILES '{text}' cannot be parsed{problem}", where=where,
                         do="check brackets, ring numbers and valences")
    if mol.GetNumAtoms() == 0:
        raise InputError(f"ligand '{name}': the SMILES '{text}' has no atoms", where=where)
    return mol


def _why_unreadable(raw: Chem.Mol | None) -> str:
    if raw is None:
        return " (syntax)"
    problems = Chem.DetectChemistryProblems(raw)
    return f" ({problems[0].Message()})" if problems else ""


def _checked_ligand(name: str, mol: Chem.Mol, where: str, drug_class: str, notes: list[str]) -> Ligand:
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    _check_composition(name, mol, where)
    mol = Chem.RemoveHs(mol)
    _check_stereo(name, mol, where)
    state, what_changed = dominant_state(mol)
    for atom in state.GetAtoms():
        if atom.GetSymbol() == "N" and atom.GetTotalNumHs():
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)  # it exchanges its proton, so it is no centre
    smiles = Chem.CanonSmiles(Chem.MolToSmiles(state))
    state = Chem.MolFromSmiles(smiles)
    return Ligand(
        name=name,
        smiles=smiles,
        inchikey=Chem.MolToInchiKey(state),
        formal_charge=Chem.GetFormalCharge(state),
        drug_class=drug_class,
        notes=" ".join([*what_changed, *notes]),
        confidence="user",
    )


def _check_composition(name: str, mol: Chem.Mol, where: str) -> None:
    def refuse(what: str, do: str = "", expected: str = "") -> None:
        raise InputError(f"ligand '{name}': {what}", where=where, expected=expected, do=do)

    parts = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)
    if len(parts) > 1:
        fragments = [Chem.MolToSmiles(p) for p in sorted(parts, key=Chem.Mol.GetNumHeavyAtoms, reverse=True)]
        refuse(f"a salt or mixture of {', '.join(fragments)}", expected="one molecule",
               do=f"give only the ligand, perhaps {fragments[0]}")
    for number, atom in enumerate(mol.GetAtoms(), start=1):
        symbol = atom.GetSymbol()
        if atom.GetAtomicNum() == 0 or atom.HasQuery():
            refuse(f"atom {number} is a dummy or query atom", expected="a real element")
        if atom.GetIsotope():
            refuse(f"atom {number} ({symbol}) carries the isotope label {atom.GetIsotope()}",
                   do="leave the label out; isotopes bind alike")
        if symbol not in ELEMENTS and symbol not in _NON_METALS:
            refuse(f"atom {number} is a metal ({symbol})", expected="an organic molecule")
        if symbol not in ELEMENTS:
            refuse(f"atom {number} is {symbol}, for which GAFF2 has no atom type",
                   expected="H C N O F P S Cl Br I only")
        if symbol in ("S", "P") and atom.GetDegree() > 4:
            refuse(f"atom {number} is {symbol} with {atom.GetDegree()} neighbours, which GAFF2 cannot describe")
        if atom.GetNumRadicalElectrons():
            refuse(f"atom {number} ({symbol}) is a radical", expected="every valence filled")
    if not any(atom.GetAtomicNum() == 6 for atom in mol.GetAtoms()):
        refuse("no carbon atom", expected="an organic molecule")
    if mol.GetNumHeavyAtoms() > MAX_HEAVY_ATOMS:
        refuse(f"{mol.GetNumHeavyAtoms()} heavy atoms", expected=f"at most {MAX_HEAVY_ATOMS}")


def undefined_stereo(mol: Chem.Mol) -> list[str]:
    """Stereocentres and double bonds that are possible but not set: ``atom 12 (S)``, ``bond 3=4 (C=C)``.

    Nitrogen that inverts or exchanges its proton is not counted, nor a ring carbon that is a centre only
    relative to such a nitrogen (the C3 of an azetidinium).
    """
    mol = _without_exchanging_protons(mol)
    found = []
    for info in Chem.FindPotentialStereo(mol):
        if info.specified != Chem.StereoSpecified.Unspecified:
            continue
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            atom = mol.GetAtomWithIdx(info.centeredOn)
            if atom.GetSymbol() == "N" and atom.GetDegree() < 4:
                continue
            found.append(f"atom {info.centeredOn + 1} ({atom.GetSymbol()})")
        elif info.type == Chem.StereoType.Bond_Double:
            ends = [mol.GetBondWithIdx(info.centeredOn).GetBeginAtom(),
                    mol.GetBondWithIdx(info.centeredOn).GetEndAtom()]
            if any(end.GetSymbol() == "N" and end.GetTotalNumHs() for end in ends):
                continue
            if any(end.GetHybridization() == Chem.HybridizationType.SP for end in ends):
                continue  # azide, isocyanate: linear
            found.append("bond " + "=".join(str(end.GetIdx() + 1) for end in ends)
                         + " (" + "=".join(end.GetSymbol() for end in ends) + ")")
    return found


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


def _check_stereo(name: str, mol: Chem.Mol, where: str) -> None:
    missing = undefined_stereo(mol)
    if not missing:
        return
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=64)
    isomers = sorted({Chem.MolToSmiles(isomer) for isomer in EnumerateStereoisomers(mol, options=options)})
    if len(isomers) < 2:
        return
    shown = " or ".join(isomers[:_MAX_ISOMERS_SHOWN])
    more = f" or {len(isomers) - _MAX_ISOMERS_SHOWN} more" if len(isomers) > _MAX_ISOMERS_SHOWN else ""
    raise InputError(f"ligand '{name}': undefined stereochemistry at {', '.join(missing)}", where=where,
                     expected="one stereoisomer", do=f"choose {shown}{more}")
