"""Which OpenMM platform to run on: probed in a subprocess, compared with Reference, never taken on trust.

A driver can list a platform and then crash in its first force evaluation, so a candidate runs once in a process
of its own before it is believed: on small systems when a screen is planned, on the real one before it is simulated.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from esr1md.errors import InputError
from esr1md.specs import digest_of
from esr1md.store.disk import beside
from esr1md.workers import module_command

#: In the order they are preferred when the user asks for none.
PREFERENCE = ("CUDA", "HIP", "OpenCL", "CPU", "Reference")
#: Largest relative root-mean-square force error against Reference that still counts as the same forces.
TOLERANCE = 1e-3
PROBE_TIMEOUT_S = 120


@dataclass(frozen=True)
class PlatformChoice:
    """A platform that was probed, with the properties its contexts get.

    ``fallbacks`` are the platforms that may take its place if it fails on the real system: none unless the user left
    the choice to us.
    """

    name: str
    properties: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    fallbacks: tuple[str, ...] = ()

    def platform(self) -> openmm.Platform:
        return openmm.Platform.getPlatformByName(self.name)


@dataclass(frozen=True)
class Probe:
    """Outcome of trying one platform: ``force_error`` is relative to Reference, ``seconds`` per evaluation.

    A platform that OpenMM does not list was not tried: it is not installed, or its own libraries are missing.
    """

    name: str
    ok: bool
    reason: str
    force_error: float | None = None
    seconds: float | None = None
    device: str = ""
    listed: bool = True


def available() -> list[str]:
    """Names of the platforms OpenMM lists on this machine, preferred first."""
    listed = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    return [name for name in PREFERENCE if name in listed]


def _why_unlisted(name: str, failures: Sequence[str]) -> str:
    """Of OpenMM's plugin failures, the one that is this platform's own."""
    for failure in failures:
        if f"libOpenMM{name}.so" in failure:
            return f"OpenMM cannot load it: {failure.partition('.so: ')[2] or failure}"
    return "not part of this installation of OpenMM"


@cache
def probe(name: str) -> Probe:
    """Try one platform in a subprocess on a solvated test system; never raises and never takes us down."""
    if name not in available():
        return Probe(name, False, _why_unlisted(name, openmm.Platform.getPluginLoadFailures()), listed=False)
    return _in_subprocess(name, [name], {"OPENMM_CPU_THREADS": "1"})


def _in_subprocess(name: str, arguments: list[str], variables: dict[str, str]) -> Probe:
    """A probe made by this module run as a program; whatever happens to it is a result."""
    command, environment = module_command("esr1md.dynamics.platforms", *arguments, environment=variables)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return Probe(name, False, f"the probe did not finish in {PROBE_TIMEOUT_S} s")
    if done.returncode < 0:
        return Probe(name, False, f"the probe was killed by signal {-done.returncode}: its driver crashes")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Probe(name, False, f"the probe failed: {last}")
    return Probe(**json.loads(done.stdout.strip().splitlines()[-1]))


def probe_platforms() -> list[Probe]:
    """A probe of every platform esr1md can use, listed or not, preferred first."""
    return [probe(name) for name in PREFERENCE]


def choose_platform(request: str = "auto", *, threads: int | None = None) -> PlatformChoice:
    """The platform to run on.

    Parameters
    ----------
    request
        ``auto`` for the fastest that passes its probe, or a platform's name, which is then used or refused.
    threads
        CPU threads for the CPU platform; a fixed number also makes its forces reproducible.

    Raises
    ------
    InputError
        The requested platform is unknown, absent or fails its probe: never replaced silently.
    """
    by_lower = {name.lower(): name for name in PREFERENCE}
    if request.lower() == "auto":
        refused = []
        for name in available():
            result = probe(name)
            if result.ok:
                reason = "fastest platform that passed its probe"
                if refused:
                    reason += " (refused: " + "; ".join(refused) + ")"
                return PlatformChoice(name, _properties(name, threads), reason, _after(name))
            refused.append(f"{name}: {result.reason}")
        raise InputError("no OpenMM platform works here", do="run 'esr1md doctor' to see why: " + "; ".join(refused))
    if request.lower() not in by_lower:
        raise InputError(f"unknown platform {request!r}", expected="auto, " + ", ".join(PREFERENCE))
    name = by_lower[request.lower()]
    result = probe(name)
    if not result.ok:
        usable = ", ".join(available()) or "none"
        raise InputError(
            f"platform {name} cannot be used: {result.reason}",
            do=f"listed here: {usable}; choose one of them or 'auto', or run 'esr1md doctor'",
        )
    return PlatformChoice(name, _properties(name, threads), "requested")


def _after(name: str) -> tuple[str, ...]:
    """Platforms that are tried after ``name``; Reference is for comparison, not for simulating."""
    listed = available()
    return tuple(other for other in listed[listed.index(name) + 1 :] if other != "Reference")


def verify(
    choice: PlatformChoice, system: openmm.System, positions: np.ndarray, *, known: Path, key: dict[str, Any]
) -> PlatformChoice:
    """The platform to simulate a system on, its forces on that very system compared with Reference first.

    Parameters
    ----------
    choice
        From :func:`choose_platform`.
    system, positions
        What will be simulated; n x 3, nm.
    known
        Folder where results are kept, so that systems of one kind are compared once on each machine.
    key
        What makes systems of one kind (protocol, number of atoms, ...).

    Raises
    ------
    InputError
        The platform crashes on the system or computes other forces, and none may take its place.
    """
    refused = []
    for name in (choice.name, *choice.fallbacks):
        candidate = choice
        if refused:
            first = probe(name)
            if not first.ok:
                refused.append(f"{name}: {first.reason}")
                continue
            threads = int(choice.properties.get("Threads", 0)) or None
            candidate = PlatformChoice(name, _properties(name, threads))
        result = _verified(candidate, system, positions, known, key)
        if result.ok:
            if not refused:
                return choice
            reason = f"the preferred platform failed on this system (refused: {'; '.join(refused)})"
            return dataclasses.replace(candidate, reason=reason)
        refused.append(f"{name}: {result.reason}")
    raise InputError(
        f"platform {'; '.join(refused)} (on the system of this screen)",
        do="choose another with --platform, or run 'esr1md doctor' to see what works here",
    )


def _verified(choice: PlatformChoice, system, positions: np.ndarray, known: Path, key: dict[str, Any]) -> Probe:
    identity = {
        "host": socket.gethostname(),
        "platform": choice.name,
        "properties": {k: v for k, v in choice.properties.items() if k != "Threads"},
        "openmm": openmm.__version__,
        **key,
    }
    path = known / f"{digest_of(identity)[:32]}.json"
    if path.is_file():
        return Probe(**json.loads(path.read_text())["probe"])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "system.xml").write_text(openmm.XmlSerializer.serialize(system))
        np.save(Path(folder, "positions.npy"), positions)
        Path(folder, "properties.json").write_text(json.dumps(choice.properties))
        result = _in_subprocess(choice.name, [choice.name, folder], {})
    known.mkdir(parents=True, exist_ok=True)
    with beside(path) as part:
        part.write_text(json.dumps({"identity": identity, "probe": asdict(result)}, indent=1))
        os.replace(part, path)
    return result


def _properties(name: str, threads: int | None) -> dict[str, str]:
    if name == "CPU":
        return {"Threads": str(threads or os.cpu_count() or 1), "DeterministicForces": "true"}
    if name in ("CUDA", "HIP", "OpenCL"):
        return {"Precision": "mixed"}
    return {}


def _test_system() -> tuple[openmm.System, list]:
    """A small box of water with PME, and a GB copy of part of it: the two kinds of force a screen uses."""
    force_field = app.ForceField("amber14/tip3p.xml")
    modeller = app.Modeller(app.Topology(), [])
    modeller.addSolvent(force_field, boxSize=openmm.Vec3(2.2, 2.2, 2.2) * unit.nanometer)
    system = force_field.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9, constraints=app.HBonds
    )
    return system, modeller.positions


def _gb_system(n_molecules: int = 60) -> tuple[openmm.System, list]:
    force_field = app.ForceField("amber14/tip3p.xml")
    modeller = app.Modeller(app.Topology(), [])
    modeller.addSolvent(force_field, numAdded=n_molecules)
    system = force_field.createSystem(modeller.topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds)
    solvent = openmm.GBSAOBCForce()
    for atom in modeller.topology.atoms():
        oxygen = atom.element.symbol == "O"
        solvent.addParticle(-0.834 if oxygen else 0.417, 0.15 if oxygen else 0.12, 0.85)
    system.addForce(solvent)
    return system, modeller.positions


def _forces(system: openmm.System, positions, name: str, properties: dict[str, str] | None = None):
    integrator, platform = openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(name)
    context = openmm.Context(system, integrator, platform, properties or {})
    context.setPositions(positions)
    context.getState(forces=True)
    start = time.perf_counter()
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    seconds = time.perf_counter() - start
    return forces, seconds, device_of(context)


def device_of(context: openmm.Context) -> str:
    """The device that a context runs on, as its driver calls it; empty on a CPU platform."""
    platform = context.getPlatform()
    return platform.getPropertyValue(context, "DeviceName") if "DeviceName" in platform.getPropertyNames() else ""


def is_processor(device: str) -> bool:
    """Whether an OpenCL device is a processor, driven by PoCL (``pthread-...``) or by a CPU runtime (its own name)."""
    name = device.lower()
    if name.startswith(("pthread", "basic", "cpu")):
        return True
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = {line.partition(":")[2].strip().lower() for line in lines if line.startswith("model name")}
    return any(model and model in name for model in models)


def _given_system(folder: Path) -> tuple[openmm.System, np.ndarray]:
    system = openmm.XmlSerializer.deserialize((folder / "system.xml").read_text())
    return system, np.load(folder / "positions.npy")


def _run_probe(name: str, folder: Path | None) -> Probe:
    worst, slowest, device = 0.0, 0.0, ""
    properties = json.loads((folder / "properties.json").read_text()) if folder else {}
    systems = (_given_system(folder),) if folder else (_test_system(), _gb_system())
    for system, positions in systems:
        reference, _, _ = _forces(system, positions, "Reference")
        forces, seconds, device = _forces(system, positions, name, properties)
        error = np.linalg.norm(forces - reference) / np.linalg.norm(reference)
        worst, slowest = max(worst, float(error)), max(slowest, seconds)
    if name == "OpenCL" and is_processor(device):
        reason = (
            f"its only device is a processor ({device}): OpenMM does not support OpenCL there, where it crashes or is "
            "slower than the CPU platform"
        )
        return Probe(name, False, reason, worst, slowest, device)
    if not worst <= TOLERANCE:
        return Probe(name, False, f"its forces differ from Reference by {worst:.2g} (relative)", worst, slowest, device)
    return Probe(name, True, "forces agree with Reference", worst, slowest, device)


if __name__ == "__main__":
    print(json.dumps(asdict(_run_probe(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None))))
