"""For each ligand: in what share of the ESR1-mutant population it is retained.

The population is published frequencies of mutations, or profiles that a user gives: patients, each with the allele
fractions of its clones. Shares of ``retained``, ``weakened``, ``lost``, ``cannot tell`` and ``not simulated`` follow
from the verdicts of the screen and add up to 1. The interval of the retained share holds

- what the shifts may truly be, given their intervals (the wild type's noise moves all mutants of a ligand together);
- the sampling error of the frequencies, where the source says how many were counted, and of patients that are a sample
  (Dirichlet, Jeffreys prior; mutations and patients unlike those seen among them);
- everything of which nothing is known (not simulated, not named by the source, replicas too short or single), as not
  retained at the low end and as retained at the high one.

Frequencies are among mutations, not among patients: a patient may carry several, and then the drug must hold for all.
Only profiles can say that; their headline is `all clones`: a patient counts as retained only if every clone from
``smallest_fraction`` up is, because the clone that is not is the one that grows. `by clone` weighs clones by their
fraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from esr1md.config import Thresholds
from esr1md.scoring.draws import N_DRAWS, SEED, score_draws
from esr1md.scoring.population import Population, Profiles, VariantShare
from esr1md.scoring.scores import Comparison, Ranking, Record, Score, Verdict
from esr1md.scoring.verdicts import combined_verdict

RESEARCH_USE = "Research use only: a statement about simulations, not about the treatment of patients."
NOT_SIMULATED = "not simulated"
Fate = Literal["retained", "weakened", "lost", "cannot tell", "not simulated"]
Judged = Literal["both", "binding", "helix 12"]
Rule = Literal["mutations", "all clones", "by clone"]
JUDGED: tuple[Judged, ...] = ("both", "binding", "helix 12")
_VERDICTS = (Verdict.RETAINED, Verdict.WEAKENED, Verdict.LOST)
_RETAINED = 0


class CoveragePart(Record):
    """One variant or patient of a population: its share, what becomes of the ligand there, and why that is said.

    ``chance`` is the probability of each verdict given the screen's intervals; ``None`` where nothing is known.
    """

    name: str
    share: float
    fate: Fate
    chance: dict[str, float] | None
    why: str


class Coverage(Record):
    """In what share of a population a ligand is retained.

    The five shares add up to 1. ``low`` to ``high`` is the 95 % interval of the retained one (module docstring).
    ``judged`` is by which verdict: ``both`` is the worse of binding and helix 12. ``rule`` is what a share is of:
    ``mutations`` (published frequencies), ``all clones`` (patients of whom every clone is so) or ``by clone``.
    """

    ligand: str
    state: str
    population: str
    judged: Judged
    rule: Rule
    headline: bool
    retained: float
    weakened: float
    lost: float
    cannot_tell: float
    not_simulated: float
    low: float
    high: float
    parts: tuple[CoveragePart, ...]
    notes: tuple[str, ...]
    use: str = RESEARCH_USE


@dataclass(frozen=True)
class _Known:
    """What a screen knows of a ligand in a variant: the verdict, and draws (n,) of it (-1 where nothing is known)."""

    fate: Fate
    draws: np.ndarray
    why: str

    @property
    def chance(self) -> dict[str, float] | None:
        if (self.draws < 0).all():
            return None
        return {str(v): round(float((self.draws == i).mean()), 4) for i, v in enumerate(_VERDICTS)}


def coverages(ranking: Ranking, population: Population | Profiles, thresholds: Thresholds) -> tuple[Coverage, ...]:
    """Coverage of every ranked ligand, by each verdict and rule; the headlines are by both verdicts.

    Parameters
    ----------
    ranking
        Of a screen. Only what was simulated counts; predicted cells do not.
    population
        Published frequencies (``evidence().populations.named(...)``) or the user's profiles.
    thresholds
        Those of the screen.

    Returns
    -------
    tuple of Coverage
        In the order of the ranking; of each ligand the headline first.
    """
    found: list[Coverage] = []
    for line in ranking.ranking:
        of_ligand = [c for c in ranking.comparisons if (c.ligand, c.state) == (line.ligand, line.state)]
        for judged in JUDGED:
            known = _known(of_ligand, judged, thresholds, ranking.too_short)
            make = _by_mutation if isinstance(population, Population) else _by_profile
            found += make(line.ligand, line.state, judged, known, population)
    return tuple(sorted(found, key=lambda c: [(r.ligand, r.state) for r in ranking.ranking].index((c.ligand, c.state))))


# -- what the screen knows of one ligand --------------------------------------------------------------------


def _known(comparisons: Sequence[Comparison], judged: Judged, thresholds: Thresholds, short: bool) -> dict[str, _Known]:
    """Variant -> verdict with draws, for the variants that were simulated."""
    binding = _draws({c.variant: c.binding_shift for c in comparisons}, 1.0, thresholds.weakened_kcal,
                     thresholds.lost_kcal, 1, short)  # fmt: skip
    helix12 = _draws({c.variant: c.helix12_shift for c in comparisons}, -1.0, thresholds.helix12_weakened_angstrom,
                     thresholds.helix12_lost_angstrom, 2, short)  # fmt: skip
    known = {}
    for c in comparisons:
        if judged == "binding":
            shifts, verdict, draws = [c.binding_shift], c.binding_verdict, binding[c.variant]
        elif judged == "helix 12":
            shifts, verdict, draws = [c.helix12_shift], c.helix12_verdict, helix12[c.variant]
        else:
            shifts, verdict = [c.binding_shift, c.helix12_shift], combined_verdict([c.binding_verdict,
                                                                                    c.helix12_verdict])  # fmt: skip
            draws = _worst(binding[c.variant], helix12[c.variant])
        simulated = any(shift is not None for shift in shifts)
        known[c.variant] = _Known(str(verdict) if simulated else NOT_SIMULATED, draws, c.reason)
    return known


def _draws(
    shifts: Mapping[str, Score | None], sign: float, weakened: float, lost: float, seed: int, short: bool
) -> dict[str, np.ndarray]:
    """Variant -> draws (n,) of 0 retained, 1 weakened, 2 lost; -1 where the shift has no interval or was too short."""
    unknown = np.full(N_DRAWS, -1)
    usable = {v: s for v, s in shifts.items() if s is not None and s.low is not None and not short}
    drawn = score_draws(list(usable.values()), np.random.default_rng((SEED, seed)), shared=0.5)
    losses = sign * drawn
    classes = (losses >= weakened).astype(int) + (losses >= lost)
    return dict.fromkeys(shifts, unknown) | {v: classes[:, i] for i, v in enumerate(usable)}


def _worst(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The worse of two draws. What is not retained stays so whatever else is unknown; otherwise unknown (-1) wins."""
    worst = np.maximum(first, second)
    unknown = ((first < 0) | (second < 0)) & (worst <= _RETAINED)
    return np.where(unknown, -1, worst)


