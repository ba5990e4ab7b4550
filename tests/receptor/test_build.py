"""Building variants from the bundled models and from users' files."""

from __future__ import annotations

import itertools
import json

import gemmi
import mdtraj
import numpy as np
import pytest
import yaml
from openmm import app

from esr1md import cli
from esr1md.analysis import helix12
from esr1md.catalogue import data_path
from esr1md.errors import InputError, StageError
from esr1md.receptor.build import ReceptorModel, build_receptor, check_buildable, source_digest
from esr1md.receptor.bundled import BUNDLED
from esr1md.receptor.frame import (
    CORE,
    HELIX12,
    alpha_carbons,
    bundled_model,
    helix12_distances,
    helix12_state,
    model_alpha_carbons,
)
from esr1md.receptor.regenerate import regenerate_models
from esr1md.receptor.relax import FORCE_FIELD
from esr1md.receptor.sequence import THREE_LETTER, parse_variant, wild_type_residue
from esr1md.receptor.variants import variant_entries
from esr1md.specs import WILD_TYPE, HelixState, file_digest

STATES = list(HelixState)


def atoms(pdb) -> dict[tuple[int, str], np.ndarray]:
    chain = gemmi.read_structure(str(pdb))[0][0]
    return {(r.seqid.num, a.name): np.array(a.pos.tolist()) for r in chain for a in r}


@pytest.mark.parametrize("state", STATES)
def test_wild_type_is_the_bundled_model(state, tmp_path):
    model = build_receptor(WILD_TYPE, state, tmp_path)
    assert model.pdb.read_bytes() == bundled_model(state).read_bytes()
    assert model.source_digest == source_digest(state) == file_digest(bundled_model(state))
    assert json.loads((tmp_path / "quality.json").read_text()) == model.quality


@pytest.mark.parametrize("state", STATES)
def test_bundled_model_is_complete_and_numbered_as_p03372(state):
    chain = gemmi.read_structure(str(bundled_model(state)))[0][0]
    assert chain.name == "A"
    assert [(r.name, r.seqid.num) for r in (chain[0], chain[-1])] == [("ACE", 305), ("NME", 551)]
    for residue, number in zip(list(chain)[1:-1], range(306, 551), strict=True):
        assert (residue.name, residue.seqid.num) == (THREE_LETTER[wild_type_residue(number)], number)
    record = yaml.safe_load((data_path("structures") / "receptors.yaml").read_text())["models"][str(state)]
    assert record["sha256"] == file_digest(bundled_model(state))


def test_the_models_share_atoms_and_frame_but_not_helix_12():
    models = [atoms(bundled_model(state)) for state in STATES]
    heavy = [{key for key in found if not key[1].startswith("H")} for found in models]
    assert heavy[0] == heavy[1] == heavy[2]
    for one, other in itertools.combinations(models, 2):
        core = [np.linalg.norm(one[n, "CA"] - other[n, "CA"]) for n in CORE]
        assert np.sqrt(np.mean(np.square(core))) < 1.0
        helix = [np.linalg.norm(one[n, "CA"] - other[n, "CA"]) for n in HELIX12]
        assert np.sqrt(np.mean(np.square(helix))) > 3.0
    distances = helix12_distances(model_alpha_carbons(bundled_model("agonist")))
    assert distances["agonist"] < 0.05 and distances["antagonist"] > 8


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ["Y537S", "E380Q", "S463P", "F404L+D538G", "G400V"])
def test_mutants_are_the_variant_sound_and_local(name, state, tmp_path):
    variant = parse_variant(name)
    model = build_receptor(variant, state, tmp_path)
    before, after = atoms(bundled_model(state)), atoms(model.pdb)
    chain = gemmi.read_structure(str(model.pdb))[0][0]
    for mutation in variant.mutations:
        assert chain[str(mutation.position)][0].name == THREE_LETTER[mutation.mutant]
    wild_quality = build_receptor(WILD_TYPE, state, tmp_path / "wild").quality
    assert set(model.quality["details"]["clashes"]) <= set(wild_quality["details"]["clashes"])
    # whatever is farther than 25 A from the mutations keeps its coordinates to the last digit
    centres = [before[m.position, "CA"] for m in variant.mutations]
    moved = {key for key in before.keys() & after.keys() if np.any(before[key] != after[key])}
    assert moved
    assert all(min(np.linalg.norm(before[key] - c) for c in centres) < 25 for key in moved)
    # every template matches, so a System can be made
    pdb = app.PDBFile(str(model.pdb))
    assert pdb.topology.getPeriodicBoxVectors() is None
    system = app.ForceField(FORCE_FIELD).createSystem(pdb.topology)
    assert system.getNumParticles() == len(after)


