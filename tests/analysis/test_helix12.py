from __future__ import annotations

import csv

import gemmi
import mdtraj
import numpy as np
import pytest

from esr1md.analysis import helix12
from esr1md.receptor.frame import CORE, HELIX12, alpha_carbons, bundled_model, helix12_distances, helix12_state


def model(state: str) -> mdtraj.Trajectory:
    return mdtraj.load(str(bundled_model(state)))


@pytest.mark.parametrize("state", ["agonist", "antagonist"])
def test_each_bundled_model_is_in_its_own_state(state):
    trajectory = helix12.superpose_on_core(model(state))
    agonist, antagonist = helix12.helix12_rmsd(trajectory)
    assert helix12.classify(agonist, antagonist)[0] == state
    own, other = (agonist, antagonist) if state == "agonist" else (antagonist, agonist)
    assert own[0] < 0.05 and other[0] > 10


def test_rmsd_equals_mdtraj_after_the_same_superposition():
    trajectory = helix12.superpose_on_core(model("antagonist"))
    agonist = helix12.superpose_on_core(model("agonist"))
    find = helix12.residue_atoms
    ours, _ = helix12.helix12_rmsd(trajectory)
    a, b = (list(find(t.topology, HELIX12, "CA").values()) for t in (trajectory, agonist))
    expected = 10 * mdtraj.rmsd(
        mdtraj.Trajectory(trajectory.xyz[:, a], None), mdtraj.Trajectory(agonist.xyz[:, b], None), precentered=False
    )
    # mdtraj's RMSD superposes helix 12 itself; ours keeps the core's frame and can only be larger.
    assert ours[0] > expected[0]
    direct = 10 * np.sqrt(((trajectory.xyz[0, a] - agonist.xyz[0, b]) ** 2).sum(-1).mean())
    assert ours[0] == pytest.approx(direct, abs=0.01)


def test_superposition_equals_mdtraj_on_the_core_and_undoes_any_rigid_motion():
    moved = model("antagonist")
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    original = moved.xyz.copy()
    moved.xyz = moved.xyz @ rotation.T + np.array([1.0, -2.0, 3.0])
    helix12.superpose_on_core(moved)
    np.testing.assert_allclose(moved.xyz, original, atol=2e-4)
    core = list(helix12.residue_atoms(moved.topology, CORE, "CA").values())
    assert mdtraj.rmsd(moved, model("antagonist"), atom_indices=core)[0] < 1e-3


def test_one_structure_and_one_frame_are_measured_alike():
    """Models are labelled from C-alpha atoms alone, frames from trajectories: the numbers must be the same."""
    trajectory = model("agonist")
    rng = np.random.default_rng(3)
    trajectory.xyz = (trajectory.xyz + rng.normal(scale=0.02, size=trajectory.xyz.shape)).astype(np.float32)
    alphas = {
        r.resSeq: 10 * trajectory.xyz[0, a.index]
        for r in trajectory.topology.residues
        for a in r.atoms
        if a.name == "CA"
    }
    frames = helix12.helix12_rmsd(helix12.superpose_on_core(trajectory))
    assert list(helix12_distances(alphas).values()) == pytest.approx([float(f[0]) for f in frames], abs=1e-2)


def test_a_shift_of_helix_12_is_measured_in_full():
    trajectory = helix12.superpose_on_core(model("antagonist"))
    atoms = list(helix12.residue_atoms(trajectory.topology, HELIX12, "CA").values())
    trajectory.xyz[:, atoms] += np.array([0.2, 0.0, 0.0])
    _, antagonist = helix12.helix12_rmsd(trajectory)
    assert antagonist[0] == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    ("agonist", "antagonist", "expected"),
    [
        (0.5, 11.7, "agonist"),
        (11.7, 0.4, "antagonist"),
        (13.6, 3.7, "displaced"),
        (3.0, 9.0, "agonist"),
        (8, 8, "displaced"),
    ],
)
def test_classification_needs_to_be_near_one_reference(agonist, antagonist, expected):
    assert helix12.classify(np.array([agonist]), np.array([antagonist]))[0] == expected


def test_the_helix_is_helical_and_the_tyrosine_has_its_latches():
    columns = helix12.measure(helix12.superpose_on_core(model("antagonist")))
    assert columns["h12_helicity"][0] > 0.7
    assert columns["latch_537_380_angstrom"][0] < columns["latch_537_351_angstrom"][0]
    agonist = helix12.measure(helix12.superpose_on_core(model("agonist")))
    assert agonist["latch_537_348_angstrom"][0] < columns["latch_537_348_angstrom"][0]


def test_a_residue_without_a_polar_side_chain_has_no_latch(tmp_path):
    text = bundled_model("antagonist").read_text().splitlines()
    kept = [
        line.replace("TYR", "PHE") if line[22:26].strip() == "537" else line
        for line in text
        if not (line[22:26].strip() == "537" and line[12:16].strip() in ("OH", "HH"))
    ]
    path = tmp_path / "y537f.pdb"
    path.write_text("\n".join(line for line in kept if not line.startswith("CONECT")))
    latches = helix12.latches(mdtraj.load(str(path)))
    assert all(np.isnan(values).all() for values in latches.values())


