"""Build the receptor of a variant in a helix-12 state, from a bundled model or a user's structure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gemmi

from esr1md.errors import InputError, StageError
from esr1md.receptor.bundled import BUNDLED, DONORS, bundled_chain, bundled_name, of_state
from esr1md.receptor.crystal_loop import take_from_crystal
from esr1md.receptor.deletion import MARGIN
from esr1md.receptor.frame import (
    HELIX12,
    POCKET_RESIDUES,
    alpha_carbons,
    bundled_model,
    helix12_distances,
    helix12_state,
    model_alpha_carbons,
    superpose_core,
)
from esr1md.receptor.mutate import mutate
from esr1md.receptor.prepare import MODEL_FIRST, MODEL_LAST, PH, Model, load_model, prepare_chain
from esr1md.receptor.quality import assess
from esr1md.receptor.sequence import ONE_LETTER, parse_variant, residue_of
from esr1md.receptor.source import SourceChain, moved, read_source
from esr1md.receptor.surroundings import (
    bundled_surroundings,
    file_surroundings,
    record_surroundings,
    reprotonated,
)
from esr1md.specs import HelixState, Mutation, Variant, file_digest


@dataclass(frozen=True)
class ReceptorModel:
    """A receptor ready for a ligand.

    Attributes
    ----------
    variant, state
        What was asked for.
    pdb
        ``receptor.pdb``: chain A, P03372 numbers, hydrogens, ACE and NME caps, in the common frame.
    source
        The starting structure, in words.
    source_digest
        SHA-256 of the starting structure's file.
    quality
        :func:`esr1md.receptor.quality.assess` of the model.
    steps
        What was done to the starting structure.
    protonation
        Predicted pKa and form of each titratable residue (:func:`esr1md.receptor.surroundings.protonation_record`).
    conserved_water
        Oxygen (angstrom) of the water between E353 and R394, which ``waters.pdb`` beside ``pdb`` holds.
    """

    variant: Variant
    state: HelixState
    pdb: Path
    source: str
    source_digest: str
    quality: dict[str, Any]
    steps: list[str]
    protonation: dict[str, Any] = field(default_factory=dict)
    conserved_water: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``record.json``; the path is relative to the record's folder."""
        return {
            **dataclasses.asdict(self),
            "variant": self.variant.name,
            "state": str(self.state),
            "pdb": self.pdb.name,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], folder: Path) -> ReceptorModel:
        """The record back from :meth:`to_json` and the folder it was kept in."""
        return cls(
            **{
                **record,
                "variant": parse_variant(record["variant"]),
                "state": HelixState(record["state"]),
                "pdb": folder / record["pdb"],
            }
        )


def source_digest(state: HelixState, source: Path | None = None) -> str:
    """SHA-256 of the file a receptor starts from: the bundled model of ``state``, or ``source``.

    Raises
    ------
    InputError
        If there is no such file.
    """
    path = source if source is not None else bundled_model(state)
    if not path.is_file():
        raise InputError("no such structure file", where=str(path), do="check the path")
    return file_digest(path)


def build_receptor(
    variant: Variant,
    state: HelixState,
    folder: Path,
    *,
    source: Path | None = None,
    ph: float = PH,
    ligand: Path | None = None,
    accept_quality: str = "",
    without: Collection[str] = (),
) -> ReceptorModel:
    """Build a variant in a helix-12 state and write ``receptor.pdb`` and ``quality.json`` to ``folder``.

    ``waters.pdb`` beside them holds the conserved water between E353 and R394 for explicit solvent.

    Parameters
    ----------
    variant
        Mutations of P03372.
    state
        Where helix 12 starts.
    folder
        Where to write; created if absent.
    source
        A user's PDB or mmCIF file to build from instead of the bundled model, or :func:`bundled_model` of an
        alternative (:data:`BUNDLED`). Residues in which it differs from P03372 are changed to the variant's.
    ph
        Solvent pH of the protonation states.
    ligand
        SDF file of a ligand in the coordinates of ``source`` (or of the bundled models), whose hydrogen bonds
        decide the protonation states instead of the crystal ligand's.
    accept_quality
        The reason to keep a model that exceeds a quality limit; recorded.
    without
        Bundled models from which no loop or helix 12 is taken: those a result is to be compared with.

    Raises
    ------
    InputError
        If the variant cannot be built, the file is not a usable ER-alpha structure, its helix 12 is not in
        ``state``, or the model made from it is bad.
    StageError
        If the model made from a bundled one is bad.
    """
    check_buildable(variant)
    digest = source_digest(state, source)
    name = bundled_name(state, source)
    if name:
        start = BUNDLED[name]
        described = f"bundled {name} model ({start.entry} chain {start.chain})"
        text, steps = bundled_model(name).read_text(encoding="utf-8"), [f"start from the {described}"]
        if variant != parse_variant(start.variant):
            model = take_from_crystal(load_model(text, steps), variant, of_state(state, without))
            model = with_sequence(model, variant, bundled_chain(name))
            text, steps = model.pdb_text(), model.steps
    else:
        described = f"file {source.name}"
        model = _build_from_file(variant, state, source, without)
        text, steps = model.pdb_text(), model.steps
    around = bundled_surroundings(name, ligand) if name else file_surroundings(source, ligand)
    if ph != PH or ligand is not None:
        text, steps = reprotonated(text, steps, around, ph)
    folder.mkdir(parents=True, exist_ok=True)
    pdb = folder / "receptor.pdb"
    pdb.write_text(text, encoding="utf-8")
    quality = assessed(pdb, state)
    (folder / "quality.json").write_text(json.dumps(quality, indent=2) + "\n", encoding="utf-8")
    _check_sequence(pdb, variant)
    if quality["problems"] and accept_quality:
        steps.append(f"accepted although {'; '.join(quality['problems'])}: {accept_quality}")
    elif quality["problems"]:
        reason = "; ".join(quality["problems"])
        if source is None:
            raise StageError("receptor", f"the {variant} {state} model is bad: {reason}", where=str(pdb))
        for name in ("receptor.pdb", "quality.json"):
            (folder / name).unlink()
        raise InputError(
            f"the {variant} model built from this file is bad: {reason}", where=str(source),
            do="use a better structure or the bundled model",
        )  # fmt: skip
    protonation, water = record_surroundings(pdb, around, ph, steps)
    return ReceptorModel(variant, HelixState(state), pdb, described, digest, quality, steps, protonation, water)


