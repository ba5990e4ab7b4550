"""The coordinate frame every model, reference pose and user structure is put into.

The frame is that of the bundled antagonist model, which regeneration superposes on the crystal coordinates
of 3ERT chain A. Superposition uses the C-alpha atoms of the core of the ligand-binding domain: helices 3 to
10 without the loops that differ between crystals, and never helix 12, so that its movement is measured and
not fitted away.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np

from esr1md.catalogue import data_path
from esr1md.errors import InputError
from esr1md.specs import HelixState

#: P03372 numbers of the core: helices 3 to 10 (311-527) less the loops 330-341, 395-402, 408-421, 457-473
#: and 493-496, which move or are disordered between crystals.
CORE = tuple(
    number
    for first, last in ((311, 329), (342, 394), (403, 407), (422, 456), (474, 492), (497, 526))
    for number in range(first, last + 1)
)
#: Residues that say where helix 12 is.
HELIX12 = tuple(range(537, 545))
#: C-alpha RMSD (angstrom) of helix 12 to a reference up to which it is in that place. Crystals labelled agonist
#: or antagonist lie within 2 A of their reference; 6B0F, displaced, is 3.7 A from the antagonist one.
STATE_CUTOFF_ANGSTROM = 3.0

#: Residues that line the pocket in every liganded structure at hand (any atom within 4 A of estradiol, 4-OHT
#: or raloxifene): always mobile, so that all ligands and apo are simulated with at least the same freedom.
POCKET_RESIDUES = (
    343, 346, 347, 349, 350, 351, 353, 354, 383, 384, 387, 388, 391, 394, 404, 421, 424, 425, 428, 521, 524, 525,
)  # fmt: skip

_MINIMUM_CORE = 100


def bundled_model(name: str) -> Path:
    """Path of a bundled model: of a helix-12 state (``agonist``), or an alternative by name (``agonist-5WGD``)."""
    return data_path("structures") / "models" / f"{name}.pdb"


def alpha_carbons(chain: gemmi.Chain) -> dict[int, np.ndarray]:
    """C-alpha position (3, angstrom) of every residue of a chain, by its residue number."""
    return {residue.seqid.num: np.array(residue["CA"][0].pos.tolist()) for residue in chain if "CA" in residue}


@lru_cache(maxsize=4)
def model_alpha_carbons(pdb: Path) -> dict[int, np.ndarray]:
    """C-alpha positions (angstrom) of the first chain of a prepared model."""
    return alpha_carbons(gemmi.read_structure(str(pdb))[0][0])


def superpose(mobile: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Least-squares rotation and translation of ``mobile`` onto ``target`` (Kabsch 1976).

    Parameters
    ----------
    mobile, target
        Paired positions, n x 3.

    Returns
    -------
    rotation (3 x 3), translation (3), rmsd
        ``moved = mobile @ rotation.T + translation``; the RMSD is in the unit of the positions.
    """
    mobile_centre, target_centre = mobile.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((mobile - mobile_centre).T @ (target - target_centre))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left @ flip @ right).T
    translation = target_centre - rotation @ mobile_centre
    moved = mobile @ rotation.T + translation
    return rotation, translation, float(np.sqrt(((moved - target) ** 2).sum(axis=1).mean()))


def superpose_core(
    positions: dict[int, np.ndarray], reference: dict[int, np.ndarray], where: str = ""
) -> tuple[np.ndarray, np.ndarray, float]:
    """:func:`superpose` on the core C-alpha atoms present in both.

    Raises
    ------
    InputError
        If fewer than 100 core residues are shared.
    """
    shared = [number for number in CORE if number in positions and number in reference]
    if len(shared) < _MINIMUM_CORE:
        raise InputError(
            f"only {len(shared)} residues of the LBD core have a C-alpha atom", where=where,
            expected=f"at least {_MINIMUM_CORE} of {len(CORE)}", do="use a more complete structure",
        )  # fmt: skip
    return superpose(np.array([positions[n] for n in shared]), np.array([reference[n] for n in shared]))


def helix12_distances(positions: dict[int, np.ndarray]) -> dict[str, float]:
    """C-alpha RMSD (angstrom) of helix 12 (537-544) to its place in the agonist and the antagonist model.

    The one measure of the helix-12 state: models, users' structures and simulated frames are all judged by it.

    Parameters
    ----------
    positions
        P03372 residue number -> C-alpha position (3, angstrom), in any frame.

    Returns
    -------
    dict
        ``agonist`` and ``antagonist`` after superposition of the core; empty if a residue of helix 12 has no
        C-alpha atom.

    Raises
    ------
    InputError
        If fewer than 100 core residues are present.
    """
    if any(number not in positions for number in HELIX12):
        return {}
    rotation, translation, _ = superpose_core(positions, model_alpha_carbons(bundled_model("antagonist")))
    moved = np.array([positions[n] for n in HELIX12]) @ rotation.T + translation
    return {state: float(rmsd_without_fit(moved, helix12_place(state))) for state in ("agonist", "antagonist")}


@lru_cache(maxsize=2)
def helix12_place(state: str) -> np.ndarray:
    """C-alpha positions (8 x 3, angstrom) of helix 12 in the ``agonist`` or the ``antagonist`` model."""
    reference = model_alpha_carbons(bundled_model(state))
    return np.array([reference[n] for n in HELIX12])


def rmsd_without_fit(positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """RMSD of ``positions`` (... x n x 3) to ``target`` (n x 3) as they lie, per leading index."""
    return np.sqrt(((positions - target) ** 2).sum(axis=-1).mean(axis=-1))


def classify(rmsd_agonist: np.ndarray, rmsd_antagonist: np.ndarray) -> np.ndarray:
    """State of helix 12 from its two RMSD (angstrom): the nearer place if within 3 A, else displaced."""
    nearest = np.where(rmsd_agonist < rmsd_antagonist, HelixState.AGONIST.value, HelixState.ANTAGONIST.value)
    return np.where(
        np.minimum(rmsd_agonist, rmsd_antagonist) <= STATE_CUTOFF_ANGSTROM, nearest, HelixState.DISPLACED.value
    )


def helix12_state(positions: dict[int, np.ndarray]) -> HelixState | None:
    """State of helix 12 in one structure (C-alpha positions by number, angstrom); ``None`` without helix 12."""
    distances = helix12_distances(positions)
    return HelixState(str(classify(**{f"rmsd_{k}": v for k, v in distances.items()}))) if distances else None