@pytest.mark.parametrize("name", ["F404V", pytest.param("Y537S", marks=pytest.mark.slow)])
def test_a_mutant_is_built_the_same_twice(name, tmp_path):
    first, second = (
        build_receptor(parse_variant(name), HelixState.AGONIST, tmp_path / folder).pdb.read_bytes()
        for folder in ("one", "two")
    )
    assert first == second


@pytest.mark.parametrize(
    ("state", "partner", "ends", "limit"),
    [("agonist", 351, ("OD1", "OD2"), 3.3), ("antagonist", 380, ("OE1", "OE2"), 5.0)],
)
def test_y537s_starts_beside_its_published_partner(state, partner, ends, limit, tmp_path):
    """S537 bonds D351 without antagonist (2B23) and E380 with one (Hosfield 2022).

    In the agonist state helix 12 lies as in the crystals of Y537S, and the bond is there. In the antagonist state no
    crystal of Y537S is bundled; the wild type's backbone leaves 4.4 A, which the simulation has to close.
    """
    after = atoms(build_receptor(parse_variant("Y537S"), HelixState(state), tmp_path).pdb)
    assert min(np.linalg.norm(after[537, "OG"] - after[partner, name]) for name in ends) < limit


def test_record_survives_json_and_a_moved_folder(tmp_path):
    model = build_receptor(parse_variant("D538G"), HelixState.AGONIST, tmp_path / "made")
    text = json.dumps(model.to_json())
    (tmp_path / "made").rename(tmp_path / "kept")
    back = ReceptorModel.from_json(json.loads(text), tmp_path / "kept")
    assert back.pdb.is_file()
    assert (back.variant, back.state, back.quality, back.steps) == (
        model.variant, model.state, model.quality, model.steps
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("L540del", "L540del cannot be built: it deletes a residue of helix 12"),
        ("L387del", "L387del cannot be built: it deletes a residue of helix 12, of the pocket"),
        ("A307del", "A307del cannot be built"),
        ("S305A", "S305A is outside the receptor models; expected a position from 306 to 550"),
    ],
)
def test_variants_that_cannot_be_built_are_refused_before_any_work(name, message, tmp_path):
    with pytest.raises(InputError) as caught:
        build_receptor(parse_variant(name), HelixState.AGONIST, tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("state", STATES)
def test_each_model_measures_as_its_label(state, tmp_path):
    """With the code that scores simulations; the record keeps the measurement."""
    assert helix12_state(model_alpha_carbons(bundled_model(state))) == state
    model = build_receptor(WILD_TYPE, state, tmp_path)
    assert model.quality["helix12"]["state"] == state and model.quality["problems"] == []
    trajectory = helix12.superpose_on_core(mdtraj.load(str(model.pdb)))
    assert helix12.measure(trajectory)["h12_state"][0] == state


def test_a_model_whose_helix_12_is_not_where_its_label_says_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("esr1md.receptor.build.bundled_model", lambda state: bundled_model("antagonist"))
    with pytest.raises(StageError, match="helix 12 is in the antagonist state, not the displaced one"):
        build_receptor(WILD_TYPE, HelixState.DISPLACED, tmp_path)


def test_the_record_of_the_displaced_model_says_what_is_modelled():
    record = yaml.safe_load((data_path("structures") / "receptors.yaml").read_text())["models"]["displaced"]
    steps = "; ".join(record["steps"])
    for gap in ("330-337", "412-417", "458-473", "527-528", "306-308", "545-550"):
        assert f"residues {gap} " in steps
    for reverted in ("S381C", "S530C"):
        assert reverted in steps
    assert record["quality"]["details"]["ramachandran_outliers"] == []


ALTERNATIVES = sorted(set(BUNDLED) - {str(state) for state in HelixState})


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_an_alternative_model_is_in_the_state_it_says(name, tmp_path):
    bundled = BUNDLED[name]
    model = build_receptor(parse_variant(bundled.variant), bundled.state, tmp_path, source=bundled_model(name))
    assert model.pdb.read_bytes() == bundled_model(name).read_bytes() and model.quality["problems"] == []
    assert helix12_state(alpha_carbons(gemmi.read_structure(str(model.pdb))[0][0])) == bundled.state
    assert name in model.source and model.source_digest != source_digest(bundled.state)
    record = yaml.safe_load((data_path("structures") / "receptors.yaml").read_text())["models"][name]
    assert record["sha256"] == model.source_digest and record["quality"]["problems"] == []


#: Variant, start, what must not be taken from, and the model whose H11-H12 loop and helix 12 the result has.
FROM_CRYSTALS = [
    ("Y537S", "agonist", (), "agonist-5WGD"),
    ("Y537S", "agonist", ("agonist-5WGD",), "agonist-2P15"),
    ("WT", "agonist-5WGD", (), "agonist"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "start", "without", "donor"), FROM_CRYSTALS)
def test_helix_12_comes_from_a_crystal_of_the_same_residues(variant, start, without, donor, tmp_path):
    """Serine 537 moves helix 12 by an angstrom: the model follows the crystal, the rest stays as it was."""
    model = build_receptor(
        parse_variant(variant), HelixState.AGONIST, tmp_path, source=bundled_model(start), without=without
    )
    assert model.quality["problems"] == []
    assert any(f"residues 528-547 as in the {donor} model" in step for step in model.steps)
    ours, parent, theirs = (atoms(path) for path in (model.pdb, bundled_model(start), bundled_model(donor)))
    assert ((537, "OH") in ours) == (variant == "WT")
    far = [key for key in parent if np.linalg.norm(parent[key] - parent[537, "CA"]) > 28.0]
    assert len(far) > 500 and max(np.linalg.norm(ours[key] - parent[key]) for key in far) < 0.01
    loop = [(n, "CA") for n in range(530, 545)]

    def apart(other):
        return np.sqrt(np.mean([np.sum((ours[key] - other[key]) ** 2) for key in loop]))

    assert apart(theirs) < 1.1 < apart(parent), "near, but for how the cores differ"


def test_without_a_crystal_of_the_residues_helix_12_stays(tmp_path):
    bundled = {f"agonist-{entry}" for entry in ("2P15", "5WGD")}
    for variant in ("Y537N", "E380Q"):
        steps = build_receptor(parse_variant(variant), HelixState.AGONIST, tmp_path).steps
        assert not any("as in the" in step for step in steps)
    steps = build_receptor(parse_variant("Y537S"), HelixState.AGONIST, tmp_path, without=bundled).steps
    assert not any("as in the" in step for step in steps) and any(step.startswith("Y537S") for step in steps)


def test_a_file_in_the_other_state_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        build_receptor(WILD_TYPE, HelixState.AGONIST, tmp_path, source=bundled_model("antagonist"))
    assert "helix 12 is in the antagonist state" in str(caught.value)
    assert "antagonist.pdb" in str(caught.value)


def test_a_file_without_helix_12_is_refused(tmp_path):
    path = tmp_path / "short.pdb"
    lines = bundled_model("agonist").read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("ATOM") or int(line[22:26]) < 535))
    with pytest.raises(InputError, match=r"helix 12 \(residues 537-544\) is not complete"):
        build_receptor(WILD_TYPE, HelixState.AGONIST, tmp_path, source=path)


