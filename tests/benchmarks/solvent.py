"""Native OBC2 against the same model as a CustomGBForce, on one CPU thread, in one run.

python tests/benchmarks/solvent.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import openmm
from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from esr1md.complex import charges, gbsa_obc_force, nonbonded_force  # noqa: E402
from systems import CPU, apo_complex  # noqa: E402


def evaluation_seconds(system: openmm.System, positions, repeats: int) -> float:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
    context.setPositions(positions)
    context.getState(forces=True, energy=True)
    started = time.process_time()
    for _ in range(repeats):
        context.setPositions(positions)
        context.getState(forces=True, energy=True)
    return (time.process_time() - started) / repeats


def main() -> None:
    complex_ = apo_complex()
    custom = app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml").createSystem(
        complex_.topology, nonbondedMethod=app.NoCutoff
    )
    native = app.ForceField("amber14/protein.ff14SB.xml").createSystem(complex_.topology, nonbondedMethod=app.NoCutoff)
    native.addForce(gbsa_obc_force(complex_.topology, charges(nonbonded_force(native))))
    times = {
        "native": evaluation_seconds(native, complex_.positions, 5),
        "custom": evaluation_seconds(custom, complex_.positions, 2),
    }
    for name, seconds in times.items():
        print(f"{name}: {seconds:.3f} s per evaluation, {native.getNumParticles()} atoms, no cutoff")
    print(f"ratio custom/native: {times['custom'] / times['native']:.1f}")


if __name__ == "__main__":
    main()
