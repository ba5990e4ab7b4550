"""A replica's frames, checked and a few at a time, so that memory does not grow with the length of a simulation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import mdtraj
import numpy as np

from esr1md.dynamics.images import make_whole
from esr1md.errors import StageError

#: Frames held at once: 5 MB of positions for the whole domain.
CHUNK = 100

# A frame of XTC (big endian): 52 bytes (magic, atoms, step, time, box), the number of atoms again, and, for more than
# nine of them, 32 bytes that end with the length of the packed coordinates, which are padded to four bytes.
_HEAD, _PACKED_HEAD, _MAGIC, _UNPACKED_ATOMS = 56, 92, 1995, 9


def count_frames(path: Path, n_atoms: int) -> int:
    """Frames in an XTC file, from the heads of all of them.

    Raises
    ------
    StageError
        No such file, no frame, another number of atoms, or a file that ends within a frame.
    """
    frames = 0
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            position = 0
            while position < size:
                file.seek(position)
                head = file.read(_PACKED_HEAD)
                if len(head) >= 8:
                    magic, atoms = struct.unpack(">ii", head[:8])
                    if magic != _MAGIC:
                        raise _bad(f"there is no frame at byte {position}: it is damaged or no XTC file", path)
                    if atoms != n_atoms:
                        said = f"the trajectory has {atoms} atoms, the complex {n_atoms}"
                        raise StageError("analysis", said, where=str(path.parent))
                length = _length(head)
                if length is None or position + length > size:
                    raise _bad(f"it ends within frame {frames + 1}, {frames} frames before it are whole", path)
                position, frames = position + length, frames + 1
    except OSError as error:
        raise _bad(str(error), path) from error
    if not frames:
        raise StageError("analysis", "the trajectory has no frame", where=str(path.parent))
    return frames


def read_frames(folder: Path, n_atoms: int, chunk: int = CHUNK) -> Iterator[mdtraj.Trajectory]:
    """A replica's frames in order, at most ``chunk`` at a time, every molecule whole.

    Parameters
    ----------
    folder
        Holds ``trajectory.xtc`` and ``complex.pdb``.
    n_atoms
        Atoms that a frame must have.

    Raises
    ------
    StageError
        As :func:`count_frames`, or a frame that cannot be read or whose coordinates are not all finite.
    """
    path = folder / "trajectory.xtc"
    total = count_frames(path, n_atoms)
    done = 0
    try:
        topology = mdtraj.load_topology(str(folder / "complex.pdb"))
        for frames in mdtraj.iterload(str(path), top=topology, chunk=chunk):
            bad = np.argwhere(~np.isfinite(frames.xyz).all(axis=2))
            if len(bad):
                frame, atom = bad[0]
                raise StageError(
                    "analysis",
                    f"frame {done + frame + 1} of {total} (at {frames.time[frame]:g} ps) has a coordinate that is not "
                    f"finite (atom {topology.atom(int(atom))}): the simulation exploded or the file is damaged",
                    where=str(folder),
                )
            done += frames.n_frames
            yield make_whole(frames)
    except (OSError, RuntimeError, ValueError) as error:
        raise _bad(f"frame {done + 1} or one soon after is damaged: {error}", path) from error
    if done != total:
        raise _bad(f"{done} of its {total} frames could be read", path)


def load_frames(folder: Path) -> mdtraj.Trajectory:
    """All frames of a replica at once, for a few; raises as :func:`read_frames`."""
    atoms = mdtraj.load_topology(str(folder / "complex.pdb")).n_atoms
    return mdtraj.join(list(read_frames(folder, atoms)), check_topology=False)


def _length(head: bytes) -> int | None:
    """Bytes of the frame that begins with ``head``; ``None`` when the head itself is cut off."""
    if len(head) < _HEAD:
        return None
    atoms = struct.unpack(">i", head[_HEAD - 4 : _HEAD])[0]
    if atoms <= _UNPACKED_ATOMS:
        return _HEAD + 12 * atoms
    if len(head) < _PACKED_HEAD:
        return None
    packed = struct.unpack(">i", head[-4:])[0]
    return _PACKED_HEAD + 4 * -(-packed // 4)


def _bad(why: str, path: Path) -> StageError:
    return StageError("analysis", f"the trajectory cannot be read: {why}", where=str(path.parent))


def frames_to_score(n_frames: int, wanted: int) -> np.ndarray:
    """Indices of at most ``wanted`` frames, evenly spread and including the last."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, wanted)).round().astype(int))
