"""Where a flow's bookkeeping and its work run: the Prefect API it reports to, and its task runner.

Work is done in processes of :class:`esr1md.workers.WorkerPool`; Prefect's tasks are threads that wait for them.
Prefect's own ``ProcessPoolTaskRunner`` was tried and is not used: when one of its processes is killed, all submitted
tasks fail with ``BrokenProcessPool``, finished ones included, and the run then hangs on exit (Prefect 3.8.8); it
also imports Prefect in every process, which took 20 s before the first task began. With threads a death fails
one replica, which is tried again in a fresh process, and the tasks stay cheap.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from esr1md.store.disk import beside
from esr1md.store.location import cache_folder

#: Environment variable by which the processes of a flow are known.
MARK = "ESR1MD_FLOW"

#: Settings of a run without a Prefect server of the user's: quiet, patient and without network.
LOCAL_SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # errors are raised to the caller; logged as well they would be tracebacks on the terminal
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # what serves deployments and automations has nothing to do for one local run
    **{
        f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
        for name in ("SCHEDULER", "LATE_RUNS", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP", "FOREMAN", "DB_VACUUM")
    },
}


def before_prefect_is_imported() -> None:
    """Set what Prefect reads once, when it is imported: no usage statistics, no log lines on the terminal."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if "prefect" not in sys.modules and not os.environ.get("PREFECT_API_URL"):
        for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_INTERNAL_LEVEL"):
            os.environ.setdefault(name, LOCAL_SETTINGS[name])


@contextmanager
def local_engine(store: Path) -> Iterator[None]:
    """Report to the user's ``PREFECT_API_URL`` if it is set, else to a server that lives as long as the body.

    The temporary server keeps its history in ``STORE/.prefect``, so that no other project's and no user's
    Prefect settings play a part. A value the user has set in the environment is kept.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.server.api.server import SubprocessASGIServer

    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    wanted = {"PREFECT_HOME": str(store / ".prefect"), **LOCAL_SETTINGS}
    mark = os.environ.pop(MARK, None)  # of a flow that started this one
    added = {name: value for name, value in wanted.items() if name not in os.environ} | {MARK: uuid4().hex}
    watcher = _end_with_us(added[MARK])
    os.environ.update(added)
    refresh_global_settings_context()
    try:
        with _made_database(store / ".prefect" / "prefect.db"):
            SubprocessASGIServer().start()
        yield
    finally:
        _end_server()
        watcher.kill()
        watcher.wait()
        for name in added:
            os.environ.pop(name, None)
        if mark is not None:
            os.environ[MARK] = mark
        refresh_global_settings_context()


@contextmanager
def _made_database(path: Path) -> Iterator[None]:
    """A server that starts in the body need not make its database step by step from Prefect's first version on.

    That takes longer than all the rest of its start. So the first database that was made with this version of Prefect
    is kept, empty, in the user's cache, and every further store begins with a copy.
    """
    from prefect import __version__

    made = cache_folder() / f"prefect-{__version__}.db"
    new = not path.exists()
    if new and made.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, path)
    yield
    if new and not made.is_file() and path.is_file():
        with suppress(OSError, sqlite3.Error):  # a cache that cannot be written to costs the time again
            made.parent.mkdir(parents=True, exist_ok=True)
            with beside(made) as part:
                with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
                    source.backup(copy)
                part.replace(made)


def _end_with_us(mark: str) -> subprocess.Popen:
    """A process that ends what was started here should this process be killed: a ``kill -9`` leaves nothing behind.

    It begins before the server does and knows it by its environment, so that there is no moment in which the server
    exists and is not watched. (Prefect starts another one where its port is taken.) It looks more than once, since a
    process that has just been forked does not show its environment yet. Where there is no /proc nothing is ended.
    """
    script = f"""
    while kill -0 {os.getpid()} 2>/dev/null; do sleep 1; done
    for attempt in 1 2 3; do
      for entry in /proc/[0-9]*/environ; do
        if tr '\\0' '\\n' 2>/dev/null < "$entry" | grep -qx '{MARK}={mark}'; then
          process=${{entry#/proc/}}
          kill "${{process%/environ}}"
        fi
      done
      sleep 1
    done
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _end_server() -> None:
    """End the temporary server now and not when Python exits: the next store needs one of its own.

    Task states reach the server as events, so those are sent first; senders that found no server would also
    keep Python from exiting for a minute.
    """
    from prefect.events.worker import EventsWorker
    from prefect.server.api.server import SubprocessASGIServer

    EventsWorker.drain_all(timeout=20, at_exit=False)
    SubprocessASGIServer().stop()


def task_runner(slots: int):
    """Threads enough to keep ``slots`` workers busy while further tasks wait for what they need."""
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=2 * slots + 2)


class Window:
    """Hands tasks to a runner, so many at a time, so that neither memory nor the Prefect server holds a million.

    Parameters
    ----------
    runner
        A started task runner.
    most
        Tasks that may be submitted and not finished.
    """

    def __init__(self, runner: Any, most: int) -> None:
        self._runner, self._room = runner, threading.BoundedSemaphore(most)
        self._open: set[Any] = set()
        self._failed: list[Any] = []
        self._changed = threading.Condition()

    def submit(self, call: Any, parameters: Mapping[str, Any], wait_for: Iterable[Any] = ()) -> Any:
        """A future of the task; waits for room, and raises what an earlier task has raised."""
        self._room.acquire()
        self._raise()
        future = self._runner.submit(call, dict(parameters), wait_for=list(wait_for))
        with self._changed:
            self._open.add(future)
        future.add_done_callback(self._done)
        return future

    def finish(self) -> None:
        """Wait for every task; raises what the first one that failed has raised."""
        with self._changed:
            while self._open and not self._failed:
                self._changed.wait(timeout=1.0)
        self._raise()

    def _done(self, future: Any) -> None:
        future.wait()  # it has ended; only this makes its final state known
        with self._changed:
            self._open.discard(future)
            if not future.state.is_completed():
                self._failed.append(future)
            self._changed.notify_all()
        self._room.release()

    def _raise(self) -> None:
        if self._failed:
            self._failed[0].result()


def invite(pool: Any, parameters: Mapping[str, Any], run_id: str) -> list[str]:
    """Start further runs of a site's deployment that join this one; names of them.

    Each plans for itself and takes what nobody has: the store keeps two of them from the same replica. There is no
    chief, so it does not matter which of them is killed.

    Parameters
    ----------
    pool
        The site's :class:`esr1md.config.WorkPool`.
    parameters
        Of this run.
    run_id
        Its id: started again after a crash it does not invite anew.
    """
    from prefect.deployments import run_deployment

    return [
        run_deployment(
            pool.deployment,
            parameters={**parameters, "joining": True},
            timeout=0,
            as_subflow=False,
            idempotency_key=f"{run_id}-{number}",
            job_variables=pool.job_variables or None,
            tags=["esr1md", f"joins {run_id}"],
        ).name
        for number in range(1, pool.members)
    ]


def infrastructure_fault(task: Any, run: Any, state: Any) -> bool:
    """Whether a task failed for a reason that has nothing to do with it, so that trying again may help.

    A scientific failure is a record of the store and not an exception; bad input would only be bad again.
    """
    try:
        state.result()
    except (ConnectionError, TimeoutError, BlockingIOError):
        return True
    except OSError as error:
        return error.errno in (errno.EIO, errno.ESTALE, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
    except Exception:
        return False
    return False
