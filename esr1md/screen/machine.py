"""What this machine is doing now: its GPUs as ``nvidia-smi`` sees them, the slots that simulations hold, its cores."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from typing import Any

from esr1md.dynamics.slots import Device, nvidia_devices, slots_folder, slots_in_use
from esr1md.errors import InputError
from esr1md.workers import usable_cores

#: A GPU is asked no more often than this (s): the question itself takes up to a second.
ASK_S = 5.0
#: How long the answer is waited for (s).
PROGRAM_LIMIT_S = 20
_QUERY = "uuid,name,utilization.gpu,memory.used,memory.total"
_MIB = 1024**2


@dataclass(frozen=True)
class Gpu:
    """A GPU; what its driver does not tell (an instance of a divided GPU, another maker's) is ``None``.

    Attributes
    ----------
    utilisation
        Share of the last second (0 to 1) in which anything ran on it: one small simulation can make it 1.
    memory_used, memory
        Bytes.
    slots_held
        Simulations of this user that share it now, of all screens.
    """

    name: str
    identity: str
    slots_held: int
    utilisation: float | None = None
    memory_used: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Machine:
    """This machine at one instant.

    Attributes
    ----------
    load
        Processes that run or wait for a core, mean of a minute; ``None`` where the system does not say.
    cores
        That this process may use.
    notes
        What could not be found out, and why.
    """

    host: str
    gpus: tuple[Gpu, ...]
    load: float | None
    cores: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class MachineWatch:
    """Asks again and again, the GPUs at most every :data:`ASK_S` seconds."""

    def __init__(self) -> None:
        self._asked, self._reported = float("-inf"), {}
        self._devices: tuple[Device, ...] | None = None
        self._notes: list[str] = []

    def look(self) -> Machine:
        if time.monotonic() - self._asked >= ASK_S:
            self._notes = []
            if self._devices is None:
                self._devices = nvidia_devices()
            self._reported = self._ask() if self._devices else {}
            self._asked = time.monotonic()
        notes = list(self._notes)
        try:
            gpus = self._gpus()
        except InputError as error:
            gpus = tuple(Gpu(device.name, device.identity, 0) for device in self._devices or ())
            notes.append(f"slots: {error}")
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return Machine(socket.gethostname(), gpus, load, usable_cores(), tuple(notes))

    def _gpus(self) -> tuple[Gpu, ...]:
        """NVIDIA's GPUs, and others on which a slot is held."""
        known = self._devices or ()
        named = {path.name.rpartition(".slot")[0] for path in slots_folder().glob("*.slot*")}
        others = [Device(name, name) for name in sorted(named - {device.identity for device in known})]
        found = [Gpu(d.name, d.identity, slots_in_use(d), **self._reported.get(d.identity, {})) for d in known]
        return (*found, *(Gpu(d.name, d.identity, held) for d in others if (held := slots_in_use(d))))

    def _ask(self) -> dict[str, dict[str, Any]]:
        """Utilisation and memory by UUID."""
        command = [shutil.which("nvidia-smi") or "nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            self._notes.append(f"nvidia-smi says nothing of the GPUs' use ({type(error).__name__})")
            return {}
        found = {}
        for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True):
            if len(row) == 5:
                used, memory = _number(row[3]), _number(row[4])
                share = _number(row[2])
                found[row[0]] = {
                    "utilisation": None if share is None else share / 100,
                    "memory_used": None if used is None else round(used * _MIB),
                    "memory": None if memory is None else round(memory * _MIB),
                }
        return found


def _number(text: str) -> float | None:
    """A number of nvidia-smi's, which writes ``[N/A]`` where there is none."""
    try:
        return float(text)
    except ValueError:
        return None
