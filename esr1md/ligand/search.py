"""The search for a pose: references, starts grown into the pocket, minimised alone, then with the side chains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem

from esr1md.errors import StageError
from esr1md.ligand import docking_score, growth, placement, pocket
from esr1md.ligand.parameters import LigandParameters
from esr1md.ligand.references import Reference, frame_atoms, load_references
from esr1md.receptor.frame import superpose
from esr1md.specs import HelixState


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
    """

    conformers: int
    grown: int
    beam: int
    long_beam: int
    rigid: int
    flexible: int
    refined: int


#: The search that every ligand gets, and the wider one before a ligand is said not to fit.
USUAL = Effort(conformers=8, grown=24, beam=16, long_beam=64, rigid=12, flexible=8, refined=3)
THOROUGH = Effort(conformers=24, grown=48, beam=48, long_beam=192, rigid=36, flexible=20, refined=5)

#: References laid on, best shared core first.
N_REFERENCES = 6

#: What it counts for (kcal/mol) that an atom started on its counterpart in a crystal pose.
EVIDENCE_PER_ATOM = 0.2
#: The same while the receptor is still rigid, as a multiple: the crystal's receptor made room that this one may.
SELECTION_EVIDENCE = 2.5


@dataclass(frozen=True)
class Candidate:
    """A pose on its way: positions (n x 3, angstrom), energies (kcal/mol) and where it came from."""

    xyz: np.ndarray
    start: placement.Start
    interaction: float
    strain: float
    receptor_xyz: np.ndarray | None = None

    @property
    def net(self) -> float:
        return self.interaction + self.strain

    @property
    def rank(self) -> float:
        """What candidates are ordered by: the energy less the weight of the crystal evidence."""
        return self.net - _evidence(self.start)


def failed(cause: str) -> StageError:
    """A placement that went wrong, told apart from a ligand that does not fit, which is an outcome."""
    return StageError("pose", cause)


def _evidence(start: placement.Start) -> float:
    return EVIDENCE_PER_ATOM * len(start.core) if start.method == "core" else 0.0


def references_in_frame(receptor: pocket.Receptor, where: Path) -> tuple[Reference, ...]:
    """The references moved into the receptor's frame by the C-alpha atoms that line the pocket."""
    frame = frame_atoms()
    own = {n: receptor.named(n, "CA") for n in frame}
    shared = [n for n in frame if own[n] is not None]
    if len(shared) < 10:
        raise StageError("receptor", f"only {len(shared)} of {len(frame)} residues around the pocket are present",
                         where=str(where))
    rotation, translation, rmsd = superpose(np.array([frame[n] for n in shared]), np.array([own[n] for n in shared]))
    if rmsd > 3.0:
        raise StageError("receptor", f"the pocket differs from 3ERT's by {rmsd:.1f} A C-alpha RMSD", where=str(where))
    moved = []
    for reference in load_references():
        mol = Chem.Mol(reference.mol)
        mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() @ rotation.T + translation)
        moved.append(Reference(reference.name, reference.ligand, reference.state, mol))
    return tuple(moved)


def suitable_references(mol: Chem.Mol, references: tuple[Reference, ...], state: HelixState,
                        exclude: tuple[str, ...]) -> tuple[Reference, ...]:
    """References of the same state, those that share most with the ligand first, and whole cores of other states.

    A crystal ligand of another state serves when the ligand contains it (fulvestrant contains estradiol):
    the core then says where the scaffold lies, and the pocket where the rest can go.
    """
    scored = []
    for reference in references:
        if reference.ligand in exclude:
            continue
        same = reference.state == state or {reference.state, state} == {HelixState.ANTAGONIST, HelixState.DISPLACED}
        if not same and not mol.HasSubstructMatch(Chem.RemoveHs(reference.mol)):
            continue
        ways = placement.common_core(mol, reference.mol, limit=1)
        scored.append((len(ways[0]) if ways else 0, reference.state == state, reference))
    if not scored:
        raise failed(f"no reference pose of the {state} state is left to place the ligand on")
    scored.sort(key=lambda row: (-row[0], not row[1], row[2].name))
    first_of = {reference.ligand: reference for _, _, reference in reversed(scored)}  # a ligand is laid on once
    return tuple(reference for _, _, reference in scored if first_of[reference.ligand] is reference)[:N_REFERENCES]


