"""Counter-ions and solvents: recognised, named and taken off; what remains must be one compound."""

from __future__ import annotations

import functools

from rdkit import Chem, rdBase

from esr1md.errors import InputError
from esr1md.ligand.protonation import neutralised

#: What a registered drug or a vendor's compound comes with: neutral SMILES (no stereo) and the name for the record.
COUNTER_IONS = {
    "Cl": "hydrochloride", "Br": "hydrobromide", "I": "hydroiodide", "F": "hydrofluoride", "O=S(=O)(O)O": "sulfate",
    "O=P(O)(O)O": "phosphate", "O=[N+]([O-])O": "nitrate", "[O-][Cl+3]([O-])([O-])O": "perchlorate",
    "O=CO": "formate", "CC(=O)O": "acetate", "O=C(O)C(F)(F)F": "trifluoroacetate", "O=C(O)C(=O)O": "oxalate",
    "O=C(O)C=CC(=O)O": "maleate or fumarate", "O=C(O)CCC(=O)O": "succinate", "O=C(O)CC(=O)O": "malonate",
    "O=C(O)CC(O)C(=O)O": "malate", "O=C(O)C(O)C(O)C(=O)O": "tartrate", "O=C(O)CC(O)(CC(=O)O)C(=O)O": "citrate",
    "CC(O)C(=O)O": "lactate", "O=C(O)C(O)C(O)C(O)C(O)CO": "gluconate", "CS(=O)(=O)O": "mesylate",
    "CCS(=O)(=O)O": "esylate", "O=S(=O)(O)c1ccccc1": "besylate", "Cc1ccc(S(=O)(=O)O)cc1": "tosylate",
    "O=S(=O)(O)CCO": "isethionate", "O=S(=O)(O)CCS(=O)(=O)O": "edisylate", "O=C(O)c1ccccc1": "benzoate",
    "O=S(=O)(O)C(F)(F)F": "triflate", "O=S(=O)(O)c1cccc2c(S(=O)(=O)O)cccc12": "napadisylate",
    "O=S(=O)(O)c1ccc2ccccc2c1": "napsylate", "O=C(O)c1cc2ccccc2c(Cc2c(O)c(C(=O)O)cc3ccccc23)c1O": "pamoate",
    "CC1(C)C2CCC1(CS(=O)(=O)O)C(=O)C2": "camsylate", "CCCCCCCCCCCCCCCCCC(=O)O": "stearate",
    "O=C(O)CCCCC(=O)O": "adipate", "O=C(O)CNC(=O)c1ccccc1": "hippurate", "NC(CCC(=O)O)C(=O)O": "glutamate",
    "NC(CC(=O)O)C(=O)O": "aspartate", "NCCCCC(N)C(=O)O": "lysine", "N=C(N)NCCCC(N)C(=O)O": "arginine",
    "N": "ammonium", "CNCC(O)C(O)C(O)C(O)CO": "meglumine", "NC(CO)(CO)CO": "tromethamine", "NCCO": "olamine",
    "OCCNCCO": "diolamine", "CCNCC": "diethylamine", "CCN(CC)CC": "triethylamine", "C[N+](C)(C)CCO": "choline",
    "F[B-](F)(F)F": "tetrafluoroborate", "F[P-](F)(F)(F)(F)F": "hexafluorophosphate",
    "O": "water", "CO": "methanol", "CCO": "ethanol", "CC(C)O": "isopropanol", "CC(C)=O": "acetone",
    "CS(C)=O": "dimethyl sulfoxide", "CN(C)C=O": "dimethylformamide", "CC#N": "acetonitrile",
    "CCOC(C)=O": "ethyl acetate", "C1CCOC1": "tetrahydrofuran", "C1COCCO1": "dioxane", "ClC(Cl)Cl": "chloroform",
    "ClCCl": "dichloromethane", "Cc1ccccc1": "toluene", "CCCCCC": "hexane", "CCOCC": "diethyl ether",
}  # fmt: skip
#: Of these a solvent only accompanies a compound that is larger than itself.
SOLVENTS = frozenset(
    "methanol, ethanol, isopropanol, acetone, dimethyl sulfoxide, dimethylformamide, acetonitrile, ethyl acetate, "
    "tetrahydrofuran, dioxane, chloroform, dichloromethane, toluene, hexane, diethyl ether".split(", ")
)
#: Metal ions that only accompany; bonds drawn to them are taken as ionic. Any other metal makes a complex.
METALS = {"Li": "lithium", "Na": "sodium", "K": "potassium", "Rb": "rubidium", "Cs": "caesium", "Mg": "magnesium",
          "Ca": "calcium", "Sr": "strontium", "Ba": "barium", "Zn": "zinc", "Al": "aluminium"}  # fmt: skip
_HALIDES = {"Cl": "chloride", "Br": "bromide", "I": "iodide", "F": "fluoride"}


