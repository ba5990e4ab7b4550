"""Differences of cells, metric by metric and residue by residue, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping

from esr1md.analysis.statistics import paired_difference, sample_noise, t_interval
from esr1md.dashboard.cell_data import CellData
from esr1md.report.matrix import SCORE_TITLES
from esr1md.scoring.scores import CellScore, Score


def scores_of(cell: CellScore) -> dict[str, Score]:
    """The scores of a cell that it has, in their order."""
    found = {name: getattr(cell, name) for name in SCORE_TITLES}
    return {name: score for name, score in found.items() if score is not None}


def difference(one: Score, other: Score) -> Score:
    """``one - other`` with an interval as if the two were independent; replicas of shared seeds make it a wide one."""
    low = high = None
    if None not in (one.low, one.high, other.low, other.high):
        value = one.value - other.value
        low = value - math.hypot(one.value - one.low, other.high - other.value)
        high = value + math.hypot(one.high - one.value, other.value - other.low)
    origin = "predicted" if "predicted" in (one.origin, other.origin) else "simulated"
    return Score(value=one.value - other.value, low=low, high=high, n_replicas=min(one.n_replicas, other.n_replicas),
                 unit=one.unit, origin=origin)  # fmt: skip


def residue_differences(one: CellData, other: CellData) -> dict[int, Score]:
    """Energy of each residue with the ligand, ``one - other`` (kcal/mol), over shared seeds.

    The interval is Student's of the pairs; with a single pair there is none.
    """
    values = [_by_seed(cell) for cell in (one, other)]
    found = {}
    for residue in values[0].keys() & values[1].keys():
        pairs = paired_difference(values[0][residue], values[1][residue])
        if not pairs:
            continue
        mean, n = math.fsum(pairs.values()) / len(pairs), len(pairs)
        noise = sample_noise(list(pairs.values()))
        low, high = t_interval(mean, noise.sd / math.sqrt(n), noise.df) if noise else (None, None)
        found[residue] = Score(value=mean, low=low, high=high, n_replicas=n, unit="kcal/mol")
    return found


def _by_seed(cell: CellData) -> Mapping[int, Mapping[int, float]]:
    """Residue number -> seed -> energy (kcal/mol)."""
    found: dict[int, dict[int, float]] = {}
    for replica in cell.replicas:
        for name, energy in replica.contacts.get("residue_energy_kcal", {}).items():
            if name[3:].isdigit():
                found.setdefault(int(name[3:]), {})[replica.seed] = energy
    return found
