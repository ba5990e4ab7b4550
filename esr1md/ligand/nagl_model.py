"""The NAGL charge network: its weights, read safely, and its layers in NumPy.

The weights come with the PyPI package ``openff-nagl-models`` as a pickle. A pickle can run any code, so it
is read here by an unpickler that builds arrays and plain containers and nothing else. Torch, which takes
longer to import than the charges of a ligand take, is not needed.
"""

from __future__ import annotations

import functools
import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.special import expit

from esr1md.errors import StageError

MODEL_NAME = "openff-gnn-am1bcc-1.0.0"


@dataclass(frozen=True)
class NaglModel:
    """The network and what it was trained for.

    Attributes
    ----------
    elements
        Element symbols of the one-hot element feature, in order (10).
    connectivities
        Numbers of neighbours of the one-hot connectivity feature, in order (7).
    ring_sizes
        Ring sizes asked for (3 to 6).
    allowed_elements
        Atomic numbers of the training domain.
    forbidden_patterns
        SMARTS of groups outside the training domain.
    layers
        Message-passing layers as (self weight ``d_out x d_in``, self bias ``d_out``, neighbour weight
        ``d_out x d_in``).
    readout
        Dense layers as (weight, bias).
    """

    elements: tuple[str, ...]
    connectivities: tuple[int, ...]
    ring_sizes: tuple[int, ...]
    allowed_elements: frozenset[int]
    forbidden_patterns: tuple[str, ...]
    layers: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    readout: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def n_features(self) -> int:
        """Width of an atom's feature vector: elements, connectivities, average formal charge, rings (22)."""
        return len(self.elements) + len(self.connectivities) + 1 + len(self.ring_sizes)


