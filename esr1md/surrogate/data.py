"""What a surrogate is trained on: measured affinities from a table, and the replicas of a store's screens.

Affinities of many papers are no measurements of one thing: each assay has an offset of its own, of which the compounds
that several assays share tell (:func:`assay_offsets`). What is only a bound stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from esr1md.errors import InputError
from esr1md.ligand.affinity_table import LeftOut, Measured, read_table
from esr1md.surrogate.standard import standard_smiles

#: Spread of repeats within an assay and of the offsets between assays (pChEMBL): 0.3 and 0.5, from the standard
#: deviations of inter-laboratory Ki and IC50 in ChEMBL (Kalliokoski et al., PLoS ONE 8, e61007 (2013): 0.54 and 0.68).
REPEAT_SD, OFFSET_SD = 0.3, 0.5
#: Measurements of one compound beyond which more do not make it more certain.
MOST_WEIGHT = 4.0
#: Fewer compounds than this teach nothing that a split could judge.
FEWEST = 50


@dataclass(frozen=True)
class Affinities:
    """Compounds with one affinity each, n of them, in the order of their InChIKeys.

    Attributes
    ----------
    smiles, inchikeys
        Of the neutral parent.
    values : (n,)
        pChEMBL, offsets of the assays taken off.
    weights : (n,)
        Measurements behind each, at most :data:`MOST_WEIGHT`.
    bounds : (n,) int
        0: measured; 1: at least, -1: at most this strong.
    offsets
        Assay -> its offset (pChEMBL).
    left_out
        Rows that are not used, with the reason.
    notes
        What was taken for what, one sentence each.
    """

    smiles: tuple[str, ...]
    inchikeys: tuple[str, ...]
    values: np.ndarray
    weights: np.ndarray
    bounds: np.ndarray
    offsets: dict[str, float]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.smiles)

    def take(self, rows: np.ndarray) -> Affinities:
        """Those of an index or mask."""
        picked = np.arange(len(self))[rows]
        return Affinities(
            tuple(self.smiles[i] for i in picked), tuple(self.inchikeys[i] for i in picked), self.values[picked],
            self.weights[picked], self.bounds[picked], self.offsets, self.left_out, self.notes,
        )  # fmt: skip


def read_affinities(
    path: Path | str,
    *,
    smiles_column: str | None = None,
    value_column: str | None = None,
    value_kind: str | None = None,
    assay_column: str | None = None,
    fewest: int = FEWEST,
    report: Callable[[str], None] = lambda text: None,
) -> Affinities:
    """Read a CSV of SMILES and measured affinities (see :func:`esr1md.ligand.affinity_table.read_table`).

    Salts come off, charges are taken back, compounds are merged by InChIKey, bounds are kept as bounds.

    Parameters
    ----------
    smiles_column, value_column, value_kind, assay_column
        Where the headings do not say it; a column ``assay_chembl_id`` is found by itself.
    fewest
        Compounds that are needed.
    report
        Called with what is being done.

    Raises
    ------
    InputError
        No such file or column, numbers that are no affinities, fewer than ``fewest`` compounds, all of one value.
    """
    table = read_table(
        Path(path), smiles_column=smiles_column, value_column=value_column, value_kind=value_kind,
        group_column=assay_column or assay_heading(Path(path)), censored=True, ungrouped=True,
    )  # fmt: skip
    left, found, notes = list(table.left_out), [], list(table.notes)
    known: dict[str, tuple[str, str] | str] = {}
    for number, row in enumerate(table.rows):
        if number % 500 == 0:
            report(f"{path}: {number:,} of {len(table.rows):,} rows read")
        if row.smiles not in known:
            known[row.smiles] = _identity(row)
        identity = known[row.smiles]
        if isinstance(identity, str):
            left.append(LeftOut(row.line, row.name, identity))
        elif not 0.0 <= row.pk <= 15.0:
            left.append(LeftOut(row.line, row.name, f"an affinity of pChEMBL {row.pk:.1f}"))
        else:
            found.append((row, *identity))
    data = merged(found, left)
    if len(data) < fewest:
        reason = f"; {left[0].reason} on line {left[0].line}, for one" if left else ""
        raise InputError(f"{len(data)} compounds with an affinity are too few to learn from{reason}", where=str(path),
                         expected=f"{fewest} or more")  # fmt: skip
    if fewest > 1 and np.ptp(data.values[data.bounds == 0] if (data.bounds == 0).any() else data.values) < 1e-6:
        raise InputError(f"all compounds have the affinity {data.values[0]:.2f}", where=str(path),
                         expected="values that differ")  # fmt: skip
    return Affinities(data.smiles, data.inchikeys, data.values, data.weights, data.bounds, data.offsets, tuple(left),
                      tuple(notes))  # fmt: skip


def assay_heading(path: Path) -> str | None:
    """The column of a table that names the assay, if its heading says so."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as handle:
            heading = handle.readline()
    except OSError:
        return None  # read_table says why
    cells = [cell.strip().strip('"') for cell in heading.replace(";", ",").replace("\t", ",").split(",")]
    return next((cell for cell in cells if cell.lower() in ("assay_chembl_id", "assay_id", "assay")), None)


