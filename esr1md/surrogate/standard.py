"""One form of a compound for training and for asking: no salt, no charge that a proton would take away."""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem, rdBase

from esr1md.errors import InputError
from esr1md.ligand.molecules import InputRow, molecule_of
from esr1md.ligand.protonation import neutralised
from esr1md.ligand.salts import metal_atom, without_salt

#: Heavy atoms beyond which a compound is none that the surrogate can speak of (fulvestrant has 41, vepdegestrant 53).
MOST_ATOMS = 150


def standard_molecule(row: InputRow, where: str = "") -> tuple[Chem.Mol, str]:
    """The neutral parent of a row, and its canonical SMILES.

    Parameters
    ----------
    row
        From :func:`esr1md.ligand.inputs.open_input`.
    where
        For messages.

    Returns
    -------
    (mol, smiles)
        Hydrogens implicit, stereochemistry as drawn. Protonation states are dropped: assays are compared by compound,
        and tables draw them at will.

    Raises
    ------
    InputError
        The row cannot be read, is a mixture, a metal complex, or has more than :data:`MOST_ATOMS` heavy atoms.
    """
    mol = molecule_of(row, where)
    with rdBase.BlockLogs():
        if mol.HasSubstructMatch(_unusual()) or len(Chem.GetMolFrags(mol)) > 1:
            mol = Chem.RemoveHs(_neutral_parent(row.name, mol, where))
    if not 0 < mol.GetNumHeavyAtoms() <= MOST_ATOMS:
        raise InputError(f"ligand '{row.name}': {mol.GetNumHeavyAtoms()} heavy atoms", where=where,
                         expected=f"1 to {MOST_ATOMS}")  # fmt: skip
    return mol, Chem.MolToSmiles(mol)


def _neutral_parent(name: str, mol: Chem.Mol, where: str) -> Chem.Mol:
    """Without counter-ions and charges; what is no organic compound is refused."""
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise InputError(f"ligand '{name}': a dummy atom", where=where, expected="one whole compound")
    mol, _ = without_salt(name, mol, where)
    if (metal := metal_atom(mol)) is not None:
        raise InputError(f"ligand '{name}': a compound of {metal.GetSymbol()}", where=where,
                         expected="an organic compound")  # fmt: skip
    try:
        return neutralised(mol)
    except ValueError as error:
        raise InputError(f"ligand '{name}': its charges cannot be neutralised ({error})", where=where) from None


@lru_cache(maxsize=1)
def _unusual() -> Chem.Mol:
    """Dummy atoms, charges, written hydrogens and unusual elements: one look serves all rows that have none."""
    organic = (5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)
    return Chem.MolFromSmarts(f"[#0,!+0,{'&'.join(f'!#{number}' for number in organic)}]")


def standard_smiles(name: str, smiles: str, where: str = "") -> tuple[Chem.Mol, str]:
    """As :func:`standard_molecule`, of a SMILES."""
    return standard_molecule(InputRow(1, 1, name, smiles, "smiles"), where)
