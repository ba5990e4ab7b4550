"""One replica's frames -> its observation: every metric per frame, and the means that scoring uses."""

from __future__ import annotations

import json
from pathlib import Path

import mdtraj
import numpy as np
import pandas

from esr1md.analysis import contacts, helix12
from esr1md.analysis.mmgbsa import MMGBSA
from esr1md.complex import Complex
from esr1md.dynamics.images import make_whole
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.region import select_region
from esr1md.errors import StageError

Summary = dict[str, float]


def observe(
    folder: Path,
    complex_: Complex,
    protocol: Protocol,
    platform: PlatformChoice,
    *,
    ligand_sdf: Path | None = None,
) -> Summary:
    """Measure the frames of a finished simulation.

    Reads ``complex.pdb`` and ``trajectory.xtc``; writes ``observation.parquet`` (a row per frame),
    ``contacts.json`` (fraction of frames by residue and kind) and ``summary.json`` (means; the number of frames alone
    where a helix-12 bias acted, for biased frames make no score).

    Parameters
    ----------
    folder
        The replica's folder.
    complex_
        The complex that was simulated, for its parameters.
    protocol
        Says which frames MM/GBSA scores and in how much of the receptor.
    platform
        Where MM/GBSA's solvation terms are evaluated.
    ligand_sdf
        The ligand's SDF in the parametrised atom order (formal charges); ``None`` for apo.

    Raises
    ------
    StageError
        No frame, or frames that do not belong to the complex.
    """
    trajectory = load_frames(folder)
    if trajectory.n_atoms != len(complex_.solute_atoms):
        raise StageError(
            "analysis",
            f"the trajectory has {trajectory.n_atoms} atoms, the complex {len(complex_.solute_atoms)}",
            where=str(folder),
        )
    columns: dict[str, np.ndarray] = {"time_ps": trajectory.time}
    scored = frames_to_score(trajectory.n_frames, protocol.scoring.frames)
    extra: Summary = {}
    biased = protocol.production.helix12_bias is not None
    residues: dict[str, float] = {}
    if len(complex_.ligand_atoms):
        charged = _formal_charges(ligand_sdf, complex_)
    if len(complex_.ligand_atoms) and not biased:
        energies, residues = _score(trajectory.xyz[scored], complex_, protocol, platform)
        for name in ("binding_kcal", "vdw_kcal", "coulomb_kcal", "gb_kcal", "sasa_kcal"):
            column = np.full(trajectory.n_frames, np.nan)
            column[scored] = getattr(energies, name)
            columns[name] = column
        extra["binding_sd_kcal"] = float(energies.binding_kcal.std(ddof=1)) if len(scored) > 1 else float("nan")
    helix12.superpose_on_core(trajectory)
    columns |= helix12.measure(trajectory)
    contact_table: dict = {"fingerprint": {}, "residue_energy_kcal": {}}
    if len(complex_.ligand_atoms):
        columns |= contacts.anchors(trajectory)
        nitrogens = [
            i for i, charge in charged.items() if charge > 0 and trajectory.topology.atom(i).element.symbol == "N"
        ]
        columns["ligand_n_d351_angstrom"] = contacts.basic_nitrogen_to_d351(trajectory, nitrogens)
        columns["ligand_rmsd_angstrom"] = _ligand_rmsd(trajectory)
        contact_table = {
            "fingerprint": contacts.fingerprint(trajectory, charged),
            "residue_energy_kcal": residues,
        }
    table = pandas.DataFrame(columns)
    table.to_parquet(folder / "observation.parquet", index=False)
    (folder / "contacts.json").write_text(json.dumps(contact_table, indent=1))
    extra["loop_rmsf_angstrom"] = helix12.rmsf(trajectory, helix12.LOOP_RESIDUES)
    extra["h12_rmsf_angstrom"] = helix12.rmsf(trajectory, helix12.HELIX12)
    # a bias takes helix 12 where it would not go by itself: such frames are to be looked at, and make no score
    summary = {"frames": len(table)} if biased else summarise(table, extra)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def load_frames(folder: Path) -> mdtraj.Trajectory:
    """The replica's frames, whole in their periodic box; ``StageError`` when there is none or the file is torn."""
    try:
        trajectory = mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    except (OSError, RuntimeError, ValueError) as error:
        raise StageError("analysis", f"the trajectory cannot be read: {error}", where=str(folder)) from error
    if not trajectory.n_frames:
        raise StageError("analysis", "the trajectory has no frame", where=str(folder))
    return make_whole(trajectory)


def frames_to_score(n_frames: int, wanted: int) -> np.ndarray:
    """Indices of at most ``wanted`` frames, evenly spread and including the last."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, wanted)).round().astype(int))


def summarise(table: pandas.DataFrame, extra: Summary) -> Summary:
    """Means over frames of every numeric column, share of frames per helix-12 state, and ``extra``.

    A metric that does not apply (all NaN) is left out, so that absence is visible and never a zero.
    """
    summary: Summary = {"frames": len(table)}
    for name in table.columns:
        if name in ("time_ps", "h12_state"):
            continue
        values = table[name].to_numpy(dtype=float)
        if np.isfinite(values).any():
            summary[name] = float(np.nanmean(values))
    for state in ("agonist", "antagonist", "displaced"):
        summary[f"h12_fraction_{state}"] = float((table["h12_state"] == state).mean())
    return summary | {name: value for name, value in extra.items() if np.isfinite(value)}


def _score(xyz: np.ndarray, complex_: Complex, protocol: Protocol, platform: PlatformChoice):
    """MM/GBSA of frames (n_frames, n_solute, 3) and the mean pair energy (kcal/mol) of the strongest residues."""
    scoring = protocol.scoring
    if scoring.receptor == "simulated":
        atoms, _ = select_region(complex_, protocol.region)
    else:
        atoms = complex_.solute_atoms
    scorer = MMGBSA(
        complex_,
        atoms,
        platform,
        solute_dielectric=scoring.solute_dielectric,
        solvent_dielectric=scoring.solvent_dielectric,
    )
    energies = scorer.score(xyz[:, atoms])
    mean = (energies.residue_vdw + energies.residue_coulomb + energies.residue_polar).mean(axis=0)
    names = [f"{r.name}{r.id}" for r in complex_.topology.residues()]
    strongest = np.argsort(-np.abs(mean))[:25]
    return energies, {names[scorer.residues[i]]: round(float(mean[i]), 3) for i in strongest}


def _formal_charges(ligand_sdf: Path | None, complex_: Complex) -> dict[int, int]:
    """Formal charge by complex atom index of the ligand's charged atoms."""
    from rdkit import Chem

    molecule = next(iter(Chem.SDMolSupplier(str(ligand_sdf), removeHs=False)), None) if ligand_sdf else None
    if molecule is None or molecule.GetNumAtoms() != len(complex_.ligand_atoms):
        raise StageError("analysis", "the ligand's SDF does not match the complex", where=str(ligand_sdf))
    first = int(complex_.ligand_atoms[0])
    return {first + a.GetIdx(): a.GetFormalCharge() for a in molecule.GetAtoms() if a.GetFormalCharge()}


def _ligand_rmsd(trajectory: mdtraj.Trajectory) -> np.ndarray:
    """Heavy-atom RMSD (n_frames,) in angstrom of the ligand to the first frame, after superposing the core."""
    heavy = [a.index for a in trajectory.topology.atoms if a.residue.name == "LIG" and a.element.symbol != "H"]
    difference = trajectory.xyz[:, heavy] - trajectory.xyz[0, heavy]
    return 10 * np.sqrt((difference**2).sum(axis=-1).mean(axis=-1))
