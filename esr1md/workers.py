"""Runs calls in separate processes that are allowed to die.

A simulation can end its process: a driver's segmentation fault, the kernel's out-of-memory killer, an
operator's ``kill -9``. ``concurrent.futures.ProcessPoolExecutor`` answers the first such death by failing
every waiting call; here only the call that was running fails, and a fresh process takes the next one.

Workers are started as ``python -m esr1md.workers``, not by ``multiprocessing``, so that a user's script needs
no ``if __name__ == "__main__"`` guard and numeric libraries see their thread limits before they are imported.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from esr1md.errors import StoppedEarly
from esr1md.stopping import on_sigterm

#: How often a call's sign of life is looked at, at most (s).
LOOK_S = 5.0


class WorkerDied(RuntimeError):
    """The process of a call ended before it answered; the call was not finished."""


@dataclass(frozen=True)
class SignOfLife:
    """A file that a call writes to while it gets on; unchanged for ``silent_s`` seconds, the call hangs.

    Whether it has changed is seen by looking, not told by its date, so that no clock matters.
    """

    path: Path
    silent_s: float


class PoolClosed(RuntimeError):
    """The call was ended, or not begun, because the pool was closed."""


def usable_cores() -> int:
    """CPU cores this process may use: a job of a cluster has fewer than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def module_command(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[list[str], dict[str, str]]:
    """A command that runs a module of ours with what this process can import, and its environment.

    No folder of the user's, named like ours or a library, may stand in for it (``-P``).

    Parameters
    ----------
    arguments
        The module and its arguments.
    environment
        Variables besides this process's.
    """
    search_path = os.pathsep.join(str(Path(__file__).parents[1]) if p == "" else p for p in sys.path)
    return [sys.executable, "-P", "-m", *arguments], {**os.environ, **(environment or {}), "PYTHONPATH": search_path}


class WorkerPool:
    """``slots`` processes, each doing one call at a time; usable from any thread.

    Parameters
    ----------
    slots
        Calls that run at once.
    threads
        CPU threads each process may use (``OMP_NUM_THREADS``, ``OPENMM_CPU_THREADS``).
    log_folder
        Where each worker's standard output and error go; libraries print there, never on the user's terminal.
    environment
        A context manager entered before the first process starts and left once all have ended: it yields what their
        environment has besides this process's (:func:`esr1md.dynamics.slots.worker_environment`).
    """

    def __init__(
        self,
        slots: int,
        *,
        threads: int = 1,
        log_folder: Path,
        environment: AbstractContextManager[Mapping[str, str]] | None = None,
    ) -> None:
        self.slots, self.threads, self.log_folder = slots, threads, Path(log_folder)
        self._given, self._environment, self._setting = environment, None, ExitStack()
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()  # a warm worker is taken first
        self._alive: set[_Worker] = set()
        self._guard = threading.Lock()
        self._closed = False
        for _ in range(slots):
            self._idle.put(None)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(
        self,
        function: Callable,
        *args: Any,
        sign: SignOfLife | None = None,
        wanted: Callable[[], bool] | None = None,
        **kwargs: Any,
    ) -> Any:
        """``function(*args, **kwargs)`` in a worker; waits for a free one.

        ``function`` must be importable by name (top level of a module); arguments and answer are pickled.

        Parameters
        ----------
        sign
            Where the call shows that it gets on; one that does not is ended.
        wanted
            Asked now and then whether somebody still waits for the answer; a call that nobody wants is ended.

        Raises
        ------
        WorkerDied
            The process ended first, or hung; the message says by which signal or exit code and where its log is.
        PoolClosed
            :meth:`close` was called, before or meanwhile.
        Exception
            Whatever ``function`` raised.
        """
        worker = self._idle.get()
        try:
            worker = worker or self._new_worker()
            with worker.watched(sign, wanted):
                return worker.call(function, args, kwargs)
        except (WorkerDied, StoppedEarly, KeyboardInterrupt) as ending:  # a process that was told to stop does no more
            if worker is not None:
                self._drop(worker)
                worker = None
            if self._closed:
                raise PoolClosed from ending
            raise
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End every worker, also one in the middle of a call; no further call is taken."""
        with self._guard:
            self._closed = True
            alive, self._alive = self._alive, set()
        for worker in alive:
            worker.kill()
        self._setting.close()

    def _new_worker(self) -> _Worker:
        with self._guard:
            if self._closed:
                raise PoolClosed
            if self._environment is None:
                self._environment = dict(self._setting.enter_context(self._given)) if self._given else {}
            worker = _Worker(self.threads, self.log_folder, self._environment)
            self._alive.add(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        with self._guard:
            self._alive.discard(worker)
        worker.kill()


class _Worker:
    """One process and the two pipes to it."""

    def __init__(self, threads: int, log_folder: Path, environment: Mapping[str, str]) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        answers, answer_end = os.pipe()
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENMM_CPU_THREADS", "MKL_NUM_THREADS"), str(threads))
        command, own = module_command("esr1md.workers", str(answer_end), environment={**environment, **limits})
        try:
            self._log = log_folder / f"worker-{os.getpid()}-{answers}.log"
            with open(self._log, "ab") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(answer_end,),
                    env=own,
                    start_new_session=True,  # Ctrl-C reaches the parent only, which decides what to end
                )
        finally:
            os.close(answer_end)
        self._answers = os.fdopen(answers, "rb")
        self._ending, self._ended, self._ended_because = threading.Lock(), False, ""

    @contextmanager
    def watched(self, sign: SignOfLife | None, wanted: Callable[[], bool] | None) -> Iterator[None]:
        """End the process if the call of the body gives no sign of life, or nobody wants it any more."""
        if sign is None and wanted is None:
            yield
            return
        answered = threading.Event()
        watch = threading.Thread(target=self._watch, args=(sign, wanted, answered), name="watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            answered.set()
            watch.join()

    def _watch(self, sign: SignOfLife | None, wanted: Callable[[], bool] | None, answered: threading.Event) -> None:
        seen, since = sign and _state_of(sign.path), time.monotonic()
        while not answered.wait(min(LOOK_S, sign.silent_s / 4) if sign else LOOK_S):
            now = sign and _state_of(sign.path)
            if now != seen:
                seen, since = now, time.monotonic()
            if sign is not None and time.monotonic() - since >= sign.silent_s:
                self._ended_because = f"the worker process hung: nothing new for {sign.silent_s:g} s, so it was ended"
            elif wanted is not None and not wanted():
                self._ended_because = "nobody waits for the answer any more"
            else:
                continue
            os.killpg(self.process.pid, signal.SIGKILL)
            return

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        try:
            _send(self.process.stdin, (function.__module__, function.__qualname__, args, kwargs))
            succeeded, answer = _receive(self._answers)
        except (EOFError, BrokenPipeError, ValueError):  # ValueError: another thread closed the pipes
            raise WorkerDied(f"{self._ended_because or _ending(self.process)} (see {self._log})") from None
        if not succeeded:
            raise answer
        return answer

    def kill(self) -> None:
        with self._ending:
            if self._ended:
                return
            self._ended = True
        try:
            # The worker leads its own session, so this also ends the programs it has started.
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdin.close()
        self._answers.close()
        if self._log.exists() and self._log.stat().st_size == 0:
            self._log.unlink()


def end_with_children(process: subprocess.Popen) -> None:
    """Kill a program and the programs that it has started in turn."""
    parents, doomed = _parents(), [process.pid]
    for pid in doomed:
        doomed += [child for child, parent in parents.items() if parent == pid]
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def _parents() -> dict[int, int]:
    """Parent of each process of this machine."""
    if Path("/proc/self/stat").exists():
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
        return found
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return {int(pid): int(parent) for pid, parent in map(str.split, listed.splitlines())}


def _state_of(path: Path) -> tuple[int, int] | None:
    """Number and date of a file as it is now, of which one changes whenever it is written or replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _ending(process: subprocess.Popen) -> str:
    code = process.wait()
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": out of memory, or killed by hand" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process exited with code {code}"


def _send(pipe: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    header = _read_exactly(pipe, 8)
    return pickle.loads(_read_exactly(pipe, struct.unpack("<Q", header)[0]))


def _read_exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _serve(answer_end: int) -> None:
    """The worker's loop: read a call, do it, answer; ends with its parent, however that ended."""
    _end_with_parent(answer_end)
    on_sigterm()
    with os.fdopen(answer_end, "wb") as answers:
        while True:
            try:
                module, name, args, kwargs = _receive(sys.stdin.buffer)
            except EOFError:
                return
            try:
                function = importlib.import_module(module)
                for part in name.split("."):
                    function = getattr(function, part)
                answer = (True, function(*args, **kwargs))
            except Exception as error:
                answer = (False, _portable(error))
            _send(answers, answer)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent(answer_end: int) -> None:
    """Fork a process that ends this one, and the programs it has started, once the parent is gone.

    A thread could not: native code (docking, embedding) may hold the interpreter lock for minutes. The standard
    input hangs up when its only writer, the parent, ends in whatever way; a poll for no event wakes for that alone.
    """
    if os.fork() != 0:
        return
    os.close(answer_end)  # or the parent would wait for an answer of a worker that has died
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)
    poll.poll()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
