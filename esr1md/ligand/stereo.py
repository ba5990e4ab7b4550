"""Open stereochemistry: what is not set, the stereoisomers it stands for, and their labels."""

from __future__ import annotations

import itertools

from rdkit import Chem, rdBase
from rdkit.Chem import AllChem, rdMolDescriptors
from rdkit.Chem.EnumerateStereoisomers import (
    EnumerateStereoisomers,
    GetStereoisomerCount,
    StereoEnumerationOptions,
)

from esr1md.errors import InputError

_ISOMERS_SHOWN = 4
#: Tries at a bridged molecule; one that can be built is built at the first or second.
_ATTEMPTS, _SEED = 15, 20240229


def undefined_stereo(mol: Chem.Mol) -> list[str]:
    """Stereocentres and double bonds that are possible but not set: ``atom 12 (S)``, ``bond 3=4 (C=C)``.

    Nitrogen that inverts or exchanges its proton is not counted, nor a ring carbon that is a centre only
    relative to such a nitrogen (the C3 of an azetidinium), nor the phosphorus or sulfur of an acid whose oxygens
    share a proton (a phosphodiester, a sulfinic acid). A centre of an ``and`` or ``or`` group (enhanced
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
            if _no_centre(atom):
                continue
            found.append(f"atom {info.centeredOn + 1} ({atom.GetSymbol()})")
        elif info.type == Chem.StereoType.Bond_Double and info.specified != Chem.StereoSpecified.Specified:
            bond = mol.GetBondWithIdx(info.centeredOn)
            ends = [bond.GetBeginAtom(), bond.GetEndAtom()]
            if not _exchanges(bond):
                found.append("bond " + "=".join(str(end.GetIdx() + 1) for end in ends)
                             + " (" + "=".join(end.GetSymbol() for end in ends) + ")")  # fmt: skip
    return found


def stereoisomers(name: str, mol: Chem.Mol, where: str, stereo: str, limit: int) -> tuple[list[Chem.Mol], int]:
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
    complete = len(found) < most
    standing = {smiles: isomer for smiles, isomer in found.items() if has_conformer(isomer)}
    found = standing or found  # where none stands, the fault may be the embedding's
    possible = len(found) if complete else max(len(found), bound)
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


def has_conformer(mol: Chem.Mol) -> bool:
    """Whether a bridged ring system can be built in 3D with this stereochemistry; any other molecule is taken to be.

    Enumeration knows nothing of rings: it makes the trans-bridged tropanes and adamantanes that cannot exist, on
    which a full search for a conformer then spends minutes.
    """
    if not rdMolDescriptors.CalcNumBridgeheadAtoms(mol):
        return True
    settings = AllChem.ETKDGv3()
    settings.randomSeed, settings.maxIterations = _SEED, _ATTEMPTS
    with rdBase.BlockLogs():
        return AllChem.EmbedMolecule(Chem.AddHs(mol), settings) == 0


def stereo_labels(mol: Chem.Mol, isomers: list[Chem.Mol]) -> list[str]:
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


def _plain_isomer(isomer: Chem.Mol) -> str:
    """Canonical SMILES without the marks on bonds that have no isomers."""
    plain = Chem.RWMol(isomer)
    plain.SetStereoGroups([])
    for bond in plain.GetBonds():
        if bond.GetBondType() == Chem.BondType.DOUBLE and _exchanges(bond):
            bond.SetStereo(Chem.BondStereo.STEREONONE)
    for atom in plain.GetAtoms():
        if _no_centre(atom):
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return Chem.CanonSmiles(Chem.MolToSmiles(plain))


def _no_centre(atom: Chem.Atom) -> bool:
    return equal_oxygens(atom) or (atom.GetSymbol() == "N" and atom.GetDegree() < 4)


def equal_oxygens(atom: Chem.Atom) -> bool:
    """Phosphorus or sulfur with two bare oxygens, between which a proton or a charge moves: no centre."""
    bare = [n for n in atom.GetNeighbors() if n.GetSymbol() == "O" and n.GetDegree() == 1]
    return atom.GetSymbol() in ("P", "S") and len(bare) > 1


def _exchanges(bond: Chem.Bond) -> bool:
    """A double bond without isomers: an imine N-H, or linear (azide, isocyanate)."""
    ends = [bond.GetBeginAtom(), bond.GetEndAtom()]
    return any(end.GetSymbol() == "N" and end.GetTotalNumHs() for end in ends) or any(
        end.GetHybridization() == Chem.HybridizationType.SP for end in ends
    )


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
