"""Rows of a long file, done by several processes: chunks out, answers back, and what a row that ends its process costs.

What ``ligands prepare`` and ``surrogate screen`` share. A few chunks are under way at once and no more are read, so
that a file of any length takes the same memory.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.ligand.inputs import InputFile
from esr1md.ligand.molecules import InputRow
from esr1md.specs import file_digest
from esr1md.workers import PoolClosed, WorkerDied, WorkerPool

#: Seconds after which the caller hears that nothing has finished yet.
TICK_S = 0.5


@dataclass
class Progress:
    """How far a library is."""

    done: int = 0
    failed: int = 0
    ligands: int = 0
    earlier: int = 0
    total: int | None = None
    fraction: float = 0.0
    seconds: float = 0.0
    _begun_at: float = 0.0

    @property
    def rate(self) -> float:
        """Rows per second of this run."""
        return (self.done - self.earlier) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rows, or from the part of the file, that this run has got through."""
        fraction = self.done / self.total if self.total else self.fraction
        begun = self.earlier / self.total if self.total else self._begun_at
        if fraction <= begun or self.done - self.earlier < 3:
            return None
        return self.seconds * (1.0 - fraction) / (fraction - begun)

    def now(self, seconds: float, fraction: float) -> None:
        """Note the time of this run and how much of the file is read; before the first answer, where it began."""
        self.seconds, self.fraction = seconds, fraction
        if self.done == self.earlier:
            self._begun_at = fraction


def chunks_of(rows: Iterable[InputRow], size: int) -> Iterator[list[InputRow]]:
    """Successive lists of ``size`` rows; the last may be shorter."""
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def answers(pool: WorkerPool, chunks: Iterator[list[InputRow]], function: Callable, *arguments: Any,
            lost: Callable[[InputRow, WorkerDied], Any],
            at_once: int | None = None) -> Iterator[tuple[list[InputRow], list[Any]]]:  # fmt: skip
    """``function(chunk, *arguments)`` for every chunk, in the processes of a pool.

    Parameters
    ----------
    chunks
        Read as needed, one for each process at a time.
    function
        Importable by name (:meth:`esr1md.workers.WorkerPool.call`).
    lost
        The answer of a row whose process ended while it was tried alone.
    at_once
        Processes to use; all of the pool without it.

    Yields
    ------
    (chunk, answers)
        As chunks finish, in any order. One answer; or one for each row, where the process of the chunk has ended and
        its rows were tried alone. ``([], [])`` about twice a second while nothing finishes.

    Raises
    ------
    Exception
        What ``function`` or reading a chunk raised first, once the chunks under way are through.
    """
    threads = at_once or pool.slots
    found: queue.Queue[Any] = queue.Queue(maxsize=4 * threads)
    guard = threading.Lock()

    def take() -> list[InputRow] | None:
        with guard:
            return next(chunks, None)

    def alone(row: InputRow) -> Any:
        try:
            return pool.call(function, [row], *arguments)
        except WorkerDied as death:
            return lost(row, death)

    def work() -> None:
        try:
            while chunk := take():
                try:
                    found.put((chunk, [pool.call(function, chunk, *arguments)]))
                except WorkerDied as death:
                    rows = [lost(chunk[0], death)] if len(chunk) == 1 else [alone(row) for row in chunk]
                    found.put((chunk, rows))
        except PoolClosed:
            pass
        except BaseException as error:
            found.put(error)
        finally:
            found.put(None)

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    left, broken = threads, None
    while left:
        try:
            answer = found.get(timeout=TICK_S)
        except queue.Empty:
            answer = ([], [])
        if answer is None:
            left -= 1
        elif isinstance(answer, BaseException):
            broken = broken or answer
        else:
            yield answer
    if broken is not None:
        raise broken


def reason(error: InputError, row: InputRow) -> str:
    """The message without the name, which has its own column."""
    parts = [error.what.removeprefix(f"ligand '{row.name}': ").removeprefix(f"ligand '{row.name}' ")]
    parts += [f"expected {error.expected}"] if error.expected else []
    return " ".join("; ".join([*parts, *([error.do] if error.do else [])]).split())


def fingerprint(source: str | Path, rows: InputFile) -> str:
    """What a source is, wherever it lies: the digest of a file, or the SMILES itself."""
    return f"sha256:{file_digest(Path(str(source)).expanduser())}" if rows.kind != "smiles" else str(source)


@contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A text file that appears whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "w", encoding="utf-8", newline="") as handle:
        yield handle
    os.replace(part, path)


def tidy(logs: Path) -> None:
    """Empty logs say nothing; the folder goes when nothing is left in it."""
    if logs.is_dir():
        for path in logs.iterdir():
            if path.stat().st_size == 0:
                path.unlink()
        if not any(logs.iterdir()):
            logs.rmdir()
