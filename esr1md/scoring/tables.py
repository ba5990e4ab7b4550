"""The ranking as flat tables, one row per thing, for CSV files and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from esr1md.scoring.scores import (
    CellScore,
    Comparison,
    Control,
    Failure,
    RankedLigand,
    Ranking,
    Record,
    Score,
)


def ranking_tables(ranking: Ranking) -> dict[str, pandas.DataFrame]:
    """``ranking``, ``cells``, ``metrics``, ``comparisons``, ``predictions``, ``controls`` and ``failures``.

    A score ``x`` becomes the columns ``x``, ``x_low``, ``x_high``, ``x_n`` and ``x_unit``; a missing one is
    empty. ``metrics`` is long: one row per cell and metric. The columns do not depend on what was found.
    """
    tables = {
        "ranking": _table(ranking.ranking, RankedLigand),
        "cells": _table(ranking.cells, CellScore),
        "comparisons": _table(ranking.comparisons, Comparison),
        "predictions": _table(ranking.predictions, CellScore),
        "controls": _table(ranking.controls, Control),
        "failures": _table(ranking.failures, Failure),
    }
    rows = [
        {"variant": c.variant, "ligand": c.ligand, "state": c.state, "metric": name} | _score_columns("value", score)
        for c in ranking.cells
        for name, score in c.metrics.items()
    ]
    columns = ["variant", "ligand", "state", "metric", *_score_columns("value", None)]
    tables["metrics"] = pandas.DataFrame(rows, columns=columns)
    return tables


def _table(records: Sequence[Record], kind: type[Record]) -> pandas.DataFrame:
    scores = {name for name, field in kind.model_fields.items() if field.annotation == Score | None}
    columns: list[str] = []
    for name in kind.model_fields:
        if name in scores:
            columns += _score_columns(name, None)
        elif name not in ("metrics", "replicas"):
            columns.append(name)
    rows = []
    for record in records:
        row: dict = {}
        for name in kind.model_fields:
            value = getattr(record, name)
            if name in scores:
                row |= _score_columns(name, value)
            elif name in columns:
                row[name] = str(value) if name.endswith("verdict") else value
        rows.append(row)
    return pandas.DataFrame(rows, columns=columns)


def _score_columns(name: str, score: Score | None) -> dict[str, float | int | str | None]:
    return {
        name: score.value if score else None,
        f"{name}_low": score.low if score else None,
        f"{name}_high": score.high if score else None,
        f"{name}_n": score.n_replicas if score else None,
        f"{name}_unit": score.unit if score else None,
    }
