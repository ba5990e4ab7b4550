"""One replica's frames -> its observation: every metric per frame, and the means that scoring uses."""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pandas

from esr1md.analysis import contacts, helix12
from esr1md.analysis.frames import count_frames, frames_to_score, load_frames, read_frames
from esr1md.analysis.mmgbsa import ENTROPY_SPREAD_KCAL, Energies, interaction_entropy, scorer_of
from esr1md.analysis.three_trajectory import SoluteFreeEnergy, solvation_settings
from esr1md.analysis.timeseries import settled
from esr1md.complex import Complex
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.region import select_region
from esr1md.errors import StageError

__all__ = ["frames_to_score", "load_frames", "observe", "summarise"]

Summary = dict[str, float]

#: Residues whose energy is always given, where the receptor has them: pocket and clamp, H524, C530, the mutated 536 and
#: 537, and K362 of the AF-2 groove (P03372).
ALWAYS_GIVEN = (351, 353, 362, 394, 404, 524, 525, 530, 536, 537)
#: Besides those, so many with the largest energies.
STRONGEST = 25

_CONTACTS = ("hydrogen bond", "salt bridge", "hydrophobic")
_TERMS = ("binding_kcal", "vdw_kcal", "coulomb_kcal", "gb_kcal", "sasa_kcal")


def observe(
    folder: Path,
    complex_: Complex,
    protocol: Protocol,
    platform: PlatformChoice,
    *,
    ligand_sdf: Path | None = None,
) -> Summary:
    """Measure the frames of a finished simulation, a hundred at a time.

    Reads ``complex.pdb`` and ``trajectory.xtc``; writes ``observation.parquet`` (a row per frame),
    ``contacts.json`` (fraction of frames by residue and kind; mean energy by residue) and ``summary.json`` (means; the
    number of frames alone where a helix-12 bias acted, for biased frames make no score).

    Parameters
    ----------
    folder
        The replica's folder.
    complex_
        The complex that was simulated, for its parameters.
    protocol
        Says which frames MM/GBSA scores, how, and in how much of the receptor.
    platform
        Where MM/GBSA's solvation terms are evaluated.
    ligand_sdf
        The ligand's SDF in the parametrised atom order (formal charges); ``None`` for apo.

    Raises
    ------
    StageError
        No frame, or frames that are damaged or do not belong to the complex.
    """
    n_atoms = len(complex_.solute_atoms)
    n_frames = count_frames(folder / "trajectory.xtc", n_atoms)
    scored = frames_to_score(n_frames, protocol.scoring.frames)
    bound = len(complex_.ligand_atoms) > 0
    biased = protocol.production.helix12_bias is not None
    geometry = _Geometry(_formal_charges(ligand_sdf, complex_) if bound else None)
    scorer = None if biased else _Scorer(complex_, protocol, platform)
    tables, first = [], 0
    for frames in read_frames(folder, n_atoms):
        columns: dict[str, np.ndarray] = {"time_ps": frames.time}
        if scorer is not None:
            here = scored[(scored >= first) & (scored < first + frames.n_frames)] - first
            columns |= scorer.columns(frames.xyz, here)
        columns |= geometry.columns(frames)
        tables.append(pandas.DataFrame(columns))
        first += frames.n_frames
    table = pandas.concat(tables, ignore_index=True)
    table.to_parquet(folder / "observation.parquet", index=False)
    energy = scorer.residues() if scorer is not None and bound else {"residue_energy_kcal": {}}
    contact_table = {"fingerprint": geometry.fingerprint() if bound else {}, **energy}
    (folder / "contacts.json").write_text(json.dumps(contact_table, indent=1))
    extra = (scorer.spread(table) if scorer is not None and bound else {}) | geometry.fluctuations()
    # a bias takes helix 12 where it would not go by itself: such frames are to be looked at, and make no score
    summary = {"frames": len(table)} if biased else summarise(table, extra)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def summarise(table: pandas.DataFrame, extra: Summary) -> Summary:
    """Means of every numeric column over the settled frames, share of them per helix-12 state, and ``extra``.

    The drift away from the starting model is dropped (:func:`~esr1md.analysis.timeseries.settled`): the later end of
    helix 12's and of the binding energy's counts for all columns. A metric that does not apply (all NaN) is left out,
    so that absence is visible and never a zero.

    Returns
    -------
    dict
        ``frames`` are those that were averaged, ``settled_from_ps`` where they begin (absent for a run too short to
        tell), ``*_effective_frames`` how many of them are independent.
    """
    start, found = _settled(table)
    kept = table.iloc[start:]
    summary: Summary = {"frames": len(kept)}
    for name in kept.columns:
        if name in ("time_ps", "h12_state"):
            continue
        values = kept[name].to_numpy(dtype=float)
        if np.isfinite(values).any():
            summary[name] = float(np.nanmean(values))
    for state in ("agonist", "antagonist", "displaced"):
        summary[f"h12_fraction_{state}"] = float((kept["h12_state"] == state).mean())
    return summary | found | {name: value for name, value in extra.items() if np.isfinite(value)}


