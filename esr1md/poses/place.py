"""Poses: a ligand placed in a receptor model by the crystal ligands of the same helix-12 state.

Conformers laid on reference ligands (:mod:`~esr1md.poses.placement`) are grown into the pocket
(:mod:`~esr1md.poses.growth`) and minimised with the real force field (:mod:`~esr1md.poses.pocket`), first
alone, then the best few with the side chains around them. The pose of the lowest mean of energy, interaction and Vina
score wins (:func:`cost`), but of poses that these cannot tell apart one whose warhead can react
(:mod:`~esr1md.poses.warhead`). A ligand that only fits by straining itself and the pocket as much as it gains does
not fit the state, and the error says which residues are in the way.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from esr1md.errors import StageError
from esr1md.ligand.labels import labels
from esr1md.ligand.parameters import LigandParameters
from esr1md.poses import placement, pocket, search
from esr1md.poses.beside import Begun, beside
from esr1md.poses.checks import anchor_distances, contacts, failed_checks, remember_conformers
from esr1md.poses.degrader import exit_label
from esr1md.poses.docking import type_receptor, vina_scores, why_not
from esr1md.poses.references import Reference
from esr1md.poses.warhead import approach, preferred_order
from esr1md.specs import HelixState, Ligand

#: Net energy (interaction + strain, kcal/mol) for each heavy atom above which a pose does not fit. Measured:
#: ligands in the state of their crystal reach -0.9 to -2.4, 4-hydroxytamoxifen under the closed helix 12 about 0.
FIT_LIMIT = -0.5
#: Clashes that remain after minimisation and mean that the pocket is too small.
CLASH_LIMIT = 2
#: Poses that are kept, and the heavy-atom RMSD (angstrom) at which two are the same.
KEPT, APART = 5, 1.0
#: Energy (kcal/mol) by which a pose that fails a PoseBusters test must be better than one that passes all.
FAULT = 5.0
#: What a unit of Vina's score counts for beside an energy: interaction energies are six times Vina's scores (median
#: ratio of finished poses 5.7).
VINA_WEIGHT = 6.0
#: Poses that differ by less than this (kcal/mol) cannot be told apart by their energy.
TIE = 3.0


@dataclass(frozen=True)
class Pose:
    """Where a ligand starts: the pose of one rank.

    Attributes
    ----------
    ligand, state
        Ligand name and helix-12 state of the receptor it was placed in.
    sdf
        All atoms in the order of ``LigandParameters.sdf``, in the receptor's frame.
    confidence
        ``high``, ``medium`` or ``low``.
    reason
        One sentence that says why.
    reference
        Name of the reference pose it came from (``3ERT_OHT``), or ``Vina``.
    interaction_kcal
        Ligand with pocket after minimisation: Lennard-Jones + Coulomb (dielectric 8).
    strain_kcal
        What ligand and side chains lost against the same basin apart.
    above_kcal
        How much the energy of ligand and pocket together lies above that of the first pose, crystal evidence counted;
        below zero where interaction and Vina's score decided otherwise (:func:`cost`).
    vina_kcal
        AutoDock Vina's score after local optimisation; ``None`` where Vina cannot be had.
    clashes
        Heavy-atom pairs too near to the receptor as it was given.
    anchors_angstrom
        Distances of the anchor contacts; only those the ligand can make.
    failed_checks
        PoseBusters tests that it fails.
    misfit
        Why the ligand does not fit the state, for poses that were wanted all the same; else empty.
    label
        For a covalent ligand how far its warhead is from Cys530, for a degrader how much of its ligase binder is
        exposed, and what is not modelled; else empty.
    rank
        1 for the best.
    details
        How the search went; the same for all ranks.
    """

    ligand: str
    state: HelixState
    sdf: Path
    confidence: str
    reason: str
    reference: str
    interaction_kcal: float
    strain_kcal: float
    clashes: int
    anchors_angstrom: dict[str, float] = field(hash=False)
    above_kcal: float = 0.0
    vina_kcal: float | None = None
    failed_checks: tuple[str, ...] = ()
    misfit: str = ""
    label: str = ""
    rank: int = 1
    details: dict[str, Any] = field(hash=False, default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the search's details; the path relative to the folder."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "details"}
        return {**row, "state": str(self.state), "sdf": self.sdf.name, "failed_checks": list(self.failed_checks)}

    @classmethod
    def from_folder(cls, folder: Path, rank: int = 1) -> Pose:
        """Read back a pose of what :func:`place_ligand` left in ``folder``.

        A rank beyond those kept begins again with the best.

        Raises
        ------
        StageError
            ``record.json`` is missing or unreadable.
        """
        try:
            record = json.loads((folder / "record.json").read_text())
            row = record["poses"][(rank - 1) % len(record["poses"])]
            return cls(
                **{
                    **row,
                    "state": HelixState(row["state"]),
                    "sdf": folder / row["sdf"],
                    "failed_checks": tuple(row["failed_checks"]),
                    "details": record["details"],
                }
            )
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise StageError("pose", f"no readable pose here ({error})", where=str(folder)) from error

    @classmethod
    def all_from_folder(cls, folder: Path) -> list[Pose]:
        """Every pose of a folder, best first; raises as :meth:`from_folder`."""
        found = [cls.from_folder(folder)]
        while (pose := cls.from_folder(folder, len(found) + 1)).rank == len(found) + 1:
            found.append(pose)
        if missing := [pose.sdf for pose in found if not pose.sdf.is_file()]:
            raise StageError("pose", "the file of a pose is missing", where=str(missing[0]))
        return found


def place_ligand(
    ligand: Ligand,
    parameters: LigandParameters,
    receptor_pdb: Path,
    state: HelixState,
    folder: Path,
    *,
    seed: int = 1,
    exclude: tuple[str, ...] = (),
    exclude_similar: float = 1.0,
    anyway: bool = False,
    threads: int = 1,
) -> list[Pose]:
    """Place a ligand in a receptor model; writes ``pose_RANK.sdf``, ``poses.sdf`` and ``record.json`` into ``folder``.

    Parameters
    ----------
    ligand, parameters
        The ligand and its force field; the pose keeps the parameters' atom order.
    receptor_pdb
        A prepared model, of any variant; it is not changed.
    state
        Helix-12 state of the model, which chooses the references.
    folder
        Existing or new folder.
    seed
        Seeds the conformers and Vina; the same seed gives the same poses.
    exclude, exclude_similar
        Ligands, references or entries that are not used (:func:`search.names_of`), and the Tanimoto coefficient
        (:func:`search.similarity`) above which none is (to test transfer to a new ligand).
    anyway
        Whether a ligand that does not fit gets its best poses all the same, of low confidence and with
        :attr:`Pose.misfit` saying what is in the way: to be looked at, not to be simulated. They are ordered by how
        much of the ligand lies on like atoms of a crystal ligand, since clashes make most of their energy.
    threads
        Cores that it may use: as many poses are minimised at once, Vina works in processes beside. The result does not
        depend on it.

    Returns
    -------
    list[Pose]
        Up to :data:`KEPT` distinct poses, best first.

    Raises
    ------
    StageError
        The ligand does not fit the state (not with ``anyway``), no reference suits it, or the model is not in a known
        frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    mol = parameters.molecule()
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
    without_vina = why_not(mol)
    with (
        beside(min(threads - 1, search.USUAL.ring_conformers), folder / "logs") as dockers,
        beside(min(threads - 1, 1), folder / "logs") as checker,
    ):
        if not without_vina:
            dockers.begin(type_receptor, receptor_pdb)
        receptor = pocket.read_receptor(receptor_pdb)
        every = search.references_in_frame(receptor, receptor_pdb)
        hormone = next(reference for reference in every if reference.name == search.HORMONE)
        references = search.suitable_references(mol, every, state, exclude, exclude_similar, threads)
        clock.lap("receptor")
        checker.begin(remember_conformers, mol)
        for effort in (search.USUAL, search.THOROUGH):  # no ligand is refused before a wider search
            free = search.free_conformers(mol, effort, seed)
            runs = []
            if not without_vina and effort.ring_conformers:
                runs = search.begin_docking(dockers, mol, free, references, receptor_pdb, seed, effort)
            grown = search.grown(mol, free, references, receptor, seed, effort)
            clock.lap("placement")
            by_vina = [pose for run in runs for pose in run.result()]
            grown += search.docked(mol, by_vina, hormone, receptor, effort)
            clock.lap("vina", *runs)
            alone = search.minimised_alone(mol, parameters, receptor, grown, threads)
            clock.lap("ligand_minimisation")
            found = search.minimised_together(mol, parameters, receptor, alone, effort, threads)
            clock.lap("pocket_minimisation")
            squeezed = contacts(mol, found[0].xyz, receptor, found[0].receptor_xyz)
            if _fits(found[0], mol, len(squeezed)):
                break
        fitting = [c for c in found if _fits(c, mol, len(contacts(mol, c.xyz, receptor, c.receptor_xyz)))]
        misfit = "" if fitting else _misfit(ligand, state, mol, found[0], receptor, len(squeezed))
        if misfit and not anyway:
            raise StageError("pose", misfit, where=str(receptor_pdb), kind="outcome")
        kept = _distinct(fitting or found, mol)
        finals = search.side_by_side(lambda one: search.settled(mol, parameters, receptor, one), kept, threads)
        clock.lap("settling")
        places = [final.xyz for final in finals]
        mols = [_posed(mol, final.xyz, ligand, parameters) for final in finals]
        checking = [checker.begin(failed_checks, posed, receptor_pdb) for posed in mols]
        scoring = [] if without_vina else [dockers.begin(vina_scores, receptor_pdb, mol, places, optimise=True)]
        checks = [check.result() for check in checking]
        clock.lap("checks", *checking)
        vina = scoring[0].result() if scoring else [None] * len(finals)
        clock.lap("vina", *scoring)
    costs = [
        cost(final.above, final.interaction, score, failed)
        for final, score, failed in zip(finals, vina, checks, strict=True)
    ]
    warheads = [approach(mol, final.xyz, receptor) for final in finals]
    order = preferred_order(costs, [warhead is not None and warhead.reactive for warhead in warheads], TIE)
    if misfit:  # what the backbone would have to give way to is most of the energy, so crystals decide
        alike = [_like_crystal(mol, final, references)[0] for final in finals]
        order = sorted(range(len(finals)), key=lambda i: (-alike[i], costs[i]))
    lowest = min(range(len(finals)), key=costs.__getitem__)
    details = {
        "starts": len(grown),
        "seed": seed,
        "thorough": effort is search.THOROUGH,
        "excluded": list(exclude),
        "excluded_above_similarity": exclude_similar,
        "vina": without_vina or f"AutoDock Vina {version('vina')}",
        "references": [reference.name for reference in references],
        "clashes_with_side_chains_moved": len(squeezed),
        "cpu_seconds": clock.seconds,
    }
    poses = []
    for rank, i in enumerate(order, start=1):
        final, rivals = finals[i], [finals[j] for j in order if j != i]
        anchors = anchor_distances(mol, final.xyz, receptor)
        warhead = warheads[i]
        if warhead is not None and warhead.cys530 is not None:
            anchors["warhead_C530"] = warhead.cys530
        confidence, reason = _confidence(mol, final, rivals, references, state, anchors, checks[i])
        if misfit:
            confidence, reason = "low", f"does not fit; {reason}"
        if rank == 1 and i != lowest and not misfit:
            reason += f"; first of poses within {TIE:g} kcal/mol because its warhead is in reach of Cys530"
        poses.append(
            Pose(
                ligand=ligand.name,
                state=state,
                sdf=folder / f"pose_{rank}.sdf",
                confidence=confidence,
                reason=reason,
                reference=final.start.reference,
                interaction_kcal=round(final.interaction, 2),
                strain_kcal=round(final.strain, 2),
                above_kcal=round(final.above - finals[order[0]].above, 2),
                vina_kcal=None if vina[i] is None else round(vina[i], 2),
                clashes=len(contacts(mol, final.xyz, receptor, receptor.positions)),
                anchors_angstrom=anchors,
                failed_checks=tuple(checks[i]),
                misfit=misfit,
                label="; ".join(filter(None, (warhead and warhead.label, exit_label(mol, final.xyz, receptor)))),
                rank=rank,
                details={**details, "method": final.start.method, "core_atoms": len(final.start.core)},
            )
        )
    _write(poses, [mols[i] for i in order], labels(ligand), folder)
    return poses


