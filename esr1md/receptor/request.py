"""From what a user asks (variants, states, a starting structure) to finished model folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from esr1md import __version__
from esr1md.catalogue import did_you_mean
from esr1md.errors import Esr1mdError, InputError
from esr1md.receptor.assembly import build_dimer, find_dimer
from esr1md.receptor.build import ReceptorModel, build_receptor, check_buildable
from esr1md.receptor.bundled import BUNDLED
from esr1md.receptor.fetch import entry_name, find_entry
from esr1md.receptor.frame import alpha_carbons, bundled_model, helix12_state
from esr1md.receptor.prepare import MODEL_FIRST, MODEL_LAST, PH
from esr1md.receptor.protonation import ligand_from_sdf
from esr1md.receptor.quality_page import write_quality_page
from esr1md.receptor.sequence import parse_variant
from esr1md.receptor.source import SourceChain, read_source
from esr1md.receptor.variants import variant_entries
from esr1md.specs import HelixState, Variant, file_digest

#: The word for the models that come with the package.
BUNDLED_START = "bundled"

_VERSIONED = ("openmm", "pdbfixer", "gemmi", "propka", "rdkit", "numpy", "scipy")


@dataclass(frozen=True)
class Start:
    """What models are built from.

    Attributes
    ----------
    text
        As the user wrote it.
    path
        The structure file; ``None`` for the bundled models.
    entry
        PDB id if it was given by one.
    steps
        How the file was found.
    chain
        The cleaned ER-alpha chain of the file.
    """

    text: str
    path: Path | None = None
    entry: str = ""
    steps: tuple[str, ...] = ()
    chain: SourceChain | None = None

    @property
    def label(self) -> str:
        """Short name for folders: the entry or the file's name; empty for the bundled models."""
        stem = self.entry or (re.sub(r"(\.(cif|pdb|ent|gz))+$", "", self.path.name, flags=re.I) if self.path else "")
        return re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:40]


@dataclass(frozen=True)
class Request:
    """Models to build: every variant in every state from one start."""

    variants: tuple[Variant, ...]
    states: tuple[HelixState, ...]
    start: Start
    ph: float = PH
    ligand: Path | None = None
    accept_quality: str = ""
    dimer: bool = False

    def names(self) -> list[tuple[Variant, HelixState, str]]:
        """Each model with the name of its folder."""
        label = f"{self.start.label}_" if self.start.label else ""
        dimer = "_dimer" if self.dimer else ""
        return [
            (variant, state, f"{label}{variant.name}_{state}{dimer}")
            for variant in self.variants
            for state in self.states
        ]


@dataclass
class Outcome:
    """What became of a request: finished models by folder, and why others could not be built."""

    built: dict[Path, ReceptorModel] = field(default_factory=dict)
    failed: dict[str, Esr1mdError] = field(default_factory=dict)
    seconds: dict[Path, float] = field(default_factory=dict)


def find_start(text: str) -> Start:
    """``bundled``, a bundled model by name (``agonist-5WGD``), the path of a structure file, or a PDB id.

    What exists as a file is a file; a PDB id is fetched (:mod:`esr1md.receptor.fetch`).

    Raises
    ------
    InputError
        If it is none of these or the structure is not usable.
    """
    if text.strip().lower() == BUNDLED_START:
        return Start(BUNDLED_START)
    if text in BUNDLED:
        path = bundled_model(text)
        return Start(text, path, "", (f"bundled {text} model",), read_source(path))
    path, steps, entry = Path(text).expanduser(), (), ""
    try:
        is_there = os.path.lexists(path)
    except ValueError:  # a null byte
        is_there = False
    if not is_there and entry_name(text):
        found = find_entry(text)
        path, steps, entry = found.path, found.steps, found.name
    elif not is_there and os.sep not in text and "." not in text:
        raise InputError(
            f"'{text}' is neither a file nor a PDB id",
            expected=f"{BUNDLED_START}, {', '.join(BUNDLED)}, a PDB id such as 5WGD, or a structure file",
            do=did_you_mean(text, (BUNDLED_START, *BUNDLED)) or "check the path",
        )  # fmt: skip
    return Start(text, path, entry, steps, read_source(path))


def chosen_variants(names: list[str]) -> tuple[Variant, ...]:
    """Variants by name, each once; ``all`` is every buildable one of the catalogue.

    Raises
    ------
    InputError
        For a name that cannot be read or a variant that cannot be built.
    """
    if any(name.strip().lower() == "all" for name in names):
        names = [entry.name for entry in variant_entries() if entry.buildable]
    variants = [parse_variant(name) for name in names or ["WT"]]
    for variant in variants:
        check_buildable(variant)
    return tuple(dict.fromkeys(variants))


def chosen_states(names: list[str], start: Start) -> tuple[HelixState, ...]:
    """Helix-12 states by name; without a name every bundled one, or the one the structure is in.

    Raises
    ------
    InputError
        For an unknown state, or a structure whose helix 12 cannot be measured.
    """
    if names:
        known = [str(state) for state in HelixState]
        for name in names:
            if name.strip().lower() not in known:
                raise InputError(
                    f"unknown helix-12 state '{name}'", expected=", ".join(known), do=did_you_mean(name, known)
                )
        return tuple(dict.fromkeys(HelixState(name.strip().lower()) for name in names))
    if start.chain is None:
        return tuple(HelixState)
    state = helix12_state(alpha_carbons(start.chain.chain))
    if state is None:
        raise InputError(
            "helix 12 (residues 537-544) is not complete in this structure, so its state is unknown",
            where=str(start.path), do="name the state to build with --state",
        )  # fmt: skip
    return (state,)