def without_salt(name: str, mol: Chem.Mol, where: str = "") -> tuple[Chem.Mol, list[str]]:
    """The compound alone, and what it came with: ``["hydrochloride", "2 x water"]``.

    Raises
    ------
    InputError
        Two compounds, two stereoisomers of one, or nothing but metal ions and water.
    """
    mol = _ionic(mol)
    parts = list(Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False))
    if len(parts) == 1:
        return mol, []
    known = [_counter_ion(part) for part in parts]
    smallest = min((p.GetNumHeavyAtoms() for p, ion in zip(parts, known, strict=True) if not ion), default=0)
    known = [
        "" if ion in SOLVENTS and smallest and part.GetNumHeavyAtoms() >= smallest else ion
        for part, ion in zip(parts, known, strict=True)
    ]
    kept = [part for part, ion in zip(parts, known, strict=True) if not ion]
    removed = [ion for ion in known if ion]
    if not kept:  # sodium acetate, choline chloride: the largest organic part is the compound
        organic = [part for part in parts if any(atom.GetAtomicNum() == 6 for atom in part.GetAtoms())]
        if not organic:
            raise InputError(f"ligand '{name}': no organic compound, only {_listed(removed)}", where=where)
        most = max(part.GetNumHeavyAtoms() for part in organic)
        kept = [part for part in organic if part.GetNumHeavyAtoms() == most]
        removed = [ion for part, ion in zip(parts, known, strict=True) if ion and not _same(part, kept[0])]
    isomers = {Chem.MolToSmiles(part): part for part in kept}
    flat = {_flat(part) for part in kept}
    if len(flat) > 1:
        fragments = [Chem.MolToSmiles(p) for p in sorted(kept, key=Chem.Mol.GetNumHeavyAtoms, reverse=True)]
        raise InputError(f"ligand '{name}': a mixture of {', '.join(dict.fromkeys(fragments))}", where=where,
                         expected="one compound, with or without counter-ion",
                         do=f"give each compound alone, perhaps {fragments[0]}")  # fmt: skip
    if len(isomers) > 1 and len({_neutral(part) for part in kept}) > 1:
        raise InputError(
            f"ligand '{name}': a mixture of {len(isomers)} stereoisomers, {' and '.join(isomers)}",
            where=where,
            expected="one compound",
            do="give each stereoisomer alone",
        )
    return kept[0], _counted(removed)


def metal_atom(mol: Chem.Mol) -> Chem.Atom | None:
    """The first atom of a metal that is no mere counter-ion."""
    for atom in mol.GetAtoms():
        if atom.GetSymbol() in METALS:
            if any(n.GetAtomicNum() == 6 for n in atom.GetNeighbors()):
                return atom  # a Grignard reagent, butyllithium
        elif atom.GetAtomicNum() and not _is_non_metal(atom.GetAtomicNum()):
            return atom
    return None


def _is_non_metal(number: int) -> bool:
    return number in (1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 32, 33, 34, 35, 36, 52, 53, 54, 85, 86)


def _ionic(mol: Chem.Mol) -> Chem.Mol:
    """Bonds to a metal counter-ion become charges: ``CC(=O)O[Na]`` is sodium acetate."""
    if not any(atom.GetSymbol() in METALS and atom.GetDegree() for atom in mol.GetAtoms()):
        return mol
    edited = Chem.RWMol(mol)
    for atom in list(edited.GetAtoms()):
        if atom.GetSymbol() not in METALS:
            continue
        for neighbour in list(atom.GetNeighbors()):
            order = int(edited.GetBondBetweenAtoms(atom.GetIdx(), neighbour.GetIdx()).GetBondTypeAsDouble())
            edited.RemoveBond(atom.GetIdx(), neighbour.GetIdx())
            neighbour.SetFormalCharge(neighbour.GetFormalCharge() - order)
            atom.SetFormalCharge(atom.GetFormalCharge() + order)
            atom.SetNumRadicalElectrons(0)
    with rdBase.BlockLogs():
        return edited.GetMol() if Chem.SanitizeMol(edited, catchErrors=True) == 0 else mol


def _counter_ion(part: Chem.Mol) -> str:
    """Name of a counter-ion or solvent, or an empty text."""
    if part.GetNumAtoms() == 1:
        atom = part.GetAtomWithIdx(0)
        if atom.GetSymbol() in METALS:
            return METALS[atom.GetSymbol()]
        if atom.GetSymbol() in _HALIDES and atom.GetFormalCharge() == -1:
            return _HALIDES[atom.GetSymbol()]
    return _names().get(_flat(part), "")


@functools.cache
def _names() -> dict[str, str]:
    return {_flat(Chem.MolFromSmiles(smiles)): name for smiles, name in COUNTER_IONS.items()}


def _flat(part: Chem.Mol) -> str:
    return Chem.MolToSmiles(_neutral_mol(part), isomericSmiles=False)


def _neutral(part: Chem.Mol) -> str:
    return Chem.MolToSmiles(_neutral_mol(part))


def _neutral_mol(part: Chem.Mol) -> Chem.Mol:
    part = Chem.Mol(part)
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(part, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            return part
        try:
            return Chem.RemoveHs(neutralised(part))
        except ValueError:  # an ion that has no neutral form
            return part


def _same(one: Chem.Mol, other: Chem.Mol) -> bool:
    return _flat(one) == _flat(other)


def _counted(names: list[str]) -> list[str]:
    return [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]


def _listed(names: list[str]) -> str:
    return ", ".join(_counted(names)) or "nothing"
