"""Nothing from outside is executed: no foreign pickles, YAML objects or shells made of names; no secret is recorded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.store import Store

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("esr1md/**/*.py"), *ROOT.glob("flows/*.py")])

#: Calls that can execute what they read, and the places where they read nothing from outside, with the reason.
DANGEROUS = {
    "pickle.load": {},
    "pickle.loads": {"esr1md/workers.py": "the pipe to a process of our own"},
    "yaml.load": {},
    "yaml.unsafe_load": {},
    "yaml.full_load": {},
    "torch.load": {},
    "numpy.load": {},
    "np.load": {},
    "os.system": {},
    "os.popen": {},
    "eval": {},
    "exec": {},
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_read_is_executed(path):
    where = str(path.relative_to(ROOT))
    for name, call in calls(ast.parse(path.read_text())):
        keywords = {each.arg: ast.unparse(each.value) for each in call.keywords}
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle", "False") == "False", f"{where}:{call.lineno}"
        elif name == "torch.load":
            assert keywords.get("weights_only") == "True", f"{where}:{call.lineno}"
        elif name in DANGEROUS:
            assert where in DANGEROUS[name], f"{where}:{call.lineno} calls {name}"
        assert keywords.get("shell", "False") == "False", f"{where}:{call.lineno} starts a shell"


def test_yaml_objects_are_refused(tmp_path):
    path = tmp_path / "screen.yaml"
    path.write_text("name: !!python/object/apply:os.system ['touch " + str(tmp_path / "owned") + "']\n")
    with pytest.raises(InputError, match="screen.yaml:1"):
        load_screen(path)
    assert not (tmp_path / "owned").exists()
    assert yaml.SafeLoader is not yaml.Loader


@pytest.mark.parametrize("digest", ["../../etc", "/etc/passwd", "..", "", "a/b", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_digest_cannot_leave_its_folder(tmp_path, digest):
    with pytest.raises((InputError, ValueError)):
        Store(tmp_path).folder("replicas", digest)


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", ".hidden", "", "a\nb", "x" * 101])
def test_a_screen_s_name_cannot_leave_its_folder(tmp_path, name):
    path = tmp_path / "screen.yaml"
    document = {"name": name, "variants": ["WT"], "ligands": ["estradiol"], "protocol": "quick", "replicas": 1}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match="name"):
        load_screen(path)


def test_the_database_s_password_is_never_shown(tmp_path):
    """Neither in the message about a server that does not answer, nor in any file of the store."""
    code = (
        "import sys; from esr1md.store import Store; from esr1md.store.records import open_index\n"
        "open_index(Store(sys.argv[1]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "ESR1MD_DATABASE_URL": "postgresql://someone:s3cr3t-w0rd@127.0.0.1:9/nothing"},
    )  # fmt: skip
    assert ran.returncode != 0
    assert "s3cr3t" not in ran.stdout + ran.stderr and "127.0.0.1" in ran.stderr
    assert not any("s3cr3t" in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())
