"""What the report reads from a store: the time series of every replica, and one small 3D model per cell.

Nothing here computes a score. A folder or column that is missing is named in ``Missing`` so that the report
can say so; it is never replaced by something else.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import yaml
from scipy.spatial import cKDTree

from esr1md.analysis.frames import frames_to_score
from esr1md.catalogue import data_path
from esr1md.config import Thresholds, Weights
from esr1md.scoring.scores import Ranking
from esr1md.store import Store

#: Files of a replica that the page is made from.
_NEEDED = ("spec.json", "observation.parquet", "contacts.json", "final.pdb")
#: Columns the figures use; others in ``observation.parquet`` are left where they are.
COLUMNS = (
    "time_ps",
    "h12_rmsd_agonist_angstrom",
    "h12_rmsd_antagonist_angstrom",
    "helix12_angstrom",
    "binding_kcal",
    "vdw_kcal",
    "coulomb_kcal",
    "gb_kcal",
    "sasa_kcal",
)

#: P03372 numbers of helix 12, of the LBD core used to superpose (helices 3 to 10), of residues to label.
HELIX12 = range(536, 547)
CORE = range(341, 527)
KEY_RESIDUES = (351, 353, 394, 524)

TERMS = ("vdw", "coulomb", "polar")

#: Residues with an atom this near (angstrom) to the ligand keep their side chain in the 3D view.
POCKET_RADIUS = 5.0


@dataclass(frozen=True)
class Replica:
    """The time series of one replica; ``columns`` maps a name in :data:`COLUMNS` to an array (n_frames,)."""

    digest: str
    variant: str
    ligand: str
    state: str
    seed: int | None
    columns: dict[str, np.ndarray]


@dataclass(frozen=True)
class Complex:
    """A final structure for the 3D view: ``pdb`` is gzipped and base64-encoded PDB text."""

    digest: str
    variant: str
    ligand: str
    state: str
    seed: int | None
    pdb: str
    mutated: tuple[int, ...]


@dataclass(frozen=True)
class Interaction:
    """Energy between the ligand and one residue (kcal/mol), mean over the replicas of a cell.

    ``terms`` are its parts by name in :data:`TERMS`; empty where a replica did not record them.
    """

    residue: str
    total: float
    terms: dict[str, float]


@dataclass
class StoreData:
    """Everything read from the store for one ranking, and what could not be read.

    ``interactions``: (variant, ligand, state) -> P03372 number -> energy of the residue with the ligand.
    """

    replicas: list[Replica] = field(default_factory=list)
    complexes: list[Complex] = field(default_factory=list)
    specs: dict[str, dict] = field(default_factory=dict)
    interactions: dict[tuple[str, str, str], dict[int, Interaction]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ScreenSettings:
    """What a plan says of a screen and its ranking does not: thresholds of the verdicts, weights of the criteria."""

    thresholds: Thresholds
    weights: Weights


def read_settings(store_root: Path, screen: str) -> ScreenSettings | None:
    """The settings of a screen by its ``plan.json``; ``None`` where the store has no plan of it that says them."""
    path = store_root / "screens" / screen / "plan.json"
    return settings_of(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def settings_of(plan: Mapping[str, Any]) -> ScreenSettings | None:
    """The settings that a plan says; ``None`` where it says none.

    A plan from before weights existed was ranked with the default ones.
    """
    config = plan.get("config", {})
    if "thresholds" not in config:
        return None
    return ScreenSettings(
        Thresholds.model_validate(config["thresholds"]), Weights.model_validate(config.get("weights", {}))
    )


def read_store(
    ranking: Ranking, store_root: Path, *, max_points: int = 50_000, max_complex_bytes: int = 3_500_000
) -> StoreData:
    """Read the replicas behind a ranking.

    Parameters
    ----------
    ranking
        Its cells name the replica folders by digest.
    store_root
        The store, which holds ``replicas/DIGEST/``.
    max_points
        Frames of all replicas together; longer time series are thinned evenly, keeping first and last, but
        never below 40 frames each.
    max_complex_bytes
        Budget for all embedded structures together. It is spent in the order of the ranking; how many cells
        went without is said in ``missing``.
    """
    ranks = {(r.ligand, r.state): r.rank for r in ranking.ranking}
    cells = sorted(ranking.cells, key=lambda c: ranks.get((c.ligand, c.state), len(ranks) + 1))
    most_frames = max(40, min(200, max_points // max(1, sum(len(c.replicas) for c in cells))))
    data, store = StoreData(), Store(store_root)
    reference: dict[int, np.ndarray] | None = None
    spent, left_out = 0, 0
    for cell in cells:
        has_complex = False
        contacts: list[dict] = []
        for digest in cell.replicas:
            folder = _place(store, digest)
            name = f"{cell.variant}/{cell.ligand}/{cell.state}, replica {digest[:10]}"
            if not folder.is_dir():
                data.missing.append(f"{name}: no folder in the store")
                continue
            spec = _read_json(folder / "spec.json", name, data.missing)
            data.specs[digest] = spec
            seed = spec.get("seed")
            columns = _read_columns(folder / "observation.parquet", name, most_frames, data.missing)
            if columns:
                data.replicas.append(Replica(digest, cell.variant, cell.ligand, cell.state, seed, columns))
            if cell.ligand != "apo":
                contacts.append(_read_json(folder / "contacts.json", name, data.missing))
            if has_complex:
                continue
            if not (folder / "final.pdb").is_file():
                data.missing.append(f"{name}: no final.pdb, so no 3D view of it")
                continue
            mutated = mutated_positions(cell.variant)
            text, reference = trim_complex((folder / "final.pdb").read_text(), mutated, reference)
            packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
            has_complex = True
            if spent + len(packed) > max_complex_bytes:
                left_out += 1
                continue
            spent += len(packed)
            data.complexes.append(Complex(digest, cell.variant, cell.ligand, cell.state, seed, packed, mutated))
        if found := mean_interactions(contacts):
            data.interactions[cell.variant, cell.ligand, cell.state] = found
    if left_out:
        data.missing.append(
            f"3D views of {left_out} complexes of the lowest-ranked ligands are left out to keep this file "
            "small; their final.pdb is in the store"
        )
    return data


def mean_interactions(contacts: Sequence[dict]) -> dict[int, Interaction]:
    """Mean energy of each residue with the ligand over the ``contacts.json`` of a cell's replicas.

    A replica lists its strongest residues only, so a residue that one of them leaves out has no mean and is left
    out; so are its terms where a replica, of an earlier version, has none.
    """
    read = [c for c in contacts if c.get("residue_energy_kcal")]
    if not read:
        return {}
    found = {}
    for residue in read[0]["residue_energy_kcal"]:
        energies = [c["residue_energy_kcal"].get(residue) for c in read]
        if None in energies or not residue[3:].isdigit():
            continue
        terms = [c.get("residue_terms_kcal", {}).get(residue) for c in read]
        means = {} if None in terms else {name: float(np.mean([t[name] for t in terms])) for name in TERMS}
        found[int(residue[3:])] = Interaction(residue, float(np.mean(energies)), means)
    return found


def mutated_positions(variant: str) -> tuple[int, ...]:
    """P03372 positions a variant name changes: ``D538G+F404L`` -> ``(404, 538)``; ``WT`` -> ``()``."""
    if variant == "WT":
        return ()
    return tuple(sorted(int("".join(c for c in part if c.isdigit())) for part in variant.split("+")))


def _place(store: Store, digest: str) -> Path:
    """The folder of a replica; of one in an object store alone, what the page needs of it is got."""
    here = store.root / "replicas" / digest
    if here.is_dir() or store.shared is None:
        return here
    (_, got), *_ = store.glance("replicas", [digest], _NEEDED)
    return got or here


def _read_json(path: Path, name: str, missing: list[str]) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        missing.append(f"{name}: {path.name} cannot be read ({type(error).__name__})")
        return {}


def _read_columns(path: Path, name: str, most_frames: int, missing: list[str]) -> dict[str, np.ndarray]:
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        missing.append(f"{name}: {path.name} cannot be read ({type(error).__name__})")
        return {}
    present = [column for column in COLUMNS if column in table.column_names]
    if "time_ps" not in present or table.num_rows == 0:
        missing.append(f"{name}: {path.name} has no time_ps or no frames")
        return {}
    keep = frames_to_score(table.num_rows, most_frames)
    return {c: table[c].to_numpy(zero_copy_only=False).astype(float)[keep] for c in present}


def receptor_sources(specs: Iterable[dict]) -> list[str]:
    """Where the models of these specs come from: ``antagonist state from 3ERT chain A``, in order met.

    ``receptor_source`` is the SHA-256 of a bundled model (named by ``structures/receptors.yaml``) or of a
    user's own file.
    """
    catalogue = yaml.safe_load((data_path("structures") / "receptors.yaml").read_text(encoding="utf-8"))
    bundled = {model["sha256"]: model for model in catalogue["models"].values()}
    found = {}
    for spec in specs:
        digest, state = spec.get("receptor_source"), spec.get("state", "unknown")
        if not digest:
            continue
        model = bundled.get(digest)
        source = f"{model['entry']} chain {model['chain']}" if model else f"a file (SHA-256 {digest[:12]})"
        found[f"{state} state from {source}"] = None
    return list(found)


# --- 3D ---------------------------------------------------------------------------------------------


def trim_complex(
    text: str, mutated: tuple[int, ...] = (), reference: dict[int, np.ndarray] | None = None
) -> tuple[str, dict[int, np.ndarray]]:
    """Reduce a PDB file to what the 3D view draws, superposed on ``reference``.

    Kept: the backbone of every residue; the heavy atoms and polar hydrogens of the ligand (``LIG``), of helix
    12, of the key and mutated residues and of residues within :data:`POCKET_RADIUS` of the ligand.

    Parameters
    ----------
    text
        PDB text in P03372 numbering.
    mutated
        Positions the variant changes.
    reference
        C-alpha positions (angstrom) by residue number to superpose on; ``None`` turns the complex so that
        helix 12 and the mouth of the pocket face the camera.

    Returns
    -------
    str, dict
        PDB text (coordinates to 0.01 angstrom), and the C-alpha positions of the *reference* frame, to be
        passed on so that all complexes of a report share one camera.
    """
    atoms = [line for line in text.splitlines() if line.startswith(("ATOM", "HETATM"))]
    atoms = [a for a in atoms if a[16] in " A" and a[17:20] not in ("HOH", "WAT", "ACE", "NME", "NHE")]
    if not atoms:
        return "", reference or {}
    positions = np.array([[float(a[30:38]), float(a[38:46]), float(a[46:54])] for a in atoms])
    names = [a[12:16].strip() for a in atoms]
    elements = [(a[76:78].strip() or names[i].lstrip("0123456789")[:1]).upper() for i, a in enumerate(atoms)]
    residues = [(a[21], int(a[22:26]), a[17:20].strip()) for a in atoms]
    is_ligand = np.array([r[2] == "LIG" for r in residues])
    is_heavy = np.array([e != "H" for e in elements])

    calpha = {r[1]: positions[i] for i, r in enumerate(residues) if names[i] == "CA" and r[2] != "LIG"}
    if reference is None:
        turn = facing_helix12(calpha)
        positions = positions @ turn
        reference = {number: p @ turn for number, p in calpha.items()}
    else:
        positions = _superpose(positions, calpha, reference)

    whole = {r for r in residues if r[1] in HELIX12 or r[1] in KEY_RESIDUES or r[1] in mutated}
    if is_ligand.any():
        nearest, _ = cKDTree(positions[is_ligand & is_heavy]).query(positions, distance_upper_bound=POCKET_RADIUS)
        whole |= {residues[i] for i in np.flatnonzero(np.isfinite(nearest))}
    # 1.4 angstrom admits N-H, O-H and S-H and no hydrogen on a neighbouring carbon (1.9 and more).
    parents = positions[[e in ("N", "O", "S") for e in elements]]
    to_parent = cKDTree(parents).query(positions)[0] if len(parents) else np.full(len(atoms), np.inf)
    lines = []
    for i, line in enumerate(atoms):
        in_whole = residues[i] in whole or is_ligand[i]
        if not in_whole and names[i] not in ("N", "CA", "C", "O"):
            continue
        if elements[i] == "H" and to_parent[i] > 1.4:
            continue
        x, y, z = positions[i]
        record = "HETATM" if is_ligand[i] else "ATOM  "
        lines.append(f"{record}{line[6:16]} {line[17:30]}{x:8.2f}{y:8.2f}{z:8.2f}{'':22}{elements[i]:>2}")
    return "\n".join([*lines, "END", ""]), reference


def facing_helix12(calpha: dict[int, np.ndarray]) -> np.ndarray:
    """Rotation (3, 3), for row vectors, that turns helix 12 towards the viewer (+z) and H11 upright."""
    core = [calpha[n] for n in CORE if n in calpha]
    front = [calpha[n] for n in HELIX12 if n in calpha]
    upright = [calpha[n] for n in (498, 526) if n in calpha]
    if len(core) < 4 or not front or len(upright) < 2:
        return np.eye(3)
    z = np.mean(front, axis=0) - np.mean(core, axis=0)
    z /= np.linalg.norm(z)
    y = upright[0] - upright[1]
    y -= z * (y @ z)
    y /= np.linalg.norm(y)
    return np.column_stack([np.cross(y, z), y, z])


def _superpose(positions: np.ndarray, calpha: dict[int, np.ndarray], reference: dict[int, np.ndarray]) -> np.ndarray:
    """``positions`` (n, 3) moved so that the C-alpha of the LBD core fit ``reference`` (Kabsch)."""
    shared = [n for n in CORE if n in calpha and n in reference]
    if len(shared) < 4:
        return positions
    mobile = np.array([calpha[n] for n in shared])
    target = np.array([reference[n] for n in shared])
    u, _, vt = np.linalg.svd((mobile - mobile.mean(0)).T @ (target - target.mean(0)))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return (positions - mobile.mean(0)) @ rotation + target.mean(0)
