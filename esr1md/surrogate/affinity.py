"""What an assay with the wild type would measure of a compound, with an interval and how far it is from what is known.

    value = kernel regression + weight x mean correction of the ensemble

The kernel regression (kernel.py) is of all training compounds. The weight is what the corrections were worth on
scaffolds that training left out, between 0 (nothing) and 1. The standard deviation is the members' own, which see how
near the training compounds are, and their disagreement; the interval is conformal (calibration.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from chemprop.featurizers.molgraph.molecule import BatchCuikMolGraph
from rdkit import Chem

from esr1md.surrogate.calibration import Calibration
from esr1md.surrogate.encoder import Graphs
from esr1md.surrogate.kernel import KernelRegression, morgan_counts
from esr1md.surrogate.model import AffinityEnsemble

#: Molecules that go through the network at once: small enough for the cache of a CPU core, large enough for a GPU.
CPU_BATCH, GPU_BATCH = 128, 2048
#: Similar compounds whose mean similarity the network sees.
NEIGHBOURS = 5


@dataclass(frozen=True)
class AffinityPrediction:
    """Of n compounds.

    Attributes
    ----------
    value, sd : (n,)
        Predicted pChEMBL and its standard deviation.
    low, high : (n,)
        Ends of the calibrated 90 % interval.
    similarity : (n,)
        Tanimoto of counts to the most similar training compound.
    nearest : (n,) int
        Its row among the training compounds.
    in_domain : (n,) bool
        Whether that similarity is one at which the model was judged.
    """

    value: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    similarity: np.ndarray
    nearest: np.ndarray
    in_domain: np.ndarray


@dataclass(frozen=True)
class AffinityModel:
    """A trained affinity model.

    Attributes
    ----------
    kernel
        Regression on all training compounds.
    network
        Ensemble of corrections, in evaluation mode.
    weight
        Share of the mean correction that is added.
    calibration
        Of the interval.
    least_similarity
        Below this a compound is outside the domain.
    inchikeys
        Of the training compounds, in the kernel's order.
    held_out
        Figures (evaluation.py) of single members on scaffolds that they had no part in.
    """

    kernel: KernelRegression
    network: AffinityEnsemble
    weight: float
    calibration: Calibration
    least_similarity: float
    inchikeys: tuple[str, ...]
    held_out: dict[str, float]

    @property
    def vector_length(self) -> int:
        """Length of a compound's :meth:`vectors`."""
        return sum(member.encode.output_dim for member in self.network.members)

    def vectors(self, smiles: Sequence[str]) -> np.ndarray:
        """What message passing makes of n compounds in every member, one after the other: (n, m * width)."""
        graphs = Graphs(smiles)
        with torch.inference_mode():
            parts = [
                torch.cat([member.encode(batch) for member in self.network.members], dim=1).double().cpu().numpy()
                for _, batch in batches(self.network, graphs)
            ]
        return np.concatenate(parts)

    def predict_smiles(self, smiles: Sequence[str]) -> AffinityPrediction:
        """As :meth:`predict`, of SMILES of neutral parents (:mod:`esr1md.surrogate.standard`)."""
        return self.predict([Chem.MolFromSmiles(each) for each in smiles], smiles)

    def predict(self, molecules: Sequence[Chem.Mol], smiles: Sequence[str] | None = None) -> AffinityPrediction:
        """Predict n compounds.

        Parameters
        ----------
        molecules
            Neutral parents.
        smiles
            The same, if at hand.
        """
        if not len(molecules):
            none = np.zeros(0)
            return AffinityPrediction(none, none, none, none, none, none.astype(int), none.astype(bool))
        smiles = [Chem.MolToSmiles(mol) for mol in molecules] if smiles is None else smiles
        similarity = self.kernel.similarity(morgan_counts(molecules))
        features = kernel_features(self.kernel.from_similarity(similarity), similarity)
        corrections, deviations = run_network(self.network, Graphs(smiles), features)
        value = features[:, 0] + self.weight * corrections.mean(axis=0)
        sd = np.sqrt((deviations**2).mean(axis=0) + self.weight**2 * corrections.var(axis=0))
        low, high = self.calibration.interval(value, sd, features[:, 1])
        return AffinityPrediction(
            value, sd, low, high, features[:, 1], similarity.argmax(axis=1), features[:, 1] >= self.least_similarity
        )


def kernel_features(predicted: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """What the network reads of the kernel regression: (n,), (n, t) similarities -> (n, 3) float32."""
    few = min(NEIGHBOURS, similarity.shape[1])
    top = np.partition(similarity, -few, axis=1)[:, -few:]
    return np.stack([predicted, top.max(axis=1), top.mean(axis=1)], axis=1).astype(np.float32)


def run_network(network: AffinityEnsemble, graphs: Graphs, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corrections and standard deviations of every member, on whatever device it is: (m, n), (m, n) float64."""
    found = []
    with torch.inference_mode():
        for rows, batch in batches(network, graphs):
            given = torch.from_numpy(features[rows]).to(batch.V.device)
            found.append([part.double().cpu().numpy() for part in network(batch, given)])
    corrections, deviations = zip(*found, strict=True)
    return np.concatenate(corrections, axis=1), np.concatenate(deviations, axis=1)


def batches(network: torch.nn.Module, graphs: Graphs) -> Iterator[tuple[np.ndarray, BatchCuikMolGraph]]:
    """Rows and graphs that go through ``network`` at once, on its device."""
    device = next(network.parameters()).device
    size = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    for start in range(0, len(graphs), size):
        rows = np.arange(start, min(start + size, len(graphs)))
        yield rows, graphs.batch(rows, device)
