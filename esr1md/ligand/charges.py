"""Partial charges of a ligand by the NAGL graph network (AM1-BCC quality, in milliseconds).

The model ``openff-gnn-am1bcc-1.0.0`` (Open Force Field Initiative) was trained on AM1-BCC charges averaged
over conformers (ELF10). Against sqm AM1-BCC of 4-hydroxytamoxifen(+1) its charges differ by 0.015 e (RMS).

The lookup table of tiny molecules (three heavy atoms or fewer) that the model file also carries is not
consulted: no ligand is that small.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from esr1md.errors import StageError
from esr1md.ligand.nagl_model import MODEL_NAME, NaglModel, atom_parameters, load_model
from esr1md.ligand.resonance import average_formal_charges

#: The nitrogen of indole, indazole, benzimidazole and carbazole: network and AM1-BCC differ by 0.4 e there, and
#: AM1-BCC's potential is the nearer to HF/6-31G*'s (docs/validation.md, "Charges").
_BENZO_NITROGEN = "[nX3;r5]:c1ccccc1"

METHOD = f"NAGL {MODEL_NAME} (AM1-BCC graph network)"


@dataclass(frozen=True)
class ChargeResult:
    """Charges (``n_atoms``, e) and what the reader should know of them (outside the training domain)."""

    charges: np.ndarray
    warnings: tuple[str, ...]


def nagl_charges(mol: Chem.Mol) -> np.ndarray:
    """Partial charges of each atom.

    Parameters
    ----------
    mol
        Molecule with every hydrogen explicit. No conformer is needed.

    Returns
    -------
    np.ndarray
        ``n_atoms`` charges (e); the sum is the formal charge to 1e-6.

    Raises
    ------
    StageError
        An element the network has no feature for, or missing hydrogens.
    """
    return charge_ligand(mol).charges


def charge_ligand(mol: Chem.Mol) -> ChargeResult:
    """As :func:`nagl_charges`, with the warnings of :func:`domain_warnings`."""
    if any(atom.GetNumImplicitHs() or atom.GetNumExplicitHs() for atom in mol.GetAtoms()):
        raise StageError("parameters", "charges need every hydrogen as an atom; call Chem.AddHs first")
    model = load_model()
    adjacency = Chem.GetAdjacencyMatrix(mol).astype(np.float32)
    neighbours = adjacency / adjacency.sum(axis=1, keepdims=True).clip(min=1.0)
    parameters = atom_parameters(model, atom_features(mol, model), neighbours).astype(float)
    total = Chem.GetFormalCharge(mol)
    charges = equilibrate(parameters[:, 0], parameters[:, 1], parameters[:, 2], total)
    # float32 weights leave a residue of some 1e-7 e; spread evenly it changes no charge that matters
    charges += (total - charges.sum()) / len(charges)
    return ChargeResult(equal_on_equal_atoms(mol, charges), domain_warnings(mol, model))


def equilibrate(
    initial: np.ndarray, electronegativity: np.ndarray, hardness: np.ndarray, total_charge: float
) -> np.ndarray:
    """Charges that minimise the electronegativity-equalisation energy for a fixed total charge.

    ``q_i = p_i - e_i/s_i + (1/s_i) (Q - sum(p - e/s)) / sum(1/s)`` (Gilson 2003; Wang 2019, eq. 15).

    Parameters
    ----------
    initial, electronegativity, hardness
        ``n`` values each: p (e), e and s (only e/s and ratios of s matter).
    total_charge
        Q (e).

    Returns
    -------
    np.ndarray
        ``n`` charges (e).
    """
    softness = 1.0 / hardness
    free = initial - electronegativity * softness
    return free + softness * (total_charge - free.sum()) / softness.sum()


def atom_features(mol: Chem.Mol, model: NaglModel) -> np.ndarray:
    """``n x 22`` features (float32): element, number of neighbours, average formal charge, rings of 3 to 6.

    Raises
    ------
    StageError
        An element or a number of neighbours the network has no column for.
    """
    average = average_formal_charges(mol)
    rows = []
    for atom in mol.GetAtoms():
        symbol, degree = atom.GetSymbol(), atom.GetDegree()
        if symbol not in model.elements or degree not in model.connectivities:
            raise StageError(
                "parameters",
                f"no charge model for {symbol} with {degree} neighbours "
                f"(atom {atom.GetIdx() + 1}); known: {', '.join(model.elements)}",
            )
        rows.append(
            [
                *(float(symbol == element) for element in model.elements),
                *(float(degree == n) for n in model.connectivities),
                average[atom.GetIdx()],
                *(float(atom.IsInRingSize(size)) for size in model.ring_sizes),
            ]
        )
    return np.array(rows, dtype=np.float32)


def domain_warnings(mol: Chem.Mol, model: NaglModel) -> tuple[str, ...]:
    """One sentence for each way the molecule leaves the chemistry that the network was trained on, or does well."""
    warnings = [
        f"charges: {atom.GetSymbol()} (atom {atom.GetIdx() + 1}) is outside the training domain of {MODEL_NAME}"
        for atom in mol.GetAtoms()
        if atom.GetAtomicNum() not in model.allowed_elements
    ]
    for smarts in model.forbidden_patterns:
        matches = mol.GetSubstructMatches(_pattern(smarts))
        if matches:
            atoms = ", ".join(str(i + 1) for i in matches[0])
            warnings.append(
                f"charges: the group {smarts} (atoms {atoms}) is outside the training domain of {MODEL_NAME}"
            )
    if matches := mol.GetSubstructMatches(_pattern(_BENZO_NITROGEN)):
        atoms = ", ".join(str(i) for i in sorted({match[0] + 1 for match in matches}))
        warnings.append(
            f"charges: nitrogen in a five-membered ring fused to benzene (atom {atoms}), where AM1-BCC charges are "
            "better than the network's; use charges: am1bcc"
        )
    return tuple(warnings)


@functools.cache
def _pattern(smarts: str) -> Chem.Mol:
    return Chem.MolFromSmarts(smarts)


def equal_on_equal_atoms(mol: Chem.Mol, charges: np.ndarray) -> np.ndarray:
    """Topologically equal atoms get exactly their mean: rounding alone sets them apart by some 1e-7 e."""
    classes = np.array(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
    result = charges.copy()
    for rank in np.unique(classes):
        result[classes == rank] = charges[classes == rank].mean()
    return result