def _settled(table: pandas.DataFrame) -> tuple[int, Summary]:
    """Index of the first frame after the drift, and what the frames from there on are worth."""
    starts, found = [0], {}
    tested = False
    for column, name in (("helix12_angstrom", "helix12"), ("binding_kcal", "binding")):
        if column not in table:
            continue
        values = table[column].to_numpy(dtype=float)
        rows = np.flatnonzero(np.isfinite(values))
        if not len(rows):
            continue
        drift = settled(values[rows])
        tested |= drift.tested
        starts.append(int(rows[drift.start]) if drift.start else 0)
        found[f"{name}_effective_frames"] = drift.effective
    start = max(starts)
    if tested:
        time = table["time_ps"].to_numpy(dtype=float)
        found["settled_from_ps"] = float(time[start] - time[0])
    return start, found


class _Scorer:
    """MM/GBSA of a replica's frames as they come, and what it sums over them.

    An apo replica has nothing but the free energy of its solute, where the protocol asks for three trajectories.
    """

    def __init__(self, complex_: Complex, protocol: Protocol, platform: PlatformChoice) -> None:
        self._scoring, self._temperature = protocol.scoring, protocol.temperature_kelvin
        self._residues = [f"{r.name}{r.id}" for r in complex_.topology.residues()]
        settings = solvation_settings(protocol)
        self._mmgbsa = self._solute = None
        if len(complex_.ligand_atoms):
            simulated = protocol.scoring.receptor == "simulated"
            self._atoms = select_region(complex_, protocol.region)[0] if simulated else complex_.solute_atoms
            self._mmgbsa = scorer_of(complex_, self._atoms, platform, **settings)
        if protocol.scoring.trajectories == "three":
            self._solute = SoluteFreeEnergy(complex_, platform, **settings)
        self._frames = 0
        self._sums: defaultdict[str, Any] = defaultdict(float)

    def columns(self, xyz: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of frames (n_frames, n_solute, 3), nm, NaN but in the ``scored`` ones."""
        values: dict[str, np.ndarray] = {}
        if self._mmgbsa is not None:
            values = dict.fromkeys(_TERMS, np.empty(0))
            if len(scored):
                energies = self._mmgbsa.score(xyz[scored][:, self._atoms])
                self._add(energies)
                values = {name: getattr(energies, name) for name in _TERMS}
        if self._solute is not None:
            values["solute_kcal"] = self._solute.score(xyz[scored]).total_kcal if len(scored) else np.empty(0)
        columns = {}
        for name, found in values.items():
            columns[name] = np.full(len(xyz), np.nan)
            columns[name][scored] = found
        return columns

    def _add(self, energies: Energies) -> None:
        self._frames += len(energies.vdw_kcal)
        for name in ("residue_vdw", "residue_coulomb", "residue_polar", "ligand_polar"):
            self._sums[name] = self._sums[name] + getattr(energies, name).sum(axis=0)

    def residues(self) -> dict[str, Any]:
        """Mean energies (kcal/mol) of the strongest residues and those always given: totals, and terms."""
        terms = {name: self._sums[f"residue_{name}"] / self._frames for name in ("vdw", "coulomb", "polar")}
        total = sum(terms.values())
        names = [self._residues[i] for i in self._mmgbsa.residues]
        given = [i for i, name in enumerate(names) if name[3:].isdigit() and int(name[3:]) in ALWAYS_GIVEN]
        order = list(dict.fromkeys([*np.argsort(-np.abs(total), kind="stable")[:STRONGEST].tolist(), *given]))
        order.sort(key=lambda i: -abs(total[i]))
        return {
            "residue_energy_kcal": {names[i]: round(float(total[i]), 3) for i in order},
            "residue_terms_kcal": {
                names[i]: {name: round(float(term[i]), 3) for name, term in terms.items()} for i in order
            },
            "ligand_desolvation_kcal": round(float(self._sums["ligand_polar"] / self._frames), 3),
        }

    def spread(self, table: pandas.DataFrame) -> Summary:
        """Scatter of the binding energy; where it is asked for the interaction entropy, added to that energy."""
        extra = {"binding_sd_kcal": float(table["binding_kcal"].std(ddof=1))}
        return extra | (self._entropy(table) if self._scoring.entropy == "interaction" else {})

    def _entropy(self, table: pandas.DataFrame) -> Summary:
        """Of the settled frames, like the mean that it is added to."""
        start, _ = _settled(table)
        kept = table.iloc[start:].dropna(subset="binding_kcal")
        entropy, spread = interaction_entropy((kept["vdw_kcal"] + kept["coulomb_kcal"]).to_numpy(), self._temperature)
        converged = spread <= ENTROPY_SPREAD_KCAL
        if not converged:
            warnings.warn(
                f"the interaction energy scatters by {spread:.1f} kcal/mol over {len(kept)} frames: above "
                f"{ENTROPY_SPREAD_KCAL} interaction entropy does not converge, so {entropy:.1f} kcal/mol is not to be "
                "relied on",
                stacklevel=2,
            )
        return {
            "binding_kcal": float(kept["binding_kcal"].mean()) + entropy,
            "entropy_kcal": entropy,
            "interaction_sd_kcal": spread,
            "entropy_converged": float(converged),
        }


class _Geometry:
    """Helix 12, contacts and motion of a replica's frames as they come.

    Parameters
    ----------
    charged
        Formal charge by atom index of the ligand's charged atoms; ``None`` for apo.
    """

    def __init__(self, charged: dict[int, int] | None) -> None:
        self._charged = charged
        self._frames = 0
        self._touched: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._start: np.ndarray | None = None
        self._alpha: list[mdtraj.Trajectory] = []  # of all frames: a twentieth of their size

    def columns(self, frames: mdtraj.Trajectory) -> dict[str, np.ndarray]:
        """Columns of some frames, which are superposed on the core in place."""
        helix12.superpose_on_core(frames)
        columns = helix12.measure(frames)
        alpha = [a.index for a in frames.topology.atoms if a.name == "CA" and a.residue.name != "LIG"]
        self._alpha.append(frames.atom_slice(alpha))
        if self._charged is not None:
            columns |= self._of_ligand(frames, self._charged)
        self._frames += frames.n_frames
        return columns

    def _of_ligand(self, frames: mdtraj.Trajectory, charged: dict[int, int]) -> dict[str, np.ndarray]:
        nitrogens = [i for i, charge in charged.items() if charge > 0 and frames.topology.atom(i).element.symbol == "N"]
        for residue, kinds in contacts.fingerprint(frames, charged).items():
            for kind, fraction in kinds.items():
                self._touched[residue][kind] += round(fraction * frames.n_frames)
        heavy = [a.index for a in frames.topology.atoms if a.residue.name == "LIG" and a.element.symbol != "H"]
        if self._start is None:
            self._start = frames.xyz[0, heavy].copy()
        moved = ((frames.xyz[:, heavy] - self._start) ** 2).sum(axis=-1)
        return {
            **contacts.anchors(frames),
            "ligand_n_d351_angstrom": contacts.basic_nitrogen_to_d351(frames, nitrogens),
            "ligand_rmsd_angstrom": 10 * np.sqrt(moved.mean(axis=-1)),
        }

    def fingerprint(self) -> dict[str, dict[str, float]]:
        """Fraction of all frames with each kind of contact, by residue in the order of the chain."""
        return {
            residue: {kind: round(kinds[kind] / self._frames, 4) for kind in _CONTACTS if kinds[kind]}
            for residue, kinds in sorted(self._touched.items(), key=lambda item: int(item[0][3:]))
        }

    def fluctuations(self) -> Summary:
        """Of all frames: :func:`~esr1md.analysis.helix12.fluctuations`."""
        return helix12.fluctuations(mdtraj.join(self._alpha, check_topology=False))


def _formal_charges(ligand_sdf: Path | None, complex_: Complex) -> dict[int, int]:
    """Formal charge by complex atom index of the ligand's charged atoms."""
    from rdkit import Chem

    molecule = next(iter(Chem.SDMolSupplier(str(ligand_sdf), removeHs=False)), None) if ligand_sdf else None
    if molecule is None or molecule.GetNumAtoms() != len(complex_.ligand_atoms):
        raise StageError("analysis", "the ligand's SDF does not match the complex", where=str(ligand_sdf))
    first = int(complex_.ligand_atoms[0])
    return {first + a.GetIdx(): a.GetFormalCharge() for a in molecule.GetAtoms() if a.GetFormalCharge()}
