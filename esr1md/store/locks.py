"""A folder that one run at a time may write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esr1md.errors import InputError
from esr1md.store.disk import kernel_lock


@contextmanager
def only_run(out: Path, command: str) -> Iterator[None]:
    """Only one run of ``command`` at a time in a folder; the kernel frees the lock of one that died.

    Raises
    ------
    InputError
        Another run has the folder.
    """
    with kernel_lock(out / ".lock", wait=False) as free:
        if not free:
            raise InputError(f"another '{command}' is running in this folder", where=str(out),
                             do="wait for it, or use another folder")  # fmt: skip
        yield
