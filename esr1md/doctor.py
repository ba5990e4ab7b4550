"""What this machine can do, and how to mend what it cannot.

Each check is a plain function that returns findings; whatever could crash (drivers, programs, servers) runs in a
subprocess. Nothing here changes the machine.
"""

from __future__ import annotations

import os
import platform as this_machine
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from esr1md import __version__
from esr1md.catalogue import constraints_file
from esr1md.errors import Esr1mdError
from esr1md.specs import HelixState

#: Free space (GB) below which a screen is refused a clean bill, and below which it is likely to fail.
ROOMY_GB, TIGHT_GB = 10.0, 2.0
#: Memory (GB) below which simulations beside the parameter network may be killed.
ENOUGH_MEMORY_GB = 4.0
PROGRAM_LIMIT_S = 60
SERVER_LIMIT_S = 120


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes
    ----------
    check
        What was looked at.
    status
        ``ok``; ``warn`` (works, but know this); ``problem`` (something will fail); ``absent`` (not there, and
        nothing needs it).
    found
        What was found, one line.
    do
        What to do about it; empty when there is nothing to do.
    """

    check: str
    status: Literal["ok", "warn", "problem", "absent"]
    found: str
    do: str = ""


def diagnose(store: Path | str = "runs", *, report: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Every check, with an overall status.

    Parameters
    ----------
    store
        The folder results would go to; it is tested for writing and left as it was found.
    report
        Called with the name of each group of checks as it finishes.

    Returns
    -------
    dict
        ``esr1md`` (version), ``machine``, ``status`` (``ok``, ``warn`` or ``problem``: the worst), ``checks`` (list of
        :class:`Finding` as dicts) and ``platforms`` (list of probes, as measured).
    """
    gpus, gpu_findings = find_gpus()
    probes: list[dict[str, Any]] = []
    groups: dict[str, Callable[[], list[Finding]]] = {
        "python": check_python,
        "packages": check_packages,
        "GPUs": lambda: gpu_findings,
        "OpenMM platforms": lambda: [*check_platforms(gpus, probes), *check_sharing(probes)],
        "ligand parameters": lambda: [*check_ambertools(), *check_charge_network()],
        "docking": check_docking,
        "receptor models": check_data,
        "workflow engine": check_prefect,
        "machine": lambda: [*check_cores(), *check_memory()],
        "store": lambda: check_store(Path(store)),
    }
    findings: list[Finding] = []
    with ThreadPoolExecutor(2) as pool:  # the slow ones wait for subprocesses
        running = {name: pool.submit(_guarded, name, check) for name, check in groups.items()}
        for name, future in running.items():
            findings.extend(future.result())
            if report:
                report(name)
    worst = next((s for s in ("problem", "warn") if any(f.status == s for f in findings)), "ok")
    return {
        "esr1md": __version__,
        "machine": f"{this_machine.system()} {this_machine.machine()}, Python {this_machine.python_version()}",
        "status": worst,
        "checks": [asdict(finding) for finding in findings],
        "platforms": probes,
    }


