"""The flow's own part: chunks, parameters, where it reports to, and what a user sees of bad input."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from esr1md.catalogue import load_flow
from esr1md.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def flow_module():
    return load_flow()


@pytest.mark.parametrize(
    ("n", "seconds", "slots", "size"),
    [
        (24, 20.0, 2, 2),  # 30 s of work need two
        (24, 45.0, 2, 1),  # one is work enough
        (1000, 1.0, 4, 30),
        (8, 1.0, 4, 1),  # tiny: better short tasks than idle slots
        (100, 1.0, 4, 6),
        (3, 0.0, 2, 1),
        (0, 1.0, 2, 1),
        (1_000_000, 0.1, 8, 300),
    ],
)
def test_chunks_are_worth_a_task_and_leave_no_slot_idle(flow_module, n, seconds, slots, size):
    assert flow_module.chunk_size(n, seconds, slots) == size


def test_prefect_holds_a_bounded_number_of_tasks(flow_module, tmp_path, monkeypatch):
    """A million tasks are handed over as earlier ones end, and the first that fails stops the rest."""
    from prefect import flow, task

    runners, seen = flow_module.runners, []

    @task
    def number(value: int) -> int:
        if value == 30:
            raise ValueError("the thirtieth")
        return value

    @flow
    def many() -> None:
        with runners.task_runner(2) as runner:
            window = runners.Window(runner, 4)
            for value in range(1000):
                window.submit(number, {"value": value})
                seen.append(len(window._open))
            window.finish()

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with runners.local_engine(tmp_path), pytest.raises(ValueError, match="the thirtieth"):
        many()
    assert max(seen) <= 4 and 30 <= len(seen) < 40


def test_retries_are_for_infrastructure_only(flow_module):
    from prefect.states import Failed

    def after(error: Exception) -> bool:
        return flow_module.runners.infrastructure_fault(None, None, Failed(data=error))

    assert after(ConnectionResetError("gone")) and after(TimeoutError("late")) and after(OSError(errno.ESTALE, "stale"))
    assert not after(ValueError("a bug")) and not after(OSError(errno.ENOSPC, "full"))
    assert not after(InputError("no such ligand"))


def test_deployments_see_typed_and_described_parameters(flow_module):
    schema = flow_module.screen.to_deployment(name="quickstart")._parameter_openapi_schema
    assert set(schema.properties) == {"config", "store", "site", "limit", "platform", "retry", "joining"}
    assert "CUDA" in schema.properties["platform"]["anyOf"][0]["enum"]
    assert schema.required == ["config"]
    assert all(value.get("description") for value in schema.properties.values())
    assert schema.properties["limit"]["anyOf"][0]["type"] == "integer"


def test_entrypoint_loads_whatever_the_working_folder_holds(tmp_path):
    """As a Prefect worker loads it: by the path of the file, with a ``flows`` folder of the user's own around."""
    (tmp_path / "flows").mkdir()
    for name in ("__init__", "screen", "runners", "artifacts"):
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


def test_a_store_s_first_database_is_a_copy_of_an_empty_one(flow_module, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    first, second = tmp_path / "one" / "prefect.db", tmp_path / "two" / "prefect.db"
    first.parent.mkdir()
    with flow_module.runners._made_database(first), closing(sqlite3.connect(first)) as database:
        database.execute("CREATE TABLE flow (id)")
    with flow_module.runners._made_database(second), closing(sqlite3.connect(second)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("flow",)]
        database.execute("INSERT INTO flow VALUES (1)")
        database.commit()
    with flow_module.runners._made_database(second), closing(sqlite3.connect(second)) as database:
        assert database.execute("SELECT id FROM flow").fetchall() == [(1,)]  # what is there stays


def test_a_server_of_the_user_s_is_used(flow_module, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example:4200/api")
    before = dict(os.environ)
    with flow_module.runners.local_engine(tmp_path):
        assert dict(os.environ) == before


def test_usage_statistics_are_off_when_prefect_is_imported(flow_module):
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_every_deployment_can_be_loaded_and_describes_its_parameters():
    import yaml
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    given = yaml.safe_load((ROOT / "flows" / "prefect.yaml").read_text())["deployments"]
    assert {each["name"] for each in given} == {
        "screen", "receptors", "ligands", "surrogate-screen", "surrogate-train", "explore"
    }  # fmt: skip
    for each in given:
        file, _, name = each["entrypoint"].partition(":")
        schema = parameter_schema(load_flow_from_entrypoint(f"{ROOT / file}:{name}"))
        undescribed = [key for key, value in schema.properties.items() if not value.get("description")]
        assert not undescribed, f"{each['name']}: {undescribed}"
        assert set(each.get("parameters", {})) <= set(schema.properties)


def test_receptors_and_ligands_and_surrogate_flows_do_their_work(tmp_path):
    """Each on its smallest real input, under a temporary server."""
    code = """
import sys
from contextlib import closing
from pathlib import Path
from esr1md.catalogue import load_flow
out = Path(sys.argv[1])
library = out / "library.smi"
library.write_text("Oc1ccccc1 phenol\\nnot-a-molecule bad\\n")
with load_flow().runners.local_engine(out):
    rows = load_flow("receptors").receptors(str(out / "models"), ["WT"], ["agonist"])
    assert [row["built"] for row in rows] == ["yes"], rows
    assert list(out.glob("models/*/receptor.pdb"))
    assert load_flow("ligands").ligands(str(library), str(out / "ligands"), workers=1)["failed"] == 1
    found = load_flow("surrogate").screen(str(library), str(out / "screened"), workers=1)
    assert (found["predicted"], found["failed"]) == (1, 1), found
print("done")
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ran.stdout.strip().endswith("done"), ran.stderr
