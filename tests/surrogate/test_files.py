"""Weights on disk: what is damaged, foreign or a pickle is refused in a line, and nothing in it is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from esr1md.errors import InputError
from esr1md.surrogate.card import shipped_folder
from esr1md.surrogate.files import AFFINITY, FORMAT, load_files, save_files
from esr1md.surrogate.surrogate import load_surrogate


@pytest.fixture
def copy(tmp_path):
    """The shipped surrogate, in a folder that may be damaged."""
    return shutil.copytree(shipped_folder(), tmp_path / "copy")


class _Runs:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refused(folder) -> str:
    with pytest.raises(InputError) as error:
        load_files(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("write", [pickle.dump, lambda what, handle: torch.save(what, handle)], ids=["pickle", "torch"])
def test_a_pickle_is_refused_and_not_run(copy, tmp_path, write):
    with open(copy / AFFINITY, "wb") as handle:
        write(_Runs(tmp_path / "ran"), handle)
    assert "pickle" in refused(copy) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", [b"", b"not weights at all", b"\xff" * 100, b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_safetensors_is_refused(copy, text):
    (copy / AFFINITY).write_bytes(text)
    assert "damaged" in refused(copy)


def test_a_truncated_file_is_refused(copy):
    data = (copy / AFFINITY).read_bytes()
    (copy / AFFINITY).write_bytes(data[: len(data) // 2])
    assert "damaged" in refused(copy)


def test_weights_of_something_else_are_refused(copy):
    save_file({"layer.weight": np.zeros((2, 2), np.float32)}, copy / AFFINITY)
    assert "weights of something else" in refused(copy)


def change(folder, edit) -> None:
    """Rewrite the weights with tensors and description changed by ``edit(tensors, about)``."""
    from safetensors import safe_open

    path = folder / AFFINITY
    with safe_open(path, framework="numpy") as handle:
        kept = handle.metadata()
    tensors, about = load_file(path), json.loads(kept[FORMAT])
    edit(tensors, about)
    save_file(tensors, path, metadata={FORMAT: json.dumps(about)})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t, a: t["network.members.0.read.0.weight"].__setitem__((0, 0), np.nan), "not finite"),
        (lambda t, a: t["kernel.indices"].__setitem__(0, 10**6), "training compounds are damaged"),
        (lambda t, a: t["kernel.indptr"].__setitem__(1, -5), "training compounds are damaged"),
        (lambda t, a: t.__setitem__("kernel.dual", t["kernel.dual"][:-1].copy()), "numbers of compounds differ"),
        (lambda t, a: t.pop("network.members.2.read.3.bias"), "Missing key"),
        (lambda t, a: a["sizes"].__setitem__("width", 48), "size mismatch"),
        (lambda t, a: a.pop("factors"), "factors"),
    ],
    ids=["nan", "index", "indptr", "dual", "missing", "width", "factors"],
)
def test_weights_that_do_not_fit_are_refused(copy, edit, words):
    change(copy, edit)
    said = refused(copy)
    assert words in said or "Error(s) in loading" in said


def test_missing_folder_file_and_card(copy, tmp_path):
    assert "does not exist" in refused(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    assert "is not a folder" in refused(tmp_path / "file")
    (copy / "card.json").write_text("{")
    assert "no card of this version" in refused(copy)
    (copy / "card.json").unlink()
    assert "no card can be read" in refused(copy)
    (copy / AFFINITY).unlink()
    assert "can be read" in refused(copy)


def test_what_is_written_is_what_was_and_others_may_read_it(copy, tmp_path):
    affinity, simulation, card, digest = load_files(copy)
    save_files(tmp_path / "again", affinity, simulation, card)
    again = load_surrogate(tmp_path / "again")
    assert again.digest == digest and again.card == card
    smiles = ["Oc1ccccc1", "CCO"]
    assert np.array_equal(again.affinity.predict_smiles(smiles).low, affinity.predict_smiles(smiles).low)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "again" / AFFINITY).stat().st_mode) == 0o666 & ~mask


def test_the_shipped_surrogate_is_small_and_says_what_it_is():
    folder = shipped_folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 15e6
    card = (folder / "card.md").read_text()
    assert "ChEMBL" in card and "CC BY-SA" in card and "Nothing of mutants" in card
