from __future__ import annotations

import numpy as np
import openmm
import pytest

from esr1md.complex import Complex
from esr1md.dynamics.protocol import Region
from esr1md.dynamics.region import POCKET_RESIDUES, extract, select_region, whole
from esr1md.errors import StageError
from systems import CPU, apo_complex, hydroxytamoxifen_complex


def forces(system: openmm.System, positions: np.ndarray) -> np.ndarray:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
    context.setPositions(positions)
    return context.getState(forces=True).getForces(asNumpy=True)._value


def test_region_holds_whole_residues_and_everything_that_should_move():
    complex_ = hydroxytamoxifen_complex()
    atoms, mobile = select_region(complex_, Region())
    every = list(complex_.topology.atoms())
    kept = {every[i].residue for i in atoms}
    assert len(atoms) == sum(len(list(residue.atoms())) for residue in kept)
    moving = {every[i].residue for i, moves in zip(atoms, mobile, strict=True) if moves}
    numbers = {int(r.id) for r in moving if r.chain.id != "L"}
    assert set(POCKET_RESIDUES) | set(range(527, 548)) <= numbers
    assert set(complex_.ligand_atoms) <= set(atoms[mobile])
    assert 0.3 < len(atoms) / complex_.system.getNumParticles() < 0.5


def test_a_region_of_every_atom_has_the_forces_of_the_whole():
    complex_ = apo_complex()
    n = complex_.system.getNumParticles()
    sub = extract(complex_, np.arange(n), np.ones(n, dtype=bool))
    np.testing.assert_allclose(
        forces(sub.system, complex_.positions), forces(complex_.system, complex_.positions), rtol=1e-3, atol=0.5
    )


def test_forces_on_mobile_atoms_are_those_of_the_whole_domain():
    """The truncation is sound if what moves feels nearly the same forces as in the whole domain."""
    complex_ = hydroxytamoxifen_complex()
    atoms, mobile = select_region(complex_, Region(mobile_angstrom=4, shell_angstrom=2.5, helix12=(527, 547)))
    sub = extract(complex_, atoms, mobile)
    inside = forces(sub.system, complex_.positions[atoms])[mobile]
    outside = forces(complex_.system, complex_.positions)[atoms[mobile]]
    error = np.linalg.norm(inside - outside) / np.linalg.norm(outside)
    assert error < 0.15
    ligand = np.isin(atoms[mobile], complex_.ligand_atoms)
    assert np.linalg.norm((inside - outside)[ligand]) / np.linalg.norm(outside[ligand]) < 0.05


def test_fixed_atoms_have_no_mass_and_no_constraint():
    complex_ = hydroxytamoxifen_complex()
    sub = extract(complex_, *select_region(complex_, Region()))
    masses = np.array([sub.system.getParticleMass(i)._value for i in range(len(sub.atoms))])
    assert (masses[~sub.mobile] == 0).all() and (masses[sub.mobile] > 0).all()
    for i in range(sub.system.getNumConstraints()):
        a, b, _ = sub.system.getConstraintParameters(i)
        assert sub.mobile[a] and sub.mobile[b]


def test_a_force_it_does_not_know_is_refused_not_dropped():
    complex_ = apo_complex()
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(complex_.system))
    system.addForce(openmm.CustomExternalForce("x"))
    strange = Complex(complex_.topology, complex_.positions, system, complex_.receptor_atoms, complex_.ligand_atoms)
    with pytest.raises(StageError, match="CustomExternalForce"):
        extract(strange, *select_region(strange, Region()))


def test_whole_is_every_atom_mobile():
    sub = whole(apo_complex())
    assert sub.mobile.all() and len(sub.atoms) == apo_complex().system.getNumParticles()
