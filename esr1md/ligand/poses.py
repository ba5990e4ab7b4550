"""Poses: a ligand placed in a receptor model by the crystal ligands of the same helix-12 state.

Conformers laid on reference ligands (:mod:`~esr1md.ligand.placement`) are grown into the pocket
(:mod:`~esr1md.ligand.growth`) and minimised with the real force field (:mod:`~esr1md.ligand.pocket`), first
alone, then the best few with the side chains around them. The pose with the lowest interaction energy plus
strain wins. A ligand that only fits by straining itself and the pocket as much as it gains does not fit the
state, and the error says which residues are in the way.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from esr1md.errors import StageError
from esr1md.ligand import placement, pocket, search
from esr1md.ligand.parameters import LigandParameters
from esr1md.ligand.references import Reference
from esr1md.specs import HelixState, Ligand

#: A heavy-atom pair nearer than this fraction of the sum of van der Waals radii is a clash (not between atoms
#: that can share a hydrogen bond, which may come to 2.4 angstrom).
CLASH_FRACTION, HYDROGEN_BOND_LIMIT = 0.75, 2.4

#: Net energy (interaction + strain, kcal/mol) for each heavy atom above which a pose does not fit. Measured:
#: ligands in the state of their crystal reach -0.9 to -2.4, 4-hydroxytamoxifen under the closed helix 12 about 0.
FIT_LIMIT = -0.5
#: Clashes that remain after minimisation and mean that the pocket is too small.
CLASH_LIMIT = 2
_VDW = {"C": 1.7, "N": 1.55, "O": 1.52, "S": 1.8, "F": 1.47, "Cl": 1.75, "Br": 1.85, "I": 1.98, "P": 1.8, "B": 1.92}


@dataclass(frozen=True)
class Pose:
    """Where a ligand starts.

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
        Name of the reference pose it came from (``3ERT_OHT``).
    interaction_kcal
        Ligand with pocket after minimisation: Lennard-Jones + Coulomb (dielectric 8).
    strain_kcal
        What ligand and side chains lost against the same basin apart.
    clashes
        Heavy-atom pairs too near to the receptor as it was given.
    anchors_angstrom
        Distances of the anchor contacts; only those the ligand can make.
    details
        Number of starts, energies of the runners-up, CPU seconds of each step.
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
    details: dict[str, Any] = field(hash=False, default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``record.json``; the path relative to the folder."""
        names = ("ligand", "confidence", "reason", "reference", "interaction_kcal", "strain_kcal", "clashes",
                 "anchors_angstrom", "details")
        return {"state": str(self.state), "sdf": self.sdf.name, **{n: getattr(self, n) for n in names}}

    @classmethod
    def from_folder(cls, folder: Path) -> Pose:
        """Read back what :func:`place_ligand` left in ``folder``.

        Raises
        ------
        StageError
            ``record.json`` is missing or unreadable.
        """
        try:
            record = json.loads((folder / "record.json").read_text())
            return cls(**{**record, "state": HelixState(record["state"]), "sdf": folder / record["sdf"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError("pose", f"no readable pose here ({error})", where=str(folder)) from error


def place_ligand(ligand: Ligand, parameters: LigandParameters, receptor_pdb: Path, state: HelixState, folder: Path,
                 *, seed: int = 1, exclude: tuple[str, ...] = ()) -> Pose:
    """Place a ligand in a receptor model; writes ``pose.sdf`` and ``record.json`` into ``folder``.

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
        Seeds the conformers; the same seed gives the same pose.
    exclude
        Ligand names whose references are not used (to test transfer to a new ligand).

    Raises
    ------
    StageError
        The ligand does not fit the state, no reference suits it, or the model is not in a known frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    receptor = pocket.read_receptor(receptor_pdb)
    mol = parameters.molecule()
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
    references = search.suitable_references(
        mol, search.references_in_frame(receptor, receptor_pdb), state, exclude
    )
    clock.lap("receptor")
    for effort in (search.USUAL, search.THOROUGH):  # no ligand is refused before a wider search
        grown = search.grown(mol, references, receptor, seed, effort)
        clock.lap("placement")
        alone = search.minimised_alone(mol, parameters, receptor, grown)
        clock.lap("ligand_minimisation")
        best, runners_up = search.minimised_together(mol, parameters, receptor, alone, effort)
        clock.lap("pocket_minimisation")
        squeezed = contacts(mol, best.xyz, receptor, best.receptor_xyz)
        fits = best.net / mol.GetNumHeavyAtoms() <= FIT_LIMIT and len(squeezed) <= CLASH_LIMIT
        if fits:
            break
    if not fits:
        raise StageError("pose", _misfit(ligand, state, mol, best, receptor, len(squeezed)),
                         where=str(receptor_pdb), kind="outcome")
    anchors = anchor_distances(mol, best.xyz, receptor)
    confidence, reason = _confidence(mol, best, references, state, anchors, runners_up)
    posed = Chem.Mol(mol)
    posed.GetConformer().SetPositions(best.xyz)
    posed.SetProp("_Name", ligand.name)
    posed.SetProp("atom_names", " ".join(parameters.atom_names))
    with Chem.SDWriter(str(folder / "pose.sdf")) as writer:
        writer.write(posed)
    pose = Pose(
        ligand=ligand.name, state=state, sdf=folder / "pose.sdf", confidence=confidence, reason=reason,
        reference=best.start.reference, interaction_kcal=round(best.interaction, 2),
        strain_kcal=round(best.strain, 2), clashes=len(contacts(mol, best.xyz, receptor, receptor.positions)),
        anchors_angstrom=anchors,
        details={
            "method": best.start.method, "core_atoms": len(best.start.core), "starts": len(grown),
            "clashes_with_side_chains_moved": len(squeezed), "runners_up": runners_up, "seed": seed,
            "thorough": effort is search.THOROUGH, "excluded": list(exclude), "cpu_seconds": clock.seconds,
        },
    )
    (folder / "record.json").write_text(json.dumps(pose.to_json(), indent=1))
    return pose


class _Clock:
    """CPU seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, step: str) -> None:
        now = time.process_time()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._last, 2)
        self._last = now


def contacts(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor, receptor_xyz: np.ndarray,
             ) -> list[tuple[str, float]]:
    """Clashing heavy-atom pairs: the residue (``L540``) and by how much (angstrom) they are too near."""
    ligand = [a for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    found = []
    for atom in receptor.topology.atoms():
        symbol = atom.element.symbol
        if symbol == "H":
            continue
        distance = np.linalg.norm(xyz - receptor_xyz[atom.index], axis=1)
        if distance.min() > 3.0:
            continue
        for own in ligand:
            polar = symbol in "NO" and own.GetSymbol() in "NOF"
            limit = HYDROGEN_BOND_LIMIT if polar else CLASH_FRACTION * (_VDW[symbol] + _VDW[own.GetSymbol()])
            if distance[own.GetIdx()] < limit:
                found.append((pocket.residue_label(atom.residue), float(limit - distance[own.GetIdx()])))
    return found


def _misfit(ligand: Ligand, state: HelixState, mol: Chem.Mol, best: search.Candidate, receptor: pocket.Receptor,
            squeezed: int) -> str:
    """The sentence for a ligand that does not fit, with the residues in its way in the model as given."""
    overlap: dict[str, float] = {}
    for residue, depth in contacts(mol, best.xyz, receptor, receptor.positions):
        overlap[residue] = overlap.get(residue, 0.0) + depth
    worst = sorted(overlap, key=overlap.get, reverse=True)[:5]
    names = f"clashes with {', '.join(worst)}" if worst else "no room for its shape"
    return (f"{ligand.name} does not fit the {state} state: {names}; its best pose has interaction "
            f"{best.interaction:+.1f} and strain {best.strain:+.1f} kcal/mol with {squeezed} clashes left after "
            f"the side chains gave way")


def anchor_distances(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor) -> dict[str, float]:
    """Distances (angstrom) of the contacts that anchor ER ligands, for those the ligand can make.

    ``hydroxyl_E353``, ``hydroxyl_R394`` and ``hydroxyl_H524`` from the nearest hydroxyl (or N-H of an
    aromatic ring) of the ligand, ``amine_D351`` from its basic nitrogen.
    """
    donors = [m[0] for m in mol.GetSubstructMatches(Chem.MolFromSmarts("[OX2H,nX3H]"))]
    amines = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 7 and a.GetFormalCharge() > 0]
    wanted = (("hydroxyl_E353", donors, 353, ("OE1", "OE2")), ("hydroxyl_R394", donors, 394, ("NH1", "NH2")),
              ("hydroxyl_H524", donors, 524, ("ND1", "NE2")), ("amine_D351", amines, 351, ("OD1", "OD2")))
    found = {}
    for name, own, residue, atoms in wanted:
        points = [p for p in (receptor.named(residue, a) for a in atoms) if p is not None]
        if own and points:
            found[name] = round(float(np.linalg.norm(xyz[own][:, None] - np.array(points)[None], axis=-1).min()), 2)
    return found


def _confidence(mol: Chem.Mol, best: search.Candidate, references: tuple[Reference, ...], state: HelixState,
                anchors: dict[str, float], runners_up: list[dict]) -> tuple[str, str]:
    """How much to trust the pose, and why in one sentence."""
    reference = next(r for r in references if r.name == best.start.reference)
    ways = placement.common_core(mol, reference.mol, limit=1)
    shared, size = (len(ways[0]) if ways else 0), mol.GetNumHeavyAtoms()
    clamped = min(anchors.get("hydroxyl_E353", 99.0), anchors.get("hydroxyl_R394", 99.0)) < 3.6
    rival = next((r for r in runners_up if r["above_kcal"] < 3.0 and r["rmsd_angstrom"] > 2.5), None)
    crystal = f"{reference.ligand} in {reference.name[:4]}"
    points = [f"shares {shared} of {size} heavy atoms with {crystal}"]
    if "hydroxyl_E353" in anchors:
        points.append("holds the E353/R394 clamp" if clamped else "does not reach the E353/R394 clamp")
    if rival:
        points.append(f"a pose {rival['rmsd_angstrom']:.1f} A away is only {rival['above_kcal']:.1f} kcal/mol worse")
    anchored = clamped or "hydroxyl_E353" not in anchors
    if shared >= 0.6 * size and reference.state == state and anchored and not rival:
        level = "high"
    elif anchored and (shared >= 0.35 * size or not rival):
        level = "medium"
    else:
        level = "low"
    return level, "; ".join(points)
