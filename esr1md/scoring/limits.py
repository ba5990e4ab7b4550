"""What the numbers of a screen can and cannot say, in sentences that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from esr1md.scoring.cells import Matrix
from esr1md.scoring.comparisons import WILD
from esr1md.scoring.scores import CellScore, Comparison, Failure, Verdict


def limits_of(
    cells: Matrix,
    scores: Sequence[CellScore],
    comparisons: Sequence[Comparison],
    failures: Sequence[Failure],
    reference: Mapping[str, str],
    unranked: Sequence[str],
    production_ps: float | None,
    too_short: bool = False,
) -> tuple[str, ...]:
    """The honest limits of this run, most important first; each is one sentence or two."""
    n_replicas = sum(len(r) for r in cells.replicas.values())
    said = [_time(n_replicas, production_ps), *_drift(cells, production_ps), *_replicas(cells)]
    undecided = sum(c.binding_verdict == Verdict.CANNOT_TELL for c in comparisons if c.ligand != "apo")
    bound = sum(c.ligand != "apo" for c in comparisons)
    if undecided and not too_short:
        said.append(
            f"{undecided} of {bound} comparisons of binding with the wild type cannot be told from noise; "
            "the reason beside each says what would decide it."
        )
    said.append(
        "Intervals hold the scatter between replicas that start from one pose of one structure. They do not "
        "hold the errors of the force field, the solvent model or the pose, nor the entropy that MM/GBSA "
        "leaves out; MM/GBSA ranks public benchmark sets at a Kendall tau of about 0.3."
    )
    said.append(
        "MM/GBSA favours large ligands: trust the change of one ligand between variants before the order of "
        "ligands that differ in size or charge."
    )
    mutants = [v for v in cells.names(0) if v != WILD]
    if len(mutants) > 1:
        said.append(f"The worst shift is the largest of up to {len(mutants)} noisy ones: it tends to look too large.")
    said += _missing(cells, [s for s in scores if s.ligand not in unranked], reference)
    poor = sorted({c.ligand for c in scores if c.pose_confidence == "low"})
    if poor:
        said.append(f"Low confidence in the starting pose, and so in every number, of {', '.join(poor)}.")
    if unranked:
        said.append(f"Agonists are controls and are not ranked: {', '.join(unranked)}.")
    errors = sum(f.kind == "error" for f in failures)
    if errors:
        attempts = "1 attempt" if errors == 1 else f"{errors} attempts"
        said.append(f"{attempts} ended in an error and left holes; see failures.")
    return tuple(said)


def _time(n_replicas: int, production_ps: float | None) -> str:
    if not n_replicas:
        return "No replica finished, so there is nothing to rank."
    if production_ps is None:
        return "The simulated time was not recorded here, so judge helix 12 by the length the protocol states."
    each, total = _duration(production_ps), _duration(production_ps * n_replicas)
    ran = f"{n_replicas} replicas of {each} each, {total} in all: "
    if production_ps < 1000:
        return ran + (
            "side chains and ligand settle in their starting places, helix 12 has no time to leave its own. "
            "Helix-12 numbers show the local strain of the starting state, never populations (agonist and "
            "antagonist do not interconvert even in 240 ns)."
        )
    return ran + (
        "contacts and the local stability of helix 12 can be compared. Helix-12 numbers are not populations "
        "(agonist and antagonist do not interconvert even in 240 ns)."
    )


def _drift(cells: Matrix, production_ps: float | None) -> list[str]:
    """Replicas that drifted away from their start for more than half of their production."""
    drifts = [
        replica.summary["settled_from_ps"]
        for replicas in cells.replicas.values()
        for replica in replicas.values()
        if "settled_from_ps" in replica.summary
    ]
    late = sum(drift > production_ps / 2 for drift in drifts) if production_ps else 0
    if not late:
        return []
    return [
        f"{late} of {len(drifts)} replicas drifted for more than half of their production before they settled: "
        "what is left of them is short, and a longer protocol would be better than more replicas."
    ]


def _duration(ps: float) -> str:
    for size, unit in ((1e6, "us"), (1e3, "ns")):
        if ps >= size:
            return f"{ps / size:.3g} {unit}"
    return f"{ps:.3g} ps"


def _replicas(cells: Matrix) -> list[str]:
    counts = [len(r) for r in cells.replicas.values() if r]
    said = []
    if single := sum(n == 1 for n in counts):
        said.append(f"Cells with a single replica have a number without an interval: {single} of {len(counts)}.")
    few = [n for n in counts if 1 < n < 5]
    if few:
        number = f"{min(few)}" if min(few) == max(few) else f"{min(few)} to {max(few)}"
        said.append(
            f"Cells with only {number} replicas ({len(few)} of {len(counts)}) borrow for their intervals the "
            "spread that the cells of this screen share; without, the intervals would be far wider."
        )
    return said


def _missing(cells: Matrix, scores: Sequence[CellScore], reference: Mapping[str, str]) -> list[str]:
    """Reference ligands and wild types that a comparison needs and this screen does not have."""
    said = []
    for state in cells.names(2):
        lacking = sorted(
            {s.variant for s in scores if s.state == state and s.binding is not None and s.binding_relative is None}
        )
        if lacking:
            name = reference.get(state)
            said.append(
                f"No binding relative to a reference ligand in the {state} state for {', '.join(lacking)}: "
                + (f"{name} has no finished replica with a shared seed there." if name else "none is named for it.")
            )
    lacking = sorted(
        {
            f"{ligand} ({state})"
            for (variant, ligand, state), seeds in cells.replicas.items()
            if variant != WILD and seeds and not cells.replicas.get((WILD, ligand, state))
        }
    )
    if lacking:
        said.append(f"No wild type to compare the mutants with: {', '.join(lacking)}.")
    return said
