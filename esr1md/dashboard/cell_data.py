"""What the replicas of a cell left in the store: their frames, contacts, summaries, provenance; or why not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from esr1md.analysis.frames import frames_to_score
from esr1md.dashboard.data import Cell, Screen
from esr1md.report.data import Interaction, mean_interactions
from esr1md.store import Store

#: A frame of a plot at most so often: what a screen can show of a long run.
MOST_FRAMES = 1500


@dataclass(frozen=True, eq=False)
class ReplicaData:
    """One replica of a cell.

    Attributes
    ----------
    digest, seed
        Of its spec.
    frames
        A row for each frame that is drawn; empty where it cannot be read.
    contacts, summary, record, spec
        Its JSON files; empty where one cannot be read.
    problems
        What is missing or damaged.
    """

    digest: str
    seed: int
    frames: pandas.DataFrame
    contacts: dict[str, Any]
    summary: dict[str, Any]
    record: dict[str, Any]
    spec: dict[str, Any]
    files: tuple[tuple[str, int], ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"seed {self.seed}" if self.seed else self.digest[:10]

    @property
    def time(self) -> np.ndarray:
        """Of the frames (ps)."""
        return (
            pandas.to_numeric(self.frames["time_ps"], errors="coerce").to_numpy(float)
            if "time_ps" in self.frames
            else np.empty(0)
        )

    def part(self, name: str) -> dict[str, Any]:
        """A part of the record (``simulation``, ``receptor``, ``pose``); empty where it is not there."""
        found = self.record.get(name)
        return found if isinstance(found, dict) else {}

    def column(self, name: str) -> np.ndarray | None:
        """Values (n_frames,) of a metric; ``None`` where it was not measured or does not apply."""
        if name not in self.frames:
            return None
        values = pandas.to_numeric(self.frames[name], errors="coerce").to_numpy(float)
        return values if np.isfinite(values).any() else None


@dataclass(frozen=True, eq=False)
class CellData:
    """The replicas of one cell."""

    cell: Cell
    replicas: tuple[ReplicaData, ...] = ()

    @property
    def variant(self) -> str:
        return self.cell[0]

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(f"{self.variant}, {r.name}: {p}" for r in self.replicas for p in r.problems)

    @cached_property
    def interactions(self) -> dict[int, Interaction]:
        """Mean energy of each residue with the ligand."""
        return mean_interactions([r.contacts for r in self.replicas if r.contacts])


@dataclass
class _Reading:
    """A folder that is being read, with what went wrong so far."""

    folder: Path
    problems: list[str] = field(default_factory=list)

    def json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return found
            self.problems.append(f"{name} is damaged")
        except FileNotFoundError:
            self.problems.append(f"{name} is missing")
        except (OSError, ValueError, RecursionError):
            self.problems.append(f"{name} is damaged")
        return {}

    def table(self, name: str) -> pandas.DataFrame:
        try:
            table = pandas.read_parquet(self.folder / name)
        except FileNotFoundError:
            self.problems.append(f"{name} is missing")
            return pandas.DataFrame()
        except (OSError, ValueError):  # pyarrow's errors are of these
            self.problems.append(f"{name} is damaged")
            return pandas.DataFrame()
        if "time_ps" not in table or table.empty:
            self.problems.append(f"{name} has no frames")
            return pandas.DataFrame()
        return table.iloc[frames_to_score(len(table), MOST_FRAMES)].reset_index(drop=True)


def read_cell(store: Store, screen: Screen, cell: Cell) -> CellData:
    """The replicas of a cell that have finished; one that cannot be read is there with its problems."""
    score = screen.cells.get(cell)
    seeds = {each["digest"]: each["seed"] for each in screen.plan.get("replicas", ())}
    found = [read_replica(store, digest, seeds.get(digest, 0)) for digest in (score.replicas if score else ())]
    return CellData(cell, tuple(sorted(found, key=lambda replica: replica.seed)))


def _contacts(reading: _Reading) -> dict[str, Any]:
    """``contacts.json`` with its parts as they should be: residue -> kind -> share, residue -> energy."""
    found = reading.json("contacts.json")
    shares, energies = found.get("fingerprint", {}), found.get("residue_energy_kcal", {})
    sound = (
        isinstance(shares, dict)
        and isinstance(energies, dict)
        and all(name[3:].isdigit() and isinstance(kinds, dict) for name, kinds in shares.items())
        and all(isinstance(energy, int | float) for energy in energies.values())
    )
    if not sound:
        reading.problems.append("contacts.json is damaged")
        return {}
    return found


def read_replica(store: Store, digest: str, seed: int) -> ReplicaData:
    """One replica from its folder."""
    folder = store.find("replicas", digest)
    if folder is None:
        said = ("its folder is not in the store, or is half-written",)
        return ReplicaData(digest, seed, pandas.DataFrame(), {}, {}, {}, {}, (), said)
    reading = _Reading(folder)
    spec, record = reading.json("spec.json"), reading.json("record.json")
    contacts = _contacts(reading)
    summary = {name: value for name, value in reading.json("summary.json").items() if isinstance(value, int | float)}
    frames = reading.table("observation.parquet")
    for name in ("complex.pdb", "final.pdb", "trajectory.xtc"):
        if not (folder / name).is_file():
            reading.problems.append(f"{name} is missing")
    files = tuple(
        (path.name, path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    )
    seed = seed or spec.get("seed", 0)
    return ReplicaData(digest, seed, frames, contacts, summary, record, spec, files, tuple(reading.problems))
