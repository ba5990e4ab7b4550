"""Finding the data of a checkout, and the configuration a name or path means."""

from __future__ import annotations

from pathlib import Path

import pytest

from esr1md.catalogue import constraints_file, data_path, did_you_mean, named_file, names
from esr1md.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("kind", ["structures", "ligands", "configs"])
def test_data_path_is_the_folder_at_the_top_of_the_checkout(kind):
    assert data_path(kind) == REPOSITORY / kind


def test_constraints_are_exact_versions_without_an_index_or_local_build():
    lines = [line for line in constraints_file().read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if "==" not in line or "+" in line or "://" in line or line.startswith("-")] == []


def test_names_lists_the_bundled_configurations():
    assert {"quickstart", "reference"} <= set(names("screens"))
    assert {"quick", "standard", "explicit"} <= set(names("protocols"))
    assert "local" in names("sites")


def test_named_file_takes_a_bundled_name():
    assert named_file("screens", "quickstart") == REPOSITORY / "configs" / "screens" / "quickstart.yaml"


def test_named_file_takes_a_path(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("name: own\n")
    assert named_file("screens", str(own)) == own
    assert named_file("screens", own) == own


def test_a_file_in_the_working_folder_does_not_stand_in_for_a_bundled_name(tmp_path, monkeypatch):
    (tmp_path / "quickstart").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert named_file("screens", "quickstart") == REPOSITORY / "configs" / "screens" / "quickstart.yaml"


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(InputError) as error:
        named_file("screens", "quickstar")
    message = str(error.value)
    assert "unknown screen 'quickstar'" in message
    assert "quickstart, reference" in message
    assert message.endswith("did you mean 'quickstart'?")


@pytest.mark.parametrize("path", ["missing.yaml", "folder/missing", "missing.yml"])
def test_a_missing_path_is_named(path):
    with pytest.raises(InputError, match="no protocol file") as error:
        named_file("protocols", path)
    assert path in str(error.value)


def test_did_you_mean_ignores_case_and_says_nothing_when_nothing_is_near():
    assert did_you_mean("cuda", ["CUDA", "CPU"]) == "did you mean 'CUDA'?"
    assert did_you_mean("zzz", ["CUDA", "CPU"]) == ""
