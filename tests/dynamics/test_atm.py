from __future__ import annotations

import json

import numpy as np
import openmm
import pandas
import pytest
from pydantic import ValidationError
from rdkit import Chem
from rdkit.Chem import AllChem

import transfer_toy as toy
from esr1md.complex import GROUP_RESTRAINT, build_complex
from esr1md.dynamics import checkpoint as checkpoints
from esr1md.dynamics.atm import (
    Transfer,
    displacement,
    parameters,
    price,
    schedule,
    state_energies,
    transfer_system,
)
from esr1md.dynamics.atm_pair import check_ligands, check_protocol, common_frame, pose_on_core, transfer_of, two_ligands
from esr1md.dynamics.atm_run import GROWING, RECORD, SAMPLES, read_samples, sample
from esr1md.dynamics.protocol import load_protocol
from esr1md.dynamics.region import extract
from esr1md.errors import InputError, StageError
from esr1md.ligand.parameters import parametrise
from esr1md.receptor.frame import bundled_model
from esr1md.specs import Ligand
from systems import CPU

SHORT = toy.SETTINGS.model_copy(update={"equilibrate_ps": 0.5, "sample_ps": 2.0})


def ligand(name: str, smiles: str, **more) -> Ligand:
    mol = Chem.MolFromSmiles(smiles)
    return Ligand(name, Chem.MolToSmiles(mol), Chem.MolToInchiKey(mol), Chem.GetFormalCharge(mol), **more)


