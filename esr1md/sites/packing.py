"""Which platform a machine simulates on, and how its simulations share it."""

from __future__ import annotations

import math

from esr1md.config import SiteConfig
from esr1md.dynamics.mps import program as mps_program
from esr1md.dynamics.platforms import PlatformChoice, choose_platform
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.slots import Device, Packing, divide_cores, find_devices
from esr1md.dynamics.throughput import Measurement, recall
from esr1md.workers import usable_cores

#: Simulations on a GPU before anything was measured there; small systems leave a large one idle.
_GPU_SHARE = 4


def choose_slots(site: SiteConfig, request: str, replicas: int, protocol: Protocol) -> tuple[PlatformChoice, Packing]:
    """The platform, and how the simulations share the machine.

    On the CPU platform small systems scale poorly over threads, so each core takes a simulation of its own. A GPU takes
    as many as ``esr1md bench`` found best there for the protocol, else as many as a guess says.

    Raises
    ------
    InputError
        The platform that was asked for cannot be used.
    """
    request = site.platform if request == "auto" else request
    choice = choose_platform(request)
    devices = find_devices(choice.name)
    shared = _choose_mps(site, choice.name)
    if devices:
        per_device, basis, reason = _per_device(site, choice.name, devices, protocol, shared[0] == "used")
        # each simulation keeps a core busy; what was measured on one GPU had all of them
        slots = min(per_device * len(devices), max(usable_cores(), per_device))
        slots = site.workers if site.workers != "auto" else slots
        if per_device == 1 and shared[0] == "used":
            shared = ("untouched", "one simulation on each GPU")
    else:
        slots, basis, reason = _on_cores(site, choice.name, protocol)
        per_device = 0
    slots = max(1, min(slots, replicas))
    threads = divide_cores(slots) if site.threads == "auto" else site.threads
    choice = choose_platform(request, threads=threads)
    return choice, Packing(slots, threads, per_device, devices, basis, reason, *shared)


def expect_slots(site: SiteConfig, request: str, replicas: int, protocol: Protocol) -> tuple[PlatformChoice, Packing]:
    """The same for a plan: of a cluster what its site says, since this machine may have no GPU at all.

    Each of the cluster's machines then chooses for itself.
    """
    if not site.elsewhere:
        return choose_slots(site, request, replicas, protocol)
    slots = min(replicas, site.slots_each * (site.slurm.jobs if site.kind == "slurm" else 1))
    reason = f"site '{site.name}' says so; each of its machines probes it"
    choice = PlatformChoice(site.platform if request == "auto" else request, reason=reason)
    return choice, Packing(slots, 1, basis="site", reason=f"site '{site.name}'")


def _per_device(
    site: SiteConfig, platform: str, devices: tuple[Device, ...], protocol: Protocol, mps: bool
) -> tuple[int, str, str]:
    """Simulations on each GPU, where the number comes from, and that in words."""
    if site.per_gpu != "auto":
        return site.per_gpu, "site", f"site '{site.name}' says {site.per_gpu} on each GPU"
    if site.workers != "auto":
        return math.ceil(site.workers / len(devices)), "site", f"site '{site.name}' says {site.workers} at once"
    for with_mps in (mps, False):  # what was measured without it is not too many with it
        if (found := recall(devices, platform, protocol, mps=with_mps)) is not None:
            return found.best, "measured", _as_measured(found)
    return min(_GPU_SHARE, usable_cores()), "guess", _as_guessed(protocol)


def _on_cores(site: SiteConfig, platform: str, protocol: Protocol) -> tuple[int, str, str]:
    """The same where there is no GPU."""
    if site.workers != "auto":
        return site.workers, "site", f"site '{site.name}' says {site.workers} at once"
    if site.threads != "auto":
        return usable_cores() // site.threads, "site", f"site '{site.name}' says {site.threads} threads each"
    if (found := recall((), platform, protocol, mps=False)) is not None:
        return found.best, "measured", _as_measured(found)
    return usable_cores(), "guess", "one on each core"


def _as_measured(found: Measurement) -> str:
    how = " with MPS" if found.mps else ""
    gain = "" if math.isnan(found.gain) else f" do {found.gain:.2g} times one's ns/day"
    return f"measured {found.measured}: {found.best} at once{how}{gain}"


def _as_guessed(protocol: Protocol) -> str:
    return f"a guess: 'esr1md bench --protocol {protocol.name}' measures what is best here"


def _choose_mps(site: SiteConfig, platform: str) -> tuple[str, str]:
    """Whether MPS is to be used, and why; whether it then works is seen when the simulations start."""
    if not site.mps:
        return "off", f"site '{site.name}' says so"
    if platform != "CUDA":
        return "untouched", "it serves CUDA only"
    if mps_program() is None:
        return "untouched", "nvidia-cuda-mps-control is not installed"
    return "used", "nvidia-cuda-mps-control is installed"
