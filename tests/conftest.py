"""Fixtures every test may use."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of raw reference data beside the checkout; the test is skipped, by name, without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "PROVENANCE.md").is_file():
        pytest.skip("needs ../shared/data (raw PDB entries and reference tables), which is not here")
    return folder


@pytest.fixture(scope="session")
def tiny_screen(tmp_path_factory):
    """A :class:`tiny_screen.TinyScreen`, computed once for all test processes."""
    from tiny_screen import make_tiny_screen

    shared = tmp_path_factory.getbasetemp()
    return make_tiny_screen((shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared) / "tiny-screen")


@pytest.fixture(scope="session")
def postgres():
    """A running PostgreSQL server; the test is skipped, by name, where none is installed."""
    from postgres_server import PostgresServer, server_programs

    programs = server_programs()
    if programs is None:
        pytest.skip("needs the PostgreSQL server (Debian: postgresql)")
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program of the given name and shell text first on the search path."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return path

    return make


def pytest_configure(config: pytest.Config) -> None:
    """One thread per test process: with ``-n 2`` the numeric libraries would fight over the cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # what a developer measured with 'esr1md bench' must not change the plans that tests see
    os.environ.setdefault("ESR1MD_CACHE", tempfile.mkdtemp(prefix="esr1md-cache-"))


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """Run a command in an empty folder; returns (exit code, standard output, standard error)."""
    from esr1md import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESR1MD_STORE", raising=False)
    monkeypatch.delenv("ESR1MD_TRACEBACK", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(list(arguments))
        out, err = capfd.readouterr()
        return code, out, err

    return call
