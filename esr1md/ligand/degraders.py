"""The end of a degrader (PROTAC) that binds an E3 ubiquitin ligase."""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem

#: Binders of cereblon (a glutarimide with nitrogen at C3) and of VHL (the benzylamide of an N-acyl hydroxyproline);
#: those of other ligases are not looked for.
BINDERS = ("O=C1CC[CX4]([#7])C(=O)[NX3]1", "O=C([NX3]Cc)[CX4]1C[CX4]([OX2H])CN1C=O")


def ligase_binder(mol: Chem.Mol) -> tuple[int, ...]:
    """Heavy atoms of the group that binds an E3 ligase; empty for a ligand without one."""
    return next((match for query in _queries() if (match := mol.GetSubstructMatch(query))), ())


@lru_cache(maxsize=1)
def _queries() -> tuple[Chem.Mol, ...]:
    return tuple(Chem.MolFromSmarts(smarts) for smarts in BINDERS)