def keeping_mutations(variants: tuple[Variant, ...], start: Start) -> tuple[Variant, ...]:
    """Each variant with the mutations the structure has besides; what was asked for wins at its position.

    Raises
    ------
    InputError
        For the bundled models, which have none.
    """
    if start.chain is None:
        raise InputError(
            "the bundled models have no engineered mutations to keep",
            expected="a structure with --from", do="leave out --keep-mutations",
        )  # fmt: skip
    kept = []
    for variant in variants:
        asked = {mutation.position for mutation in variant.mutations}
        own = [m for m in start.chain.mutations if MODEL_FIRST <= m.position <= MODEL_LAST and m.position not in asked]
        kept.append(Variant(tuple(sorted((*variant.mutations, *own)))))
    return tuple(dict.fromkeys(kept))


def build_models(request: Request, out: Path, report: Callable[[str], None] = lambda said: None) -> Outcome:
    """Build every model of a request into its own folder of ``out``.

    A folder holds ``receptor.pdb``, ``quality.json``, ``quality.html``, ``record.json`` and, where there is one,
    ``waters.pdb``; it appears when it is complete. A model that cannot be built does not stop the others.

    Parameters
    ----------
    report
        Called with what is being done.

    Raises
    ------
    InputError
        If ``out`` cannot be written or holds something else under a model's name, or the ligand cannot be read.
    """
    if request.dimer:
        if request.start.path is None:
            raise InputError(
                "the bundled models are monomers", expected="an entry or file with a biological assembly",
                do="name it with --from, such as --from 3ERT",
            )  # fmt: skip
        find_dimer(request.start.path)
    if request.ligand is not None:
        ligand_from_sdf(request.ligand)  # so that a bad file is told before anything is built
    names = request.names()
    for _, _, name in names:
        _check_target(out / name)
    outcome = Outcome()
    for i, (variant, state, name) in enumerate(names, start=1):
        report(f"building {variant} {state} ({i} of {len(names)})")
        started = time.monotonic()
        staged = _staging(out, name)
        try:
            model = _build_one(request, variant, state, staged)
            seconds = time.monotonic() - started
            _write_record(request, model, staged, seconds)
            _replace(staged, out / name)
        except Esr1mdError as error:
            outcome.failed[name] = error
            report(f"{name}: {error}")
            continue
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        outcome.built[out / name] = ReceptorModel.from_json(model.to_json(), out / name)
        outcome.seconds[out / name] = seconds
        report(f"{name} built in {seconds:.0f} s")
    return outcome


def _build_one(request: Request, variant: Variant, state: HelixState, folder: Path) -> ReceptorModel:
    options = {"ph": request.ph, "ligand": request.ligand, "accept_quality": request.accept_quality}
    if request.dimer:
        return build_dimer(variant, state, folder, source=request.start.path, **options)
    return build_receptor(variant, state, folder, source=request.start.path, **options)


def _check_target(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "record.json").is_file():
        raise InputError(
            f"'{folder}' holds something else than a receptor model",
            expected="a new folder, or one of an earlier build", do="give another --out",
        )  # fmt: skip


def _staging(out: Path, name: str) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{name}.", dir=out))
    except OSError as error:
        raise InputError(
            f"cannot write to '{out}' ({error.strerror})", expected="a folder you may write to", do="give another --out"
        ) from None


def _replace(staged: Path, folder: Path) -> None:
    """Put a finished folder in its place; an earlier one goes."""
    os.chmod(staged, 0o755)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        os.replace(folder, old / folder.name)
        os.replace(staged, folder)
        shutil.rmtree(old)
    else:
        os.replace(staged, folder)


def _write_record(request: Request, model: ReceptorModel, folder: Path, seconds: float) -> None:
    start = request.start
    record: dict[str, Any] = {
        "receptor": model.to_json(),
        "provenance": {
            "made_by": f"esr1md {__version__} receptors build",
            "source": {"asked": start.text, "entry": start.entry, "file": start.path.name if start.path else "",
                       "sha256": model.source_digest, "found": list(start.steps)},
            "options": {
                "variant": model.variant.name, "state": str(model.state), "ph": request.ph,
                "ligand": request.ligand.name if request.ligand else "",
                "ligand_sha256": file_digest(request.ligand) if request.ligand else "",
                "accept_quality": request.accept_quality, "assembly": "dimer" if request.dimer else "monomer",
            },
            "differences_in_source": [str(m) for m in start.chain.mutations] if start.chain else [],
            "gaps_in_source": [list(gap) for gap in start.chain.gaps] if start.chain else [],
            "versions": {"esr1md": __version__, **{name: _version(name) for name in _VERSIONED}},
            "seconds": round(seconds, 1),
        },
        "files": {path.name: file_digest(path) for path in sorted(folder.iterdir())},
    }  # fmt: skip
    write_quality_page(record, folder / "receptor.pdb", folder / "quality.html")
    (folder / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
