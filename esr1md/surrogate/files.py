"""A surrogate on disk: safetensors and JSON only, everything checked before it is used.

``affinity.safetensors``, ``simulation.safetensors`` where it was trained on a store, ``card.json`` and ``card.md``. A
pickle can run code when it is read and is refused whatever its name.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from esr1md.errors import InputError
from esr1md.specs import digest_of, file_digest
from esr1md.store.disk import beside
from esr1md.surrogate.affinity import AffinityModel
from esr1md.surrogate.calibration import Calibration
from esr1md.surrogate.card import Card, card_text, load_card
from esr1md.surrogate.kernel import BITS, KernelRegression
from esr1md.surrogate.model import AffinityEnsemble, SimulationEnsemble
from esr1md.surrogate.simulation import SimulationModel, Skill

FORMAT = "esr1md-surrogate-1"
AFFINITY, SIMULATION = "affinity.safetensors", "simulation.safetensors"
_RETRAIN = "train it again with esr1md surrogate train, or leave --model out for the shipped one"


def save_files(folder: Path, affinity: AffinityModel, simulation: SimulationModel | None, card: Card) -> None:
    """Write a surrogate; every file appears whole or not at all, the card last.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    kernel = affinity.kernel
    tensors = {f"network.{name}": value.numpy() for name, value in affinity.network.cpu().state_dict().items()}
    tensors |= {
        "kernel.data": kernel.counts.data,
        "kernel.indices": kernel.counts.indices.astype(np.int32),
        "kernel.indptr": kernel.counts.indptr.astype(np.int32),
        "kernel.dual": kernel.dual.astype(np.float32),
        "inchikeys": np.frombuffer("\n".join(affinity.inchikeys).encode(), np.uint8).copy(),
    }
    about = {
        "members": len(affinity.network.members),
        "sizes": affinity.network.members[0].sizes,
        "mean": kernel.mean,
        "noise": kernel.noise,
        "weight": affinity.weight,
        "edges": affinity.calibration.edges,
        "factors": {str(level): factors for level, factors in affinity.calibration.factors.items()},
        "n_calibration": affinity.calibration.n,
        "least_similarity": affinity.least_similarity,
        "held_out": affinity.held_out,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / AFFINITY, tensors, about)
        if simulation is None:
            (folder / SIMULATION).unlink(missing_ok=True)
        else:
            weights = {name: value.numpy() for name, value in simulation.network.state_dict().items()}
            fields = {
                f.name: getattr(simulation, f.name) for f in dataclasses.fields(simulation) if f.name != "network"
            }
            fields["skills"] = [dataclasses.asdict(skill) for skill in simulation.skills]
            fields["wild"] = [[*key, scores] for key, scores in sorted(simulation.wild.items())]
            _write(folder / SIMULATION, weights, {"sizes": simulation.network.sizes, **fields})
        for name, text in (("card.md", card_text(card)), ("card.json", _json(dataclasses.asdict(card)))):
            with beside(folder / name) as part:
                part.write_text(text, encoding="utf-8")
                os.replace(part, folder / name)
    except OSError as error:
        raise InputError(f"the surrogate cannot be written ({error.strerror})", where=str(folder),
                         do="free some space or choose another folder") from error  # fmt: skip


