"""Which two ligands a transfer is between, how one lies on the other, and both in one receptor.

A pair is refused where the method would give a number that is wrong, not merely uncertain. What is kept has a common
core, whose poses must lie on each other: the restraints of :mod:`esr1md.dynamics.atm` hold them so.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from esr1md.complex import LIGAND_RESIDUE, Complex
from esr1md.dynamics.atm import Transfer, TransferSystem, transfer_system
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.region import simulated
from esr1md.errors import InputError, StageError
from esr1md.ligand.labels import TERNARY, labels
from esr1md.ligand.molecules import write_sdf
from esr1md.ligand.parameters import CONFORMER_SEED, LigandParameters
from esr1md.ligand.warheads import find_warheads
from esr1md.poses.growth import rigid_pieces
from esr1md.poses.placement import common_core, conformers
from esr1md.specs import Ligand

#: The poses of two ligands may differ by this (angstrom, RMSD of their common core): the restraints hold them together.
MOST_CORE_RMSD = 2.0
#: Conformers that are tried to lay a ligand on another's pose.
_CONFORMERS = 40


def check_ligands(first: Ligand, second: Ligand) -> None:
    """Refuse a pair whose relative free energy this method would give wrongly.

    Raises
    ------
    InputError
        Different net charges, a covalent warhead, or a degrader.
    """
    where = f"edge {first.name} - {second.name}"
    if first.formal_charge != second.formal_charge:
        raise InputError(
            f"net charges {first.formal_charge:+d} and {second.formal_charge:+d} differ",
            where=where,
            expected="ligands of one net charge: in implicit solvent the error of a charge's own solvation (several "
            "kcal/mol) would be the answer",
            do="compare each with ligands of its own charge, or simulate both in one protonation state",
        )
    for ligand in (first, second):
        if groups := dict.fromkeys(w.group for w in find_warheads(Chem.MolFromSmiles(ligand.smiles))):
            raise InputError(
                f"{ligand.name} has a covalent warhead ({', '.join(groups)}), and its bond to the receptor is not "
                "modelled: the number would be of the complex before the bond",
                where=where,
                do="leave it out of the network",
            )
        if TERNARY in labels(ligand):
            raise InputError(
                f"{ligand.name} is a degrader: its ternary complex is not modelled, and its size keeps a transfer from "
                "converging",
                where=where,
                do="leave it out of the network",
            )


def check_protocol(protocol: Protocol) -> None:
    """Refuse a protocol that a transfer cannot be run with.

    Raises
    ------
    InputError
        Another solvent than ``obc2``, or a helix-12 bias.
    """
    where = f"protocol {protocol.name}"
    if protocol.solvent.model != "obc2":
        raise InputError(
            f"solvent {protocol.solvent.model} cannot be used for relative free energies",
            where=where,
            expected="obc2: in a box the ligand would need room in the water, and gbn2 is a custom force",
            do="write 'model: obc2' under solvent, without a cutoff",
        )
    if protocol.production.helix12_bias is not None:
        raise InputError("helix12_bias and a transfer of ligands exclude each other", where=where, do="take one out")


@dataclass(frozen=True)
class Core:
    """What two ligands have in common, and how far their poses are apart there.

    Attributes
    ----------
    pairs
        (atom of the first, atom of the second), heavy atoms only.
    anchors
        Three of the pairs that are not in a line and keep their shape: each ligand's frame.
    rmsd_angstrom
        Of the pairs, without superposition.
    """

    pairs: tuple[tuple[int, int], ...]
    anchors: tuple[tuple[int, int], ...]
    rmsd_angstrom: float


def common_frame(first: Chem.Mol, second: Chem.Mol, names: tuple[str, str] = ("first", "second")) -> Core:
    """The common core of two posed ligands and the frames by which they are aligned.

    Of the ways to lay a symmetric core on the other the one is taken that their poses already have.

    Parameters
    ----------
    first, second
        Posed in the same site, coordinates in angstrom.
    names
        For the message.

    Raises
    ------
    InputError
        Fewer than six heavy atoms in common, nothing rigid in it, or poses that lie apart.
    """
    where = f"edge {names[0]} - {names[1]}"
    ways = _laid(first, second)
    if not ways:
        raise InputError(
            f"{names[0]} and {names[1]} have no common core",
            where=where,
            expected="six heavy atoms, whole rings, that both have",
            do="join them by a ligand that has a core in common with each",
        )
    here, there = (mol.GetConformer().GetPositions() for mol in (first, second))

    def apart(way: Sequence[tuple[int, int]]) -> float:
        i, j = np.array(way).T
        return float(np.sqrt(((here[i] - there[j]) ** 2).sum(axis=1).mean()))

    best = min(ways, key=apart)
    if apart(best) > MOST_CORE_RMSD:
        raise InputError(
            f"the common cores of the poses of {names[0]} and {names[1]} lie {apart(best):.1f} A apart",
            where=where,
            expected=f"at most {MOST_CORE_RMSD:g} A",
            do=f"lay {names[1]} on the pose of {names[0]}, or join them by a ligand whose pose is between theirs",
        )
    return Core(tuple(best), _anchors(first, second, here, best, where), apart(best))


def _laid(first: Chem.Mol, second: Chem.Mol) -> list[list[tuple[int, int]]]:
    """Every way to lay the heavy skeleton that two molecules share on the second, whatever the elements."""
    found = common_core(first, second, limit=1)
    if not found:
        return []
    atoms = [i for i, _ in found[0]]
    skeleton = Chem.RWMol()
    for _ in atoms:
        skeleton.AddAtom(Chem.AtomFromSmarts("[!#1]"))
    for bond in first.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if i in atoms and j in atoms:
            skeleton.AddBond(atoms.index(i), atoms.index(j), Chem.BondType.ZERO)
            skeleton.ReplaceBond(skeleton.GetNumBonds() - 1, Chem.BondFromSmarts("~"))
    matches = second.GetSubstructMatches(skeleton, uniquify=False, maxMatches=2000)
    return [list(zip(atoms, match, strict=True)) for match in matches]


def _anchors(
    first: Chem.Mol, second: Chem.Mol, xyz: np.ndarray, pairs: Sequence[tuple[int, int]], where: str
) -> tuple[tuple[int, int], ...]:
    """Three pairs in one rigid piece of either ligand, as far from a line as there are; the first is the middle one."""
    piece, other = rigid_pieces(first)[0], rigid_pieces(second)[0]
    together: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j in pairs:
        together.setdefault((piece[i], other[j]), []).append((i, j))
    rigid = max(together.values(), key=len)
    if len(rigid) >= 3:
        points = xyz[[i for i, _ in rigid]]
        origin = int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))
        arms = points - points[origin]
        far = int(np.argmax(np.linalg.norm(arms, axis=1)))
        axis = arms[far] / np.linalg.norm(arms[far])
        off = np.linalg.norm(arms - np.outer(arms @ axis, axis), axis=1)
        if off.max() > 0.5:
            return rigid[origin], rigid[far], rigid[int(np.argmax(off))]
    raise InputError(
        "the common core has no rigid piece of three atoms that are not in a line",
        where=where,
        expected="a ring or a branch that both ligands have, by which one is held on the other",
    )


def pose_on_core(ligand: LigandParameters, reference: Path, path: Path) -> Path:
    """Lay a ligand on another's pose by their common core, and write it as SDF in the ligand's atom order.

    What the other does not have is built by embedding, not searched; a pose from
    :func:`esr1md.poses.place.place_ligand` is better for a ligand with a long tail of its own.

    Parameters
    ----------
    reference
        SDF of the other ligand's pose.

    Raises
    ------
    InputError
        No common core.
    StageError
        No conformer of the ligand has the core's shape.
    """
    mol, other = ligand.molecule(), next(iter(Chem.SDMolSupplier(str(reference), removeHs=False)))
    name = ligand.ligand.name
    best: tuple[float, Chem.Mol] | None = None
    ways = common_core(mol, other)
    if not ways:
        raise InputError(f"{name} has no common core with the pose it is to be laid on", where=str(reference))
    placed = other.GetConformer()

    def alike(way: Sequence[tuple[int, int]]) -> int:
        return sum(mol.GetAtomWithIdx(i).GetAtomicNum() == other.GetAtomWithIdx(j).GetAtomicNum() for i, j in way)

    most = max(alike(way) for way in ways)
    for way in (way for way in ways if alike(way) == most):  # a fluorine must not take a hydroxyl's place
        tried = conformers(mol, _CONFORMERS, CONFORMER_SEED, {i: placed.GetAtomPosition(j) for i, j in way})
        for conformer in tried.GetConformers():
            rmsd = rdMolAlign.AlignMol(tried, other, prbCid=conformer.GetId(), atomMap=way)
            if best is None or rmsd < best[0] - 1e-3:
                best = rmsd, Chem.Mol(tried, confId=conformer.GetId())
    if best is None or best[0] > MOST_CORE_RMSD:
        raise StageError("pose", f"no conformer of {name} has the shape of the core", where=str(reference))
    posed = Chem.Mol(mol)
    posed.RemoveAllConformers()
    posed.AddConformer(best[1].GetConformer(), assignId=True)
    write_sdf(posed, path)
    return path


# --- in one receptor ---------------------------------------------------------------------------------------


def two_ligands(first: Complex, second: Complex) -> Complex:
    """The first complex with the second's ligand added, both in the site; ``ligand_atoms`` are the first's, then the
    second's.

    Raises
    ------
    StageError
        The receptors differ, or a force cannot be carried over.
    """
    n, m = len(first.receptor_atoms), len(second.receptor_atoms)
    if n != m or not np.allclose(first.positions[:n], second.positions[:m], atol=1e-6):
        raise StageError("complex", f"the two ligands are not in one receptor ({n} and {m} atoms, or other places)")
    if len(first.solute_atoms) != len(first.positions):
        raise StageError("complex", "a transfer of ligands needs implicit solvent")
    topology, system = copy.deepcopy(first.topology), copy.deepcopy(first.system)
    shift = len(first.positions) - int(second.ligand_atoms[0])
    added = {int(atom): int(atom) + shift for atom in second.ligand_atoms}
    residue = topology.addResidue(LIGAND_RESIDUE, topology.addChain("M"), id="1")
    atoms = {a.index: a for a in second.topology.atoms() if a.index in added}
    made = {i: topology.addAtom(a.name, a.element, residue) for i, a in atoms.items()}
    for bond in second.topology.bonds():
        if bond[0].index in added and bond[1].index in added:
            topology.addBond(made[bond[0].index], made[bond[1].index])
    for atom in added:
        system.addParticle(second.system.getParticleMass(atom))
    for i in range(second.system.getNumConstraints()):
        a, b, distance = second.system.getConstraintParameters(i)
        if a in added and b in added:
            system.addConstraint(added[a], added[b], distance)
    forces = {type(force): force for force in system.getForces()}
    for force in second.system.getForces():
        _append(forces.get(type(force)), force, added)
    positions = np.concatenate([first.positions, second.positions[second.ligand_atoms]])
    return Complex(topology, positions, system, first.receptor_atoms, np.arange(n, len(positions)))


def _append(target: openmm.Force | None, source: openmm.Force, added: dict[int, int]) -> None:
    """Give ``target`` the particles and terms of ``source`` that are wholly of ``added`` (index there -> here)."""
    bonded = {
        openmm.HarmonicBondForce: ("Bond", 2),
        openmm.HarmonicAngleForce: ("Angle", 3),
        openmm.PeriodicTorsionForce: ("Torsion", 4),
    }
    if target is None or type(source) not in (*bonded, openmm.NonbondedForce, openmm.GBSAOBCForce):
        raise StageError("complex", f"a transfer of ligands cannot carry a {type(source).__name__}")
    if isinstance(source, (openmm.NonbondedForce, openmm.GBSAOBCForce)):
        for atom in added:
            target.addParticle(*source.getParticleParameters(atom))
        if isinstance(source, openmm.NonbondedForce):
            for i in range(source.getNumExceptions()):
                a, b, *rest = source.getExceptionParameters(i)
                if a in added and b in added:
                    target.addException(added[a], added[b], *rest)
        return
    term, n_atoms = bonded[type(source)]
    get, add = getattr(source, f"get{term}Parameters"), getattr(target, f"add{term}")
    for i in range(getattr(source, f"getNum{term}s")()):
        values = get(i)
        if all(atom in added for atom in values[:n_atoms]):
            add(*(added[atom] for atom in values[:n_atoms]), *values[n_atoms:])


def transfer_of(
    complexes: tuple[Complex, Complex],
    poses: tuple[Path, Path],
    protocol: Protocol,
    settings: Transfer,
    *,
    names: tuple[str, str] = ("first", "second"),
) -> TransferSystem:
    """An edge from its two complexes: what :func:`esr1md.dynamics.atm_run.sample` runs.

    Parameters
    ----------
    complexes
        Either ligand in one receptor, from :func:`esr1md.complex.build_complex`.
    poses
        SDF of either ligand's pose, as given there.
    protocol
        Says which region is simulated; its solvent must pass :func:`check_protocol`.
    names
        Of the ligands, for messages.

    Raises
    ------
    InputError
        No common core, poses that lie apart, or another solvent.
    StageError
        The receptors differ, or a force cannot be carried over.
    """
    check_protocol(protocol)
    both = two_ligands(*complexes)
    mols = [next(iter(Chem.SDMolSupplier(str(pose), removeHs=False))) for pose in poses]
    core = common_frame(*mols, names=names)
    sub = simulated(both, protocol.region)
    place = {int(atom): i for i, atom in enumerate(sub.atoms)}
    ligands = [place[int(atom)] for atom in both.ligand_atoms]
    n = len(complexes[0].ligand_atoms)
    first, second = ligands[:n], ligands[n:]
    return transfer_system(
        sub,
        both.positions[sub.atoms],
        first=first,
        second=second,
        anchors=[(first[i], second[j]) for i, j in core.anchors],
        settings=settings,
    )
