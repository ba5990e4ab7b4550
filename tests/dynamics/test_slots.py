"""GPU slots and MPS, with stand-ins for NVIDIA's programs: no GPU is needed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from esr1md import doctor
from esr1md.config import SiteConfig
from esr1md.dynamics import mps, slots, throughput
from esr1md.dynamics.platforms import PlatformChoice, Probe
from esr1md.dynamics.protocol import load_protocol
from esr1md.dynamics.slots import Device, Packing, find_devices, held
from esr1md.errors import InputError
from esr1md.sites import packing
from esr1md.workers import WorkerPool

CUDA = PlatformChoice("CUDA", {"Precision": "mixed"}, "test")
ONE, TWO = (Device(f"Fake {n}", f"GPU-{n}", (("DeviceIndex", str(n)),)) for n in (0, 1))

SMI = """
case "$1" in
-L) echo "GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)"; echo "GPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)"
    echo "GPU 2: NVIDIA L4 (UUID: GPU-cccc-3)";;
esac
"""

#: Answers like NVIDIA's program: a daemon that leaves its process number, and commands on the standard input.
CONTROL = """
echo "$CUDA_VISIBLE_DEVICES" > "$CUDA_MPS_PIPE_DIRECTORY/visible"
if [ "$1" = "-d" ]; then
  echo start >> "$CUDA_MPS_PIPE_DIRECTORY/history"
  sleep 600 < /dev/null > /dev/null 2>&1 &
  echo $! > "$CUDA_MPS_PIPE_DIRECTORY/pid"
  exit 0
fi
read command
[ -f "$CUDA_MPS_PIPE_DIRECTORY/pid" ] || { echo "Cannot find MPS control daemon process"; exit 1; }
case "$command" in
quit) echo quit >> "$CUDA_MPS_PIPE_DIRECTORY/history"
      kill "$(cat "$CUDA_MPS_PIPE_DIRECTORY/pid")"; rm "$CUDA_MPS_PIPE_DIRECTORY/pid";;
get_server_list) echo 4711;;
esac
"""


@pytest.fixture(autouse=True)
def folder(tmp_path_factory, monkeypatch) -> Path:
    """Slots and measurements of these tests alone; no driver of this machine is asked."""
    private = tmp_path_factory.mktemp("s")
    monkeypatch.setenv(slots.FOLDER_VARIABLE, str(private))
    monkeypatch.setenv("ESR1MD_CACHE", str(private / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.setattr(mps, "DEFAULT_PIPES", private / "nobody")
    find_devices.cache_clear()
    yield private
    find_devices.cache_clear()


# -- devices ---------------------------------------------------------------------------------------------------


def identities(platform: str = "CUDA") -> list[str]:
    find_devices.cache_clear()
    return [device.identity for device in find_devices(platform)]


def test_the_cpu_has_no_devices():
    assert find_devices("CPU") == find_devices("Reference") == ()


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]),
        ("2,0", ["GPU-cccc-3", "GPU-aaaa-1"]),
        ("GPU-bbbb", ["GPU-bbbb-2"]),
        ("1,7,0", ["GPU-bbbb-2"]),  # NVIDIA's rule: what follows a wrong number is not seen
    ],
)
def test_cuda_devices_are_those_it_shows_in_its_order(program, monkeypatch, visible, shown):
    program("nvidia-smi", SMI)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert identities() == shown
    assert [dict(device.properties)["DeviceIndex"] for device in find_devices("CUDA")] == [
        str(n) for n in range(len(shown))
    ]


def test_an_instance_of_a_partitioned_gpu_is_a_device(program, monkeypatch):
    program("nvidia-smi", """
