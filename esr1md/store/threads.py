"""Many calls that wait for a disk or a network, several at once and no more of them ahead than memory allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


def together(call: Callable[..., Answer], rows: Iterable[tuple], threads: int = 8) -> Iterator[Answer]:
    """``call`` for each row, in order, a few rows ahead of who asks; the first exception ends the rest.

    Parameters
    ----------
    call
        May be called from any thread.
    rows
        Its arguments; taken as they are needed.
    threads
        Calls at once; four times as many are under way or answered ahead.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="together") as pool:
        ahead: deque[Future[Answer]] = deque()
        try:
            for row in rows:
                ahead.append(pool.submit(call, *row))
                if len(ahead) >= 4 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