def cost(above: float, interaction: float, vina: float | None, failed: Sequence[str]) -> float:
    """What the finished poses of a ligand that fits are ordered by, lowest first (kcal/mol).

    The mean of three estimates that err differently: the energy of everything sees solvent and strain but has the noise
    of every side chain that moves, the interaction has less of it, Vina was fitted to affinities.

    Parameters
    ----------
    above
        Energy of ligand and pocket together in solvent over that of another pose, crystal evidence counted.
    interaction
        Of ligand and pocket, without solvent.
    vina
        Vina's score, ``None`` (for all poses) where Vina cannot be had: then the mean of the other two.
    failed
        PoseBusters tests that it fails.
    """
    estimates = [above, interaction] if vina is None else [above, interaction, VINA_WEIGHT * vina]
    return sum(estimates) / len(estimates) + FAULT * bool(failed)


def _fits(candidate: search.Candidate, mol: Chem.Mol, squeezed: int) -> bool:
    return candidate.net / mol.GetNumHeavyAtoms() <= FIT_LIMIT and squeezed <= CLASH_LIMIT


def _distinct(candidates: list[search.Candidate], mol: Chem.Mol) -> list[search.Candidate]:
    """The best of each cluster, by symmetry-corrected RMSD without fitting."""
    kept: list[search.Candidate] = []
    bare = []
    for candidate in candidates:
        copy = Chem.Mol(mol)
        copy.GetConformer().SetPositions(candidate.xyz)
        copy = Chem.RemoveAllHs(copy)
        if all(rdMolAlign.CalcRMS(Chem.Mol(copy), other, maxMatches=1000) > APART for other in bare):
            kept.append(candidate)
            bare.append(copy)
        if len(kept) == KEPT:
            break
    return kept


