"""A look at a store as metrics: OpenMetrics over HTTP, and the older text format in a file.

Names follow the conventions of Prometheus: base units (seconds, bytes, ratios), ``_total`` for what only grows.
Replicas and failures are told apart by ``screen``, machines by ``host``; no label has a value for each replica.
``docs/monitoring.md`` lists them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from esr1md import __version__
from esr1md.errors import InputError
from esr1md.screen.watch import Look, StoreWatch

#: Upper edges of the histogram of replicas' wall times: 10 s to 7 d.
EDGES_S = (10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0, 259200.0, 604800.0)


class _Seen(Collector):
    """One look, as a collector of prometheus_client."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        build = InfoMetricFamily("esr1md_build", "Version of esr1md that tells these metrics.")
        build.add_metric((), {"version": __version__})
        yield build
        yield _gauge("last_update_timestamp_seconds", "When the store was looked at.", [((), self._look.time)])
        yield _gauge("look_duration_seconds", "How long the look took.", [((), self._look.cost)])
        for metric in (*self._screens(), *self._machine()):
            if metric.samples:
                yield metric

    def _screens(self) -> Iterator[Metric]:
        screens = self._look.screens
        counts = []
        for s in screens:
            running = sum(each.kind == "replica" for each in s.running)
            by_status = {"done": s.done, "failed": s.n_failed, "running": running, "waiting": s.waiting}
            counts += [((s.screen, status), count) for status, count in by_status.items()]
        yield _gauge("replicas", "Replicas of a screen by what has become of them.", counts, ("screen", "status"))
        yield _gauge(
            "failed_replicas",
            "Replicas without a result by the stage that failed; kind outcome is an answer, error a fault.",
            [((s.screen, stage, kind), count) for s in screens for stage, kind, count in s.failed_stages],
            ("screen", "stage", "kind"),
        )
        finished = CounterMetricFamily(
            "esr1md_finished_replicas", "Replicas that became done.", labels=("screen",)
        )  # fmt: skip
        lasted = HistogramMetricFamily(
            "esr1md_replica_duration_seconds", "Wall time of finished replicas.", labels=("screen",), unit="seconds"
        )
        for screen in screens:
            finished.add_metric((screen.screen,), screen.done)
            seconds = self._look.replica_seconds[screen.screen]
            lasted.add_metric((screen.screen,), _buckets(seconds), float(seconds.sum()))
        yield finished
        yield lasted
        yield _gauge("screen_active", "1 while a process runs the screen.", [((s.screen,), s.active) for s in screens],
                     ("screen",))  # fmt: skip
        hosts = defaultdict(int)
        speeds = defaultdict(float)
        for screen in screens:
            for runner in screen.runners:
                hosts[screen.screen, runner.host] += 1
            for running in screen.running:
                speeds[screen.screen, running.host] += running.ns_per_day or 0.0
        yield _gauge("runners", "Processes that run a screen.", hosts.items(), ("screen", "host"))
        yield _gauge(
            "speed_ns_per_day", "Simulated time by running replicas over the last minute (ns for each day).",
            speeds.items(), ("screen", "host"), unit="ns_per_day",
        )  # fmt: skip
        yield _gauge(
            "time_left_seconds", "Estimated time until a running screen is finished.",
            [((s.screen,), s.seconds_left) for s in screens if s.seconds_left is not None], ("screen",),
        )  # fmt: skip
        yield _gauge(
            "longest_silence_seconds", "Time since the most silent running replica last said something.",
            [((s.screen,), max(r.silent for r in s.running)) for s in screens if s.running], ("screen",),
        )  # fmt: skip
        yield _gauge(
            "transfers", "Repeats of relative free energies by what has become of them.",
            [
                ((s.screen, status), count)
                for s in screens
                if (t := s.transfers) is not None
                for status, count in (
                    ("done", t["done"]), ("failed", t["failed"]), ("left", t["total"] - t["done"] - t["failed"]),
                )
            ],
            ("screen", "status"),
        )  # fmt: skip

    def _machine(self) -> Iterator[Metric]:
        machine = self._look.machine
        gpus = [((machine.host, gpu.identity, gpu.name), gpu) for gpu in machine.gpus]
        labels = ("host", "gpu", "name")
        for name, said, attribute in (
            ("gpu_utilisation_ratio", "Share of the last second in which anything ran on a GPU.", "utilisation"),
            ("gpu_memory_used_bytes", "Memory of a GPU in use.", "memory_used"),
            ("gpu_memory_bytes", "Memory of a GPU.", "memory"),
            ("gpu_slots_held", "Simulations of this user that share a GPU.", "slots_held"),
        ):
            values = [(key, getattr(gpu, attribute)) for key, gpu in gpus]
            yield _gauge(name, said, [(key, value) for key, value in values if value is not None], labels)
        if machine.load is not None:
            yield _gauge(
                "cpu_load_ratio", "Processes that run or wait, mean of a minute, for each core.",
                [((machine.host,), machine.load / machine.cores)], ("host",),
            )  # fmt: skip


