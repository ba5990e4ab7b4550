"""A synthetic screen for the tests of report and figures: real ligands, invented numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from rdkit import Chem

from esr1md.catalogue import data_path
from esr1md.config import Thresholds, Weights
from esr1md.scoring.scores import (
    CellScore,
    Comparison,
    Control,
    Failure,
    RankedLigand,
    Ranking,
    Score,
    Verdict,
)
from esr1md.specs import digest_of, file_digest

LIGANDS = {
    "estradiol": ("agonist", "agonist", "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O"),
    "4-hydroxytamoxifen": ("SERM", "antagonist", "CC/C(=C(/c1ccc(O)cc1)c1ccc(OCC[NH+](C)C)cc1)c1ccccc1"),
    "fulvestrant": (
        "SERD",
        "antagonist",
        "C[C@]12CC[C@@H]3c4ccc(O)cc4C[C@@H](CCCCCCCCCS(=O)CCCC(F)(F)C(F)(F)F)[C@H]3[C@@H]1CC[C@@H]2O",
    ),
    "elacestrant": (
        "SERD",
        "antagonist",
        "CC[NH2+]CCc1ccc(CN(CC)c2cc(OC)ccc2[C@@H]2CCc3cc(O)ccc3C2)cc1",
    ),
    "raloxifene": ("SERM", "antagonist", "O=C(c1ccc(OCC[NH+]2CCCCC2)cc1)c1c(-c2ccc(O)cc2)sc2cc(O)ccc12"),
}

PROTOCOL = {
    "name": "quick",
    "solvent": {"model": "obc2", "cutoff_angstrom": 12.0, "slow_steps": 2},
    "region": {"mobile_angstrom": 4.0, "shell_angstrom": 3.0, "helix12": [527, 550]},
    "temperature_kelvin": 300.0,
    "time_step_fs": 4.0,
    "hydrogen_mass_dalton": 3.0,
    "stages": [
        {"kind": "minimise", "iterations": 200, "solvent": False},
        {"kind": "heat", "duration_ps": 1.0},
        {"kind": "produce", "duration_ps": 4.0, "frame_ps": 0.2},
    ],
}

PEPTIDE = """\
ATOM      1  N   TYR A 537       0.000   0.000   0.000  1.00  0.00           N
ATOM      2  H   TYR A 537      -0.500   0.860   0.000  1.00  0.00           H
ATOM      3  CA  TYR A 537       1.450   0.000   0.000  1.00  0.00           C
ATOM      4  HA  TYR A 537       1.800   1.020   0.000  1.00  0.00           H
ATOM      5  C   TYR A 537       2.000  -1.420   0.000  1.00  0.00           C
ATOM      6  O   TYR A 537       1.250  -2.390   0.000  1.00  0.00           O
ATOM      7  CB  TYR A 537       1.990   0.770   1.210  1.00  0.00           C
ATOM      8  N   ALA A 450      30.000   0.000   0.000  1.00  0.00           N
ATOM      9  CA  ALA A 450      31.450   0.000   0.000  1.00  0.00           C
ATOM     10  CB  ALA A 450      31.990   0.770   1.210  1.00  0.00           C
HETATM   11  C1  LIG B   1       4.000   3.000   0.000  1.00  0.00           C
HETATM   12  O1  LIG B   1       5.200   3.000   0.000  1.00  0.00           O
HETATM   13  H1  LIG B   1       5.600   3.850   0.000  1.00  0.00           H
HETATM   14  H2  LIG B   1       3.500   3.960   0.000  1.00  0.00           H
END
"""


VERDICTS = (
    Verdict.RETAINED,
    Verdict.CANNOT_TELL,
    Verdict.WEAKENED,
    Verdict.RETAINED,
    Verdict.CANNOT_TELL,
)
SHIFTS = {Verdict.RETAINED: -0.1, Verdict.CANNOT_TELL: 0.7, Verdict.WEAKENED: 2.0}


def score(value: float, half: float | None, n: int, unit: str = "kcal/mol", origin: str = "simulated") -> Score:
    low, high = (None, None) if half is None else (value - half, value + half)
    return Score(value=value, low=low, high=high, n_replicas=n, unit=unit, origin=origin)


def bundled_complex() -> str:
    """The bundled antagonist model with 4-hydroxytamoxifen from 3ERT, as a stand-in for ``final.pdb``."""
    structures = data_path("structures")
    model = (structures / "models" / "antagonist.pdb").read_text().splitlines()
    lines = [line for line in model if line.startswith(("ATOM", "HETATM"))]
    ligand = Chem.MolFromMolFile(str(structures / "poses" / "3ERT_OHT.sdf"), removeHs=False)
    xyz = ligand.GetConformer().GetPositions()
    for i, (atom, (x, y, z)) in enumerate(zip(ligand.GetAtoms(), xyz, strict=True), start=1):
        name = f"{atom.GetSymbol()}{i}"
        lines.append(
            f"HETATM{i:5d}  {name:<4}LIG B   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {atom.GetSymbol():>2}"
        )
    return "\n".join([*lines, "END", ""])


def model_digest() -> str:
    return file_digest(data_path("structures") / "models" / "antagonist.pdb")


def write_replica(
    root: Path, digest: str, seed: int, pdb: str, *, frames: int = 21, drift: float = 0.0, contacts: str = "terms"
) -> None:
    """``contacts``: ``terms``, ``totals`` (as earlier versions wrote them) or empty for none."""
    folder = root / "replicas" / digest
    folder.mkdir(parents=True)
    rng = np.random.default_rng(int(digest[:8], 16))
    time = np.linspace(0, 4, frames)
    walk = np.cumsum(rng.normal(0, 0.05, frames))
    vdw, coulomb = -48 + rng.normal(0, 1.5, frames), -190 + rng.normal(0, 6, frames)
    gb, sasa = 195 - (coulomb + 190) + rng.normal(0, 1, frames), -6 + rng.normal(0, 0.1, frames)
    table = {
        "time_ps": time,
        "h12_rmsd_agonist_angstrom": 12.5 + walk + drift * time,
        "h12_rmsd_antagonist_angstrom": 0.8 + 0.4 * time**0.5 + rng.normal(0, 0.08, frames),
        "binding_kcal": vdw + coulomb + gb + sasa,
        "vdw_kcal": vdw,
        "coulomb_kcal": coulomb,
        "gb_kcal": gb,
        "sasa_kcal": sasa,
    }
    parquet.write_table(pyarrow.table(table), folder / "observation.parquet")
    (folder / "final.pdb").write_text(pdb)
    spec = {"seed": seed, "state": "antagonist", "protocol": PROTOCOL, "receptor_source": model_digest()}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "summary.json").write_text("{}")
    if contacts:
        energies = {"ASP351": -6.0, "GLU353": -8.0, "PHE404": -1.5, "LEU525": -2.0 + 0.2 * seed, "LYS999": -9.0}
        terms = {name: {"vdw": -1.0, "coulomb": energy + 0.5, "polar": 0.5} for name, energy in energies.items()}
        table = {"residue_energy_kcal": energies} | ({"residue_terms_kcal": terms} if contacts == "terms" else {})
        (folder / "contacts.json").write_text(json.dumps(table))


def write_plan(root: Path, screen: str = "quickstart", **config) -> None:
    """``plan.json`` with what the report reads of it; ``config`` replaces parts of the configuration."""
    folder = root / "screens" / screen
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"thresholds": Thresholds().model_dump(), "weights": Weights().model_dump()} | config
    (folder / "plan.json").write_text(json.dumps({"screen": screen, "config": settings}))


def make_screen(
    root: Path,
    *,
    pdb: str = PEPTIDE,
    n_ligands: int = 5,
    mutants: tuple[str, ...] = ("Y537S",),
    replicas: int = 2,
    undecided: bool = False,
    contradiction: bool = False,
    predicted: bool = True,
    frames: int = 21,
    old: bool = False,
    hormone: bool = False,
    apo: bool = False,
) -> Ranking:
    """Write a store under ``root`` and return a ranking of ``n_ligands`` in WT and ``mutants``.

    ``old``: as an earlier version wrote it, without chances, front, weighted ranks, joint verdicts, helix-12 scores and
    terms of residues. Without ``hormone`` or ``apo`` the helix-12 scores over them are missing.
    """
    rng = np.random.default_rng(7)
    base = list(LIGANDS.items())
    chosen = [
        (name if i < len(base) else f"{name} analogue {i // len(base)}", value)
        for i in range(n_ligands)
        for name, value in [base[i % len(base)]]
    ]
    cells, comparisons, ranked, predictions = [], [], [], []
    for i, (name, (drug_class, state, smiles)) in enumerate(chosen):
        level = -2.5 + 0.9 * i % 5
        for variant in ("WT", *mutants):
            digests = tuple(digest_of([name, variant, seed]) for seed in range(1, replicas + 1))
            for seed, digest in enumerate(digests, start=1):
                drift = -0.2 * (variant != "WT")
                contacts = "totals" if old else "terms"
                write_replica(root, digest, seed, pdb, frames=frames, drift=drift, contacts=contacts)
            away = 0.3 if state == "agonist" else 10.8 - 0.4 * i % 3
            cells.append(
                CellScore(
                    variant=variant, ligand=name, state=state, n_replicas=replicas, n_failed=0,
                    binding=score(-48 + level, 1.8, replicas), binding_relative=score(level, 2.1, replicas),
                    helix12=score(11.6, 0.5, replicas, "angstrom"),
                    helix12_over_hormone=None if old or not hormone else score(away, 0.5, replicas, "angstrom"),
                    helix12_over_apo=None if old or not apo else score(away - 0.2, 0.5, replicas, "angstrom"),
                    metrics={} if old else {"clamp_362_542_angstrom": score(9.4, 0.6, replicas, "angstrom")},
                    pose_confidence="medium" if i == 2 else "high",
                    pose_reason="long side chain built from a conformer search" if i == 2 else "",
                    replicas=digests,
                )
            )  # fmt: skip
        for j, variant in enumerate(mutants):
            verdict = Verdict.CANNOT_TELL if undecided else VERDICTS[(i + j) % 5]
            h12 = Verdict.CANNOT_TELL if undecided else VERDICTS[(2 * i + j) % 5]
            shift = SHIFTS[verdict] + float(rng.normal(0, 0.2))
            h12_shift = -SHIFTS[h12] / 2 + float(rng.normal(0, 0.1))
            comparisons.append(
                Comparison(
                    variant=variant, ligand=name, state=state,
                    binding_shift=score(shift, 0.9, replicas), binding_verdict=verdict,
                    helix12_shift=score(h12_shift, 0.4, replicas, "angstrom"),
                    helix12_verdict=h12,
                    reason=f"The interval spans {shift - 0.9:.1f} to {shift + 0.9:.1f} kcal/mol.",
                    binding_stands=None if old or verdict is Verdict.CANNOT_TELL else (i + j) % 3 > 0,
                    helix12_stands=None if old or h12 is Verdict.CANNOT_TELL else True,
                )
            )  # fmt: skip
        ranked.append(
            RankedLigand(
                rank=1, rank_low=1, rank_high=1, ligand=name,
                drug_class=drug_class, smiles=smiles, state=state, binding=score(level, 1.6, replicas),
                helix12=score(11.4 - 0.3 * i % 3, 0.6, replicas, "angstrom"), worst_variant=mutants[0],
                worst_shift=score(0.4 + 0.3 * i % 2, 1.1, replicas),
                binding_verdict=comparisons[-1].binding_verdict,
                helix12_verdict=comparisons[-1].helix12_verdict,
                notes="R,S mixture at sulfur; S simulated" if name == "fulvestrant" else "",
            )
        )  # fmt: skip
    if predicted:
        for variant in ("WT", *mutants):
            predictions.append(
                CellScore(
                    variant=variant, ligand="imlunestrant", state="antagonist", n_replicas=0, n_failed=0,
                    binding=score(-51.2 + len(variant) / 4, 3.2, 0, origin="predicted"),
                    binding_relative=None,
                    helix12=score(11.2, 1.1, 0, "angstrom", "predicted"), origin="predicted",
                )
            )  # fmt: skip
    ranked.sort(key=lambda line: line.state, reverse=True)
    ranks = {"agonist": 0, "antagonist": 0}
    for k, line in enumerate(ranked):  # ranks start anew in each state
        ranks[line.state] = rank = ranks[line.state] + 1
        interval = {"rank_low": max(1, rank - 1), "rank_high": rank + 1}
        if not old and n_ligands > 1:
            interval |= {
                "p_best": 0.5**rank, "on_front": rank % 2 == 1, "p_front": 0.9 if rank % 2 else 0.2,
                "weighted": 1.0 - 0.5 * rank, "weighted_rank": rank, "weighted_low": 1, "weighted_high": rank + 1,
            }  # fmt: skip
        ranked[k] = line.model_copy(update={"rank": rank, **interval})
    return Ranking(
        screen="quickstart", protocol="quick", reference_ligand="estradiol", created="2026-01-31T10:20:00Z",
        platform="CPU (2 threads)", versions={"openmm": "8.6.1", "rdkit": "2026.03.6", "esr1md-science": "1"},
        limits=(f"{replicas} replicas per cell: the intervals are wide.",),
        controls=(
            Control(
                name="estradiol keeps the agonist state",
                statement="Estradiol holds helix 12 over the pocket.",
                outcome="contradicts" if contradiction else "agrees",
                detail="RMSD to the agonist reference 1.1 \u00c5.",
            ),
            Control(name="apo Y537S", statement="Y537S latches helix 12 without ligand.", outcome="not run",
                    detail="No apo cell in this screen."),
        ),
        ranking=tuple(ranked), cells=tuple(cells), comparisons=tuple(comparisons),
        predictions=tuple(predictions),
        failures=failures(),
    )  # fmt: skip


def failures() -> tuple[Failure, ...]:
    return (
        Failure(
            variant="WT", ligand="fulvestrant", state="agonist", seed=None, stage="pose", kind="outcome",
            cause="the C7 side chain does not fit under a closed helix 12 (14 clashes at best)",
        ),
        Failure(
            variant="Y537S", ligand="giredestrant", state="antagonist", seed=2, stage="dynamics",
            kind="error",
            cause="energy became NaN at step 1200", where="replicas/3f2a/failure.json",
        ),
    )  # fmt: skip


def empty_ranking(**changes) -> Ranking:
    """A ranking in which nothing was simulated."""
    nothing = dict(
        screen="empty", protocol="quick", reference_ligand="estradiol", created="2026-01-31T10:20:00Z",
        platform="CPU", versions={}, limits=(), controls=(), ranking=(), cells=(), comparisons=(),
    )  # fmt: skip
    return Ranking(**{**nothing, **changes})