def atom_parameters(model: NaglModel, features: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Initial charge, electronegativity and hardness of each atom.

    Each layer is GraphSAGE with mean aggregation (Hamilton 2017):
    ``h = ReLU(W_self h + b + W_neigh mean(h_j))``.

    Parameters
    ----------
    model
        From :func:`load_model`.
    features
        ``n x 22`` atom features.
    neighbours
        ``n x n`` matrix with ``1/degree`` where two atoms are bonded, else 0 (its product with ``n x d``
        hidden features is the mean over neighbours).

    Returns
    -------
    np.ndarray
        ``n x 3``.
    """
    hidden = features
    for self_weight, bias, neighbour_weight in model.layers:
        hidden = np.maximum(hidden @ self_weight.T + bias + (neighbours @ hidden) @ neighbour_weight.T, 0.0)
    (weight_1, bias_1), (weight_2, bias_2) = model.readout
    return expit(hidden @ weight_1.T + bias_1) @ weight_2.T + bias_2


@functools.cache
def load_model() -> NaglModel:
    """The model ``openff-gnn-am1bcc-1.0.0`` of the installed package ``openff-nagl-models``.

    Raises
    ------
    StageError
        The package is absent, or its file does not describe the network implemented here.
    """
    content = read_checkpoint(_model_file())
    try:
        return _from_checkpoint(content)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise StageError(
            "parameters",
            f"{MODEL_NAME}.pt does not hold the expected network ({error!r}); "
            "install the tested version of openff-nagl-models",
        ) from error


def _model_file() -> Path:
    package = find_spec("openff.nagl_models") if find_spec("openff") else None
    if package is None or not package.submodule_search_locations:
        raise StageError(
            "parameters", "the package openff-nagl-models is not installed; pip install openff-nagl-models"
        )
    path = Path(next(iter(package.submodule_search_locations))) / "models" / "am1bcc" / f"{MODEL_NAME}.pt"
    if not path.is_file():
        raise StageError(
            "parameters", f"openff-nagl-models holds no {MODEL_NAME}.pt; install the tested version", where=str(path)
        )
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A torch checkpoint (zip) as arrays, plain containers and inert placeholders for all else.

    Raises
    ------
    StageError
        The file is not a readable checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickle_name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            root = pickle_name.removesuffix("data.pkl")
            return _ArrayUnpickler(archive, root, archive.read(pickle_name)).load()
    except (zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, KeyError, EOFError) as error:
        raise StageError("parameters", f"not a readable torch checkpoint ({error})", where=str(path)) from error


class _Inert:
    """Stands in for every class of the file that is not admitted; keeps items, runs nothing."""

    def __new__(cls, *arguments: Any) -> "_Inert":
        self = super().__new__(cls)  # the unpickler does not always call __init__
        self.arguments, self.items = arguments, {}
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __getitem__(self, key: Any) -> Any:
        return self.items[key]

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _ArrayUnpickler(pickle.Unpickler):
    """Builds float arrays, ``OrderedDict`` and ``set``; everything else becomes :class:`_Inert`."""

    def __init__(self, archive: zipfile.ZipFile, root: str, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        admitted = {
            ("collections", "OrderedDict"): OrderedDict,
            ("__builtin__", "set"): set,
            ("builtins", "set"): set,
            ("torch", "FloatStorage"): np.float32,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_array,
        }
        return admitted.get((module, name), _Inert)

    def persistent_load(self, identity: tuple) -> np.ndarray:
        kind, dtype, key, _location, n_values = identity
        if kind != "storage" or dtype is not np.float32:
            raise pickle.UnpicklingError(f"unexpected storage {kind} {dtype}")
        data = self._archive.read(f"{self._root}data/{int(key)}")
        if len(data) != 4 * n_values:
            raise pickle.UnpicklingError(f"storage {key} has {len(data)} bytes, expected {4 * n_values}")
        return np.frombuffer(data, dtype="<f4")


def _rebuild_array(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    return as_strided(storage[offset:], size, [storage.itemsize * step for step in stride], writeable=False)


def _from_checkpoint(content: dict[str, Any]) -> NaglModel:
    settings, weights = content["hyperparameters"], content["state_dict"]
    config, domain = settings["config"], settings["chemical_domain"]
    features = config["atom_features"]
    names = [f["name"] for f in features]
    expected = ["atomic_element", "atom_connectivity", "atom_average_formal_charge"]
    others = set(names[3:])
    if names[:3] != expected or others != {"atom_in_ring_of_size"} or config["bond_features"]:
        raise ValueError(f"features {names}")
    convolution = config["convolution"]
    if convolution["architecture"] != "SAGEConv" or any(
        layer["aggregator_type"] != "mean" for layer in convolution["layers"]
    ):
        raise ValueError(f"convolution {convolution['architecture']}")
    if config["readouts"]["am1bcc_charges"]["postprocess"] != "regularized_compute_partial_charges":
        raise ValueError("postprocess")
    stem = "convolution_module.gcn_layers"
    layers = tuple(
        (
            weights[f"{stem}.{i}.fc_self.weight"],
            weights[f"{stem}.{i}.fc_self.bias"],
            weights[f"{stem}.{i}.fc_neigh.weight"],
        )
        for i in range(len(convolution["layers"]))
    )
    dense = sorted(k for k in weights if k.startswith("readout_modules") and k.endswith(".weight"))
    if len(dense) != 2:
        raise ValueError(f"readout {dense}")
    model = NaglModel(
        elements=tuple(features[0]["categories"]),
        connectivities=tuple(features[1]["categories"]),
        ring_sizes=tuple(f["ring_size"] for f in features[3:]),
        allowed_elements=frozenset(domain["allowed_elements"]),
        forbidden_patterns=tuple(domain["forbidden_patterns"]),
        layers=layers,
        readout=tuple((weights[k], weights[k.removesuffix("weight") + "bias"]) for k in dense),
    )
    if model.n_features != layers[0][0].shape[1]:
        raise ValueError(f"{model.n_features} features for weights of width {layers[0][0].shape[1]}")
    return model
