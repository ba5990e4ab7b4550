"""A cell as numbers: ligand, variant and helix-12 state, each described by what a chemist would name.

Variants are described by what changes (hydropathy, volume, charge, helix propensity) and where (how near the
pocket and helix 12), never by name, so that a mutation not simulated can be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors

from esr1md.receptor.frame import HELIX12, bundled_model, model_alpha_carbons
from esr1md.receptor.sequence import parse_variant
from esr1md.specs import HelixState, Ligand
from esr1md.surrogate.affinity import AffinityModel
from esr1md.surrogate.standard import standard_smiles

DESCRIPTORS = (
    "heavy_atoms", "log_p", "polar_surface", "donors", "acceptors", "rotatable_bonds", "rings", "aromatic_rings",
    "fraction_sp3", "basic_nitrogens", "carboxylic_acids",
)  # fmt: skip
PLACES = ("pocket", "h12_agonist", "h12_antagonist")
CHANGES = ("mutated", "hydropathy", "volume", "charge", "helix_propensity")
#: What its empty receptor showed in the simulations, mutant less wild type, agonist state (ReplicaObservation.summary).
APO_METRICS = ("helix12_angstrom", "h12_core_rmsf_ratio", "latch_537_351_angstrom")
VARIANT_FEATURES = (
    *(f"{place}_{change}" for place in PLACES for change in CHANGES), "mutations", "deletions",
    *(f"apo_{metric}" for metric in APO_METRICS), "apo_measured",
)  # fmt: skip
STATES = tuple(str(state) for state in HelixState)

#: Residues within 4.5 A of 4-hydroxytamoxifen in 3ERT chain A.
POCKET = (
    343, 346, 347, 349, 350, 351, 353, 383, 384, 387, 388, 391, 394, 404, 419, 420, 421, 424, 428, 521, 524, 525,
)  # fmt: skip

#: Distance (angstrom, between C-alpha atoms) over which the influence of a mutation falls by e.
REACH_ANGSTROM = 6.0

#: Hydropathy (Kyte & Doolittle, J. Mol. Biol. 157, 105 (1982)).
HYDROPATHY = {
    "I": 4.5, "V": 4.2, "L": 3.8, "F": 2.8, "C": 2.5, "M": 1.9, "A": 1.8, "G": -0.4, "T": -0.7, "S": -0.8,
    "W": -0.9, "Y": -1.3, "P": -1.6, "H": -3.2, "E": -3.5, "Q": -3.5, "D": -3.5, "N": -3.5, "K": -3.9, "R": -4.5,
}  # fmt: skip
#: Volume of the residue (cubic angstrom; Zamyatnin, Prog. Biophys. Mol. Biol. 24, 107 (1972)).
VOLUME = {
    "G": 60.1, "A": 88.6, "S": 89.0, "C": 108.5, "D": 111.1, "P": 112.7, "N": 114.1, "T": 116.1, "E": 138.4,
    "V": 140.0, "Q": 143.8, "H": 153.2, "M": 162.9, "I": 166.7, "L": 166.7, "K": 168.6, "R": 173.4, "F": 189.9,
    "Y": 193.6, "W": 227.8,
}  # fmt: skip
#: Charge at pH 7.4 (e).
CHARGE = {"D": -1.0, "E": -1.0, "K": 1.0, "R": 1.0}
#: Free energy of being in a helix, alanine = 0 (kcal/mol; Pace & Scholtz, Biophys. J. 75, 422 (1998)).
HELIX_PROPENSITY = {
    "A": 0.0, "L": 0.21, "R": 0.21, "M": 0.24, "K": 0.26, "Q": 0.39, "E": 0.40, "I": 0.41, "W": 0.49, "S": 0.50,
    "Y": 0.53, "F": 0.54, "H": 0.61, "V": 0.61, "N": 0.65, "T": 0.66, "C": 0.68, "D": 0.69, "G": 1.0, "P": 3.16,
}  # fmt: skip


def ligand_features(ligand: Ligand | None, affinity: AffinityModel) -> np.ndarray:
    """:func:`parent_features` of one ligand.

    Parameters
    ----------
    ligand
        ``None`` for apo: all NaN, which the model reads as "like the average ligand" and tells apart by a flag.

    Returns
    -------
    (L,) float64

    Raises
    ------
    InputError
        If RDKit cannot read the SMILES (ligands are checked where they enter).
    """
    if ligand is None:
        return np.full(n_ligand_features(affinity), np.nan)
    parent, smiles = standard_smiles(ligand.name, ligand.smiles)
    return parent_features([parent], [smiles], affinity)[0]


def parent_features(
    molecules: Sequence[Chem.Mol], smiles: Sequence[str], affinity: AffinityModel, predicted: np.ndarray | None = None
) -> np.ndarray:
    """What the affinity model makes of n compounds, and descriptors that a chemist would name.

    Parameters
    ----------
    molecules, smiles
        Neutral parents (:mod:`esr1md.surrogate.standard`).
    affinity
        Its message passing encodes the ligands.
    predicted : (n,)
        Their predicted pChEMBL, if at hand.

    Returns
    -------
    (n, L) float64
        The molecule's vector in every member, its predicted pChEMBL, :data:`DESCRIPTORS`.
    """
    predicted = affinity.predict(molecules, smiles).value if predicted is None else predicted
    described = np.array([_descriptors(mol) for mol in molecules], dtype=float).reshape(-1, len(DESCRIPTORS))
    return np.concatenate([affinity.vectors(smiles), predicted[:, None], described], axis=1)


def _descriptors(mol: Chem.Mol) -> list[float]:
    basic, acid = _charged_groups()
    return [
        mol.GetNumHeavyAtoms(),
        Crippen.MolLogP(mol),
        rdMolDescriptors.CalcTPSA(mol),
        rdMolDescriptors.CalcNumHBD(mol),
        rdMolDescriptors.CalcNumHBA(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
        rdMolDescriptors.CalcNumRings(mol),
        rdMolDescriptors.CalcNumAromaticRings(mol),
        rdMolDescriptors.CalcFractionCSP3(mol),
        len(mol.GetSubstructMatches(basic)),
        len(mol.GetSubstructMatches(acid)),
    ]


@lru_cache(maxsize=1)
def _charged_groups() -> tuple[Chem.Mol, Chem.Mol]:
    """Patterns of what is charged at pH 7.4, in the neutral parent: alkyl amines, carboxylic acids."""
    return (
        Chem.MolFromSmarts("[NX3;!$(N~[!#6;!#1]);!$(N[#6]=,:[*]);!$(N[#6]#[*])]"),
        Chem.MolFromSmarts("C(=O)[OX2H1]"),
    )


def n_ligand_features(affinity: AffinityModel) -> int:
    """Length of :func:`ligand_features`."""
    return affinity.vector_length + 1 + len(DESCRIPTORS)


def variant_features(variant: str, apo: Sequence[float] | None = None) -> np.ndarray:
    """What a variant changes, weighted by its nearness to pocket and helix 12, and what its empty receptor showed.

    For each place of :data:`PLACES`, the sum over mutations of ``exp(-d / REACH_ANGSTROM)`` times 1 and the change
    of each property (a deletion loses the whole residue), with d the least C-alpha distance in the
    bundled model; then the numbers of mutations and of deletions; then ``apo``, the change of :data:`APO_METRICS` from
    the wild type (0 where it was not simulated, which the last feature tells).

    Returns
    -------
    (len(VARIANT_FEATURES),) float64
        Zeros for the wild type.
    """
    mutations = parse_variant(variant).mutations
    totals = np.zeros((len(PLACES), len(CHANGES)))
    for mutation in mutations:
        change = [1.0]
        for table, scale in ((HYDROPATHY, 4.5), (VOLUME, 100.0), (CHARGE, 1.0), (HELIX_PROPENSITY, 1.0)):
            new = table.get(mutation.mutant, 0.0) if mutation.mutant else 0.0
            change.append((new - table.get(mutation.wild, 0.0)) / scale)
        nearness = np.exp(-distances(mutation.position) / REACH_ANGSTROM)
        totals += nearness[:, None] * np.array(change)
    deletions = sum(not m.mutant for m in mutations)
    shown = np.zeros(len(APO_METRICS) + 1)
    if apo is not None and mutations:
        shown[:] = [*apo, 1.0]
    return np.concatenate([totals.ravel(), [len(mutations), deletions], shown])


@lru_cache(maxsize=512)
def distances(position: int) -> np.ndarray:
    """Least C-alpha distance (angstrom) of a residue to each of :data:`PLACES`: (3,).

    The pocket's is measured in the antagonist model. A residue that the models lack stands where its nearest
    modelled neighbour in sequence does.
    """
    antagonist = model_alpha_carbons(bundled_model(HelixState.ANTAGONIST))
    agonist = model_alpha_carbons(bundled_model(HelixState.AGONIST))
    found = []
    for model, targets in ((antagonist, POCKET), (agonist, HELIX12), (antagonist, HELIX12)):
        here = model[min(model, key=lambda number: abs(number - position))]
        found.append(min(float(np.linalg.norm(model[number] - here)) for number in targets if number in model))
    return np.array(found)


def state_features(state: str) -> np.ndarray:
    """One-hot helix-12 state: (3,), in the order of :data:`STATES`."""
    return np.array([float(state == known) for known in STATES])
