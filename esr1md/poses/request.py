"""Pose ligands on request: any ligand, in a model of a variant and state or in somebody's own structure file."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from esr1md.catalogue import did_you_mean
from esr1md.errors import Esr1mdError, InputError, StageError
from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.ligand.labels import labels
from esr1md.ligand.parameters import parametrise
from esr1md.ligand.states import ligands_from_sdf, ligands_from_smiles
from esr1md.poses.place import Pose, place_ligand
from esr1md.poses.references import load_references
from esr1md.poses.search import names_of
from esr1md.receptor.build import build_receptor
from esr1md.receptor.given import receptor_as_given
from esr1md.receptor.protonation import ligand_from_sdf
from esr1md.receptor.sequence import parse_variant
from esr1md.specs import HelixState, Ligand, digest_of, file_digest, numeric_versions
from esr1md.store.disk import write_json


@dataclass(frozen=True)
class Place:
    """A receptor to pose in.

    Attributes
    ----------
    pdb
        With all hydrogens, P03372 numbers, in the frame that poses are wanted in.
    state
        Which helix-12 state's references are used.
    steps
        How it was made.
    """

    pdb: Path
    state: HelixState
    steps: tuple[str, ...]


@dataclass
class Outcome:
    """Poses of each ligand, best first, why others have none, and digests of what was asked of each."""

    questions: dict[str, str]
    poses: dict[str, list[Pose]] = field(default_factory=dict)
    failed: dict[str, Esr1mdError] = field(default_factory=dict)


def model_place(variant: str, state: HelixState, folder: Path) -> Place:
    """The model of a variant in a state, built into ``folder``; raises as :func:`build_receptor`."""
    model = build_receptor(parse_variant(variant), state, folder)
    return Place(model.pdb, state, tuple(model.steps))


def file_place(path: Path, box: Path | None, folder: Path) -> Place:
    """A structure file as it is (:func:`receptor_as_given`), its hydrogens added, written into ``folder``.

    Raises
    ------
    InputError
        For a file that cannot be used.
    """
    given = receptor_as_given(path, folder / "receptor.pdb", ligand_from_sdf(box) if box is not None else ())
    steps = given.steps
    if given.state is None:
        steps = (*steps, "helix 12 is not complete: references of the antagonist and displaced states are used")
    return Place(given.pdb, given.state or HelixState.DISPLACED, steps)


def wanted_ligands(name: str | None, smiles: str | None, sdf: Path | None) -> list[Ligand]:
    """The one ligand asked for, or every stereoisomer where its SMILES leaves a centre open.

    Raises
    ------
    InputError
        If not exactly one way to name it is used, or it cannot be used.
    """
    if sum(given is not None for given in (name, smiles, sdf)) != 1:
        raise InputError("name one ligand", expected="one of --ligand NAME, --smiles SMILES, --sdf FILE")
    if name is not None:
        return [catalogue_ligand(name)]
    return ligands_from_smiles("ligand", smiles) if smiles is not None else ligands_from_sdf(sdf)


def check_excluded(names: tuple[str, ...]) -> None:
    """Refuse a name that no reference pose has, so that nothing is left in by a slip of the pen."""
    known = set().union(*(names_of(reference) for reference in load_references()))
    for name in names:
        if name not in known:
            ligands = sorted({reference.ligand for reference in load_references()})
            raise InputError(
                f"no reference pose of '{name}'",
                where="--exclude",
                expected=f"a PDB id or one of {', '.join(ligands)}",
                do=did_you_mean(name, sorted(known)),
            )


def pose_ligands(
    ligands: list[Ligand],
    place: Place,
    out: Path,
    *,
    seed: int = 1,
    exclude: tuple[str, ...] = (),
    exclude_similar: float = 1.0,
    threads: int = 1,
    report: Callable[[str], None] = lambda said: None,
) -> Outcome:
    """Pose every ligand and write a folder for each into ``out``; a ligand that fails stops no other.

    One that does not fit gets its best poses all the same, and they say so. A folder holds ``poses.sdf`` (up to five,
    ranked, with their scores), ``pose_RANK.sdf``, ``record.json`` and ``parameters/``. What an earlier call found for
    the same question is read again: ``request.json`` is written anew after each ligand.
    """
    asked = {
        "receptor": file_digest(place.pdb), "state": str(place.state), "seed": seed, "exclude": sorted(exclude),
        "exclude_similar": exclude_similar, "versions": numeric_versions(),
    }  # fmt: skip
    outcome = Outcome({ligand.name: digest_of({**asked, "ligand": asdict(ligand)}) for ligand in ligands})
    folders = {ligand.name: _folder_of(ligand, out) for ligand in ligands}
    before = _answered(out)
    for name, question in outcome.questions.items():
        if before.get(name) == question:
            with suppress(StageError):  # its files are gone or damaged
                outcome.poses[name] = Pose.all_from_folder(folders[name])

    def save() -> None:
        write_json(out / "request.json", as_document(ligands, place, outcome, out))

    save()
    for ligand in ligands:
        if ligand.name in outcome.poses:
            continue
        report(f"posing {ligand.name}")
        try:
            parameters = parametrise(ligand, folders[ligand.name] / "parameters")
            outcome.poses[ligand.name] = place_ligand(
                ligand,
                parameters,
                place.pdb,
                place.state,
                folders[ligand.name],
                seed=seed,
                exclude=exclude,
                exclude_similar=exclude_similar,
                anyway=True,
                threads=threads,
            )
        except Esr1mdError as error:
            outcome.failed[ligand.name] = error
        save()
    outcome.poses = {ligand.name: outcome.poses[ligand.name] for ligand in ligands if ligand.name in outcome.poses}
    return outcome


def begin(out: Path) -> None:
    """Make ``out`` a folder that the same command goes on in, however early it is killed."""
    if not (out / "request.json").is_file():
        write_json(out / "request.json", {"ligands": []})


def _folder_of(ligand: Ligand, out: Path) -> Path:
    return out / "".join(c if c.isalnum() or c in "-_+" else "_" for c in ligand.name)


def _answered(out: Path) -> dict[str, str]:
    """What was asked of each ligand that has poses here."""
    try:
        rows = json.loads((out / "request.json").read_text())["ligands"]
        return {row["name"]: row["question"] for row in rows if row["poses"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def as_document(ligands: list[Ligand], place: Place, outcome: Outcome, out: Path) -> dict[str, Any]:
    """Everything a script wants to know, paths relative to ``out``."""

    def failure(ligand: Ligand) -> str | None:
        if ligand.name in outcome.failed:
            return str(outcome.failed[ligand.name])
        return None if ligand.name in outcome.poses else "not posed yet"

    return {
        "out": str(out),
        "receptor": {"pdb": str(place.pdb.relative_to(out)), "state": str(place.state), "steps": list(place.steps)},
        "ligands": [
            {
                "name": ligand.name, "smiles": ligand.smiles, "inchikey": ligand.inchikey, "notes": ligand.notes,
                "class": ligand.drug_class, "confidence": ligand.confidence, "labels": list(labels(ligand)),
                "poses": [{**pose.to_json(), "sdf": str(pose.sdf.relative_to(out))}
                          for pose in outcome.poses.get(ligand.name, ())],
                "search": outcome.poses[ligand.name][0].details if ligand.name in outcome.poses else {},
                "failure": failure(ligand), "question": outcome.questions[ligand.name],
            }
            for ligand in ligands
        ],
    }  # fmt: skip
