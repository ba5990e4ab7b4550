"""Contacts on a small made-up geometry, where every distance and angle is known."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from esr1md.analysis import contacts


def scene(oxygen_x: float, hydrogen=(0.1, 0.0, 0.0), nitrogen=(-0.4, 0.0, 0.0), carbon=(0.0, 0.6, 0.0)):
    """Ligand O-H at the origin and a charged N; GLU353 carboxylate at ``oxygen_x``, ASP351, LEU346 (nm)."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    xyz = []

    def add(residue, name, element, position):
        atom = topology.add_atom(name, mdtraj.element.get_by_symbol(element), residue)
        xyz.append(position)
        return atom

    glu = topology.add_residue("GLU", chain, 353)
    add(glu, "OE1", "O", (oxygen_x, 0, 0))
    add(glu, "OE2", "O", (oxygen_x + 0.2, 0.1, 0))
    asp = topology.add_residue("ASP", chain, 351)
    add(asp, "OD1", "O", (-0.7, 0, 0))
    leu = topology.add_residue("LEU", chain, 346)
    add(leu, "CD1", "C", (0, 0.95, 0))
    ligand = topology.add_residue("LIG", topology.add_chain(), 1)
    oxygen = add(ligand, "O1", "O", (0, 0, 0))
    hydrogen_atom = add(ligand, "H1", "H", hydrogen)
    add(ligand, "N1", "N", nitrogen)
    add(ligand, "C1", "C", carbon)
    topology.add_bond(oxygen, hydrogen_atom)
    return mdtraj.Trajectory(np.array([xyz]), topology)


def fingerprint(trajectory):
    nitrogen = next(a.index for a in trajectory.topology.atoms if a.name == "N1")
    return contacts.fingerprint(trajectory, {nitrogen: 1})


def test_a_straight_hydrogen_bond_a_salt_bridge_and_a_hydrophobic_contact():
    found = fingerprint(scene(0.27))
    assert found["GLU353"] == {"hydrogen bond": 1.0}
    assert found["ASP351"] == {"salt bridge": 1.0}
    assert found["LEU346"] == {"hydrophobic": 1.0}


def test_too_long_or_bent_is_no_hydrogen_bond():
    assert "GLU353" not in fingerprint(scene(0.40))
    assert "GLU353" not in fingerprint(scene(0.27, hydrogen=(-0.05, 0.08, 0.0)))


def test_fractions_count_frames():
    both = mdtraj.join([scene(0.27), scene(0.27), scene(0.27), scene(0.40)])
    assert fingerprint(both)["GLU353"]["hydrogen bond"] == 0.75


def test_anchors_and_the_salt_bridge_distance():
    trajectory = scene(0.27)
    assert contacts.anchors(trajectory)["anchor_e353_angstrom"][0] == pytest.approx(2.7, abs=1e-3)
    assert np.isnan(contacts.anchors(trajectory)["anchor_h524_angstrom"]).all()
    nitrogen = [a.index for a in trajectory.topology.atoms if a.name == "N1"]
    assert contacts.basic_nitrogen_to_d351(trajectory, nitrogen)[0] == pytest.approx(3.0, abs=1e-3)
    assert np.isnan(contacts.basic_nitrogen_to_d351(trajectory, [])).all()


def test_apo_has_no_contacts():
    trajectory = scene(0.27)
    apo = trajectory.atom_slice([a.index for a in trajectory.topology.atoms if a.residue.name != "LIG"])
    assert contacts.fingerprint(apo, {}) == {}
