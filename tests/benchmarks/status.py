"""What ``esr1md status --watch`` costs on a large store: the first look, one after it, and one after something ended.

    python tests/benchmarks/status.py --planned 1000000 --finished 100000 [--indexed]

The store is made up, with files like those of real replicas (10 kB of records each), in a temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from esr1md.screen.progress import own_process, progress_file, write_progress
from esr1md.screen.watch import StoreWatch
from esr1md.store import Store
from esr1md.store.plans import write_plan
from esr1md.store.records import open_index, set_members, upsert

RUNNING = 64


class Rows:
    """Replicas of a plan, each made when it is asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict]:
        for number in range(self._count):
            yield row(number)


def row(number: int) -> dict:
    ligand, state, seed = f"ligand {number // 500}", ("agonist", "antagonist")[number % 2], number % 5
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    variant = f"V{number % 50}"
    return {"digest": digest, "name": f"{variant}/{ligand}/{state}#{seed}", "variant": variant, "ligand": ligand,
            "state": state, "seed": seed}  # fmt: skip


def make_store(root: Path, planned: int, finished: int, indexed: bool) -> Store:
    store, now = Store(root), time.time()
    files = {f"file-{n}": {"bytes": n, "sha256": hashlib.sha256(bytes(n)).hexdigest()} for n in range(14)}
    phase = {"phase": "producing", "started": "2026-01-01T00:00:00.000+00:00", "seconds": 1.0}
    record = {"simulation": {"timeline": [phase] * 12}, "warnings": ["x" * 100] * 3}
    write_plan(root / "screens" / "big", {"screen": "big", "slots": RUNNING, "estimate": {"replica_seconds": 400.0},
                                          "replicas": Rows(planned)})  # fmt: skip
    runner = own_process() | {"started": now - 7200, "finished": None, "updated": now}
    write_progress(root / "screens" / "big" / "runs" / "here.json", runner)
    rows = []
    for number in range(finished):
        folder, seconds = root / "replicas" / row(number)["digest"], random.lognormvariate(6, 0.5)
        folder.mkdir(parents=True)
        ended = {
            "started": datetime.fromtimestamp(now - number - seconds, UTC).isoformat(timespec="milliseconds"),
            "finished": datetime.fromtimestamp(now - number, UTC).isoformat(timespec="milliseconds"),
        }
        (folder / "record.json").write_text(json.dumps({**record, "seconds": seconds}, indent=1))
        (folder / "done.json").write_text(json.dumps({**ended, "files": files}, indent=1))
        if indexed:
            known = {name: row(number)[name] for name in ("digest", "variant", "ligand", "state", "seed")}
            failure = dict.fromkeys(("failure_stage", "failure_cause", "failure_where", "failure_kind", "inchikey"))
            rows.append(known | failure | ended | {"protocol": "quick", "status": "done", "platform": "CUDA",
                                                   "seconds": seconds, "summary": {"binding": [1.0] * 20}})  # fmt: skip
    if indexed:
        index = open_index(store)
        set_members(index, "big", (each["digest"] for each in Rows(planned)))
        upsert(index, rows)
        index.dispose()
    for number in range(finished, min(planned, finished + RUNNING)):
        said = {"digest": row(number)["digest"], "name": row(number)["name"], "stage": "produce", "fraction": 0.5,
                "ns_per_day": 700.0, "started": now - 300, "updated": now, **own_process()}  # fmt: skip
        write_progress(progress_file(store, row(number)["digest"]), said)
    return store


def look_at(store: Store) -> None:
    watch, new = StoreWatch(store), store.root / "replicas" / ("0" * 64)
    for what in ("first look", "next look", "next look", "after a change"):
        if what == "after a change":
            new.mkdir()
        began, cpu = time.perf_counter(), time.process_time()
        look = watch.look()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"{what:<15} {wall:8.3f} s wall {cpu:8.3f} s CPU, {look.screens[0].done} done")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} MB of memory at most; load of the machine {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planned", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--indexed", action="store_true", help="the index knows what has finished")
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.store:
        look_at(Store(given.store))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_store(Path(folder), given.planned, given.finished, given.indexed)
        time.sleep(3)  # so that the folder's date is old enough to be trusted
        subprocess.run([sys.executable, __file__, "--store", folder], check=True)  # so that its memory is its own


if __name__ == "__main__":
    main()
