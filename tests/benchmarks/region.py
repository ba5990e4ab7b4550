"""The quick protocol's pocket-centred region against the whole domain: what it saves and what it costs.

    python tests/benchmarks/region.py

4-hydroxytamoxifen in the bundled antagonist model, one CPU thread: time per step, relative error of the forces on
the atoms that move, and MM/GBSA of the same frames scored in the region and in the whole domain.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openmm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from esr1md.analysis.mmgbsa import MMGBSA  # noqa: E402
from esr1md.analysis.observe import load_frames  # noqa: E402
from esr1md.dynamics.protocol import load_protocol  # noqa: E402
from esr1md.dynamics.region import extract, select_region, whole  # noqa: E402
from esr1md.dynamics.run import simulate  # noqa: E402
from systems import CPU, hydroxytamoxifen_complex  # noqa: E402


def step_milliseconds(system: openmm.System, positions: np.ndarray, steps: int) -> float:
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.0005)
    context = openmm.Context(system, integrator, CPU.platform(), CPU.properties)
    context.setPositions(positions)
    integrator.step(5)
    started = time.process_time()
    integrator.step(steps)
    return (time.process_time() - started) / steps * 1000


def forces(system: openmm.System, positions: np.ndarray) -> np.ndarray:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
    context.setPositions(positions)
    return context.getState(forces=True).getForces(asNumpy=True)._value


def main() -> None:
    protocol = load_protocol("quick")
    complex_ = hydroxytamoxifen_complex()
    atoms, mobile = select_region(complex_, protocol.region)
    region = extract(complex_, atoms, mobile)
    folder = Path(tempfile.mkdtemp())
    simulate(complex_, protocol, seed=1, platform=CPU, folder=folder)
    frames = load_frames(folder).xyz[::2].astype(float)
    last = frames[-1]

    rows = {
        "region": (region, step_milliseconds(region.system, last[atoms], 60)),
        "whole": (whole(complex_), step_milliseconds(complex_.system, last, 30)),
    }
    for name, (sub, milliseconds) in rows.items():
        print(f"{name:8s} {len(sub.atoms):6d} atoms, {int(sub.mobile.sum()):5d} mobile: {milliseconds:7.1f} ms/step")
    print(f"ratio whole/region: {rows['whole'][1] / rows['region'][1]:.1f}")

    inside, outside = forces(region.system, last[atoms])[mobile], forces(complex_.system, last)[atoms[mobile]]
    error = np.linalg.norm(inside - outside) / np.linalg.norm(outside)
    print(f"relative error of the forces on mobile atoms: {error:.3f}")

    scores = {}
    for name, kept in (("region", atoms), ("whole", complex_.solute_atoms)):
        scorer = MMGBSA(complex_, kept, CPU)
        started = time.process_time()
        scores[name] = scorer.score(frames[:, kept]).binding_kcal
        print(f"MM/GBSA {name:8s}: {(time.process_time() - started) / len(frames):.3f} s/frame")
    shift = scores["region"] - scores["whole"]
    print(
        f"MM/GBSA of {len(frames)} frames: Pearson r {np.corrcoef(scores['region'], scores['whole'])[0, 1]:.4f}, "
        f"region - whole {shift.mean():+.2f} kcal/mol, spread {shift.std(ddof=1):.2f}"
    )


if __name__ == "__main__":
    main()
