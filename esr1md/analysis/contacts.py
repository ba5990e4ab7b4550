"""What the ligand touches: hydrogen bonds, salt bridges and hydrophobic contacts with each residue, over frames.

Criteria (heavy-atom distances in angstrom): hydrogen bond 3.5 with donor-H-acceptor above 120 degrees, salt
bridge 4.0 between opposite charges, hydrophobic contact 4.5 between carbons, as in PLIP (Salentin 2015, doi
10.1093/nar/gkv315), rounded.
"""

from __future__ import annotations

import mdtraj
import numpy as np

from esr1md.analysis.helix12 import POLAR

HYDROGEN_BOND_ANGSTROM, HYDROGEN_BOND_DEGREES = 3.5, 120.0
SALT_BRIDGE_ANGSTROM = 4.0
HYDROPHOBIC_ANGSTROM = 4.5
_CATIONS = {("LYS", "NZ"), ("ARG", "NH1"), ("ARG", "NH2"), ("ARG", "NE"), ("HIP", "ND1"), ("HIP", "NE2")}
_ANIONS = {("ASP", "OD1"), ("ASP", "OD2"), ("GLU", "OE1"), ("GLU", "OE2")}

#: Residues that hold every classical ligand, always reported (P03372): the phenol clamp and the D-ring histidine.
ANCHORS = {"anchor_e353_angstrom": (353, ("OE1", "OE2")), "anchor_r394_angstrom": (394, ("NH1", "NH2", "NE")),
           "anchor_h524_angstrom": (524, ("ND1", "NE2"))}  # fmt: skip


def fingerprint(trajectory: mdtraj.Trajectory, ligand_charges: dict[int, int]) -> dict[str, dict[str, float]]:
    """Fraction of frames with each kind of contact, by residue.

    Parameters
    ----------
    trajectory
        Frames of the solute; the ligand is residue ``LIG``.
    ligand_charges
        Formal charge by atom index for the ligand's charged atoms.

    Returns
    -------
    dict
        ``{"GLU353": {"hydrogen bond": 0.95, "salt bridge": 0.0, "hydrophobic": 0.0}, ...}``, residues
        touched in no frame left out.
    """
    topology = trajectory.topology
    ligand = np.array([a.index for a in topology.atoms if a.residue.name == "LIG"])
    if not len(ligand):
        return {}
    result: dict[str, dict[str, float]] = {}
    near = _near_residues(trajectory, ligand, 0.6)
    for residue in near:
        kinds = {
            "hydrogen bond": _hydrogen_bond(trajectory, ligand, residue),
            "salt bridge": _salt_bridge(trajectory, ligand_charges, residue),
            "hydrophobic": _hydrophobic(trajectory, ligand, residue),
        }
        fractions = {kind: round(float(hit.mean()), 4) for kind, hit in kinds.items() if hit.any()}
        if fractions:
            result[f"{residue.name}{residue.resSeq}"] = fractions
    return result


def anchors(trajectory: mdtraj.Trajectory) -> dict[str, np.ndarray]:
    """Distance (n_frames,) in angstrom from the nearest ligand N or O to each anchor; NaN when there is none."""
    polar = [a.index for a in trajectory.topology.atoms if a.residue.name == "LIG" and a.element.symbol in ("N", "O")]
    return {
        name: _closest(trajectory, polar, _atoms_of(trajectory.topology, number, names))
        for name, (number, names) in ANCHORS.items()
    }


def basic_nitrogen_to_d351(trajectory: mdtraj.Trajectory, nitrogens: list[int]) -> np.ndarray:
    """Distance (n_frames,) in angstrom from the ligand's protonated nitrogen to the D351 carboxylate.

    NaN where it does not apply: a ligand without a basic nitrogen.
    """
    return _closest(trajectory, nitrogens, _atoms_of(trajectory.topology, 351, ("OD1", "OD2")))


def _atoms_of(topology: mdtraj.Topology, number: int, names: tuple[str, ...]) -> list[int]:
    return [
        atom.index
        for residue in topology.residues
        if residue.resSeq == number and residue.name != "LIG"
        for atom in residue.atoms
        if atom.name in names
    ]


