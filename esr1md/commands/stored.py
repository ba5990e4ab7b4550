"""What earlier runs left: a store that must be there, its screens, and the ranking of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from esr1md.errors import InputError

if TYPE_CHECKING:
    from esr1md.scoring.scores import Ranking
    from esr1md.store import Store


def existing_store(location: Path) -> Path:
    """The folder of a store, or the folder of this machine that stands for one with a URL.

    Raises
    ------
    InputError
        There is no such folder, or the object store does not answer.
    """
    from esr1md.store.location import open_store

    root = open_store(location).root
    if not root.is_dir():
        raise InputError(f"no store at '{location}'", expected="the folder of an earlier 'esr1md screen'",
                         do="name it with --store, or run a screen first")  # fmt: skip
    return root


def stored_ranking(root: Path, name: str | None) -> Ranking:
    """The ranking of a screen in the store; of what has finished, while it runs or after it was interrupted.

    Raises
    ------
    InputError
        No store, an unknown name, or none where there are several screens.
    """
    from esr1md.screen.status import screen_status
    from esr1md.store import Store

    kept = Store(existing_store(root))
    found = screen_status(kept, name)  # refuses an unknown name, and none where there are several
    folder = kept.root / "screens" / found.screen
    run = json.loads((folder / "run.json").read_text())
    if run["finished"] is None or not (folder / "ranking.json").is_file():
        from esr1md.screen.finish import rank_stored

        return rank_stored(kept, found.screen)  # running, or interrupted: whatever has finished
    from esr1md.scoring.scores import Ranking

    return Ranking.model_validate_json((folder / "ranking.json").read_text())


def stored_screens(root: Path, screen: str | None) -> tuple[Store, list[str]]:
    """A store and the names of its screens, or the one asked for.

    Raises
    ------
    InputError
        No store, no screen in it, or none of that name.
    """
    from esr1md.catalogue import did_you_mean
    from esr1md.screen.status import screen_names
    from esr1md.store import Store

    kept = Store(root)
    names = screen_names(kept)
    if not names:
        what = "no screen has run in this store" if kept.root.is_dir() else "there is no such folder"
        raise InputError(what, where=f"store {root}", expected="the folder of an earlier 'esr1md screen'",
                         do="run a screen first, or name another folder")  # fmt: skip
    if screen is not None and screen not in names:
        raise InputError(f"no screen '{screen}' in this store", where=f"store {root}",
                         expected=f"one of {', '.join(names)}", do=did_you_mean(screen, names))  # fmt: skip
    return kept, names if screen is None else [screen]
