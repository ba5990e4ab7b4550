"""What a GPU does with ER LBD complexes: this engine against a bare OpenMM loop, and several simulations at once.

    python tests/benchmarks/gpu.py                                     on the GPU machine; under nine minutes
    python tests/benchmarks/gpu.py --platform CPU --small --out try    the same code on a CPU, in a minute or two

    python tests/benchmarks/gpu.py --prepare systems                   build the systems elsewhere, and then on the
    python tests/benchmarks/gpu.py --systems systems                   GPU machine, which builds none then

4-hydroxytamoxifen in the antagonist model: ``implicit`` with the protocol ``standard``, ``explicit`` with ``explicit``
in a box of about 40,000 atoms. Rows go to OUT/rows.jsonl as they come and to OUT/table.md at the end; what could not be
measured is a row with the reason. Goals: several at once do at least 2 times one run's ns/day for the implicit system,
and 1.3 times for the explicit one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(1, str(HERE.parents[1]))

import openmm  # noqa: E402

from esr1md.complex import Complex  # noqa: E402
from esr1md.dynamics import throughput  # noqa: E402
from esr1md.dynamics.mps import program as mps_program  # noqa: E402
from esr1md.dynamics.platforms import PlatformChoice, choose_platform, probe  # noqa: E402
from esr1md.dynamics.protocol import Protocol, load_protocol  # noqa: E402
from esr1md.dynamics.slots import GPU_PLATFORMS, Device, Packing, find_devices, worker_environment  # noqa: E402
from esr1md.errors import Esr1mdError, InputError  # noqa: E402
from esr1md.workers import WorkerDied, WorkerPool, usable_cores  # noqa: E402

GOALS = {"implicit": 2.0, "explicit": 1.3}
#: Wall time (s) of a measurement beside its window: imports, contexts, kernels.
START_S = {"bare": 20, "engine": 25, "packing": 12}


@dataclass
class Run:
    """One call of this script: where rows go and how much time is left."""

    out: Path
    seconds: float
    counts: tuple[int, ...]
    ends: float

    def row(self, **values: Any) -> None:
        with open(self.out / "rows.jsonl", "a") as file:
            file.write(json.dumps(values) + "\n")
        print("  ".join(f"{name} {value}" for name, value in values.items() if value not in ("", None)), flush=True)

    def skip(self, why: str, **what: Any) -> None:
        self.row(**what, skipped=why)

    def fits(self, kind: str, **what: Any) -> bool:
        """Whether there is time for a measurement; else that it was left out is a row."""
        if time.monotonic() + self.seconds + START_S[kind] < self.ends:
            return True
        self.skip("no time left (--budget)", what=kind, **what)
        return False


# -- systems ---------------------------------------------------------------------------------------------------


def build_systems(names: list[str], small: bool) -> dict[str, tuple[Complex, Protocol]]:
    """The complexes and their protocols; ``small`` ones are the pocket region, and a thin shell of water."""
    from esr1md.complex import build_complex
    from esr1md.receptor.frame import bundled_model
    from systems import hydroxytamoxifen

    parameters, pose = hydroxytamoxifen()
    found = {}
    for name in names:
        if name == "implicit":
            protocol = load_protocol("quick" if small else "standard")
        else:
            data = load_protocol("explicit").model_dump(mode="json")
            data["solvent"]["padding_angstrom"] = 1 if small else 15.5
            protocol = Protocol(**data)
        found[name] = (build_complex(bundled_model("antagonist"), parameters, pose, protocol), protocol)
    return found


def save_systems(systems: dict[str, tuple[Complex, Protocol]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (complex_, protocol) in systems.items():
        with gzip.open(folder / f"{name}.pickle.gz", "wb") as file:
            pickle.dump((complex_, protocol.model_dump(mode="json")), file)


def read_systems(names: list[str], folder: Path) -> dict[str, tuple[Complex, Protocol]]:
    found = {}
    for name in names:
        path = folder / f"{name}.pickle.gz"
        if not path.is_file():
            raise InputError(f"no system '{path}'", do="make it with --prepare, or leave --systems out")
        with gzip.open(path, "rb") as file:
            complex_, protocol = pickle.load(file)
        found[name] = (complex_, Protocol(**protocol))
    return found


# -- measurements ----------------------------------------------------------------------------------------------


def run_engine(complex_: Complex, protocol: Protocol, choice: PlatformChoice, production_ps: float) -> dict[str, Any]:
    """A replica by :func:`esr1md.dynamics.run.simulate`, in a process of its own; its production is what is timed."""
    from esr1md.dynamics.run import simulate

    frame_ps = min(protocol.production.frame_ps, production_ps)
    data = protocol.model_dump(mode="json")
    data["stages"] = [
        next(stage for stage in data["stages"] if stage["kind"] == "minimise") | {"iterations": 30},
        {"kind": "heat", "from_kelvin": 100, "duration_ps": min(2.0, production_ps)},
        {"kind": "produce", "duration_ps": frame_ps * max(1, round(production_ps / frame_ps)), "frame_ps": frame_ps},
    ]
    with tempfile.TemporaryDirectory() as folder:
        record = simulate(complex_, Protocol(**data), seed=1, platform=choice, folder=Path(folder))
    return {"ns_per_day": record.ns_per_day, "production_ps": record.production_ps, "seconds": record.seconds}


def with_device(choice: PlatformChoice, devices: tuple[Device, ...]) -> PlatformChoice:
    properties = dict(devices[0].properties) if devices else {"Threads": str(usable_cores())}
    return replace(choice, properties={**choice.properties, **properties})


def attempt(run: Run, work: Callable[[], None], **what: Any) -> None:
    """Do a measurement; what stops it is a row, and the next one is tried."""
    try:
        work()
    except (WorkerDied, Esr1mdError, openmm.OpenMMException, RuntimeError, ValueError) as error:
        run.skip(f"failed: {str(error).splitlines()[0]}", **what)


def measure_system(
    run: Run, name: str, complex_: Complex, protocol: Protocol, choice: PlatformChoice, *, packing: bool
) -> None:
    """Bare loop, engine, and (on the first platform) several at once with and without MPS."""
    devices = find_devices(choice.name)[:1]
    device = devices[0] if devices else None
    what = {"system": name, "platform": choice.name}
    with tempfile.TemporaryDirectory(prefix="esr1md-gpu-") as scratch:
        folder = Path(scratch)
        atoms, _ = throughput.write_system(complex_, protocol, folder)
        bare = 0.0

        def measure(pool: WorkerPool, count: int) -> throughput.Load:
            return throughput.measure(folder, choice, count, run.seconds, pool, device=device)

        def measure_one() -> None:
            nonlocal bare
            packed = Packing(1, 1, 1, devices, mps="off")
            with WorkerPool(1, log_folder=folder / "logs", environment=worker_environment(packed)) as pool:
                pool.call(throughput.relax, folder, with_device(choice, devices), 100 if devices else 20)
                load = measure(pool, 1)
                if load.failed:
                    run.skip(load.failed, what="bare", **what)
                    return
                bare = load.total
                run.row(what="bare", **what, atoms=atoms, ns_per_day=round(bare, 2), memory_mb=load.memory_mb,
                        gpu_mb=load.gpu_mb)  # fmt: skip
                if run.fits("engine", **what):
                    production_ps = max(20 * protocol.time_step_fs / 1000, bare * 1000 / 86400 * run.seconds)
                    ran = pool.call(run_engine, complex_, protocol, with_device(choice, devices), production_ps)
                    run.row(what="engine", **what, atoms=atoms, ns_per_day=round(ran["ns_per_day"], 2),
                            of_bare=round(ran["ns_per_day"] / bare, 3), seconds=ran["seconds"])  # fmt: skip

        if run.fits("bare", **what):
            attempt(run, measure_one, what="bare or engine", **what)
        if not bare or not packing:
            return
        for mps in ("off", "used"):
            if mps == "used" and (choice.name != "CUDA" or mps_program() is None):
                why = "it serves CUDA only" if choice.name != "CUDA" else "nvidia-cuda-mps-control is not installed"
                run.skip(why, what="packing", **what, mps=True)
                continue
            attempt(run, lambda mps=mps: pack(run, what, folder, devices, bare, mps, measure),
                    what="packing", **what, mps=mps == "used")  # fmt: skip


def pack(
    run: Run,
    what: dict[str, str],
    folder: Path,
    devices: tuple[Device, ...],
    bare: float,
    mps: str,
    measure: Callable[[WorkerPool, int], throughput.Load],
) -> None:
    failed: list[str] = []
    packed = Packing(max(run.counts), 1, max(run.counts), devices, mps=mps)
    with WorkerPool(
        max(run.counts), log_folder=folder / "logs", environment=worker_environment(packed, failed.append)
    ) as pool:
        for count in run.counts:
            values = {**what, "mps": mps == "used", "count": count}
            if count == 1 and mps == "off":
                run.row(what="packing", **values, ns_per_day=round(bare, 2), gain=1.0)
                continue
            if not run.fits("packing", **values):
                return
            load = measure(pool, count)
            if failed:
                run.skip(failed[0], what="packing", **what, mps=True)
                return
            if load.failed:
                run.skip(load.failed, what="packing", **values)
                return
            run.row(what="packing", **values, ns_per_day=round(load.total, 2), gain=round(load.total / bare, 3),
                    memory_mb=load.memory_mb, gpu_mb=load.gpu_mb, window_s=load.seconds)  # fmt: skip


# -- the table -------------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, and whether the goals are met."""
    lines = []
    for row in rows:
        if row["what"] == "machine":
            lines += [f"{row['devices']}, OpenMM {row['openmm']}, {row['cores']} cores", ""]
    single = [row for row in rows if row["what"] in ("bare", "engine") and "skipped" not in row]
    if single:
        lines += ["| system | atoms | platform | bare OpenMM loop, ns/day | this engine, ns/day | ratio |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        by_key: dict[tuple, dict[str, dict]] = {}
        for row in single:
            by_key.setdefault((row["system"], row["atoms"], row["platform"]), {})[row["what"]] = row
        for (system, atoms, platform), pair in by_key.items():
            engine = pair.get("engine", {})
            lines.append(f"| {system} | {atoms:,} | {platform} | {pair['bare']['ns_per_day']:g} | "
                         f"{engine.get('ns_per_day', '-')} | {engine.get('of_bare', '-')} |")  # fmt: skip
        lines.append("")
    packed = [row for row in rows if row["what"] == "packing" and "skipped" not in row]
    if packed:
        lines += ["| system | platform | MPS | at once | ns/day, all | times one |", "|---|---|---|---|---|---|"]
        lines += [f"| {row['system']} | {row['platform']} | {'with' if row['mps'] else 'without'} | {row['count']} | "
                  f"{row['ns_per_day']:g} | {row['gain']:g} |" for row in packed]  # fmt: skip
        lines.append("")
        for system, goal in GOALS.items():
            gains = [row["gain"] for row in packed if row["system"] == system and row["platform"] in GPU_PLATFORMS]
            if gains:
                met = "met" if max(gains) >= goal else "not met"
                lines.append(f"{system}: {max(gains):g} times one run; the goal of {goal:g} is {met}.")
        lines.append("")
    lines += [f"Not measured: {' '.join(str(row[k]) for k in row if k != 'skipped')}: {row['skipped']}."
              for row in rows if "skipped" in row]  # fmt: skip
    return "\n".join(lines).strip() + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/gpu-benchmark"))
    parser.add_argument("--platform", action="append", help="may be repeated; several at once are measured on the first"
                        " that works (default: CUDA and OpenCL)")  # fmt: skip
    parser.add_argument("--system", action="append", choices=list(GOALS), help="may be repeated (default: both)")
    parser.add_argument("--counts", default="1,2,4,8,16")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measured window")
    parser.add_argument("--budget", type=float, default=510.0, help="no measurement is begun that would end later (s)")
    parser.add_argument("--small", action="store_true", help="systems that a CPU does in a minute")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="build the systems, keep them there and stop")
    parser.add_argument("--systems", type=Path, metavar="FOLDER", help="take them from there")
    given = parser.parse_args(arguments)
    ends = time.monotonic() + given.budget
    throughput.START_LIMIT_S = 90  # what hangs must not take the time of all others
    names = given.system or list(GOALS)
    if given.prepare:
        save_systems(build_systems(names, given.small), given.prepare)
        return
    counts = tuple(sorted({1, *map(int, given.counts.split(","))}))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "rows.jsonl").unlink(missing_ok=True)
    run = Run(given.out, given.seconds, counts, ends)
    try:
        measure_all(run, given.platform or ["CUDA", "OpenCL"], names, given)
    finally:
        rows = [json.loads(line) for line in (run.out / "rows.jsonl").read_text().splitlines()]
        (run.out / "table.md").write_text(table(rows))
    print(f"\n{table(rows)}")


def measure_all(run: Run, platforms: list[str], names: list[str], given: argparse.Namespace) -> None:
    usable = []
    for name in platforms:
        found = probe(name)
        if found.ok:
            usable.append(choose_platform(name))
        else:
            run.skip(found.reason, what="platform", platform=name)
    devices = [asdict(device)["name"] for choice in usable[:1] for device in find_devices(choice.name)]
    run.row(what="machine", devices=", ".join(devices) or throughput.device_name(()), openmm=openmm.__version__,
            cores=usable_cores())  # fmt: skip
    if not usable:
        return
    systems = read_systems(names, given.systems) if given.systems else build_systems(names, given.small)
    for number, choice in enumerate(usable):
        for name, (complex_, protocol) in systems.items():
            measure_system(run, name, complex_, protocol, choice, packing=number == 0)


if __name__ == "__main__":
    from gpu import main as importable_main  # the workers import run_engine by the name of its module

    try:
        importable_main()
    except Esr1mdError as error:
        sys.exit(f"error: {error}")
