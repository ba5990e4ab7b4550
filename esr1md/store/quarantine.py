"""What is damaged is moved aside, not deleted: ``STORE/quarantine/``, with the reason beside it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from esr1md.store.disk import sync, write_json
from esr1md.store.layout import QUARANTINE

WHY = ".why.json"


def in_quarantine(root: Path) -> list[Path]:
    """What has been moved there, without the reasons."""
    folder = root / QUARANTINE
    return sorted(path for path in folder.iterdir() if not path.name.endswith(WHY)) if folder.is_dir() else []


def move_to_quarantine(root: Path, path: Path, why: str) -> Path:
    """Move a file or folder of the store there; returns where it is now.

    The reason, and where it was, are beside it in a file of the same name that ends in ``.why.json``.
    """
    folder = root / QUARANTINE
    folder.mkdir(parents=True, exist_ok=True)
    was = path.relative_to(root).as_posix()
    to = folder / f"{was.replace('/', '-')}.{time.time_ns():x}"
    write_json(to.with_name(to.name + WHY), {"was": was, "why": why, "moved": datetime.now(UTC).isoformat()})
    os.rename(path, to)
    sync(folder)
    sync(path.parent)
    return to