def molecule(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    return mol


def context(system: openmm.System) -> openmm.Context:
    return openmm.Context(system, openmm.VerletIntegrator(0.001), toy.REFERENCE.platform())


# --- states -----------------------------------------------------------------------------------------------


def test_the_states_are_those_of_the_published_schedule():
    states = schedule(Transfer())
    assert [s.direction for s in states] == [1] * 11 + [-1] * 11
    leg1 = [0, 0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5]
    leg2 = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert [s.lambda1 for s in states] == pytest.approx(leg1 + leg1[::-1])
    assert [s.lambda2 for s in states] == pytest.approx(leg2 + leg2[::-1])


def test_u0_and_u1_are_the_energies_of_a_plain_system_before_and_after_the_exchange():
    system = toy.transfer("A", "B")
    d = system.displacement_nm
    a, b = np.array([0.02, 0.01, -0.03]), np.array([-0.04, 0.02, 0.05])
    here = context(system.system)
    here.setPositions(np.vstack([toy.CAGE, a, b + d]))
    u0, u1 = system.energies(here)
    assert u0 == pytest.approx(toy.energy("AB", a, b + d), abs=1e-6)
    assert u1 == pytest.approx(toy.energy("AB", a + d, b), abs=1e-6)
    assert abs(u1 - u0) > 0.5


@pytest.mark.parametrize("place", [(0, 0, 0), (0.17, 0.13, 0), (0.30, 0, 0), (0.37, 0, 0)], ids=str)
@pytest.mark.parametrize("moved", [0, 1])
def test_energies_in_every_state_are_those_of_the_force(place, moved):
    """Also where an atom lies on another, far into the soft core."""
    system = toy.transfer("B", "C")
    positions = system.positions.copy()
    positions[6 + moved] += place
    here = context(system.system)
    here.setPositions(positions)
    mine = state_energies(*(np.array([u]) for u in system.energies(here)), toy.SETTINGS)[0]
    group = {system.force.getForceGroup()}
    theirs = []
    for state in schedule(toy.SETTINGS):
        for name, value in parameters(state).items():
            here.setParameter(name, value)
        theirs.append(here.getState(energy=True, groups=group).getPotentialEnergy()._value)
    theirs = np.array(theirs)
    # OpenMM's ln(1 + exp(x)) overflows where the state cannot be visited; ours does not
    finite = np.isfinite(theirs)
    assert finite[:4].all() or finite[4:].all()
    shift = theirs[finite] - mine[finite]
    assert shift == pytest.approx(shift[0], rel=1e-9, abs=1e-6)
    assert np.isfinite(mine).all()


def test_atoms_on_each_other_leave_the_other_states_comparable():
    energies = state_energies(np.array([0.0, np.inf]), np.array([np.nan, 5.0]), Transfer())
    assert np.isfinite(energies).all()
    assert energies[0, 0] == 0 and energies[0, -1] > 1e9
    assert energies[1, -1] == 0 and energies[1, 0] > 1e9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"soft_core_to_kcal": 50}, "must be above soft_core_from_kcal 100"),
        ({"sample_ps": 0.5}, "shorter than exchange_ps"),
        ({"states_per_leg": 2}, "greater than or equal to 3"),
        ({"gap_angstrom": 2}, "greater than or equal to 10"),
        ({"states": 5}, "unknown key 'states'"),
        ({"sample_ps": "10 angstrom"}, "is a length"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(changes, message):
    with pytest.raises(ValidationError, match=message):
        Transfer(**changes)


def test_the_price_counts_every_state_of_every_repeat():
    settings = Transfer(states_per_leg=5, equilibrate_ps=100, sample_ps=900)
    hours, text = price(settings, edges=3, repeats=4)
    # 12 x 10 states x 1 ns of 4 fs steps, each two force evaluations of 0.4 ms
    assert hours == pytest.approx(12 * 10 * 250_000 * 2 * 0.4e-3 / 3600)
    assert "3 edges x 4 repeats x 10 states x 1 ns, about 7 GPU hours" in text


# --- restraints -------------------------------------------------------------------------------------------


def frames_system(second: np.ndarray) -> tuple[openmm.Context, np.ndarray]:
    """Two triples of atoms that interact by the alignment alone: its context, and d."""
    first = np.array([[0, 0, 0], [0.2, 0, 0], [0.05, 0.15, 0]])
    system, nonbonded = openmm.System(), openmm.NonbondedForce()
    for _ in range(7):
        system.addParticle(10.0)
        nonbonded.addParticle(0.0, 0.1, 0.0)
    system.addForce(nonbonded)
    positions = np.vstack([first, first, [[0, 0.3, 0]]])
    made = transfer_system(
        toy.Subsystem(system, np.arange(7), np.ones(7, bool)),
        positions,
        first=[0, 1, 2],
        second=[3, 4, 5],
        anchors=[(0, 3), (1, 4), (2, 5)],
        settings=Transfer(align_kcal_per_angstrom2=2, align_orientation_kcal=10),
    )
    here = context(made.system)
    here.setPositions(np.vstack([first, second + made.displacement_nm, positions[6:]]))
    return here, made.displacement_nm


def test_the_alignment_is_a_function_of_place_and_orientation_alone():
    first = np.array([[0, 0, 0], [0.2, 0, 0], [0.05, 0.15, 0]])
    here, d = frames_system(first)

    def kcal(second: np.ndarray) -> float:
        here.setPositions(np.vstack([first, second + d, [[0, 0.3, 0]]]))
        return here.getState(energy=True).getPotentialEnergy()._value / 4.184

    angle = 0.4
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    assert kcal(first) == pytest.approx(0, abs=1e-9)
    assert kcal(first + [0.1, 0, 0]) == pytest.approx(1.0)  # k/2 (1 A)^2
    assert kcal(first @ about_z.T) == pytest.approx(20 * (1 - np.cos(angle)))
    assert kcal(first @ about_x.T) == pytest.approx(10 * (1 - np.cos(angle)))
    # stretched and bent within its own plane, but neither moved nor turned
    assert kcal(np.array([[0, 0, 0], [0.3, 0, 0], [0.15, 0.08, 0]])) == pytest.approx(0, abs=1e-9)


def test_the_restraints_have_forces_where_they_are_zero():
    first = np.array([[0, 0, 0], [0.2, 0, 0], [0.05, 0.15, 0]])
    here, _ = frames_system(first)
    forces = here.getState(forces=True).getForces(asNumpy=True)._value
    assert np.isfinite(forces).all() and np.abs(forces).max() < 1e-6


def test_a_ligand_feels_the_site_beyond_its_distance_only():
    settings = toy.SETTINGS.model_copy(update={"align_kcal_per_angstrom2": 0.0})
    system = toy.transfer("A", "B", settings)
    for atom in (6, 7):
        energies = []
        for out in (0.0, 0.29, 0.31):
            positions = system.positions.copy()
            positions[atom, 1] += out
            here = context(system.system)
            here.setPositions(positions)
            energies.append(here.getState(energy=True, groups={2}).getPotentialEnergy()._value)
        assert energies[:2] == pytest.approx([0, 0], abs=1e-9)
        assert energies[2] == pytest.approx(0.5 * 5 * 418.4 * 0.01**2, rel=0.05)


def test_the_displacement_clears_the_receptor_however_it_turns():
    rng = np.random.default_rng(1)
    receptor = rng.normal(size=(200, 3))
    positions = np.vstack([receptor, [[0.5, 0, 0], [0.6, 0, 0], [0.5, 0.1, 0]]])
    d = displacement(positions, np.array([200]), np.array([201, 202]), 20)
    site = positions[200:].mean(axis=0)
    reach = np.linalg.norm(receptor - site, axis=1).max()
    for ligand_atom in positions[200:]:
        assert np.linalg.norm(ligand_atom + d - site) - reach > 2.0 - 1e-6


# --- which ligands ----------------------------------------------------------------------------------------

PHENOL, CRESOL, FLUOROPHENOL = "Oc1ccccc1", "Cc1ccc(O)cc1", "Oc1ccc(F)cc1"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            ligand("phenol", PHENOL),
            ligand("phenolate", "[O-]c1ccccc1"),
            r"net charges \+0 and -1 differ.*one net charge",
        ),
        (ligand("phenol", PHENOL), ligand("acrylamide", "C=CC(=O)Nc1ccccc1"), "covalent warhead .acrylamide"),
        (ligand("phenol", PHENOL), ligand("x", CRESOL, drug_class="PROTAC"), "degrader.*leave it out"),
    ],
)
def test_pairs_that_would_give_a_wrong_number_are_refused(first, second, message):
    with pytest.raises(InputError, match=message):
        check_ligands(first, second)


