"""Whether the files of a folder can be read, format by format: what can be said of one that has no checksums."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from esr1md.store.manifest import list_files


def unreadable(folder: Path) -> str | None:
    """The first file of a folder that cannot be read to its end, and why; ``None`` if all can.

    Trajectories are read frame by frame, tables column by column, archives to their checksums, structures and JSON to
    their end. Text files only have to be text; formats not known here pass.
    """
    for name in list_files(folder):
        path = folder / name
        read = _READERS.get(path.suffix.lower())
        if read is None:
            continue
        try:
            read(path)
        except Exception as error:  # each library has its own
            said = " ".join(str(error).split())[:160]
            return f"{name} cannot be read ({type(error).__name__}{': ' if said else ''}{said})"
    return None


def _json(path: Path) -> None:
    json.loads(path.read_bytes())


def _text(path: Path) -> None:
    with open(path, encoding="utf-8") as handle:
        for _ in handle:
            pass


def _gzip(path: Path) -> None:
    with gzip.open(path) as handle:
        while handle.read(1 << 20):
            pass


def _npz(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"{bad} has another checksum")


def _xml(path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    for _, element in ElementTree.iterparse(path):
        element.clear()


def _parquet(path: Path) -> None:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as table:
        for _ in table.iter_batches():
            pass


def _xtc(path: Path) -> None:
    from mdtraj.formats import XTCTrajectoryFile

    with XTCTrajectoryFile(str(path)) as trajectory:
        while len(trajectory.read(100)[0]):
            pass


def _sdf(path: Path) -> None:
    from rdkit import Chem

    molecules = list(Chem.SDMolSupplier(str(path), removeHs=False, sanitize=False))
    if not molecules or None in molecules:
        raise ValueError("not every molecule in it is whole")


def _pdb(path: Path) -> None:
    atoms, last = 0, ""
    with open(path, encoding="ascii") as handle:
        for line in handle:
            atoms += line.startswith(("ATOM", "HETATM"))
            last = line.strip() or last
    if atoms and not last.startswith(("END", "CONECT", "MASTER")):
        raise ValueError("it ends in the middle")


_READERS: dict[str, Callable[[Path], None]] = {
    ".json": _json, ".csv": _text, ".txt": _text, ".log": _text, ".html": _text, ".gz": _gzip, ".npz": _npz,
    ".xml": _xml, ".parquet": _parquet, ".xtc": _xtc, ".sdf": _sdf, ".pdb": _pdb,
}  # fmt: skip
