"""One form of a compound for training and for asking: no salt, no charge that a proton would take away."""

from __future__ import annotations

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
    if any(a.GetAtomicNum() == 0 for a in mol.GetAtoms()):
        raise InputError(f"ligand '{row.name}': a dummy atom", where=where, expected="one whole compound")
    if len(Chem.GetMolFrags(mol)) > 1:
        mol, _ = without_salt(row.name, mol, where)
    if (metal := metal_atom(mol)) is not None:
        raise InputError(f"ligand '{row.name}': a compound of {metal.GetSymbol()}", where=where,
                         expected="an organic compound")  # fmt: skip
    with rdBase.BlockLogs():
        try:
            mol = Chem.RemoveHs(neutralised(mol) if Chem.GetFormalCharge(mol) or _charged(mol) else mol)
        except ValueError as error:
            raise InputError(f"ligand '{row.name}': its charges cannot be neutralised ({error})", where=where) from None
    if not 0 < mol.GetNumHeavyAtoms() <= MOST_ATOMS:
        raise InputError(f"ligand '{row.name}': {mol.GetNumHeavyAtoms()} heavy atoms", where=where,
                         expected=f"1 to {MOST_ATOMS}")  # fmt: skip
    return mol, Chem.MolToSmiles(mol)


def _charged(mol: Chem.Mol) -> bool:
    return any(atom.GetFormalCharge() for atom in mol.GetAtoms())


def standard_smiles(name: str, smiles: str, where: str = "") -> tuple[Chem.Mol, str]:
    """As :func:`standard_molecule`, of a SMILES."""
    return standard_molecule(InputRow(1, 1, name, smiles, "smiles"), where)
