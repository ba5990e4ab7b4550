"""A screen in which everything is real and only the protocol is tiny: two variants, estradiol, seconds a replica."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.config import load_screen
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import run_screen
from esr1md.store import Store

ROOT = Path(__file__).resolve().parents[1]

NAME = "tiny"
PROTOCOL = """
name: tiny
solvent: {model: obc2, cutoff_angstrom: 12}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 20, solvent: false, restrain: {selection: protein-heavy, kcal_per_angstrom2: 5}}
  - {kind: produce, duration_ps: 0.2, frame_ps: 0.1}
scoring: {frames: 2, receptor: simulated}
"""
SCREEN = """
name: tiny
variants: [WT, Y537S]
ligands: [estradiol]
reference_ligand: estradiol
protocol: PROTOCOL
replicas: 4
platform: CPU
site: SITE
"""

#: Runs a screen without Prefect: ``python -c RUN SCREEN.yaml STORE [SITE.yaml]``.
RUN = """
import sys
from esr1md.config import load_screen
from esr1md.screen.run import run_screen
screen = load_screen(sys.argv[1])
run_screen(screen.on_site(sys.argv[3]) if len(sys.argv) > 3 else screen, sys.argv[2], report=False)
"""


@dataclass(frozen=True)
class TinyScreen:
    """Its file, and the store of a run that nothing disturbed."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "tiny-screen.yaml"

    @property
    def undisturbed(self) -> Store:
        return Store(self.folder / "undisturbed")

    @property
    def digests(self) -> list[str]:
        return [job.spec.digest for job in plan_screen(load_screen(self.file), self.undisturbed.root).jobs]

    def prepared(self, root: Path) -> Store:
        """A store with the receptors, parameters and poses of the undisturbed run, and no replica."""
        for kind in ("receptors", "parameters", "poses"):
            shutil.copytree(self.undisturbed.root / kind, root / kind)
        return Store(root)

    def ranked_the_same(self, store: Store) -> bool:
        """Whether a store's ranking is that of the undisturbed run, number by number."""
        return ranking_of(store) == ranking_of(self.undisturbed)

    def start(self, store: Store, site: Path | None = None, **environment: str) -> subprocess.Popen:
        """A run of the screen in a process of its own."""
        arguments = [str(self.file), str(store.root), *([str(site)] if site else [])]
        return subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments], cwd=ROOT, env={**os.environ, **environment},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def ranking_of(store: Store) -> dict[str, Any]:
    """What is ranked, without the time at which it was."""
    found = json.loads((store.root / "screens" / NAME / "ranking.json").read_text())
    return {key: value for key, value in found.items() if key != "created"}


def stamps(store: Store) -> dict[str, tuple]:
    """What changes of each finished replica if it is computed again."""
    return {
        folder.name: (
            (folder / "done.json").stat().st_ino,
            (folder / "done.json").read_text(),
            (folder / "trajectory.xtc").stat().st_mtime_ns,
        )
        for folder in store.done("replicas")
    }


def wait_for(seen: Callable[[], Any], seconds: float, what: str, alive: Callable[[], bool] = lambda: True) -> Any:
    """What ``seen`` gives as soon as it gives something; fails after ``seconds``, or when nothing is alive any more."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := seen():
            return found
        assert alive(), f"it ended before {what}"
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def make_tiny_screen(folder: Path) -> TinyScreen:
    """The screen in ``folder``, run once for all test processes."""
    folder.mkdir(exist_ok=True)
    made = TinyScreen(folder)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            (folder / "protocol.yaml").write_text(PROTOCOL)
            (folder / "one.yaml").write_text("{name: one, workers: 1, threads: 1}\n")
            text = SCREEN.replace("PROTOCOL", str(folder / "protocol.yaml")).replace("SITE", str(folder / "one.yaml"))
            made.file.write_text(text)
            ranking = run_screen(load_screen(made.file), made.undisturbed.root, report=False)
            assert not ranking.failures, ranking.failures
            (folder / "made").touch()
    return made
