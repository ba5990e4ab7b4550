"""Ligands that were prepared before, in the user's cache: a screen of thousands is planned anew by every run of it.

What is kept under a key is what the structure, the options and this version of the code give, so it never has to be
looked after: another version has other keys. A cache that cannot be used costs time and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from esr1md import ligand
from esr1md.errors import InputError
from esr1md.ligand.states import Charges
from esr1md.specs import Ligand, digest_of, file_digest
from esr1md.store.location import cache_folder

#: What became of a structure: a ligand for each stereoisomer, or why there is none.
Prepared = tuple[Ligand, ...] | InputError

_SCHEMA = "create table if not exists prepared (key text primary key, value text not null) without rowid"
#: Seconds that another process's writing is waited for.
_WAIT_S = 10.0


@dataclass(frozen=True)
class Structure:
    """A structure as text, and how it is prepared (:func:`esr1md.ligand.states.prepare_compound`)."""

    name: str
    text: str
    kind: Literal["smiles", "sdf"]
    drug_class: str = ""
    stereo: Literal["defined", "enumerate"] = "defined"
    charges: Charges = "charges win"

    @functools.cached_property
    def key(self) -> str:
        """Digest of all that its ligands depend on."""
        return hashlib.sha256("\0".join((_code(), *astuple(self))).encode("utf-8", "surrogatepass")).hexdigest()


@functools.cache
def _code() -> str:
    """Digest of the programs that prepare ligands."""
    files = sorted(Path(ligand.__file__).parent.glob("*.py"))
    return digest_of([*map(file_digest, files), version("rdkit"), version("dimorphite-dl")])


def cache_file() -> Path:
    """``ligands.sqlite`` in the user's cache (``ESR1MD_CACHE``)."""
    return cache_folder() / "ligands.sqlite"


def recall(structures: Iterable[Structure]) -> dict[Structure, Prepared]:
    """Those that were prepared before."""
    if not cache_file().is_file():
        return {}
    found: dict[Structure, Prepared] = {}
    try:
        with closing(_open()) as cache:
            for structure in structures:
                row = cache.execute("select value from prepared where key = ?", (structure.key,)).fetchone()
                if row is not None:
                    found[structure] = _read(row[0])
    except sqlite3.OperationalError:  # no right to, busy
        return found
    except (sqlite3.Error, ValueError, TypeError, KeyError):  # damaged
        cache_file().unlink(missing_ok=True)
        return {}
    return found


def remember(prepared: Mapping[Structure, Prepared]) -> None:
    """Keep what was prepared."""
    try:
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        with closing(_open()) as cache, cache:
            rows = [(structure.key, _written(made)) for structure, made in prepared.items()]
            cache.executemany("insert or replace into prepared values (?, ?)", rows)
    except (OSError, sqlite3.Error):
        return


def _open() -> sqlite3.Connection:
    cache = sqlite3.connect(cache_file(), timeout=_WAIT_S)
    cache.execute(_SCHEMA)
    return cache


def _written(made: Prepared) -> str:
    if isinstance(made, InputError):
        return json.dumps({"what": made.what, "expected": made.expected, "do": made.do})
    return json.dumps([astuple(each) for each in made])


def _read(text: str) -> Prepared:
    value = json.loads(text)
    if isinstance(value, dict):
        return InputError(value["what"], expected=value["expected"], do=value["do"])
    return tuple(Ligand(*each) for each in value)
