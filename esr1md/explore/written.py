"""A screen's configuration as a plan holds it, turned back into what a user would write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from esr1md.config import ALL, ScreenConfig
from esr1md.errors import InputError
from esr1md.explore.candidates import Choice
from esr1md.ligand.catalogue import catalogue_entry


def configuration(plan: Mapping[str, Any], where: str) -> ScreenConfig:
    """The configuration of a plan, checked again.

    Raises
    ------
    InputError
        It is not valid any more, for a file that it names has gone.
    """
    try:
        return ScreenConfig.model_validate(written(plan["config"]))
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InputError(f"the screen's configuration is not valid any more ({said})", where=where,
                         do="put back the file it names, or run the screen again") from error  # fmt: skip


def choices(given: str | list[dict[str, Any]], ligands: Sequence[Mapping[str, Any]]) -> dict[str, Choice]:
    """Name of each ligand of a plan -> the entry of its screen that it came from; of a file's row, its structure."""
    names = [ligand["name"] for ligand in ligands]
    if given == ALL:
        return {name: name for name in names}
    plain = {_made_name(item): _choice(item) for item in given if "file" not in item}
    found = {
        name: choice
        for name in names
        for own, choice in plain.items()
        if name == own or (name.startswith(f"{own} (") and name not in plain)
    }
    return {each["name"]: found.get(each["name"]) or _as_simulated(each) for each in ligands}


def _as_simulated(ligand: Mapping[str, Any]) -> Choice:
    drug_class = {"drug_class": ligand["drug_class"]} if ligand["drug_class"] else {}
    return {"name": ligand["name"], "smiles": ligand["smiles"], **drug_class, "protonation": "as written"}


def _made_name(item: Mapping[str, Any]) -> str:
    """What a ligand of a dumped configuration is called in the plan: a synonym becomes the catalogue's name."""
    if item["smiles"] is not None or item["sdf"] is not None:
        return item["name"].strip()
    return catalogue_entry(item["name"]).name


def _choice(item: Mapping[str, Any]) -> Choice:
    """A ligand of a dumped configuration as a user would write it."""
    usual = {"stereo": "defined", "protonation": "dominant", "skip_bad": False}
    kept = {key: value for key, value in item.items() if value not in (None, "") and usual.get(key) != value}
    return kept if len(kept) > 1 or "file" in kept else kept["name"]


def written(config: Mapping[str, Any]) -> dict[str, Any]:
    """A dumped configuration as a user would write it: without what is so by default."""
    usual = ScreenConfig(name="a", variants=("WT",), ligands=ALL, protocol="quick", replicas=1).model_dump(mode="json")
    asked = ("name", "variants", "ligands", "protocol", "replicas")
    kept = {key: value for key, value in config.items() if key in asked or value != usual[key]}
    if kept["ligands"] != ALL:
        kept["ligands"] = [_choice(item) for item in kept["ligands"]]
    return kept
