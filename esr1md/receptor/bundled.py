"""The bundled receptor models: which crystal each is made of, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import gemmi

from esr1md.receptor.frame import bundled_model
from esr1md.specs import WILD_TYPE, HelixState


@dataclass(frozen=True)
class Bundled:
    """The crystal structure behind a bundled model.

    Attributes
    ----------
    state
        Where its helix 12 is.
    file, entry, chain
        File it is made from, PDB id and chain.
    resolution
        Angstrom; ``None`` where the file does not tell.
    reason
        Why it was chosen.
    variant
        Mutations of the crystal that the model keeps; all others are reverted.
    """

    state: HelixState
    file: str
    entry: str
    chain: str
    resolution: float | None
    reason: str
    variant: str = WILD_TYPE.name


#: Bundled models by name: the one of each state under the state's name, alternatives under STATE-ENTRY.
BUNDLED = {
    "antagonist": Bundled(
        HelixState.ANTAGONIST, "3ERT.pdb", "3ERT", "A", 1.9,
        "wild type with 4-hydroxytamoxifen; every residue of 306-551 has a backbone",
    ),
    "agonist": Bundled(
        HelixState.AGONIST, "1QKU.pdb", "1QKU", "A", 3.2,
        "wild type with estradiol and the only agonist entry at hand without a gap; 5WGD (1.8 A) has serine "
        "at 537, which shifts helix 12 by 1.3 A, and lacks 461-472",
    ),
    "displaced": Bundled(
        HelixState.DISPLACED, "litpcba/6B0F_ant_protein.pdb", "6B0F", "A", None,
        "the only structure at hand whose helix 12 is seen in neither place (with the degrader LSZ102); 5T92, its "
        "like, shows no helix 12 at all, so that all of 526-550 would be a guess",
    ),
    "antagonist-1XPC": Bundled(
        HelixState.ANTAGONIST, "1XPC.pdb", "1XPC", "A", 1.6,
        "wild type with a benzoxathiin SERM, the sharpest antagonist entry at hand; complete from 307 to 551",
    ),
    "agonist-5WGD": Bundled(
        HelixState.AGONIST, "5WGD.cif", "5WGD", "A", 1.8,
        "Y537S with estradiol, the sharpest agonist entry at hand; its helix 12 lies 1.3 A from 1QKU's, and 461-472 "
        "are modelled", variant="Y537S",
    ),
    "agonist-2P15": Bundled(
        HelixState.AGONIST, "litpcba/2P15_ago_protein.pdb", "2P15", "A", None,
        "Y537S with a 17-alpha-styryl estradiol, the most complete Y537S entry at hand (332-334 are modelled)",
        variant="Y537S",
    ),
}  # fmt: skip

#: Models made of crystals that show every residue, from which others take what theirs do not show.
DONORS = (str(HelixState.AGONIST), str(HelixState.ANTAGONIST))


def bundled_name(state: HelixState, source: Path | None) -> str:
    """Which bundled model a build starts from; empty for a user's file."""
    if source is None:
        return str(state)
    return next((name for name in BUNDLED if source == bundled_model(name)), "")


def bundled_chain(name: str) -> gemmi.Chain:
    """The chain of a bundled model, hydrogens included."""
    return gemmi.read_structure(str(bundled_model(name)))[0][0].clone()


def of_state(state: HelixState, without: Collection[str]) -> dict[str, gemmi.Chain]:
    """Chains of the bundled models in a state, by name, but for those in ``without``."""
    names = (name for name, model in BUNDLED.items() if model.state == state and name not in without)
    return {name: bundled_chain(name) for name in names}
