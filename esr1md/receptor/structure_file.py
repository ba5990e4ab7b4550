"""Read the text of a structure file, whatever it is, within bounds of size and time.

A file comes from anywhere: cut off, packed, saved by an office program, or made to do harm. What cannot be used is
refused in one line.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import stat
import zlib
from pathlib import Path

import gemmi

from esr1md.errors import InputError

#: A structure file larger than this, unpacked, is refused unread; the largest entry with an ER-alpha LBD has 5 MB.
MAXIMUM_BYTES = 64_000_000
#: Coordinates beyond this (angstrom) do not fit the PDB format and belong to no crystal.
MAXIMUM_COORDINATE = 9999.0

DO_FILE = "give a PDB or mmCIF file of the ER-alpha ligand-binding domain"
DO_WHOLE = "check that the file is whole"


def read_structure(path: Path) -> gemmi.Structure:
    """Read a PDB or mmCIF file (plain or gzipped).

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, unreadable, has coordinates that are not numbers, or
        holds no atoms.
    """
    where = str(path)
    text = _read_text(path)
    if not text.strip():
        raise InputError("the structure file is empty", where=where, do=DO_FILE)
    is_mmcif = _is_mmcif(text)
    if not is_mmcif:
        _check_pdb_text(text, where)
    try:
        structure = gemmi.read_structure_string(
            text, format=gemmi.CoorFormat.Mmcif if is_mmcif else gemmi.CoorFormat.Pdb
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot read the structure ({_first_line(error)})", where=where,
            expected="a complete PDB or mmCIF file", do=DO_WHOLE,
        ) from None  # fmt: skip
    if not len(structure) or not structure[0].count_atom_sites():
        raise InputError("no atoms found", where=where, expected="a PDB or mmCIF file", do=DO_FILE)
    structure.setup_entities()
    _check_coordinates(structure, where)
    return structure


def _read_text(path: Path) -> str:
    """The file's text, unpacked, line ends as newlines; never more than :data:`MAXIMUM_BYTES`."""
    where = str(path)
    too_large = InputError(
        f"the structure file is larger than {MAXIMUM_BYTES // 1_000_000} MB unpacked", where=where,
        expected="one PDB or mmCIF entry of ER-alpha (5 MB at most)", do=DO_FILE,
    )  # fmt: skip
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise InputError("a folder was given as structure file", where=where, do=DO_FILE)
        if not stat.S_ISREG(info.st_mode):  # a pipe or a device could be read for ever
            raise InputError("not a file but a device or a pipe", where=where, do=DO_FILE)
        if info.st_size > MAXIMUM_BYTES:
            raise too_large
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
                data = unpacked.read(MAXIMUM_BYTES + 1)  # a few kB can unpack to gigabytes
    except FileNotFoundError:
        raise InputError("no such structure file", where=where, do="check the path") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise InputError(f"cannot read the structure file ({reason})", where=where, do=DO_WHOLE) from None
    if len(data) > MAXIMUM_BYTES:
        raise too_large
    return _decode(data, where).replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes, where: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(
            "the structure file is UTF-16 text", where=where, expected="UTF-8 or ASCII",
            do="save it again as plain text",
        )  # fmt: skip
    if any(byte in data for byte in _NOT_TEXT):
        raise InputError(
            "the structure file is not text", where=where, expected="PDB or mmCIF, plain or gzipped", do=DO_FILE
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # an author's name in a remark
        return data.decode("latin-1")


_NOT_TEXT = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\x1a")


def _is_mmcif(text: str) -> bool:
    first = re.search(r"^(data_|loop_|ATOM  |HETATM|HEADER|REMARK|MODEL |CRYST1)", text, re.MULTILINE | re.IGNORECASE)
    return first is not None and first[1].lower() in ("data_", "loop_")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_pdb_text(text: str, where: str) -> None:
    """gemmi reads a cut line or 'nan' as zeros, so a PDB file's coordinate fields are checked here."""
    found = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith(("ATOM", "HETATM")):
            continue
        found = True
        at = f"{where}: line {number}"
        if len(line) < 54:
            raise InputError(
                "the line is cut off before its coordinates end", where=at,
                expected="at least 54 columns", do=DO_WHOLE,
            )  # fmt: skip
        fields = [line[i : i + 8] for i in (30, 38, 46)]
        try:
            finite = all(math.isfinite(float(value)) for value in fields)
        except ValueError:
            finite = False
        if not finite:
            raise InputError(
                f"coordinates {' '.join(f.strip() for f in fields)!r} are not numbers", where=at,
                expected="three numbers in columns 31-54",
            )  # fmt: skip
    if not found:
        raise InputError("not a structure file: no ATOM record", where=where, do=DO_FILE)


def _check_coordinates(structure: gemmi.Structure, where: str) -> None:
    seen = set()
    total = 0
    for site in structure[0].all():
        position = site.atom.pos
        if not all(math.isfinite(value) for value in position.tolist()):
            raise InputError(
                f"atom {site.atom.name} of {site.residue.name} {site.residue.seqid} in chain "
                f"{site.chain.name} has coordinates that are not numbers", where=where,
            )  # fmt: skip
        if max(map(abs, position.tolist())) > MAXIMUM_COORDINATE:
            raise InputError(
                f"atom {site.atom.name} of {site.residue.name} {site.residue.seqid} in chain {site.chain.name} is "
                f"{max(map(abs, position.tolist())):.3g} A from the origin", where=where,
                expected=f"at most {MAXIMUM_COORDINATE:.0f} A", do="check how the file was written",
            )  # fmt: skip
        seen.add(tuple(position.tolist()))
        total += 1
    # alternate conformers share a few positions; a file of zeros shares nearly all
    if len(seen) < 0.9 * total:
        raise InputError(
            f"{total - len(seen)} of {total} atoms sit on another atom's coordinates", where=where,
            do="check how the file was written",
        )  # fmt: skip
