"""Finds ``structures/``, ``ligands/``, ``configs/`` and the flows in a checkout or in an installed wheel."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

from esr1md.errors import InputError

Kind = Literal["structures", "ligands", "configs"]
ConfigFolder = Literal["screens", "protocols", "sites"]

_PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The root of the checkout this package lies in, or ``None`` for an installed copy."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "configs").is_dir() else None


def data_path(kind: Kind) -> Path:
    """The folder of catalogue data, next to the package in a checkout or inside the installed package.

    Parameters
    ----------
    kind
        ``structures``, ``ligands`` or ``configs``.

    Raises
    ------
    FileNotFoundError
        When the installation lacks the folder (a broken wheel).
    """
    root = checkout()
    folder = root / kind if root else _PACKAGE / "_data" / kind
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: the installation of esr1md is incomplete; reinstall it")
    return folder


def constraints_file() -> Path | None:
    """``constraints.txt``, the exact package versions that are tested; only a checkout has it."""
    root = checkout()
    return root / "constraints.txt" if root and (root / "constraints.txt").is_file() else None


def names(folder: ConfigFolder) -> list[str]:
    """Names of the bundled configurations of one folder, sorted: ``names("screens")``."""
    return sorted(path.stem for path in (data_path("configs") / folder).glob("*.yaml"))


def named_file(folder: ConfigFolder, name_or_path: str | Path) -> Path:
    """The YAML file meant by a bundled name (``quickstart``) or a path (``my-screen.yaml``).

    Whatever ends in ``.yaml`` or ``.yml``, or has a folder in it, is a path; anything else is a name. So a
    file called ``quickstart`` in the working folder can never stand in for the bundled one.

    Raises
    ------
    InputError
        No such file, or no such name; the known names and the nearest one are listed.
    """
    text = str(name_or_path)
    what = folder.removesuffix("s")
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")) or "/" in text:
        path = Path(text).expanduser()
        if not path.is_file():
            raise InputError(
                f"no {what} file '{text}'",
                expected="a YAML file that exists",
                do=f"or one of the bundled {folder}: {', '.join(names(folder))}",
            )
        return path
    known = names(folder)
    if text in known:
        return data_path("configs") / folder / f"{text}.yaml"
    raise InputError(
        f"unknown {what} '{text}'",
        expected=f"one of {', '.join(known)}, or the path of a YAML file",
        do=did_you_mean(text, known),
    )


def load_flow(flow: str = "screen") -> ModuleType:
    """The module ``flows/FLOW.py`` that belongs to this copy of esr1md.

    Loaded by its place beside the package, in a checkout or an installed wheel, because ``import flows`` would
    take a folder of that name in the user's working folder.

    Raises
    ------
    FileNotFoundError
        The installation lacks it.
    """
    name = f"esr1md_flows_{flow}"
    if name in sys.modules:
        return sys.modules[name]
    path = _PACKAGE.parent / "flows" / f"{flow}.py"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the installation of esr1md is incomplete; reinstall it")
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """``did you mean 'ligands'?`` for the nearest known word, or an empty text when none is near."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"did you mean '{lower[near[0]]}'?" if near else ""
