"""AmberTools programs, run from the installed package ``acpype``: GAFF2 atom types and bonded terms.

``antechamber`` and ``parmchk2`` need no system library. They work in a folder of their own that is removed
on success and left for inspection on failure.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from esr1md.errors import StageError
from esr1md.workers import end_with_children

#: Time limits (s). Both programs take about 0.1 s on a drug-sized molecule; a hang is a fault.
ANTECHAMBER_LIMIT = 120.0
PARMCHK_LIMIT = 60.0

_SYSTEMS = {("Linux", "x86_64"): "amber_linux", ("Darwin", "x86_64"): "amber_macos", ("Darwin", "arm64"): "amber_macos"}


def amber_home() -> Path:
    """The AmberTools folder inside the installed package ``acpype``.

    Raises
    ------
    StageError
        ``acpype`` is not installed, or carries no programs for this system.
    """
    spec = find_spec("acpype")
    if spec is None or not spec.submodule_search_locations:
        raise StageError("parameters", "the package acpype (AmberTools programs) is not installed; pip install acpype")
    system = (platform.system(), platform.machine())
    if system not in _SYSTEMS:
        raise StageError(
            "parameters",
            f"acpype carries no AmberTools programs for {system[0]} {system[1]}; "
            "prepare ligand parameters on x86-64 Linux or macOS",
        )
    home = Path(next(iter(spec.submodule_search_locations))) / _SYSTEMS[system]
    for program in ("antechamber", "parmchk2"):
        if not (home / "bin" / "wrapped_progs" / program).is_file():
            raise StageError("parameters", f"acpype lacks {program}; reinstall acpype", where=str(home))
    return home


def gaff2_types(sdf_name: str, n_atoms: int, formal_charge: int, folder: Path) -> list[str]:
    """GAFF2 atom types by ``antechamber``; leaves ``typed.mol2`` in the folder.

    Parameters
    ----------
    sdf_name
        File in ``folder`` with one molecule, hydrogens and 3D coordinates included.
    n_atoms
        Atoms in it.
    formal_charge
        Total charge (e).
    folder
        Where the program runs.

    Returns
    -------
    list[str]
        One type per atom, in file order.

    Raises
    ------
    StageError
        The program fails, or leaves an atom without a type.
    """
    run_program(
        "antechamber",
        [
            "-i",
            sdf_name,
            "-fi",
            "sdf",
            "-o",
            "typed.mol2",
            "-fo",
            "mol2",
            "-at",
            "gaff2",
            "-nc",
            str(formal_charge),
            "-pf",
            "y",
            "-s",
            "1",
            "-dr",
            "no",
        ],
        folder,
        "typed.mol2",
        ANTECHAMBER_LIMIT,
    )
    types = mol2_column(folder / "typed.mol2", 5)
    if len(types) != n_atoms:
        raise StageError("parameters", f"antechamber typed {len(types)} of {n_atoms} atoms", where=str(folder))
    untyped = [i + 1 for i, name in enumerate(types) if name in ("DU", "du")]
    if untyped:
        raise StageError(
            "parameters", "GAFF2 has no atom type for atoms " + ", ".join(map(str, untyped)), where=str(folder)
        )
    return types


def gaff2_data() -> Path:
    """The GAFF2 parameter file (``gaff2.dat``) that comes with the programs."""
    return amber_home() / "dat" / "leap" / "parm" / "gaff2.dat"


@dataclass(frozen=True)
class EstimatedTerm:
    """A bonded parameter that ``gaff2.dat`` lacks.

    Attributes
    ----------
    kind, types
        ``bond``, ``angle``, ``torsion`` or ``improper`` and its atom types, ``ca-ca-nv-c``.
    source
        Where ``parmchk2`` took it from, in its words.
    penalty
        Its penalty score: small for a near relative, doubtful above some 100; ``None`` where the program gives none.
    """

    kind: str
    types: str
    source: str
    penalty: float | None

    @property
    def warning(self) -> str:
        """A sentence where the parameter is no estimate at all; else empty."""
        if "ATTN" in self.source:
            return f"GAFF2 has no parameter for {self.types}: parmchk2 set it to zero, revise it by hand"
        return ""


def gaff2_frcmod(folder: Path) -> tuple[Path, tuple[EstimatedTerm, ...]]:
    """The parameters of ``typed.mol2`` that ``gaff2.dat`` lacks, estimated by ``parmchk2``.

    ``parmchk2 -a Y`` would list every parameter, but with bond lengths cut to three decimals: 0.6 kJ/mol on
    4-hydroxytamoxifen. So only what is missing is taken from it.

    Returns
    -------
    Path
        ``ligand.frcmod`` in the folder.
    tuple of EstimatedTerm
        What was estimated. Default impropers (of planar atoms) and terms of an equivalent atom type (penalty 0)
        are not counted.
    """
    # "-s 2" is GAFF2; the name "gaff2" is quietly taken for GAFF 1 by this version of parmchk2
    run_program(
        "parmchk2",
        ["-i", "typed.mol2", "-f", "mol2", "-o", "ligand.frcmod", "-s", "2"],
        folder,
        "ligand.frcmod",
        PARMCHK_LIMIT,
    )
    frcmod = folder / "ligand.frcmod"
    return frcmod, tuple(_estimated(frcmod.read_text()))


#: Sections of a frcmod file with bonded terms, and the width of their atom types.
_SECTIONS = {"BOND": ("bond", 5), "ANGLE": ("angle", 8), "DIHE": ("torsion", 11), "IMPROPER": ("improper", 11)}


def _estimated(frcmod: str) -> Iterator[EstimatedTerm]:
    section, seen = "", set()
    for line in frcmod.splitlines():
        if not line.strip() or line.strip() in (*_SECTIONS, "MASS", "NONBON"):
            section = line.strip()
            continue
        if section not in _SECTIONS or "Using the default value" in line:
            continue
        kind, width = _SECTIONS[section]
        types = line[:width].replace(" ", "")
        found = re.search(r"penalty score=\s*([0-9.]+)", line)
        penalty = float(found[1]) if found else None
        source = re.search(r"(same as|calculated|using|ATTN).*?(?=, penalty|$)", line, re.IGNORECASE)
        if (kind, types) not in seen and penalty != 0.0:  # a torsion has one line for each of its periodicities
            seen.add((kind, types))
            yield EstimatedTerm(kind, types, source[0].strip() if source else line[width:].strip(), penalty)


def program_environment(home: Path) -> dict[str, str]:
    """Environment variables for a program of ``home`` (:func:`amber_home`)."""
    library = "DYLD_LIBRARY_PATH" if platform.system() == "Darwin" else "LD_LIBRARY_PATH"
    return {
        "AMBERHOME": str(home),
        library: str(home / "lib"),
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(home / "bin"), os.environ.get("PATH", os.defpath)]),
    }


def run_program(name: str, arguments: list[str], folder: Path, output: str, limit: float) -> None:
    """Run one AmberTools program in ``folder``; its output goes to ``NAME.log`` there.

    Raises
    ------
    StageError
        It cannot start, takes longer than ``limit`` seconds, fails, or does not write ``output``.
    """
    home = amber_home()
    log = folder / f"{name}.log"
    try:
        with open(log, "wb") as handle:
            # in this process's group: whoever ends a worker ends what it has started
            process = subprocess.Popen(
                [str(home / "bin" / "wrapped_progs" / name), *arguments],
                cwd=folder,
                env=program_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
            )
    except OSError as error:
        raise StageError("parameters", f"{name} cannot run ({error.strerror or error})", where=str(home)) from None
    try:
        exit_code = process.wait(limit)
    except BaseException as error:
        end_with_children(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise StageError("parameters", f"{name} did not finish within {limit:.1f} s", where=str(log)) from None
        raise
    result = folder / output
    if exit_code != 0 or not result.is_file() or not result.stat().st_size:
        raise StageError("parameters", f"{name} failed (exit {exit_code}): {_last_words(log)}", where=str(log))


def _last_words(log: Path) -> str:
    """The line of a program's log that says what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line or "ail" in line or "annot" in line]
    return (telling or lines or ["it said nothing"])[-1][:200]


def mol2_column(path: Path, column: int) -> list[str]:
    """One column (from 0) of the atoms of a MOL2 file: 5 is the type, 8 the charge."""
    found, inside = [], False
    for line in path.read_text().splitlines():
        if line.startswith("@<TRIPOS>"):
            inside = line.strip() == "@<TRIPOS>ATOM"
        elif inside and line.strip():
            found.append(line.split()[column])
    return found
