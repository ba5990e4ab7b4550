"""A round as files: the decision with its reasons, and the screen that it led to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from esr1md.catalogue import names
from esr1md.config import APO, load_screen
from esr1md.explore.candidates import Candidate, Choice, LeftOut
from esr1md.explore.known import Known, known
from esr1md.explore.layout import Layout, lay_out
from esr1md.explore.predictions import Guess, guess
from esr1md.explore.proposal import decide
from esr1md.explore.question import Exploration, Say, silent
from esr1md.explore.written import written
from esr1md.screen.finish import replace_file, screen_folder
from esr1md.store.artifacts import Store


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
    ligands: list[Choice] = []
    for name in dict.fromkeys(wanted):
        if rows[name].choice not in ligands:
            ligands.append(rows[name].choice)
    kept = {choice if isinstance(choice, str) else choice["name"] for choice in ligands}
    config = written(found.plan["config"])
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
