"""Our generalised Born against OpenMM's forces, on the Reference platform, in and out of the complex."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app
from openmm.app.internal.customgbforces import GBSAGBn2Force, GBSAOBC2Force

from esr1md.analysis import generalised_born
from esr1md.analysis.generalised_born import GeneralisedBorn, inverse_debye_length
from esr1md.complex import KCAL, charges, gbsa_obc_force, nonbonded_force
from esr1md.errors import StageError
from systems import apo_complex, hydroxytamoxifen_complex

FORCES = {"obc2": GBSAOBC2Force, "gbn2": GBSAGBn2Force}
SETTINGS = [
    pytest.param("obc2", {}, id="obc2"),
    pytest.param("obc2", {"salt_molar": 0.15}, id="obc2, salt"),
    pytest.param("gbn2", {}, id="gbn2"),
    pytest.param(
        "gbn2",
        {"salt_molar": 0.5, "temperature_kelvin": 350, "solute_dielectric": 2.0, "solvent_dielectric": 60.0},
        id="gbn2, salt, other dielectrics",
    ),
]


def energy(force: openmm.Force, positions: np.ndarray, platform: str = "Reference") -> float:
    """kJ/mol."""
    system = openmm.System()
    for _ in positions:
        system.addParticle(1.0)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


@pytest.fixture(scope="module")
def pocket():
    """Charges, positions and atoms of whole residues within 5 A of 4-hydroxytamoxifen; the receptor's come first."""
    complex_ = hydroxytamoxifen_complex()
    residue = np.array([atom.residue.index for atom in complex_.topology.atoms()])
    x = complex_.positions
    nearest = np.linalg.norm(x[:, None] - x[complex_.ligand_atoms], axis=2).min(axis=1)
    atoms = np.flatnonzero(np.isin(residue, residue[nearest < 0.5]))
    charge = charges(nonbonded_force(complex_.system))
    return complex_, charge, atoms, int((~np.isin(atoms, complex_.ligand_atoms)).sum())


def openmm_energy(model: str, settings: dict, complex_, charge, atoms) -> float:
    """OpenMM's custom force of a model over some atoms, kJ/mol."""
    given = {"solute_dielectric": 1.0, "solvent_dielectric": 78.5, "salt_molar": 0.0, "temperature_kelvin": 300.0}
    given |= settings
    force = FORCES[model](
        soluteDielectric=given["solute_dielectric"],
        solventDielectric=given["solvent_dielectric"],
        kappa=inverse_debye_length(given["salt_molar"], given["solvent_dielectric"], given["temperature_kelvin"]),
    )
    standard = np.asarray(FORCES[model].getStandardParameters(complex_.topology))[atoms]
    force.addParticles(np.column_stack([charge[atoms], standard]))
    force.finalize()
    return energy(force, complex_.positions[atoms])


@pytest.mark.parametrize("model,settings", SETTINGS)
def test_energies_of_complex_and_parts_are_openmms(pocket, model, settings):
    complex_, charge, atoms, first = pocket
    ours = GeneralisedBorn(complex_.topology, charge, atoms, first, model=model, **settings)
    total, receptor, ligand = (
        openmm_energy(model, settings, complex_, charge, part) for part in (atoms, atoms[:first], atoms[first:])
    )
    assert ours.energy(complex_.positions[atoms]) == pytest.approx(total, rel=2e-5)
    change = ours.binding(complex_.positions[atoms])
    assert change.sum() / KCAL == pytest.approx((total - receptor - ligand) / KCAL, abs=0.01)
    for part, expected in ((slice(0, first), receptor), (slice(first, None), ligand)):
        alone = GeneralisedBorn(complex_.topology, charge, atoms[part], len(atoms[part]), model=model, **settings)
        assert alone.energy(complex_.positions[atoms[part]]) == pytest.approx(expected, rel=2e-5)


def test_salt_is_screened_as_openmm_does_it():
    """50.33355 sqrt(I / eps T) 7.3, as in openmm.app.AmberPrmtopFile.createSystem; 0.73 over 0.79 nm at 150 mM."""
    assert inverse_debye_length(0.15, 78.5, 300.0) == pytest.approx(50.33355 * (0.15 / 78.5 / 300) ** 0.5 * 7.3)
    assert 0.73 / inverse_debye_length(0.15, 78.5, 300.0) == pytest.approx(0.79, abs=0.01)


