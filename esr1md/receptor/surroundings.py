"""What stands around a receptor in its crystal: the ligand that decides hydrogens, the water that is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import yaml
from openmm import app
from scipy.optimize import minimize

from esr1md.catalogue import data_path
from esr1md.receptor.frame import alpha_carbons, bundled_model, model_alpha_carbons, superpose, superpose_core
from esr1md.receptor.prepare import Model, load_model
from esr1md.receptor.protonation import (
    Atoms,
    Site,
    change_states,
    choose_states,
    ligand_from_sdf,
    present_states,
)
from esr1md.receptor.source import SourceChain, moved, read_source

#: Name of the file beside ``receptor.pdb`` with the water that explicit solvent must keep.
WATERS = "waters.pdb"

#: Residues whose backbone places the water between E353 and R394.
_AROUND_WATER = (*range(350, 357), *range(391, 398))
_BRIDGE = 4.0  # angstrom from the water to each partner in a relaxed model; 3.5 in the crystal
_ROOM = 2.4  # angstrom to the nearest heavy atom
_SHIFT = 2.0  # angstrom the water may be moved to fit
_STRAINED = 0.05  # angstrom squared
_HYDROGEN_BOND = 2.8  # angstrom between oxygen and its partners
_OH, _HOH = 0.9572, 104.52  # angstrom, degrees (TIP3P)


@dataclass(frozen=True)
class Surroundings:
    """Ligand and water of a starting structure, in the frame of the models.

    Attributes
    ----------
    ligand_name
        ``OHT A600``, the name of a file, or empty without a ligand.
    ligand
        Heavy atoms: element and position (angstrom).
    water
        Oxygen (angstrom) of the water between E353 and R394, or ``None`` where the crystal shows none.
    water_from
        Where the water was seen.
    anchors
        Backbone positions (angstrom) around the water in that crystal, by residue and atom name.
    """

    ligand_name: str = ""
    ligand: Atoms = ()
    water: tuple[float, float, float] | None = None
    water_from: str = ""
    anchors: dict[tuple[int, str], np.ndarray] | None = None


def bundled_surroundings(model: str, ligand: Path | None = None) -> Surroundings:
    """Crystal ligand and water of a bundled model; ``ligand`` (SDF in the frame) takes the crystal ligand's place."""
    folder = data_path("structures")
    record = yaml.safe_load((folder / "receptors.yaml").read_text(encoding="utf-8"))["models"].get(str(model), {})
    entry = str(record.get("entry", ""))
    name, atoms = "", ()
    for pose in sorted((folder / "poses").glob(f"{entry}_*.sdf"))[:1]:
        name, atoms = f"{pose.stem.partition('_')[2]} of {entry}", ligand_from_sdf(pose)
    if ligand is not None:
        name, atoms = ligand.name, ligand_from_sdf(ligand)
    water = record.get("conserved_water_angstrom")
    anchors = _anchors(gemmi.read_structure(str(bundled_model(model)))[0][0]) if water else None
    return Surroundings(name, atoms, tuple(water) if water else None, entry if water else "", anchors)


def file_surroundings(path: Path, ligand: Path | None = None, chain: str | None = None) -> Surroundings:
    """Crystal ligand and water of a structure file, brought into the frame; ``ligand`` is an SDF in its coordinates.

    Raises
    ------
    InputError
        If the file or the ligand cannot be used.
    """
    source = read_source(path, chain)
    rotation, translation, _ = superpose_core(
        alpha_carbons(source.chain), model_alpha_carbons(bundled_model("antagonist")), str(path)
    )
    found = chain_surroundings(moved(source, rotation, translation), path.name)
    if ligand is None:
        return found
    atoms = tuple(
        (element, tuple(float(x) for x in rotation @ np.array(position) + translation))
        for element, position in ligand_from_sdf(ligand)
    )
    return Surroundings(ligand.name, atoms, found.water, found.water_from, found.anchors)


def chain_surroundings(source: SourceChain, origin: str) -> Surroundings:
    """Ligand and water of a chain that is in the frame already."""
    ligand, water = source.pocket_ligand, source.conserved_water
    return Surroundings(
        ligand.name if ligand else "", ligand.atoms if ligand else (), water, origin if water else "",
        _anchors(source.chain) if water else None,
    )  # fmt: skip


