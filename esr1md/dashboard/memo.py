"""Results that many threads ask for, each made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Memo:
    """The last ``size`` results of a function of hashable arguments, for many threads; each is made once.

    ``functools.lru_cache`` would compute one result twice where two threads ask for it at the same time.
    """

    def __init__(self, make: Callable[..., Any], size: int = 64) -> None:
        self._make, self._size = make, size
        self._kept: OrderedDict[tuple, Any] = OrderedDict()
        self._making: dict[tuple, threading.Lock] = {}
        self._lock = threading.Lock()

    def __call__(self, *key: Any) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            made = self._make(*key)
            with self._lock:
                self._kept[key] = made
                self._making.pop(key, None)
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
            return made
