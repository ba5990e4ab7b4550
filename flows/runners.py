"""Where a flow's bookkeeping and its work run: the Prefect API it reports to, and its task runner.

Work is done in processes of :class:`esr1md.workers.WorkerPool`; Prefect's tasks are threads that wait for them.
Prefect's own ``ProcessPoolTaskRunner`` was tried and is not used: when one of its processes is killed, all submitted
tasks fail with ``BrokenProcessPool``, finished ones included, and the run then hangs on exit (Prefect 3.8.8); it
also imports Prefect in every process, which took 20 s before the first task began. With threads a death fails
one replica, which is tried again in a fresh process, and the tasks stay cheap.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    wanted = {"PREFECT_HOME": str(store / ".prefect"), **LOCAL_SETTINGS}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    refresh_global_settings_context()
    watchers: list[subprocess.Popen] = []
    try:
        _start_server(watchers)
        yield
    finally:
        _end_server()
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
        for name in added:
            os.environ.pop(name, None)
        refresh_global_settings_context()


def _start_server(watchers: list[subprocess.Popen]) -> None:
    """Start the temporary server that Prefect would start at its first call, each of its processes watched.

    It takes seconds to answer, and where its port is taken another process is started, so the watching begins with
    the process and not with the answer.
    """
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    run = server._run_uvicorn_command

    def run_watched() -> subprocess.Popen:
        process = run()
        watchers.append(_end_with_us(process.pid))
        return process

    server._run_uvicorn_command = run_watched
    server.start()


def _end_with_us(server: int) -> subprocess.Popen:
    """A process that ends the server should this one be killed; without it, each ``kill -9`` would leave one."""
    script = f"while kill -0 {os.getpid()} 2>/dev/null; do sleep 1; done; kill {server}"
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
