"""The next round or the end: which ligands are worth simulating, which replicas are missing, and every reason.

A decision is plain data, as ``round-N.json`` has it. How a candidate is valued and a batch chosen is in
:mod:`esr1md.surrogate.acquisition`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rdkit import Chem

from esr1md.config import APO
from esr1md.explore.candidates import LeftOut
from esr1md.explore.known import Known
from esr1md.explore.layout import Layout, Unit
from esr1md.explore.predictions import Guess
from esr1md.explore.question import Exploration, Say, silent
from esr1md.explore.situation import Situation, Standing, half_width, standings
from esr1md.scoring.cells import CellKey
from esr1md.surrogate.acquisition import Pick, acquisition, select_batch, top_threshold
from esr1md.surrogate.kernel import SimilarityTo, morgan_counts

#: Half-width of a normal distribution's 95 % interval in standard deviations.
HALF_95 = 1.96
#: Replicas that a screen can have of a cell.
MOST_REPLICAS = 1000


def decide(
    found: Known, layout: Layout, exploration: Exploration, guessed: Guess, spent: float, report: Say = silent
) -> dict[str, Any]:
    """The next round or the end, with every reason, as plain data.

    Parameters
    ----------
    found, layout, guessed
        From :func:`~esr1md.explore.known.known`, :func:`~esr1md.explore.layout.lay_out` and
        :func:`~esr1md.explore.predictions.guess`.
    exploration
        What is looked for.
    spent
        Hours of the budget that are gone.

    Returns
    -------
    dict
        ``kind`` is ``ligands`` (new ones are to be simulated), ``replicas`` (more of the leading ones, which are all
        simulated, but not well enough for ``target``) or ``stop`` with the ``reason``: ``target``, ``budget`` or
        ``candidates``.
    """
    now = Situation(found, layout, exploration, guessed, found.scores(exploration.objective), spent)
    best = standings(layout, exploration, now.measured, guessed.scores)[: exploration.top]
    record = _record(now, best)
    target = exploration.target
    if target is not None and best and (now.predicted or not layout.candidates):
        if all(each.half_width <= target for each in best):
            why = f"each of the best {len(best)} is known to +- {target:g} {exploration.unit} or better"
            return record | _stop("target", why)
        if all(each.simulated for each in best):
            return record | _more_replicas(now, best)
    if not layout.candidates:
        return record | _stop("candidates", "no candidate is left to simulate")
    report(f"comparing {len(layout.candidates):,} candidates ...")
    by_cell = _acquisitions(now)
    if not now.predicted:
        return record | _new_ligands(now, layout.candidates, by_cell)
    units, unpredicted = [], []
    for unit in layout.candidates:
        (units if any(cell in by_cell for cell in unit.cells) else unpredicted).append(unit)
    said = "nothing like it was simulated in the state it starts in, so nothing can be predicted of it"
    record["left_out"] += [asdict(LeftOut(unit.ligand.name, said)) for unit in unpredicted]
    if not units:
        return record | _stop("candidates", "nothing can be predicted of any candidate that is left")
    return record | _new_ligands(now, units, by_cell)


def _stop(reason: str, why: str) -> dict[str, Any]:
    return {"kind": "stop", "reason": reason, "why": f"Stopped: {why}."}


def _record(now: Situation, best: Sequence[Standing]) -> dict[str, Any]:
    """What every decision says: the question, the limits, what is known, the budget."""
    found, layout, exploration, why_not = now.found, now.layout, now.exploration, now.guessed.why_not
    limits = [said for said in now.guessed.limits if said != why_not]
    if why_not:
        limits.insert(0, f"Nothing is predicted, so ligands are chosen by diversity alone: {why_not}")
        if exploration.target is not None:
            limits.append("Without predictions nobody can say which candidates belong to the best: the target interval "
                          "is judged when none is left.")  # fmt: skip
    if found.config.method != "mmgbsa":
        limits.append(f"The screens of an exploration leave out method '{found.config.method}'.")
    return {
        "exploration": exploration.name,
        "asked": exploration.to_json(),
        "decided": datetime.now(UTC).isoformat(timespec="seconds"),
        "unit": exploration.unit,
        "basis": now.guessed.basis,
        "limits": limits,
        "known": {
            "replicas": len(found.observations),
            "failed": len(found.failures),
            "ligands": [row.ligand.name for row in layout.known],
            "variants": list(layout.variants),
            "leading": [each.to_json() for each in best],
        },
        "budget": {
            "gpu_hours": exploration.gpu_hours,
            "spent_gpu_hours": round(now.spent, 4),
            "counted": "hours of one GPU" if found.plan["packing"]["per_device"] else "hours of this machine",
            "replica_seconds": round(found.seconds, 1),
            "at_once": found.gpu_share,
            "measured": found.measured,
        },
        "candidates": len(layout.candidates),
        "left_out": [asdict(each) for each in layout.left_out],
    }


# -- more replicas of the leading ligands ----------------------------------------------------------------------


def _more_replicas(now: Situation, best: Sequence[Standing]) -> dict[str, Any]:
    """More replicas of the leading ligands whose intervals are too wide, as many as that should take.

    Half-widths fall with the square root of the number of replicas; at most twice as many as there are, since the next
    round knows better.
    """
    found, layout, target, unit = now.found, now.layout, now.exploration.target, now.exploration.unit
    wide = [each for each in best if each.half_width > target]
    rows = {row.ligand.name: row for row in layout.known}
    taken = list(dict.fromkeys((*(each.ligand for each in wide), *layout.references)))
    cells = [cell for name in taken for cell in rows[name].cells]
    if found.config.apo:
        cells += [(v, APO, str(state)) for state in found.config.states_of(APO) for v in layout.variants]
    have = min(len(found.answered[cell]) for each in wide for cell in each.cells)
    needed = have * (max(each.half_width for each in wide) / target) ** 2
    first, most = found.config.first_seed, min(2 * have, MOST_REPLICAS)
    for replicas in range(most if math.isinf(needed) else min(most, math.ceil(needed)), have, -1):
        seeds = set(range(first, first + replicas))
        hours = sum(len(seeds - found.answered.get(cell, frozenset())) for cell in cells) * found.replica_hours
        if hours <= now.left * (1 + 1e-9):
            break
    else:
        return _stop("budget", f"another replica of {len(wide)} leading ligands would not fit the {now.left:.3g} "
                     "GPU-hours that are left")  # fmt: skip
    return {
        "kind": "replicas",
        "why": f"The best {len(best)} are all simulated, and {len(wide)} of them are not known to +- {target:g} "
        f"{unit}: {replicas} replicas instead of {have} of {', '.join(each.ligand for each in wide)}.",
        "replicas": replicas,
        "round_gpu_hours": round(hours, 4),
        "ligands": taken,
        "chosen": [each.to_json() | {"why": _why_more(each, unit)} for each in wide],
    }


def _why_more(each: Standing, unit: str) -> str:
    if math.isinf(each.half_width):
        return "a cell of it has a single replica and so no interval"
    return f"its widest interval is +- {each.half_width:.3g} {unit}"


# -- new ligands -----------------------------------------------------------------------------------------------


def _acquisitions(now: Situation) -> dict[CellKey, float]:
    """What each predicted cell promises, compared with the best of its variant, whatever state they start in."""
    exploration, scores = now.exploration, now.guessed.scores
    sign = exploration.goal.sign
    found: dict[CellKey, float] = {}
    for variant in now.layout.variants:
        own = [cell for unit in now.layout.candidates for cell in unit.cells if cell[0] == variant and cell in scores]
        if not own:
            continue
        mean = sign * np.array([scores[cell].value for cell in own])
        sd = np.array([half_width(scores[cell]) / HALF_95 for cell in own])
        seen = [score.value for cell, score in now.measured.items() if cell[0] == variant and cell[1] != APO]
        best = top_threshold(sign * np.array(seen), mean, exploration.top)
        found |= zip(own, acquisition(exploration.by, mean, sd, best).tolist(), strict=True)
    return found


def _new_ligands(now: Situation, units: Sequence[Unit], by_cell: Mapping[CellKey, float]) -> dict[str, Any]:
    """A batch of promising ligands that do not resemble each other and that the budget has room for."""
    found, layout, exploration = now.found, now.layout, now.exploration
    value = np.ones(len(units))
    if now.predicted:
        value = np.array([statistics.fmean(by_cell[c] for c in unit.cells if c in by_cell) for unit in units])
    counts = _counts(units)
    alike = SimilarityTo(counts)
    simulated = [row for row in layout.known if row.replicas < len(row.cells) * len(layout.seeds)]
    near = SimilarityTo(_counts(simulated))(counts) if simulated else np.zeros((len(units), 0))
    places = {row.ligand.name: j for j, row in enumerate(simulated)}
    for i, unit in enumerate(units):
        if unit.ligand.name in places:  # a ligand that is half simulated is not near itself
            near[i, places[unit.ligand.name]] = 0.0
    cost = np.array([unit.replicas * found.replica_hours for unit in units])
    beside = layout.beside * found.replica_hours
    picks = select_batch(
        value,
        lambda i: alike(counts[[i]])[0],
        cost=cost,
        budget=max(0.0, now.left - beside),
        most=exploration.batch,
        diversity=exploration.diversity if now.predicted else 1.0,
        nearest=None if now.predicted else near.max(axis=1, initial=0.0),
    )
    if not picks and cost.min() > now.left - beside:
        return _stop("budget", f"the {now.left:.3g} GPU-hours that are left do not cover the {cost.min() + beside:.3g} "
                     "GPU-hours that the cheapest candidate takes")  # fmt: skip
    if not picks:
        return _stop("candidates", "no candidate promises anything: each is predicted too poor or is the same as a "
                     "simulated one")  # fmt: skip
    place = np.argsort(np.argsort(-value, kind="stable"))
    chosen: list[dict[str, Any]] = []
    for pick in picks:
        row = alike(counts[[pick.index]])[0]
        like = {
            "simulated": _most({each.ligand.name: near[pick.index, j] for j, each in enumerate(simulated)}),
            "chosen": _most({units[before.index].ligand.name: row[before.index] for before in picks[: len(chosen)]}),
        }
        number = f"number {place[pick.index] + 1} of {len(units)}"
        chosen.append(_explained(now, units[pick.index], pick, number, by_cell, **like))
    hours = float(sum(cost[pick.index] for pick in picks)) + beside
    how = f"by {exploration.by} of the predicted {exploration.goal.words}" if now.predicted else "by diversity"
    ligands = [entry["ligand"] for entry in chosen]
    return {
        "kind": "ligands",
        "why": f"{len(chosen)} of {len(units)} candidates, {how}, for about {hours:.3g} of the {now.left:.3g} "
        f"GPU-hours left: {', '.join(ligands)}.",
        "replicas": len(layout.seeds),
        "round_gpu_hours": round(hours, 4),
        "beside_replicas": layout.beside,
        "ligands": ligands,
        "chosen": chosen,
    }


def _counts(units: Sequence[Unit]) -> Any:
    return morgan_counts([Chem.MolFromSmiles(unit.ligand.smiles) for unit in units])


def _most(similarities: Mapping[str, float]) -> tuple[str, float] | None:
    """The most similar one and how similar it is, or nothing of nothing."""
    return max(((name, float(s)) for name, s in similarities.items()), key=lambda item: item[1], default=None)


def _explained(now: Situation, unit: Unit, pick: Pick, number: str, by_cell: Mapping[CellKey, float],
               simulated: tuple[str, float] | None, chosen: tuple[str, float] | None) -> dict[str, Any]:  # fmt: skip
    """One chosen ligand with its cells, and why; the nearest simulated and the nearest chosen before it, if any."""
    exploration, hours = now.exploration, now.found.replica_hours
    guessed = {cell: now.guessed.scores[cell] for cell in unit.cells if cell in now.guessed.scores}
    alike = "nothing is simulated"
    if simulated:
        alike = f"similarity {simulated[1]:.2f} to the nearest simulated ligand ({simulated[0]})"
    if chosen:
        alike += f", {chosen[1]:.2f} to the nearest chosen before it ({chosen[0]})"
    why = f"the least like all that is simulated or chosen of what the budget has room for; {alike}"
    if guessed:
        mean = {
            end: statistics.fmean(getattr(score, end) for score in guessed.values()) for end in ("value", "low", "high")
        }
        why = (
            f"{number} by {exploration.by} ({pick.value:.3g} {exploration.unit}); predicted {mean['value']:.1f} "
            f"({mean['low']:.1f} to {mean['high']:.1f}) {exploration.unit} on average over its cells; {alike}"
        )
    cells = [
        {
            "variant": cell[0],
            "state": cell[2],
            "replicas": count,
            "gpu_hours": round(count * hours, 5),
            "predicted": round(guessed[cell].value, 3) if cell in guessed else None,
            "low": round(guessed[cell].low, 3) if cell in guessed else None,
            "high": round(guessed[cell].high, 3) if cell in guessed else None,
            "acquisition": round(by_cell[cell], 5) if cell in by_cell else None,
        }
        for cell, count in unit.missing.items()
        if count
    ]
    return {
        "ligand": unit.ligand.name,
        "smiles": unit.ligand.smiles,
        "why": why,
        "acquisition": round(pick.value, 5) if guessed else None,
        "nearest_simulated": simulated[0] if simulated else None,
        "similarity_to_simulated": round(simulated[1], 3) if simulated else None,
        "similarity_to_chosen": round(chosen[1], 3) if chosen else None,
        "replicas": unit.replicas,
        "gpu_hours": round(unit.replicas * hours, 5),
        "cells": cells,
    }
