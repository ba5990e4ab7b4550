"""Libraries that were screened with the surrogate and rounds that were proposed, as the store holds them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from esr1md.config import load_screen
from esr1md.dashboard.data import Screen
from esr1md.errors import InputError
from esr1md.explore.written import written
from esr1md.screen.finish import replace_file
from esr1md.store import Store

#: Where the dashboard looks for what ``esr1md surrogate screen --out STORE/libraries/NAME`` wrote, and leaves requests.
LIBRARIES, REQUESTS, EXPLORE = "libraries", "requests", "explore"
MOST_CHOSEN = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


@dataclass(frozen=True)
class Library:
    """One screened library: its summary, or what is wrong with it."""

    name: str
    summary: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Round:
    """One proposal of an exploration, and the screen that it led to."""

    exploration: str
    record: Mapping[str, Any]
    file: Path


def library_names(store: Store) -> list[str]:
    """The screened libraries of a store."""
    return sorted(path.parent.name for path in (store.root / LIBRARIES).glob("*/summary.json"))


def library_named(store: Store, name: str | None) -> Library | None:
    """One of the screened libraries; ``None`` where the store has none of this name."""
    if name not in library_names(store):
        return None
    try:
        summary = json.loads((store.root / LIBRARIES / name / "summary.json").read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or not isinstance(summary.get("top"), list):
            raise ValueError("no list of the best compounds")
        return Library(name, summary)
    except (OSError, ValueError, RecursionError) as error:
        return Library(name, {}, str(error)[:200])


def rounds(store: Store) -> list[Round]:
    """Every proposal, the newest first; a damaged one is left out."""
    found = []
    for path in (store.root / EXPLORE).glob("*/round-*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append((path.stat().st_mtime, Round(path.parent.name, record, path.with_suffix(".yaml"))))
    return [each for _, each in sorted(found, key=lambda pair: -pair[0])]


def write_request(store: Store, screen: Screen, chosen: Sequence[Mapping[str, str]], name: str) -> Path:
    """Write a screen of some compounds with the variants, protocol and reference of an earlier one.

    Parameters
    ----------
    chosen
        ``name`` and ``smiles`` of each compound.
    name
        Of the new screen.

    Raises
    ------
    InputError
        A name that is none or is taken, no compound or too many, or a screen that would be refused.
    """
    if not _NAME.fullmatch(name or ""):
        raise InputError(f"'{(name or '')[:60]}' cannot be the name of a screen",
                         expected="letters, digits, dots, dashes")  # fmt: skip
    if not 0 < len(chosen) <= MOST_CHOSEN:
        raise InputError(f"{len(chosen)} compounds are chosen", expected=f"1 to {MOST_CHOSEN}")
    if (store.root / "screens" / name).exists():
        raise InputError(f"there is a screen '{name}' already", do="choose another name")
    try:
        config = written(screen.plan["config"])
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"the plan of '{screen.name}' cannot be read again", do="run that screen again") from error
    reference = config.get("reference_ligand")
    references = list(reference.values()) if isinstance(reference, dict) else [reference] if reference else []
    known = {each if isinstance(each, str) else each["name"]: each for each in _listed(config["ligands"])}
    ligands = [known.get(ligand, ligand) for ligand in dict.fromkeys(references)]
    ligands += [{"name": each["name"], "smiles": each["smiles"]} for each in chosen if each["name"] not in references]
    config |= {"name": name, "ligands": ligands, "description": f"{len(chosen)} compounds chosen in the dashboard."}
    for key in ("method", "transfers"):
        config.pop(key, None)
    path = store.root / REQUESTS / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110))
    try:
        load_screen(path)
    except InputError:
        path.unlink(missing_ok=True)
        raise
    return path


def _listed(ligands: Any) -> list[Any]:
    return ligands if isinstance(ligands, list) else []


def deployment() -> tuple[str, str] | None:
    """Address of the Prefect API and the name (FLOW/NAME) of the deployment to start; ``None`` where not configured."""
    api, name = os.environ.get("PREFECT_API_URL"), os.environ.get("ESR1MD_DEPLOYMENT")
    return (api.rstrip("/"), name) if api and name else None


def start(request: Path, store: Store) -> str:
    """Start the deployment with a screen; returns the name of its run.

    Raises
    ------
    InputError
        None is configured, or Prefect does not answer or refuses.
    """
    found = deployment()
    if found is None:
        raise InputError("no deployment is configured", expected="PREFECT_API_URL and ESR1MD_DEPLOYMENT")
    api, name = found
    key = os.environ.get("PREFECT_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=api, headers=headers, timeout=20) as client:
            known = client.get(f"/deployments/name/{name}")
            known.raise_for_status()
            # named as the flow names itself once it runs, so that it is found before and after
            asked = {"name": request.stem, "parameters": {"config": str(request), "store": str(store.root)}}
            run = client.post(f"/deployments/{known.json()['id']}/create_flow_run", json=asked)
            run.raise_for_status()
            return str(run.json()["name"])
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise InputError(f"the deployment '{name}' could not be started ({error})", where="PREFECT_API_URL",
                         do=f"start it yourself: esr1md screen {request} --store {store.root}") from error  # fmt: skip
