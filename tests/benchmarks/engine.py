"""The simulation engine against a bare OpenMM loop, the quick protocol end to end, and what a replica costs.

    python tests/benchmarks/engine.py speed [--protocol quick] [--steps 500] [--blocks 5]
    python tests/benchmarks/engine.py cell [--whole --share 0.1]
    python tests/benchmarks/engine.py cost --protocol quick [--frames 20]

``speed``: production steps per processor second of our engine and of ``integrator.step`` on the same system (without
our restraint force), in blocks that alternate; once with a single frame at the end (reporters off) and once with the
protocol's frames. ``cell``: 4-hydroxytamoxifen in the antagonist model from complex to scores, as we do it and with
the solvent as ``implicit/obc2.xml`` has it (a CustomGBForce), everything else alike. ``cost``: memory and disk of a
replica beside what the plan promises. All on the CPU platform with one thread, 4-hydroxytamoxifen (antagonist).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import resource
import statistics
import sys
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np
import openmm
from openmm.app.internal.customgbforces import GBSAOBC2Force

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from esr1md.analysis import mmgbsa  # noqa: E402
from esr1md.analysis.observe import observe  # noqa: E402
from esr1md.complex import build_complex, gbsa_obc_force  # noqa: E402
from esr1md.dynamics import region as regions  # noqa: E402
from esr1md.dynamics.protocol import Protocol, load_protocol  # noqa: E402
from esr1md.dynamics.run import simulate  # noqa: E402
from esr1md.receptor.frame import bundled_model  # noqa: E402
from systems import CPU, hydroxytamoxifen  # noqa: E402


def the_complex(protocol: Protocol):
    parameters, pose = hydroxytamoxifen()
    return build_complex(bundled_model("antagonist"), parameters, pose, protocol)


# -- speed -----------------------------------------------------------------------------------------------------


def with_production(protocol: Protocol, steps: int, frame_steps: int) -> Protocol:
    """The protocol with so many steps of production, a frame every so many, and no equilibration."""
    step_ps = protocol.time_step_fs / 1000
    data = protocol.model_dump(mode="json")
    minimise = [stage | {"iterations": 20} for stage in data["stages"] if stage["kind"] == "minimise"]
    heat = {"kind": "heat", "from_kelvin": 150, "duration_ps": 50 * step_ps}
    produce = {"kind": "produce", "duration_ps": steps * step_ps, "frame_ps": frame_steps * step_ps}
    return Protocol(**data | {"stages": [*minimise, heat, produce]})


class Stopwatch:
    """Processor seconds of the production of one call of ``simulate``."""

    def __init__(self) -> None:
        self.started = None

    def __call__(self, stage: str, fraction: float) -> None:
        if stage == "heat":  # the last call before production
            self.started = time.process_time()
        elif stage == "produce":
            self.seconds = time.process_time() - self.started


def ours(complex_, protocol: Protocol) -> float:
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        simulate(complex_, protocol, seed=1, platform=CPU, folder=Path(folder), progress=watch)
    return protocol.steps(protocol.production.duration_ps) / watch.seconds


class BareLoop:
    """``integrator.step`` and nothing else, warmed up."""

    def __init__(self, complex_, protocol: Protocol) -> None:
        sub = regions.simulated(complex_, protocol.region)
        self.integrator = openmm.LangevinMiddleIntegrator(300, protocol.friction_per_ps, protocol.time_step_fs / 1000)
        self.context = openmm.Context(sub.system, self.integrator, CPU.platform(), CPU.properties)
        self.context.setPositions(complex_.positions[sub.atoms])
        openmm.LocalEnergyMinimizer.minimize(self.context, maxIterations=20)
        self.context.setVelocitiesToTemperature(300, 1)
        self.integrator.step(50)

    def rate(self, steps: int) -> float:
        started = time.process_time()
        self.integrator.step(steps)
        return steps / (time.process_time() - started)


def speed(arguments: argparse.Namespace) -> None:
    protocol = load_protocol(arguments.protocol)
    complex_ = the_complex(protocol)
    bare = BareLoop(complex_, protocol)
    frame = min(protocol.steps(protocol.production.frame_ps), arguments.steps)
    kinds = {"reporters off": arguments.steps, f"a frame every {frame} steps": frame}
    print("| | steps per CPU second | bare loop, same block | ratio |")
    print("|---|---|---|---|")
    for name, frame_steps in kinds.items():
        changed = with_production(protocol, arguments.steps, frame_steps)
        rows = []
        for _ in range(arguments.blocks):
            before = bare.rate(arguments.steps)
            own = ours(complex_, changed)
            rows.append((own, (before + bare.rate(arguments.steps)) / 2))
        own, other = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(a / b for a, b in rows)
        print(f"| {protocol.name}, {name} | {own:.1f} | {other:.1f} | {ratio:.3f} |", flush=True)


# -- a cell ----------------------------------------------------------------------------------------------------


def custom_gb(native: openmm.GBSAOBCForce) -> GBSAOBC2Force:
    """The model of ``implicit/obc2.xml`` with the parameters of a native force."""
    cutoff = native.getCutoffDistance()._value if native.getNonbondedMethod() else None
    surface = "ACE" if native.getSurfaceAreaEnergy()._value else None
    force = GBSAOBC2Force(
        solventDielectric=native.getSolventDielectric(),
        soluteDielectric=native.getSoluteDielectric(),
        SA=surface,
        cutoff=cutoff,
    )
    for i in range(native.getNumParticles()):
        force.addParticle(
            [value._value if hasattr(value, "_value") else value for value in native.getParticleParameters(i)]
        )
    force.finalize()
    if cutoff is not None:
        force.setNonbondedMethod(openmm.CustomGBForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    force.setForceGroup(native.getForceGroup())
    return force


def swap(system: openmm.System) -> None:
    for index, force in enumerate(system.getForces()):
        if isinstance(force, openmm.GBSAOBCForce):
            replacement = custom_gb(force)
            system.removeForce(index)
            system.addForce(replacement)
            return


class CustomBorn:
    """In the place of our generalised Born: complex, receptor and ligand, each a context with a CustomGBForce."""

    def __init__(self, topology, charge, atoms, first_ligand, *, solute_dielectric, solvent_dielectric, **_) -> None:
        dielectrics = {"solute_dielectric": solute_dielectric, "solvent_dielectric": solvent_dielectric}
        whole = gbsa_obc_force(topology, charge, surface_area=False, **dielectrics)
        self._contexts = []
        for part in (slice(0, None), slice(0, first_ligand), slice(first_ligand, None)):
            system, native = openmm.System(), openmm.GBSAOBCForce()
            native.setSoluteDielectric(solute_dielectric)
            native.setSolventDielectric(solvent_dielectric)
            native.setSurfaceAreaEnergy(0.0)
            for atom in atoms[part]:
                system.addParticle(1.0)
                native.addParticle(*whole.getParticleParameters(int(atom)))
            system.addForce(custom_gb(native))
            integrator = openmm.VerletIntegrator(0.001)
            self._contexts.append((part, openmm.Context(system, integrator, CPU.platform(), CPU.properties)))

    def binding(self, positions: np.ndarray) -> np.ndarray:
        """The whole change as the last atom's."""
        change = np.zeros(len(positions))
        for sign, (part, context) in zip((1, -1, -1), self._contexts, strict=True):
            context.setPositions(positions[part])
            change[-1] += sign * context.getState(energy=True).getPotentialEnergy()._value
        return change


