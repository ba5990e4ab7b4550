"""Time and memory of planning a screen of a million replicas, by ``esr1md screen BIG.yaml --dry-run``.

50 variants (the catalogue's and further point mutations) x 2,000 ligands x 2 helix-12 states x 5 replicas, from a YAML
and a SMILES file as a user writes them. The ligands are compounds of at most 650 Da, spread over the ChEMBL table of
ER-alpha (``../shared/data/affinity``), that are one defined ligand each. Memory is that of the command and all its
processes together (resident, sampled five times a second).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from library import TABLE, processor_seconds, resident_mb, tree

#: Besides the catalogue's, to make fifty.
MORE_VARIANTS = (
    "Y537H", "Y537F", "Y537Q", "Y537A", "Y537E", "D538A", "D538E", "D538H", "D538N", "D538V", "L536K", "L536A", "E380K",
    "E380D", "V392L", "S432L", "G442R", "R503W", "N532K", "V533M", "M421I", "H524L", "M528V", "C530S", "L525A", "T347A",
)  # fmt: skip
SAMPLE_S, HEAVIEST = 0.2, 650.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--ligands", type=int, default=2000)
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--finished", type=int, default=1000, help="replicas that the last case finds in the store")
    parser.add_argument("--compounds", type=Path, help="keep the list of usable compounds here, for the next time")
    asked = parser.parse_args()
    if not TABLE.is_file():
        print(f"needs {TABLE.name} in ../shared/data/affinity, which is not here")
        return
    with tempfile.TemporaryDirectory(prefix="esr1md-planning-") as name:
        folder = Path(name)
        path = write_screen(
            folder, asked.variants, spread(usable(asked.compounds, folder), asked.ligands), asked.replicas
        )
        os.environ["ESR1MD_CACHE"] = str(folder / "cache")
        dry = [sys.executable, "-m", "esr1md.cli", "screen", str(path), "--dry-run", "--store", str(folder / "store")]
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        print("| | replicas | wall (s) | CPU (s) | peak memory (MB) |\n|---|---|---|---|---|")
        row("first dry run, no ligand prepared before", dry)
        row("again", dry)
        row("with --json", [*dry, "--json"], folder / "plan.out")
        finish_some(path, folder / "store", asked.finished)
        row(f"with {asked.finished:,} replicas in the store", dry)
        print()
        plan_file(path, folder)


def usable(kept: Path | None, folder: Path) -> list[tuple[str, str]]:
    """(name, SMILES) of every compound of the table that is one defined ligand, each once."""
    if kept is not None and kept.is_file():
        return [tuple(row) for row in json.loads(kept.read_text())]
    os.environ["ESR1MD_CACHE"] = str(folder / "choosing")
    from esr1md.errors import InputError
    from esr1md.screen.ligand_cache import Structure
    from esr1md.screen.ligands import prepare

    with open(TABLE, newline="", encoding="utf-8") as handle:
        table = [row for row in csv.DictReader(handle) if float(row["full_mwt"] or "inf") <= HEAVIEST]
    made = prepare([Structure(row["molecule_chembl_id"], row["canonical_smiles"], "smiles") for row in table])
    found = {}
    for structure, ligands in made.items():
        if not isinstance(ligands, InputError):
            found.setdefault(ligands[0].inchikey, (structure.name, structure.text))
    chosen = sorted(found.values())
    if kept is not None:
        kept.write_text(json.dumps(chosen))
    return chosen


def spread(compounds: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """So many of them, from the whole list."""
    if len(compounds) < count:
        raise SystemExit(f"only {len(compounds):,} compounds can be used")
    return [compounds[number * len(compounds) // count] for number in range(count)]


def write_screen(folder: Path, n_variants: int, compounds: list[tuple[str, str]], replicas: int) -> Path:
    """The YAML and the library of a screen."""
    from esr1md.receptor.variants import variant_entries

    catalogued = [entry.name for entry in variant_entries() if entry.buildable and entry.name != "WT"]
    variants = list(dict.fromkeys(["WT", *catalogued, *MORE_VARIANTS]))[:n_variants]
    (folder / "library.smi").write_text("".join(f"{smiles} {name}\n" for name, smiles in compounds))
    screen = {
        "name": "big", "variants": variants, "ligands": [{"file": "library.smi"}], "protocol": "standard",
        "states": ["agonist", "antagonist"], "replicas": replicas, "platform": "CPU",
    }  # fmt: skip
    path = folder / "big.yaml"
    path.write_text(yaml.safe_dump(screen, sort_keys=False))
    return path


def row(what: str, command: list[str], out: Path | None = None) -> None:
    """One case of the table."""
    start, used, peak = time.monotonic(), processor_seconds(), 0.0
    with open(out or os.devnull, "wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.PIPE, text=True)
        while process.poll() is None:
            peak = max(peak, sum(resident_mb(pid) for pid in tree(process.pid)))
            time.sleep(SAMPLE_S)
    wall, said = time.monotonic() - start, process.stderr.read()
    if process.returncode:
        raise SystemExit(said)
    if out is not None:
        document = json.loads(out.read_text())
        what += f" ({out.stat().st_size / 1e6:.0f} MB)"
        assert len({replica["digest"] for replica in document["replicas"]}) == document["matrix_size"]
    count = said.partition(" replicas there, ")[2].partition(" to run")[0]
    print(f"| {what} | {count} | {wall:.1f} | {processor_seconds() - used:.1f} | {peak:.0f} |", flush=True)


def finish_some(path: Path, store: Path, count: int) -> None:
    """Replicas spread over the screen, as a run would leave them but for their content."""
    from esr1md.config import load_screen
    from esr1md.screen.plan import plan_screen
    from esr1md.store import Store

    plan = plan_screen(load_screen(path), store)

    def make(folder: Path) -> None:
        (folder / "record.json").write_text(json.dumps({"platform": "CPU", "seconds": 60.0}))

    for job in plan.jobs[:: max(1, len(plan.jobs) // count)][:count]:
        Store(store).produce("replicas", job.spec.digest, make, spec=job.spec.identity)


def plan_file(path: Path, folder: Path) -> None:
    """The steps of a plan alone, and ``plan.json`` as rows and as columns."""
    from esr1md.config import load_screen
    from esr1md.screen.plan import plan_screen
    from esr1md.store.plans import read_plan, write_plan

    print("| in one process | CPU (s) |\n|---|---|")
    plan = timed("plan, ligands prepared before", lambda: plan_screen(load_screen(path), folder / "nothing"))
    timed("all digests", lambda: plan.jobs.digest_bytes)
    timed("every job made once", lambda: sum(1 for _ in plan.jobs))
    timed("plan.json written", lambda: write_plan(folder / "columns", plan.record()))
    print(f"| its size | {(folder / 'columns/plan.json').stat().st_size / 1e6:.0f} MB |")
    read = timed("plan.json read", lambda: read_plan(folder / "columns"))
    timed("its rows made once", lambda: sum(1 for _ in read["replicas"]))


def timed(what: str, do: Callable):
    started = time.process_time()
    answer = do()
    print(f"| {what} | {time.process_time() - started:.1f} |", flush=True)
    return answer


if __name__ == "__main__":
    main()
