"""What an installed copy consists of."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_the_tested_versions_are_within_the_ranges(project):
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    tested = {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines if "==" in line)}
    requirements = [Requirement(text) for text in project["project"]["dependencies"]]
    outside = [str(r) for r in requirements if not r.specifier.contains(tested.get(canonicalize_name(r.name), "0"))]
    assert len(requirements) > 15 and outside == []


def test_every_import_is_a_declared_dependency(project):
    runtime = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"]
    texts = [*runtime, *(text for name in ("dask", "ray", "postgres", "s3") for text in extras[name])]
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    package_of = {"yaml": "pyyaml", "pydantic_core": "pydantic", "markupsafe": "jinja2", "starlette": "fastapi"}
    found = set()
    for folder in ("esr1md", "flows"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for line in path.read_text().splitlines():
                words = line.split()
                if len(words) >= 2 and words[0] in ("import", "from") and line.rstrip()[-1:] != ".":
                    module = words[1].split(".")[0].rstrip(",;")
                    if module.isidentifier() and (words[0] == "import" or "import" in words[2:3]):
                        found.add(module)
    foreign = {m for m in found if m not in sys.stdlib_module_names and m not in ("esr1md", "flows")}
    undeclared = {m for m in foreign if canonicalize_name(package_of.get(m, m)) not in declared}
    assert len(foreign) > 10 and undeclared == set()


def test_nothing_in_the_library_imports_the_workflow_engine():
    for path in (REPOSITORY / "esr1md").rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert not [line for line in lines if line.startswith(("import prefect", "from prefect"))], path


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_the_data(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "tests", "docs", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(REPOSITORY, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("building needs the package hatchling, which cannot be fetched here")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("esr1md-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder, where in (("structures", "esr1md/_data/"), ("ligands", "esr1md/_data/"), ("configs", "esr1md/_data/"),
                          ("esr1md", ""), ("flows", "")):  # fmt: skip
        files = [p.relative_to(source).as_posix() for p in (source / folder).rglob("*") if p.is_file()]
        assert files, f"{folder}/ is empty"
        assert [file for file in files if f"{where}{file}" not in inside] == []
    strangers = [name for name in inside if not name.startswith(("esr1md/", "flows/", "esr1md-"))]
    assert strangers == []
    entry = next(name for name in inside if name.endswith("entry_points.txt"))
    assert "esr1md = esr1md.cli:main" in zipfile.ZipFile(wheel).read(entry).decode()
