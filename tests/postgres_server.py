"""A PostgreSQL server of a test's own, on a free port of the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

PASSWORD = "s3cret-Pass/word"


def server_programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``, which Debian keeps off the search path; ``None`` without them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


class PostgresServer:
    """Started when made; every database in it is a test's own. Passwords are asked for, as on a real one."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # not below pytest's folder: the server may not run as root, and another user cannot go in there
        self.folder = Path(tempfile.mkdtemp(prefix="esr1md-postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", "tester", "-A", "scram-sha-256", f"--pwfile={secret}",
                  "--no-sync", "-E", "UTF8", "--locale=C")  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str, options: str = "") -> str:
        query = f"?options={options}" if options else ""
        return f"postgresql://tester:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{self.port}/{database}{query}"

    def new_database(self) -> str:
        """The URL of an empty database: a schema, since another database would be 7 MB to be written at the end."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url("postgres", f"-csearch_path%3D{name}")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-o", options, "-l", self.folder / "log")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str | Path) -> None:
        # the server would keep a pipe open that its output goes to
        with open(self.folder / "programs.log", "ab") as log:
            done = subprocess.run([self._programs / program, *arguments], user=self._user, cwd=self.folder,
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip
        assert done.returncode == 0, (self.folder / "programs.log").read_text()
