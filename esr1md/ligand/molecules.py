"""A row of text as a molecule, and names that no table, terminal or spreadsheet trips over."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rdkit import Chem, rdBase

from esr1md.errors import InputError

#: Characters of a line beyond which it is no molecule.
MAX_LINE = 100_000
_MAX_NAME = 100


@dataclass(frozen=True)
class InputRow:
    """One molecule as text.

    Attributes
    ----------
    number, line
        Its place in the file (from 1) and the line it begins at.
    name
        Cleaned of control characters; ``row 7`` if there is none.
    text
        SMILES or SDF record.
    kind
        ``smiles`` or ``sdf``.
    problem
        Why this row has no usable text; empty otherwise.
    """

    number: int
    line: int
    name: str
    text: str
    kind: Literal["smiles", "sdf"]
    problem: str = ""


def molecule_of(row: InputRow, where: str = "") -> Chem.Mol:
    """The molecule of a row, stereochemistry from its SMILES, wedges or 3D coordinates.

    Raises
    ------
    InputError
        The row is unusable or its text cannot be read, with the reason.
    """
    if row.problem:
        raise InputError(row.problem, where=where)
    if row.kind == "smiles":
        return molecule_from_smiles(row.name, row.text, where)
    return _molecule_from_block(row.text, where)


def molecule_from_smiles(name: str, smiles: str, where: str = "") -> Chem.Mol:
    """A SMILES or CXSMILES as a molecule.

    Raises
    ------
    InputError
        Empty, a reaction, a pattern (SMARTS), text after it, not SMILES, or an impossible valence.
    """
    text = str(smiles or "").strip()
    if not text:
        raise InputError(f"ligand '{name}' has an empty SMILES", where=where, do="give smiles: or sdf:")
    if len(text) > MAX_LINE:
        raise InputError(f"ligand '{name}': a SMILES of {len(text)} characters", where=where, expected="one molecule")
    shown = text if len(text) <= 200 else text[:200] + "..."
    extension = re.fullmatch(r"(\S+)\s+(\|.*\|)", text)
    if len(text.split()) > 1 and not extension:
        raise InputError(f"ligand '{name}': text after the SMILES in '{shown}'", where=where,
                         expected="one SMILES and nothing else")  # fmt: skip
    if ">" in text.split()[0] and not re.search(r"->|<-", text):
        raise InputError(f"ligand '{name}': '{shown}' is a reaction", where=where, expected="one molecule")
    if not text.isascii():
        strange = next(c for c in text if not c.isascii())
        raise InputError(f"ligand '{name}': the SMILES '{shown}' holds the character {strange!r}", where=where,
                         expected="plain ASCII")  # fmt: skip
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
        if mol is None and extension:
            raise InputError(f"ligand '{name}': the extension '{extension[2]}' of its SMILES cannot be read",
                             where=where, do="leave it out")  # fmt: skip
        problem = "" if mol else _why_unreadable(Chem.MolFromSmiles(text, sanitize=False))
    if mol is None:
        raise InputError(f"ligand '{name}': the SMILES '{shown}' cannot be parsed{problem}", where=where,
                         do="check brackets, ring numbers and valences")  # fmt: skip
    if mol.GetNumAtoms() == 0:
        raise InputError(f"ligand '{name}': the SMILES '{shown}' has no atoms", where=where)
    return mol


def clean_name(text: str) -> str:
    """A name for tables and terminals: no control, format or surrogate characters, one line, at most 100 characters.

    What stays may still be hostile to a program that reads the table; :func:`table_cell` is for that.
    """
    text = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    text = " ".join(text.split())
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 3] + "..."


def table_cell(text: str) -> str:
    """Text for a CSV cell that a spreadsheet must not take for a formula: ``=cmd`` becomes ``'=cmd``."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "|", "%") else text


def _molecule_from_block(text: str, where: str) -> Chem.Mol:
    if "$RXN" in text:
        raise InputError("the record is a reaction", where=where, expected="one molecule")
    if "M  END" not in text:
        raise InputError("the molecule is truncated (no 'M  END' line)", where=where, do="write it again")
    text = text.replace("\0", " ")
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock(text, removeHs=False)
            problem = "" if mol else _why_unreadable(Chem.MolFromMolBlock(text, sanitize=False))
        except (RuntimeError, ValueError) as error:
            mol, problem = None, f" ({' '.join(str(error).split())[:200]})"
        if mol is not None and mol.GetNumConformers() and mol.GetConformer().Is3D():
            Chem.AssignStereochemistryFrom3D(mol)
    if mol is None:
        raise InputError(f"the molecule cannot be read{problem}", where=where,
                         expected="an SDF record with elements, bonds and charges")  # fmt: skip
    if mol.GetNumAtoms() == 0:
        raise InputError("the molecule has no atoms", where=where)
    return mol


def _why_unreadable(raw: Chem.Mol | None) -> str:
    if raw is None:
        return " (syntax)"
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(raw)
    return f" ({problems[0].Message()})" if problems else ""


def write_sdf(mol: Chem.Mol, path: Path) -> None:
    """Write one molecule with its conformer, bonds as single, double and triple."""
    with Chem.SDWriter(str(path)) as writer:
        writer.SetKekulize(True)
        writer.write(mol)
