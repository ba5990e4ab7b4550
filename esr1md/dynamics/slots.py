"""Slots: how many simulations share a GPU, across every screen that this user runs on the machine.

One small simulation leaves most of a large GPU idle, so several share it, each a process of its own. A slot is a share
of a device, held by a lock on a file that the kernel frees however the process ends. The files lie in one folder for
each user and machine, so that two screens share the GPUs instead of each filling them.

The CPU has no slots: a second screen on the same cores is slowed by the scheduler and by nothing else, while a lock
would let one wait for hours. A plan only divides the cores between its own simulations (:func:`divide_cores`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

from esr1md.dynamics import mps
from esr1md.dynamics.platforms import PlatformChoice, probe
from esr1md.errors import InputError
from esr1md.workers import module_command, usable_cores

GPU_PLATFORMS = ("CUDA", "HIP", "OpenCL")
#: Another folder for the locks, where the temporary folder is not the same for all of a user's processes.
FOLDER_VARIABLE = "ESR1MD_SLOTS"
#: How often a waiting process looks for a free slot (s).
LOOK_S = 0.25
PROGRAM_LIMIT_S = 30


@dataclass(frozen=True)
class Device:
    """A GPU that simulations can run on.

    Attributes
    ----------
    name
        As its driver calls it.
    identity
        The same in every process of the machine: NVIDIA's UUID, else platform and index.
    properties
        What OpenMM's Context is given to use it, as pairs.
    platform
        Whose properties these are; empty where any platform understands them.
    """

    name: str
    identity: str
    properties: tuple[tuple[str, str], ...] = ()
    platform: str = ""


@dataclass(frozen=True)
class Packing:
    """How the simulations of a screen share the machine.

    Attributes
    ----------
    slots, threads
        Simulations at once, and CPU threads of each.
    per_device
        Simulations at once on one GPU; 0 where there is none.
    devices
        The GPUs; empty on the CPU.
    basis
        Where the number comes from: ``measured`` by ``esr1md bench``, given by the ``site``, or a ``guess``.
    reason
        The same in words.
    mps
        NVIDIA's multi-process service is ``used`` (started unless it runs), ``off`` (kept from the simulations
        even where the machine runs it) or ``untouched``.
    mps_reason
        Why.
    """

    slots: int
    threads: int
    per_device: int = 0
    devices: tuple[Device, ...] = ()
    basis: Literal["measured", "site", "guess"] = "guess"
    reason: str = ""
    mps: Literal["used", "off", "untouched"] = "untouched"
    mps_reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"devices": [device.name for device in self.devices]}


# -- devices ---------------------------------------------------------------------------------------------------


@cache
def find_devices(platform: str) -> tuple[Device, ...]:
    """The GPUs that a platform can use here, of the kind that its probe ran on; none for the CPU.

    NVIDIA's are told by ``nvidia-smi``, in its order, as far as ``CUDA_VISIBLE_DEVICES`` shows them; others, and
    NVIDIA's where that program is missing, by OpenMM in a process of its own.
    """
    if platform not in GPU_PLATFORMS:
        return ()
    nvidia = nvidia_devices()
    if platform == "CUDA" and nvidia:
        return nvidia
    listed = _openmm_devices(platform)
    used = probe(platform).device.split(",")[0]
    listed = [entry for entry in listed if entry.get("DeviceName") == used] or listed
    # OpenCL on NVIDIA's driver shows the same GPUs in the same order, so they share CUDA's slots
    nvidia = tuple(device for device in nvidia if device.name == used)
    same = platform == "OpenCL" and [entry["DeviceName"] for entry in listed] == [device.name for device in nvidia]
    names = ("OpenCLPlatformIndex", "DeviceIndex")
    return tuple(
        Device(
            entry["DeviceName"],
            nvidia[number].identity if same else f"{platform}-{'-'.join(entry[n] for n in names if n in entry)}",
            tuple((name, entry[name]) for name in names if name in entry),
            platform,
        )
        for number, entry in enumerate(listed)
    ) or (Device(used or platform, f"{platform}-0", platform=platform),)


def nvidia_devices() -> tuple[Device, ...]:
    """NVIDIA's GPUs that ``CUDA_VISIBLE_DEVICES`` shows, in its order; numbers in it are ``nvidia-smi``'s.

    Of a GPU in MIG mode CUDA shows a process one instance, so one is listed: the visible one, or the first.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    gpus: list[tuple[str, str]] = []
    instances: dict[str, list[tuple[str, str]]] = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        if found := re.match(r"GPU \d+: (.+) \(UUID: (GPU-[^)]+)\)", line):
            gpus.append((found[1], found[2]))
        elif gpus and (found := re.match(r"\s+(MIG .+?)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)", line)):
            instances.setdefault(gpus[-1][1], []).append((f"{gpus[-1][0]} {found[1]}", found[2]))
    shown = _visible(gpus, instances, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return tuple(
        Device(name, identity, (("DeviceIndex", str(number)),), "CUDA") for number, (name, identity) in enumerate(shown)
    )


def _visible(
    gpus: list[tuple[str, str]], instances: dict[str, list[tuple[str, str]]], wanted: str | None
) -> list[tuple[str, str]]:
    """What CUDA shows: numbers or beginnings of UUIDs, up to the first that is none (NVIDIA's rule)."""
    every = [instance for gpu in gpus for instance in instances.get(gpu[1], [gpu])]
    if wanted is None:
        shown = every
    else:
        shown = []
        for word in map(str.strip, wanted.split(",")):
            if word.isdigit() and int(word) < len(gpus):
                gpu = gpus[int(word)]
                shown.append(instances.get(gpu[1], [gpu])[0])
            elif matching := [each for each in [*gpus, *every] if word and each[1].startswith(word)]:
                shown.append(instances.get(matching[0][1], matching)[0])
            else:
                break
    return shown[:1] if any(identity.startswith("MIG-") for _, identity in shown) else shown


def _openmm_devices(platform: str) -> list[dict[str, str]]:
    """``Platform.getDevices`` in a process of its own: a driver may crash."""
    command, environment = module_command("esr1md.dynamics.slots", platform)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return []
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else []


# -- taking a slot ---------------------------------------------------------------------------------------------


@contextmanager
def held(
    choice: PlatformChoice,
    per_device: int,
    devices: Sequence[Device] | None = None,
    *,
    waiting: Callable[[str], None] = lambda said: None,
) -> Iterator[PlatformChoice]:
    """Hold a slot of the least loaded device for as long as the body runs; on the CPU there is nothing to hold.

    Parameters
    ----------
    choice
        From :func:`esr1md.dynamics.platforms.choose_platform`.
    per_device
        Simulations like this one that a device takes at once; each is that share of it, so that simulations of
        screens with different numbers add up.
    devices
        From :func:`find_devices`, which is asked where none of this platform are given (another one has taken the
        place of the one that was planned, say).
    waiting
        Called about four times a second while every slot is taken, with what is waited for.

    Yields
    ------
    PlatformChoice
        The same platform with the properties of the device.

    Raises
    ------
    InputError
        The folder of the locks belongs to somebody else.
    """
    if choice.name not in GPU_PLATFORMS:
        yield choice
        return
    found = tuple(each for each in devices or () if each.platform in ("", choice.name)) or find_devices(choice.name)
    folder, share = slots_folder(), 1 / max(1, per_device)
    device, lock = _take(folder, found, share, waiting)
    with lock:
        yield replace(choice, properties={**choice.properties, **dict(device.properties)})


def _take(
    folder: Path, devices: Sequence[Device], share: float, waiting: Callable[[str], None]
) -> tuple[Device, BinaryIO]:
    """A device and the open file whose lock is the slot.

    Whoever waits keeps the turn until it has a slot: a simulation that needs half a GPU would else never find it, where
    another screen fills every sixteenth at once.
    """
    key = hashlib.sha256(" ".join(sorted(device.identity for device in devices)).encode()).hexdigest()[:16]
    names = ", ".join(sorted({device.name for device in devices}))
    said = f"waiting for a free slot of {len(devices)} GPU{'s' * (len(devices) > 1)} ({names})"
    with open(folder / f"turn-{key}.lock", "ab") as turn:
        mine = False
        while True:
            mine = mine or _lock(turn)
            if mine:
                for device in sorted(devices, key=lambda device: sum(_shares(folder, device))):
                    if (lock := _free_slot(folder, device, share)) is not None:
                        return device, lock
            waiting(said)
            time.sleep(LOOK_S)


def _free_slot(folder: Path, device: Device, share: float) -> BinaryIO | None:
    """Lock the first free slot file of a device if the shares already held leave room for this one."""
    with open(folder / f"{_safe(device)}.guard", "ab") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # held for milliseconds
        if sum(_shares(folder, device)) + share > 1 + 1e-6:
            return None
        for number in range(1024):
            file = open(folder / f"{_safe(device)}.slot{number}", "ab")
            if _lock(file):
                file.truncate(0)
                file.write(json.dumps({"share": share, "pid": os.getpid()}).encode())
                file.flush()
                return file
            file.close()
    return None


def _shares(folder: Path, device: Device) -> list[float]:
    """The shares of a device that are held now."""
    held = []
    for path in folder.glob(f"{_safe(device)}.slot*"):
        with open(path, "rb") as file:
            if not _lock(file, fcntl.LOCK_SH):
                try:
                    held.append(float(json.loads(file.read())["share"]))
                except (ValueError, KeyError, TypeError):  # its holder is just about to write it
                    held.append(1.0)
    return held


def slots_in_use(device: Device) -> int:
    """How many simulations of this user hold a slot of a device now."""
    return len(_shares(slots_folder(), device))


def slots_folder() -> Path:
    """The private folder of the locks, the same for all processes of this user on this machine.

    ``esr1md-UID`` in the temporary folder, or what ``ESR1MD_SLOTS`` names. Not ``XDG_RUNTIME_DIR``: that is gone once
    the user logs out while a screen runs on, and batch jobs have none.

    Raises
    ------
    InputError
        It belongs to somebody else, or others may write to it.
    """
    own = os.environ.get(FOLDER_VARIABLE)
    folder = Path(own).expanduser() if own else Path(tempfile.gettempdir()) / f"esr1md-{os.getuid()}"
    do = f"remove it, or name another folder in {FOLDER_VARIABLE}"
    try:
        folder.mkdir(mode=0o700, parents=bool(own), exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise InputError(f"the folder of the GPU slots, '{folder}', cannot be made: {error.strerror}", do=do) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(
            f"'{folder}', where GPU slots are kept, can be changed by others",
            expected="a folder of this user alone (mode 0700)",
            do=do,
        )
    return folder


def _lock(file: Any, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _safe(device: Device) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", device.identity)


# -- the processes that hold them ------------------------------------------------------------------------------


def divide_cores(slots: int) -> int:
    """CPU threads for each of ``slots`` processes at once, so that together they use the cores this process may."""
    return max(1, usable_cores() // max(1, slots))


def visible_devices(devices: Sequence[Device]) -> dict[str, str]:
    """Environment in which a CUDA process sees these GPUs in this order; empty for GPUs numbered otherwise."""
    uuids = [device.identity for device in devices]
    numbered = [dict(device.properties) == {"DeviceIndex": str(number)} for number, device in enumerate(devices)]
    if not uuids or not all(numbered) or not uuids[0].startswith(("GPU-", "MIG-")):
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(uuids), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@contextmanager
def worker_environment(packing: Packing, report: Callable[[str], None] = lambda said: None) -> Iterator[dict[str, str]]:
    """Environment variables for the processes of a packing; while the body runs, its MPS daemon does.

    NVIDIA's GPUs are named by UUID, so that the number of a device means the same to every process and to the daemon.

    Parameters
    ----------
    packing
        From :func:`esr1md.sites.packing.choose_slots`.
    report
        Called with one line if MPS was to be used and cannot be: simulations then share the GPU without it.
    """
    visible = visible_devices(packing.devices)
    if not visible:
        yield {}
        return
    folder = slots_folder()
    if packing.mps != "used":
        yield {**visible, **(mps.without(folder) if packing.mps == "off" else {})}
        return
    with mps.running(folder, visible) as service:
        if not service.used:
            report(f"MPS is not used: {service.reason}")
        yield {**visible, **service.environment}


if __name__ == "__main__":
    import openmm

    print(json.dumps([dict(entry) for entry in openmm.Platform.getPlatformByName(sys.argv[1]).getDevices()]))
