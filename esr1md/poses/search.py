"""The search for a pose: references, starts grown into the pocket, minimised alone, then with the side chains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from rdkit import Chem, DataStructs
from rdkit.Chem import AllChem, rdFingerprintGenerator

from esr1md.errors import StageError
from esr1md.ligand.parameters import LigandParameters
from esr1md.poses import docking, docking_score, growth, placement, pocket
from esr1md.poses.beside import Begun, Beside
from esr1md.poses.references import Reference, frame_atoms, load_references
from esr1md.receptor.frame import superpose
from esr1md.specs import HelixState

T, R = TypeVar("T"), TypeVar("R")


@dataclass(frozen=True)
class Effort:
    """How wide a search is.

    Attributes
    ----------
    conformers, grown
        Free conformers; starts that are grown.
    beam, long_beam
        Partial poses kept in growth; the same for ligands of more than eight rotatable bonds, since a long
        chain finds the way out of the pocket only with room.
    rigid, flexible, refined
        Poses minimised alone, with side chains, and with side chains to the end.
    ring_conformers, exhaustiveness
        Conformers with different rings that Vina docks, and its exhaustiveness for each; none in the wider search,
        where a long chain would cost it minutes and growth is what finds the way out.
    """

    conformers: int
    grown: int
    beam: int
    long_beam: int
    rigid: int
    flexible: int
    refined: int
    ring_conformers: int
    exhaustiveness: int


#: The search that every ligand gets, and the wider one before a ligand is said not to fit.
USUAL = Effort(
    conformers=8, grown=24, beam=16, long_beam=64, rigid=12, flexible=10, refined=6, ring_conformers=2, exhaustiveness=1
)
THOROUGH = Effort(
    conformers=24,
    grown=48,
    beam=48,
    long_beam=192,
    rigid=36,
    flexible=20,
    refined=8,
    ring_conformers=0,
    exhaustiveness=0,
)

#: Vina's box: this much (angstrom) around the references, and not smaller than; poses taken of each run; ring
#: systems that differ by more than this (angstrom RMSD) are docked apart.
BOX_MARGIN, BOX_LEAST, VINA_POSES, RING_APART = 5.0, 22.0, 4, 0.3
#: Energies that one run of Vina may compute. From raloxifene's size on it would take more (two million for fulvestrant)
#: and be the longest step of the search; what a long chain needs is growth.
EVALUATIONS = 1_000_000

#: Iterations with generalised Born solvent before the energies of finished poses are compared.
SOLVATED_STEPS = 25
#: Poses this much (kcal/mol) above the best without solvent are not looked at with it: it has mended 17 so far.
HOPEFUL = 30.0

#: RMSD (angstrom) below which two minimised poses are one.
SAME = 0.5

#: Farthest (angstrom RMSD) that settling into the rigid receptor may move a pose.
SETTLED = 1.0

#: What it counts for (kcal/mol) that a phenol, where the ligand has one, gives its hydrogen to E353: all up to the
#: first distance (angstrom) of their oxygens, nothing from the second. It is 2.3 to 3.0 A in the 20 crystals at hand; a
#: force field between rigid backbones sees too little of that bond.
CLAMP_EVIDENCE, CLAMP_NEAR, CLAMP_FAR = 15.0, 3.0, 4.5

#: The same of a basic nitrogen and D351: 2.7 to 3.8 A in the seven crystals at hand whose ligand has one.
BRIDGE_EVIDENCE, BRIDGE_NEAR, BRIDGE_FAR = 3.0, 4.0, 5.5

_PHENOL = Chem.MolFromSmarts("[OX2H]c")

#: The reference that shows where the hormone lies, and the share of its heavy atoms that a pose by Vina must cover to
#: be in the pocket: every crystal ligand at hand covers 0.85 or more.
HORMONE, IN_POCKET = "1QKU_EST", 0.5

#: References laid on, best shared core first.
N_REFERENCES = 6

#: What it counts for (kcal/mol) that an atom started on its counterpart in a crystal pose.
EVIDENCE_PER_ATOM = 0.2
#: The same while the receptor is still rigid, as a multiple: the crystal's receptor made room that this one may.
SELECTION_EVIDENCE = 2.5


@dataclass(frozen=True)
class Candidate:
    """A pose on its way: positions (n x 3, angstrom), energies (kcal/mol) and where it came from.

    ``anchored`` is what its bonds to E353 and D351 count for; ``above`` is how much it lies above the best (energy of
    ligand and pocket together less the crystal evidence).
    """

    xyz: np.ndarray
    start: placement.Start
    interaction: float
    strain: float
    receptor_xyz: np.ndarray | None = None
    anchored: float = 0.0
    above: float = 0.0

    @property
    def net(self) -> float:
        return self.interaction + self.strain

    @property
    def rank(self) -> float:
        """What candidates are ordered by: the energy less the weight of the crystal evidence."""
        return self.net - self.evidence

    @property
    def evidence(self) -> float:
        """What crystals say for this pose (kcal/mol): atoms that lay on a crystal ligand's, bonds to E353 and D351."""
        return _evidence(self.start) + self.anchored


