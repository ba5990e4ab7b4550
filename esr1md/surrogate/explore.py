"""Active learning: what is known of a matrix, which ligands to simulate next and why, and when to stop.

A round is a screen. Its new ligands are those that promise most (:mod:`esr1md.surrogate.acquisition`), each in every
variant, since the question is what a mutation changes; those known already stay in it, so that its ranking is of all of
them, and nothing is computed twice. Every decision is a file with its reasons, beside the screen it led to:

    STORE/explore/NAME/exploration.json   what is asked, and since when hours count (of a loop, not of single proposals)
                       round-1.json       what was known, what was chosen and why
                       round-1.yaml       the screen of the round, called NAME-1
                       surrogate/         the model of the last decision
                       summary.json       why the loop stopped, and the ligands as they stand

:func:`advance` makes one decision; :func:`explore` simulates and decides in turn until there is a reason to stop.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from pydantic import ValidationError
from rdkit import Chem

from esr1md.catalogue import names
from esr1md.config import ALL, APO, ScreenConfig, load_screen
from esr1md.errors import InputError
from esr1md.receptor.build import check_buildable
from esr1md.receptor.sequence import parse_variant
from esr1md.scoring.cells import BINDING, HELIX12, CellKey, ReplicaObservation, cell_noise, matrix, score_of
from esr1md.scoring.scores import Failure, Score
from esr1md.screen.finish import collect, read_json, read_plan, replace_file, screen_folder
from esr1md.specs import Ligand, digest_of
from esr1md.store.artifacts import DONE, Store
from esr1md.store.locks import only_run
from esr1md.surrogate.acquisition import WAYS, By, Pick, acquisition, select_batch, top_threshold
from esr1md.surrogate.kernel import SimilarityTo, morgan_counts

Objective = Literal["binding", "helix12"]
Say = Callable[[str], None]
#: Of each objective: its entry in a replica's summary, its unit, the sign that makes lower better, and its words.
OBJECTIVES = {
    "binding": (BINDING, "kcal/mol", 1.0, "binding"),
    "helix12": (HELIX12, "angstrom", -1.0, "helix 12"),
}
#: What an exploration may be called: a screen's name with room for the number of a round.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,94}")
#: Half-width of a normal distribution's 95 % interval in standard deviations.
HALF_95 = 1.96
#: Replicas that a screen can have of a cell.
MOST_REPLICAS = 1000


def silent(said: str) -> None:
    """Where nobody listens."""


# -- what is asked ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exploration:
    """What an exploration looks for and what it may cost.

    Attributes
    ----------
    name
        Of its folder; its screens are called ``NAME-1``, ``NAME-2`` ...
    screen
        Name of the screen that it begins with, in the same store.
    gpu_hours
        To be spent in all: hours of one GPU, or of this machine where the screen runs on CPU cores.
    objective
        ``binding`` (kcal/mol, lower is better) or ``helix12`` (angstrom, farther from the active place is better).
    by
        How a candidate is valued, one of :data:`~esr1md.surrogate.acquisition.WAYS`.
    top
        How many of the best ligands are looked for.
    target
        Half-width of the 95 % interval (in the unit of the objective) that is enough for each of them.
    batch
        New ligands of a round at most.
    replicas, variants
        Of the screen if not given.
    diversity
        Of a round's ligands, 0 to 1: see :func:`~esr1md.surrogate.acquisition.select_batch`.
    seed
        Of the surrogate.

    Raises
    ------
    InputError
        A value that cannot be, or an unknown or unbuildable variant.
    """

    name: str
    screen: str
    gpu_hours: float
    objective: Objective = "binding"
    by: By = "mix"
    top: int = 5
    target: float | None = None
    batch: int | None = None
    replicas: int | None = None
    variants: tuple[str, ...] = ()
    diversity: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"name '{self.name}' cannot name a folder", expected="letters, digits, '.', '-' and '_'")
        for field, allowed in (("objective", get_args(Objective)), ("by", WAYS)):
            if getattr(self, field) not in allowed:
                raise InputError(f"{field} is '{getattr(self, field)}'", expected=f"one of {', '.join(allowed)}")
        for field, least in (("top", 1), ("batch", 1), ("replicas", 1)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise InputError(f"{field} is {value}", expected=f"{least} or more")
        for field in ("gpu_hours", "target"):
            value = getattr(self, field)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"{field} is {value:g}", expected="a number above 0")
        if not 0 <= self.diversity <= 1:
            raise InputError(f"diversity is {self.diversity:g}", expected="0 to 1")
        found = [parse_variant(text) for text in self.variants]
        for variant in found:
            check_buildable(variant)
        object.__setattr__(self, "variants", tuple(dict.fromkeys(variant.name for variant in found)))

    @property
    def unit(self) -> str:
        return OBJECTIVES[self.objective][1]

    def folder(self, store: Store) -> Path:
        """``STORE/explore/NAME``."""
        return store.root / "explore" / self.name

    def round_screen(self, number: int) -> str:
        """Name of the screen of a round."""
        return f"{self.name}-{number}"


# -- who may be simulated -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A ligand that may be simulated, and how a screen's YAML names it."""

    ligand: Ligand
    choice: str | dict[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """What is no candidate, and why."""

    name: str
    reason: str


def catalogue_candidates() -> tuple[Candidate, ...]:
    """Every catalogued ligand that can be simulated."""
    from esr1md.ligand.catalogue import catalogue_ligands

    return tuple(Candidate(ligand, ligand.name) for ligand in catalogue_ligands())


def file_candidates(path: Path | str, report: Say = silent) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """The ligands of a file of molecules (SMILES, CSV, SDF; a prepared library's ``ligands.csv``), each once.

    A row that is no single defined compound is left out with its reason. ``report`` hears how far it is.

    Raises
    ------
    InputError
        The file cannot be read, or none of its rows can be used.
    """
    from esr1md.ligand.inputs import open_input
    from esr1md.ligand.molecules import molecule_of
    from esr1md.ligand.states import ligand_from_smiles

    found: dict[str, Candidate] = {}
    taken: set[str] = set()
    left: list[LeftOut] = []
    with open_input(path) as rows:
        for row in rows:
            name = f"{row.name} (row {row.number})" if row.name.casefold() in taken else row.name
            try:
                if row.problem:
                    raise InputError(row.problem)
                smiles = row.text.strip() if row.kind == "smiles" else Chem.MolToSmiles(molecule_of(row))
                ligand = ligand_from_smiles(name, smiles)
            except InputError as error:
                left.append(LeftOut(row.name or f"row {row.number}", f"line {row.line}: {error}"))
                continue
            if ligand.inchikey in found:
                same = found[ligand.inchikey].ligand.name
                left.append(LeftOut(name, f"line {row.line}: the same compound as '{same}'"))
                continue
            taken.add(name.casefold())
            found[ligand.inchikey] = Candidate(ligand, {"name": ligand.name, "smiles": smiles})
            if row.number % 50 == 0:
                report(f"{row.number:,} candidates read, {len(left):,} left out ...")
    if not found:
        why = f" ({left[0].name}: {left[0].reason})" if left else ""
        raise InputError(f"no row can be a candidate{why}", where=str(path), expected="a file of SMILES or an SDF")
    return tuple(found.values()), tuple(left)


def candidate_pool(
    path: Path | str | None, with_catalogue: bool = False, report: Say = silent
) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """The candidates of a file, of the catalogue where no file is given, or of both; and what is none.

    Raises
    ------
    InputError
        As :func:`file_candidates`.
    """
    found, left_out = file_candidates(path, report=report) if path else ((), ())
    return (*found, *(catalogue_candidates() if with_catalogue or not path else ())), left_out


# -- what is known ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What the screens of an exploration have found so far.

    Attributes
    ----------
    screens
        Their names.
    plan
        ``plan.json`` of the first screen: the configuration and the machine.
    config
        Its configuration.
    choices
        Name of each ligand -> how a screen's YAML names it.
    ligands, observations, failures
        Of all its screens, each replica once.
    answered
        Cell -> the seeds that have an observation or a failure.
    runs
        (moment it finished, seconds) of each replica.
    seconds
        Of one replica: the median of those that ran on the screen's platform, else the plan's estimate.
    measured
        Whether that was measured.
    """

    screens: tuple[str, ...]
    plan: dict[str, Any]
    config: ScreenConfig
    choices: dict[str, str | dict[str, Any]]
    ligands: dict[str, Ligand]
    observations: tuple[ReplicaObservation, ...]
    failures: tuple[Failure, ...]
    answered: dict[CellKey, frozenset[int]]
    runs: tuple[tuple[datetime, float], ...]
    seconds: float
    measured: bool

    @property
    def gpu_share(self) -> int:
        """Simulations that share what an hour is counted of: a GPU, or this machine."""
        return max(1, self.plan["packing"]["per_device"] or self.plan["slots"])

    @property
    def replica_hours(self) -> float:
        return self.seconds / 3600 / self.gpu_share

    def hours_since(self, started: datetime | None) -> float:
        """Hours of the replicas that finished after ``started``; 0 without it. What failed has no time on record."""
        if started is None:
            return 0.0
        return math.fsum(seconds for finished, seconds in self.runs if finished >= started) / 3600 / self.gpu_share

    def scores(self, objective: Objective) -> dict[CellKey, Score]:
        """Measured score of each cell that has one, with the interval of its replicas."""
        metric, unit, _, _ = OBJECTIVES[objective]
        cells = matrix(self.observations, self.failures, self.ligands)
        noise = cell_noise(cells, metric)
        found = {cell: score_of(cells.values(cell, metric), unit, noise[cell]) for cell in cells.replicas}
        return {cell: score for cell, score in found.items() if score is not None}


def known(store: Store, screens: Sequence[str]) -> Known:
    """What the store holds of some screens; the first decides configuration and machine.

    Raises
    ------
    InputError
        One of them has not been run in this store.
    """
    plans = [read_plan(store, name) for name in screens]
    choices: dict[str, str | dict[str, Any]] = {}
    ligands: dict[str, Ligand] = {}
    observations: dict[str, ReplicaObservation] = {}
    failures: dict[tuple, Failure] = {}
    for plan in plans:
        own = {item["name"]: Ligand(**item) for item in plan["ligands"]}
        ligands |= {name: ligand for name, ligand in own.items() if name not in ligands}
        for name, choice in _choices(plan["config"]["ligands"], own).items():
            choices.setdefault(name, choice)
        seen, failed = collect(store, plan)
        observations |= {replica.digest: replica for replica in seen}
        failures |= {(f.variant, f.ligand, f.state, f.seed): f for f in failed}
    answered: dict[CellKey, set[int]] = {}
    for replica in observations.values():
        answered.setdefault(replica.cell, set()).add(replica.seed)
    for variant, ligand, state, seed in failures:
        answered.setdefault((variant, ligand, state), set()).add(seed)
    runs, here = [], []
    for digest in observations:
        folder = store.folder("replicas", digest)
        record = json.loads((folder / "record.json").read_text())
        finished = datetime.fromisoformat(json.loads((folder / DONE).read_text())["finished"])
        runs.append((finished, record["seconds"]))
        if record["platform"] == plans[0]["platform"]:
            here.append(record["seconds"])
    return Known(
        screens=tuple(screens),
        plan=plans[0],
        config=_config(plans[0], str(screen_folder(store, screens[0]) / "plan.json")),
        choices=choices,
        ligands=ligands,
        observations=tuple(observations.values()),
        failures=tuple(failures.values()),
        answered={cell: frozenset(seeds) for cell, seeds in answered.items()},
        runs=tuple(runs),
        seconds=statistics.median(here) if here else plans[0]["estimate"]["replica_seconds"],
        measured=bool(here),
    )


def _config(plan: Mapping[str, Any], where: str) -> ScreenConfig:
    try:
        return ScreenConfig.model_validate(_written(plan["config"]))
    except ValidationError as error:  # a file that it names has gone since
        said = error.errors()[0]["msg"]
        raise InputError(f"the screen's configuration is not valid any more ({said})", where=where,
                         do="put back the file it names, or run the screen again") from error  # fmt: skip


def _choices(written: str | list[dict[str, Any]], ligands: Iterable[str]) -> dict[str, str | dict[str, Any]]:
    """Name of each ligand of a plan -> the entry of its screen that it came from."""
    if written == ALL:
        return {name: name for name in ligands}
    plain = {_made_name(item): _choice(item) for item in written}
    return {
        name: choice
        for name in ligands
        for own, choice in plain.items()
        if name == own or (name.startswith(f"{own} (") and name not in plain)
    }


def _made_name(item: Mapping[str, Any]) -> str:
    """What a ligand of a dumped configuration is called in the plan: a synonym becomes the catalogue's name."""
    if item["smiles"] is not None or item["sdf"] is not None:
        return item["name"].strip()
    from esr1md.ligand.catalogue import catalogue_entry

    return catalogue_entry(item["name"]).name


def _choice(item: Mapping[str, Any]) -> str | dict[str, Any]:
    """A ligand of a dumped configuration as a user would write it."""
    usual = {"stereo": "defined", "protonation": "dominant"}
    kept = {key: value for key, value in item.items() if value not in (None, "") and usual.get(key) != value}
    return kept if len(kept) > 1 else kept["name"]


def _written(config: Mapping[str, Any]) -> dict[str, Any]:
    """A dumped configuration as a user would write it: without what is so by default."""
    usual = ScreenConfig(name="a", variants=("WT",), ligands=ALL, protocol="quick", replicas=1).model_dump(mode="json")
    asked = ("name", "variants", "ligands", "protocol", "replicas")
    kept = {key: value for key, value in config.items() if key in asked or value != usual[key]}
    if kept["ligands"] != ALL:
        kept["ligands"] = [_choice(item) for item in kept["ligands"]]
    return kept


# -- the matrix of a round ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A ligand in every variant and every state that it starts in; ``missing`` counts replicas without an answer."""

    ligand: Ligand
    choice: str | dict[str, Any]
    cells: tuple[CellKey, ...]
    missing: dict[CellKey, int]

    @property
    def replicas(self) -> int:
        return sum(self.missing.values())


@dataclass(frozen=True)
class Layout:
    """All rows that there could be: those known, and the candidates (``units`` with replicas missing).

    ``beside`` are the replicas that any further round has to run as well: of the reference ligands and of apo in a
    variant that was not simulated before.
    """

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    known: tuple[Unit, ...]
    candidates: tuple[Unit, ...]
    references: tuple[str, ...]
    beside: int
    left_out: tuple[LeftOut, ...]


def lay_out(found: Known, exploration: Exploration, candidates: Sequence[Candidate]) -> Layout:
    """Cells of every known ligand and candidate under the variants and seeds of the exploration."""
    config = found.config
    variants = exploration.variants or tuple(parse_variant(text).name for text in config.variants)
    replicas = exploration.replicas or config.replicas
    seeds = tuple(range(config.first_seed, config.first_seed + replicas))

    def unit(ligand: Ligand, choice: str | dict[str, Any]) -> Unit:
        written = choice if isinstance(choice, str) else choice["name"]
        states = config.states_of(written, ligand.drug_class)
        cells = tuple((variant, ligand.name, str(state)) for state in states for variant in variants)
        return Unit(ligand, choice, cells, missing(cells))

    def missing(cells: Iterable[CellKey]) -> dict[CellKey, int]:
        return {cell: len(set(seeds) - found.answered.get(cell, frozenset())) for cell in cells}

    rows = tuple(unit(ligand, found.choices[name]) for name, ligand in found.ligands.items())
    references = tuple(row.ligand.name for row in rows if _is_reference(row, config))
    beside = sum(row.replicas for row in rows if row.ligand.name in references)
    if config.apo:
        beside += sum(missing((v, APO, str(state)) for state in config.states_of(APO) for v in variants).values())
    by_key = {row.ligand.inchikey for row in rows}
    by_name = {name.casefold() for name in found.ligands}
    new, left = [], []
    for candidate in candidates:
        if candidate.ligand.inchikey in by_key:
            continue
        if candidate.ligand.name.casefold() in by_name:
            left.append(LeftOut(candidate.ligand.name, "another ligand of this exploration has that name; rename it"))
            continue
        by_key.add(candidate.ligand.inchikey)
        by_name.add(candidate.ligand.name.casefold())
        new.append(unit(candidate.ligand, candidate.choice))
    half_known = tuple(row for row in rows if row.replicas and row.ligand.name not in references)
    return Layout(variants, seeds, rows, (*half_known, *new), references, beside, tuple(left))


def _is_reference(row: Unit, config: ScreenConfig) -> bool:
    given = config.reference_ligand
    wanted = given.values() if isinstance(given, dict) else (given,)
    written = row.choice if isinstance(row.choice, str) else row.choice["name"]
    return row.ligand.name in wanted or written in wanted


# -- the decision -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guess:
    """What the surrogate says of cells that were not simulated, or why nothing can be made of it.

    ``scores`` is empty and ``why_not`` a sentence where the proposal has to go by diversity alone.
    """

    scores: dict[CellKey, Score]
    limits: tuple[str, ...]
    why_not: str = ""

    @property
    def basis(self) -> str:
        return "diversity" if self.why_not else "surrogate"


def guess(found: Known, layout: Layout, exploration: Exploration, folder: Path) -> Guess:
    """Train on everything known and predict the candidates' cells; the model is left in ``folder``."""
    from esr1md.surrogate.prediction import predict  # with torch and all that it brings, seconds
    from esr1md.surrogate.training import train

    candidates = {unit.ligand.name: unit.ligand for unit in layout.candidates}
    protocol = found.plan["protocol"]["name"]
    surrogate, limits = train(
        found.observations, found.ligands, folder, exploration.seed, protocol=protocol, screens=found.screens
    )
    if surrogate is None:
        return Guess({}, limits, limits[0] if limits else "there is no surrogate")
    states = {replica.state for replica in found.observations if replica.ligand != APO}
    cells = [cell for unit in layout.candidates for cell in unit.cells if unit.missing[cell] and cell[2] in states]
    predicted = predict(surrogate, cells, {**found.ligands, **candidates})
    words = OBJECTIVES[exploration.objective][3]
    if predicted and all(_is_plain(cell.notes, words) for cell in predicted):
        said = next((each for each in limits if each.startswith("No skill") and words in each), "")
        return Guess({}, limits, said or f"the surrogate has no skill for {words}")
    scores = {(c.variant, c.ligand, c.state): getattr(c, exploration.objective) for c in predicted}
    return Guess({key: score for key, score in scores.items() if score is not None and score.low is not None}, limits)


def _is_plain(notes: str, words: str) -> bool:
    """Whether the notes of a predicted cell say that its score is a plain guess (``prediction.py`` writes them)."""
    return any(part.strip().startswith("no skill for") and words in part for part in notes.split(";"))


@dataclass(frozen=True)
class Standing:
    """A ligand among all: the mean of its cells (in the unit of the objective) and the widest of their intervals.

    ``half_width`` is infinite where a cell has a single replica.
    """

    ligand: str
    value: float
    half_width: float
    simulated: bool
    cells: tuple[CellKey, ...]


def standings(layout: Layout, exploration: Exploration, measured: Mapping[CellKey, Score],
              guessed: Mapping[CellKey, Score]) -> list[Standing]:  # fmt: skip
    """Every ligand of which each cell is measured or predicted, the best first."""
    sign = OBJECTIVES[exploration.objective][2]
    rows = {unit.ligand.name: unit for unit in (*layout.known, *layout.candidates)}
    found = []
    for name, unit in rows.items():
        scores = [measured.get(cell) or guessed.get(cell) for cell in unit.cells]
        if any(score is None for score in scores):
            continue
        widest = max(half_width(score) for score in scores)
        simulated = all(cell in measured for cell in unit.cells)
        found.append(Standing(name, statistics.fmean(s.value for s in scores), widest, simulated, unit.cells))
    return sorted(found, key=lambda each: (sign * each.value, each.ligand))


def half_width(score: Score) -> float:
    """Half of the 95 % interval; infinite where there is none."""
    return (score.high - score.low) / 2 if score.low is not None and score.high is not None else math.inf


def decide(
    found: Known, layout: Layout, exploration: Exploration, guessed: Guess, spent: float, report: Say = silent
) -> dict[str, Any]:
    """The next round or the end, with every reason, as plain data.

    Parameters
    ----------
    found, layout, guessed
        From :func:`known`, :func:`lay_out` and :func:`guess`.
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
    measured = found.scores(exploration.objective)
    ranked = standings(layout, exploration, measured, guessed.scores)
    left = exploration.gpu_hours - spent
    record = _situation(found, layout, exploration, guessed, ranked, spent)
    best = ranked[: exploration.top]
    judged = exploration.target is not None and best and (guessed.basis == "surrogate" or not layout.candidates)
    if judged and all(each.half_width <= exploration.target for each in best):
        return _stop(record, "target", f"each of the best {len(best)} is known to +- {exploration.target:g} "
                     f"{exploration.unit} or better")  # fmt: skip
    if judged and all(each.simulated for each in best):
        return _more_replicas(record, found, layout, exploration, best, left)
    if not layout.candidates:
        return _stop(record, "candidates", "no candidate is left to simulate")
    report(f"comparing {len(layout.candidates):,} candidates ...")
    return _new_ligands(record, found, layout, exploration, guessed, measured, left)


def _situation(found: Known, layout: Layout, exploration: Exploration, guessed: Guess, ranked: list[Standing],
               spent: float) -> dict[str, Any]:  # fmt: skip
    limits = [said for said in guessed.limits if said != guessed.why_not]
    if guessed.why_not:
        limits.insert(0, f"Nothing is predicted, so ligands are chosen by diversity alone: {guessed.why_not}")
    if exploration.target is not None and guessed.why_not:
        limits.append("Without predictions nobody can say which candidates belong to the best: the target interval is "
                      "judged when none is left.")  # fmt: skip
    if found.config.method != "mmgbsa":
        limits.append(f"The screens of an exploration leave out method '{found.config.method}'.")
    return {
        "exploration": exploration.name,
        "asked": asdict(exploration) | {"variants": list(exploration.variants)},
        "decided": datetime.now(UTC).isoformat(timespec="seconds"),
        "unit": exploration.unit,
        "basis": guessed.basis,
        "limits": limits,
        "known": {
            "replicas": len(found.observations),
            "failed": len(found.failures),
            "ligands": [row.ligand.name for row in layout.known],
            "variants": list(layout.variants),
            "leading": [_standing(each) for each in ranked[: exploration.top]],
        },
        "budget": {
            "gpu_hours": exploration.gpu_hours,
            "spent_gpu_hours": round(spent, 4),
            "counted": "hours of one GPU" if found.plan["packing"]["per_device"] else "hours of this machine",
            "replica_seconds": round(found.seconds, 1),
            "at_once": found.gpu_share,
            "measured": found.measured,
        },
        "candidates": len(layout.candidates),
        "left_out": [asdict(each) for each in layout.left_out],
    }


def _standing(each: Standing) -> dict[str, Any]:
    wide = None if math.isinf(each.half_width) else round(each.half_width, 3)
    return {"ligand": each.ligand, "value": round(each.value, 3), "half_width": wide, "simulated": each.simulated}


def _stop(record: dict[str, Any], reason: str, why: str) -> dict[str, Any]:
    return record | {"kind": "stop", "reason": reason, "why": f"Stopped: {why}."}


def _more_replicas(record: dict[str, Any], found: Known, layout: Layout, exploration: Exploration,
                   best: Sequence[Standing], left: float) -> dict[str, Any]:  # fmt: skip
    """More replicas of the leading ligands whose intervals are too wide, as many as that should take.

    Half-widths fall with the square root of the number of replicas; at most twice as many as there are, since the next
    round knows better.
    """
    wide = [each for each in best if each.half_width > exploration.target]
    units = {row.ligand.name: row for row in layout.known}
    have = min(len(found.answered[cell]) for each in wide for cell in each.cells)
    ratio = max(each.half_width for each in wide) / exploration.target
    replicas = 2 * have if math.isinf(ratio) else min(2 * have, math.ceil(have * ratio**2))
    replicas = min(replicas, MOST_REPLICAS)
    taken = [*(each.ligand for each in wide), *(name for name in layout.references if name in units)]
    rows = [cell for name in dict.fromkeys(taken) for cell in units[name].cells]
    if found.config.apo:
        rows += [(v, APO, str(state)) for state in found.config.states_of(APO) for v in layout.variants]
    while replicas > have:
        seeds = set(range(found.config.first_seed, found.config.first_seed + replicas))
        runs = sum(len(seeds - found.answered.get(cell, frozenset())) for cell in rows)
        if runs * found.replica_hours <= left * (1 + 1e-9):
            break
        replicas -= 1
    else:
        return _stop(record, "budget", f"another replica of {len(wide)} leading ligands would not fit the "
                     f"{max(0.0, left):.3g} GPU-hours that are left")  # fmt: skip
    names_ = ", ".join(each.ligand for each in wide)
    return record | {
        "kind": "replicas",
        "why": f"The best {len(best)} are all simulated, and {len(wide)} of them are not known to +- "
        f"{exploration.target:g} {exploration.unit}: {replicas} replicas instead of {have} of {names_}.",
        "replicas": replicas,
        "round_gpu_hours": round(runs * found.replica_hours, 4),
        "ligands": list(dict.fromkeys(taken)),
        "chosen": [
            {**_standing(each), "why": f"its widest interval is +- {each.half_width:.3g} {exploration.unit}"
             if math.isfinite(each.half_width) else "a cell of it has a single replica and so no interval"}
            for each in wide
        ],
    }  # fmt: skip


def _new_ligands(record: dict[str, Any], found: Known, layout: Layout, exploration: Exploration, guessed: Guess,
                 measured: Mapping[CellKey, Score], left: float) -> dict[str, Any]:  # fmt: skip
    units = layout.candidates
    by_cell = _acquisitions(units, exploration, guessed, measured)
    if guessed.basis == "surrogate":
        unpredicted = [unit for unit in units if not any(cell in by_cell for cell in unit.cells)]
        said = "nothing like it was simulated in the state it starts in, so nothing can be predicted of it"
        record["left_out"] += [asdict(LeftOut(unit.ligand.name, said)) for unit in unpredicted]
        units = tuple(unit for unit in units if unit not in unpredicted)
        if not units:
            return _stop(record, "candidates", "nothing can be predicted of any candidate that is left")
        value = np.array([statistics.fmean(by_cell[c] for c in unit.cells if c in by_cell) for unit in units])
    else:
        value = np.ones(len(units))
    counts = morgan_counts([Chem.MolFromSmiles(unit.ligand.smiles) for unit in units])
    to_candidates, rows = SimilarityTo(counts), list(layout.known)
    simulated = [row for row in rows if row.replicas < len(row.cells) * len(layout.seeds)]
    to_known = np.zeros((len(units), 0))
    if simulated:
        to_known = SimilarityTo(morgan_counts([Chem.MolFromSmiles(row.ligand.smiles) for row in simulated]))(counts)
    for i, unit in enumerate(units):  # a ligand that is half simulated is not near itself
        to_known[i, [j for j, row in enumerate(simulated) if row.ligand.name == unit.ligand.name]] = 0.0
    cost = np.array([unit.replicas * found.replica_hours for unit in units])
    beside = layout.beside * found.replica_hours
    picks = select_batch(
        value,
        lambda i: to_candidates(counts[[i]])[0],
        cost=cost,
        budget=max(0.0, left - beside),
        most=exploration.batch,
        diversity=exploration.diversity if guessed.basis == "surrogate" else 1.0,
        nearest=None if guessed.basis == "surrogate" else to_known.max(axis=1, initial=0.0),
    )
    if not picks and cost.min() > left - beside:
        need = f"{cost.min() + beside:.3g} GPU-hours that the cheapest candidate takes"
        return _stop(record, "budget", f"the {max(0.0, left):.3g} GPU-hours that are left do not cover the {need}")
    if not picks:
        return _stop(record, "candidates", "no candidate promises anything: each is predicted too poor or is the same "
                     "as a simulated one")  # fmt: skip
    places = np.empty(len(value), dtype=int)
    places[np.argsort(-value, kind="stable")] = np.arange(1, len(value) + 1)
    chosen = []
    for number, pick in enumerate(picks):
        near = to_known[pick.index]
        row = to_candidates(counts[[pick.index]])[0]
        before = {units[p.index].ligand.name: float(row[p.index]) for p in picks[:number]}
        chosen.append(
            _explained(units[pick.index], pick, int(places[pick.index]), len(units), by_cell, guessed, exploration,
                       (simulated[int(near.argmax())].ligand.name, float(near.max())) if simulated else None,
                       max(before.items(), key=lambda item: item[1]) if before else None, found.replica_hours)
        )  # fmt: skip
    hours = float(sum(cost[pick.index] for pick in picks)) + beside
    names_ = ", ".join(entry["ligand"] for entry in chosen)
    how = f"by {exploration.by} of the predicted {OBJECTIVES[exploration.objective][3]}"
    how = how if guessed.basis == "surrogate" else "by diversity"
    return record | {
        "kind": "ligands",
        "why": f"{len(chosen)} of {len(units)} candidates, {how}, for about "
        f"{hours:.3g} of the {max(0.0, left):.3g} GPU-hours left: {names_}.",
        "replicas": len(layout.seeds),
        "round_gpu_hours": round(hours, 4),
        "beside_replicas": layout.beside,
        "ligands": [entry["ligand"] for entry in chosen],
        "chosen": chosen,
    }


def _acquisitions(units: Sequence[Unit], exploration: Exploration, guessed: Guess,
                  measured: Mapping[CellKey, Score]) -> dict[CellKey, float]:  # fmt: skip
    """What each predicted cell promises, compared with the best of its variant, whatever state they start in."""
    sign = OBJECTIVES[exploration.objective][2]
    found: dict[CellKey, float] = {}
    cells = [cell for unit in units for cell in unit.cells if cell in guessed.scores]
    for variant in dict.fromkeys(cell[0] for cell in cells):
        own = [cell for cell in cells if cell[0] == variant]
        mean = sign * np.array([guessed.scores[cell].value for cell in own])
        sd = np.array([half_width(guessed.scores[cell]) / HALF_95 for cell in own])
        seen = [score.value for cell, score in measured.items() if cell[0] == variant and cell[1] != APO]
        best = top_threshold(sign * np.array(seen), mean, exploration.top)
        found |= zip(own, acquisition(exploration.by, mean, sd, best).tolist(), strict=True)
    return found


def _explained(unit: Unit, pick: Pick, place: int, of: int, by_cell: Mapping[CellKey, float], guessed: Guess,
               exploration: Exploration, near: tuple[str, float] | None, before: tuple[str, float] | None,
               replica_hours: float) -> dict[str, Any]:  # fmt: skip
    """One chosen ligand with its cells, and why."""
    scores = [guessed.scores[cell] for cell in unit.cells if cell in guessed.scores]
    alike = f"similarity {near[1]:.2f} to the nearest simulated ligand ({near[0]})" if near else "nothing is simulated"
    alike += f", {before[1]:.2f} to the nearest chosen before it ({before[0]})" if before else ""
    if scores:
        value, low, high = (statistics.fmean(getattr(s, name) for s in scores) for name in ("value", "low", "high"))
        why = (
            f"number {place} of {of} by {exploration.by} ({pick.value:.3g} {exploration.unit}); predicted {value:.1f} "
            f"({low:.1f} to {high:.1f}) {exploration.unit} on average over its cells; {alike}"
        )
    else:
        why = f"the least like all that is simulated or chosen of what the budget has room for; {alike}"
    cells = [
        {
            "variant": cell[0],
            "state": cell[2],
            "replicas": unit.missing[cell],
            "gpu_hours": round(unit.missing[cell] * replica_hours, 5),
            "predicted": round(guessed.scores[cell].value, 3) if cell in guessed.scores else None,
            "low": round(guessed.scores[cell].low, 3) if cell in guessed.scores else None,
            "high": round(guessed.scores[cell].high, 3) if cell in guessed.scores else None,
            "acquisition": round(by_cell[cell], 5) if cell in by_cell else None,
        }
        for cell in unit.cells
        if unit.missing[cell]
    ]
    return {
        "ligand": unit.ligand.name,
        "smiles": unit.ligand.smiles,
        "why": why,
        "acquisition": round(pick.value, 5) if scores else None,
        "nearest_simulated": near[0] if near else None,
        "similarity_to_simulated": round(near[1], 3) if near else None,
        "similarity_to_chosen": round(before[1], 3) if before else None,
        "replicas": unit.replicas,
        "gpu_hours": round(unit.replicas * replica_hours, 5),
        "cells": cells,
    }


# -- rounds as files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What was decided: the record, and the screen to run next (``None``: the exploration has ended)."""

    number: int
    record: dict[str, Any]
    screen: Path | None


def advance(
    store: Store, exploration: Exploration, candidates: Sequence[Candidate], left_out: Sequence[LeftOut] = (), *,
    started: datetime | None = None, guess: Callable[[Known, Layout, Exploration, Path], Guess] = guess,
    report: Say = silent,
) -> Step:  # fmt: skip
    """Decide the next round from what the store holds, and write it: ``round-N.json``, ``round-N.yaml``.

    A round whose screen was never run is decided anew.

    Parameters
    ----------
    store
        The store that the exploration's first screen has run in.
    exploration, candidates
        What is looked for, and where.
    left_out
        What is no candidate, for the record.
    started
        Replicas that finished after this moment were paid from the budget; none without it.
    guess
        Predicts the cells of the candidates.
    report
        Hears what is being done.

    Raises
    ------
    InputError
        The first screen has not run in this store, or the files cannot be written.
    """
    folder = exploration.folder(store)
    number = len(rounds_run(store, exploration)) + 1
    report("reading what is simulated ...")
    found = known(store, [exploration.screen, *map(exploration.round_screen, range(1, number))])
    layout = lay_out(found, exploration, candidates)
    report(f"training on {len(found.observations)} replicas ...")
    guessed = guess(found, layout, exploration, folder / "surrogate")
    record = decide(found, layout, exploration, guessed, found.hours_since(started), report)
    record["left_out"] = [asdict(each) for each in left_out] + record["left_out"]
    if record["kind"] == "stop":
        return Step(number, record, None)
    record = {"round": number, "screen": exploration.round_screen(number), **record}
    path = folder / f"round-{number}.yaml"
    replace_file(path, _screen_text(record, found, layout, exploration, folder))
    load_screen(path)  # whatever would be refused later is refused now
    replace_file(folder / f"round-{number}.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    return Step(number, record, path)


def rounds_run(store: Store, exploration: Exploration) -> list[int]:
    """Numbers of the rounds that were decided and whose screens were begun, from 1 without a gap."""
    numbers: list[int] = []
    while True:
        number = len(numbers) + 1
        decided = (exploration.folder(store) / f"round-{number}.json").is_file()
        if not (decided and (screen_folder(store, exploration.round_screen(number)) / "plan.json").is_file()):
            return numbers
        numbers.append(number)


def _screen_text(
    record: Mapping[str, Any], found: Known, layout: Layout, exploration: Exploration, folder: Path
) -> str:
    """The screen of a round as YAML: the first screen's configuration with the ligands of the round."""
    rows = {unit.ligand.name: unit for unit in (*layout.known, *layout.candidates)}
    wanted = [*record["ligands"], *layout.references]
    if record["kind"] == "ligands":  # the rows that are whole cost nothing and make the ranking one of all
        whole = (row.ligand.name for row in layout.known if not row.replicas)
        wanted = [*whole, *layout.references, *record["ligands"]]
    ligands: list[Any] = []
    for name in dict.fromkeys(wanted):
        if rows[name].choice not in ligands:
            ligands.append(rows[name].choice)
    kept = {choice if isinstance(choice, str) else choice["name"] for choice in ligands}
    config = _written(found.plan["config"])
    config |= {
        "name": record["screen"],
        "description": f"Round {record['round']} of exploration {exploration.name}.",
        "variants": list(layout.variants),
        "ligands": ligands,
        "protocol": _protocol(found.plan, folder),
        "replicas": record["replicas"],
    }
    if "states" in config:
        config["states"] = {k: v for k, v in config["states"].items() if k in (APO, "default") or k in kept}
    if config.get("site") not in (None, *names("sites")):
        config["site"] = str(Path(config["site"]).expanduser().absolute())
    for key in ("method", "transfers"):
        config.pop(key, None)
    head = f"# {record['why']}\n# Why each: round-{record['round']}.json, made by esr1md surrogate.\n"
    return head + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)


def _protocol(plan: Mapping[str, Any], folder: Path) -> str:
    """Name of a bundled protocol, or the path of a copy of the user's own as it was when the screen was planned."""
    if plan["config"]["protocol"] in names("protocols"):
        return plan["config"]["protocol"]
    path = folder / "protocol.yaml"
    replace_file(path, yaml.safe_dump(plan["protocol"], sort_keys=False, allow_unicode=True))
    return str(path)


# -- the loop -----------------------------------------------------------------------------------------------

#: Of an exploration, what may not change between two runs of it.
_FIXED = ("screen", "objective", "replicas", "variants")


def explore(
    store: Store,
    exploration: Exploration,
    candidates: Sequence[Candidate],
    simulate: Callable[[Path], Any],
    first: Path,
    left_out: Sequence[LeftOut] = (),
    *,
    decide_round: Callable[..., Step] = advance,
    report: Say = silent,
) -> dict[str, Any]:
    """Simulate, train and propose in turn until budget, target or candidates are exhausted.

    Killed and called again it goes on where it was: a round that is stored is not decided again, and the store never
    computes a replica twice.

    Parameters
    ----------
    store, exploration, candidates, left_out
        See :func:`advance`.
    simulate
        Runs the screen of a YAML file in the store, or what an earlier run left of it.
    first
        The screen that the exploration begins with; its name is ``exploration.screen``.
    decide_round
        Makes a decision, as :func:`advance` does.
    report
        Hears what is being done.

    Returns
    -------
    dict
        As in ``summary.json``: the ``reason`` for stopping (``target``, ``budget``, ``candidates`` or
        ``unanswered``) and ``why`` in words, the rounds with what they took, the best ligands.

    Raises
    ------
    InputError
        The exploration was begun otherwise, another run of it is going on, or whatever ``simulate`` raises.
    """
    folder = exploration.folder(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"'{folder}' cannot be made ({error.strerror})", do="choose another --store") from error
    with only_run(folder, "surrogate explore"):
        started = _begin(folder, exploration, candidates)
        decided = _decided(folder)
        for number, path in [(0, first)] if not decided else [(len(decided), folder / f"round-{len(decided)}.yaml")]:
            report(f"round {number}: simulating {path.stem}")
            simulate(path)
        while True:
            number = len(rounds_run(store, exploration))
            if open_cells := _unanswered(store, exploration, number):
                why = f"{open_cells} replicas of round {number} have no answer; run it again to go on"
                step = Step(number, {"kind": "stop", "reason": "unanswered", "why": f"Stopped: {why}."}, None)
            else:
                step = decide_round(store, exploration, candidates, left_out, started=started, report=report)
            if step.screen is None:
                return _summarise(store, exploration, step, started, folder)
            report(f"round {step.number}: {step.record['why']}")
            simulate(step.screen)


def _begin(folder: Path, exploration: Exploration, candidates: Sequence[Candidate]) -> datetime:
    """Note what is asked, or check that it is still the same; returns when the exploration began."""
    asked = asdict(exploration) | {"candidates": digest_of(sorted(c.ligand.inchikey for c in candidates))}
    asked = json.loads(json.dumps(asked))
    path = folder / "exploration.json"
    before = read_json(path)
    for key in (*_FIXED, "candidates") if before else ():
        if before["asked"][key] != asked[key]:
            was = "others" if key == "candidates" else f"'{before['asked'][key]}'"
            now = "not the same" if key == "candidates" else f"'{asked[key]}'"
            raise InputError(f"the {key} of exploration '{exploration.name}' are {now}", where=str(path),
                             expected=f"{was}, as when it began", do="or another --name")  # fmt: skip
    started = before["started"] if before else datetime.now(UTC).isoformat(timespec="milliseconds")
    replace_file(path, json.dumps({"started": started, "asked": asked}, indent=1) + "\n")
    return datetime.fromisoformat(started)


def _decided(folder: Path) -> list[dict[str, Any]]:
    """The stored decisions, from round 1 without a gap."""
    found: list[dict[str, Any]] = []
    while (record := read_json(folder / f"round-{len(found) + 1}.json")) is not None:
        found.append(record)
    return found


def _unanswered(store: Store, exploration: Exploration, number: int) -> int:
    """Replicas of a round's screen (0: the first) that have neither an observation nor a failure."""
    plan = read_plan(store, exploration.round_screen(number) if number else exploration.screen)
    observations, failures = collect(store, plan)
    return len(plan["replicas"]) - len(observations) - len(failures)


def _summarise(store: Store, exploration: Exploration, step: Step, started: datetime, folder: Path) -> dict[str, Any]:
    """Write ``summary.json``: why it ended, what each round took and what is known now."""
    numbers = rounds_run(store, exploration)
    found = known(store, [exploration.screen, *map(exploration.round_screen, numbers)])
    rounds = [
        {key: record[key] for key in ("round", "screen", "kind", "basis", "why", "ligands", "round_gpu_hours")}
        for record in _decided(folder)
        if record["round"] in numbers
    ]
    ranked = standings(lay_out(found, exploration, ()), exploration, found.scores(exploration.objective), {})
    summary = {
        "exploration": exploration.name,
        "reason": step.record["reason"],
        "why": step.record["why"],
        "objective": exploration.objective,
        "unit": exploration.unit,
        "spent_gpu_hours": round(found.hours_since(started), 4),
        "gpu_hours": exploration.gpu_hours,
        "replicas": len(found.observations),
        "failed": len(found.failures),
        "rounds": rounds,
        "ligands": [_standing(each) for each in ranked],
        "limits": step.record.get("limits", []),
        "folder": str(folder),
        "screen": exploration.round_screen(numbers[-1]) if numbers else exploration.screen,
    }
    replace_file(folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary
