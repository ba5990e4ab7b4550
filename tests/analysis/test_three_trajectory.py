"""Free energies of complex, apo receptor and free ligand, each from a System of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import openmm
import pytest
from openmm import app

from esr1md.analysis.mmgbsa import MMGBSA
from esr1md.analysis.three_trajectory import SoluteFreeEnergy, three_trajectory_binding, vacuum_system
from esr1md.complex import Complex, build_complex, ligand_topology
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import load_protocol
from esr1md.errors import StageError
from esr1md.receptor.frame import bundled_model
from systems import CPU, apo_complex, hydroxytamoxifen, hydroxytamoxifen_complex

REFERENCE = PlatformChoice("Reference", {}, "test")


@pytest.fixture(scope="module")
def parts() -> tuple[Complex, Complex, Complex]:
    """Complex, apo receptor and free ligand, parametrised apart from each other, in the complex's coordinates."""
    complex_ = hydroxytamoxifen_complex()
    apo = build_complex(bundled_model("antagonist"), None, None, load_protocol("quick"))
    parameters, pose = hydroxytamoxifen()
    topology, positions = ligand_topology(pose)
    system = app.ForceField(str(parameters.xml)).createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds
    )
    x = np.array(positions._value) if hasattr(positions, "_value") else np.array(positions)
    nothing = np.arange(0)
    return complex_, apo, Complex(topology, x, system, nothing, np.arange(len(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"model": "gbn2", "salt_molar": 0.15, "solute_dielectric": 2.0}],
    ids=["obc2", "gbn2, salt, dielectric 2"],
)
def test_three_totals_of_the_same_coordinates_are_the_single_trajectory(parts, settings):
    complex_, apo, ligand = parts
    shaken = complex_.positions + np.random.default_rng(1).normal(0, 0.002, complex_.positions.shape)
    frames = shaken[None]
    binding = MMGBSA(complex_, complex_.solute_atoms, REFERENCE, **settings).score(frames)
    whole, receptor, free = (
        SoluteFreeEnergy(part, REFERENCE, **settings).score(frames[:, atoms])
        for part, atoms in (
            (complex_, complex_.solute_atoms),
            (apo, complex_.receptor_atoms),
            (ligand, complex_.ligand_atoms),
        )
    )
    for split, single in (
        ("vacuum_kcal", binding.interaction_kcal),
        ("gb_kcal", binding.gb_kcal),
        ("sasa_kcal", binding.sasa_kcal),
        ("total_kcal", binding.binding_kcal),
    ):
        difference = getattr(whole, split) - getattr(receptor, split) - getattr(free, split)
        np.testing.assert_allclose(difference, single, atol=0.03, err_msg=split)
    result = three_trajectory_binding([whole.total_kcal], [receptor.total_kcal], [free.total_kcal])
    assert result.binding_kcal == pytest.approx(binding.binding_kcal.mean(), abs=0.03) and np.isnan(result.error_kcal)


def test_the_vacuum_energy_is_the_force_fields_with_its_bonded_terms():
    complex_ = apo_complex()
    plain = app.ForceField("amber14/protein.ff14SB.xml").createSystem(
        complex_.topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds
    )
    energies = []
    for system in (plain, vacuum_system(complex_)):
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
        context.setPositions(complex_.positions)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert energies[1] == pytest.approx(energies[0], abs=0.5)


def test_maps_of_amber19_are_kept_and_unknown_forces_refused():
    protocol = load_protocol("standard").model_dump(mode="json") | {"protein": "amber19SB"}
    complex_ = build_complex(bundled_model("antagonist"), None, None, load_protocol("quick").model_validate(protocol))
    maps = [f for f in vacuum_system(complex_).getForces() if isinstance(f, openmm.CMAPTorsionForce)]
    assert len(maps) == 1 and maps[0].getNumTorsions() > 200
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    system.addForce(openmm.GayBerneForce())
    with pytest.raises(StageError, match="GayBerneForce"):
        vacuum_system(dataclasses.replace(complex_, system=system, receptor_atoms=np.arange(2)))


def test_replicas_are_the_unit():
    complex_ = [np.array([10.0, 12.0]), np.array([13.0]), np.array([12.0, 12.0, 12.0])]
    receptor, ligand = [np.array([30.0]), np.array([32.0])], [np.array([-5.0]), np.array([-5.0])]
    result = three_trajectory_binding(complex_, receptor, ligand)
    assert result.binding_kcal == pytest.approx(12 - 31 + 5)
    assert result.error_kcal == pytest.approx((1 / 3 + 2 / 2 + 0) ** 0.5)


def test_replicas_without_frames_are_refused():
    some = [np.array([1.0])]
    with pytest.raises(StageError, match="frames of the receptor"):
        three_trajectory_binding(some, [], some)
    with pytest.raises(StageError, match="frames of the ligand"):
        three_trajectory_binding(some, some, [np.array([])])
