"""What the pools of all clusters have in common: calls that are under way, and their end."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Self

from esr1md.workers import PoolClosed, SignOfLife, WorkerDied


class RemoteCalls(ABC):
    """A :class:`esr1md.sites.pools.Pool` whose calls a cluster takes and answers later; usable from any thread."""

    #: Calls at once.
    slots: int
    #: Exceptions that say that whoever had a call is gone.
    lost: ClassVar[tuple[type[Exception], ...]]

    def __init__(self) -> None:
        self._open: set[Any] = set()
        self._guard, self._closed = threading.Lock(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, function: Callable, *args: Any, sign: SignOfLife | None = None) -> Any:
        """See :class:`esr1md.sites.pools.Pool`."""
        with self._guard:
            if self._closed:
                raise PoolClosed
            handle = self._submit(function, args, sign)
            self._open.add(handle)
        try:
            return self._answer(handle)
        except self.lost as ending:
            if self._closed:
                raise PoolClosed from ending
            why = f"{type(ending).__name__}: {' '.join(str(ending).split())[:200]}"
            raise WorkerDied(f"the worker of the cluster that had it was lost ({why})") from None
        finally:
            with self._guard:
                self._open.discard(handle)

    def close(self) -> None:
        """End every call, wherever it runs, and what was started for this pool."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            left = list(self._open)
        self._end(left)

    @abstractmethod
    def _submit(self, function: Callable, args: tuple, sign: SignOfLife | None) -> Any:
        """Hand a call to the cluster; returns what stands for its answer."""

    @abstractmethod
    def _answer(self, handle: Any) -> Any:
        """Wait for an answer; raises what the call raised, or one of :attr:`lost`."""

    @abstractmethod
    def _end(self, handles: Collection[Any]) -> None:
        """End these calls, and let go of the cluster."""