def openmetrics_text(look: Look) -> bytes:
    """A look in the OpenMetrics 1.0.0 text format."""
    return openmetrics.generate_latest(_registry(look))


def write_textfile(path: Path, look: Look) -> None:
    """Write a look for node_exporter's textfile collector, whole or not at all.

    That collector reads the Prometheus text format 0.0.4 and refuses OpenMetrics.

    Raises
    ------
    InputError
        The file cannot be written, or its name does not end in ``.prom``, so that the collector would pass it over.
    """
    if path.suffix != ".prom":
        raise InputError(f"metrics would be written to '{path}'", expected="a name that ends in .prom",
                         do="node_exporter's textfile collector reads no other")  # fmt: skip
    try:
        write_to_textfile(str(path), _registry(look))
    except OSError as error:
        raise InputError(f"metrics cannot be written ({error.strerror})", where=str(path)) from error


_PLAIN = "text/plain; charset=utf-8"
_NOT_HERE = (404, _PLAIN, b"the metrics are at /metrics\n")


class MetricsServer(ThreadingHTTPServer):
    """Serves ``/metrics`` of a store; every scrape looks at it, unless another just has.

    Parameters
    ----------
    watched
        The store.
    host, port
        Where to listen; port 0 takes a free one (:attr:`url` says which).

    Raises
    ------
    InputError
        Nothing can listen there.
    """

    daemon_threads = True
    #: A look serves all scrapes of so many seconds.
    SAME_S = 1.0

    def __init__(self, watched: StoreWatch, host: str, port: int) -> None:
        self._watched, self._lock = watched, threading.Lock()
        self._last: Look | None = None
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(f"metrics cannot be served on {host}:{port} ({error.strerror})",
                             do="choose another port or address of this machine") from error  # fmt: skip

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"

    def look(self) -> Look:
        with self._lock:
            if self._last is None or time.time() - self._last.time > self.SAME_S:
                self._last = self._watched.look()
            return self._last


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version, sys_version = f"esr1md/{__version__}", ""

    def do_GET(self) -> None:
        try:
            answer = self._metrics() if self.path.partition("?")[0] == "/metrics" else _NOT_HERE
        except Exception as error:
            answer = 500, _PLAIN, f"{type(error).__name__}: {error}\n".encode()
        with suppress(ConnectionError):  # a scraper that has left
            self._answer(*answer)

    def _metrics(self) -> tuple[int, str, bytes]:
        accepted, look = self.headers.get("Accept", ""), self.server.look()
        if "text/plain" in accepted and "openmetrics" not in accepted:  # a reader of the older format only
            return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(_registry(look))
        return 200, openmetrics.CONTENT_TYPE_LATEST, openmetrics_text(look)

    do_HEAD = do_GET

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: a line for every scrape is no news."""


def _registry(look: Look) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Seen(look))
    return registry


def _gauge(
    name: str,
    said: str,
    values: Iterable[tuple[tuple[str, ...], float]],
    labels: tuple[str, ...] = (),
    unit: str | None = None,
) -> GaugeMetricFamily:
    unit = unit or next((unit for unit in ("seconds", "bytes", "ratio") if name.endswith(f"_{unit}")), "")
    family = GaugeMetricFamily(f"esr1md_{name}", said, labels=labels, unit=unit)
    for key, value in values:
        family.add_metric(key, float(value))
    return family


def _buckets(seconds: np.ndarray) -> list[tuple[str, float]]:
    """Cumulative counts by upper edge."""
    below = np.searchsorted(np.sort(seconds), EDGES_S, side="right")
    return [(str(edge), float(count)) for edge, count in zip(EDGES_S, below, strict=True)] + [
        ("+Inf", float(len(seconds)))
    ]
