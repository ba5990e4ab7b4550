"""What a surrogate is worth, in numbers and words, and its files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from esr1md.surrogate.model import SurrogateModel

#: Unit of each head's predictions.
UNITS = {"binding": "kcal/mol", "helix12": "angstrom"}


@dataclass(frozen=True)
class HeadError:
    """What a head is worth on ligands left out of training, in its unit.

    ``rmse`` and ``mean_rmse`` are those of the model and of always guessing the mean of the state, each ligand
    counting once; ``n_ligands`` is the number left out in turn.
    """

    rmse: float
    mean_rmse: float
    n_ligands: int

    @property
    def better_than_mean(self) -> bool:
        return self.rmse < self.mean_rmse


@dataclass(frozen=True)
class Card:
    """Model card: what the surrogate was trained on and what it is worth.

    ``variant_spread`` is the root mean square difference between variants of one ligand and state, per head: what
    may be missed for a variant that was not simulated. ``states`` lists, per head, the helix-12 states it was
    measured in; ``smiles`` the training ligands by name.
    """

    seed: int
    n_replicas: int
    n_cells: int
    variants: tuple[str, ...]
    states: dict[str, tuple[str, ...]]
    smiles: dict[str, str]
    errors: dict[str, HeadError]
    variant_spread: dict[str, float]
    sizes: dict[str, int]
    versions: dict[str, str]


@dataclass(frozen=True)
class Surrogate:
    """A trained model with its card."""

    model: SurrogateModel
    card: Card


def limits_of(card: Card) -> tuple[str, ...]:
    """What the ranking must say of the predictions."""
    said = [
        f"Predicted cells come from a surrogate trained on {card.n_replicas} replicas of {len(card.smiles)} ligands of "
        "this screen; they inherit every limit of the simulations and are no evidence of their own."
    ]
    for head, error in card.errors.items():
        if not error.better_than_mean:
            said.append(
                f"For {'binding' if head == 'binding' else 'helix 12'} the surrogate is no better on unseen ligands "
                f"than the mean of the simulated cells (error {error.rmse:.1f} against {error.mean_rmse:.1f} "
                f"{UNITS[head]}): do not rank by its predictions."
            )
    return tuple(said)


def save(surrogate: Surrogate, folder: Path) -> None:
    """Write ``model.safetensors``, ``card.json`` and ``card.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in surrogate.model.state_dict().items()}, folder / "model.safetensors")
    (folder / "card.json").write_text(json.dumps(asdict(surrogate.card), indent=1, sort_keys=True))
    (folder / "card.md").write_text(card_text(surrogate.card))


def load(folder: Path) -> Surrogate:
    """Read what :func:`save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no surrogate in ``folder``.
    """
    data = json.loads((folder / "card.json").read_text())
    data["errors"] = {head: HeadError(**error) for head, error in data["errors"].items()}
    data["variants"] = tuple(data["variants"])
    data["states"] = {head: tuple(states) for head, states in data["states"].items()}
    card = Card(**data)
    model = SurrogateModel(**card.sizes)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return Surrogate(model.eval(), card)


def card_text(card: Card) -> str:
    """The model card as Markdown."""
    rows = "\n".join(
        f"| {head} ({UNITS[head]}) | {e.rmse:.2f} | {e.mean_rmse:.2f} | {e.n_ligands} | "
        f"{'yes' if e.better_than_mean else 'no'} |"
        for head, e in card.errors.items()
    )
    limits = "\n".join(f"- {sentence}" for sentence in limits_of(card))
    states = sorted({state for known in card.states.values() for state in known})
    sizes = card.sizes
    return f"""# Surrogate of this screen

{sizes["members"]} multilayer perceptrons of {sizes["hidden"]} hidden units on {sizes["n_components"]} principal
components of the ligands' Morgan counts and descriptors, the change each mutation makes near the pocket and
helix 12, and the starting helix-12 state.

Trained on {card.n_replicas} replicas ({card.n_cells} cells) of {len(card.smiles)} ligands
({", ".join(card.smiles)}); variants {", ".join(card.variants)}; states {", ".join(states)}. Seed {card.seed};
{", ".join(f"{name} {number}" for name, number in card.versions.items())}.

Root mean square error on cells of ligands left out of training:

| score | surrogate | mean of the state | ligands | better than the mean |
|---|---|---|---|---|
{rows}

The 95 % interval of a prediction is Student's t (ligands left out - 1 degrees of freedom) times the error above
and the spread of the members, added in quadrature; for a variant that was not simulated also the difference
between variants ({", ".join(f"{h} {v:.2f} {UNITS[h]}" for h, v in card.variant_spread.items())}).

{limits}
"""