def _posed(mol: Chem.Mol, xyz: np.ndarray, ligand: Ligand, parameters: LigandParameters) -> Chem.Mol:
    posed = Chem.Mol(mol)
    posed.GetConformer().SetPositions(xyz)
    posed.SetProp("_Name", ligand.name)
    posed.SetProp("atom_names", " ".join(parameters.atom_names))
    return posed


def _write(poses: list[Pose], mols: list[Chem.Mol], said: tuple[str, ...], folder: Path) -> None:
    for earlier in folder.glob("pose_*.sdf"):  # there may have been more
        earlier.unlink()
    with Chem.SDWriter(str(folder / "poses.sdf")) as every:
        for pose, mol in zip(poses, mols, strict=True):
            for name in (
                "rank",
                "confidence",
                "reason",
                "reference",
                "interaction_kcal",
                "strain_kcal",
                "above_kcal",
                "vina_kcal",
                "clashes",
            ):
                mol.SetProp(name, str(getattr(pose, name)))
            for name, value in pose.anchors_angstrom.items():
                mol.SetProp(f"{name}_angstrom", str(value))
            mol.SetProp("failed_checks", ", ".join(pose.failed_checks))
            for name, value in (("misfit", pose.misfit), ("label", pose.label), ("labels", "; ".join(said))):
                if value:
                    mol.SetProp(name, value)
            every.write(mol)
            with Chem.SDWriter(str(pose.sdf)) as writer:
                writer.write(mol)
    record = {"labels": list(said), "poses": [pose.to_json() for pose in poses], "details": poses[0].details}
    (folder / "record.json").write_text(json.dumps(record, indent=1))


