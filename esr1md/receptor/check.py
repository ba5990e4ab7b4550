"""Measure any ER-alpha structure as it is: nothing is built, nothing is moved."""

from __future__ import annotations

from typing import Any

import gemmi

from esr1md.receptor.quality import assess
from esr1md.receptor.request import Start
from esr1md.specs import file_digest


def check_structure(start: Start) -> tuple[dict[str, Any], gemmi.Structure]:
    """Quality of the best ER-alpha chain of a file.

    Parameters
    ----------
    start
        From :func:`esr1md.receptor.request.find_start`; not the bundled models.

    Returns
    -------
    dict
        ``file``, ``name``, ``sha256``, ``chain``, ``mutations`` and ``gaps`` (against P03372), ``incomplete``
        residues, ``ligand``, ``conserved_water``, ``steps`` and ``quality``.
    gemmi.Structure
        What was measured: the chain in P03372 numbers.
    """
    source = start.chain
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(source.chain)
    ligand = source.pocket_ligand
    document = {
        "file": str(start.path), "name": start.label, "sha256": file_digest(start.path),
        "chain": source.steps[0].split()[1], "mutations": [str(m) for m in source.mutations],
        "gaps": [list(gap) for gap in source.gaps],
        "incomplete": {str(number): list(names) for number, names in source.incomplete.items()},
        "ligand": ligand.name if ligand else "", "conserved_water": source.conserved_water,
        "steps": [*start.steps, *source.steps], "quality": assess(structure),
    }  # fmt: skip
    return document, structure
