"""Where helix 12 is, frame by frame, and what holds it there.

All frames are superposed on the C-alpha atoms of the LBD core (helices 3 to 10, never helix 12 itself), then
helix 12 is compared with its place in the bundled agonist and antagonist models. Columns of one replica:

===========================  ===================================================================================
column                       what it is
===========================  ===================================================================================
h12_rmsd_agonist_angstrom    C-alpha RMSD of helix 12 (537-544) to its active place; ``_antagonist_`` to the other
helix12_angstrom             the first less the second: below 0 nearer the active place
h12_state                    ``agonist``, ``antagonist`` or ``displaced`` (farther than 3 A from both)
h12_state_margin_angstrom    how far the frame is from another label
h12_helicity                 share of residues 536-544 that DSSP calls helical
loop_end_to_end_angstrom     C-alpha distance of 527 and 536, the ends of the H11-H12 loop
latch_537_NNN_angstrom       shortest polar distance of residue 537 to D351, N348, E380
clamp_362_542_angstrom       K362 to E542, between which a coactivator's helix is held (AF-2)
h12_groove_area_angstrom2    area that helix 12 and the AF-2 groove hide from water by touching
===========================  ===================================================================================

and one number for a replica: ``loop_rmsf_angstrom``, ``h12_rmsf_angstrom`` and ``h12_core_rmsf_ratio``
(:func:`fluctuations`). The ligand's own (D351 to its basic nitrogen, anchors, RMSD, contacts) are in :mod:`contacts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import mdtraj
import numpy as np

from esr1md.errors import StageError
from esr1md.receptor.frame import (
    CORE,
    HELIX12,
    STATE_CUTOFF_ANGSTROM,
    bundled_model,
    classify,
    helix12_place,
    model_alpha_carbons,
    rmsd_without_fit,
)
from esr1md.specs import HelixState

HELIX_RESIDUES = tuple(range(536, 545))
LOOP_RESIDUES = tuple(range(527, 537))

#: Lining of the AF-2 groove (helices 3, 4 and 5), which a coactivator's LXXLL helix fills in the agonist state and
#: helix 12 in the antagonist state (Shiau et al., Cell 95, 927 (1998)).
AF2_GROOVE = (354, 355, 358, 359, 362, 367, 372, 375, 376, 379, 380)
#: The two ends of the groove's charge clamp (Shiau 1998).
CLAMP = (("LYS", 362, ("NZ",)), ("GLU", 542, ("OE1", "OE2")))

#: Polar side-chain atoms a residue can hydrogen-bond with, for the latches.
POLAR = {
    "TYR": ("OH",), "SER": ("OG",), "ASN": ("OD1", "ND2"), "ASP": ("OD1", "OD2"), "CYS": ("SG",), "THR": ("OG1",),
    "GLU": ("OE1", "OE2"), "GLN": ("OE1", "NE2"), "HIS": ("ND1", "NE2"), "HID": ("ND1", "NE2"),
    "HIE": ("ND1", "NE2"), "HIP": ("ND1", "NE2"), "LYS": ("NZ",), "ARG": ("NE", "NH1", "NH2"), "ASH": ("OD1", "OD2"),
    "GLH": ("OE1", "OE2"), "TRP": ("NE1",),
}  # fmt: skip
#: Partners of residue 537: D351 locks the agonist place, E380 the antagonist one (Fanning 2016, 2018).
LATCHES = {351: "latch_537_351_angstrom", 348: "latch_537_348_angstrom", 380: "latch_537_380_angstrom"}


@dataclass(frozen=True)
class Helix12Reference:
    """Reference positions (nm) in the common frame: ``core`` (n, 3) by ``core_numbers``, helix 12 (8, 3) per state."""

    core_numbers: tuple[int, ...]
    core: np.ndarray
    agonist: np.ndarray
    antagonist: np.ndarray


@lru_cache(maxsize=1)
def reference() -> Helix12Reference:
    """The bundled models' core and helix-12 C-alpha atoms."""
    antagonist = model_alpha_carbons(bundled_model(HelixState.ANTAGONIST))
    numbers = tuple(n for n in CORE if n in antagonist)
    return Helix12Reference(
        numbers,
        np.array([antagonist[n] for n in numbers]) / 10,
        helix12_place(HelixState.AGONIST) / 10,
        helix12_place(HelixState.ANTAGONIST) / 10,
    )


