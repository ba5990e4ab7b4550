"""What a replica or transfer in the making says of itself: one small file in ``STORE/progress/``, replaced meanwhile.

It is for eyes only (``esr1md status``): nothing is computed from it, it goes when the replica ends, and a disk that
refuses it stops nothing. What is to be kept of a run is in its log (:mod:`esr1md.screen.replica_log`).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.disk import beside
from esr1md.store.processes import has_ended, process_identity

Progress = Callable[[str, float], None]

#: Seconds between two writings of a file while the stage stays the same.
WRITE_S = 0.5
#: A process of another machine that has not said anything for so long (s) is not taken to be running.
SILENT_S = 600
#: Stages in which the finished fraction moves with the simulated time.
DYNAMICS = ("heat", "equilibrate", "produce", "sample")


class Speed:
    """Speed of a simulation over the last minute, from the finished fractions it reports.

    Parameters
    ----------
    dynamics_ps
        Simulated time of all its stages: what a fraction of 1 is.
    window_s
        Seconds to look back.
    clock
        Seconds that never go back.
    """

    def __init__(self, dynamics_ps: float, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._dynamics_ps, self._window_s, self._clock = dynamics_ps, window_s, clock
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, stage: str, fraction: float) -> float | None:
        """Note a report; ns/day, or ``None`` outside the dynamics and before the fraction has moved."""
        if stage not in DYNAMICS:
            self._seen.clear()
            return None
        now = self._clock()
        self._seen.append((now, fraction))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._window_s:
            self._seen.popleft()
        began, first = self._seen[0]
        if fraction <= first or now <= began:
            return None
        return (fraction - first) * self._dynamics_ps / 1000 / (now - began) * 86400


class Reporter:
    """Called with each stage and finished fraction (0 to 1); leaves them in the replica's progress file.

    Attributes
    ----------
    ns_per_day
        Speed over the last minute; ``None`` while nothing is integrated.
    fraction
        The last one reported.
    """

    def __init__(self, path: Path, digest: str, name: str, dynamics_ps: float, progress: Progress | None) -> None:
        self._path, self._progress = path, progress
        self._said = {"digest": digest, "name": name, **own_process(), "started": time.time()}
        self._speed = Speed(dynamics_ps)
        self._stage, self._written = "", 0.0
        self.ns_per_day: float | None = None
        self.fraction = 0.0

    def keep(self, **values: Any) -> None:
        """What every later report says as well (``platform``, ``device``)."""
        self._said.update(values)

    def __call__(self, stage: str, fraction: float) -> None:
        self.fraction, self.ns_per_day = fraction, self._speed.add(stage, fraction)
        now = time.monotonic()
        if stage != self._stage or now - self._written > WRITE_S:
            self._stage, self._written = stage, now
            said = {"stage": stage, "fraction": round(fraction, 4), "ns_per_day": rounded(self.ns_per_day)}
            write_progress(self._path, {**self._said, **said, "updated": time.time()})
        if self._progress is not None:
            self._progress(stage, fraction)


@contextmanager
def reported(
    store: Store, digest: str, name: str, dynamics_ps: float, progress: Progress | None = None
) -> Iterator[Reporter]:
    """A :class:`Reporter` for a replica or transfer; its file goes when that ends, be it with a failure.

    It stays when the process is killed or the disk is full: then it says where that happened.

    Parameters
    ----------
    digest, name
        What it is known by, and what it is called.
    dynamics_ps
        Simulated time of all its stages.
    progress
        Told as well.
    """
    path = progress_file(store, digest)
    report = Reporter(path, digest, name, dynamics_ps, progress)
    report("waiting", 0.0)
    try:
        yield report
    except InputError:
        raise
    except Exception:  # an answer as well, or stopped for another process to go on with
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def progress_file(store: Store, digest: str) -> Path:
    """Where a replica in the making says how far it is."""
    return store.root / "progress" / f"{digest}.json"


def rounded(speed: float | None) -> float | None:
    """A speed as it is told: four digits."""
    return None if speed is None else float(f"{speed:.4g}")


def own_process() -> dict[str, Any]:
    """What this process is known by to others, on this machine or another: ``host``, ``pid`` and ``process``."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "process": process_identity(os.getpid())}


def write_progress(path: Path, value: dict[str, Any]) -> None:
    """Replace a progress file whole; it is for eyes only, so it is not synced and never stops a run."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as part:
            part.write_text(json.dumps(value))
            os.replace(part, path)


def whole_json(path: Path) -> Any:
    """The content of a JSON file; ``None`` without one, and for one that is damaged.

    A crash of the machine may tear what is not synced, and whoever only looks passes over a damaged record too: to say
    so is the work of ``esr1md store verify``.
    """
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def alive(said: dict[str, Any]) -> bool:
    """Whether the process that wrote a progress file, or says it runs a screen, is likely to be there still.

    On this machine its number tells, with what tells it from a later process of that number, where it has said that; of
    another machine, whether it has said anything in the last minutes.
    """
    if "died" in said:
        return False
    if said["host"] != socket.gethostname():
        return time.time() - said["updated"] < SILENT_S
    try:
        os.kill(said["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not has_ended(said["pid"], said.get("process", ""))