def test_a_pair_of_one_charge_is_taken():
    check_ligands(ligand("phenol", PHENOL), ligand("p-cresol", CRESOL))


def test_protocols_in_another_solvent_are_refused():
    check_protocol(load_protocol("quick"))
    with pytest.raises(InputError, match="solvent tip3p .*obc2"):
        check_protocol(load_protocol("explicit"))


@pytest.mark.parametrize(("one", "other"), [(PHENOL, CRESOL), (CRESOL, PHENOL), (CRESOL, FLUOROPHENOL)])
def test_the_core_follows_the_poses_and_not_the_order_of_atoms(one, other):
    """A methyl or a fluorine could lie on the hydroxyl as well; where it lies decides."""
    first, second = molecule(one), molecule(other)
    hydroxyl = Chem.MolFromSmarts("Oc1ccccc1")
    matches = [mol.GetSubstructMatch(hydroxyl) for mol in (first, second)]
    AllChem.AlignMol(second, first, atomMap=list(zip(matches[1], matches[0], strict=True)))
    core = common_frame(first, second)
    assert len(core.pairs) in (7, 8) and core.rmsd_angstrom < 0.2
    assert (matches[0][0], matches[1][0]) in core.pairs
    points = first.GetConformer().GetPositions()[[i for i, _ in core.anchors]]
    assert np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0])) > 1.0


def test_poses_that_lie_apart_are_refused():
    first, second = molecule(PHENOL), molecule(PHENOL)
    conformer = second.GetConformer()
    for i, place in enumerate(conformer.GetPositions() + [4.0, 0, 0]):
        conformer.SetAtomPosition(i, place)
    with pytest.raises(InputError, match="poses of one and two lie 4.0 A apart.*lay two on the pose of one"):
        common_frame(first, second, names=("one", "two"))


def test_ligands_without_a_core_are_refused():
    with pytest.raises(InputError, match="no common core.*six heavy atoms"):
        common_frame(molecule(PHENOL), molecule("CCO"))


