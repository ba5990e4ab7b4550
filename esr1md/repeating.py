"""Something done again and again beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(call: Callable[[], object], seconds: float, name: str) -> Iterator[None]:
    """Call something every so many seconds, in a thread called ``name``, while the body runs; not at its start or end.

    ``call`` handles its own errors: one that it raises ends the repetition.
    """
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
