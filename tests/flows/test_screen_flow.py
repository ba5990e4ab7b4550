"""The flow's own part: chunks, parameters, where it reports to, and what a user sees of bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esr1md.commands.run_display import load_flow
from esr1md.screen.run import Step

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def flow_module():
    return load_flow()


def replicas(n: int, seconds: float) -> list[Step]:
    return [Step("replicas", str(i), f"r{i}", None, (), seconds=seconds) for i in range(n)]


@pytest.mark.parametrize(
    ("n", "seconds", "slots", "size"),
    [
        (24, 20.0, 2, 2),  # 30 s of work need two
        (24, 45.0, 2, 1),  # one is work enough
        (1000, 1.0, 4, 30),
        (8, 1.0, 4, 1),  # tiny: better short tasks than idle slots
        (100, 1.0, 4, 6),
        (3, 0.0, 2, 1),
    ],
)
def test_chunks_are_worth_a_task_and_leave_no_slot_idle(flow_module, n, seconds, slots, size):
    steps = replicas(n, seconds)
    found = flow_module.chunks(steps, slots)
    assert [step for chunk in found for step in chunk] == steps
    assert len(found[0]) == size and max(map(len, found)) == size
    assert len(found) >= min(n, slots * flow_module.CHUNKS_PER_SLOT)


def test_no_replicas_no_chunks(flow_module):
    assert flow_module.chunks([], 2) == []


def test_deployments_see_typed_and_described_parameters(flow_module):
    schema = flow_module.screen.to_deployment(name="quickstart")._parameter_openapi_schema
    assert set(schema.properties) == {"config", "store", "limit", "platform", "retry"}
    assert schema.required == ["config"]
    assert all(value.get("description") for value in schema.properties.values())
    assert schema.properties["limit"]["anyOf"][0]["type"] == "integer"


def test_entrypoint_loads_whatever_the_working_folder_holds(tmp_path):
    """As a Prefect worker loads it: by the path of the file, with a ``flows`` folder of the user's own around."""
    (tmp_path / "flows").mkdir()
    for name in ("__init__", "screen", "runners"):
        (tmp_path / "flows" / f"{name}.py").write_text("raise RuntimeError('not ours')\n")
    code = (
        "from prefect.flows import load_flow_from_entrypoint\n"
        f"print(load_flow_from_entrypoint({str(ROOT / 'flows' / 'screen.py') + ':screen'!r}).name)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "screen", ran.stderr


def test_bad_input_is_one_line_before_prefect_starts(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "flows.screen", "quikstart", "--store", str(tmp_path / "store")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 2 and ran.stdout == ""
    assert ran.stderr.startswith("error: unknown screen 'quikstart'") and ran.stderr.count("\n") == 1
    assert "did you mean 'quickstart'" in ran.stderr
    assert not (tmp_path / "store").exists()


def test_local_engine_is_the_store_s_own_and_leaves_no_trace(flow_module, tmp_path, monkeypatch):
    from prefect.settings import get_current_settings

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    before = dict(os.environ)
    with flow_module.runners.local_engine(tmp_path):
        settings = get_current_settings()
        assert settings.home == tmp_path / ".prefect"
        assert settings.api.url is None and not settings.server.analytics_enabled
        assert settings.server.ephemeral.startup_timeout_seconds == 120
    assert dict(os.environ) == before
    assert get_current_settings().home != tmp_path / ".prefect"


def test_a_server_of_the_user_s_is_used(flow_module, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example:4200/api")
    before = dict(os.environ)
    with flow_module.runners.local_engine(tmp_path):
        assert dict(os.environ) == before


def test_usage_statistics_are_off_when_prefect_is_imported(flow_module):
    assert os.environ["DO_NOT_TRACK"] == "1"