def test_a_fluorine_does_not_take_the_place_of_the_hydroxyl(tmp_path):
    reference = molecule(PHENOL)
    with Chem.SDWriter(str(tmp_path / "phenol.sdf")) as writer:
        writer.write(reference)
    made = parametrise(ligand("4-fluorophenol", FLUOROPHENOL), tmp_path / "f")
    path = pose_on_core(made, tmp_path / "phenol.sdf", tmp_path / "pose.sdf")
    posed = next(iter(Chem.SDMolSupplier(str(path), removeHs=False)))
    assert posed.GetProp("atom_names").split() == made.atom_names

    def oxygen(mol):
        place = next(a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() == "O")
        return mol.GetConformer().GetPositions()[place]

    assert np.linalg.norm(oxygen(posed) - oxygen(reference)) < 0.3
    assert common_frame(reference, posed).rmsd_angstrom < 0.2


# --- the system of two real ligands -----------------------------------------------------------------------


@pytest.mark.slow
def test_two_ligands_in_a_receptor_have_the_energies_of_each_alone(tmp_path):
    """u0 is that of the first complex and the second ligand alone, u1 the other way round; bonded terms included."""
    protocol = load_protocol("quick")
    complexes, poses = [], []
    reference = molecule(PHENOL)
    site = build_complex(bundled_model("antagonist"), None, None, protocol).positions
    conformer = reference.GetConformer()
    shift = 10 * site.mean(axis=0) - conformer.GetPositions().mean(axis=0)
    for i, place in enumerate(conformer.GetPositions() + shift):
        conformer.SetAtomPosition(i, place)
    with Chem.SDWriter(str(tmp_path / "at.sdf")) as writer:
        writer.write(reference)
    for name, smiles in (("phenol", PHENOL), ("p-cresol", CRESOL)):
        made = parametrise(ligand(name, smiles), tmp_path / name)
        poses.append(pose_on_core(made, tmp_path / "at.sdf", tmp_path / f"{name}.sdf"))
        complexes.append(build_complex(bundled_model("antagonist"), made, poses[-1], protocol))
    both = two_ligands(*complexes)
    n, first, second = (len(part) for part in (both.receptor_atoms, *(c.ligand_atoms for c in complexes)))
    assert both.topology.getNumAtoms() == len(both.positions) == both.system.getNumParticles() == n + first + second
    host = np.arange(400)

    def cut(complex_, extra):
        atoms = np.concatenate([host, extra])
        return extract(complex_, atoms, np.ones(len(atoms), bool)), complex_.positions[atoms]

    def context_on_cpu(system):
        return openmm.Context(system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)

    def energy(system, positions):
        here = context_on_cpu(system)
        here.setPositions(positions)
        return here.getState(energy=True).getPotentialEnergy()._value, here

    sub, positions = cut(both, both.ligand_atoms)
    start = len(host)
    mols = [next(iter(Chem.SDMolSupplier(str(pose), removeHs=False))) for pose in poses]
    core = common_frame(*mols)
    system = transfer_system(
        sub, positions, first=range(start, start + first), second=range(start + first, start + first + second),
        anchors=[(start + i, start + first + j) for i, j in core.anchors], settings=Transfer(), site=range(10),
    )  # fmt: skip
    inside = [energy(*_plain(cut(c, c.ligand_atoms)))[0] for c in complexes]
    alone = [
        energy(extract(c, c.ligand_atoms, np.ones(k, bool)).system, c.positions[c.ligand_atoms])[0]
        for c, k in zip(complexes, (first, second), strict=True)
    ]
    total, here = energy(system.system, system.positions)
    u0, u1 = system.energies(here)
    bonded_and_restraints = total - u0  # in the first state
    assert u0 + bonded_and_restraints == pytest.approx(inside[0] + alone[1], abs=0.5)
    assert u1 + bonded_and_restraints == pytest.approx(inside[1] + alone[0], abs=0.5)

    # and the whole way from the complexes, in the region that the protocol simulates
    edge = transfer_of(tuple(complexes), tuple(poses), protocol, Transfer())
    assert 600 < edge.system.getNumParticles() < n
    assert (len(edge.first), len(edge.second)) == (first, second)
    here = context_on_cpu(edge.system)
    here.setPositions(edge.positions)
    assert here.getState(energy=True, groups={GROUP_RESTRAINT}).getPotentialEnergy()._value < 5
    away = np.delete(edge.positions, edge.second, axis=0)
    gap = np.linalg.norm(edge.positions[edge.second][:, None] - away[None], axis=2).min()
    assert gap > 2.4