def test_every_catalogued_variant_is_buildable_or_says_why():
    entries = variant_entries()
    assert entries[0].name == "WT" and len({entry.name for entry in entries}) == len(entries)
    assert {entry.name for entry in entries if not entry.buildable} == {"K303R"}
    for entry in entries:
        assert entry.confidence in ("high", "medium", "low")
        if entry.buildable:
            assert entry.variant().name == entry.name
            check_buildable(entry.variant())
        else:
            with pytest.raises(InputError):
                check_buildable(entry.variant())
        for row in entry.frequencies:
            assert row.source and (row.value or row.context)


def test_the_catalogue_has_every_mutation_of_the_reference_table(shared_data):
    import csv

    with open(shared_data / "reference" / "mutations.csv", newline="") as handle:
        named = {row["mutation"] for row in csv.DictReader(handle)}
    named -= {"KIT", "polyclonal (any)"}  # a test kit and a remark, not mutations
    ours = {frozenset(entry.name.split("+")) for entry in variant_entries()}
    # L536S is known from crystals
    assert {frozenset(name.split("+")) for name in named} == ours - {frozenset(["WT"]), frozenset(["L536S"])}


@pytest.mark.slow
def test_a_users_crystal_with_a_gap_and_a_mutation_becomes_the_variant(shared_data, tmp_path):
    model = build_receptor(
        parse_variant("D538G"), HelixState.AGONIST, tmp_path, source=shared_data / "pdb" / "5WGD.cif"
    )
    chain = gemmi.read_structure(str(model.pdb))[0][0]
    assert [chain[str(n)][0].name for n in (537, 538)] == ["TYR", "GLY"]
    filled = [step for step in model.steps if step.startswith("residues 461-472")]
    assert len(filled) == 1 and ("taken from" in filled[0] or "built by" in filled[0])
    assert any("as in the agonist model" in step for step in model.steps), "tyrosine 537 as the wild type has it"
    assert any(step.startswith("HIS524 HIE") and "the ligand's hydroxyl" in step for step in model.steps)
    assert model.quality["problems"] == []


