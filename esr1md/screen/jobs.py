"""The replicas of a screen as a sequence that makes each when it is asked for: a million of them take 40 MB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from esr1md.screen.replica import Job
from esr1md.specs import Cell, HelixState, ReplicaSpec, digests_of

#: Bytes of a SHA-256.
_SIZE = 32
_NO_POSE: dict[str, Any] = {}


@dataclass(frozen=True)
class Matrix:
    """What the replicas of a screen are made from; they share these objects.

    Attributes
    ----------
    cells, seeds
        The squares of the matrix, each once, and the seeds of every one.
    protocol, protocol_name
        As plain data, and its name for tables.
    sources
        Structure file (``None``: the bundled model) and digest of what each state starts from.
    poses
        How ligands are placed, by pose; the seeds take them in turn.
    charges
        How the ligands' partial charges are made.
    versions
        Of the packages that change numbers.
    """

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    protocol: dict[str, Any]
    protocol_name: str
    sources: dict[HelixState, tuple[Path | None, str]]
    poses: tuple[dict[str, Any], ...]
    charges: str
    versions: dict[str, str]

    def __len__(self) -> int:
        return len(self.cells) * len(self.seeds)

    def place(self, number: int) -> tuple[int, int]:
        """Number of the cell and of the seed: all cells of the first seed first, so that a part of it is broad."""
        seed, cell = divmod(number, len(self.cells))
        return cell, seed

    def spec(self, number: int) -> ReplicaSpec:
        number, seed = self.place(number)
        cell = self.cells[number]
        pose = self.poses[seed % len(self.poses)] if cell.ligand else _NO_POSE
        source = self.sources[cell.state][1]
        return ReplicaSpec(cell, self.seeds[seed], self.protocol, source, pose, self.charges, self.versions)


class Jobs(Sequence[Job]):
    """Replicas of a matrix in its order: all of them, or those of some ``numbers`` (ascending).

    Two calls for the same replica give equal jobs, not the same object.
    """

    def __init__(self, matrix: Matrix, numbers: Sequence[int] | None = None) -> None:
        self.matrix = matrix
        self.numbers = range(len(matrix)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.only(range(len(self))[index])
        place = range(len(self))[index]
        return self._job(place)

    def __iter__(self) -> Iterator[Job]:
        return map(self._job, range(len(self)))

    @cached_property
    def digest_bytes(self) -> bytes:
        """The digests of all, 32 bytes each, one after the other."""
        found = bytearray()
        for digest in digests_of(map(self.matrix.spec, self.numbers)):
            found += digest
        return bytes(found)

    @property
    def digests(self) -> Iterator[str]:
        """The digests of all (64 hex digits), in order."""
        return map(self._digest, range(len(self)))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The squares of the matrix that have a replica here, each once, in order."""
        if len(self) == len(self.matrix):
            return self.matrix.cells
        numbers = dict.fromkeys(self.matrix.place(number)[0] for number in self.numbers)
        return tuple(self.matrix.cells[number] for number in numbers)

    def only(self, places: Iterable[int]) -> Jobs:
        """Those at some places of this sequence."""
        places = list(places)
        part = Jobs(self.matrix, [self.numbers[place] for place in places])
        vars(part)["digest_bytes"] = b"".join(self._digest_at(place) for place in places)
        return part

    @property
    def rows(self) -> Rows:
        """What a plan's record says of each."""
        return Rows(self)

    def _job(self, place: int) -> Job:
        spec = self.matrix.spec(self.numbers[place])
        vars(spec)["digest"] = self._digest(place)  # where its cached property would put the same
        return Job(spec, self.matrix.protocol_name, self.matrix.sources[spec.cell.state][0])

    def _digest(self, place: int) -> str:
        return self._digest_at(place).hex()

    def _digest_at(self, place: int) -> bytes:
        return self.digest_bytes[_SIZE * place : _SIZE * (place + 1)]


class Rows(Sequence[Mapping[str, Any]]):
    """Replicas as the rows of ``plan.json``, each made when it is asked for."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: Any) -> Any:
        found = self._jobs[index]
        return [_row(job.spec) for job in found] if isinstance(index, slice) else _row(found.spec)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (_row(job.spec) for job in self._jobs)


def _row(spec: ReplicaSpec) -> dict[str, Any]:
    cell = spec.cell
    return {
        "digest": spec.digest,
        "name": spec.name,
        "variant": cell.variant.name,
        "ligand": cell.ligand_name,
        "state": str(cell.state),
        "seed": spec.seed,
    }
