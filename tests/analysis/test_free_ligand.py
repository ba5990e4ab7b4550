"""Three trajectories end to end: the free ligand's own simulation, and a binding energy from the three."""

from __future__ import annotations

import numpy as np
import pytest

from esr1md.analysis.frames import read_frames
from esr1md.analysis.three_trajectory import SoluteFreeEnergy, free_ligand_protocol, observe_free_ligand
from esr1md.complex import build_complex
from esr1md.dynamics.protocol import load_protocol
from esr1md.dynamics.run import simulate
from esr1md.scoring.cells import BINDING, FREE_LIGAND, SOLUTE, ReplicaObservation, matrix
from systems import CPU, hydroxytamoxifen, tiny_protocol


def test_a_protocol_for_the_free_ligand_has_nothing_of_the_receptor():
    production = load_protocol("production")
    assert any(getattr(stage, "restrain", None) for stage in production.stages)
    alone = free_ligand_protocol(load_protocol("quick"))
    assert alone.region is None and load_protocol("quick").region is not None
    assert not any(getattr(stage, "restrain", None) for stage in free_ligand_protocol(production).stages)
    assert free_ligand_protocol(production).dynamics_ps == production.dynamics_ps
    driven = free_ligand_protocol(load_protocol("helix12-metadynamics"))
    assert driven.production.helix12_bias is None


def test_the_free_ligand_is_simulated_and_its_energy_is_that_of_its_frames(tmp_path):
    parameters, _ = hydroxytamoxifen()
    protocol = tiny_protocol(scoring={"frames": 2, "trajectories": "three"})
    alone = free_ligand_protocol(protocol)
    free = build_complex(None, parameters, parameters.sdf, alone)
    assert len(free.receptor_atoms) == 0 and len(free.ligand_atoms) == len(parameters.charges)
    simulate(free, alone, seed=1, platform=CPU, folder=tmp_path)
    value = observe_free_ligand(tmp_path, free, protocol, CPU)
    xyz = np.concatenate([frames.xyz for frames in read_frames(tmp_path, len(parameters.charges))])
    expected = SoluteFreeEnergy(free, CPU).score(xyz[[0, -1]]).total_kcal.mean()
    assert value == pytest.approx(expected, abs=1e-6)


def observed(ligand: str, seed: int, **summary: float) -> ReplicaObservation:
    return ReplicaObservation(f"{ligand}{seed}", "WT", ligand, "antagonist", seed, summary)


def test_binding_is_complex_less_apo_less_ligand_of_the_same_seed():
    cells = matrix(
        [
            observed("drug", 1, binding_kcal=-50.0, solute_kcal=-1000.0, free_ligand_kcal=-20.0),
            observed("drug", 2, binding_kcal=-51.0, solute_kcal=-1010.0, free_ligand_kcal=-22.0),
            observed("apo", 1, solute_kcal=-950.0),
        ],
        [],
        ["drug"],
    )
    cell = ("WT", "drug", "antagonist")
    assert (SOLUTE, FREE_LIGAND) == ("solute_kcal", "free_ligand_kcal")
    assert cells.values(cell, BINDING) == {1: -30.0}  # seed 2 has no apo to subtract
    assert cells.values(cell, "binding_single_kcal") == {1: -50.0, 2: -51.0}
    plain = matrix([observed("drug", 1, binding_kcal=-50.0)], [], ["drug"])
    assert plain.values(cell, BINDING) == {1: -50.0}
