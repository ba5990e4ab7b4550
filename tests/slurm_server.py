"""A Slurm controller and one node of a test's own on the loopback interface: real ``sbatch``, real wall times."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel")
SEARCH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """What Slurm needs and this machine lacks; the daemons run as root only."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]
    return lacking or ([] if os.geteuid() == 0 else ["root's rights"])


class SlurmServer:
    """Started when made; ``environment`` is what ``sbatch`` needs to find it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="esr1md-slurm-"))
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._ports = [_free_port(), _free_port()]
        host = socket.gethostname().partition(".")[0]
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(host=host, folder=self.folder, ports=self._ports, cores=os.cpu_count())
        )
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": SEARCH}
        self._call(
            "munged", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
            f"--pid-file={self.folder}/munge.pid", f"--log-file={self.folder}/munge.log",
            f"--seed-file={self.folder}/munge.seed",
        )  # fmt: skip
        self._call("slurmctld")
        self._call("slurmd")
        limit = time.monotonic() + 60
        while "idle" not in self._call("sinfo", "-h", "-o", "%t"):
            assert time.monotonic() < limit, (self.folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.5)

    def jobs(self) -> list[str]:
        """States of the jobs that are waiting or running."""
        return self._call("squeue", "-h", "-o", "%T").split()

    def remove(self) -> None:
        self._call("scancel", "-u", "root")
        for name in ("slurmd", "slurmctld", "munge"):
            pid = self.folder / f"{name}.pid"
            if pid.exists():
                subprocess.run(["kill", "-9", pid.read_text().strip()], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, *command: str) -> str:
        ran = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
        return ran.stdout


def _free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
