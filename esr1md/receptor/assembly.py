"""The biological dimer of the ligand-binding domain, from the assembly an entry records.

Each chain is built by :func:`esr1md.receptor.build.build_receptor`, so it is prepared as a monomer is; the two are put
together as the assembly has them, and the side chains at the interface are relaxed together.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from openmm import app, unit
from scipy.spatial import cKDTree

from esr1md.errors import InputError
from esr1md.receptor.build import ReceptorModel, build_receptor
from esr1md.receptor.frame import alpha_carbons, bundled_model, model_alpha_carbons, superpose_core
from esr1md.receptor.prepare import PH, Model, load_model
from esr1md.receptor.quality import assess
from esr1md.receptor.relax import build_system, minimise
from esr1md.receptor.source import SourceChain, choose_chain, moved
from esr1md.receptor.structure_file import read_structure
from esr1md.receptor.surroundings import WATERS
from esr1md.specs import HelixState, Variant, file_digest

_CONTACT = 8.0  # angstrom between C-alpha atoms of the two chains
#: The receptor's dimer has 57 to 69 such contacts in the seven entries at hand (1A52 to 5WGD).
_MINIMUM_CONTACTS = 40
_INTERFACE_HELICES = range(420, 530)  # helices 7 to 11
_MAXIMUM_COPIES = 60  # chains of an assembly; a virus capsid is not this receptor
_INTERFACE = 0.6  # nm between heavy atoms: side chains that relax together
_SPRINGS = {True: 5000.0, False: 1000.0}  # kJ/mol/nm^2 on backbone and side chains
_ITERATIONS = 300


@dataclass(frozen=True)
class Dimer:
    """Two ER-alpha chains as the assembly has them.

    Attributes
    ----------
    names
        Chain names in the assembly; a copy made by symmetry has a number.
    structures
        Each chain with its own ligand and waters, in the coordinates of the entry.
    chains
        Each chain, cleaned and numbered as P03372.
    contacts
        Pairs of C-alpha atoms within 8 angstrom across the interface.
    steps
        Which assembly, which chains, and why.
    """

    names: tuple[str, str]
    structures: tuple[gemmi.Structure, gemmi.Structure]
    chains: tuple[SourceChain, SourceChain]
    contacts: int
    steps: tuple[str, ...]


def find_dimer(path: Path) -> Dimer:
    """The dimer in the first biological assembly of a file that holds one.

    Raises
    ------
    InputError
        If the file records no assembly, or none has two ER-alpha chains that meet as the receptor's dimer does.
    """
    structure = read_structure(path)
    where = str(path)
    if not structure.assemblies:
        raise InputError(
            "no biological assembly is recorded in this file", where=where,
            expected="REMARK 350 or _pdbx_struct_assembly with a dimer",
            do="use the entry as the PDB distributes it, or build the monomer",
        )  # fmt: skip
    seen = []
    for assembly in structure.assemblies:
        copies = sum(len(g.operators) * max(len(g.chains), len(g.subchains), 1) for g in assembly.generators)
        if copies > _MAXIMUM_COPIES:
            seen.append(f"assembly {assembly.name} has {copies} parts")
            continue
        model = gemmi.make_assembly(assembly, structure[0], gemmi.HowToNameCopiedChain.AddNumber)
        chains = _er_alpha_chains(model, where)
        best = max(
            ((_contacts(a[1], b[1]), a, b) for i, a in enumerate(chains) for b in chains[i + 1 :]),
            key=lambda pair: pair[0], default=None,
        )  # fmt: skip
        if best is None or best[0] < _MINIMUM_CONTACTS:
            found = f"{len(chains)} ER-alpha chain{'s' * (len(chains) != 1)}"
            seen.append(f"assembly {assembly.name} has {found}" + (f", {best[0]} contacts" if best else ""))
            continue
        contacts, first, second = best
        if len(second[1].chain) > len(first[1].chain):
            first, second = second, first
        determined = "given by the authors" if assembly.author_determined else "computed by software"
        names = (_said(first[0].name), _said(second[0].name))
        step = (
            f"dimer of chains {names[0]} and {names[1]} of biological assembly {assembly.name} "
            f"({determined}; {contacts} C-alpha pairs within {_CONTACT:.0f} A)"
        )
        return Dimer(
            names, (_alone(first[0]), _alone(second[0])), (first[1], second[1]),
            contacts, (step,),
        )  # fmt: skip
    raise InputError(
        f"no dimer of ER-alpha in this file ({'; '.join(seen)})", where=where,
        expected="two chains that meet at helices 10 and 11", do="build the monomer, or use another entry",
    )  # fmt: skip


def build_dimer(
    variant: Variant,
    state: HelixState,
    folder: Path,
    *,
    source: Path,
    ph: float = PH,
    ligand: Path | None = None,
    accept_quality: str = "",
) -> ReceptorModel:
    """Build both chains of the biological dimer as the same variant and write ``receptor.pdb`` with chains A and B.

    Parameters are those of :func:`esr1md.receptor.build.build_receptor`. Chain A is in the common frame. Protonation is
    that of each chain by itself.

    Raises
    ------
    InputError
        If the file has no dimer, or a chain cannot be built, with its name.
    """
    if ligand is not None:
        raise InputError(
            "a given ligand says nothing of the second chain", do="leave out --ligand, or build the monomer"
        )
    dimer = find_dimer(source)
    with tempfile.TemporaryDirectory() as scratch:
        models = []
        for name, structure in zip(dimer.names, dimer.structures, strict=True):
            path = Path(scratch) / f"chain-{name}.cif"
            structure.make_mmcif_document().write_file(str(path))
            try:
                models.append(
                    build_receptor(variant, state, Path(scratch) / name, source=path, ph=ph,
                                   accept_quality=accept_quality)
                )  # fmt: skip
            except InputError as error:
                raise InputError(
                    f"chain {name}: {error.what}", where=str(source), expected=error.expected, do=error.do
                ) from None
        joined, turn = _join(dimer, [load_model(model.pdb.read_text()) for model in models])
        relaxed, step = _relax_interface(joined)
        folder.mkdir(parents=True, exist_ok=True)
        pdb = folder / "receptor.pdb"
        pdb.write_text(relaxed.pdb_text(), encoding="utf-8")
        _write_waters([model.pdb.parent / WATERS for model in models], turn, folder / WATERS)
    steps = [*dimer.steps]
    for name, label, model in zip(dimer.names, "AB", models, strict=True):
        steps += [f"chain {label} ({name}): {said}" for said in model.steps]
    quality = assess(pdb, every_chain=True)
    (folder / "quality.json").write_text(json.dumps(quality, indent=2) + "\n", encoding="utf-8")
    steps.append(step)
    if quality["problems"] and not accept_quality:
        for path in folder.iterdir():
            path.unlink()
        raise InputError(
            f"the {variant} dimer built from this file is bad: {'; '.join(quality['problems'])}", where=str(source),
            do="use a better structure or the monomer",
        )  # fmt: skip
    if quality["problems"]:
        steps.append(f"accepted although {'; '.join(quality['problems'])}: {accept_quality}")
    return dataclasses.replace(
        models[0], pdb=pdb, source=f"dimer of file {source.name}", source_digest=file_digest(source), quality=quality,
        steps=steps, protonation=_both(models),
    )  # fmt: skip


def _er_alpha_chains(model: gemmi.Model, where: str) -> list[tuple[gemmi.Chain, SourceChain]]:
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.setup_entities()
    found = []
    for chain in structure[0]:
        try:
            found.append((chain, choose_chain(structure, where, chain.name)))
        except InputError:  # a peptide, waters, another protein
            continue
    return found


def _contacts(first: SourceChain, second: SourceChain) -> int:
    """Pairs of C-alpha atoms across the interface, if helices 7 to 11 make most of them."""
    a, b = alpha_carbons(first.chain), alpha_carbons(second.chain)
    tree = cKDTree(np.array(list(b.values())))
    near = [(number, list(b)[j]) for number, position in a.items() for j in tree.query_ball_point(position, _CONTACT)]
    inside = sum(x in _INTERFACE_HELICES and y in _INTERFACE_HELICES for x, y in near)
    return len(near) if inside > len(near) / 2 else 0


def _said(name: str) -> str:
    """``A`` for ``A1`` and ``A-2`` for ``A2``: the chain of the entry and which copy symmetry made of it."""
    return name[:-1] if name.endswith("1") else f"{name[:-1]}-{name[-1]}"


def _alone(chain: gemmi.Chain) -> gemmi.Structure:
    """A structure of one chain with what belongs to it."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    structure.setup_entities()
    return structure


