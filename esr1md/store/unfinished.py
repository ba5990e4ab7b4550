"""The folder that a result is made in, and what an interrupted attempt has left to go on from.

``.DIGEST.tmp`` is nobody's: made under a lock of the file system, or left behind on purpose. Who makes a digest under a
lease of a database works in ``.DIGEST.OWNER.tmp``, since an owner that has lost its lease may not know yet and still
write. Only the folder of a process that has certainly ended is gone on with as it is; of any other's, a copy is:
``.lost`` is such a one, taken from an owner that may still write, and ``.copy`` its copy, half made.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from esr1md.store.disk import remove
from esr1md.store.layout import CHECKPOINTS, COMING, debris_of
from esr1md.store.leases import Hold


def begin(final: Path, held: Hold) -> Path:
    """The folder to make ``final`` in: empty, or what an earlier attempt left beside a checkpoint. No other is left.

    Parameters
    ----------
    final
        ``KIND/DIGEST``.
    held
        The right to make it.
    """
    own = _folder(final, held.owner)
    beside = (path for path in final.parent.glob(f".{final.name}.*") if debris_of(path.name))
    others = [path for path in beside if path.suffix not in COMING and path != own]
    free = {own, _folder(final, None)}
    if held.predecessor is not None and held.predecessor_gone:
        free.add(_folder(final, held.predecessor))
    farthest = max(filter(can_go_on, [own, *others]), key=_checkpoint_date, default=None)
    if farthest is not None and farthest != own:
        remove(own)
        if farthest in free:
            farthest.rename(own)
        else:
            _copy(farthest, own)
    for path in others:
        # one that another may be writing to gets another name first, so that it is not made anew below our hands
        fenced = path.with_suffix(".lost")
        if path.exists() and path not in free and path != fenced:
            path = path.rename(fenced)
        _discard(path)
    clear(own)
    own.mkdir(parents=True, exist_ok=True)
    return own


def leave(unfinished: Path, final: Path) -> None:
    """After an interruption: remove the folder, or leave it to whoever comes next if it can be gone on with."""
    clear(unfinished)
    free = _folder(final, None)
    if unfinished.exists() and unfinished != free:
        with suppress(OSError):  # another is there already: then this one is copied, not taken
            unfinished.rename(free)


def clear(unfinished: Path) -> None:
    """Remove an unfinished folder unless it can be gone on with."""
    if not can_go_on(unfinished):
        remove(unfinished)


def can_go_on(unfinished: Path) -> bool:
    """Whether a folder holds work to go on with, not debris."""
    return any(unfinished.glob(CHECKPOINTS)) and unfinished.suffix != ".copy"


def _folder(final: Path, owner: str | None) -> Path:
    return final.parent / (f".{final.name}.tmp" if owner is None else f".{final.name}.{owner}.tmp")


def _checkpoint_date(unfinished: Path) -> float:
    # only a preference between whole folders: which of them is taken changes no result
    return max(path.stat().st_mtime for path in unfinished.glob(CHECKPOINTS))


def _copy(source: Path, own: Path) -> None:
    """Copy what another may still be writing to: checkpoints first, since they say how much of the rest counts."""
    if source.suffix == ".tmp":
        source = source.rename(source.with_suffix(".lost"))  # its owner opens no further file in it
    half = own.with_suffix(".copy")
    remove(half)
    half.mkdir()
    files = [path for path in source.rglob("*") if path.is_file()]
    files.sort(key=lambda path: not path.match(CHECKPOINTS))
    for path in files:
        target = half / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    half.rename(own)
    _discard(source)


def _discard(folder: Path) -> None:
    with suppress(OSError):  # a file system of the network may keep what is open elsewhere: it is swept later
        remove(folder)
