"""How fast the dashboard is with 2,000 ligands in 12 variants, alone and with 20 sessions at once.

    python tests/benchmarks/dashboard.py [--ligands 2000] [--sessions 20] [--seconds 60]

Writes a synthetic screen into a temporary store (real code reads it), serves it, measures the first page in Chromium
and then lets sessions ask for what pages ask for. Prints one line of JSON for each measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
from rdkit import Chem

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "dashboard")]

from example_store import write_screen  # noqa: E402

from esr1md.scoring.scores import CellScore, Comparison, RankedLigand, Ranking, Verdict  # noqa: E402
from report_example import LIGANDS, score  # noqa: E402

VARIANTS = ("WT", "Y537S", "D538G", "Y537N", "Y537C", "L536H", "L536P", "E380Q", "S463P", "V422del", "F404L", "K303R")
METRICS = ("h12_rmsd_agonist_angstrom", "latch_537_351_angstrom", "clamp_362_542_angstrom", "ligand_rmsd_angstrom")


def synthetic_ranking(n_ligands: int) -> Ranking:
    """Numbers drawn at random on real structures, each made another compound by an alkyl chain."""
    generator = np.random.default_rng(1)
    base = [(name, smiles) for name, (_, state, smiles) in LIGANDS.items() if state == "antagonist"]
    cells, comparisons, lines = [], [], []
    for i in range(n_ligands):
        name, smiles = base[i % len(base)]
        name = f"{name} analogue {i}"
        smiles = Chem.MolToSmiles(Chem.MolFromSmiles(smiles + "." + "C" * (1 + i % 40)))
        level, verdicts = generator.normal(0, 3), generator.choice(list(Verdict), (len(VARIANTS), 2))
        for j, variant in enumerate(VARIANTS):
            cells.append(CellScore(
                variant=variant, ligand=name, state="antagonist", n_replicas=3, n_failed=0,
                binding=score(-50 + level, 1.8, 3), binding_relative=score(level, 2.1, 3),
                helix12=score(11 + generator.normal(0, 0.5), 0.5, 3, "angstrom"),
                metrics={m: score(abs(generator.normal(5, 2)), 0.6, 3, "angstrom") for m in METRICS},
                pose_confidence="high",
            ))  # fmt: skip
            if variant != "WT":
                comparisons.append(Comparison(
                    variant=variant, ligand=name, state="antagonist",
                    binding_shift=score(generator.normal(0.5, 1), 0.9, 3), binding_verdict=verdicts[j, 0],
                    helix12_shift=score(generator.normal(0, 0.5), 0.4, 3, "angstrom"), helix12_verdict=verdicts[j, 1],
                    reason="The interval spans both answers.",
                ))  # fmt: skip
        lines.append(RankedLigand(
            rank=1, rank_low=1, rank_high=1, ligand=name, drug_class=("SERM", "SERD", "PROTAC")[i % 3], smiles=smiles,
            state="antagonist", binding=score(level, 1.6, 36), helix12=score(11 + level / 9, 0.6, 36, "angstrom"),
            worst_variant="Y537S", worst_shift=score(generator.normal(1, 1), 1.1, 3),
            binding_verdict=verdicts[1, 0], helix12_verdict=verdicts[1, 1],
        ))  # fmt: skip
    lines.sort(key=lambda line: line.binding.value)
    lines = [
        line.model_copy(update={"rank": k, "rank_low": max(1, k - 40), "rank_high": min(n_ligands, k + 40),
                                "weighted_rank": k, "weighted_low": 1, "weighted_high": n_ligands})
        for k, line in enumerate(lines, start=1)
    ]  # fmt: skip
    return Ranking(
        screen="large", protocol="standard", reference_ligand="4-hydroxytamoxifen", created="2026-01-31T10:20:00Z",
        platform="CUDA", production_ps=2000.0, versions={}, limits=(), controls=(), ranking=tuple(lines),
        cells=tuple(cells), comparisons=tuple(comparisons),
    )  # fmt: skip


def say(what: str, **numbers) -> None:
    print(json.dumps({"what": what, **numbers}), flush=True)


def serve(store: Path, port: int) -> tuple[subprocess.Popen, float]:
    """The dashboard in a process of its own, and how long until it answers (s)."""
    began = time.monotonic()
    command = [sys.executable, "-m", "esr1md.cli", "dashboard", "--store", str(store), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
            return process, time.monotonic() - began
        except httpx.TransportError:
            if process.poll() is not None:
                raise SystemExit("the dashboard ended") from None
            time.sleep(0.1)


class Session:
    """What a page asks of the server, as a browser would; keeps the times (s) by kind."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=60, headers={"Sec-Fetch-Site": "same-origin"})
        self.times: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self.timed("page", "GET", "/")
        self.client.headers["X-CSRFToken"] = self.client.cookies["esr1md_csrf"]

    def timed(self, kind: str, method: str, path: str, **more):
        began = time.monotonic()
        try:
            answer = self.client.request(method, path, **more)
            if answer.status_code >= 400:
                self.errors.append(f"{kind}: {answer.status_code}")
        except httpx.HTTPError as error:
            self.errors.append(f"{kind}: {type(error).__name__}")
            return None
        self.times.setdefault(kind, []).append(time.monotonic() - began)
        return answer

    def callback(self, kind: str, outputs: list[str], inputs: list[tuple[str, str, object]], state=()) -> None:
        many = len(outputs) > 1
        parts = [dict(zip(("id", "property"), o.split("."), strict=True)) for o in outputs]
        body = {
            "output": f"..{'...'.join(outputs)}.." if many else outputs[0],
            "outputs": parts if many else parts[0],
            "inputs": [{"id": i, "property": p, "value": v} for i, p, v in inputs],
            "changedPropIds": [f"{inputs[0][0]}.{inputs[0][1]}"],
            "state": [{"id": i, "property": p, "value": v} for i, p, v in state],
        }
        self.timed(kind, "POST", "/_dash-update-component", json=body)

    def show(self, kind: str, address: str) -> None:
        outputs = ["page.children", "navigation.children", "screens.children", "title.data"]
        self.callback(kind, outputs, [("address", "data", address)])

    def round(self, k: int) -> None:
        """One visitor's minute, shortened: ranking, weights, substructure, pictures, matrix, review."""
        screen = [("ranking-screen", "data", "large")]
        self.show("ranking", "/?screen=large")
        weights = [(f"ranking-{n}", "value", w) for n, w in (("wb", 1 + k % 3), ("wh", 0.5), ("wr", 0.25 * (k % 8)))]
        self.callback("weights", ["ranking-weighted.data", "ranking-weights-said.children"], weights, screen)
        self.callback("substructure", ["ranking-hits.data", "ranking-smarts-said.children"],
                      [("ranking-smarts", "value", ("c1ccsc1", "S(=O)", "[NH+]")[k % 3])], screen)  # fmt: skip
        for i in range(4):
            ligand = f"fulvestrant analogue {1 + 4 * ((k * 4 + i) % 400)}"
            self.timed("picture", "GET", "/structure.svg", params={"screen": "large", "ligand": ligand})
        self.show("matrix page", "/matrix?screen=large")
        controls = [("matrix-measure", "value", ("binding", "helix12", "ligand_rmsd_angstrom")[k % 3]),
                    ("matrix-state", "value", "all"), ("matrix-find", "value", ""),
                    ("matrix-from", "value", 1 + 40 * (k % 20))]  # fmt: skip
        self.callback("matrix", ["matrix-shown.children", "matrix-keys.data", "matrix-said.children"], controls,
                      [("matrix-screen", "data", "large")])  # fmt: skip
        self.show("review page", "/review?screen=large")
        self.callback("runs", ["runs-shown.children"], [("runs-look", "n_intervals", k)])


