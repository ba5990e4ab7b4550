"""Gaps and missing ends: what is grafted, what is built, what is refused."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from esr1md.errors import InputError, StageError
from esr1md.receptor.build import build_receptor
from esr1md.receptor.frame import alpha_carbons, bundled_model
from esr1md.receptor.gaps import LONGEST_GAP, extend, fill_gaps
from esr1md.specs import WILD_TYPE


def model(state: str, *missing: tuple[int, int]) -> gemmi.Chain:
    """A bundled model without hydrogens, caps and the residues of some ranges."""
    chain = gemmi.Chain("A")
    for residue in gemmi.read_structure(str(bundled_model(state)))[0][0]:
        number = residue.seqid.num
        if residue.name in ("ACE", "NME") or any(first <= number <= last for first, last in missing):
            continue
        bare = residue.clone()
        for name in [atom.name for atom in bare if atom.is_hydrogen()]:  # names: an atom does not outlive a removal
            bare.remove_atom(name, "\0", gemmi.Element("H"))
        chain.add_residue(bare)
    return chain


@pytest.fixture(scope="module")
def donors() -> dict[str, gemmi.Chain]:
    return {state: gemmi.read_structure(str(bundled_model(state)))[0][0].clone() for state in ("agonist", "antagonist")}


def numbers(chain) -> list[int]:
    return [residue.seqid.num for residue in chain]


def joints(chain) -> list[float]:
    return [a["C"][0].pos.dist(b["N"][0].pos) for a, b in zip(list(chain), list(chain)[1:], strict=False)]


def test_a_chain_without_gaps_is_left_alone(donors):
    chain = model("agonist")
    filled = fill_gaps(chain, donors)
    assert (filled.modelled, filled.side_chains, filled.steps) == (set(), set(), [])
    assert numbers(filled.chain) == list(range(306, 551))


def test_a_gap_is_filled_from_the_model_that_fits(donors):
    whole = model("agonist")
    filled = fill_gaps(model("agonist", (460, 470)), donors)
    assert filled.steps == ["residues 460-470 taken from the agonist model (flanks fit at 0.00 A)"]
    assert filled.modelled == set(range(460, 471))
    before, after = alpha_carbons(whole), alpha_carbons(filled.chain)
    assert max(np.linalg.norm(before[n] - after[n]) for n in before) < 1e-3


def test_a_gap_that_no_model_fits_is_closed_anew(donors):
    """The H11-H12 loop of one state, when only the other state's model is at hand."""
    filled = fill_gaps(model("agonist", (528, 533)), {"antagonist": donors["antagonist"]})
    assert numbers(filled.chain) == list(range(306, 551))
    assert filled.steps[0].startswith("residues 528-533 built by closing the backbone")
    assert set(range(528, 534)) <= filled.side_chains == filled.modelled
    assert max(joints(filled.chain)) < 1.75
    kept = set(numbers(filled.chain)) - filled.modelled
    before, after = alpha_carbons(model("agonist")), alpha_carbons(filled.chain)
    assert max(np.linalg.norm(before[n] - after[n]) for n in kept) < 1e-6


def test_moved_residues_of_the_crystal_are_named(donors):
    filled = fill_gaps(model("displaced", (527, 528)), donors)
    moved = sorted(filled.modelled - {527, 528})
    assert all(str(n) in filled.steps[0] for n in moved)
    assert ("moved" in filled.steps[0]) == bool(moved)


def test_twenty_residues_are_filled_and_twenty_one_refused(donors):
    assert LONGEST_GAP == 20
    assert len(fill_gaps(model("agonist", (400, 419)), donors).modelled) >= 20
    with pytest.raises(StageError, match="residues 400-420 missing, 21 in a row: at most 20 can be modelled"):
        fill_gaps(model("agonist", (400, 420)), donors)


def test_a_gap_without_models_is_refused():
    with pytest.raises(StageError, match="residue 420 missing and no model to take them from"):
        fill_gaps(model("agonist", (420, 420)), {})


def test_ends_are_added_from_the_model_that_fits(donors):
    filled = fill_gaps(model("antagonist", (306, 309), (545, 550)), donors)
    extend(filled, donors, 306, 550)
    assert numbers(filled.chain) == list(range(306, 551))
    assert filled.modelled == {*range(306, 310), *range(545, 551)}
    assert [step.split(",")[0] for step in filled.steps] == [
        "residues 306-309 not in the crystal", "residues 545-550 not in the crystal",
    ]  # fmt: skip
    before, after = alpha_carbons(model("antagonist")), alpha_carbons(filled.chain)
    assert max(np.linalg.norm(before[n] - after[n]) for n in before) < 0.5


def test_a_users_file_with_a_long_gap_is_refused_in_one_line(tmp_path):
    path = tmp_path / "gapped.pdb"
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(model("antagonist", (455, 480)))
    structure.setup_entities()
    structure.write_pdb(str(path))
    with pytest.raises(InputError) as caught:
        build_receptor(WILD_TYPE, "antagonist", tmp_path / "out", source=path)
    message = str(caught.value)
    assert "residues 455-480 missing, 26 in a row: at most 20 can be modelled" in message
    assert "gapped.pdb" in message and "\n" not in message
    assert not (tmp_path / "out" / "receptor.pdb").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "state"), [("litpcba/5UFX_ant_protein.pdb", "antagonist"), ("1ERR.pdb", "antagonist")]
)
def test_crystals_with_gaps_become_sound_models(file, state, shared_data, tmp_path):
    built = build_receptor(WILD_TYPE, state, tmp_path, source=shared_data / "pdb" / file)
    assert built.quality["problems"] == []
    assert built.quality["helix12"]["state"] == state
    chain = gemmi.read_structure(str(built.pdb))[0][0]
    present = [r.seqid.num for r in chain]
    assert present == list(range(present[0], present[-1] + 1))
