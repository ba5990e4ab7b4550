"""NVIDIA's multi-process service (MPS): kernels of several processes run on a GPU at once instead of in turns.

A user's own daemon in a private folder, shared by that user's screens and ended when the last of them is gone, however
it went: each is stood for by a small process (``python -m esr1md.dynamics.mps``) that outlives it by a moment.
Facts about MPS: https://docs.nvidia.com/deploy/mps. It serves CUDA only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from esr1md.workers import module_command

PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
#: Where a daemon of the machine listens, and clients that were told nothing look.
DEFAULT_PIPES = Path("/tmp/nvidia-mps")
#: A socket's path may have 107 characters, and the daemon's own names take the rest.
LONGEST_FOLDER = 80
ANSWER_LIMIT_S, START_LIMIT_S, END_LIMIT_S = 20, 60, 20
CLIENT_LIMIT_S = 120
#: The module, with its argument, that is run to see whether a CUDA process works through the daemon.
CLIENT = ("esr1md.dynamics.platforms", "CUDA")


@dataclass(frozen=True)
class Service:
    """Whether MPS is used, why or why not, and what its clients' environment needs."""

    used: bool
    reason: str
    environment: dict[str, str] = field(default_factory=dict)


def program() -> str | None:
    """The path of NVIDIA's control program, if it is installed."""
    return shutil.which(PROGRAM)


def without(folder: Path) -> dict[str, str]:
    """What keeps CUDA from using a daemon of the machine: a folder in which none listens."""
    nobody = folder / "no-mps"
    nobody.mkdir(mode=0o700, exist_ok=True)
    return {PIPES: str(nobody)}


@contextmanager
def running(folder: Path, visible: Mapping[str, str] | None = None) -> Iterator[Service]:
    """MPS for as long as the body runs, if it can be: its daemon answers and a CUDA process works through it.

    A daemon that the user or the machine already runs is used and left running.

    Parameters
    ----------
    folder
        Private to the user.
    visible
        Environment that says which GPUs the daemon serves (``CUDA_VISIBLE_DEVICES``, by UUID); each such choice has a
        daemon of its own.
    """
    visible = dict(visible or {})
    if program() is None:
        yield Service(False, f"{PROGRAM} is not installed")
        return
    theirs = Path(os.environ.get(PIPES) or DEFAULT_PIPES)
    if (theirs / "control").exists() and _ask("get_server_list", {PIPES: str(theirs)}) is not None:
        yield _proven(Service(True, f"a daemon already runs in {theirs}", {PIPES: str(theirs)}), visible, folder)
        return
    own = folder / f"mps-{hashlib.sha256(json.dumps(visible, sort_keys=True).encode()).hexdigest()[:8]}"
    if len(str(own)) > LONGEST_FOLDER:
        yield Service(False, f"the path of '{own}' is too long for its sockets; name a shorter one in ESR1MD_SLOTS")
        return
    keeper = _start_keeper(own, visible)
    try:
        yield _proven(_answer(keeper, own), visible, folder)
    finally:
        keeper.stdin.close()  # it ends the daemon, unless another screen uses it
        try:
            keeper.wait(2 * END_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass  # it goes on trying on its own
        keeper.stdout.close()


def _environment(own: Path) -> dict[str, str]:
    return {PIPES: str(own), LOGS: str(own / "log")}


def _start_keeper(own: Path, visible: dict[str, str]) -> subprocess.Popen:
    own.mkdir(mode=0o700, exist_ok=True)
    (own / "log").mkdir(mode=0o700, exist_ok=True)
    command, environment = module_command(
        "esr1md.dynamics.mps", str(own), environment={**visible, **_environment(own)}
    )  # fmt: skip
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )


def _answer(keeper: subprocess.Popen, own: Path) -> Service:
    ready, _, _ = select.select([keeper.stdout], [], [], START_LIMIT_S)
    said = keeper.stdout.readline().decode().strip() if ready else f"its daemon did not start in {START_LIMIT_S} s"
    if said == "ready":
        return Service(True, "started for these simulations", _environment(own))
    return Service(False, said or f"its daemon could not be watched (see {own / 'log'})")


def _proven(service: Service, visible: dict[str, str], folder: Path) -> Service:
    """The service, if a CUDA process works through it: in a container the daemon may run and its clients fail."""
    if not service.used:
        return service
    command, environment = module_command(
        *CLIENT, environment={**visible, **service.environment}
    )  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CLIENT_LIMIT_S, env=environment, check=False
        )
        worked = done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["ok"]
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except (subprocess.TimeoutExpired, ValueError, IndexError, KeyError) as error:
        worked, said = False, f"{type(error).__name__}"
    if not worked:
        return Service(False, f"a CUDA process does not work through it ({said})", without(folder))
    if not _ask("get_server_list", {**visible, **service.environment}):
        return Service(False, "a CUDA process works, but not through it: it started no server",
                       without(folder))  # fmt: skip
    return service


def _ask(command: str, environment: Mapping[str, str], limit_s: float = ANSWER_LIMIT_S) -> str | None:
    """The daemon's answer to a command; ``None`` if it gives none."""
    try:
        done = subprocess.run(
            [program() or PROGRAM],
            input=f"{command}\n",
            capture_output=True,
            text=True,
            timeout=limit_s,
            env={**os.environ, **environment},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    nobody = "cannot find" in (done.stdout + done.stderr).lower()  # whatever its exit code
    return done.stdout.strip() if done.returncode == 0 and not nobody else None


# -- the process that stands for one screen --------------------------------------------------------------------


def _keep(own: Path) -> None:
    """Have a daemon until the standard input ends, as it does when the parent ends in whatever way."""
    with open(own / "users.lock", "ab") as users, open(own / "guard.lock", "ab") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        failed = "" if _ask("get_server_list", {}) is not None else _start_daemon(own)
        fcntl.flock(guard, fcntl.LOCK_UN)
        try:
            print(failed or "ready", flush=True)
        except BrokenPipeError:
            pass
        sys.stdin.buffer.read()
        fcntl.flock(guard, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another screen uses it
        if not failed:
            _ask("quit", {}, END_LIMIT_S)


def _start_daemon(own: Path) -> str:
    """Start the daemon; returns why it could not be, or nothing."""
    said = own / "log" / "start.log"
    try:
        with open(said, "wb") as log:  # not a pipe, which the daemon would keep open
            done = subprocess.run(
                [program() or PROGRAM, "-d"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=START_LIMIT_S / 2, check=False,
            )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its daemon cannot be started: {error}"
    if done.returncode == 0 and _ask("get_server_list", {}) is not None:
        return ""
    lines = said.read_text(errors="replace").strip().splitlines()
    return f"its daemon cannot be started: {lines[-1] if lines else f'exit code {done.returncode}'} (see {own / 'log'})"


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