@contextlib.contextmanager
def as_obc2_xml():
    """Solvent as a CustomGBForce in dynamics and in scoring."""
    extract, whole = regions.extract, regions.whole

    def swapped(make):
        def made(*arguments):
            sub = make(*arguments)
            swap(sub.system)
            return sub

        return made

    with (
        mock.patch.object(regions, "extract", swapped(extract)),
        mock.patch.object(regions, "whole", swapped(whole)),
        mock.patch.object(mmgbsa, "GeneralisedBorn", CustomBorn),
        mock.patch.object(mmgbsa, "_scorers", OrderedDict()),
    ):
        yield


def one_cell(protocol: Protocol) -> dict[str, float]:
    """Processor seconds of each part of a cell of one replica."""
    parameters, _ = hydroxytamoxifen()
    marks = [time.process_time()]
    complex_ = the_complex(protocol)
    marks.append(time.process_time())
    with tempfile.TemporaryDirectory() as folder:
        simulate(complex_, protocol, seed=1, platform=CPU, folder=Path(folder))
        marks.append(time.process_time())
        observe(Path(folder), complex_, protocol, CPU, ligand_sdf=parameters.sdf)
        marks.append(time.process_time())
    seconds = [after - before for before, after in itertools.pairwise(marks)]
    return {**dict(zip(("complex", "dynamics", "analysis"), seconds, strict=True)), "all": sum(seconds)}