def residue_atoms(topology: mdtraj.Topology, numbers: tuple[int, ...], name: str) -> dict[int, int]:
    """Atom index by P03372 residue number for the receptor's atoms called ``name``."""
    wanted = set(numbers)
    return {
        atom.residue.resSeq: atom.index
        for atom in topology.atoms
        if atom.name == name and atom.residue.resSeq in wanted and atom.residue.name != "LIG"
    }


def superpose_on_core(trajectory: mdtraj.Trajectory) -> mdtraj.Trajectory:
    """The trajectory moved, frame by frame, onto the reference core (in place; returned for chaining).

    Raises
    ------
    StageError
        Fewer than 100 core residues are present.
    """
    target = reference()
    found = residue_atoms(trajectory.topology, target.core_numbers, "CA")
    shared = [n for n in target.core_numbers if n in found]
    if len(shared) < 100:
        raise StageError("analysis", f"only {len(shared)} residues of the LBD core are in the trajectory")
    rows = [target.core_numbers.index(n) for n in shared]
    frame = trajectory[0]
    frame.xyz[0, [found[n] for n in shared]] = target.core[rows]
    return trajectory.superpose(frame, atom_indices=[found[n] for n in shared])


def helix12_rmsd(trajectory: mdtraj.Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """C-alpha RMSD (angstrom) of residues 537-544 to the agonist and the antagonist reference.

    Parameters
    ----------
    trajectory
        Already superposed by :func:`superpose_on_core`.

    Returns
    -------
    agonist, antagonist : (n_frames,)

    Raises
    ------
    StageError
        Helix 12 is incomplete.
    """
    found = residue_atoms(trajectory.topology, HELIX12, "CA")
    missing = [n for n in HELIX12 if n not in found]
    if missing:
        raise StageError("analysis", f"helix 12 is incomplete: residues {missing} are missing")
    positions = trajectory.xyz[:, [found[n] for n in HELIX12]]
    return tuple(10 * rmsd_without_fit(positions, place) for place in (reference().agonist, reference().antagonist))


def helicity(trajectory: mdtraj.Trajectory) -> np.ndarray:
    """Fraction (n_frames,) of residues 536-544 that DSSP calls helical (H, G or I).

    Source: Kabsch and Sander, Biopolymers 1983, 22, 2577, as implemented by mdtraj.
    """
    numbers = range(HELIX_RESIDUES[0] - 5, HELIX_RESIDUES[-1] + 6)
    atoms = [
        atom.index
        for atom in trajectory.topology.atoms
        if atom.residue.resSeq in numbers and atom.residue.is_protein and atom.residue.name != "LIG"
    ]
    part = trajectory.atom_slice(atoms)
    assigned = mdtraj.compute_dssp(part, simplified=True)
    columns = [r.index for r in part.topology.residues if r.resSeq in HELIX_RESIDUES]
    return (assigned[:, columns] == "H").mean(axis=1)


def loop_end_to_end(trajectory: mdtraj.Trajectory) -> np.ndarray:
    """Distance (n_frames,) in angstrom between the C-alpha atoms of 527 and 536, the ends of the H11-H12 loop."""
    found = residue_atoms(trajectory.topology, (LOOP_RESIDUES[0], LOOP_RESIDUES[-1]), "CA")
    ends = np.array([[found[LOOP_RESIDUES[0]], found[LOOP_RESIDUES[-1]]]])
    return 10 * mdtraj.compute_distances(trajectory, ends, periodic=False)[:, 0]


def rmsf(trajectory: mdtraj.Trajectory, numbers: tuple[int, ...]) -> float:
    """Root-mean-square fluctuation (angstrom) of C-alpha atoms about their mean, over frames and residues."""
    found = residue_atoms(trajectory.topology, numbers, "CA")
    positions = trajectory.xyz[:, list(found.values())]
    return float(10 * np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=-1).mean()))


def latches(trajectory: mdtraj.Trajectory) -> dict[str, np.ndarray]:
    """Shortest polar distance (n_frames,) in angstrom from residue 537 to each latch partner.

    A residue without a polar side-chain atom (a mutant such as Y537F) has no latch: NaN.
    """
    residues = {r.resSeq: r for r in trajectory.topology.residues if r.name != "LIG"}

    def polar(number: int) -> list[int]:
        residue = residues.get(number)
        wanted = POLAR.get(residue.name, ()) if residue else ()
        return [atom.index for atom in residue.atoms if atom.name in wanted] if residue else []

    result = {}
    for partner, column in LATCHES.items():
        pairs = np.array([[a, b] for a in polar(537) for b in polar(partner)])
        if len(pairs):
            result[column] = 10 * mdtraj.compute_distances(trajectory, pairs, periodic=False).min(axis=1)
        else:
            result[column] = np.full(trajectory.n_frames, np.nan)
    return result


