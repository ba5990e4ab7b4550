"""Calls that hold Python's lock (Vina, PoseBusters), in processes beside the one that asks where there are cores."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from esr1md.errors import StageError
from esr1md.workers import WorkerDied, WorkerPool

R = TypeVar("R")


class Begun(Generic[R]):
    """A call that was begun: :meth:`result` waits for it, or does it if no other process has.

    Attributes
    ----------
    elsewhere
        CPU seconds that another process took for it; known once there is a result.
    """

    def __init__(self, future: Future[tuple[R, float]] | None, here: Callable[[], R]) -> None:
        self._future, self._here = future, here
        self.elsewhere = 0.0

    def result(self) -> R:
        """What the call returns.

        Raises
        ------
        StageError
            Its process ended before it did.
        Exception
            Whatever the call raised.
        """
        if self._future is None:
            return self._here()
        while wait([self._future], timeout=1.0).not_done:  # not longer, or Ctrl-C would be late
            pass
        try:
            answer, self.elsewhere = self._future.result()
        except WorkerDied as death:
            raise StageError("pose", str(death)) from death
        return answer


class Beside:
    """Where calls are begun; made by :func:`beside`."""

    def __init__(self, pool: WorkerPool | None, waiting: ThreadPoolExecutor | None) -> None:
        self._pool, self._waiting = pool, waiting

    def begin(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> Begun[R]:
        """Begin ``function(*args, **kwargs)``, which must be importable by name.

        In another process, in the order of the calls; without one it is done when its result is asked for.
        """
        future = None
        if self._pool is not None and self._waiting is not None:
            future = self._waiting.submit(self._pool.call, _timed, function, args, kwargs)
        return Begun(future, lambda: function(*args, **kwargs))


@contextmanager
def beside(processes: int, logs: Path) -> Iterator[Beside]:
    """Up to ``processes`` processes for the calls of the body, each on one core; ended with it.

    What they print goes to ``logs``, which is kept if one of them dies.
    """
    if not processes:
        yield Beside(None, None)
        return
    kept = False
    try:
        with ThreadPoolExecutor(processes) as waiting, WorkerPool(processes, log_folder=logs) as pool:
            yield Beside(pool, waiting)
    except StageError as error:
        kept = isinstance(error.__cause__, WorkerDied)
        raise
    finally:
        if not kept:
            shutil.rmtree(logs, ignore_errors=True)


def _timed(function: Callable[..., R], args: tuple, kwargs: dict) -> tuple[R, float]:
    before = time.process_time()
    answer = function(*args, **kwargs)
    return answer, time.process_time() - before
