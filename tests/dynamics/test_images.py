"""A jump across the periodic box is undone before any metric sees a frame."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from esr1md.analysis import helix12
from esr1md.analysis.observe import load_frames
from esr1md.dynamics.images import make_whole, whole_positions
from esr1md.dynamics.output import write_pdb
from systems import hydroxytamoxifen_complex

#: A rhombic dodecahedron as OpenMM makes it, nm.
BOX = 8.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])


@pytest.fixture
def replica(tmp_path):
    """A replica's folder with one frame and four jumped copies of it."""
    complex_ = hydroxytamoxifen_complex()
    write_pdb(complex_, complex_.positions, tmp_path / "complex.pdb")
    start = mdtraj.load(str(tmp_path / "complex.pdb"))
    xyz = np.repeat(start.xyz, 5, axis=0)
    atoms = np.arange(start.n_atoms)
    xyz[1][complex_.ligand_atoms] += BOX[0] + BOX[2]
    xyz[2][atoms > 1500] -= BOX[1]
    xyz[3][len(complex_.receptor_atoms) - 40 :] += BOX[2]  # the end of helix 12's tail, and the ligand
    xyz[4] = (np.linalg.solve(BOX.T, xyz[4].T).T % 1) @ BOX  # every atom wrapped by itself
    frames = mdtraj.Trajectory(xyz, start.topology, time=np.arange(5.0))
    frames.unitcell_vectors = np.repeat(BOX[None], 5, axis=0)
    frames.save_xtc(str(tmp_path / "trajectory.xtc"))
    return tmp_path


def test_metrics_do_not_see_a_jump(replica):
    torn = mdtraj.load_xtc(str(replica / "trajectory.xtc"), top=str(replica / "complex.pdb"))
    whole = load_frames(replica)
    pair = [[10, int(hydroxytamoxifen_complex().ligand_atoms[3])]]
    apart = [mdtraj.compute_distances(t, pair, periodic=False)[:, 0] for t in (torn, whole)]
    assert np.ptp(apart[0]) > 1.0, "the frames are torn"
    np.testing.assert_allclose(apart[1], apart[1][0], atol=3e-3)
    helix12.superpose_on_core(whole)
    rmsd = np.array(helix12.helix12_rmsd(whole))
    np.testing.assert_allclose(rmsd, rmsd[:, :1] * np.ones(5), atol=0.05)


def test_the_final_structure_is_whole(replica):
    torn = mdtraj.load_xtc(str(replica / "trajectory.xtc"), top=str(replica / "complex.pdb")).xyz[2]
    start = mdtraj.load(str(replica / "complex.pdb")).xyz[0]
    whole = whole_positions(replica / "complex.pdb", torn, BOX)
    np.testing.assert_allclose(whole - whole[0], start - start[0], atol=3e-3)


def test_frames_without_a_box_stay_as_they_are(replica):
    frame = mdtraj.load(str(replica / "complex.pdb"))
    frame.unitcell_vectors = None
    before = frame.xyz.copy()
    assert np.array_equal(make_whole(frame).xyz, before)
