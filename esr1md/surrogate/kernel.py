"""Kernel regression on Morgan counts: what the measured analogues of a compound say of it, in closed form.

The kernel is the min-max (Tanimoto) similarity of counts, ``k(a, b) = sum min(a, b) / sum max(a, b)``, which is
positive definite (Ralaivola et al., Neural Networks 18, 1093 (2005)); the regression is the mean of a Gaussian process
with it (Rasmussen & Williams, "Gaussian Processes for Machine Learning", algorithm 2.1). It is also the distance from
the training compounds that the applicability domain is judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.linalg
import scipy.sparse
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

RADIUS, BITS = 2, 4096
#: Counts above this are taken as this: the twentieth methylene of a chain says no more.
MOST = 16


@lru_cache(maxsize=1)
def _generator():
    return rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)


def morgan_counts(molecules: Sequence[Chem.Mol]) -> scipy.sparse.csr_array:
    """Folded counts of the atom environments up to radius 2, at most :data:`MOST` each.

    Returns
    -------
    (n, BITS) CSR of uint8
    """
    places, values, ends = [], [], [0]
    for mol in molecules:
        counted = _generator().GetCountFingerprint(mol).GetNonzeroElements()
        order = sorted(counted)
        places.extend(order)
        values.extend(min(counted[place], MOST) for place in order)
        ends.append(len(places))
    return scipy.sparse.csr_array(
        (np.array(values, np.uint8), np.array(places, np.int32), np.array(ends, np.int32)), shape=(len(ends) - 1, BITS)
    )


def _unary(counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Each count c as c ones, so that a scalar product is the sum of minima: (n, BITS * MOST), float32."""
    repeats = counts.data.astype(np.int64)
    first = np.cumsum(repeats) - repeats
    level = np.arange(repeats.sum()) - np.repeat(first, repeats)
    places = np.repeat(counts.indices.astype(np.int64), repeats) * MOST + level
    ends = np.concatenate([[0], np.cumsum(repeats)])[counts.indptr]
    return scipy.sparse.csr_array(
        (np.ones(len(places), np.float32), places, ends), shape=(counts.shape[0], BITS * MOST)
    )


class SimilarityTo:
    """Similarities to a fixed set of compounds, made ready once.

    Parameters
    ----------
    counts
        (n, BITS), from :func:`morgan_counts`.
    """

    def __init__(self, counts: scipy.sparse.csr_array) -> None:
        unary = _unary(counts)
        self._size = np.asarray(unary.sum(axis=1), dtype=np.float32)
        used = np.unique(unary.indices)
        self._column = np.full(BITS * MOST, -1, np.int64)
        self._column[used] = np.arange(len(used))
        # dense and feature by feature: a query adds up some ninety contiguous rows
        self._rows = np.zeros((max(1, len(used)), counts.shape[0]), np.float32)
        compounds = np.repeat(np.arange(counts.shape[0]), np.diff(unary.indptr))
        self._rows[self._column[unary.indices], compounds] = 1.0

    def __call__(self, counts: scipy.sparse.csr_array) -> np.ndarray:
        """(m, BITS) -> (m, n) float32 in 0 to 1; two compounds without any environment have 0."""
        unary = _unary(counts)
        columns = self._column[unary.indices]
        known = columns >= 0
        ends = np.concatenate([[0], np.cumsum(known)])[unary.indptr]
        query = scipy.sparse.csr_array(
            (unary.data[known], columns[known], ends), shape=(counts.shape[0], self._rows.shape[0])
        )
        shared = query @ self._rows
        size = np.asarray(unary.sum(axis=1), dtype=np.float32)
        return shared / np.maximum(size[:, None] + self._size[None, :] - shared, 1.0)


def tanimoto(first: scipy.sparse.csr_array, second: scipy.sparse.csr_array) -> np.ndarray:
    """Similarities of two sets of counts: (n, BITS), (m, BITS) -> (n, m)."""
    return SimilarityTo(second)(first)


