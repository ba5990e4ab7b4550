"""Checkpoints of a running replica: what is on the disk after ``kill -9`` is enough to go on exactly.

``checkpoint.npz`` holds OpenMM's binary checkpoint (positions, velocities, random numbers: exact on the same platform
and machine), the same state as plain arrays (for any other), and how long the output files were; ``.previous`` is the
one before. They are written aside, synced and renamed, after the output files were synced, so that a checkpoint never
speaks of a frame that is not there. What came after it is cut off when the replica goes on.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

#: The store keeps an unfinished folder that holds either (``esr1md.store.artifacts.CHECKPOINTS``): between two renames
#: there is only the second.
CURRENT, PREVIOUS = "checkpoint.npz", "checkpoint.previous.npz"

_BIAS = "bias_"


@dataclass
class Place:
    """How far a replica is; the engine moves it on.

    Attributes
    ----------
    stage
        Index into the protocol's stages.
    step
        Time steps of the protocol (iterations of a minimisation) that are done in that stage.
    frames, seconds
        Frames written; wall time by phase so far.
    timeline
        Phases in order: ``phase``, ``started`` (UTC) and ``seconds``.
    temperature_sum
        Sum over frames (kelvin), for the mean.
    energy_minimised
        Potential energy (kJ/mol) after the last minimisation.
    halvings
        How often the time step was halved to keep the simulation stable.
    rescues, resumed
        What happened on the way, for the record.
    """

    stage: int = 0
    step: int = 0
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    temperature_sum: float = 0.0
    energy_minimised: float = float("nan")
    halvings: int = 0
    rescues: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """One instant of a replica.

    Attributes
    ----------
    place
        How far it is.
    identity
        What must be alike for ``blob`` to be loaded (platform, device, versions, host) and the digest of the system,
        which must be alike for anything to be.
    files
        Bytes of each growing output file.
    positions, velocities, box
        n x 3 nm, n x 3 nm/ps, 3 x 3 nm.
    blob
        ``Context.createCheckpoint()``; empty before the dynamics.
    bias
        Arrays of a bias that grows (metadynamics); empty without one.
    """

    place: Place
    identity: dict[str, Any]
    files: dict[str, int]
    positions: np.ndarray
    velocities: np.ndarray
    box: np.ndarray
    blob: bytes = b""
    bias: Mapping[str, np.ndarray] = field(default_factory=dict)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Sync the output files, then put the checkpoint in the place of the last one, which becomes the previous."""
    for name in checkpoint.files:
        with open(folder / name, "rb") as handle:
            os.fsync(handle.fileno())
    head = {"place": asdict(checkpoint.place), "identity": checkpoint.identity, "files": checkpoint.files}
    beside = folder / f".{CURRENT}"
    with open(beside, "wb") as handle:
        np.savez(
            handle,
            head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
            positions=checkpoint.positions,
            velocities=checkpoint.velocities,
            box=checkpoint.box,
            blob=np.frombuffer(checkpoint.blob, dtype=np.uint8),
            **{_BIAS + name: value for name, value in checkpoint.bias.items()},
        )
        handle.flush()
        os.fsync(handle.fileno())
    current = folder / CURRENT
    if current.is_file():
        os.replace(current, folder / PREVIOUS)
    os.replace(beside, current)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be trusted, and what is to be said about those that cannot.

    A checkpoint is trusted if its archive is whole (a checksum for each part) and the output files are at least as
    long as it says.

    Returns
    -------
    ``None`` where the replica must start from the beginning.
    """
    notes = []
    for name in (CURRENT, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        try:
            found = _load(path)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            notes.append(f"{name} is damaged ({type(error).__name__}: {' '.join(str(error).split())[:120]})")
            continue
        short = [
            n for n, size in found.files.items() if not (folder / n).is_file() or (folder / n).stat().st_size < size
        ]
        if short:
            notes.append(f"{name} speaks of more than is left of {', '.join(short)}")
            continue
        if notes:
            notes[-1] += f": {name} was used instead"
        return found, notes
    if notes:
        notes[-1] += ": the replica was started again"
    return None, notes


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _load(path: Path) -> Checkpoint:
    with np.load(path, allow_pickle=False) as archive:
        head = json.loads(archive["head"].tobytes())
        return Checkpoint(
            Place(**head["place"]),
            head["identity"],
            head["files"],
            archive["positions"],
            archive["velocities"],
            archive["box"],
            archive["blob"].tobytes(),
            {name[len(_BIAS) :]: archive[name] for name in archive.files if name.startswith(_BIAS)},
        )


def cut_back(folder: Path, checkpoint: Checkpoint) -> None:
    """Cut the output files to what they were at the checkpoint: frames after it would come twice."""
    for name, size in checkpoint.files.items():
        os.truncate(folder / name, size)


def remove(folder: Path) -> None:
    """Take the checkpoints away, when the replica is done or starts anew."""
    for name in (CURRENT, PREVIOUS, f".{CURRENT}"):
        (folder / name).unlink(missing_ok=True)
