"""How far a screen is, read from the store alone, so that any process on any machine can ask.

:func:`screen_status` answers once. Whoever asks again and again keeps a :class:`ScreenWatch`, which reads what has
ended only once, however large the screen.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from esr1md.errors import InputError
from esr1md.screen.endings import Endings, Failed
from esr1md.screen.progress import alive, whole_json
from esr1md.store.artifacts import Store
from esr1md.store.plans import PLAN, Columns, read_plan

#: The last so many finished replicas say how long one takes.
RECENT = 200
#: With so many finished in the last hour their rate says how long the rest takes.
ENOUGH = 10
HOUR_S = 3600.0
#: A running replica that is so far (0 to 1) tells how long one takes, before any has finished.
TELLING = 0.05


@dataclass(frozen=True)
class Running:
    """A replica in the making.

    Attributes
    ----------
    kind
        ``replica``, or ``transfer`` (one repeat of a relative free energy).
    fraction
        Of its dynamics that is done (0 to 1).
    seconds, silent
        Since it began; since it last said something (s).
    host, platform, device
        Where; ``device`` is empty on a CPU and before the dynamics.
    ns_per_day
        Over the last minute; ``None`` outside the dynamics.
    """

    name: str
    digest: str
    stage: str
    fraction: float
    seconds: float
    silent: float = 0.0
    host: str = ""
    platform: str = ""
    device: str = ""
    ns_per_day: float | None = None
    kind: str = "replica"


@dataclass(frozen=True)
class Runner:
    """A process that runs, or ran, a screen; times in seconds since 1970, ``finished`` is ``None`` until it is done.

    ``alive``: it runs now, as far as can be known: on this machine its process exists, on another one it has said so
    in the last ten minutes.
    """

    host: str
    pid: int | None
    site: str
    started: float
    updated: float
    finished: float | None
    alive: bool


@dataclass(frozen=True)
class ScreenStatus:
    """How far one screen is.

    Attributes
    ----------
    total, done, waiting
        Replicas.
    failed
        Replicas by reason (``pose: does not fit ...``).
    failed_stages
        The same by stage and kind (``outcome`` or ``error``).
    running, preparing
        Replicas in the making; names of the shared preparations that are under way.
    runners
        Who runs it now.
    active
        Whether anything runs it.
    seconds
        Since the first of the runners began; of the last run, where none is active.
    seconds_left, left_basis
        Estimated wall time to the end and where the number comes from; ``None`` and empty where nothing runs or
        nothing is left.
    finished_last_hour
        Replicas that became done in the last 3,600 s.
    replica_seconds
        Median wall time of the last finished ones; ``None`` before the first.
    ns_per_day
        Of all running replicas together; ``None`` where none is in its dynamics.
    transfers
        ``total``, ``done`` and ``failed`` repeats of the relative free energies of ``method: atm``; else ``None``.
    notes
        What could not be read, and why.
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
    left_basis: str = ""
    failed_stages: tuple[tuple[str, str, int], ...] = ()
    finished_last_hour: int = 0
    replica_seconds: float | None = None
    ns_per_day: float | None = None
    runners: tuple[Runner, ...] = ()
    transfers: dict[str, int] | None = None
    notes: tuple[str, ...] = ()

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
    return ScreenWatch(store, screen).look()


