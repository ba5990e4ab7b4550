"""The replicas of a screen in its ``plan.json``: listed as rows, or as columns where they are many.

A million rows are 226 MB of JSON, and take 0.9 GB of memory of whoever reads them; as columns they are 43 MB and take
0.2 GB, for a row is made when it is asked for.
"""

from __future__ import annotations

import base64
import json
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esr1md.errors import InputError
from esr1md.store.disk import read_json, write_file

PLAN = "plan.json"
#: Plans of no more replicas than this list them as rows.
MOST_ROWS = 10_000
#: Bytes of a SHA-256.
_DIGEST = 32
_WORDS = ("variant", "ligand", "state")


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What ``plan.json`` in the folder of a screen says, ``replicas`` a sequence of rows; ``None`` without one.

    Raises
    ------
    InputError
        It is damaged.
    """
    plan = read_json(folder / PLAN)
    return None if plan is None else plan | {"replicas": planned(plan)}


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write ``plan.json`` whole or not at all; ``replicas`` may be any sequence of rows.

    Raises
    ------
    InputError
        It cannot be written.
    """
    rows = plan["replicas"]
    replicas = list(rows) if len(rows) <= MOST_ROWS else _as_columns(rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / PLAN, (json.dumps({**plan, "replicas": replicas}, indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"{PLAN} cannot be written ({error.strerror})", where=str(folder),
            do="free some space or choose another --store; finished results are kept",
        ) from error  # fmt: skip


def planned(plan: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The replicas of a plan as rows with ``digest``, ``name``, ``variant``, ``ligand``, ``state`` and ``seed``.

    Raises
    ------
    InputError
        The columns are damaged.
    KeyError
        It lists no replicas.
    """
    replicas = plan["replicas"]
    return Columns(replicas) if isinstance(replicas, dict) else replicas


def digests_of(plan: Mapping[str, Any]) -> Iterable[str]:
    """The digests of a plan's replicas, without a row for each; errors as of :func:`planned`."""
    replicas = planned(plan)
    return replicas.digests if isinstance(replicas, Columns) else (replica["digest"] for replica in replicas)


class Columns(Sequence[Mapping[str, Any]]):
    """Replicas as columns; each row is made when it is asked for.

    In the document ``variants``, ``ligands`` and ``states`` are the words that numbers stand for; the columns are
    base64: ``digest`` of 32 bytes each, the others of little-endian 32-bit integers, compressed by zlib.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        try:
            self._words = {name: list(map(str, document[f"{name}s"])) for name in _WORDS}
            self._numbers = {
                name: np.frombuffer(zlib.decompress(base64.b64decode(document[name])), "<i4")
                for name in (*_WORDS, "seed")
            }
            self.digest_bytes = base64.b64decode(document["digest"])
            whole = {len(column) for column in self._numbers.values()} == {len(self.digest_bytes) / _DIGEST}
            whole &= all(self._numbers[name].max(initial=-1) < len(words) for name, words in self._words.items())
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError(f"the plan's replicas are damaged ({error})", do="run the screen again") from None
        if not whole:
            raise InputError("the plan's replicas are damaged (columns do not fit)", do="run the screen again")

    def __len__(self) -> int:
        return len(self._numbers["seed"])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        return next(self._rows(number, number + 1))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._rows(0, len(self))

    @property
    def digests(self) -> Iterator[str]:
        """The digests alone."""
        return (self.digest_bytes[at : at + _DIGEST].hex() for at in range(0, len(self.digest_bytes), _DIGEST))

    def _rows(self, first: int, last: int) -> Iterator[dict[str, Any]]:
        variants, ligands, states = self._words.values()
        numbers = zip(*(column[first:last].tolist() for column in self._numbers.values()), strict=True)
        for at, (variant, ligand, state, seed) in enumerate(numbers, start=first):
            variant, ligand, state = variants[variant], ligands[ligand], states[state]
            yield {
                "digest": self.digest_bytes[_DIGEST * at : _DIGEST * (at + 1)].hex(),
                "name": f"{variant}/{ligand}/{state}#{seed}",
                "variant": variant,
                "ligand": ligand,
                "state": state,
                "seed": seed,
            }


def _as_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    words: dict[str, dict[str, int]] = {name: {} for name in _WORDS}
    numbers = {name: array("i") for name in (*_WORDS, "seed")}
    digests = bytearray()
    for row in rows:
        for name, known in words.items():
            numbers[name].append(known.setdefault(row[name], len(known)))
        numbers["seed"].append(row["seed"])
        digests += bytes.fromhex(row["digest"])
    return {
        **{f"{name}s": list(known) for name, known in words.items()},
        **{name: _text(zlib.compress(np.asarray(column, "<i4").tobytes())) for name, column in numbers.items()},
        "digest": _text(digests),
    }


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