def protonation_record(chain: gemmi.Chain, present: dict[int, str], around: Surroundings, ph: float) -> dict[str, Any]:
    """Predicted pKa and form of every titratable residue of a finished model.

    Parameters
    ----------
    chain
        The model.
    present
        Its forms (:func:`esr1md.receptor.protonation.present_states`).

    Returns
    -------
    dict
        ``ph``, ``ligand``, ``method``, ``sites`` (number, residue, pka, model_pka, state, reason) and ``differs``:
        a sentence for each residue whose form is not the predicted one.
    """
    sites = choose_states(chain, around.ligand, ph)
    rows, differs = [], []
    for site in sites:
        state = present.get(site.number, site.state)
        rows.append({"number": site.number, "residue": site.residue, "pka": site.pka, "model_pka": site.model_pka,
                     "state": state, "reason": site.reason if state == site.state else _kept(site)})  # fmt: skip
        if state != site.state:
            differs.append(f"{site.residue}{site.number} is {state}, predicted {site.state} ({site.reason})")
    return {"ph": ph, "ligand": around.ligand_name, "method": "PROPKA 3; histidine tautomers by hydrogen bonds",
            "sites": rows, "differs": differs}  # fmt: skip


def _kept(site: Site) -> str:
    """A variant keeps the forms of its parent model, so that the two differ in nothing but the mutation."""
    return f"chosen before mutation and relaxation, and kept; by itself it would be {site.state}: {site.reason}"


def place_water(chain: gemmi.Chain, around: Surroundings) -> tuple[tuple[float, float, float] | None, str]:
    """The conserved water in a finished model, and where it comes from or why there is none.

    It is carried over by the backbone around E353 and R394. Where the crystal shows none (low resolution), it is
    taken from the bundled antagonist model (3ERT, 1.9 A), if there is room.
    """
    residues = {residue.seqid.num: residue for residue in chain}
    names = {number: getattr(residues.get(number), "name", "absent") for number in (353, 394)}
    if names != {353: "GLU", 394: "ARG"}:
        return None, f"no conserved water: residues 353 and 394 are {names[353]} and {names[394]}"
    donor = around if around.water else bundled_surroundings("antagonist")
    if donor.water is None:
        return None, "no conserved water: no crystal at hand shows it"
    target = _anchors(chain)
    shared = sorted(target.keys() & donor.anchors.keys())
    rotation, translation, _ = superpose(
        np.array([donor.anchors[key] for key in shared]), np.array([target[key] for key in shared])
    )
    carried = rotation @ np.array(donor.water) + translation
    heavy = [atom.pos.tolist() for residue in chain for atom in residue if not atom.is_hydrogen()]
    heavy = np.array(heavy + [position for _, position in around.ligand])
    oxygen = _settle(carried, heavy, residues)
    moved_by = float(np.linalg.norm(oxygen - carried))
    reach = _reach(oxygen, residues)
    nearest = float(np.linalg.norm(heavy - oxygen, axis=1).min())
    place = f"{reach[0]:.1f} A from E353, {reach[1]:.1f} A from R394"
    if max(reach) > _BRIDGE or nearest < _ROOM or moved_by > _SHIFT:
        return None, f"no conserved water: no room at its place in {donor.water_from} ({place}, {nearest:.1f} A next)"
    seen = f"seen in {donor.water_from}" if around.water else f"not seen here, taken from {donor.water_from}"
    words = f"conserved water {place}, {seen}, shifted {moved_by:.1f} A to fit; kept in {WATERS}"
    return tuple(round(float(x), 3) for x in oxygen), words


def _settle(start: np.ndarray, heavy: np.ndarray, residues: dict[int, gemmi.Residue]) -> np.ndarray:
    """The nearest place where the water is a hydrogen bond from E353 and R394 and touches nothing."""
    near = heavy[np.linalg.norm(heavy - start, axis=1) < 6.0]

    def strain(point: np.ndarray) -> float:
        bonds = sum((distance - _HYDROGEN_BOND) ** 2 for distance in _reach(point, residues))
        pressed = np.clip(_HYDROGEN_BOND - np.linalg.norm(near - point, axis=1), 0, None)
        return bonds + 5 * float((pressed**2).sum()) + 0.1 * float(((point - start) ** 2).sum())

    best = minimize(strain, start, method="Nelder-Mead")
    if best.fun > _STRAINED:  # another side of a neighbour may have more room
        corners = [start + np.array(corner) for corner in itertools.product((-0.7, 0.7), repeat=3)]
        tried = [minimize(strain, corner, method="Nelder-Mead") for corner in corners]
        best = min((best, *tried), key=lambda result: result.fun)
    return best.x


