"""How fast a library is prepared, and with how much memory.

The first compounds of the ChEMBL table of ER-alpha (``../shared/data/affinity``), spread over the whole file, by
``esr1md ligands prepare`` as a user runs it: states only, with 3D, with 3D and parameters. Memory is that of the
command and all its processes together (resident, sampled twice a second). ``--rows`` twice as large shows whether
memory grows with the library.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLE = Path(__file__).resolve().parents[3] / "shared/data/affinity/chembl_esr1_max_pchembl_labels.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="compounds for the states and for 3D; 0: none")
    parser.add_argument("--parameter-rows", type=int, default=100, help="compounds that get parameters too; 0: none")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    if not TABLE.is_file():
        print(f"needs {TABLE.name} in ../shared/data/affinity, which is not here")
        return
    cases = [("states", asked.rows, ["--no-3d"]), ("states and 3D", asked.rows, [])] if asked.rows else []
    cases += [("states, 3D and parameters", asked.parameter_rows, ["--parameters"])] if asked.parameter_rows else []
    print(f"{asked.workers} processes\n")
    print("| | compounds | failed | ligands | wall (s) | compounds/s | CPU s per ligand | peak memory (MB) |")
    print("|---|---|---|---|---|---|---|---|")
    for what, rows, options in cases:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "library.csv")
            spread(library, rows)
            wall, used, peak, summary = measured(library, Path(folder, "out"), asked.workers, options)
        print(
            f"| {what} | {summary['rows']:,} | {summary['failed']} | {summary['ligands']:,} | {wall:.0f} | "
            f"{summary['rows'] / wall:.1f} | {used / max(1, summary['ligands']):.3f} | {peak:.0f} |",
            flush=True,
        )


def spread(path: Path, rows: int) -> None:
    """Write every n-th compound of the table."""
    with open(TABLE, newline="", encoding="utf-8") as handle:
        table = list(csv.reader(handle))
    header, body = table[0], table[1:]
    step = max(1, len(body) // rows)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *body[::step][:rows]])


def measured(library: Path, out: Path, workers: int, options: list[str]) -> tuple[float, float, float, dict]:
    """Wall time and processor time of all processes (s), peak memory of the tree (MB), the command's summary."""
    command = [sys.executable, "-m", "esr1md.cli", "ligands", "prepare", str(library), "--out", str(out), "--json",
               "--workers", str(workers), *options]  # fmt: skip
    start, used, peak = time.monotonic(), processor_seconds(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while process.poll() is None:
        peak = max(peak, sum(resident_mb(pid) for pid in tree(process.pid)))
        time.sleep(0.5)
    document = json.loads(process.stdout.read())
    return time.monotonic() - start, processor_seconds() - used, peak, document


def processor_seconds() -> float:
    """User and system time of every process that was started here and has ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def tree(root: int) -> list[int]:
    """A process and all that it started, and they in turn."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += parents.get(pid, [])
    return found


def resident_mb(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


if __name__ == "__main__":
    main()
