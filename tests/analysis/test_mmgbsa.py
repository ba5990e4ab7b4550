from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit

from esr1md.analysis.mmgbsa import MMGBSA, surface_parameters
from esr1md.complex import KCAL, charges, gbsa_obc_force, nonbonded_force
from esr1md.dynamics.protocol import Region
from esr1md.dynamics.region import extract, select_region
from esr1md.errors import StageError
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
    return terms


@pytest.fixture(scope="module")
def scored():
    complex_ = hydroxytamoxifen_complex()
    return MMGBSA(complex_, complex_.solute_atoms, CPU).score(complex_.positions[None])


def test_the_pair_terms_are_the_difference_of_three_vacuum_energies(scored, independent):
    """Bonded terms cancel between complex, receptor and ligand, so the vacuum difference is vdW + Coulomb."""
    assert scored.vdw_kcal[0] + scored.coulomb_kcal[0] == pytest.approx(independent["vacuum"], abs=1e-3)


def test_the_solvation_term_is_the_difference_of_three_gb_energies(scored, independent):
    assert scored.gb_kcal[0] == pytest.approx(independent["gb"], abs=0.02)


def test_terms_add_up_and_residues_sum_to_the_pair_energy(scored):
    total = scored.vdw_kcal + scored.coulomb_kcal + scored.gb_kcal + scored.sasa_kcal
    np.testing.assert_allclose(scored.binding_kcal, total)
    np.testing.assert_allclose(scored.residue_vdw.sum(axis=1) + scored.residue_coulomb.sum(axis=1), scored.vdw_kcal + scored.coulomb_kcal)


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