echo "GPU 0: NVIDIA H100 (UUID: GPU-aaaa)"
echo "  MIG 3g.40gb     Device  0: (UUID: MIG-1111)"
echo "  MIG 3g.40gb     Device  1: (UUID: MIG-2222)"
""")  # fmt: skip
    assert identities() == ["MIG-1111"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2222")
    assert identities() == ["MIG-2222"]


def test_without_nvidias_program_openmm_is_asked(monkeypatch):
    rows = [
        {"OpenCLPlatformIndex": "0", "DeviceIndex": "0", "DeviceName": "a processor"},
        {"OpenCLPlatformIndex": "1", "DeviceIndex": "0", "DeviceName": "gfx90a"},
        {"OpenCLPlatformIndex": "1", "DeviceIndex": "1", "DeviceName": "gfx90a"},
    ]
    monkeypatch.setattr(slots, "_openmm_devices", lambda platform: rows)
    monkeypatch.setattr(slots, "probe", lambda name: Probe(name, True, "agrees", device="gfx90a"))
    assert identities("OpenCL") == ["OpenCL-1-0", "OpenCL-1-1"]
    assert dict(find_devices("OpenCL")[1].properties) == {"OpenCLPlatformIndex": "1", "DeviceIndex": "1"}


def test_opencl_on_nvidias_driver_shares_cudas_slots(program, monkeypatch):
    program("nvidia-smi", SMI)
    names = ("NVIDIA H200", "NVIDIA H200", "NVIDIA L4")
    rows = [{"OpenCLPlatformIndex": "0", "DeviceIndex": str(n), "DeviceName": name} for n, name in enumerate(names)]
    monkeypatch.setattr(slots, "_openmm_devices", lambda platform: rows)
    monkeypatch.setattr(slots, "probe", lambda name: Probe(name, True, "agrees", device="NVIDIA H200"))
    assert identities("OpenCL") == identities("CUDA")[:2] == ["GPU-aaaa-1", "GPU-bbbb-2"]
    assert slots.visible_devices(find_devices("OpenCL")) == {}  # its numbers must stay those of its own list


def test_openmm_lists_its_devices_in_a_process_of_its_own():
    assert slots._openmm_devices("CPU") == [{}]
    assert slots._openmm_devices("no such platform") == []


# -- slots -----------------------------------------------------------------------------------------------------


def test_the_cpu_is_never_waited_for(monkeypatch):
    monkeypatch.setenv(slots.FOLDER_VARIABLE, "/proc/none")  # no lock is even looked for
    choice = PlatformChoice("CPU", {"Threads": "1"})
    with held(choice, 1) as first, held(choice, 1) as second:
        assert first == second == choice


def test_the_least_loaded_device_is_taken():
    with held(CUDA, 2, (ONE, TWO)) as first, held(CUDA, 2, (ONE, TWO)) as second, held(CUDA, 2, (ONE, TWO)) as third:
        taken = [dict(choice.properties)["DeviceIndex"] for choice in (first, second, third)]
        assert taken == ["0", "1", "0"] and first.properties["Precision"] == "mixed"
        assert (slots.slots_in_use(ONE), slots.slots_in_use(TWO)) == (2, 1)
    assert slots.slots_in_use(ONE) == slots.slots_in_use(TWO) == 0


def test_another_platform_than_the_planned_one_finds_its_own_devices(monkeypatch):
    cuda, opencl = Device("Fake", "GPU-0", (("DeviceIndex", "0"),), "CUDA"), Device("Fake", "X-1", (), "OpenCL")
    monkeypatch.setattr(slots, "find_devices", lambda name: (opencl,))
    with held(PlatformChoice("OpenCL", {"Precision": "mixed"}), 1, (cuda,)) as choice:
        assert choice.properties == {"Precision": "mixed"} and slots.slots_in_use(opencl) == 1


def test_whoever_finds_no_slot_waits_says_so_and_gets_the_next():
    said: list[str] = []
    with held(CUDA, 1, (ONE,)):
        taken = threading.Event()

        def take() -> None:
            with held(CUDA, 1, (ONE,), waiting=said.append):
                taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        while not said:
            time.sleep(0.01)
        assert not taken.is_set()
    thread.join(30)
    assert taken.is_set() and said[0] == "waiting for a free slot of 1 GPU (Fake 0)"


def test_simulations_of_different_size_add_up():
    """Two quarters and a half fill a GPU; another quarter does not fit."""
    with held(CUDA, 4, (ONE,)), held(CUDA, 4, (ONE,)), held(CUDA, 2, (ONE,)):
        assert slots._free_slot(slots.slots_folder(), ONE, 0.25) is None
    with slots._free_slot(slots.slots_folder(), ONE, 0.25):
        assert slots.slots_in_use(ONE) == 1


HOLD = """
import sys, time
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.slots import Device, held
with held(PlatformChoice("CUDA"), 2, (Device("Fake 0", "GPU-0"),)):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_slot_is_free_once_its_process_is_killed():
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        assert slots.slots_in_use(ONE) == 1
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert slots.slots_in_use(ONE) == 0
    with held(CUDA, 1, (ONE,)):
        pass


