"""Active learning: simulate, train and propose in turn, until there is a reason to stop.

A round is a screen. Its new ligands are those that promise most (:mod:`esr1md.surrogate.acquisition`), each in every
variant, since the question is what a mutation changes; those known already stay in it, so that its ranking is of all of
them, and nothing is computed twice. Every decision is a file with its reasons, beside the screen it led to:

    STORE/explore/NAME/exploration.json   what is asked, and since when hours count (of a loop, not of single proposals)
                       round-1.json       what was known, what was chosen and why
                       round-1.yaml       the screen of the round, called NAME-1
                       surrogate/         the model of the last decision
                       summary.json       why the loop stopped, and the ligands as they stand
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.explore.candidates import Candidate, LeftOut
from esr1md.explore.known import known
from esr1md.explore.layout import lay_out
from esr1md.explore.question import Exploration, Say, silent
from esr1md.explore.rounds import Step, advance, rounds_run
from esr1md.explore.situation import standings
from esr1md.screen.finish import collect, read_json, read_plan, replace_file
from esr1md.specs import digest_of
from esr1md.store.artifacts import Store
from esr1md.store.locks import only_run

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
        number = len(_decided(folder))
        path = folder / f"round-{number}.yaml" if number else first
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
    asked = exploration.to_json() | {"candidates": digest_of(sorted(c.ligand.inchikey for c in candidates))}
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
        "ligands": [each.to_json() for each in ranked],
        "limits": step.record.get("limits", []),
        "folder": str(folder),
        "screen": exploration.round_screen(numbers[-1]) if numbers else exploration.screen,
    }
    replace_file(folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    store.send_folder("explore", exploration.name)
    return summary