def assessed(pdb: Path, state: HelixState) -> dict[str, Any]:
    """:func:`assess`, with a helix 12 that is not where its label says as a problem."""
    quality = assess(pdb)
    found = quality["helix12"]["state"] if quality["helix12"] else "unknown"
    if found != state:
        quality["problems"].append(f"helix 12 is in the {found} state, not the {state} one")
    return quality


def check_buildable(variant: Variant) -> None:
    """Refuse a variant that no model can be built of, before anything is computed.

    Raises
    ------
    InputError
        For a residue outside the models, and for a deletion where nothing can be joined (near the ends), or of
        a residue that helix 12 or the pocket is measured by.
    """
    for mutation in variant.mutations:
        position = mutation.position
        if not MODEL_FIRST <= position <= MODEL_LAST:
            raise InputError(
                f"{mutation} is outside the receptor models",
                expected=f"a position from {MODEL_FIRST} to {MODEL_LAST}",
            )
        if mutation.mutant:
            continue
        first, last = MODEL_FIRST + MARGIN, MODEL_LAST - MARGIN
        if position in HELIX12 or position in POCKET_RESIDUES or not first <= position <= last:
            raise InputError(
                f"{mutation} cannot be built: it deletes a residue of helix 12, of the pocket or near an end",
                expected=f"a deletion at {first} to {last}, not at {HELIX12[0]}-{HELIX12[-1]} nor in the pocket",
                do="leave it out of the screen",
            )  # fmt: skip


def with_sequence(model: Model, variant: Variant, library: gemmi.Chain) -> Model:
    """The model with every residue that is not the variant's changed to it."""
    changes = [
        Mutation(number, letter, wanted)
        for number, letter in ((int(r.id), ONE_LETTER.get(r.name)) for r in model.topology.residues())
        if letter and letter != (wanted := residue_of(variant, number))
    ]
    return mutate(model, tuple(changes), library)


def _build_from_file(variant: Variant, state: HelixState, path: Path, without: Collection[str]) -> Model:
    source = read_source(path)
    try:
        rotation, translation, rmsd = superpose_core(
            alpha_carbons(source.chain), model_alpha_carbons(bundled_model("antagonist"))
        )
        _check_helix12(source, state)
    except InputError as error:
        raise error.at(str(path)) from None
    placed = moved(source, rotation, translation)
    step = f"superposed on the antagonist model's core ({rmsd:.2f} A)"
    placed = dataclasses.replace(placed, steps=(*placed.steps, step))
    donors = {name: bundled_chain(name) for name in DONORS}
    try:
        model = prepare_chain(placed, donors)
        present = {int(r.id) for r in model.topology.residues()}
        absent = [str(m) for m in variant.mutations if m.position not in present]
        if absent:
            raise StageError("receptor", f"the structure does not reach {', '.join(absent)}")
        return with_sequence(
            take_from_crystal(model, variant, of_state(state, without)), variant, donors[HelixState.AGONIST]
        )
    except StageError as error:
        raise InputError(
            f"no model can be built from this file: {error.cause}", where=str(path),
            do="use a more complete structure or the bundled model",
        ) from error  # fmt: skip


def _check_helix12(source: SourceChain, state: HelixState) -> None:
    positions = alpha_carbons(source.chain)
    found, distances = helix12_state(positions), helix12_distances(positions)
    if found is None:
        raise InputError(
            "helix 12 (residues 537-544) is not complete in this structure",
            expected=f"a structure with helix 12 in the {state} state",
        )
    if found != state:
        raise InputError(
            f"helix 12 is in the {found} state ({distances['agonist']:.1f} A from the agonist and "
            f"{distances['antagonist']:.1f} A from the antagonist model)",
            expected=f"the {state} state", do=f"screen it as {found}, or give another structure",
        )  # fmt: skip


def _check_sequence(pdb: Path, variant: Variant) -> None:
    """The model must be the variant, residue by residue; anything else is our mistake."""
    present = {}
    for residue in gemmi.read_structure(str(pdb))[0][0]:
        letter, number = ONE_LETTER.get(residue.name), residue.seqid.num
        if letter:
            present[number] = letter
            if letter != residue_of(variant, number):
                raise StageError("receptor", f"residue {number} came out as {residue.name}", where=str(pdb))
    for number in range(min(present), max(present) + 1):
        if (number not in present) != (residue_of(variant, number) == ""):
            raise StageError("receptor", f"residue {number} should be there or is too much", where=str(pdb))