def test_many_takers_never_exceed_what_a_device_takes():
    most, now, guard, full = [0], [0], threading.Lock(), threading.Event()

    def simulate() -> None:
        with held(CUDA, 3, (ONE,)):
            with guard:
                now[0] += 1
                most[0] = max(most[0], now[0])
                if now[0] == 3:
                    full.set()
            full.wait(20)  # the first ones stay until the device is full, however slowly threads start
            time.sleep(0.02)
            with guard:
                now[0] -= 1

    threads = [threading.Thread(target=simulate) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and most[0] == 3


def test_a_large_simulation_is_not_kept_out_by_small_ones():
    """A whole GPU is never free while sixths of it are taken again at once, unless those wait for their turn."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            with held(CUDA, 6, (ONE,)):
                time.sleep(0.02)

    threads = [threading.Thread(target=churn, daemon=True) for _ in range(12)]
    for thread in threads:
        thread.start()
    got = threading.Event()

    def large() -> None:
        with held(CUDA, 1, (ONE,)):
            got.set()

    threading.Thread(target=large, daemon=True).start()
    assert got.wait(60)
    stop.set()
    for thread in threads:
        thread.join(60)


def test_a_folder_that_others_may_write_to_is_refused(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv(slots.FOLDER_VARIABLE, str(shared))
    with pytest.raises(InputError, match="can be changed by others.*mode 0700"):
        slots.slots_folder()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    monkeypatch.setenv(slots.FOLDER_VARIABLE, str(link))
    with pytest.raises(InputError, match="can be changed by others"):
        slots.slots_folder()


def test_the_folder_is_private_and_the_same_for_every_process(tmp_path, monkeypatch):
    monkeypatch.delenv(slots.FOLDER_VARIABLE)
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    made = slots.slots_folder()
    assert made == slots.slots_folder() == tmp_path / f"esr1md-{os.getuid()}"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


# -- MPS -------------------------------------------------------------------------------------------------------


@pytest.fixture
def control(program, monkeypatch):
    program("nvidia-cuda-mps-control", CONTROL)
    monkeypatch.setattr(mps, "CLIENT", ("esr1md.dynamics.platforms", "CPU"))  # stands for a CUDA process


def history(service: mps.Service) -> list[str]:
    return (Path(service.environment[mps.PIPES]) / "history").read_text().split()


def ends(condition) -> bool:
    """Whether a condition comes to hold within half a minute."""
    until = time.monotonic() + 30
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def test_mps_that_is_not_installed_is_not_used(folder):
    with mps.running(folder) as service:
        assert service == mps.Service(False, "nvidia-cuda-mps-control is not installed")


@pytest.mark.slow
def test_mps_is_shared_and_ends_with_its_last_user(control, folder):
    visible = {"CUDA_VISIBLE_DEVICES": "GPU-0,GPU-1"}
    with mps.running(folder, visible) as first:
        assert first.used and first.environment[mps.PIPES].startswith(str(folder))
        assert (Path(first.environment[mps.PIPES]) / "visible").read_text().strip() == "GPU-0,GPU-1"
        with mps.running(folder, visible) as second:
            assert second.used and second.environment == first.environment
        assert history(first) == ["start"]
        with mps.running(folder, {"CUDA_VISIBLE_DEVICES": "GPU-1"}) as other:
            assert other.environment[mps.PIPES] != first.environment[mps.PIPES]
    assert history(first) == history(other) == ["start", "quit"]


KILLED = """
import os, sys
from pathlib import Path
from esr1md.dynamics import mps
mps.CLIENT = ("esr1md.dynamics.platforms", "Reference")
with mps.running(Path(sys.argv[1])) as service:
    print(service.environment[mps.PIPES], flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_mps_ends_also_when_its_user_is_killed(control, folder):
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    pipes = Path(done.stdout.strip())
    assert ends(lambda: (pipes / "history").read_text().split() == ["start", "quit"])


def test_mps_that_cannot_start_says_why(program, folder):
    program("nvidia-cuda-mps-control", 'echo "no permission for the device" >&2; exit 1')
    with mps.running(folder) as service:
        assert not service.used and "no permission for the device" in service.reason


def test_a_daemon_that_is_gone_is_not_taken_for_one(program):
    program("nvidia-cuda-mps-control", 'echo "Cannot find MPS control daemon process"; exit 0')
    assert mps._ask("get_server_list", {}) is None


def test_mps_that_no_process_works_through_is_not_used(control, folder, monkeypatch):
    monkeypatch.setattr(mps, "CLIENT", ("esr1md.dynamics.platforms", "no such platform"))
    with mps.running(folder) as service:
        assert not service.used and "does not work through it" in service.reason
        assert service.environment == mps.without(folder)  # or a simulation would try it again
    assert ends(lambda: (next(folder.glob("mps-*")) / "history").read_text().split() == ["start", "quit"])


def test_a_daemon_of_the_machine_is_used_and_left_alone(control, folder, monkeypatch):
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "control").touch()
    (theirs / "pid").write_text("1")
    monkeypatch.setattr(mps, "DEFAULT_PIPES", theirs)
    with mps.running(folder) as service:
        assert service.used and service.environment == {mps.PIPES: str(theirs)}
    assert not (theirs / "history").exists()


def test_workers_get_the_gpus_by_uuid_and_mps(control, folder, tmp_path):
    packing = Packing(2, 1, 2, (ONE, TWO), mps="used")
    with WorkerPool(1, log_folder=tmp_path / "logs", environment=slots.worker_environment(packing)) as pool:
        assert pool.call(os.getenv, "CUDA_VISIBLE_DEVICES") == "GPU-0,GPU-1"
        pipes = Path(pool.call(os.getenv, mps.PIPES))
        assert (pipes / "history").read_text().split() == ["start"]
    assert (pipes / "history").read_text().split() == ["start", "quit"]


def test_mps_that_fails_is_said_and_mps_that_is_off_is_kept_away(program, folder):
    program("nvidia-cuda-mps-control", "exit 1")
    said: list[str] = []
    with slots.worker_environment(Packing(2, 1, 2, (ONE,), mps="used"), said.append) as environment:
        assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-0" and said[0].startswith("MPS is not used: its daemon")
    with slots.worker_environment(Packing(2, 1, 2, (ONE,), mps="off")) as environment:
        assert list(Path(environment[mps.PIPES]).iterdir()) == []
    with slots.worker_environment(Packing(2, 1, 2, (ONE,), mps="untouched")) as environment:
        assert mps.PIPES not in environment
    with slots.worker_environment(Packing(2, 1)) as environment:
        assert environment == {}


# -- how many --------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """A machine with two GPUs and sixteen cores, on which every platform works."""

    def choose(request: str = "auto", *, threads: int | None = None) -> PlatformChoice:
        return PlatformChoice("CUDA" if request == "auto" else request, {"Threads": str(threads)}, "test")

    monkeypatch.setattr(packing, "choose_platform", choose)
    monkeypatch.setattr(packing, "find_devices", lambda name: (ONE, TWO) if name == "CUDA" else ())
    for module in (slots, packing, throughput):
        monkeypatch.setattr(module, "usable_cores", lambda: 16)


def packed(replicas: int = 100, request: str = "auto", protocol: str = "standard", **site) -> Packing:
    return packing.choose_slots(SiteConfig(name="s", **site), request, replicas, load_protocol(protocol))[1]


def kept(best: int, protocol: str = "standard", devices=(ONE,), platform: str = "CUDA", mps: bool = False) -> None:
    loads = [throughput.Load(1, (10.0,), 5.0), throughput.Load(best, (10.0,) * best, 5.0)]
    throughput.remember(
        throughput.new_measurement(loads, devices, platform, load_protocol(protocol), (4000, 4000), mps=mps)
    )


def test_without_a_measurement_the_number_is_called_a_guess(machine):
    found = packed()
    assert (found.slots, found.per_device, found.threads, found.basis) == (8, 4, 2, "guess")
    assert "esr1md bench --protocol standard" in found.reason


def test_what_was_measured_is_used_for_that_dynamics_only(machine):
    kept(6)
    found = packed()
    assert (found.slots, found.per_device, found.basis) == (12, 6, "measured")
    assert "6 at once do 6 times one's ns/day" in found.reason
    assert packed(protocol="explicit").basis == "guess"
    kept(3)  # measured again: the later counts
    assert packed().per_device == 3
    assert len(throughput.measurements()) == 1


def test_other_stages_have_the_same_speed_and_another_step_has_not():
    standard = load_protocol("standard")
    longer = standard.model_copy(update={"name": "mine", "stages": standard.stages[-1:]})
    assert throughput.speed_digest(longer) == throughput.speed_digest(standard)
    slower = standard.model_copy(update={"time_step_fs": 2.0})
    assert throughput.speed_digest(slower) != throughput.speed_digest(standard)


def test_a_site_can_say_the_number(machine):
    kept(6)
    assert (packed(per_gpu=3).slots, packed(per_gpu=3).basis) == (6, "site")
    found = packed(workers=3)
    assert (found.slots, found.per_device, found.threads) == (3, 2, 5)


def test_no_more_simulations_than_replicas_or_cores(machine):
    kept(16)
    assert packed(3).slots == 3 and packed().slots == 16 and packed().threads == 1


def test_a_screen_on_the_cpu_divides_the_cores(machine):
    assert (packed(request="CPU").slots, packed(request="CPU").threads) == (16, 1)
    assert (packed(4, request="CPU").slots, packed(4, request="CPU").threads) == (4, 4)
    assert packed(request="CPU", threads=4).slots == 4
    kept(8, devices=(), platform="CPU")
    assert (packed(request="CPU").slots, packed(request="CPU").threads) == (8, 2)


def test_mps_is_planned_where_it_is_installed_and_wanted(machine, program):
    assert (packed().mps, packed().mps_reason) == ("untouched", "nvidia-cuda-mps-control is not installed")
    program("nvidia-cuda-mps-control", "exit 0")
    assert packed().mps == "used" and packed(mps=False).mps == "off"
    assert packed(per_gpu=1).mps == "untouched"
    assert packed(request="OpenCL").mps_reason == "it serves CUDA only"
    kept(5)  # measured without it: not too many with it
    assert packed().per_device == 5
    kept(9, mps=True)
    assert packed().per_device == 9
    assert packed(mps=False).per_device == 5


def test_a_file_of_measurements_that_cannot_be_read_is_no_measurement(machine):
    path = throughput.measurements_file()
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert packed().basis == "guess"
    kept(2)
    assert packed().basis == "measured"


# -- the doctor ------------------------------------------------------------------------------------------------


def probed(name: str) -> list[dict]:
    return [{"name": name, "ok": True}, {"name": "CPU", "ok": True}]


def test_the_doctor_says_nothing_of_sharing_without_a_gpu():
    assert doctor.check_sharing(probed("CPU")) == []


def test_the_doctor_says_who_shares_the_gpus_and_whether_mps_works(monkeypatch, program):
    monkeypatch.setattr(slots, "find_devices", lambda name: (ONE, TWO))
    with held(CUDA, 4, (ONE,)):
        sharing, service = doctor.check_sharing(probed("CUDA"))
    assert (sharing.status, service.status) == ("ok", "absent")
    assert "Fake 0 1, Fake 1 0" in sharing.found and "none yet" in sharing.found and "esr1md bench" in sharing.do
    kept(6)
    program("nvidia-cuda-mps-control", 'echo "no permission" >&2; exit 1')
    sharing, service = doctor.check_sharing(probed("CUDA"))
    assert "standard 6" in sharing.found and sharing.do == ""
    assert service.status == "warn" and "no permission" in service.found and "mps: false" in service.do


def test_the_doctor_tries_mps(monkeypatch, control):
    monkeypatch.setattr(slots, "find_devices", lambda name: (ONE,))
    assert doctor.check_sharing(probed("CUDA"))[1] == doctor.Finding("MPS", "ok", "started for these simulations")


def test_the_doctor_names_a_folder_that_is_not_ours(monkeypatch, tmp_path):
    monkeypatch.setattr(slots, "find_devices", lambda name: (ONE,))
    tmp_path.chmod(0o777)
    monkeypatch.setenv(slots.FOLDER_VARIABLE, str(tmp_path))
    (finding,) = doctor.check_sharing(probed("CUDA"))
    assert finding.status == "problem" and "can be changed by others" in finding.found
