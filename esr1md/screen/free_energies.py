"""The helix-12 free energies of a screen whose protocol drives helix 12: a table, and a page for each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas

from esr1md.dynamics.protocol import Protocol
from esr1md.errors import StageError
from esr1md.store.artifacts import Store

TABLE, PAGES = "free_energies.csv", "free_energies"


def write_free_energies(plan: dict[str, Any], protocol: Protocol, store: Store, folder: Path) -> pandas.DataFrame:
    """Write ``free_energies.csv`` and ``free_energies/CELL.html`` from the hills of a plan's finished replicas.

    Parameters
    ----------
    plan
        ``plan.json`` of the screen.
    protocol
        Its protocol, with a ``helix12_bias``.
    folder
        ``STORE/screens/NAME``.

    Returns
    -------
    A row for each cell: F(agonist) - F(antagonist) with its interval (kcal/mol, positive where the antagonist place is
    the more stable), whether it has converged, and why not; a replica whose hills cannot be read is counted there.
    """
    from esr1md.analysis.free_energy import analyse, combine
    from esr1md.dynamics.helix12_bias import Hills
    from esr1md.dynamics.output import HILLS
    from esr1md.report.free_energy import write_convergence

    settings = protocol.production.helix12_bias
    cells: dict[tuple[str, str, str], list] = {}
    unreadable: dict[tuple[str, str, str], int] = {}
    for replica in plan["replicas"]:
        key = (replica["variant"], replica["ligand"], replica["state"])
        done = store.find("replicas", replica["digest"])
        if done is None:
            continue
        try:
            hills = Hills.read(done / HILLS)
            cells.setdefault(key, []).append(analyse(hills, settings, protocol.temperature_kelvin))
        except StageError:
            unreadable[key] = unreadable.get(key, 0) + 1
    rows = []
    for (variant, ligand, state), replicas in cells.items():
        together = combine(replicas)
        low, high = together.interval_kcal or (None, None)
        page = folder / PAGES / f"{variant}_{ligand}_{state}.html".replace("/", "_")
        page.parent.mkdir(parents=True, exist_ok=True)
        write_convergence(replicas, together, page, title=f"{variant}, {ligand}, started {state}")
        lost = unreadable.get((variant, ligand, state), 0)
        rows.append(
            {
                "variant": variant,
                "ligand": ligand,
                "state": state,
                "replicas": len(replicas),
                "agonist_less_antagonist_kcal": together.difference_kcal,
                "low_kcal": low,
                "high_kcal": high,
                "converged": together.converged,
                "reason": together.reason + (f"; the hills of {lost} replicas cannot be read" if lost else ""),
            }
        )
    table = pandas.DataFrame(rows)
    table.to_csv(folder / TABLE, index=False)
    return table
