"""What must stand beside a ligand wherever it is shown: a doubtful structure, and what is not modelled of it."""

from __future__ import annotations

from functools import lru_cache

from esr1md.specs import Ligand

LOW_CONFIDENCE = "low-confidence structure"
NO_STRUCTURE = "no known structure"
TERNARY = "ternary complex not modelled"


def labels(ligand: Ligand) -> tuple[str, ...]:
    """The labels of a ligand, in short phrases; see :func:`labels_of`."""
    return labels_of(ligand.smiles, ligand.drug_class, ligand.confidence)


@lru_cache(maxsize=4096)
def labels_of(smiles: str | None, drug_class: str, confidence: str) -> tuple[str, ...]:
    """The labels of a compound from its structure, class and the confidence in its structure.

    Parameters
    ----------
    smiles
        Its structure; ``None`` where none is known.
    drug_class
        A class that holds the word ``PROTAC`` is taken at its word; other degraders are known by their ligase binder.
    confidence
        ``high``, ``medium``, ``low`` or ``user``.

    Returns
    -------
    tuple of str
        Empty for an ordinary ligand.
    """
    if not smiles:
        return (NO_STRUCTURE,)
    from rdkit import Chem  # costs 0.2 s, which a command that shows no ligand need not pay

    from esr1md.ligand.degraders import ligase_binder
    from esr1md.ligand.warheads import find_warheads

    mol = Chem.MolFromSmiles(smiles)
    said = [LOW_CONFIDENCE] if confidence == "low" else []
    if "PROTAC" in drug_class.upper().replace("/", " ").split() or ligase_binder(mol):
        said.append(TERNARY)
    if groups := dict.fromkeys(warhead.group for warhead in find_warheads(mol)):
        said.append(f"covalent warhead ({', '.join(groups)}), no bond to the receptor modelled")
    return tuple(said)