# -- published frequencies ----------------------------------------------------------------------------------


def _by_mutation(
    ligand: str, state: str, judged: Judged, known: Mapping[str, _Known], population: Population
) -> list[Coverage]:
    shares, rest, scaled = _shares(population)
    parts = [_part(share.variant, value, known.get(share.variant)) for share, value in
             zip(population.frequencies, shares, strict=True)]  # fmt: skip
    if rest > 1e-9:
        why = "the source at hand names no more mutations"
        parts.append(CoveragePart(name="not named", share=rest, fate=NOT_SIMULATED, chance=None, why=why))
    weights = _share_draws(population)
    unknown = np.full(N_DRAWS, -1)
    draws = np.stack([known[s.variant].draws if s.variant in known else unknown for s in population.frequencies]
                     + [unknown], axis=1)  # fmt: skip
    notes = [
        f"shares are of {population.of} ({population.source}), not of patients: where a patient carries several, "
        "the share of patients in whom all are retained is smaller"
    ]
    if population.n is None:
        notes.append("how many were counted is not known here: the interval holds no sampling error of the frequencies")
    else:
        said = f" ({population.n_text})" if population.n_text else ""
        notes.append(f"the interval holds the sampling error of {population.n} counted{said}")
    if scaled:
        notes.append("the frequencies add up to more than 100 % and are scaled to it")
    return [_coverage(ligand, state, population.name, judged, "mutations", parts, weights, draws, notes)]


def _middle(share: VariantShare, n: int | None) -> float:
    if share.count is not None:
        return share.count / n
    if share.percent is not None:
        return share.percent / 100
    return (share.percent_low + share.percent_high) / 200


def _shares(population: Population) -> tuple[list[float], float, bool]:
    """Share of each variant, of what is not named, and whether they had to be scaled down to 1."""
    shares = [_middle(share, population.n) for share in population.frequencies]
    total = sum(shares)
    if total > 1:
        return [share / total for share in shares], 0.0, True
    return shares, 1 - total, False


def _share_draws(population: Population) -> np.ndarray:
    """Draws (n, variants + 1) of the shares, the last of what is not named; rows add up to 1."""
    generator = np.random.default_rng((SEED, 3))
    shares, rest, _ = _shares(population)
    if population.n is not None:
        counts = np.array([*shares, rest]) * population.n
        return generator.dirichlet(counts + 0.5, N_DRAWS)
    low, high = (
        np.array([(getattr(s, f"percent_{end}") if s.percent is None else s.percent) / 100
                  for s in population.frequencies])
        for end in ("low", "high")
    )  # fmt: skip
    drawn = generator.uniform(low, high, (N_DRAWS, len(shares)))
    drawn /= np.maximum(1.0, drawn.sum(axis=1, keepdims=True))
    return np.column_stack([drawn, np.maximum(0.0, 1 - drawn.sum(axis=1))])