def test_rmsf_of_a_known_oscillation():
    one = model("antagonist")
    trajectory = mdtraj.join([one] * 4)
    atoms = list(helix12.residue_atoms(one.topology, HELIX12, "CA").values())
    for frame, sign in enumerate((1, -1, 1, -1)):
        trajectory.xyz[frame, atoms] += np.array([0.05 * sign, 0, 0])
    assert helix12.rmsf(trajectory, HELIX12) == pytest.approx(0.5, abs=1e-3)
    assert helix12.rmsf(trajectory, CORE[:50]) == pytest.approx(0.0, abs=1e-4)


def crystals(shared_data):
    with open(shared_data / "pdb" / "structures.csv") as handle:
        yield from csv.DictReader(handle)


def test_every_crystal_with_a_helix_12_is_classified_as_our_survey_says(shared_data, tmp_path):
    """All chains of structures.csv, raw: states from C-alpha atoms alone must agree."""
    wrong, seen = [], 0
    for row in crystals(shared_data):
        if row["h12_rmsd_to_3ERT"] == "":
            continue
        chain = gemmi.read_structure(str(shared_data / "pdb" / row["file"]))[0][row["chain"]]
        positions = alpha_carbons(chain)
        state = helix12_state(positions)
        seen += 1
        if state != row["h12_state"].replace("other/displaced", "displaced"):
            wrong.append((row["file"], row["chain"], state, helix12_distances(positions)))
    assert seen > 25
    assert not wrong


def test_helix_12_fills_the_groove_as_an_antagonist_and_leaves_it_as_an_agonist():
    area = {state: helix12.groove_area(model(state))[0] for state in ("agonist", "antagonist")}
    assert area["antagonist"] > 2 * area["agonist"] > 100
    finer = helix12.groove_area(model("antagonist"), points=960)[0]
    assert area["antagonist"] == pytest.approx(finer, rel=0.03)
    apart = model("antagonist")
    helix = [a.index for a in apart.topology.atoms if a.residue.resSeq in helix12.HELIX_RESIDUES]
    apart.xyz[:, helix] += 5.0
    assert helix12.groove_area(apart)[0] == pytest.approx(0, abs=1e-3)


def test_the_charge_clamp_is_the_nearest_pair_of_its_ends_and_absent_when_mutated(tmp_path):
    trajectory = model("agonist")
    atom = {(a.residue.resSeq, a.name): a.index for a in trajectory.topology.atoms}
    ends = [
        np.linalg.norm(trajectory.xyz[0, atom[362, "NZ"]] - trajectory.xyz[0, atom[542, n]]) for n in ("OE1", "OE2")
    ]
    assert helix12.clamp_distance(trajectory)[0] == pytest.approx(10 * min(ends), abs=1e-3)
    text = bundled_model("agonist").read_text().splitlines()
    path = tmp_path / "k362a.pdb"
    path.write_text(
        "\n".join(
            line.replace("LYS", "ALA") if line[22:26].strip() == "362" else line
            for line in text
            if not line.startswith("CONECT") and not (line[22:26].strip() == "362" and line[12:16].strip() == "NZ")
        )
    )
    assert np.isnan(helix12.clamp_distance(mdtraj.load(str(path)))).all()


@pytest.mark.parametrize(
    ("agonist", "antagonist", "margin"),
    [(0.5, 11.7, 2.5), (13.6, 3.7, 0.7), (2.0, 2.4, 0.4), (2.9, 9.0, 0.1), (8.0, 8.0, 5.0)],
)
def test_the_margin_is_the_way_to_another_label(agonist, antagonist, margin):
    one, two = np.array([agonist]), np.array([antagonist])
    assert helix12.state_margin(one, two)[0] == pytest.approx(margin)
    label = helix12.classify(one, two)[0]
    steps = np.linspace(-1, 1, 81)  # nothing nearer than the margin has another label
    a, b = np.meshgrid(agonist + 0.99 * margin * steps, antagonist + 0.0 * steps)
    assert (helix12.classify(a, b) == label).all()


def test_helix_12_that_moves_more_than_the_core_says_so():
    one = helix12.superpose_on_core(model("antagonist"))
    trajectory = mdtraj.join([one] * 4)
    helix = list(helix12.residue_atoms(one.topology, HELIX12, "CA").values())
    core = list(helix12.residue_atoms(one.topology, CORE, "CA").values())
    for frame, sign in enumerate((1, -1, 1, -1)):
        trajectory.xyz[frame, helix] += np.array([0.06 * sign, 0, 0])
        trajectory.xyz[frame, core] += np.array([0, 0.02 * sign, 0])
    found = helix12.fluctuations(trajectory)
    assert found["h12_rmsf_angstrom"] == pytest.approx(0.6, abs=1e-3)
    assert found["h12_core_rmsf_ratio"] == pytest.approx(3.0, rel=1e-2)
    assert np.isnan(helix12.fluctuations(one)["h12_core_rmsf_ratio"])