def _closest(trajectory: mdtraj.Trajectory, first: list[int], second: list[int]) -> np.ndarray:
    """Shortest distance (n_frames,) in angstrom between two groups; NaN when one is empty."""
    pairs = np.array([[a, b] for a in first for b in second])
    if not len(pairs):
        return np.full(trajectory.n_frames, np.nan)
    return 10 * mdtraj.compute_distances(trajectory, pairs, periodic=False).min(axis=1)


def _near_residues(trajectory: mdtraj.Trajectory, ligand: np.ndarray, cutoff_nm: float) -> list:
    """Receptor residues with an atom within ``cutoff_nm`` of the ligand in any frame."""
    others = np.array([a.index for a in trajectory.topology.atoms if a.residue.name != "LIG"])
    found = np.unique(np.concatenate(mdtraj.compute_neighbors(trajectory, cutoff_nm, ligand, others, periodic=False)))
    wanted = {trajectory.topology.atom(int(i)).residue.index for i in found}
    return [trajectory.topology.residue(i) for i in sorted(wanted)]


def _hydrogens(topology: mdtraj.Topology) -> dict[int, list[int]]:
    attached: dict[int, list[int]] = {}
    for a, b in topology.bonds:
        for heavy, light in ((a, b), (b, a)):
            if light.element.symbol == "H" and heavy.element.symbol in ("N", "O", "S"):
                attached.setdefault(heavy.index, []).append(light.index)
    return attached


def _hydrogen_bond(trajectory: mdtraj.Trajectory, ligand: np.ndarray, residue) -> np.ndarray:
    topology = trajectory.topology
    attached = _hydrogens(topology)
    polar_ligand = [int(i) for i in ligand if topology.atom(int(i)).element.symbol in ("N", "O", "S", "F")]
    polar_residue = [a.index for a in residue.atoms if a.name in ("N", "O", *POLAR.get(residue.name, ()))]
    hit = np.zeros(trajectory.n_frames, dtype=bool)
    for donors, acceptors in ((polar_ligand, polar_residue), (polar_residue, polar_ligand)):
        triplets = [
            (donor, hydrogen, acceptor)
            for donor in donors
            for hydrogen in attached.get(donor, ())
            for acceptor in acceptors
            if _accepts(topology.atom(acceptor), attached)
        ]
        if not triplets:
            continue
        triplets = np.array(triplets)
        distance = 10 * mdtraj.compute_distances(trajectory, triplets[:, [0, 2]], periodic=False)
        angle = np.degrees(mdtraj.compute_angles(trajectory, triplets, periodic=False))
        hit |= ((distance <= HYDROGEN_BOND_ANGSTROM) & (angle >= HYDROGEN_BOND_DEGREES)).any(axis=1)
    return hit


def _accepts(atom, attached: dict[int, list[int]]) -> bool:
    """Whether an atom has a lone pair to give: any O, S or F, and a nitrogen without hydrogens."""
    return atom.element.symbol != "N" or atom.index not in attached


def _salt_bridge(trajectory: mdtraj.Trajectory, ligand_charges: dict[int, int], residue) -> np.ndarray:
    hit = np.zeros(trajectory.n_frames, dtype=bool)
    for sign, partners in ((1, _ANIONS), (-1, _CATIONS)):
        ours = [i for i, charge in ligand_charges.items() if charge * sign > 0]
        theirs = [a.index for a in residue.atoms if (residue.name, a.name) in partners]
        if ours and theirs:
            hit |= _closest(trajectory, ours, theirs) <= SALT_BRIDGE_ANGSTROM
    return hit


def _hydrophobic(trajectory: mdtraj.Trajectory, ligand: np.ndarray, residue) -> np.ndarray:
    carbons = [int(i) for i in ligand if trajectory.topology.atom(int(i)).element.symbol == "C"]
    theirs = [a.index for a in residue.atoms if a.element.symbol == "C" and a.name not in ("C", "CA")]
    if not carbons or not theirs:
        return np.zeros(trajectory.n_frames, dtype=bool)
    return _closest(trajectory, carbons, theirs) <= HYDROPHOBIC_ANGSTROM