@dataclass(frozen=True)
class KernelRegression:
    """Mean of a Gaussian process on Morgan counts.

    Attributes
    ----------
    counts : (n, BITS)
        Training compounds; ``None`` where only :meth:`from_similarity` is asked.
    dual : (n,)
        ``(K + noise / weight)^-1 (values - mean)``.
    mean
        Prior mean: the weighted mean of the values.
    noise
        Variance of a single measurement over that of the values.
    weights, scale
        Of the measurements (n,); standard deviation of the values. For :meth:`posterior` only.
    """

    counts: scipy.sparse.csr_array | None
    dual: np.ndarray
    mean: float
    noise: float
    weights: np.ndarray | None = None
    scale: float = 1.0

    @classmethod
    def fit(
        cls,
        counts: scipy.sparse.csr_array | None,
        values: np.ndarray,
        weights: np.ndarray | None = None,
        noise: float = 0.1,
        kernel: np.ndarray | None = None,
    ) -> KernelRegression:
        """Fit to ``values`` (n,), which count as ``weights`` (n,) measurements each.

        ``kernel`` (n, n) is that of ``counts``, where it is at hand.

        Raises
        ------
        ValueError
            No compound, or ``noise`` is not above 0.
        """
        values = np.asarray(values, dtype=float)
        if not len(values) or noise <= 0:
            raise ValueError(f"kernel regression needs compounds and noise above 0, not {len(values)} and {noise}")
        weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
        mean = float(np.average(values, weights=weights))
        own = tanimoto(counts, counts) if kernel is None else kernel
        dual = scipy.linalg.cho_solve(_factor(own, weights, noise), values - mean)
        return cls(counts, dual, mean, noise, weights, float(np.std(values)))

    @cached_property
    def similarity(self) -> SimilarityTo:
        """Similarities to the training compounds."""
        return SimilarityTo(self.counts)

    def predict(self, counts: scipy.sparse.csr_array) -> np.ndarray:
        """(m, BITS) -> (m,)."""
        return self.from_similarity(self.similarity(counts))

    def from_similarity(self, similarity: np.ndarray) -> np.ndarray:
        """Similarities to the training compounds (m, n) -> predictions (m,)."""
        return self.mean + similarity @ self.dual

    def posterior(self, counts: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (without measurement noise) of the process: (m, BITS) -> (m,), (m,)."""
        similarity = self.similarity(counts).astype(float)
        explained = scipy.linalg.cho_solve(self._own_factor, similarity.T)
        variance = 1.0 - np.einsum("mn,nm->m", similarity, explained)
        return self.from_similarity(similarity), self.scale * np.sqrt(np.maximum(variance, 0.0))

    @cached_property
    def _own_factor(self):
        return _factor(tanimoto(self.counts, self.counts), self.weights, self.noise)


def _factor(kernel: np.ndarray, weights: np.ndarray, noise: float):
    return scipy.linalg.cho_factor(kernel.astype(float) + np.diag(noise / weights), lower=True)


def left_out(
    kernel: np.ndarray, values: np.ndarray, weights: np.ndarray, folds: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions for compounds whose fold was left out, and the similarities that they were made from.

    Parameters
    ----------
    kernel : (n, n)
    values, weights : (n,)
    folds : (n,) int
        Fold of each compound.

    Returns
    -------
    (n,), (n, n)
        Predictions; the kernel with zero between compounds of one fold.
    """
    predicted = np.zeros(len(values))
    apart = np.where(folds[:, None] == folds[None, :], 0.0, kernel)
    for fold in np.unique(folds):
        out = folds == fold
        if out.all():
            predicted[out] = np.average(values, weights=weights)
            continue
        rest = ~out
        mean = np.average(values[rest], weights=weights[rest])
        dual = scipy.linalg.cho_solve(_factor(kernel[np.ix_(rest, rest)], weights[rest], noise), values[rest] - mean)
        predicted[out] = mean + kernel[np.ix_(out, rest)] @ dual
    return predicted, apart
