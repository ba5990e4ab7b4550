"""The ranking of ligands within one helix-12 state.

Ligands are ranked by their mean relative binding over the variants screened, and by nothing else, so that a
rank can be explained; helix 12 and the worst mutant stand beside it, and so does the rank by all three with the user's
weights (:mod:`esr1md.scoring.priorities`). Agonists are controls without a rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esr1md.analysis.statistics import Noise, rank_intervals, satterthwaite, t_interval
from esr1md.config import Weights
from esr1md.scoring.cells import BINDING, HELIX12, CellKey, Matrix, cell_noise, difference_noise, reader_notes
from esr1md.scoring.comparisons import WILD
from esr1md.scoring.priorities import Wish, priorities
from esr1md.scoring.scores import Comparison, Failure, RankedLigand, Score
from esr1md.scoring.verdicts import combined_verdict
from esr1md.specs import HelixState, Ligand

DEFAULT_WEIGHTS = Weights()


def is_agonist(ligand: Ligand) -> bool:
    """Whether the ligand's class makes it a control: ``agonist``, ``phytoestrogen agonist`` and the like."""
    return "agonist" in ligand.drug_class.lower().replace("/", " ").split()


@dataclass(frozen=True)
class _Mean:
    """A ligand's mean over variants: the score, and the standard error of its own part (kcal/mol)."""

    score: Score | None
    own_error: float | None
    df: float
    variants: tuple[str, ...]


def rank_ligands(
    cells: Matrix,
    state: str,
    relative: Mapping[CellKey, Score | None],
    comparisons: Sequence[Comparison],
    failures: Sequence[Failure],
    ligands: Mapping[str, Ligand],
    reference: Mapping[str, str],
    weights: Weights = DEFAULT_WEIGHTS,
) -> list[RankedLigand]:
    """One list of ranks, best first, for the ligands of ``state`` that are not agonists.

    The rank interval comes from perturbing every ligand's mean by its own noise (the reference ligand's noise
    is common to all and does not change their order). A ligand without a binding score comes last, with any
    rank possible. Without any replica of the reference ligand the absolute energies are ranked, and
    the notes say so.
    """
    names = [n for n in cells.names(1) if n != "apo" and not (n in ligands and is_agonist(ligands[n]))]
    names = [n for n in names if any(cell[1:] == (n, state) for cell in cells.replicas)]
    variants = [v for v in cells.names(0) if any((v, n, state) in cells.replicas for n in names)]
    noise = difference_noise(cells, BINDING, lambda c: (c[0], c[2]), lambda c: c[1])
    single = {metric: cell_noise(cells, metric) for metric in (BINDING, HELIX12)}
    use_relative = any(relative.get((v, n, state)) is not None for v in variants for n in names)

    def binding_of(name: str) -> _Mean:
        scores, spread = {}, {}
        for variant in variants:
            cell = (variant, name, state)
            if use_relative and relative.get(cell) is not None:
                scores[variant], spread[variant] = relative[cell], noise.get((variant, state))
            elif not use_relative and (values := cells.values(cell, BINDING)):
                alone = single[BINDING][cell]
                scores[variant] = _plain_mean(values, "kcal/mol")
                spread[variant] = alone and Noise(math.sqrt(2) * alone.sd, alone.df)
        # The spread is of a difference, which has the noise of two runs: all of it counts for a ligand against
        # the reference, none for the reference against itself, half for a ligand on its own.
        factor = 0.5 if not use_relative else 0.0 if name == reference.get(state) else 1.0
        return _mean_over_variants(scores, spread, factor, "kcal/mol")

    def helix12_of(name: str) -> _Mean:
        cells_of = {v: (v, name, state) for v in variants}
        scores = {v: _plain_mean(cells.values(c, HELIX12), "angstrom") for v, c in cells_of.items()}
        known = {v: s for v, s in scores.items() if s is not None}
        return _mean_over_variants(known, {v: single[HELIX12][cells_of[v]] for v in known}, 1.0, "angstrom")

    binding = {name: binding_of(name) for name in names}
    scored = sorted((n for n in names if binding[n].score), key=lambda n: (binding[n].score.value, n))
    df = min((binding[n].df for n in scored), default=math.inf)
    sure = rank_intervals([binding[n].score.value for n in scored], [binding[n].own_error for n in scored], df)
    bounds = list(zip(sure.low, sure.high, sure.best, strict=True))
    bounds += [(1, len(names), None)] * (len(names) - len(scored))
    helix12 = {name: helix12_of(name) for name in names}
    worsts = {name: _worst(comparisons, name, state) for name in names}
    shift_noise = difference_noise(cells, BINDING, lambda c: (c[1], c[2]), lambda c: c[0])
    wished = {
        name: (
            Wish(binding[name].score and binding[name].score.value, binding[name].own_error, binding[name].df),
            _kept_away(helix12[name]),
            _worst_wish(worsts[name], shift_noise.get((name, state))),
        )
        for name in names
    }
    priority = priorities(wished, weights)
    lines = []
    for rank, name in enumerate([*scored, *sorted(set(names) - set(scored))], start=1):
        of_ligand = [c for c in comparisons if (c.ligand, c.state) == (name, state)]
        worst, stands = worsts[name], priority[name]
        ligand = ligands.get(name)
        lines.append(
            RankedLigand(
                rank=rank,
                rank_low=bounds[rank - 1][0],
                rank_high=max(bounds[rank - 1][1], rank),
                p_best=bounds[rank - 1][2],
                ligand=name,
                drug_class=ligand.drug_class if ligand else "",
                smiles=ligand.smiles if ligand else "",
                state=state,
                binding=binding[name].score,
                helix12=helix12[name].score,
                worst_variant=worst.variant if worst else None,
                worst_shift=worst.binding_shift if worst else None,
                binding_verdict=combined_verdict([c.binding_verdict for c in of_ligand]),
                helix12_verdict=combined_verdict([c.helix12_verdict for c in of_ligand]),
                on_front=stands.on_front,
                p_front=stands.p_front,
                weighted=stands.weighted,
                weighted_rank=stands.rank,
                weighted_low=stands.low,
                weighted_high=stands.high,
                notes=_notes(
                    name, state, cells, variants, binding[name], use_relative, ligand, failures, len(names) == 1
                ),
            )
        )
    return lines


