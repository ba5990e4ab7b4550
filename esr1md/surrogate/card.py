"""The card of a surrogate: what it was trained on, what it is worth, what it must not be used for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.catalogue import data_path
from esr1md.errors import InputError

#: Unit of each score's predictions.
UNITS = {"binding": "kcal/mol", "helix12": "angstrom"}
_WORDS = {"binding": "binding", "helix12": "helix 12", "binding_shift": "the change of binding by a mutation",
          "helix12_shift": "the change of helix 12 by a mutation"}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """Model card.

    Attributes
    ----------
    affinity
        ``source``, ``attribution``, ``n_compounds``, ``n_bounds``, ``n_assays``, ``left_out``, ``seed``, ``settings``,
        ``weight``, ``noise``, ``least_similarity`` and ``held_out`` (figures of evaluation.py).
    simulation
        Empty, or ``protocol``, ``screens``, ``n_replicas``, ``n_cells``, ``ligands``, ``variants``, ``states``,
        ``seed`` and ``skills``.
    versions
        Of the packages that change numbers.
    """

    affinity: dict[str, Any]
    simulation: dict[str, Any]
    versions: dict[str, str]


def shipped_folder() -> Path:
    """The folder of the surrogate that is shipped."""
    return data_path("ligands") / "surrogate"


def load_card(folder: Path) -> Card:
    """The card of a surrogate, without its weights.

    Raises
    ------
    InputError
        There is none, or it is none of this version.
    """
    path = folder / "card.json"
    try:
        return Card(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"no card can be read ({error.strerror})", where=str(path),
                         expected="a folder that esr1md surrogate train has written") from error  # fmt: skip
    except (TypeError, ValueError) as error:
        raise InputError(f"this is no card of this version ({error})", where=str(path)) from None


def statement(card: Card) -> str:
    """One sentence, to stand on every output: what the numbers are."""
    assay = "pchembl is a prediction of what an assay with wild-type ER-alpha would measure"
    if not card.simulation:
        return f"{assay}; it says nothing of mutants or of helix 12, for this surrogate was trained on no simulations."
    return (
        f"{assay}; binding and helix-12 columns are predictions of simulation scores (protocol "
        f"{card.simulation['protocol']}, {card.simulation['n_replicas']} replicas of {len(card.simulation['ligands'])} "
        "ligands), not of measurements."
    )


def skill_limits(skills: list[dict[str, Any]]) -> list[str]:
    """A sentence for each head that is no better than the plain guess."""
    said = []
    for skill in skills:
        if skill["skilled"]:
            continue
        score = skill["head"].removesuffix("_shift")
        shift = skill["head"].endswith("_shift")
        plain = "the wild type's value" if shift else "the mean of the simulated cells"
        what = {"ligand": "unseen ligands", "variant": "unseen variants"}[skill["left_out"]]
        said.append(
            f"No skill for {_WORDS[skill['head']]} on {what}: the surrogate (error {skill['rmse']:.2f} {UNITS[score]}) "
            f"is not clearly better than {plain} ({skill['plain_rmse']:.2f}), which stands in for it."
        )
    return said


def limits_of(card: Card) -> tuple[str, ...]:
    """What a ranking must say of the predictions."""
    if not card.simulation:
        return ()
    about = card.simulation
    return (
        f"Predicted cells come from a surrogate trained on {about['n_replicas']} replicas of {len(about['ligands'])} "
        "ligands of this screen; they inherit every limit of the simulations and are no evidence of their own.",
        *skill_limits(about["skills"]),
    )


def card_text(card: Card) -> str:
    """The card as Markdown."""
    about, held = card.affinity, card.affinity["held_out"]
    settings = ", ".join(f"{name} {value}" for name, value in about["settings"].items())
    text = f"""# Surrogate

## What it predicts

- `pchembl`: the affinity (-log10 mol/l) that a binding assay with wild-type ER-alpha would measure; 90 % intervals.
- {
        "Simulation scores (MM/GBSA binding, helix 12), see below."
        if card.simulation
        else "Nothing of mutants or of helix 12: it was trained on no simulations."
    }

## Affinity

Trained on {about["n_compounds"]:,} compounds of {about["source"]} ({about["n_bounds"]:,} of them only bounds, used as
such; {about["n_assays"]} assays with an offset of their own; {about["left_out"]:,} rows not used). {
        about["attribution"]
    }

Kernel regression on Morgan counts (noise {about["noise"]:g} of the variance) plus {about["weight"]:.2f} times the mean
correction of five message-passing networks ({settings}; seed {about["seed"]}). Each network left a fifth of the
Bemis-Murcko scaffolds out; half of that fifth decided when to stop, the other half gave these figures (single networks;
the mean of the five is a little better) and calibrated the interval:

| compounds | MAE | RMSE | Spearman | NLL | 90 % intervals hold | mean width |
|---|---|---|---|---|---|---|
| {held["n"]:,} | {held["mae"]:.2f} | {held["rmse"]:.2f} | {held["spearman"]:.2f} | {held["nll"]:.2f} | \
{100 * held["coverage"]:.0f} % (by construction) | {held["width"]:.2f} |

## Limits

- Assay values of many laboratories are what it learned; their own disagreement is about half a log unit.
- Compounds less than {about["least_similarity"]:.2f} similar (Tanimoto of Morgan counts) to every training compound are
  outside the domain and flagged. The interval is calibrated on average, not for each chemotype.
- A table of published compounds holds few inactive ones: of a random library most predictions are too high.
- Affinity is not degradation, not efficacy, and not resistance to mutations.
"""
    if card.simulation:
        text += _simulation_text(card.simulation)
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    return f"{text}\nVersions: {versions}.\n"


def _simulation_text(about: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {s['head']} ({UNITS[s['head'].removesuffix('_shift')]}) | {s['left_out']}s | {s['n']} | {s['rmse']:.2f} | "
        f"{s['plain_rmse']:.2f} | {'yes' if s['skilled'] else 'no'} | {s['half_width']:.2f} |"
        for s in about["skills"]
    )
    limits = "\n".join(f"- {said}" for said in skill_limits(about["skills"])) or "- None found by leaving out."
    return f"""
## Simulation scores

Trained on {about["n_replicas"]} replicas ({about["n_cells"]} cells, protocol {about["protocol"]}) of
{len(about["ligands"])} ligands ({", ".join(about["ligands"])}); variants {", ".join(about["variants"])}; states
{", ".join(about["states"])}; seed {about["seed"]}. Errors on ligands, and on variants, left out of training one by one.
The plain guess is the mean of the state for a score and the wild type's value for a shift; it stands in where the
network is not clearly better.

| head | left out | n | error | plain guess | skill | 95 % half-width |
|---|---|---|---|---|---|---|
{rows}

{limits}
- They inherit every limit of the simulations and are no evidence of their own.
"""
