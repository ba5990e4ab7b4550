"""A user's own ligand in a screen's YAML: what an open stereocentre, a salt and a written charge mean there."""

from __future__ import annotations

import pytest

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.screen.plan import plan_screen

SULFOXIDE = "name: mine, smiles: 'Oc1ccc(CCCS(=O)CC)cc1'"


@pytest.fixture
def plan(tmp_path):
    """Plans a small screen with these ligands; returns the plan."""

    def make(ligands: str, reference: str = ""):
        path = tmp_path / "small.yaml"
        path.write_text(
            f"name: small\nvariants: [WT, Y537S]\nligands: [estradiol, {ligands}]\nprotocol: quick\nreplicas: 1\n"
            f"platform: Reference\n{reference}"
        )
        return plan_screen(load_screen(path), tmp_path / "store")

    return make


def test_an_open_stereocentre_is_refused_and_the_remedy_is_named(plan):
    with pytest.raises(InputError, match=r"small.yaml:3.*undefined stereochemistry.*stereo: enumerate"):
        plan(f"{{{SULFOXIDE}}}")


def test_every_stereoisomer_is_a_ligand_of_its_own_when_asked_for(plan):
    made = plan(f"{{{SULFOXIDE}, stereo: enumerate}}")
    names = {ligand.name for ligand in made.ligands.values()}
    assert names == {"estradiol", "mine (R)", "mine (S)"}
    assert len({job.spec.digest for job in made.jobs}) == len(made.jobs) == 6


def test_one_of_several_stereoisomers_can_be_the_reference(plan):
    made = plan(f"{{{SULFOXIDE}, stereo: enumerate}}", "reference_ligand: {antagonist: mine (R)}\n")
    assert list(made.references.values()) == ["mine (R)"]
    with pytest.raises(InputError, match=r"'mine' is 2 stereoisomers; expected one of mine \("):
        plan(f"{{{SULFOXIDE}, stereo: enumerate}}", "reference_ligand: {antagonist: mine}\n")
    with pytest.raises(InputError, match=r"reference_ligand 'mine \(Q\)' is not a ligand of this screen"):
        plan(f"{{{SULFOXIDE}, stereo: enumerate}}", "reference_ligand: {antagonist: mine (Q)}\n")


def test_a_salt_and_its_base_are_the_same_ligand(plan):
    with pytest.raises(InputError, match="'salt' is the same ligand as 'base'"):
        plan("{name: base, smiles: NCCc1ccc(O)cc1}, {name: salt, smiles: NCCc1ccc(O)cc1.Cl}")


def test_charges_and_tautomers_can_be_kept_as_written(plan):
    ligands = {
        each.name: each
        for each in plan(
            "{name: kept, smiles: NCCc1ccc(O)cc1, protonation: as written}, {name: changed, smiles: NCCc1ccc(O)cc1}"
        ).ligands.values()
    }
    assert (ligands["kept"].formal_charge, ligands["changed"].formal_charge) == (0, 1)


@pytest.mark.parametrize("option", ["stereo: enumerate", "protonation: as written"])
def test_a_catalogued_ligand_takes_no_such_option(option, plan):
    with pytest.raises(InputError, match=r"small.yaml:3.*is given for 'fulvestrant', which has no smiles or sdf"):
        plan(f"{{name: fulvestrant, {option}}}")