def _plain(cut):
    sub, positions = cut
    return sub.system, positions


# --- sampling ---------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for a kill: nothing after it is written."""


def killed_after(calls: int):
    left = [calls]

    def progress(stage: str, fraction: float) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return progress


def run(folder, transfer=None, **more) -> pandas.DataFrame:
    arguments = toy.DYNAMICS | {"seed": 3, "platform": toy.REFERENCE, "folder": folder} | more
    sample(transfer or toy.transfer("A", "B", SHORT), **arguments)
    return read_samples(folder)


def test_a_run_leaves_a_sample_of_each_state_in_each_iteration_and_a_record(tmp_path):
    seen = []
    table = run(tmp_path / "edge", progress=lambda stage, fraction: seen.append((stage, fraction)))
    assert len(table) == 8 * SHORT.iterations == 64
    for _, rows in table.groupby("iteration"):
        assert sorted(rows["state"]) == sorted(rows["replica"]) == list(range(8))
    assert not (table["state"] == table["replica"]).all()  # exchanges were accepted
    record = json.loads((tmp_path / "edge" / RECORD).read_text())
    assert record["n_states"] == 8 and record["iterations"] == 8 and record["resumed"] == []
    assert Transfer(**record["settings"]) == SHORT
    fractions = [f for _, f in seen]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    assert sorted(p.name for p in (tmp_path / "edge").iterdir()) == [SAMPLES, "system.xml.gz", RECORD]


def test_equal_seeds_give_equal_samples_and_others_do_not(tmp_path):
    one, two, other = (run(tmp_path / name, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    pandas.testing.assert_frame_equal(one, two)
    assert not one["u0_kj"].equals(other["u0_kj"])


@pytest.mark.parametrize("calls", [4, 20, 31], ids=["equilibrating", "an iteration", "another iteration"])
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_happened(tmp_path, calls):
    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", progress=killed_after(calls), checkpoint_s=0)
    assert (tmp_path / "killed" / checkpoints.CURRENT).is_file()
    again = run(tmp_path / "killed")
    pandas.testing.assert_frame_equal(again, whole)
    (resumed,) = json.loads((tmp_path / "killed" / RECORD).read_text())["resumed"]
    assert resumed["exact"]
    assert not list((tmp_path / "killed").glob("checkpoint*")) and not (tmp_path / "killed" / GROWING).exists()


def test_a_run_goes_on_on_another_platform_and_says_so(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, progress=killed_after(20), checkpoint_s=0)
    before = pandas.read_csv(tmp_path / GROWING)
    table = run(tmp_path, platform=CPU)
    assert len(table) == 64
    kept = table.iloc[: len(before) - 1]
    pandas.testing.assert_frame_equal(kept, before.iloc[: len(kept)])
    (resumed,) = json.loads((tmp_path / RECORD).read_text())["resumed"]
    assert not resumed["exact"] and "platform: Reference then, CPU now" in resumed["notes"]


def test_another_edge_is_never_gone_on_with(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, progress=killed_after(20), checkpoint_s=0)
    table = run(tmp_path, transfer=toy.transfer("A", "C", SHORT))
    (resumed,) = json.loads((tmp_path / RECORD).read_text())["resumed"]
    assert "another system" in resumed["notes"][0] and len(table) == 64


def test_a_run_that_blows_up_says_in_which_state(tmp_path):
    with pytest.raises(StageError, match=r"unstable in state \d of 8 .*shorter time step"):
        run(tmp_path, time_step_fs=50_000.0)
    assert not list(tmp_path.glob("checkpoint*"))