def _identity(row: Measured) -> tuple[str, str] | str:
    """SMILES and InChIKey of the parent, or why there is none."""
    try:
        mol, smiles = standard_smiles(row.name, row.smiles)
    except InputError as error:
        return error.what
    with rdBase.BlockLogs():
        key = Chem.MolToInchiKey(mol)
    return (smiles, key) if key else "it has no InChIKey"


def merged(found: Sequence[tuple[Measured, str, str]], left: list[LeftOut]) -> Affinities:
    """One affinity for each compound; ``found`` are rows with SMILES and InChIKey, ``left`` receives what is not used.

    Measured values win over bounds. Of bounds alone the tightest counts; a lower and an upper one that contradict each
    other leave the compound out.
    """
    exact = [(row, smiles, key) for row, smiles, key in found if row.bound == 0]
    offsets = assay_offsets([(key, row.series, row.pk) for row, _, key in exact])
    compounds: dict[str, list[Measured]] = {}
    smiles_of: dict[str, str] = {}
    for row, smiles, key in found:
        compounds.setdefault(key, []).append(row)
        smiles_of[key] = min(smiles, smiles_of.get(key, smiles))
    rows = []
    for key in sorted(compounds):
        measured = [row.pk - offsets.get(row.series, 0.0) for row in compounds[key] if row.bound == 0]
        if measured:
            rows.append((key, float(np.mean(measured)), min(MOST_WEIGHT, len(measured)), 0))
            continue
        lower = [row.pk - offsets.get(row.series, 0.0) for row in compounds[key] if row.bound == 1]
        upper = [row.pk - offsets.get(row.series, 0.0) for row in compounds[key] if row.bound == -1]
        if lower and upper:
            first = compounds[key][0]
            left.append(LeftOut(first.line, first.name, "only bounds, from both sides"))
        else:
            rows.append((key, max(lower) if lower else min(upper), 1.0, 1 if lower else -1))
    return Affinities(
        smiles=tuple(smiles_of[key] for key, *_ in rows),
        inchikeys=tuple(key for key, *_ in rows),
        values=np.array([value for _, value, _, _ in rows], dtype=float),
        weights=np.array([weight for _, _, weight, _ in rows], dtype=float),
        bounds=np.array([bound for *_, bound in rows], dtype=int),
        offsets=offsets,
    )


def assay_offsets(measurements: Sequence[tuple[str, str, float]]) -> dict[str, float]:
    """Offset of each assay by the compounds that it shares with others.

    ``y = compound + offset[assay] + noise`` with free compounds and offsets drawn around zero, solved for its maximum:
    an assay that shares no compound keeps offset zero, since nothing tells it from its compounds.

    Parameters
    ----------
    measurements
        (compound, assay, pChEMBL); an empty assay has no offset.

    Returns
    -------
    dict
        Assay -> offset (pChEMBL).
    """
    assays = sorted({assay for _, assay, _ in measurements if assay})
    if len(assays) < 2:
        return dict.fromkeys(assays, 0.0)
    compounds = {key: i for i, key in enumerate(sorted({key for key, _, _ in measurements}))}
    column = {assay: len(compounds) + i for i, assay in enumerate(assays)}
    entries = [(i, compounds[key], 1.0) for i, (key, _, _) in enumerate(measurements)]
    entries += [(i, column[assay], 1.0) for i, (_, assay, _) in enumerate(measurements) if assay]
    rows, columns, ones = (np.array(part) for part in zip(*entries, strict=True))
    design = scipy.sparse.csr_array((ones, (rows, columns)), shape=(len(measurements), len(compounds) + len(assays)))
    pull = np.zeros(design.shape[1])
    pull[len(compounds) :] = (REPEAT_SD / OFFSET_SD) ** 2
    values = np.array([value for _, _, value in measurements])
    solved = scipy.sparse.linalg.spsolve(
        (design.T @ design + scipy.sparse.diags_array(pull)).tocsc(), design.T @ values
    )
    return {assay: float(solved[column[assay]]) for assay in assays}


def scaffold_of(smiles: str) -> str:
    """Bemis-Murcko scaffold; a compound without a ring is its own."""
    return MurckoScaffold.MurckoScaffoldSmiles(smiles=smiles) or smiles


def scaffold_folds(smiles: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Fold 0 to ``folds`` - 1 of each compound (n,), those of one scaffold together, sizes as equal as that allows.

    Where there are fewer than two scaffolds for each fold, as in a congeneric series, compounds are told apart by
    themselves.
    """
    groups: dict[str, list[int]] = {}
    for i, each in enumerate(smiles):
        groups.setdefault(scaffold_of(each), []).append(i)
    if len(groups) < 2 * folds:
        groups = {each: [i] for i, each in enumerate(smiles)}
    order = sorted(groups)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda scaffold: -len(groups[scaffold]))  # stable: equal sizes stay shuffled
    sizes, fold_of = np.zeros(folds, int), np.zeros(len(smiles), int)
    for scaffold in order:
        fold = int(sizes.argmin())
        fold_of[groups[scaffold]] = fold
        sizes[fold] += len(groups[scaffold])
    return fold_of
