"""A folder that one run at a time may write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esr1md.errors import InputError


@contextmanager
def only_run(out: Path, command: str) -> Iterator[None]:
    """Only one run of ``command`` at a time in a folder; the kernel frees the lock of one that died.

    Raises
    ------
    InputError
        Another run has the folder.
    """
    import fcntl

    with open(out / ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another '{command}' is running in this folder", where=str(out),
                             do="wait for it, or use another folder") from None  # fmt: skip
        yield
