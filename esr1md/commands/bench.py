"""``esr1md bench``: how many simulations of a system should share the GPU, or the cores, of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.output import JsonOption, document_output, show, write_json
from esr1md.errors import InputError

if TYPE_CHECKING:
    from esr1md.complex import Complex
    from esr1md.dynamics.throughput import Load, Measurement
    from esr1md.screen.plan import Plan

MOST = 48


def bench(
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", metavar="NAME|YAML", help="Whose dynamics are measured.")
    ] = "standard",
    variant: Annotated[str, typer.Option("--variant", "-v", metavar="VARIANT", help="WT, Y537S ...")] = "WT",
    state: Annotated[str, typer.Option("--state", metavar="STATE", help="Helix-12 state.")] = "antagonist",
    ligand: Annotated[
        str, typer.Option("--ligand", "-l", metavar="NAME", help="A catalogued ligand.")
    ] = "4-hydroxytamoxifen",
    apo: Annotated[bool, typer.Option("--apo", help="No ligand, so that none has to be placed first.")] = False,
    platform: Annotated[str, typer.Option(help="OpenMM platform: CUDA, OpenCL, CPU or auto.")] = "auto",
    counts: Annotated[
        str | None, typer.Option(metavar="N,N", help="How many at once; 1,2,4,8,16 on a GPU, up to the cores without.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long each number is measured.")] = 15.0,
    mps: Annotated[bool, typer.Option("--mps/--no-mps", help="NVIDIA's multi-process service, where it works.")] = True,
    json: JsonOption = False,
) -> None:
    """Measure how many simulations should run at once here, for one system; screens of the protocol then use it.

    On a GPU the best number is the smallest whose total is within 3 % of the largest total; on the CPU the largest
    within 10 %, since all but the dynamics uses one thread there. The window counts in which all simulations run.

    Examples:

        esr1md bench

        esr1md bench --protocol explicit --counts 1,2,3,4 --seconds 30

        esr1md bench --protocol quick --apo --platform CPU --json
    """
    wanted = read_counts(counts) if counts else None
    with document_output(json) as out:
        from esr1md.commands.terminal import stderr_console

        with stderr_console().status("planning ...") as waiting:
            report: Callable[[str], None] = lambda said: waiting.update(f"{said} ...")  # noqa: E731
            plan = plan_example(protocol, variant, state, None if apo else ligand, platform)
            complex_ = build_example(plan, report)
            found, said = measure_packing(plan, complex_, wanted, seconds, mps=mps, report=report)
        if json:
            write_json(out, as_document(found, said))
        else:
            show(_view(found, said))


def read_counts(text: str) -> tuple[int, ...]:
    """``1,2,4`` as numbers, ascending.

    Raises
    ------
    InputError
        Not a list of whole numbers from 1 to 48.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= MOST:
            raise InputError(f"'{word}' is no number of simulations", where="--counts",
                             expected=f"whole numbers from 1 to {MOST} with commas: 1,2,4")  # fmt: skip
    return tuple(sorted({int(word) for word in words}))


def plan_example(protocol: str, variant: str, state: str, ligand: str | None, platform: str) -> Plan:
    """A plan of one replica, so that a name is understood, or refused, as in a screen.

    Raises
    ------
    InputError
        An unknown protocol, variant, state, ligand or platform.
    """
    from esr1md.catalogue import did_you_mean
    from esr1md.config import STATES, ScreenConfig
    from esr1md.receptor.fetch import cache_folder
    from esr1md.screen.plan import plan_screen

    if state not in STATES:
        raise InputError(f"unknown helix-12 state '{state}'", expected=", ".join(STATES),
                         do=did_you_mean(state, list(STATES)))  # fmt: skip
    config = ScreenConfig(
        name="bench",
        variants=(variant,),
        ligands=(ligand or "estradiol",),
        apo=ligand is None,
        states={"default": state, "apo": state},
        protocol=protocol,
        replicas=1,
    ).on_platform(platform)
    return plan_screen(config, cache_folder().parent / "bench")


def build_example(plan: Plan, report: Callable[[str], None] = lambda said: None) -> Complex:
    """The complex of the plan's last replica; receptor, parameters and pose are kept in the user's cache."""
    from esr1md.complex import build_complex
    from esr1md.screen.replica import prepare_parameters, prepare_pose, prepare_receptor, receptor_of
    from esr1md.store import Store

    job, store = plan.jobs[-1], Store(plan.store_root)
    store.require_writable()
    report("building the receptor")
    receptor = prepare_receptor(store, receptor_of(job))
    parameters = pose = None
    if (ligand := job.spec.cell.ligand) is not None:
        report(f"placing {ligand.name} (once; half a minute or more)")
        parameters, pose = prepare_parameters(store, job), prepare_pose(store, job)
    report("building the system")
    return build_complex(receptor.pdb, parameters, pose and pose.sdf, plan.protocol, seed=job.spec.seed)