def load_files(folder: Path) -> tuple[AffinityModel, SimulationModel | None, Card, str]:
    """Affinity model, simulation model if there is one, card, and the digest of the weights.

    Raises
    ------
    InputError
        No such folder, or files that are no surrogate's, are damaged, or are pickles.
    """
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"'{folder}' {kind}", expected="a folder that esr1md surrogate train has written")
    tensors, about = _read(folder / AFFINITY)
    digests = [file_digest(folder / AFFINITY)]
    try:
        network = AffinityEnsemble(int(about["members"]), **about["sizes"])
        _set(network, {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
        counts = _counts(tensors)
        inchikeys = tuple(tensors["inchikeys"].tobytes().decode().split("\n"))
        dual = tensors["kernel.dual"].astype(float)
        if not (dual.shape == (counts.shape[0],) and len(inchikeys) == counts.shape[0]):
            raise ValueError("numbers of compounds differ")
        affinity = AffinityModel(
            kernel=KernelRegression(counts, dual, float(about["mean"]), float(about["noise"])),
            network=network.eval(),
            weight=float(about["weight"]),
            calibration=Calibration(
                tuple(about["edges"]),
                {float(level): tuple(factors) for level, factors in about["factors"].items()},
                int(about["n_calibration"]),
            ),
            least_similarity=float(about["least_similarity"]),
            inchikeys=inchikeys,
            held_out=about["held_out"],
        )
        simulation = None
        if (folder / SIMULATION).exists():
            simulation = _simulation(folder / SIMULATION)
            digests.append(file_digest(folder / SIMULATION))
        card = load_card(folder)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"this is no surrogate of this version ({_first_line(error)})", where=str(folder), do=_RETRAIN
        ) from None
    return affinity, simulation, card, digest_of(digests)


def _simulation(path: Path) -> SimulationModel:
    tensors, about = _read(path)
    network = SimulationEnsemble(**about.pop("sizes"))
    _set(network, tensors)
    about["skills"] = tuple(Skill(**skill) for skill in about["skills"])
    about["wild"] = {
        (ligand, state): {score: tuple(value) for score, value in scores.items()}
        for ligand, state, scores in about["wild"]
    }
    about["variants"] = tuple(about["variants"])
    about["states"] = {score: tuple(states) for score, states in about["states"].items()}
    about["apo"] = {variant: tuple(values) for variant, values in about["apo"].items()}
    return SimulationModel(network=network.eval(), **about)


def _counts(tensors: dict[str, np.ndarray]) -> scipy.sparse.csr_array:
    """The training compounds, checked: indices from a file must not reach outside of any array."""
    data, indices, ends = (tensors[f"kernel.{part}"] for part in ("data", "indices", "indptr"))
    rising = len(ends) > 1 and ends[0] == 0 and ends[-1] == len(indices) == len(data) and (np.diff(ends) >= 0).all()
    if not rising or (len(indices) and not (0 <= indices.min() and indices.max() < BITS)):
        raise ValueError("the training compounds are damaged")
    return scipy.sparse.csr_array((data.astype(np.uint8), indices, ends), shape=(len(ends) - 1, BITS))


def _set(network: torch.nn.Module, tensors: dict[str, np.ndarray]) -> None:
    if not all(np.isfinite(value).all() for value in tensors.values()):
        raise ValueError("weights that are not finite")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})


def _write(path: Path, tensors: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    # one entry: safetensors writes several in any order, and the same model would have another digest each time
    with beside(path) as part:
        save_file(contiguous, part, metadata={FORMAT: _json(about)})
        part.chmod(0o666 & ~_umask())  # safetensors writes files that only their owner may read
        os.replace(part, path)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and description of a file of ours."""
    try:
        with open(path, "rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise InputError(f"no {path.name} can be read ({error.strerror})", where=str(path.parent),
                         expected="a folder that esr1md surrogate train has written") from error  # fmt: skip
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise InputError("this is a pickle, which is never loaded: reading one can run any code", where=str(path),
                         expected="weights as safetensors", do=_RETRAIN)  # fmt: skip
    try:
        with safe_open(path, framework="numpy") as handle:
            found = handle.metadata() or {}
            if FORMAT not in found:
                raise InputError("these are weights of something else", where=str(path), expected=f"format {FORMAT}",
                                 do=_RETRAIN)  # fmt: skip
            return {name: handle.get_tensor(name) for name in handle.keys()}, json.loads(found[FORMAT])
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise InputError(f"the weights are damaged ({_first_line(error)})", where=str(path), do=_RETRAIN) from None


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} in a surrogate's description")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