def write_water(oxygen: tuple[float, float, float], chain: gemmi.Chain, path: Path) -> None:
    """Write the water as ``HOH`` with its hydrogens: one towards E353's carboxylate, the other away from R394."""
    residues = {residue.seqid.num: residue for residue in chain}
    origin = np.array(oxygen)
    acid = _nearest(origin, residues[353], ("OE1", "OE2"))
    base = _nearest(origin, residues[394], ("NE", "NH1", "NH2"))
    first = (acid - origin) / np.linalg.norm(acid - origin)
    away = origin - base
    side = away - np.dot(away, first) * first
    if np.linalg.norm(side) < 1e-3:  # R394, the water and E353 in one line: any direction serves
        side = np.cross(first, [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    angle = np.radians(_HOH)
    hydrogens = (origin + _OH * first, origin + _OH * (np.cos(angle) * first + np.sin(angle) * side))
    atoms = [("O", origin, "O"), ("H1", hydrogens[0], "H"), ("H2", hydrogens[1], "H")]
    lines = [
        f"HETATM{i:5d}  {name:<3} HOH W   1    {p[0]:8.3f}{p[1]:8.3f}{p[2]:8.3f}  1.00  0.00          {element:>2}"
        for i, (name, p, element) in enumerate(atoms, start=1)
    ]
    path.write_text("\n".join([*lines, "END"]) + "\n", encoding="utf-8")


def reprotonated(text: str, steps: list[str], around: Surroundings, ph: float) -> tuple[str, list[str]]:
    """A model (PDB text) brought into the protonation states of another pH or ligand, and its steps."""
    model = load_model(text, steps)
    sites = choose_states(gemmi.read_pdb_string(text)[0][0], around.ligand, ph)
    topology, positions, changes = change_states(model.topology, model.positions, sites, ph)
    said = f"protonation at pH {ph:g} by PROPKA with {around.ligand_name or 'no ligand'}: "
    said += ", ".join(changes) if changes else "nothing to change"
    return Model(topology, positions, []).pdb_text(), [*steps, said]


def record_surroundings(
    pdb: Path, around: Surroundings, ph: float, steps: list[str]
) -> tuple[dict[str, Any], tuple[float, float, float] | None]:
    """Protonation record and conserved water of a finished model; writes ``waters.pdb`` beside it and adds steps."""
    chain = gemmi.read_structure(str(pdb))[0][0]
    record = protonation_record(chain, present_states(app.PDBFile(str(pdb)).topology), around, ph)
    water, words = place_water(chain, around)
    steps.append(words)
    if water is not None:
        write_water(water, chain, pdb.parent / WATERS)
    return record, water


def _anchors(chain: Iterable[gemmi.Residue]) -> dict[tuple[int, str], np.ndarray]:
    return {
        (residue.seqid.num, name): np.array(residue[name][0].pos.tolist())
        for residue in chain
        if residue.seqid.num in _AROUND_WATER
        for name in ("N", "CA", "C")
        if name in residue
    }


def _reach(oxygen: np.ndarray, residues: dict[int, gemmi.Residue]) -> tuple[float, float]:
    acid = _nearest(oxygen, residues[353], ("OE1", "OE2"))
    base = _nearest(oxygen, residues[394], ("NE", "NH1", "NH2"))
    return float(np.linalg.norm(acid - oxygen)), float(np.linalg.norm(base - oxygen))


def _nearest(point: np.ndarray, residue: gemmi.Residue, names: tuple[str, ...]) -> np.ndarray:
    atoms = [np.array(residue[name][0].pos.tolist()) for name in names if name in residue]
    return min(atoms, key=lambda atom: np.linalg.norm(atom - point))