def _guarded(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """A check that itself breaks is a finding: the doctor must not fall ill on a broken machine."""
    try:
        return check()
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return [Finding(name, "problem", f"the check failed: {type(error).__name__}: {first}",
                        "see 'packages' first; if all are right, report this")]  # fmt: skip


# -- software ---------------------------------------------------------------------------------------------


def check_python() -> list[Finding]:
    """Whether this Python is one of the tested ones."""
    found = f"{this_machine.python_version()} at {sys.executable}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return [Finding("python", "problem", found, "make an environment with Python 3.11, 3.12 or 3.13")]
    return [Finding("python", "ok", found)]


def check_packages() -> list[Finding]:
    """Every requirement of esr1md against what is installed, and in a checkout against ``constraints.txt``."""
    try:
        requirements = [Requirement(text) for text in metadata.requires("esr1md") or []]
    except metadata.PackageNotFoundError:
        return [Finding("packages", "warn", "esr1md itself is not installed, so its requirements are not known",
                        "pip install -e . -c constraints.txt")]  # fmt: skip
    wrong, installed = [], {}
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = installed[canonicalize_name(requirement.name)] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        do = "pip install -e . -c constraints.txt" if constraints_file() else "pip install --force-reinstall esr1md"
        return [Finding("packages", "problem", "; ".join(wrong), do)]
    differs = _untested(installed)
    if differs:
        return [Finding("packages", "warn", f"within range, but not the tested version: {'; '.join(differs)}",
                        "pip install -e . -c constraints.txt, to have exactly what is tested")]  # fmt: skip
    tested = ", all of the tested version" if constraints_file() else ", all within range"
    return [Finding("packages", "ok", f"{len(installed)} required packages{tested}")]


def _untested(installed: dict[str, str]) -> list[str]:
    path = constraints_file()
    if path is None:
        return []
    lines = [line.strip() for line in path.read_text().splitlines()]
    tested = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    tested = {canonicalize_name(name): version for name, version in tested.items()}
    return [
        f"{name} {version} ({tested[name]})"
        for name, version in installed.items()
        if name in tested and version.split("+")[0] != tested[name]
    ]


def check_prefect() -> list[Finding]:
    """Whether Prefect's server can be imported beside the installed fastapi; not that one is running."""
    code = "import prefect.server.api.server, prefect; print(prefect.__version__)"
    with tempfile.TemporaryDirectory(prefix="esr1md-doctor-") as home:
        environment = {**os.environ, "PREFECT_HOME": home, "DO_NOT_TRACK": "1"}
        done = _run([sys.executable, "-c", code], SERVER_LIMIT_S, environment)
    if done.ok:
        return [Finding("prefect", "ok", f"{done.last} with fastapi {metadata.version('fastapi')}")]
    return [Finding("prefect", "problem", f"its server cannot be imported: {done.last}",
                    "pip install 'prefect>=3.8,<3.9' 'fastapi<0.150'")]  # fmt: skip


def check_ambertools() -> list[Finding]:
    """Whether acpype's antechamber and parmchk2 run here."""
    from esr1md.ligand.ambertools import amber_home

    try:
        home = amber_home()
    except Esr1mdError as error:
        return [Finding("AmberTools programs", "problem", str(error), "pip install acpype")]
    broken = []
    for program in ("antechamber", "parmchk2"):
        done = _run([str(home / "bin" / "wrapped_progs" / program), "-h"], PROGRAM_LIMIT_S,
                    {**os.environ, "AMBERHOME": str(home)})  # fmt: skip
        if "usage" not in done.output.lower():
            broken.append(f"{program}: {done.last}")
    if broken:
        return [Finding("AmberTools programs", "problem", "; ".join(broken),
                        "look at 'ldd' of the program for a missing library, or reinstall acpype")]  # fmt: skip
    version = metadata.version("acpype")
    return [Finding("AmberTools programs", "ok", f"antechamber and parmchk2 of acpype {version} run"), _check_sqm()]


def _check_sqm() -> Finding:
    from esr1md.ligand.am1bcc import INSTALL, missing_library

    if missing := missing_library():
        return Finding("AM1-BCC charges", "absent", f"sqm lacks {missing}",
                       f"only for 'charges: am1bcc' of ligands without shipped charges: {INSTALL}")  # fmt: skip
    return Finding("AM1-BCC charges", "ok", "sqm runs")


def check_charge_network() -> list[Finding]:
    """Whether the weights of the charge network are there and are the network implemented here."""
    from esr1md.ligand.nagl_model import MODEL_NAME, load_model

    try:
        load_model()
    except Esr1mdError as error:
        return [Finding("charge network", "problem", str(error), "pip install openff-nagl-models")]
    return [Finding("charge network", "ok", f"{MODEL_NAME} loads")]


def check_docking() -> list[Finding]:
    """Whether AutoDock Vina is here, which poses are searched with besides the crystal references."""
    done = _run([sys.executable, "-c", "import meeko, vina; print('AutoDock Vina', vina.__version__, 'runs')"],
                PROGRAM_LIMIT_S)  # fmt: skip
    if done.ok:
        return [Finding("docking", "ok", done.last)]
    return [Finding("docking", "warn", f"AutoDock Vina cannot be used ({done.last}): poses are searched from crystal "
                    "references only, and say so", "pip install vina meeko, with Python 3.11 or 3.12")]  # fmt: skip


def check_data() -> list[Finding]:
    """Whether the catalogues and the prepared receptor models came with the installation."""
    from esr1md.catalogue import data_path, names
    from esr1md.ligand.catalogue import catalogue_entries
    from esr1md.receptor.variants import variant_entries

    missing = [str(state) for state in HelixState
               if not (data_path("structures") / "models" / f"{state}.pdb").is_file()]  # fmt: skip
    if missing:
        return [Finding("catalogues", "problem", f"no prepared model of the {' and '.join(missing)} state",
                        "reinstall esr1md")]  # fmt: skip
    mirror = os.environ.get("ESR1MD_PDB_MIRROR")
    found = [Finding("catalogues", "ok", f"{len(variant_entries())} variants, {len(catalogue_entries())} ligands, "
                     f"{len(names('screens'))} screens, {len(names('protocols'))} protocols, "
                     f"{len(HelixState)} receptor models")]  # fmt: skip
    if mirror and not Path(mirror).is_dir():
        found.append(Finding("ESR1MD_PDB_MIRROR", "warn", f"names {mirror}, which is not a folder",
                             "unset it or correct it"))  # fmt: skip
    return found


# -- hardware ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as ``nvidia-smi`` describes it; ``cuda`` is the newest CUDA its driver can run."""

    name: str
    memory: str
    driver: str
    cuda: str


def find_gpus() -> tuple[list[Gpu], list[Finding]]:
    """NVIDIA GPUs by ``nvidia-smi``, and what to say about them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], [Finding("GPU", "absent", "no nvidia-smi: this machine has no NVIDIA driver",
                            "protocol 'quick' runs on the CPU; 'standard' and 'explicit' want a GPU")]  # fmt: skip
    listing = _run([program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 30)
    if not listing.ok:
        return [], [Finding("GPU", "problem", f"nvidia-smi fails: {listing.last}",
                            "the driver is broken or not loaded: reboot, or reinstall it")]  # fmt: skip
    header = re.search(r"CUDA Version:\s*([\d.]+)", _run([program], 30).output)
    cuda = header[1] if header else ""
    rows = [[cell.strip() for cell in line.split(",")] for line in listing.output.splitlines() if line.count(",") == 2]
    gpus = [Gpu(name, memory, driver, cuda) for name, memory, driver in rows]
    if not gpus:
        return [], [Finding("GPU", "absent", "nvidia-smi lists none")]
    return gpus, [Finding("GPU", "ok", f"{g.name}, {g.memory}, driver {g.driver}, CUDA {cuda or '?'}") for g in gpus]


def check_platforms(gpus: list[Gpu], probes: list[dict[str, Any]]) -> list[Finding]:
    """Each OpenMM platform, run in a subprocess and its forces compared with Reference.

    The measurements are added to ``probes``.
    """
    from esr1md.dynamics.platforms import probe_platforms

    findings = []
    for probe in probe_platforms():
        probes.append(asdict(probe))
        name = f"platform {probe.name}"
        if probe.ok:
            device = f" on {probe.device}" if probe.device else ""
            findings.append(Finding(name, "ok", f"{probe.reason}{device} (relative error {probe.force_error:.1e})"))
        elif not probe.listed:
            needed = probe.name == "CUDA" and gpus or probe.name in ("CPU", "Reference")
            do = _install_cuda(gpus) if probe.name == "CUDA" and gpus else "reinstall openmm" if needed else ""
            findings.append(Finding(name, "problem" if needed else "absent", probe.reason, do))
        else:
            do = f"it will not be chosen; do not ask for 'platform: {probe.name}'"
            if probe.name == "CUDA" and gpus:
                do = f"update the driver, or {_install_cuda(gpus)}"
            findings.append(Finding(name, "problem" if probe.name in ("CUDA", "CPU") else "warn", probe.reason, do))
    return findings


def _install_cuda(gpus: list[Gpu]) -> str:
    major = gpus[0].cuda.split(".")[0]
    extra = "cuda13" if major.isdigit() and int(major) >= 13 else "cuda12"
    return f"pip install 'esr1md[{extra}]'"


def check_sharing(probes: list[dict[str, Any]]) -> list[Finding]:
    """How simulations share the GPUs: slots in use, what ``esr1md bench`` has measured, whether MPS works."""
    from esr1md.dynamics import mps, slots, throughput

    platform = next((p["name"] for p in probes if p["ok"] and p["name"] in slots.GPU_PLATFORMS), None)
    if platform is None:
        return []
    devices = slots.find_devices(platform)
    try:
        folder, used = slots.slots_folder(), [slots.slots_in_use(device) for device in devices]
    except Esr1mdError as error:
        return [Finding("GPU slots", "problem", str(error), "see docs/performance.md, Packing")]
    now = ", ".join(f"{device.name} {count}" for device, count in zip(devices, used, strict=True))
    known = {m.protocol_name: m for m in throughput.measurements() if m.device == throughput.device_name(devices)}
    best = ", ".join(f"{name} {found.best}" for name, found in known.items())
    found = [Finding("GPU slots", "ok", f"simulations on them now: {now}; best number measured: {best or 'none yet'}",
                     "" if known else "'esr1md bench' finds how many simulations should share a GPU")]  # fmt: skip
    if platform != "CUDA":
        return found
    if mps.program() is None:
        return [*found, Finding("MPS", "absent", f"no {mps.PROGRAM}: simulations that share a GPU take turns on it",
                                "it comes with NVIDIA's driver packages")]  # fmt: skip
    visible = slots.visible_devices(devices)
    with mps.running(folder, visible) as service:
        status = "ok" if service.used else "warn"
        do = "" if service.used else "simulations share a GPU without it; 'mps: false' in the site says so for good"
        return [*found, Finding("MPS", status, service.reason, do)]


def check_cores() -> list[Finding]:
    """CPU cores this process may use."""
    from esr1md.workers import usable_cores

    allowed = usable_cores()
    found = f"{allowed} of {os.cpu_count()} may be used"
    if allowed < 2:
        return [Finding("CPU cores", "warn", found, "a screen takes about twice the time it says for two cores")]
    return [Finding("CPU cores", "ok", found)]


def check_memory() -> list[Finding]:
    """Memory that is free, where the system says (Linux)."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        total, free = (int(fields[key].split()[0]) / 1e6 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return []
    found = f"{free:.1f} of {total:.1f} GB available"
    if free < ENOUGH_MEMORY_GB:
        return [Finding("memory", "warn", found, "close something: a simulation may be killed when memory runs out")]
    return [Finding("memory", "ok", found)]


def check_store(root: Path) -> list[Finding]:
    """Whether results can be kept in ``root``, and how much room there is."""
    from esr1md.store import Store

    existing = root
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        if existing == root:
            Store(root).require_writable()
        else:  # leave no empty store behind
            tempfile.TemporaryDirectory(prefix=".esr1md-doctor-", dir=existing).cleanup()
    except (OSError, Esr1mdError) as error:
        return [Finding("store", "problem", f"cannot be written: {error}", "choose another folder with --store")]
    free = shutil.disk_usage(existing).free / 1e9
    found = f"{root.absolute()} can be written, {free:.0f} GB free"
    if free < ROOMY_GB:
        return [Finding("store", "problem" if free < TIGHT_GB else "warn", found,
                        "free some space, or choose another folder with --store")]  # fmt: skip
    return [Finding("store", "ok", found)]


# -- helpers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Done:
    ok: bool
    output: str

    @property
    def last(self) -> str:
        """The last line that says something."""
        return ([line.strip() for line in self.output.splitlines() if line.strip()] or ["no output"])[-1]


def _run(command: list[str], limit_s: float, environment: dict[str, str] | None = None) -> _Done:
    """Run a program to its end or its limit; never raises."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s,
                              env=environment, stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        return _Done(False, f"did not finish in {limit_s:g} s")
    except OSError as error:
        return _Done(False, f"cannot be started: {error.strerror}")
    if done.returncode < 0:
        return _Done(False, f"{done.stdout}{done.stderr}\nkilled by signal {-done.returncode}")
    return _Done(done.returncode == 0, done.stdout + done.stderr)
