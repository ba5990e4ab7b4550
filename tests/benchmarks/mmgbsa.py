"""MM/GBSA: frames per second against what it replaces, in one run, and memory however long a replica is.

    python tests/benchmarks/mmgbsa.py speed [--frames 5] [--threads 2]
    python tests/benchmarks/mmgbsa.py memory [--frames 100] [--scored 100] [--replicas 5]

4-hydroxytamoxifen in the bundled antagonist model, whole domain, no cutoff. ``speed`` scores the same frames, in turns,
with

* ours: :class:`esr1md.analysis.mmgbsa.MMGBSA`, built once;
* kept: OpenMM's native ``GBSAOBCForce`` and ``LCPOForce`` for complex, receptor and ligand, contexts built once;
* fresh: the same with a new Context for each of the three in every frame (the Systems are built once);
* custom: as kept, with the ``CustomGBForce`` of ``implicit/obc2.xml``;

and GBn2 by ours and by its ``CustomGBForce``. Van der Waals and Coulomb, which all share, are our sum over pairs.
``memory`` observes replicas of random frames in a process of its own and prints its peak.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm.app.internal.customgbforces import GBSAGBn2Force, GBSAOBC2Force

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from esr1md.analysis.mmgbsa import MMGBSA, surface_parameters, surface_system  # noqa: E402
from esr1md.analysis.observe import observe  # noqa: E402
from esr1md.complex import KCAL, Complex, charges, gbsa_obc_force, nonbonded_force  # noqa: E402
from esr1md.dynamics.output import write_pdb  # noqa: E402
from esr1md.dynamics.platforms import PlatformChoice  # noqa: E402
from systems import hydroxytamoxifen, hydroxytamoxifen_complex, tiny_protocol  # noqa: E402


def shaken(complex_: Complex, n_frames: int, seed: int = 1) -> np.ndarray:
    """(n_frames, n_atoms, 3), nm: the model with 0.05 A of noise on every atom."""
    noise = np.random.default_rng(seed).normal(0, 0.005, (n_frames, *complex_.positions.shape))
    return complex_.positions + noise


def gb_force(complex_: Complex, atoms: np.ndarray, kind: str) -> openmm.Force:
    charge = charges(nonbonded_force(complex_.system))
    if kind == "native":
        whole = gbsa_obc_force(complex_.topology, charge, surface_area=False)
        force = openmm.GBSAOBCForce()
        force.setSurfaceAreaEnergy(0.0)
        for atom in atoms:
            force.addParticle(*whole.getParticleParameters(int(atom)))
        return force
    force = {"obc2": GBSAOBC2Force, "gbn2": GBSAGBn2Force}[kind]()
    standard = np.asarray(force.getStandardParameters(complex_.topology))[atoms]
    force.addParticles(np.column_stack([charge[atoms], standard]))
    force.finalize()
    return force


class OpenMMTerms:
    """Solvation of complex, receptor and ligand by OpenMM; with ``fresh`` the contexts are made for every frame."""

    def __init__(self, complex_: Complex, kind: str, platform: PlatformChoice, fresh: bool = False) -> None:
        self._platform, self._fresh = platform, fresh
        self._parts = (complex_.solute_atoms, complex_.receptor_atoms, complex_.ligand_atoms)
        parameters = surface_parameters(complex_.topology)
        self._systems, self._surfaces = [], []
        for part in self._parts:
            system = openmm.System()
            for _ in part:
                system.addParticle(1.0)
            system.addForce(gb_force(complex_, part, kind))
            self._systems.append(system)
            self._surfaces.append(surface_system([parameters[i] for i in part], (slice(0, len(part)),)))
        self._contexts = None if fresh else self._made()

    def _made(self) -> list[list[openmm.Context]]:
        return [
            [
                openmm.Context(
                    system, openmm.VerletIntegrator(0.001), self._platform.platform(), self._platform.properties
                )
                for system in pair
            ]
            for pair in zip(self._systems, self._surfaces, strict=True)
        ]

    def __call__(self, frame: np.ndarray) -> tuple[float, float]:
        """Polar and surface energy of binding, kcal/mol."""
        contexts = self._made() if self._fresh else self._contexts
        terms = np.zeros(2)
        for sign, part, pair in zip((1, -1, -1), self._parts, contexts, strict=True):
            for term, context in enumerate(pair):
                context.setPositions(frame[part])
                terms[term] += sign * context.getState(energy=True).getPotentialEnergy()._value / KCAL
        return tuple(terms)


def speed(arguments: argparse.Namespace) -> None:
    complex_ = hydroxytamoxifen_complex()
    platform = PlatformChoice("CPU", {"Threads": str(arguments.threads), "DeterministicForces": "true"}, "benchmark")
    scorers = {model: MMGBSA(complex_, complex_.solute_atoms, platform, model=model) for model in ("obc2", "gbn2")}
    pairs = scorers["obc2"]._pairs
    openmm_terms = {
        "kept": OpenMMTerms(complex_, "native", platform),
        "fresh": OpenMMTerms(complex_, "native", platform, fresh=True),
        "custom": OpenMMTerms(complex_, "obc2", platform),
        "custom GBn2": OpenMMTerms(complex_, "gbn2", platform),
    }

    def by_openmm(terms: OpenMMTerms) -> Callable[[np.ndarray], np.ndarray]:
        def run(frames: np.ndarray) -> np.ndarray:
            return np.array([sum(terms(frame)) + sum(p.sum() for p in pairs(frame)) / KCAL for frame in frames])

        return run

    ways = {"ours": lambda frames: scorers["obc2"].score(frames).binding_kcal}
    ways |= {name: by_openmm(terms) for name, terms in openmm_terms.items()}
    ways["ours GBn2"] = lambda frames: scorers["gbn2"].score(frames).binding_kcal
    few = max(1, arguments.frames // 5)
    cpu, wall, energies = {}, {}, {}
    for run in ways.values():
        run(shaken(complex_, 1, seed=2))
    for name, run in ways.items():
        frames = shaken(complex_, few if name.startswith("custom") else arguments.frames)
        began, began_wall = time.process_time(), time.perf_counter()
        energies[name] = run(frames)
        cpu[name] = (time.process_time() - began) / len(frames)
        wall[name] = (time.perf_counter() - began_wall) / len(frames)
    print(f"{len(complex_.solute_atoms)} atoms, {arguments.threads} threads, load average {os.getloadavg()[0]:.1f}")
    print("| | CPU s per frame | frames per s (wall) | CPU time over ours | dG of the first frame, kcal/mol |")
    print("|---|---|---|---|---|")
    for name in ways:
        ours = "ours GBn2" if "GBn2" in name else "ours"
        ratio, first = cpu[name] / cpu[ours], energies[name][0]
        print(f"| {name} | {cpu[name]:.3f} | {1 / wall[name]:.2f} | {ratio:.1f} | {first:.4f} |")


def memory(arguments: argparse.Namespace) -> None:
    """In a process of its own, so that the peak is this work's."""
    if not arguments.here:
        subprocess.run([sys.executable, *sys.argv, "--here"], check=True)
        return
    complex_ = hydroxytamoxifen_complex()
    parameters, _ = hydroxytamoxifen()
    platform = PlatformChoice("CPU", {"Threads": "1", "DeterministicForces": "true"}, "benchmark")
    scoring = {"frames": arguments.scored or arguments.frames, "receptor": "whole"}
    protocol = tiny_protocol(region=None, scoring=scoring)
    with tempfile.TemporaryDirectory() as folder:
        pdb = Path(folder) / "complex.pdb"
        write_pdb(complex_, complex_.positions, pdb)
        topology = mdtraj.load_topology(str(pdb))
        print(f"{peak_megabytes():.0f} MB before the first replica", flush=True)
        for replica in range(arguments.replicas):
            with mdtraj.formats.XTCTrajectoryFile(str(Path(folder) / "trajectory.xtc"), "w") as file:
                for number in range(arguments.frames):
                    frame = shaken(complex_, 1, seed=1000 * replica + number).astype(np.float32)
                    file.write(frame, time=np.array([number], np.float32), step=np.array([number], np.int32))
            began = time.process_time()
            summary = observe(Path(folder), complex_, protocol, platform, ligand_sdf=parameters.sdf)
            seconds = time.process_time() - began
            print(
                f"replica {replica + 1}: {summary['frames']} frames of {topology.n_atoms} atoms, {seconds:.0f} CPU s, "
                f"peak {peak_megabytes():.0f} MB",
                flush=True,
            )


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("speed")
    command.add_argument("--frames", type=int, default=5)
    command.add_argument("--threads", type=int, default=2)
    command.set_defaults(run=speed)
    command = commands.add_parser("memory")
    command.add_argument("--frames", type=int, default=100)
    command.add_argument("--scored", type=int, help="frames of each replica that MM/GBSA scores (all)")
    command.add_argument("--replicas", type=int, default=5)
    command.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    command.set_defaults(run=memory)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