class ScreenWatch:
    """How far a screen is, asked again and again; parameters and errors are those of :func:`screen_status`."""

    def __init__(self, store: Store, screen: str | None = None) -> None:
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
        self.screen = screen
        self._store, self._folder = store, store.root / "screens" / screen
        self._plan_seen: tuple[int, int] | None = None
        self._plan: dict[str, Any] = {}
        self._endings, self._transfers = Endings(store, "replicas", []), Endings(store, "transfers", [])

    def look(self) -> ScreenStatus:
        """The status now."""
        self._read_plan()
        self._endings.refresh()
        self._transfers.refresh()
        now = time.time()
        running, died, preparing = self._progress(now)
        failures = [*self._endings.failures.values(), *died]
        causes = Counter(f"{each.stage}: {each.cause}" for each in failures)
        stages = Counter((each.stage, each.kind) for each in failures)
        total, done = len(self._endings.digests), self._endings.done
        replicas = [each for each in running if each.kind == "replica"]
        waiting = max(0, total - done - len(failures) - len(replicas))
        found = runners(self._store, self.screen, signs=bool(running or preparing))
        at_work = tuple(runner for runner in found if runner.alive)
        each = self._replica_seconds()
        left, basis = self._left(now, at_work, replicas, waiting, each) if at_work else (None, "")
        basis += ", once prepared" if basis and preparing and not running else ""
        speeds = [r.ns_per_day for r in running if r.ns_per_day is not None]
        return ScreenStatus(
            screen=self.screen,
            total=total,
            done=done,
            failed=dict(causes.most_common()),
            running=running,
            waiting=waiting,
            preparing=preparing,
            active=bool(at_work),
            seconds=round(_lasted(found, at_work, now), 1),
            seconds_left=left,
            left_basis=basis,
            failed_stages=tuple((stage, kind, count) for (stage, kind), count in sorted(stages.items())),
            finished_last_hour=self._finished_since(now - HOUR_S),
            replica_seconds=None if each is None else round(each, 1),
            ns_per_day=sum(speeds) if speeds else None,
            runners=at_work,
            transfers=self._transfers_status(),
            notes=self._endings.notes,
        )

    def replica_seconds(self) -> np.ndarray:
        """Wall time (s) of each replica that was done at the last look and says so."""
        return self._endings.seconds[np.isfinite(self._endings.seconds)]

    # -- what the store says -----------------------------------------------------------------------------------

    def _read_plan(self) -> None:
        """The plan, again only if a new run has written another one."""
        found = (self._folder / PLAN).stat()
        seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._plan_seen:
            return
        plan = read_plan(self._folder)
        rows = plan.pop("replicas")
        digests = list(rows.digests) if isinstance(rows, Columns) else [replica["digest"] for replica in rows]
        repeats = list(dict.fromkeys(r["digest"] for r in plan.get("transfers", {}).get("repeats", ())))
        if digests != self._endings.digests:
            self._endings = Endings(self._store, "replicas", digests, self.screen)
        if repeats != self._transfers.digests:
            self._transfers = Endings(self._store, "transfers", repeats)
        self._plan, self._plan_seen = plan, seen

    def _progress(self, now: float) -> tuple[tuple[Running, ...], list[Failed], tuple[str, ...]]:
        """Replicas in the making, those whose process died in the last run, and shared preparations under way."""
        running, died, preparing = [], [], []
        try:
            names = sorted(os.listdir(self._store.root / "progress"))
        except FileNotFoundError:
            names = []
        for name in names:
            digest, _, kind = name.partition(".")
            if not digest or kind not in ("json", "step"):
                continue
            endings = self._endings if digest in self._endings else self._transfers
            if kind == "json" and (digest not in endings or endings.ended(digest)):
                continue
            said = whole_json(self._store.root / "progress" / name)
            if said is None:
                continue
            if kind == "step":
                if alive(said):
                    preparing.append(said["name"])
            elif "died" in said and endings is self._endings:
                died.append(Failed(said["died"]["stage"], said["died"]["cause"], said["died"]["kind"]))
            elif alive(said):
                running.append(
                    Running(
                        said["name"],
                        digest,
                        said["stage"],
                        said["fraction"],
                        round(max(0.0, now - said["started"]), 1),
                        round(max(0.0, now - said["updated"]), 1),
                        said["host"],
                        said.get("platform", ""),
                        said.get("device", ""),
                        said.get("ns_per_day"),
                        "replica" if endings is self._endings else "transfer",
                    )
                )
        running.sort(key=lambda each: (-each.seconds, each.name))
        return tuple(running), died, tuple(sorted(preparing))

    def _transfers_status(self) -> dict[str, int] | None:
        total = len(self._transfers.digests)
        if not total:
            return None
        return {"total": total, "done": self._transfers.done, "failed": len(self._transfers.failures)}

    # -- time --------------------------------------------------------------------------------------------------

    def _finished_since(self, instant: float) -> int:
        return int((self._endings.finished > instant).sum())

    def _replica_seconds(self) -> float | None:
        """Median wall time of the last finished replicas."""
        known = np.flatnonzero(np.isfinite(self._endings.seconds))
        if not len(known):
            return None
        if len(known) > RECENT:
            finished = np.nan_to_num(self._endings.finished[known], nan=0.0)
            known = known[np.argpartition(finished, -RECENT)[-RECENT:]]
        return float(np.median(self._endings.seconds[known]))

    def _left(
        self, now: float, runners: Sequence[Runner], running: Sequence[Running], waiting: int, each: float | None
    ) -> tuple[float | None, str]:
        """Seconds to the end, and where that comes from; ``each`` is what a finished replica took.

        The rate of the last hour counts everything as it is: several machines, slow starts, GPUs that others use. Until
        it is known, the time of a replica and the number at once must do.
        """
        if not waiting and not running:
            return None, ""
        parts = waiting + sum(1 - each.fraction for each in running)
        since = max(now - HOUR_S, min(runner.started for runner in runners))
        count = self._finished_since(since)
        if count >= ENOUGH:
            minutes = max(1, round((now - since) / 60))
            return round(parts * (now - since) / count, 1), f"{count} replicas in the last {minutes} min"
        expected = [one.seconds / one.fraction for one in running if one.fraction >= TELLING]
        if each is not None:
            basis = f"median of the last {min(RECENT, int(np.isfinite(self._endings.seconds).sum()))} finished"
        elif expected:
            each, basis = float(np.median(expected)), "as fast as what runs now"
        else:
            each, basis = self._plan["estimate"]["replica_seconds"], "the plan's estimate"
        at_once = min(max(self._plan["slots"], len(running)), waiting + len(running))
        return round(parts * each / at_once, 1), f"{basis}, {at_once} at once"


def runners(store: Store, screen: str, *, signs: bool = False) -> tuple[Runner, ...]:
    """Processes that run or ran a screen, the first to begin first.

    Parameters
    ----------
    store, screen
        The store and the screen's name.
    signs
        Something of the screen is running now: a runner of another machine that has been silent is then alive still.
    """
    folder = store.root / "screens" / screen
    said = [run for path in sorted((folder / "runs").glob("*.json")) if (run := whole_json(path)) is not None]
    last = whole_json(folder / "run.json")
    if last is not None and (last.get("host"), last.get("pid")) not in {(r.get("host"), r.get("pid")) for r in said}:
        said.append(last)
    found = []
    for run in said:
        run = {"updated": run["started"], **run, "host": run.get("host") or socket.gethostname()}
        there = run.get("pid") is not None and alive(run)
        lives = run.get("finished") is None and (there or (signs and run["host"] != socket.gethostname()))
        site, finished = run.get("site", ""), run.get("finished")
        found.append(Runner(run["host"], run.get("pid"), site, run["started"], run["updated"], finished, lives))
    return tuple(sorted(found, key=lambda runner: runner.started))


def _lasted(found: Sequence[Runner], at_work: Sequence[Runner], now: float) -> float:
    if at_work:
        return max(0.0, now - min(runner.started for runner in at_work))
    if not found:
        return 0.0
    last = max(found, key=lambda runner: runner.updated)
    return max(0.0, (last.finished or last.updated) - last.started)
