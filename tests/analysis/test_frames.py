"""Reading frames: whole, in pieces, and files that are not what they should be."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from esr1md.analysis import frames
from esr1md.analysis.frames import count_frames, load_frames, read_frames
from esr1md.errors import StageError

N_ATOMS, N_FRAMES = 40, 7


@pytest.fixture
def folder(tmp_path):
    """Seven frames of forty atoms."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in range(N_ATOMS // 4):
        residue = topology.add_residue("ALA", chain, resSeq=number + 305)
        for name in ("N", "CA", "C", "O"):
            topology.add_atom(name, mdtraj.element.Element.getBySymbol(name[0]), residue)
    xyz = np.random.default_rng(1).normal(size=(N_FRAMES, N_ATOMS, 3)).astype(np.float32)
    trajectory = mdtraj.Trajectory(xyz, topology, time=np.arange(N_FRAMES) * 2.0)
    trajectory.save_xtc(str(tmp_path / "trajectory.xtc"))
    trajectory[0].save_pdb(str(tmp_path / "complex.pdb"))
    return tmp_path


def test_frames_come_in_order_whatever_the_piece(folder):
    whole = mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    for chunk in (1, 3, 7, 100):
        pieces = list(read_frames(folder, N_ATOMS, chunk))
        assert max(piece.n_frames for piece in pieces) <= chunk
        np.testing.assert_array_equal(np.concatenate([piece.xyz for piece in pieces]), whole.xyz)
        np.testing.assert_array_equal(np.concatenate([piece.time for piece in pieces]), whole.time)
    np.testing.assert_array_equal(load_frames(folder).xyz, whole.xyz)
    assert count_frames(folder / "trajectory.xtc", N_ATOMS) == N_FRAMES


def test_few_atoms_are_counted_too(tmp_path):
    """Up to nine atoms XTC does not pack."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(4):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    mdtraj.Trajectory(np.ones((5, 4, 3), np.float32), topology).save_xtc(str(tmp_path / "few.xtc"))
    assert count_frames(tmp_path / "few.xtc", 4) == 5


@pytest.mark.parametrize("lost", [1, 60, 200])
def test_a_torn_tail_is_named(folder, lost):
    path = folder / "trajectory.xtc"
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(StageError, match="ends within frame 7, 6 frames before it are whole") as caught:
        list(read_frames(folder, N_ATOMS))
    assert str(folder) in str(caught.value)


def test_a_tail_torn_within_a_head_is_named(folder):
    """MDTraj itself reads such a file without a word."""
    path = folder / "trajectory.xtc"
    content = path.read_bytes()
    path.write_bytes(content + content[:6])
    with pytest.raises(StageError, match="ends within frame 8, 7 frames"):
        count_frames(path, N_ATOMS)


def test_what_is_no_trajectory_is_named(folder):
    path = folder / "trajectory.xtc"
    path.write_bytes(b"not a trajectory" * 100)
    with pytest.raises(StageError, match="no frame at byte 0"):
        count_frames(path, N_ATOMS)
    path.write_bytes(b"")
    with pytest.raises(StageError, match="has no frame"):
        count_frames(path, N_ATOMS)
    path.unlink()
    with pytest.raises(StageError, match="cannot be read"):
        count_frames(path, N_ATOMS)


def test_another_number_of_atoms_is_named(folder):
    with pytest.raises(StageError, match="the trajectory has 40 atoms, the complex 41"):
        list(read_frames(folder, N_ATOMS + 1))


def test_a_damaged_head_in_the_middle_is_named(folder):
    path = folder / "trajectory.xtc"
    content = path.read_bytes()
    third = [i for i in range(0, len(content), 4) if content[i : i + 8] == content[:8]][2]
    path.write_bytes(content[:third] + b"\xff" * 4 + content[third + 4 :])
    with pytest.raises(StageError, match=f"no frame at byte {third}"):
        list(read_frames(folder, N_ATOMS))


def test_a_frame_that_cannot_be_unpacked_is_named(folder, monkeypatch):
    def failing(*arguments, **options):
        yield next(iterload(*arguments, **options))
        raise RuntimeError("XTC read error: Compressed 3d coordinate")

    iterload = mdtraj.iterload
    monkeypatch.setattr(frames.mdtraj, "iterload", failing)
    with pytest.raises(StageError, match="cannot be read: frame 4 or one soon after is damaged: XTC read error"):
        list(read_frames(folder, N_ATOMS, 3))


def test_a_coordinate_that_is_not_finite_is_named(folder, monkeypatch):
    """XTC itself cannot hold one, a reader of a damaged file may make one."""

    def damaged(*arguments, **options):
        for piece in iterload(*arguments, **options):
            if piece.time[0] <= 8 <= piece.time[-1]:
                piece.xyz[list(piece.time).index(8), 5, 1] = np.nan
            yield piece

    iterload = mdtraj.iterload
    monkeypatch.setattr(frames.mdtraj, "iterload", damaged)
    with pytest.raises(StageError, match=r"frame 5 of 7 \(at 8 ps\) has a coordinate that is not finite .*306"):
        list(read_frames(folder, N_ATOMS, 3))