def _join(dimer: Dimer, models: list[Model]) -> tuple[Model, tuple[np.ndarray, np.ndarray]]:
    """Both models in one, chain A in the frame and B where the assembly has it; and B's movement (angstrom)."""
    rotation, translation, _ = superpose_core(
        alpha_carbons(dimer.chains[0].chain), model_alpha_carbons(bundled_model("antagonist"))
    )
    target = alpha_carbons(moved(dimer.chains[1], rotation, translation).chain)
    first, second = models
    alphas = {int(a.residue.id): 10 * second.positions[a.index] for a in second.topology.atoms() if a.name == "CA"}
    turn, shift, _ = superpose_core(alphas, target)
    for chain in second.topology.chains():
        chain.id = "B"
    modeller = app.Modeller(first.topology, first.positions * unit.nanometer)
    modeller.add(second.topology, (second.positions @ turn.T + shift / 10) * unit.nanometer)
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return Model(modeller.topology, positions, []), (turn, shift)


def _relax_interface(model: Model) -> tuple[Model, str]:
    """Relax the residues of each chain that touch the other; the rest keeps its coordinates."""
    atoms = list(model.topology.atoms())
    chain = np.array([atom.residue.chain.id == "B" for atom in atoms])
    heavy = np.array([atom.element.symbol != "H" for atom in atoms])
    touching = set()
    for own in (False, True):
        mine, theirs = np.flatnonzero((chain == own) & heavy), np.flatnonzero((chain != own) & heavy)
        distance, _ = cKDTree(model.positions[theirs]).query(model.positions[mine], distance_upper_bound=_INTERFACE)
        touching |= {atoms[i].residue.index for i in mine[np.isfinite(distance)]}
    mobile = np.array([atom.residue.index in touching for atom in atoms])
    springs = np.zeros(len(atoms))
    for atom in atoms:
        if mobile[atom.index] and heavy[atom.index]:
            springs[atom.index] = _SPRINGS[atom.name in ("N", "CA", "C", "O", "CB")]
    positions, _ = minimise(
        build_system(model.topology), model.positions, mobile=mobile, restraint=springs, iterations=_ITERATIONS
    )
    moved_by = 10 * np.sqrt(((positions - model.positions)[mobile & heavy] ** 2).sum(axis=1).mean())
    step = f"{len(touching)} residues at the interface relaxed together; heavy atoms moved {moved_by:.2f} A RMS"
    return Model(model.topology, positions, []), step