class _Clock:
    """CPU seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, step: str, *begun: Begun) -> None:
        """A step is done; ``begun`` is what other processes did of it."""
        now = time.process_time()
        taken = now - self._last + sum(call.elsewhere for call in begun)
        self.seconds[step] = round(self.seconds.get(step, 0.0) + taken, 2)
        self._last = now


def _misfit(
    ligand: Ligand, state: HelixState, mol: Chem.Mol, best: search.Candidate, receptor: pocket.Receptor, squeezed: int
) -> str:
    """The sentence for a ligand that does not fit, with the residues in its way in the model as given."""
    overlap: dict[str, float] = {}
    for residue, depth in contacts(mol, best.xyz, receptor, receptor.positions):
        overlap[residue] = overlap.get(residue, 0.0) + depth
    worst = sorted(overlap, key=overlap.get, reverse=True)[:5]
    names = f"clashes with {', '.join(worst)}" if worst else "no room for its shape"
    return (
        f"{ligand.name} does not fit the {state} state: {names}; its best pose has interaction "
        f"{best.interaction:+.1f} and strain {best.strain:+.1f} kcal/mol with {squeezed} clashes left after "
        f"the side chains gave way"
    )


def _confidence(
    mol: Chem.Mol,
    pose: search.Candidate,
    rivals: list[search.Candidate],
    references: tuple[Reference, ...],
    state: HelixState,
    anchors: dict[str, float],
    failed: list[str],
) -> tuple[str, str]:
    """How much to trust the pose, and why in one sentence."""
    shared, reference = _like_crystal(mol, pose, references)
    size = mol.GetNumHeavyAtoms()
    clamped = min(anchors.get("hydroxyl_E353", 99.0), anchors.get("hydroxyl_R394", 99.0)) < 3.6
    rival = next((r for r in rivals if r.above - pose.above < TIE and _rmsd(mol, r, pose) > 2.5), None)
    points = ["lies like no crystal ligand"]
    if reference is not None:
        points = [f"{shared} of {size} heavy atoms lie on {reference.ligand} in {reference.name[:4]}"]
    if "hydroxyl_E353" in anchors:
        points.append("holds the E353/R394 clamp" if clamped else "does not reach the E353/R394 clamp")
    if rival is not None:
        worse = rival.above - pose.above
        points.append(
            f"a pose {_rmsd(mol, rival, pose):.1f} A away is "
            + (f"only {worse:.1f} kcal/mol worse" if worse >= 0 else f"{-worse:.1f} kcal/mol better")
        )
    if failed:
        points.append(f"fails {', '.join(name.replace('_', ' ') for name in failed)}")
    anchored = clamped or "hydroxyl_E353" not in anchors
    same_state = reference is not None and reference.state == state
    if shared >= 0.6 * size and same_state and anchored and rival is None and not failed:
        level = "high"
    elif anchored and not failed and (shared >= 0.35 * size or rival is None):
        level = "medium"
    else:
        level = "low"
    return level, "; ".join(points)


def _like_crystal(
    mol: Chem.Mol, pose: search.Candidate, references: tuple[Reference, ...]
) -> tuple[int, Reference | None]:
    """How many heavy atoms of a pose lie on like atoms of the crystal ligand they lie on most, and that ligand."""
    best: tuple[int, Reference | None] = (0, None)
    for reference in references:
        points = reference.mol.GetConformer().GetPositions()
        for way in placement.common_core(mol, reference.mol):
            near = sum(float(np.linalg.norm(pose.xyz[i] - points[j])) < 1.5 for i, j in way)
            if near > best[0]:
                best = (near, reference)
    return best


def _rmsd(mol: Chem.Mol, one: search.Candidate, two: search.Candidate) -> float:
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    return float(np.sqrt(((one.xyz - two.xyz)[heavy] ** 2).sum(1).mean()))