def test_the_whole_domain_in_obc2_is_openmms_native_force():
    complex_ = apo_complex()
    charge = charges(nonbonded_force(complex_.system))
    ours = GeneralisedBorn(complex_.topology, charge, complex_.solute_atoms, len(complex_.solute_atoms))
    native = gbsa_obc_force(complex_.topology, charge, surface_area=False)
    assert ours.energy(complex_.positions) == pytest.approx(energy(native, complex_.positions), rel=1e-5)


@pytest.mark.slow
def test_the_whole_domain_in_gbn2_is_the_force_field_files():
    complex_ = apo_complex()
    system = app.ForceField("amber14/protein.ff14SB.xml", "implicit/gbn2.xml").createSystem(
        complex_.topology, nonbondedMethod=app.NoCutoff, sasaMethod=None
    )
    charge = charges(nonbonded_force(system))
    ours = GeneralisedBorn(complex_.topology, charge, complex_.solute_atoms, len(complex_.solute_atoms), model="gbn2")
    force = next(f for f in system.getForces() if isinstance(f, openmm.CustomGBForce))
    expected = energy(
        openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force)), complex_.positions, "CPU"
    )
    assert ours.energy(complex_.positions) == pytest.approx(expected, rel=5e-5)


@pytest.mark.parametrize("model", ["obc2", "gbn2"])
def test_how_pairs_are_grouped_makes_no_difference(pocket, model, monkeypatch):
    """Blocks as on a GPU (all at once) and small ones give the same energies by atom."""
    complex_, charge, atoms, first = pocket
    ours = GeneralisedBorn(complex_.topology, charge, atoms, first, model=model)
    usual = ours.binding(complex_.positions[atoms])
    for pairs in (1, 1 << 24):
        monkeypatch.setattr(generalised_born, "_CPU_PAIRS", pairs)
        monkeypatch.setattr(generalised_born, "_LIST_PAIRS", 999 * pairs)
        np.testing.assert_allclose(ours.binding(complex_.positions[atoms]), usual, atol=2e-3)


def test_where_the_series_begins_makes_no_difference(pocket, monkeypatch):
    complex_, charge, atoms, first = pocket
    usual = GeneralisedBorn(complex_.topology, charge, atoms, first).binding(complex_.positions[atoms])
    monkeypatch.setattr(generalised_born, "_NEAR_RADII", 100.0)  # every pair by the exact integral
    exact = GeneralisedBorn(complex_.topology, charge, atoms, first).binding(complex_.positions[atoms])
    np.testing.assert_allclose(usual, exact, atol=4e-3)
    assert usual.sum() == pytest.approx(exact.sum(), abs=0.02)


def test_moving_and_turning_both_changes_nothing(pocket):
    complex_, charge, atoms, first = pocket
    ours = GeneralisedBorn(complex_.topology, charge, atoms, first)
    x = complex_.positions[atoms]
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    np.testing.assert_allclose(ours.binding(x @ turn + 100.0), ours.binding(x), atol=2e-3)


def test_burying_raises_born_radii_and_far_away_nothing_happens(pocket):
    complex_, charge, atoms, first = pocket
    ours = GeneralisedBorn(complex_.topology, charge, atoms, first)
    x = complex_.positions[atoms].copy()
    together, alone = ours.born_radii(x)
    assert (together >= alone - 1e-6).all() and np.median(together[first:] / alone[first:]) > 1.3
    x[first:] += 500.0
    together, alone = ours.born_radii(x)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_gbn2_refuses_an_element_it_has_no_radius_for():
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"))
    silicon = topology.addAtom("SI1", app.element.silicon, residue)
    carbon = topology.addAtom("C1", app.element.carbon, residue)
    topology.addBond(silicon, carbon)
    with pytest.raises(StageError, match="GBn2 has no parameters for Si .*SI1 of LIG.*obc2"):
        GeneralisedBorn(topology, np.zeros(2), np.arange(2), 2, model="gbn2")
    assert GeneralisedBorn(topology, np.zeros(2), np.arange(2), 2).energy(np.eye(2, 3)) == 0.0
