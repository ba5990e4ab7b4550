from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit

from esr1md.analysis import mmgbsa
from esr1md.analysis.mmgbsa import (
    GAS_CONSTANT,
    MMGBSA,
    PROBE_RADIUS_NM,
    SURFACE_TENSION,
    interaction_entropy,
    scorer_of,
    surface_parameters,
)
from esr1md.complex import KCAL, build_complex, charges, gbsa_obc_force, nonbonded_force
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Region, Scoring, load_protocol
from esr1md.dynamics.region import extract, select_region
from esr1md.errors import StageError
from esr1md.receptor.frame import bundled_model
from systems import CPU, apo_complex, hydroxytamoxifen, hydroxytamoxifen_complex


def energy(system: openmm.System, positions: np.ndarray) -> float:
    """kcal/mol on the Reference platform, in double precision."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value / KCAL


def subset(topology: app.Topology, positions: np.ndarray, keep: set[int]) -> tuple[app.Topology, np.ndarray]:
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.delete([atom for atom in topology.atoms() if atom.index not in keep])
    return modeller.topology, np.array(modeller.positions._value)


@pytest.fixture(scope="module")
def independent():
    """Binding terms of the starting frame from three Systems made anew by OpenMM from the force-field files."""
    complex_ = hydroxytamoxifen_complex()
    parameters, _ = hydroxytamoxifen()
    force_field = app.ForceField("amber14/protein.ff14SB.xml", str(parameters.xml))
    terms = {}
    receptor, ligand = set(complex_.receptor_atoms.tolist()), set(complex_.ligand_atoms.tolist())
    for _name, keep, sign in (("complex", receptor | ligand, 1), ("receptor", receptor, -1), ("ligand", ligand, -1)):
        topology, positions = subset(complex_.topology, complex_.positions, keep)
        vacuum = force_field.createSystem(topology, nonbondedMethod=app.NoCutoff)
        solvent = openmm.System()
        for _ in range(vacuum.getNumParticles()):
            solvent.addParticle(1.0)
        solvent.addForce(gbsa_obc_force(topology, charges(nonbonded_force(vacuum)), surface_area=False))
        terms["vacuum"] = terms.get("vacuum", 0.0) + sign * energy(vacuum, positions)
        terms["gb"] = terms.get("gb", 0.0) + sign * energy(solvent, positions)
        surface = openmm.System()
        area = openmm.LCPOForce()
        area.setSurfaceTension(SURFACE_TENSION * KCAL * 100)
        for radius, *parameters in surface_parameters(topology):
            surface.addParticle(1.0)
            area.addParticle(radius + PROBE_RADIUS_NM if radius else 0.0, *parameters)
        surface.addForce(area)
        terms["sasa"] = terms.get("sasa", 0.0) + sign * energy(surface, positions)
    return terms


@pytest.fixture(scope="module")
def scored():
    complex_ = hydroxytamoxifen_complex()
    return MMGBSA(complex_, complex_.solute_atoms, CPU).score(complex_.positions[None])


def test_the_pair_terms_are_the_difference_of_three_vacuum_energies(scored, independent):
    """Bonded terms cancel between complex, receptor and ligand, so the vacuum difference is vdW + Coulomb."""
    assert scored.vdw_kcal[0] + scored.coulomb_kcal[0] == pytest.approx(independent["vacuum"], abs=1e-3)


def test_the_solvation_term_is_the_difference_of_three_gb_energies(scored, independent):
    assert scored.gb_kcal[0] == pytest.approx(independent["gb"], rel=1e-4)


def test_the_surface_term_is_the_difference_of_three_areas(scored, independent):
    assert scored.sasa_kcal[0] == pytest.approx(independent["sasa"], abs=2e-3)


def test_terms_add_up_and_residues_sum_to_the_pair_energy(scored):
    total = scored.vdw_kcal + scored.coulomb_kcal + scored.gb_kcal + scored.sasa_kcal
    np.testing.assert_allclose(scored.binding_kcal, total)
    pair = scored.residue_vdw.sum(axis=1), scored.residue_coulomb.sum(axis=1)
    np.testing.assert_allclose(pair, (scored.vdw_kcal, scored.coulomb_kcal))
    np.testing.assert_allclose(scored.residue_polar.sum(axis=1) + scored.ligand_polar, scored.gb_kcal)


@pytest.mark.parametrize("number", [353, 404, 537])
def test_the_energy_of_a_residue_is_openmms_for_it_and_the_ligand_alone(scored, number):
    complex_ = hydroxytamoxifen_complex()
    scorer = scorer_of(complex_, complex_.solute_atoms, CPU)
    residue = next(r for r in complex_.topology.residues() if r.id == str(number))
    members = [atom.index for atom in residue.atoms()]
    nonbonded = nonbonded_force(complex_.system)

    def pairs(atoms: list[int]) -> float:
        system, force = openmm.System(), openmm.NonbondedForce()
        for i in atoms:
            system.addParticle(1.0)
            force.addParticle(*nonbonded.getParticleParameters(i))
        system.addForce(force)
        return energy(system, complex_.positions[atoms])

    ligand = complex_.ligand_atoms.tolist()
    expected = pairs(members + ligand) - pairs(members) - pairs(ligand)
    row = scorer.residues.tolist().index(residue.index)
    assert scored.residue_vdw[0, row] + scored.residue_coulomb[0, row] == pytest.approx(expected, abs=1e-3)


def test_solvent_screens_residues_that_are_charged_and_far(scored):
    """Of the Coulomb energy of charged residues beyond 15 A nearly nothing is left: 1/78.5 in bulk water."""
    complex_ = hydroxytamoxifen_complex()
    scorer = scorer_of(complex_, complex_.solute_atoms, CPU)
    residues = list(complex_.topology.residues())
    ligand = complex_.positions[complex_.ligand_atoms]
    far = []
    for row, index in enumerate(scorer.residues):
        atoms = [atom.index for atom in residues[index].atoms()]
        distance = np.linalg.norm(complex_.positions[atoms][:, None] - ligand, axis=2).min()
        if distance > 1.5 and residues[index].name in ("ASP", "GLU", "LYS", "ARG"):
            far.append(row)
    assert len(far) > 20
    left = (scored.residue_coulomb + scored.residue_polar)[0, far]
    assert np.abs(left).mean() < 0.06 * np.abs(scored.residue_coulomb[0, far]).mean()


def test_burying_a_drug_costs_polar_solvation_and_gains_surface_and_binds():
    complex_ = hydroxytamoxifen_complex()
    sub = extract(complex_, *select_region(complex_, Region()))
    context = openmm.Context(sub.system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
    context.setPositions(complex_.positions[sub.atoms])
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=40)
    relaxed = context.getState(positions=True).getPositions(asNumpy=True)._value
    scored = MMGBSA(complex_, sub.atoms, CPU).score(relaxed[None])
    assert scored.sasa_kcal[0] < -3 and scored.gb_kcal[0] > 50
    assert -90 < scored.binding_kcal[0] < -30


def test_a_ligand_far_away_binds_with_nothing():
    complex_ = hydroxytamoxifen_complex()
    positions = complex_.positions.copy()
    positions[complex_.ligand_atoms] += [60.0, 0.0, 0.0]
    apart = MMGBSA(complex_, complex_.solute_atoms, CPU).score(positions[None])
    assert abs(apart.vdw_kcal[0]) < 1e-6 and abs(apart.sasa_kcal[0]) < 1e-3
    assert abs(apart.coulomb_kcal[0] + apart.gb_kcal[0]) < 0.2


def test_native_obc2_equals_the_custom_force_of_the_force_field_file():
    complex_ = apo_complex()
    custom = app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml").createSystem(
        complex_.topology, nonbondedMethod=app.NoCutoff
    )
    plain = app.ForceField("amber14/protein.ff14SB.xml").createSystem(complex_.topology, nonbondedMethod=app.NoCutoff)
    expected = energy(custom, complex_.positions) - energy(plain, complex_.positions)
    native = openmm.System()
    for _ in range(plain.getNumParticles()):
        native.addParticle(1.0)
    native.addForce(gbsa_obc_force(complex_.topology, charges(nonbonded_force(plain))))
    assert energy(native, complex_.positions) == pytest.approx(expected, rel=2e-4)


def test_the_region_keeps_differences_between_frames():
    """Scoring the region instead of the whole domain shifts the energy but keeps its changes."""
    complex_ = hydroxytamoxifen_complex()
    atoms, _ = select_region(complex_, Region(mobile_angstrom=4, shell_angstrom=2.5, helix12=(527, 547)))
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(4):
        positions = complex_.positions.copy()
        positions[complex_.ligand_atoms] += rng.normal(0, 0.02, 3)
        frames.append(positions)
    frames = np.array(frames)
    whole = MMGBSA(complex_, complex_.solute_atoms, CPU).score(frames).binding_kcal
    region = MMGBSA(complex_, atoms, CPU).score(frames[:, atoms]).binding_kcal
    assert np.corrcoef(whole, region)[0, 1] > 0.98
    assert np.abs((whole - region) - (whole - region).mean()).max() < 0.7


def test_wrong_frames_are_refused():
    complex_ = hydroxytamoxifen_complex()
    scorer = MMGBSA(complex_, complex_.solute_atoms, CPU)
    with pytest.raises(StageError, match="do not match"):
        scorer.score(complex_.positions[None, :-1])
    torn = complex_.positions[None].copy()
    torn[0, 5, 1] = np.nan
    with pytest.raises(StageError, match="not finite"):
        scorer.score(torn)
    with pytest.raises(StageError, match="no frame to score"):
        scorer.score(complex_.positions[None][:0])


def test_apo_has_no_binding_energy():
    with pytest.raises(StageError, match="apo"):
        MMGBSA(apo_complex(), apo_complex().solute_atoms, CPU)


def test_surface_parameters_cover_a_sulfoxide():
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"))
    symbols = ["C", "S", "O", "C"]
    atoms = [topology.addAtom(f"{s}{i}", app.Element.getBySymbol(s), residue) for i, s in enumerate(symbols)]
    for carbon in (0, 3):
        for i in range(3):
            hydrogen = topology.addAtom(f"H{carbon}{i}", app.element.hydrogen, residue)
            topology.addBond(atoms[carbon], hydrogen)
    for i in (0, 2, 3):
        topology.addBond(atoms[1], atoms[i])
    radii = [p[0] for p in surface_parameters(topology)]
    assert radii[:4] == pytest.approx([0.17, 0.19, 0.16, 0.17]) and set(radii[4:]) == {0.0}


def test_threads_change_nothing():
    complex_ = hydroxytamoxifen_complex()
    atoms, _ = select_region(complex_, Region())
    frames = complex_.positions[atoms] + np.random.default_rng(1).normal(0, 0.005, (4, len(atoms), 3))
    two = PlatformChoice("CPU", {"Threads": "2", "DeterministicForces": "true"}, "test")
    one, other = (MMGBSA(complex_, atoms, platform).score(frames) for platform in (CPU, two))
    np.testing.assert_allclose(one.binding_kcal, other.binding_kcal, atol=1e-3)
    np.testing.assert_array_equal(one.residue_polar, other.residue_polar)


def test_replicas_of_a_cell_share_a_scorer():
    """Each replica builds its complex anew; equal parameters, atoms and settings mean the same scorer."""
    complex_ = hydroxytamoxifen_complex()
    parameters, pose = hydroxytamoxifen()
    again = build_complex(bundled_model("antagonist"), parameters, pose, load_protocol("quick"), seed=2)
    atoms, _ = select_region(complex_, Region())
    scorer = scorer_of(complex_, atoms, CPU)
    assert scorer_of(again, atoms, CPU) is scorer
    assert scorer_of(again, atoms, CPU, model="obc2", solvent_dielectric=80.0) is not scorer
    assert scorer_of(again, atoms[8:], CPU) is not scorer
    nonbonded = nonbonded_force(again.system)
    charge, sigma, epsilon = nonbonded.getParticleParameters(10)
    nonbonded.setParticleParameters(10, charge * 1.01, sigma, epsilon)
    assert scorer_of(again, atoms, CPU) is not scorer
    assert scorer_of(complex_, atoms, CPU) is scorer


def test_no_more_scorers_are_kept_than_wanted(monkeypatch):
    complex_ = hydroxytamoxifen_complex()
    atoms, _ = select_region(complex_, Region(mobile_angstrom=1, shell_angstrom=0.5))
    monkeypatch.setattr(mmgbsa, "_SCORERS_KEPT", 2)
    first = scorer_of(complex_, atoms, CPU, salt_molar=0.1)
    for salt in (0.2, 0.3):
        scorer_of(complex_, atoms, CPU, salt_molar=salt)
    assert len(mmgbsa._scorers) == 2 and scorer_of(complex_, atoms, CPU, salt_molar=0.1) is not first


def test_interaction_entropy_of_two_levels_is_a_hyperbolic_cosine():
    """Half the frames at +a and half at -a: kT ln cosh(a / kT)."""
    thermal = GAS_CONSTANT * 300
    for a in (0.1, 1.0, 400.0):
        entropy, spread = interaction_entropy(np.array([-50 - a, -50 + a] * 20), 300)
        expected = thermal * (a / thermal + np.log1p(np.exp(-2 * a / thermal)) - np.log(2))
        assert entropy == pytest.approx(expected) and spread == pytest.approx(a * (40 / 39) ** 0.5)


def test_interaction_entropy_of_a_narrow_gaussian_is_its_variance_over_two_kt():
    energies = np.random.default_rng(1).normal(-70, 0.5, 20_000)
    assert interaction_entropy(energies, 300)[0] == pytest.approx(0.5**2 / (2 * GAS_CONSTANT * 300), rel=0.03)
    assert interaction_entropy(np.full(5, -70.0), 300) == (0.0, 0.0)
    with pytest.raises(StageError, match="at least two"):
        interaction_entropy(energies[:1], 300)


def test_scoring_settings_that_are_not_used_leave_a_protocols_identity_alone():
    """Replicas that people have were made before these keys; their digest is of the protocol's dump."""
    dumped = load_protocol("quick").model_dump(mode="json")
    assert set(dumped["scoring"]) == {"frames", "receptor", "solute_dielectric", "solvent_dielectric"}
    used = Scoring(model="gbn2", salt_molar=0.15, entropy="interaction", trajectories="three")
    assert Scoring.model_validate(used.model_dump(mode="json")) == used
    assert used.model_dump()["salt_molar"] == 0.15 and used.model_dump()["trajectories"] == "three"


@pytest.mark.parametrize(
    "settings,said",
    [
        ({"trajectories": "three", "receptor": "simulated"}, "needs receptor 'whole'"),
        ({"entropy": "interaction", "frames": 1}, "frames must be at least 2"),
        ({"salt_molar": -0.1}, "greater than or equal to 0"),
        ({"model": "gbn"}, "'obc2' or 'gbn2'"),
    ],
)
def test_scoring_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Scoring(**settings)