def measure_packing(
    plan: Plan,
    complex_: Complex,
    counts: tuple[int, ...] | None,
    seconds: float,
    *,
    mps: bool = True,
    report: Callable[[str], None] = lambda said: None,
) -> tuple[Measurement, list[str]]:
    """Measure each number of simulations on the first GPU, or on the cores, and remember the outcome.

    Returns
    -------
    measurement
        Kept for plans as well.
    said
        What a reader of the numbers must know: whether MPS was used, what failed.

    Raises
    ------
    StageError
        Not even the first number of simulations could run.
    """
    from openmm import OpenMMException

    from esr1md.dynamics import throughput
    from esr1md.errors import StageError
    from esr1md.stopping import take_ctrl_c_back
    from esr1md.workers import WorkerDied, usable_cores

    take_ctrl_c_back()  # building the system has lost it
    devices, said = plan.packing.devices[:1], []
    counts = counts or default_counts(bool(devices), usable_cores())
    wanted_mps = plan.packing.mps if mps else "off"
    loads: list[Load] = []
    with tempfile.TemporaryDirectory(prefix="esr1md-bench-") as name:
        folder = Path(name)
        atoms = throughput.write_system(complex_, plan.protocol, folder)
        with _open_pool(plan, devices, max(counts), wanted_mps, folder, said) as pool:
            report(f"relaxing {atoms[0]:,} atoms on {plan.platform.name}")
            try:
                pool.call(throughput.relax, folder, _on(plan.platform, devices))
            except (WorkerDied, OpenMMException) as error:
                cause = str(error).splitlines()[0]
                raise StageError("dynamics", f"it cannot be minimised on {plan.platform.name}: {cause}") from None
            for count in counts:
                doing = f"{count} at once"
                load = throughput.measure(
                    folder, plan.platform, count, seconds, pool, device=devices[0] if devices else None,
                    progress=lambda what, done, doing=doing: report(f"{doing}: {what}, {done:.0%}"),
                )  # fmt: skip
                loads.append(load)
                if load.failed:
                    said.append(f"{count} at once failed, so no more were tried: {load.failed}")
                    break
    if all(load.failed for load in loads):
        raise StageError("dynamics", loads[0].failed)
    used = bool(devices) and wanted_mps == "used" and not any(each.startswith("MPS is not used") for each in said)
    if devices and wanted_mps != "used" and plan.platform.name == "CUDA":
        said.append(f"MPS is not used: {plan.packing.mps_reason if mps else '--no-mps'}")
    found = throughput.new_measurement(loads, devices, plan.platform.name, plan.protocol, atoms, mps=used)
    throughput.remember(found)
    if 1 not in counts:
        said.append("no gain is given: 1 is not among the numbers")
    return found, said


def _on(platform: Any, devices: tuple) -> Any:
    from dataclasses import replace

    return replace(platform, properties={**platform.properties, **dict(devices[0].properties)}) if devices else platform


def _open_pool(plan: Plan, devices: tuple, size: int, mps: str, folder: Path, said: list[str]) -> Any:
    from dataclasses import replace

    from esr1md.dynamics.slots import worker_environment
    from esr1md.workers import WorkerPool

    packing = replace(plan.packing, devices=plan.packing.devices, mps=mps)
    return WorkerPool(size, log_folder=folder / "logs", environment=worker_environment(packing, said.append))


def default_counts(gpu: bool, cores: int) -> tuple[int, ...]:
    """Powers of two: to 16 on a GPU, to the number of cores (and that number) without."""
    doubled = (1, 2, 4, 8, 16)
    return doubled if gpu else tuple(sorted({*(n for n in doubled if n <= cores), min(cores, MOST)}))


def as_document(found: Measurement, said: list[str]) -> dict[str, Any]:
    """The measurement with totals and gains, as JSON."""
    from dataclasses import asdict

    from esr1md.dynamics.throughput import measurements_file

    first = next((load.total for load in found.loads if load.count == 1 and not load.failed), None)
    loads = [
        asdict(load) | {
            "ns_per_day": round(load.total, 4) if not load.failed else None,
            "gain": round(load.total / first, 3) if first and not load.failed else None,
        }
        for load in found.loads
    ]  # fmt: skip
    return asdict(found) | {"loads": loads, "said": said, "kept_in": str(measurements_file())}


def _view(found: Measurement, said: list[str]) -> Any:
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import table_view
    from esr1md.dynamics.slots import GPU_PLATFORMS
    from esr1md.dynamics.throughput import RULES

    document = as_document(found, said)
    rows = [
        {
            "count": load["count"],
            "total": _rate(load["ns_per_day"]) if not load["failed"] else "failed",
            "each": _rate(sum(load["each"]) / load["count"]) if not load["failed"] else "",
            "gain": f"{load['gain']:.2f}" if load["gain"] else "",
            "threads": load["threads"],
            "memory": f"{load['memory_mb']:.0f}" if load["memory_mb"] else "",
            "gpu": f"{load['gpu_mb']:.0f}" if load["gpu_mb"] is not None else "",
            "best": "best" if load["count"] == found.best else "",
        }
        for load in document["loads"]
    ]
    headings = {"count": "at once", "total": "ns/day\nall", "each": "ns/day\neach", "gain": "times\none",
                "threads": "CPU threads\neach", "memory": "memory\nMB each"}  # fmt: skip
    if any(row["gpu"] for row in rows):
        headings["gpu"] = "GPU memory\nMB each"
    moving = f" ({found.mobile:,} mobile)" if found.mobile < found.atoms else ""
    title = f"{found.protocol_name} on {found.platform}, {found.device}: {found.atoms:,} atoms{moving}"
    rule = RULES[found.platform in GPU_PLATFORMS]
    return Group(
        table_view(title, rows, {**headings, "best": ""}),
        *(Text(line, style="yellow") for line in said),
        Text(f"{found.best} at once is best: {rule}. "
             f"Kept in {document['kept_in']}; screens with this protocol's dynamics now use it.", style="dim"),
    )  # fmt: skip


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
