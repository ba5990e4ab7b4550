"""Where the time of a screen goes: runs it in a fresh store and adds up what each replica recorded.

    python tests/benchmarks/quickstart_stages.py [--screen quickstart] [--store DIR]

With ``--store`` of a finished screen nothing is run and its records are read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screen", default="quickstart")
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    wall = None
    store = arguments.store
    if store is None:
        store = Path(tempfile.mkdtemp(prefix="esr1md-benchmark-"))
        started = time.perf_counter()
        command = [sys.executable, "-m", "esr1md.cli", "screen", arguments.screen, "--store", str(store), "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
    totals: dict[str, list[float]] = defaultdict(list)
    for path in sorted(store.glob("replicas/*/record.json")):
        record = json.loads(path.read_text())
        for stage, seconds in record.get("stage_seconds", {}).items():
            if stage != "dynamics":
                totals[stage].append(seconds)
        for stage, seconds in record.get("simulation", {}).get("seconds", {}).items():
            totals[f"dynamics: {stage}"].append(seconds)
    busy = sum(sum(values) for values in totals.values())
    print(f"{os.cpu_count()} cores, store {store}")
    print(f"{'stage':24s} {'replicas':>8s} {'seconds':>9s} {'share':>6s} {'mean':>7s}")
    for stage, values in sorted(totals.items(), key=lambda item: -sum(item[1])):
        total = sum(values)
        print(f"{stage:24s} {len(values):8d} {total:9.1f} {total / busy:6.1%} {total / len(values):7.2f}")
    print(f"{'all replicas (core time)':24s} {'':8s} {busy:9.1f}")
    if wall is not None:
        print(f"{'wall, whole command':24s} {'':8s} {wall:9.1f}")


if __name__ == "__main__":
    main()
