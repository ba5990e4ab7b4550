"""The dimer of the biological assembly."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from openmm import app

from esr1md.errors import InputError
from esr1md.receptor.assembly import _contacts, build_dimer, find_dimer
from esr1md.receptor.frame import CORE, alpha_carbons, bundled_model, model_alpha_carbons, superpose_core
from esr1md.receptor.quality import assess
from esr1md.receptor.relax import FORCE_FIELD
from esr1md.receptor.source import read_source
from esr1md.specs import WILD_TYPE, HelixState, file_digest


@pytest.mark.parametrize(
    ("name", "chains", "words"),
    [("3ERT.pdb", ("A", "A-2"), "given by the authors"), ("1QKU.pdb", ("A", "A-2"), "computed by software"),
     ("5WGD.cif", ("A", "B"), "assembly 1"), ("1ERE.cif", ("A", "B"), "assembly 1"), ("1A52.pdb", ("B", "A"), "")],
)  # fmt: skip
def test_the_dimer_of_each_entry(name, chains, words, shared_data):
    """In one entry both chains are there, in another symmetry makes the second: the same interface."""
    dimer = find_dimer(shared_data / "pdb" / name)
    assert dimer.names == chains and words in dimer.steps[0]
    assert 50 < dimer.contacts < 80
    for chain in dimer.chains:
        assert chain.pocket_ligand is not None  # each copy has its own ligand


def test_the_partner_lies_where_another_crystal_has_it(shared_data):
    """3ERT's second chain is made by symmetry; 5WGD's is in the file. Both dimers are the same body."""
    partners = []
    for name in ("3ERT.pdb", "5WGD.cif"):
        first, second = (alpha_carbons(chain.chain) for chain in find_dimer(shared_data / "pdb" / name).chains)
        rotation, translation, _ = superpose_core(first, model_alpha_carbons(bundled_model("antagonist")))
        partners.append({number: rotation @ position + translation for number, position in second.items()})
    apart = [np.linalg.norm(partners[0][n] - partners[1][n]) for n in CORE if all(n in p for p in partners)]
    assert np.sqrt(np.mean(np.square(apart))) < 2.0


def test_crystal_neighbours_are_not_a_dimer(shared_data):
    """Chains of different dimers of 1ERE touch here and there, and that is not enough."""
    path = shared_data / "pdb" / "1ERE.cif"
    a, b, *others = (read_source(path, name) for name in "ABCDEF")
    assert _contacts(a, b) > 50
    assert all(_contacts(a, other) < 20 for other in others)


def test_files_without_a_dimer_say_why(shared_data, tmp_path):
    with pytest.raises(InputError, match="no biological assembly is recorded"):
        find_dimer(bundled_model("agonist"))
    # one chain of a dimer whose assembly is said to be that chain alone
    structure = gemmi.read_structure(str(shared_data / "pdb" / "3ERT.pdb"))
    text = "\n".join(
        line
        for line in (shared_data / "pdb" / "3ERT.pdb").read_text().splitlines()
        if not (line.startswith("REMARK 350   BIOMT") and line[22:23] == "2")
    )
    path = tmp_path / "monomer.pdb"
    path.write_text(text)
    assert len(structure.assemblies[0].generators[0].operators) == 2
    with pytest.raises(InputError) as caught:
        find_dimer(path)
    assert "no dimer of ER-alpha in this file (assembly 1 has 1 ER-alpha chain)" in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_assembly_of_thousands_of_copies_is_not_made(shared_data, tmp_path):
    lines = (shared_data / "pdb" / "3ERT.pdb").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("REMARK 350   BIOMT3   2"))
    more = [
        f"REMARK 350   BIOMT{row}{number:4d}  1.000000  0.000000  0.000000     {number:10.5f}"
        for number in range(3, 999)
        for row in (1, 2, 3)
    ]
    path = tmp_path / "capsid.pdb"
    path.write_text("\n".join([*lines[: at + 1], *more, *lines[at + 1 :]]))
    with pytest.raises(InputError, match=r"assembly 1 has \d+ parts"):
        find_dimer(path)


def test_a_given_ligand_is_refused(shared_data, tmp_path):
    with pytest.raises(InputError, match="second chain"):
        build_dimer(WILD_TYPE, HelixState.ANTAGONIST, tmp_path, source=shared_data / "pdb" / "3ERT.pdb",
                    ligand=tmp_path / "x.sdf")  # fmt: skip


@pytest.mark.slow
def test_the_dimer_is_two_sound_monomers_that_fit(shared_data, tmp_path):
    source = shared_data / "pdb" / "3ERT.pdb"
    model = build_dimer(WILD_TYPE, HelixState.ANTAGONIST, tmp_path, source=source)
    structure = gemmi.read_structure(str(model.pdb))
    assert [chain.name for chain in structure[0]] == ["A", "B"]
    assert model.source_digest == file_digest(source)
    assert model.quality["problems"] == [] and model.quality == assess(structure, every_chain=True)
    assert [each["state"] for each in model.quality["helix12_by_chain"]] == ["antagonist", "antagonist"]
    assert not any("between the chains" in label for label in model.quality["details"]["severe_clashes"])
    first, second = (alpha_carbons(chain) for chain in structure[0])
    frame = model_alpha_carbons(bundled_model("antagonist"))
    assert np.sqrt(np.mean([np.sum((first[n] - frame[n]) ** 2) for n in CORE])) < 0.6  # chain A is in the frame
    # the two-fold axis of the crystal: turning A onto B and B onto A is the same turn
    one, _, fit = superpose_core(first, second)
    other, _, _ = superpose_core(second, first)
    assert fit < 0.6 and np.allclose(one, other, atol=0.02) and np.trace(one) == pytest.approx(-1, abs=0.02)
    pdb = app.PDBFile(str(model.pdb))
    app.ForceField(FORCE_FIELD).createSystem(pdb.topology)
    waters = gemmi.read_structure(str(tmp_path / "waters.pdb"))[0]["W"]
    assert len(waters) == 2
    for water, chain in zip(waters, structure[0], strict=True):
        acid = min(water["O"][0].pos.dist(chain["353"][0][name][0].pos) for name in ("OE1", "OE2"))
        assert acid < 3.5
    assert {site["chain"] for site in model.protonation["sites"]} == {"A", "B"}
    assert any("relaxed together" in step for step in model.steps)