def _write_waters(paths: list[Path], turn: tuple[np.ndarray, np.ndarray], out: Path) -> None:
    """The conserved waters of both chains, the second moved with its chain."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(gemmi.Chain("W"))
    for number, path in enumerate(paths, start=1):
        if not path.is_file():
            continue
        residue = gemmi.read_structure(str(path))[0]["W"][0].clone()
        residue.seqid = gemmi.SeqId(number, " ")
        if number == 2:
            for atom in residue:
                atom.pos = gemmi.Position(*(turn[0] @ np.array(atom.pos.tolist()) + turn[1]))
        structure[0]["W"].add_residue(residue)
    if len(structure[0]["W"]):
        lines = structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True)).splitlines()
        kept = [line for line in lines if line.startswith("HETATM")]
        out.write_text("\n".join([*kept, "END"]) + "\n", encoding="utf-8")


def _both(models: list[ReceptorModel]) -> dict[str, Any]:
    """The protonation record of both chains; sites carry the name of their chain."""
    first = models[0].protonation
    sites = [{**site, "chain": label} for label, model in zip("AB", models, strict=True)
             for site in model.protonation["sites"]]  # fmt: skip
    differs = [f"chain {label}: {said}" for label, model in zip("AB", models, strict=True)
               for said in model.protonation["differs"]]  # fmt: skip
    return {**first, "sites": sites, "differs": differs}