# -- profiles of patients -----------------------------------------------------------------------------------


def _by_profile(
    ligand: str, state: str, judged: Judged, known: Mapping[str, _Known], population: Profiles
) -> list[Coverage]:
    """All clones of a patient (the headline), and clones by their fraction."""
    patients = sum(profile.patients for profile in population.profiles)
    weights = np.array([profile.patients / patients for profile in population.profiles])
    deciding = [
        {v: f for v, f in profile.variants.items() if f >= population.smallest_fraction}
        for profile in population.profiles
    ]
    drawn = np.tile([*weights, 0.0], (N_DRAWS, 1))  # the last: patients unlike all that were given
    if population.sample:
        counts = np.array([*(profile.patients for profile in population.profiles), 0])
        drawn = np.random.default_rng((SEED, 4)).dirichlet(counts + 0.5, N_DRAWS)
    notes = [f"clones from an allele fraction of {population.smallest_fraction:g}" if population.smallest_fraction
             else "every clone given decides, however small",
             "the patients are taken for a sample" if population.sample
             else "the patients are taken for all that are meant: no sampling error"]  # fmt: skip
    whole, draws = [], []
    for profile, weight, clones in zip(population.profiles, weights, deciding, strict=True):
        of_clones = [known.get(variant, _unknown()) for variant in clones]
        fate = _all_clones([clone.fate for clone in of_clones])
        worst = of_clones[0].draws
        for clone in of_clones[1:]:
            worst = _worst(worst, clone.draws)
        why = ", ".join(f"{variant} {clone.fate}" for variant, clone in zip(clones, of_clones, strict=True))
        whole.append(_part(profile.name, float(weight), _Known(fate, worst, why)))
        draws.append(worst)
    unlike = _unknown().draws
    headline = _coverage(ligand, state, population.name, judged, "all clones", whole, drawn,
                         np.stack([*draws, unlike], axis=1), notes)  # fmt: skip
    parts, clone_weights, clone_draws = [], [], []
    for index, (profile, weight, clones) in enumerate(zip(population.profiles, weights, deciding, strict=True)):
        total = sum(clones.values())
        for variant, fraction in clones.items():
            clone = known.get(variant, _unknown())
            parts.append(_part(f"{profile.name}: {variant}", float(weight) * fraction / total, clone))
            clone_weights.append(drawn[:, index] * fraction / total)
            clone_draws.append(clone.draws)
    by_clone = _coverage(ligand, state, population.name, judged, "by clone", parts,
                         np.stack([*clone_weights, drawn[:, -1]], axis=1),
                         np.stack([*clone_draws, unlike], axis=1), notes)  # fmt: skip
    return [headline, by_clone]


def _unknown() -> _Known:
    return _Known(NOT_SIMULATED, np.full(N_DRAWS, -1), "")


def _all_clones(fates: Sequence[Fate]) -> Fate:
    """The fate of a patient: the worst clone that is known decides; `retained` only if every one is."""
    for fate in ("lost", "weakened", NOT_SIMULATED, "cannot tell"):
        if fate in fates:
            return fate
    return "retained"


# -- shares and their interval ------------------------------------------------------------------------------


def _part(name: str, share: float, known: _Known | None) -> CoveragePart:
    if known is None:
        why = "not in this screen"
        return CoveragePart(name=name, share=share, fate=NOT_SIMULATED, chance=None, why=why)
    return CoveragePart(name=name, share=share, fate=known.fate, chance=known.chance, why=known.why)


def _coverage(
    ligand: str,
    state: str,
    population: str,
    judged: Judged,
    rule: Rule,
    parts: Sequence[CoveragePart],
    weights: np.ndarray,
    draws: np.ndarray,
    notes: Sequence[str],
) -> Coverage:
    """Shares by verdict; the interval from draws (n, parts) of weights and fates, unknown ones either way."""
    shares = {fate: sum(p.share for p in parts if p.fate == fate) for fate in Fate.__args__}
    least = (weights * (draws == _RETAINED)).sum(axis=1)
    most = least + (weights * (draws < 0)).sum(axis=1)
    low, high = float(np.quantile(least, 0.025)), float(np.quantile(most, 0.975))
    retained = shares["retained"]
    return Coverage(
        ligand=ligand,
        state=state,
        population=population,
        judged=judged,
        rule=rule,
        headline=judged == "both" and rule != "by clone",
        **{fate.replace(" ", "_"): value for fate, value in shares.items()},
        low=max(0.0, min(low, retained)),
        high=min(1.0, max(high, retained)),
        parts=tuple(parts),
        notes=tuple(notes),
    )