def state_margin(rmsd_agonist: np.ndarray, rmsd_antagonist: np.ndarray) -> np.ndarray:
    """How far (angstrom, >= 0) a frame is from another label: to the 3 A limit, or to being as near the other place."""
    to_limit = STATE_CUTOFF_ANGSTROM - np.minimum(rmsd_agonist, rmsd_antagonist)
    return np.where(to_limit < 0, -to_limit, np.minimum(to_limit, np.abs(rmsd_agonist - rmsd_antagonist)))


def clamp_distance(trajectory: mdtraj.Trajectory) -> np.ndarray:
    """Shortest distance (n_frames,) in angstrom of K362's ammonium to E542's carboxylate; NaN if either is mutated."""
    ends = []
    for name, number, atoms in CLAMP:
        ends.append(
            [
                atom.index
                for residue in trajectory.topology.residues
                if (residue.resSeq, residue.name) == (number, name)
                for atom in residue.atoms
                if atom.name in atoms
            ]
        )
    pairs = np.array([[a, b] for a in ends[0] for b in ends[1]])
    if not len(pairs):
        return np.full(trajectory.n_frames, np.nan)
    return 10 * mdtraj.compute_distances(trajectory, pairs, periodic=False).min(axis=1)


def groove_area(trajectory: mdtraj.Trajectory, points: int = 96) -> np.ndarray:
    """Area (n_frames,) in square angstrom that helix 12 (536-544) and the AF-2 groove hide from water by touching.

    Surface of each alone less that of both together, halved: per side, as interfaces are usually given. Shrake and
    Rupley with ``points`` points on each atom's sphere and a probe of 1.4 A, as implemented by mdtraj; one frame at a
    time, since its areas of later frames depend on the earlier ones of a call (mdtraj 1.11).
    """
    parts = [
        {
            atom.index
            for residue in trajectory.topology.residues
            if residue.resSeq in numbers and residue.is_protein and residue.name != "LIG"
            for atom in residue.atoms
        }
        for numbers in (HELIX_RESIDUES, AF2_GROOVE)
    ]

    def area(atoms: set[int]) -> np.ndarray:
        part = trajectory.atom_slice(sorted(atoms))
        return 100 * np.array([mdtraj.shrake_rupley(frame, n_sphere_points=points).sum() for frame in part])

    return (area(parts[0]) + area(parts[1]) - area(parts[0] | parts[1])) / 2


def fluctuations(trajectory: mdtraj.Trajectory) -> dict[str, float]:
    """RMSF (angstrom) of the H11-H12 loop and of helix 12 over the frames, and helix 12's as a multiple of the core's.

    ``h12_core_rmsf_ratio`` is NaN where the core does not move (one frame).
    """
    core = rmsf(trajectory, reference().core_numbers)
    own = rmsf(trajectory, HELIX12)
    return {
        "loop_rmsf_angstrom": rmsf(trajectory, LOOP_RESIDUES),
        "h12_rmsf_angstrom": own,
        "h12_core_rmsf_ratio": own / core if core > 1e-3 else float("nan"),
    }


def measure(trajectory: mdtraj.Trajectory) -> dict[str, np.ndarray]:
    """Every per-frame helix-12 column of an observation, on a trajectory superposed on the core."""
    agonist, antagonist = helix12_rmsd(trajectory)
    return {
        "h12_rmsd_agonist_angstrom": agonist,
        "h12_rmsd_antagonist_angstrom": antagonist,
        "helix12_angstrom": agonist - antagonist,
        "h12_state": classify(agonist, antagonist),
        "h12_state_margin_angstrom": state_margin(agonist, antagonist),
        "h12_helicity": helicity(trajectory),
        "loop_end_to_end_angstrom": loop_end_to_end(trajectory),
        **latches(trajectory),
        "clamp_362_542_angstrom": clamp_distance(trajectory),
        "h12_groove_area_angstrom2": groove_area(trajectory),
    }