def shortened(protocol: Protocol, share: float) -> Protocol:
    """The same stages with a share of their dynamics and of the scored frames."""
    data = protocol.model_dump(mode="json")
    for stage in data["stages"]:
        if stage["kind"] != "minimise":
            stage["duration_ps"] *= share
    data["stages"][-1]["frame_ps"] = min(data["stages"][-1]["frame_ps"], data["stages"][-1]["duration_ps"])
    data["scoring"]["frames"] = max(1, round(share * data["scoring"]["frames"]))
    return Protocol(**data)


def cell(arguments: argparse.Namespace) -> None:
    protocol = shortened(load_protocol("quick"), arguments.share)
    hydroxytamoxifen()
    whole_data = protocol.model_dump(mode="json") | {"region": None}
    whole_data["scoring"]["receptor"] = "whole"
    whole = Protocol(**whole_data)
    one_cell(shortened(protocol, 0.01))  # imports and caches
    rows = {"quick": one_cell(protocol)}
    with as_obc2_xml():
        rows["quick, implicit/obc2.xml's force"] = one_cell(protocol)
    if arguments.whole:
        rows["whole domain, native force"] = one_cell(whole)
        with as_obc2_xml():
            rows["whole domain, implicit/obc2.xml's force"] = one_cell(whole)
    print("| | complex | dynamics | analysis | all (CPU s) | over quick |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        values = " | ".join(f"{row[part]:.1f}" for part in ("complex", "dynamics", "analysis", "all"))
        print(f"| {name} | {values} | {row['all'] / rows['quick']['all']:.1f} |")


# -- memory and disk ----------------------------------------------------------------------------------------------


def cost(arguments: argparse.Namespace) -> None:
    from esr1md.screen.estimate import replica_cost

    protocol = load_protocol(arguments.protocol)
    parameters, _ = hydroxytamoxifen()
    frame_steps = arguments.steps // arguments.frames
    changed = with_production(protocol, frame_steps * arguments.frames, frame_steps)
    changed = changed.model_copy(update={"scoring": protocol.scoring.model_copy(update={"frames": 2})})
    complex_ = the_complex(changed)
    largest = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)

        def look(stage: str, fraction: float) -> None:
            nonlocal largest
            largest = max(largest, sum(f.stat().st_size for f in path.iterdir()))

        simulate(complex_, changed, seed=1, platform=CPU, folder=path, progress=look, checkpoint_s=0)
        observe(path, complex_, changed, CPU, ligand_sdf=parameters.sdf)
        sizes = {f.name: f.stat().st_size for f in sorted(path.iterdir())}
    promised = replica_cost(changed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for name, size in sizes.items():
        print(f"  {name:22s} {size / 1e3:10.1f} kB")
    print(f"| {protocol.name}, {arguments.frames} frames | measured | promised | ratio |")
    print("|---|---|---|---|")
    total = sum(sizes.values())
    print(f"| disk when done | {total / 1e6:.2f} MB | {promised.bytes / 1e6:.2f} MB | {promised.bytes / total:.2f} |")
    peak = promised.peak_bytes
    print(f"| disk while it runs | {largest / 1e6:.2f} MB | {peak / 1e6:.2f} MB | {peak / largest:.2f} |")
    print(f"| memory | {memory / 1e6:.0f} MB | {promised.memory / 1e6:.0f} MB | {promised.memory / memory:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, call, steps in (("speed", speed, 500), ("cell", cell, 0), ("cost", cost, 100)):
        command = commands.add_parser(name)
        command.add_argument("--protocol", default="quick")
        command.add_argument("--steps", type=int, default=steps)
        command.add_argument("--blocks", type=int, default=5)
        command.add_argument("--frames", type=int, default=20)
        command.add_argument("--whole", action="store_true", help="cell: the whole domain as well")
        command.add_argument("--share", type=float, default=1.0, help="cell: share of the dynamics and scored frames")
        command.set_defaults(call=call)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