def failed(cause: str) -> StageError:
    """A placement that went wrong, told apart from a ligand that does not fit, which is an outcome."""
    return StageError("pose", cause)


def side_by_side(call: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """The results of a call for each item, in their order, some at a time: OpenMM and RDKit let other threads run."""
    if threads == 1:
        return [call(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(call, item) for item in items]
        try:
            while wait(calls, timeout=1.0).not_done:  # not longer, or Ctrl-C would be late
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [done.result() for done in calls]


def _evidence(start: placement.Start) -> float:
    return EVIDENCE_PER_ATOM * len(start.core) if start.method == "core" else 0.0


def references_in_frame(receptor: pocket.Receptor, where: Path) -> tuple[Reference, ...]:
    """The references moved into the receptor's frame by the C-alpha atoms that line the pocket."""
    frame = frame_atoms()
    own = {n: receptor.named(n, "CA") for n in frame}
    shared = [n for n in frame if own[n] is not None]
    if len(shared) < 10:
        raise StageError(
            "receptor", f"only {len(shared)} of {len(frame)} residues around the pocket are present", where=str(where)
        )
    rotation, translation, rmsd = superpose(np.array([frame[n] for n in shared]), np.array([own[n] for n in shared]))
    if rmsd > 3.0:
        raise StageError("receptor", f"the pocket differs from 3ERT's by {rmsd:.1f} A C-alpha RMSD", where=str(where))
    moved = []
    for reference in load_references():
        mol = Chem.Mol(reference.mol)
        mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() @ rotation.T + translation)
        moved.append(Reference(reference.name, reference.ligand, reference.state, mol))
    return tuple(moved)


def suitable_references(
    mol: Chem.Mol,
    references: tuple[Reference, ...],
    state: HelixState,
    exclude: tuple[str, ...],
    exclude_similar: float = 1.0,
    threads: int = 1,
) -> tuple[Reference, ...]:
    """References of the same state, those that share most with the ligand first, and whole cores of other states.

    A crystal ligand of another state serves when the ligand contains it (fulvestrant contains estradiol):
    the core then says where the scaffold lies, and the pocket where the rest can go.
    """
    suited = []
    for reference in references:
        if names_of(reference) & set(exclude) or similarity(mol, reference.mol) > exclude_similar:
            continue
        same = reference.state == state or {reference.state, state} == {HelixState.ANTAGONIST, HelixState.DISPLACED}
        if same or mol.HasSubstructMatch(Chem.RemoveHs(reference.mol)):
            suited.append(reference)
    ways = side_by_side(lambda reference: placement.common_core(mol, reference.mol, limit=1), suited, threads)
    scored = [
        (len(way[0]) if way else 0, reference.state == state, reference)
        for way, reference in zip(ways, suited, strict=True)
    ]
    if not scored:
        raise failed(f"no reference pose of the {state} state is left to place the ligand on")
    scored.sort(key=lambda row: (-row[0], not row[1], row[2].name))
    first_of = {reference.ligand: reference for _, _, reference in reversed(scored)}  # a ligand is laid on once
    return tuple(reference for _, _, reference in scored if first_of[reference.ligand] is reference)[:N_REFERENCES]


def names_of(reference: Reference) -> set[str]:
    """What a reference may be called: its ligand (``raloxifene``), itself (``1ERR_RAL``), its entry (``1ERR``)."""
    return {reference.ligand, reference.name, reference.name.partition("_")[0]}


def similarity(mol: Chem.Mol, other: Chem.Mol) -> float:
    """Tanimoto coefficient of the Morgan fingerprints (radius 2, 2048 bits) of two molecules, 0 to 1."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return DataStructs.TanimotoSimilarity(*(generator.GetFingerprint(Chem.RemoveAllHs(m)) for m in (mol, other)))


def free_conformers(mol: Chem.Mol, effort: Effort, seed: int) -> Chem.Mol:
    """The molecule with the conformers that its search begins with.

    Raises
    ------
    StageError
        No conformer could be made.
    """
    free = placement.conformers(mol, effort.conformers, seed)
    if not free.GetNumConformers():
        raise failed("no conformer could be made")
    return free


def grown(
    mol: Chem.Mol,
    free: Chem.Mol,
    references: tuple[Reference, ...],
    receptor: pocket.Receptor,
    seed: int,
    effort: Effort = USUAL,
) -> list[tuple[float, placement.Start]]:
    """Starts of free conformers on every reference, the most promising grown whole; score and pose, best, distinct."""
    starts = [s for reference in references for s in placement.starts_on(mol, free, reference, seed)]
    around = np.concatenate([s.xyz for s in starts])
    pocket_xyz, features = pocket.pocket_features(receptor, around)
    own = docking_score.ligand_features(mol)
    score = docking_score.pocket_score(own, pocket_xyz, features)
    first = np.array([score.atoms(s.xyz[None], np.array(sorted(s.core)))[0] for s in starts])
    beam = effort.beam if len(growth.rotatable_bonds(mol)) <= 8 else effort.long_beam
    poses = []
    for start in _spread(starts, first, references, effort.grown):
        found, scores = growth.grow(start.xyz, mol, start.core, score, beam=beam)
        poses += [
            (float(v), placement.Start(x, start.core, start.reference, start.method))
            for x, v in zip(found[:4], scores[:4], strict=True)
        ]
    poses.sort(key=lambda p: p[0] - SELECTION_EVIDENCE * _evidence(p[1]))
    return _distinct(poses, own.index, effort.rigid)


def begin_docking(
    beside: Beside,
    mol: Chem.Mol,
    free: Chem.Mol,
    references: tuple[Reference, ...],
    receptor_pdb: Path,
    seed: int,
    effort: Effort = USUAL,
) -> list[Begun[list[docking.Docked]]]:
    """Vina, which knows no reference, set to work in the box of the references: a run for each kind of rings.

    Vina does not bend rings, so of the free conformers those whose rings differ are docked, none of them for longer
    than :data:`EVALUATIONS`.
    """
    points = np.concatenate([reference.mol.GetConformer().GetPositions() for reference in references])
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.clip(high - low + 2 * BOX_MARGIN, BOX_LEAST, None)
    begun = []
    for xyz in _ring_conformers(free, effort):
        copy = Chem.Mol(mol)
        copy.GetConformer().SetPositions(xyz)
        begun.append(
            beside.begin(
                docking.dock,
                receptor_pdb,
                copy,
                (low + high) / 2,
                size,
                exhaustiveness=effort.exhaustiveness,
                poses=VINA_POSES,
                seed=seed,
                evaluations=EVALUATIONS,
            )
        )
    return begun


def docked(
    mol: Chem.Mol,
    found: Iterable[docking.Docked],
    hormone: Reference,
    receptor: pocket.Receptor,
    effort: Effort = USUAL,
) -> list[tuple[float, placement.Start]]:
    """Of the poses that Vina found the best and distinct ones that may be right: score and pose.

    A pose outside the pocket is left out: without solvent the force field would prefer a groove of the surface, where
    nothing strains the ligand. So is one that turns a phenol away from the E353/R394 clamp.

    Parameters
    ----------
    hormone
        :data:`HORMONE` in the frame of the receptor: what fills less of its place is not in the pocket.
    """
    rows = [(pose.score, placement.Start(pose.xyz, frozenset(), "Vina", "docked")) for pose in found]
    rows.sort(key=lambda row: row[0])
    heavy = np.array([a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1])
    phenol = mol.HasSubstructMatch(_PHENOL)
    inside = [
        row
        for row in rows
        if _covered(row[1].xyz[heavy], hormone) >= IN_POCKET
        and (not phenol or _clamp(mol, row[1].xyz, receptor, receptor.positions))
    ]
    return _distinct(inside, heavy, effort.rigid // 3)


def _covered(xyz: np.ndarray, reference: Reference) -> float:
    """Share of a reference's heavy atoms that have one of ``xyz`` (n x 3) within 2 angstrom."""
    points = reference.mol.GetConformer().GetPositions()
    points = points[[a.GetIdx() for a in reference.mol.GetAtoms() if a.GetAtomicNum() > 1]]
    return float((np.linalg.norm(points[:, None] - xyz[None], axis=-1).min(axis=1) < 2.0).mean())


def _ring_conformers(free: Chem.Mol, effort: Effort) -> list[np.ndarray]:
    """Of the conformers, minimised, those (n x 3) whose rings differ, the lowest MMFF94s energy of each kind first."""
    free = Chem.Mol(free)
    energies = AllChem.MMFFOptimizeMoleculeConfs(free, numThreads=1, maxIters=200, mmffVariant="MMFF94s")
    rings = sorted({i for ring in free.GetRingInfo().AtomRings() for i in ring})
    order = sorted(range(free.GetNumConformers()), key=lambda k: energies[k][1])
    kept: list[np.ndarray] = []
    for k in order:
        xyz = free.GetConformers()[k].GetPositions()
        if all(len(rings) > 3 and _ring_difference(free, xyz, other) > RING_APART for other in kept):
            kept.append(xyz)
        if len(kept) == effort.ring_conformers:
            break
    return kept


def _ring_difference(mol: Chem.Mol, one: np.ndarray, two: np.ndarray) -> float:
    """Largest RMSD (angstrom, fitted) of any ring system between two conformers, its substituents included."""
    worst = 0.0
    for ring in mol.GetRingInfo().AtomRings():
        atoms = sorted(
            {n.GetIdx() for i in ring for n in mol.GetAtomWithIdx(i).GetNeighbors() if n.GetAtomicNum() > 1} | set(ring)
        )
        worst = max(worst, superpose(one[atoms], two[atoms])[2])
    return worst


def _spread(starts: list[placement.Start], score: np.ndarray, references: tuple[Reference, ...], count: int) -> list:
    """The best starts with some from each reference and method, each of the flips among them.

    A core's score says little about where the rest can go: the orientation of a steroid that lets a long chain
    out of the pocket ranks below every other.
    """
    order = list(np.argsort(score, kind="stable"))
    chosen: list[int] = []
    for reference in references:
        for method in placement.METHODS:
            few = 2 if method == "core" else 1
            chosen += [i for i in order if (starts[i].reference, starts[i].method) == (reference.name, method)][:few]
    chosen += [i for i in order if i not in chosen][: max(0, count - len(chosen))]
    return [starts[i] for i in chosen]


def _distinct(poses: list, heavy: np.ndarray, count: int, apart: float = 1.0) -> list:
    """Poses (best first) of which no two have a heavy-atom RMSD below ``apart`` angstrom."""
    kept: list = []
    for pose in poses:
        if all(_apart(pose[1].xyz, k[1].xyz, heavy) > apart for k in kept):
            kept.append(pose)
        if len(kept) == count:
            break
    return kept


def _apart(one: np.ndarray, two: np.ndarray, atoms: np.ndarray) -> float:
    """RMSD (angstrom) of some atoms of two poses as they lie."""
    return float(np.sqrt(((one[atoms] - two[atoms]) ** 2).sum(1).mean()))


def _turn_hydroxyls(
    mol: Chem.Mol,
    xyz: np.ndarray,
    charges: tuple[float, ...],
    receptor: pocket.Receptor,
) -> np.ndarray:
    """Each hydroxyl hydrogen turned to where the receptor's charges want it: a minimiser does not cross barriers."""
    near = pocket.near_charges(receptor, xyz)
    for atom in mol.GetAtoms():
        hydrogens = [n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 1]
        if atom.GetAtomicNum() != 8 or len(hydrogens) != 1:
            continue
        carrier = next(n for n in atom.GetNeighbors() if n.GetAtomicNum() != 1)
        angles = np.deg2rad([0.0, 180.0] if carrier.GetIsAromatic() else np.arange(0.0, 360.0, 30.0))
        rotor = growth.Rotor(carrier.GetIdx(), atom.GetIdx(), np.array(hydrogens), np.array([]))
        trial = growth.turned(xyz[None], rotor, angles)
        r = np.linalg.norm(trial[:, hydrogens[0]][:, None] - near[0][None], axis=-1).clip(1.2)
        energy = (charges[hydrogens[0]] * near[1] / r).sum(1)
        xyz = trial[int(np.argmin(energy))]
    return xyz


def minimised_alone(
    mol: Chem.Mol, parameters: LigandParameters, receptor: pocket.Receptor, grown: list, threads: int = 1
) -> list[Candidate]:
    """The ligand minimised in the frozen pocket, lowest interaction + ligand energy first, stereochemistry kept."""
    around = np.concatenate([start.xyz for _, start in grown])
    system = pocket.build_pocket(receptor, parameters, around, flexible=False)

    def minimised(start: placement.Start) -> tuple[placement.Start, np.ndarray, np.ndarray, float]:
        xyz = _turn_hydroxyls(mol, start.xyz, parameters.charges, receptor)
        return start, *pocket.minimise(system, xyz, steps=50, softness=(1.0, 0.1, 0.0))

    found = []
    for start, xyz, pocket_xyz, energy in side_by_side(minimised, [start for _, start in grown], threads):
        if same_stereo(mol, xyz):
            interaction = pocket.interaction_kcal(system, xyz, pocket_xyz)
            anchored = _anchored(mol, xyz, receptor, receptor.positions)
            found.append(Candidate(xyz, start, interaction, energy - interaction, anchored=anchored))
    if not found:
        raise failed("no start kept the ligand's stereochemistry when minimised in the pocket")
    heavy = np.array([a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1])
    kept: list[Candidate] = []
    for candidate in sorted(found, key=lambda c: c.rank):  # several starts may end in one place
        if all(_apart(candidate.xyz, other.xyz, heavy) > SAME for other in kept):
            kept.append(candidate)
    return kept


def minimised_together(
    mol: Chem.Mol,
    parameters: LigandParameters,
    receptor: pocket.Receptor,
    alone: list[Candidate],
    effort: Effort = USUAL,
    threads: int = 1,
) -> list[Candidate]:
    """The best candidates minimised with the side chains, best first, each with its strain.

    The solvated energy of ligand and pocket together decides: without solvent a phenol that gives up the clamp for a
    carbonyl, or a ligand turned end for end, costs too little.
    """
    chosen = alone[: effort.flexible]
    around = np.concatenate([c.xyz for c in chosen])
    system = pocket.build_pocket(receptor, parameters, around, flexible=True)

    def begun(candidate: Candidate) -> tuple[float, Candidate, np.ndarray, np.ndarray]:
        xyz, pocket_xyz, energy = pocket.minimise(system, candidate.xyz, steps=60)
        return energy - candidate.evidence, candidate, xyz, pocket_xyz

    def finished(row: tuple[float, Candidate, np.ndarray, np.ndarray]) -> tuple[float, np.ndarray, Candidate] | None:
        _, candidate, xyz, pocket_xyz = row
        xyz, pocket_xyz, energy = pocket.minimise(system, xyz, steps=300, pocket_xyz=pocket_xyz)
        if not same_stereo(mol, xyz):
            return None
        interaction = pocket.interaction_kcal(system, xyz, pocket_xyz)
        apart = pocket.minimise(system, xyz + pocket.APART, steps=300, pocket_xyz=pocket_xyz)[2]
        whole = receptor.positions.copy()
        whole[system.kept] = pocket_xyz
        strain, anchored = energy - apart - interaction, _anchored(mol, xyz, receptor, whole)
        dry = energy - candidate.evidence
        return dry, pocket_xyz, Candidate(xyz, candidate.start, interaction, strain, whole, anchored)

    found = sorted(side_by_side(begun, chosen, threads), key=lambda row: row[0])
    rows = [row for row in side_by_side(finished, found[: effort.refined], threads) if row is not None]
    if not rows:
        raise failed("no start kept the ligand's stereochemistry when minimised in the pocket")
    # the pocket must be the one that the poses were refined in
    wet = pocket.build_pocket(receptor, parameters, around, flexible=True, solvated=True)

    def solvated(row: tuple[float, np.ndarray, Candidate]) -> tuple[float, Candidate]:
        _, pocket_xyz, candidate = row
        energy = pocket.minimise(wet, candidate.xyz, steps=SOLVATED_STEPS, pocket_xyz=pocket_xyz)[2]
        return energy, candidate

    # the energy of everything together decides: what a pose leaves behind when taken apart differs by chance
    hopeful = min(dry for dry, _, _ in rows) + HOPEFUL
    refined = side_by_side(solvated, [row for row in rows if row[0] <= hopeful], threads)
    refined.sort(key=lambda row: row[0] - row[1].evidence)
    lowest = refined[0][0] - refined[0][1].evidence
    return [replace(c, above=energy - c.evidence - lowest) for energy, c in refined]


def _clamp(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor, receptor_xyz: np.ndarray) -> float:
    """What the distance of a phenol's oxygen to the carboxylate of E353 counts for, 0 to :data:`CLAMP_EVIDENCE`."""
    phenols = [match[0] for match in mol.GetSubstructMatches(_PHENOL)]
    nearest = _to_carboxylate(xyz[phenols], receptor, receptor_xyz, "353", ("OE1", "OE2"))
    return CLAMP_EVIDENCE * float(np.clip((CLAMP_FAR - nearest) / (CLAMP_FAR - CLAMP_NEAR), 0.0, 1.0))


def _anchored(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor, receptor_xyz: np.ndarray) -> float:
    """What the two bonds count for that crystals show of every ligand that can make them: to E353, and to D351."""
    amines = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 7 and a.GetFormalCharge() > 0]
    nearest = _to_carboxylate(xyz[amines], receptor, receptor_xyz, "351", ("OD1", "OD2"))
    bridge = BRIDGE_EVIDENCE * float(np.clip((BRIDGE_FAR - nearest) / (BRIDGE_FAR - BRIDGE_NEAR), 0.0, 1.0))
    return _clamp(mol, xyz, receptor, receptor_xyz) + bridge