def in_browser(url: str) -> None:
    """The first page, and what a user waits for on it (s)."""
    from browsing import ARGUMENTS
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        for name in ("first page, empty cache", "again, empty cache", "again, empty cache"):
            page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            began = time.monotonic()
            page.goto(url, wait_until="commit")
            page.wait_for_selector(".ag-center-cols-container [row-id]", timeout=120_000)
            say(name, seconds=round(time.monotonic() - began, 2))
        for what, act, done in (
            ("find by name", lambda: page.fill("#ranking-find", "raloxifene analogue 7"),
             "() => /^\\d+ of/.test(document.querySelector('#ranking-count').innerText)"),
            ("undo the filter", lambda: page.fill("#ranking-find", ""),
             "() => /^\\d+ ligands/.test(document.querySelector('#ranking-count').innerText)"),
            ("substructure", lambda: page.fill("#ranking-smarts", "c1ccsc1"),
             "() => document.querySelector('#ranking-smarts-said').innerText.startsWith('in ')"),
            ("no substructure", lambda: page.fill("#ranking-smarts", ""),
             "() => /^\\d+ ligands/.test(document.querySelector('#ranking-count').innerText)"),
            ("sort", lambda: page.locator(".ag-header-cell[col-id=helix12] .ag-header-cell-text").click(),
             "() => document.querySelector('.ag-header-cell[col-id=helix12][aria-sort=ascending]')"),
            ("weights", lambda: (page.locator("#ranking-wb [role=slider]").focus(), page.keyboard.press("End")),
             "() => document.querySelector('#ranking-weights-said').innerText.startsWith('your')"),
        ):  # fmt: skip
            began = time.monotonic()
            act()
            page.wait_for_function(done)
            say(f"in the browser: {what}", seconds=round(time.monotonic() - began, 2))
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ligands", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--port", type=int, default=8077)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        ranking = synthetic_ranking(given.ligands)
        write_screen(store, ranking)
        size = (store / "screens" / "large" / "ranking.json").stat().st_size
        say("store", ligands=given.ligands, variants=len(VARIANTS), ranking_mb=round(size / 1e6, 1))
        process, seconds = serve(store, given.port)
        url = f"http://127.0.0.1:{given.port}"
        try:
            say("start of the server", seconds=round(seconds, 1))
            Session(url).show("ranking", "/?screen=large")  # waits for the store to be read
            say("store is read", seconds_after_start=round(seconds, 1))
            if shutil.which("chromium"):
                in_browser(url)
            alone = Session(url)
            for k in range(5):
                alone.round(k)
            report("alone", [alone])
            sessions = [Session(url) for _ in range(given.sessions)]
            end = time.monotonic() + given.seconds

            def live(session: Session, k: int) -> None:
                while time.monotonic() < end:
                    session.round(k)
                    k += 1
                    time.sleep(1.0)  # a person looks at what is there

            threads = [threading.Thread(target=live, args=(s, 7 * i)) for i, s in enumerate(sessions)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            report(f"{given.sessions} sessions, {given.seconds:g} s", sessions)
            memory = Path(f"/proc/{process.pid}/status").read_text()
            say("memory of the server", mb=int(re.search(r"VmHWM:\s+(\d+)", memory).group(1)) // 1024)
        finally:
            process.terminate()
            process.wait(20)


def report(what: str, sessions: list[Session]) -> None:
    errors = [error for s in sessions for error in s.errors]
    kinds = dict.fromkeys(kind for s in sessions for kind in s.times)
    for kind in kinds:
        times = sorted(t for s in sessions for t in s.times.get(kind, ()))
        say(f"{what}: {kind}", n=len(times), median=round(statistics.median(times), 3),
            p95=round(times[int(0.95 * (len(times) - 1))], 3), most=round(times[-1], 3))  # fmt: skip
    say(f"{what}: errors", n=len(errors), first=errors[:3])


if __name__ == "__main__":
    main()