def grown(mol: Chem.Mol, references: tuple[Reference, ...], receptor: pocket.Receptor,
          seed: int, effort: Effort = USUAL) -> list[tuple[float, placement.Start]]:
    """Starts on every reference, the most promising grown whole; score and pose, best and distinct."""
    free = placement.conformers(mol, effort.conformers, seed)
    if not free.GetNumConformers():
        raise failed("no conformer could be made")
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
        poses += [(float(v), placement.Start(x, start.core, start.reference, start.method))
                  for x, v in zip(found[:4], scores[:4], strict=True)]
    poses.sort(key=lambda p: p[0] - SELECTION_EVIDENCE * _evidence(p[1]))
    return _distinct(poses, own.index, effort.rigid)


def _spread(starts: list[placement.Start], score: np.ndarray, references: tuple[Reference, ...],
            count: int) -> list:
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
        if all(np.sqrt(((pose[1].xyz[heavy] - k[1].xyz[heavy]) ** 2).sum(1).mean()) > apart for k in kept):
            kept.append(pose)
        if len(kept) == count:
            break
    return kept


def _turn_hydroxyls(mol: Chem.Mol, xyz: np.ndarray, charges: tuple[float, ...], receptor: pocket.Receptor,
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


def minimised_alone(mol: Chem.Mol, parameters: LigandParameters, receptor: pocket.Receptor,
                    grown: list) -> list[Candidate]:
    """The ligand minimised in the frozen pocket, lowest interaction + ligand energy first, stereochemistry kept."""
    around = np.concatenate([start.xyz for _, start in grown])
    system = pocket.build_pocket(receptor, parameters, around, flexible=False)
    found = []
    for _, start in grown:
        xyz = _turn_hydroxyls(mol, start.xyz, parameters.charges, receptor)
        xyz, pocket_xyz, energy = pocket.minimise(system, xyz, steps=50, softness=(1.0, 0.1, 0.0))
        if same_stereo(mol, xyz):
            interaction = pocket.interaction_kcal(system, xyz, pocket_xyz)
            found.append(Candidate(xyz, start, interaction, energy - interaction))
    if not found:
        raise failed("no start kept the ligand's stereochemistry when minimised in the pocket")
    return sorted(found, key=lambda c: c.rank)


def minimised_together(mol: Chem.Mol, parameters: LigandParameters, receptor: pocket.Receptor,
                       alone: list[Candidate], effort: Effort = USUAL) -> tuple[Candidate, list[dict]]:
    """The best candidates minimised with the side chains; the winner with its strain, and what it beat."""
    chosen = alone[: effort.flexible]
    system = pocket.build_pocket(receptor, parameters, np.concatenate([c.xyz for c in chosen]), flexible=True)
    found = []
    for candidate in chosen:
        xyz, pocket_xyz, energy = pocket.minimise(system, candidate.xyz, steps=60)
        found.append((energy - _evidence(candidate.start), candidate, xyz, pocket_xyz))
    found.sort(key=lambda row: row[0])
    refined = []
    for _, candidate, xyz, pocket_xyz in found[: effort.refined]:
        xyz, pocket_xyz, energy = pocket.minimise(system, xyz, steps=300, pocket_xyz=pocket_xyz)
        if same_stereo(mol, xyz):
            refined.append((energy - _evidence(candidate.start), candidate, xyz, pocket_xyz))
    if not refined:
        raise failed("no start kept the ligand's stereochemistry when minimised in the pocket")
    refined.sort(key=lambda row: row[0])
    first, candidate, xyz, pocket_xyz = refined[0]
    together = first + _evidence(candidate.start)
    interaction = pocket.interaction_kcal(system, xyz, pocket_xyz)
    apart = pocket.minimise(system, xyz + pocket.APART, steps=300, pocket_xyz=pocket_xyz)[2]
    net = together - apart
    whole = receptor.positions.copy()
    whole[system.kept] = pocket_xyz
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    runners_up = [{
        "reference": row[1].start.reference, "method": row[1].start.method,
        "above_kcal": round(row[0] - first, 2),
        "rmsd_angstrom": round(float(np.sqrt(((row[2] - xyz)[heavy] ** 2).sum(1).mean())), 2),
    } for row in refined[1:]]
    return Candidate(xyz, candidate.start, interaction, net - interaction, whole), runners_up


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