def _to_carboxylate(
    points: np.ndarray, receptor: pocket.Receptor, receptor_xyz: np.ndarray, residue: str, names: tuple[str, str]
) -> float:
    """Distance (angstrom) of ``points`` (n x 3) to a carboxylate, from the nearest; infinite where either is absent."""
    ends = [atom.index for atom in receptor.topology.atoms() if atom.residue.id == residue and atom.name in names]
    if not len(points) or not ends:
        return float("inf")
    return float(np.linalg.norm(points[:, None] - receptor_xyz[ends][None], axis=-1).min())


def settled(mol: Chem.Mol, parameters: LigandParameters, receptor: pocket.Receptor, candidate: Candidate) -> Candidate:
    """A pose that suits the receptor as it was given, where the side chains have not given way.

    The ligand alone is minimised in the rigid receptor; kept unless it goes elsewhere or loses its stereochemistry.
    """
    system = pocket.build_pocket(receptor, parameters, candidate.xyz, flexible=False)
    xyz, _, _ = pocket.minimise(system, candidate.xyz, steps=200, softness=(0.1, 0.0))
    heavy = np.array([a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1])
    if _apart(xyz, candidate.xyz, heavy) > SETTLED or not same_stereo(mol, xyz):
        return candidate
    return replace(candidate, xyz=xyz)


def same_stereo(mol: Chem.Mol, xyz: np.ndarray) -> bool:
    """Whether the positions show the stereochemistry the molecule is meant to have (ammonium excepted)."""
    return _stereo_smiles(mol, None) == _stereo_smiles(mol, xyz)


def _stereo_smiles(mol: Chem.Mol, xyz: np.ndarray | None) -> str:
    copy = Chem.Mol(mol)
    if xyz is not None:
        copy.GetConformer().SetPositions(np.asarray(xyz, dtype=float))
    Chem.AssignStereochemistryFrom3D(copy, replaceExistingTags=True)
    for atom in copy.GetAtoms():
        if atom.GetAtomicNum() == 7:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return Chem.MolToSmiles(Chem.RemoveHs(copy))