#: What no crystal shows in the bundled models, and residues changed back, whose surroundings are chosen anew.
NOT_SEEN = {
    "antagonist": {306},
    "agonist": set(),
    "antagonist-1XPC": {306},
    "agonist-5WGD": {306, 307, *range(461, 473), *range(548, 551)},
    "agonist-2P15": {*range(332, 335), 550},
    "displaced": {*range(306, 309), *range(330, 338), 381, *range(412, 418), *range(458, 474),
                           *range(527, 532), *range(545, 551)},
}  # fmt: skip


@pytest.mark.slow
def test_models_regenerate_from_the_crystals(shared_data, tmp_path):
    """What a crystal shows comes out the same; what none shows is complete and joined, wherever it settles."""
    regenerate_models(shared_data / "pdb", tmp_path)
    for name in BUNDLED:
        ours, again = atoms(bundled_model(name)), atoms(tmp_path / "models" / f"{name}.pdb")
        assert ours.keys() == again.keys()
        free = {number for seen in NOT_SEEN[name] for number in range(seen - 4, seen + 5)} | {305, 551}
        apart = {key: np.linalg.norm(ours[key] - again[key])
                 for key in ours if not key[1].startswith("H") and key[0] not in free}  # fmt: skip
        assert len({number for number, _ in apart}) > 140
        assert max(value for key, value in apart.items() if key[1] in ("N", "CA", "C", "O")) < 0.3
        assert np.sqrt(np.mean(np.square(list(apart.values())))) < 0.3
        joined = [np.linalg.norm(again[number, "C"] - again[number + 1, "N"]) for number in range(306, 550)]
        assert 1.2 < min(joined) and max(joined) < 1.5


def test_regeneration_says_which_entry_is_missing(tmp_path, capsys):
    assert cli.main(["receptors", "build", "--regenerate", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "3ERT.pdb: no such structure file" in capsys.readouterr().err