def _worst(comparisons: Sequence[Comparison], name: str, state: str) -> Comparison | None:
    """The mutant that weakens a ligand's binding most."""
    of_ligand = [c for c in comparisons if (c.ligand, c.state) == (name, state) and c.binding_shift is not None]
    return max(of_ligand, key=lambda c: c.binding_shift.value, default=None)


def _kept_away(helix12: _Mean) -> Wish:
    """Helix 12 as a wish: lower is better, so its sign is turned; the noise is of runs, not of differences."""
    error = helix12.own_error and math.sqrt(2) * helix12.own_error
    return Wish(helix12.score and -helix12.score.value, error, helix12.df)


def _worst_wish(worst: Comparison | None, noise: Noise | None) -> Wish:
    if worst is None:
        return Wish(None, None)
    error = noise and noise.sd / math.sqrt(worst.binding_shift.n_replicas)
    return Wish(worst.binding_shift.value, error, noise.df if noise else math.inf)


def _plain_mean(values: Mapping[int, float], unit: str) -> Score | None:
    if not values:
        return None
    mean = math.fsum(values.values()) / len(values)
    return Score(value=mean, low=None, high=None, n_replicas=len(values), unit=unit)


def _mean_over_variants(
    scores: Mapping[str, Score], spread: Mapping[str, Noise | None], factor: float, unit: str
) -> _Mean:
    """Unweighted mean over variants; ``factor`` scales the variance of ``spread`` to one value of the score.

    The interval is Student's with Satterthwaite's degrees of freedom, which are not let beyond the largest of
    the parts: spreads borrowed from one pool are not independent.
    """
    if not scores:
        return _Mean(None, None, math.inf, ())
    k = len(scores)
    value = math.fsum(s.value for s in scores.values()) / k
    pairs = sum(s.n_replicas for s in scores.values())
    low = high = own_error = None
    df = math.inf
    if all(spread[v] is not None for v in scores):
        variances = [spread[v].sd ** 2 / s.n_replicas / k**2 for v, s in scores.items()]
        dfs = [spread[v].df for v in scores]
        df = satterthwaite(variances, dfs, most=max(dfs))
        own_error = math.sqrt(sum(variances) / 2)
        if max(s.n_replicas for s in scores.values()) > 1:
            low, high = t_interval(value, math.sqrt(factor * sum(variances)), df)
    if factor == 0:  # the reference ligand against itself is zero by definition, with or without replicas to spare
        low = high = value
    score = Score(value=value, low=low, high=high, n_replicas=pairs, unit=unit)
    return _Mean(score, own_error, df, tuple(scores))


def _notes(
    name: str,
    state: str,
    cells: Matrix,
    variants: Sequence[str],
    binding: _Mean,
    use_relative: bool,
    ligand: Ligand | None,
    failures: Sequence[Failure],
    alone: bool,
) -> str:
    """What a reader of this line must know, in short phrases."""
    replicas = [r for v in variants for r in cells.replicas.get((v, name, state), {}).values()]
    notes = reader_notes(ligand, replicas)
    missing = [v for v in variants if v not in binding.variants]
    if binding.score is None:
        notes.append("no binding score")
    else:
        if not use_relative:
            notes.append("absolute MM/GBSA energy: no reference ligand in this state")
        if missing:
            share = f"{len(variants) - len(missing)} of {len(variants)} variants"
            notes.append(f"mean over {share}, without {', '.join(missing)}")
    if binding.score is not None and binding.own_error is None and not alone:
        notes.append("too few replicas for a rank interval")
    if WILD not in variants or not cells.replicas.get((WILD, name, state)):
        notes.append("no wild type to compare with")
    if state == HelixState.AGONIST:
        notes.append("agonist state, ranked apart")
    causes = list(dict.fromkeys(f.cause for f in failures if (f.ligand, f.state) == (name, state)))
    if causes:
        notes.append(causes[0] + (f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""))
    if any(r.pose_confidence == "low" for r in replicas):
        notes.append("low-confidence pose")
    return "; ".join(notes)
