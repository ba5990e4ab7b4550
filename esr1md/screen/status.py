"""How far a screen is, read from the store alone, so that any process on any machine can ask."""

from __future__ import annotations

import json
import os
import socket
import statistics
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store

#: A replica of another machine that has not said anything for so long (s) is not taken to be running.
SILENT_S = 600


@dataclass(frozen=True)
class Running:
    """A replica in the making: ``fraction`` (0 to 1) of its dynamics, ``seconds`` since it began."""

    name: str
    digest: str
    stage: str
    fraction: float
    seconds: float


@dataclass(frozen=True)
class ScreenStatus:
    """How far one screen is.

    ``failed`` counts replicas by reason (``pose: does not fit ...``), ``preparing`` says what shared
    preparation is under way, ``seconds_left`` is ``None`` when nothing runs or nothing is left.
    """

    screen: str
    total: int
    done: int
    failed: dict[str, int]
    running: tuple[Running, ...]
    waiting: int
    preparing: tuple[str, ...]
    active: bool
    seconds: float
    seconds_left: float | None

    @property
    def n_failed(self) -> int:
        return sum(self.failed.values())

    @property
    def complete(self) -> bool:
        """Every replica has an answer, be it a failure."""
        return self.done + self.n_failed == self.total

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "n_failed": self.n_failed, "complete": self.complete}


def screen_names(store: Store) -> list[str]:
    """Screens that were started in this store."""
    return sorted(path.parent.name for path in store.root.glob("screens/*/plan.json"))


def screen_status(store: Store, screen: str | None = None) -> ScreenStatus:
    """How far a screen is.

    Parameters
    ----------
    store
        The store.
    screen
        Its name; may be left out when the store has only one.

    Raises
    ------
    InputError
        No such screen, or several and none named.
    """
    names = screen_names(store)
    if screen is None and len(names) == 1:
        screen = names[0]
    if screen not in names:
        raise InputError(
            f"no screen '{screen}' in this store" if screen else f"{len(names) or 'no'} screens in this store",
            where=f"store {store.root}",
            expected=f"one of {', '.join(names)}" if names else "a store that a screen was run in",
            do="say which" if names else "run one, or name another store with --store",
        )
    folder = store.root / "screens" / screen
    plan, run = _json(folder / "plan.json"), _json(folder / "run.json") or {}
    done, seconds, failed, running = 0, [], Counter(), []
    now = time.time()
    for replica in plan["replicas"]:
        place = store.root / "replicas" / replica["digest"]
        if (place / "done.json").is_file():
            done += 1
            if len(seconds) < 50:  # enough for a median; reading thousands of records would not be quick
                seconds.append((_json(place / "record.json") or {}).get("seconds"))
            continue
        failure = _json(place / "failure.json")
        progress = _json(store.root / "progress" / f"{replica['digest']}.json")
        failure = failure or (progress or {}).get("died")
        if failure:
            failed[f"{failure['stage']}: {failure['cause']}"] += 1
        elif progress and _alive(progress, now):
            running.append(
                Running(
                    replica["name"],
                    replica["digest"],
                    progress["stage"],
                    progress["fraction"],
                    round(now - progress["started"], 1),
                )
            )
    waiting = len(plan["replicas"]) - done - sum(failed.values()) - len(running)
    active = run.get("finished") is None and _running_pid(run.get("pid"), run.get("host"))
    each = statistics.median([s for s in seconds if s] or [plan["estimate"]["replica_seconds"]])
    left = waiting * each + sum(each * (1 - r.fraction) for r in running)
    return ScreenStatus(
        screen=screen,
        total=len(plan["replicas"]),
        done=done,
        failed=dict(failed.most_common()),
        running=tuple(running),
        waiting=waiting,
        preparing=_preparing(store),
        active=active,
        seconds=round((run.get("finished") or now) - run["started"], 1) if run else 0.0,
        seconds_left=round(left / plan["slots"], 1) if active and (waiting or running) else None,
    )


def _preparing(store: Store) -> tuple[str, ...]:
    """Receptors, parameters and poses in the making, by the names their steps left in ``progress/``."""
    now = time.time()
    found = []
    for path in sorted((store.root / "progress").glob("*.step")):
        step = _json(path)
        if step and _alive(step, now):
            found.append(step["name"])
    return tuple(found)


def _alive(progress: dict[str, Any], now: float) -> bool:
    if progress["host"] == socket.gethostname():
        return _running_pid(progress["pid"], progress["host"])
    return now - progress["updated"] < SILENT_S


def _running_pid(pid: int | None, host: str | None) -> bool:
    if pid is None:
        return False
    if host is not None and host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
