"""Which ligands hold a substructure."""

from __future__ import annotations

from rdkit import Chem, rdBase

from esr1md.dashboard.data import Screen

#: A longer pattern is not tried.
MOST_CHARACTERS = 400


def molecules_of(screen: Screen) -> dict[str, Chem.Mol]:
    """Ligand -> molecule, for those whose SMILES can be read."""
    with rdBase.BlockLogs():
        read = {name: Chem.MolFromSmiles(smiles) for name, smiles in screen.smiles.items()}
    return {name: molecule for name, molecule in read.items() if molecule is not None}


def pattern_of(smarts: str) -> Chem.Mol | None:
    """A SMARTS pattern; ``None`` if it is not one."""
    if not 0 < len(smarts) <= MOST_CHARACTERS:
        return None
    with rdBase.BlockLogs():
        return Chem.MolFromSmarts(smarts)


def holding(molecules: dict[str, Chem.Mol], pattern: Chem.Mol) -> list[str]:
    """Names of the ligands that hold ``pattern``."""
    return [name for name, molecule in molecules.items() if molecule.HasSubstructMatch(pattern)]
