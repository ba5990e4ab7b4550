"""From a chain of a crystal structure to a complete, protonated, relaxed receptor model."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import gemmi
import numpy as np
from openmm import app, unit
from pdbfixer import PDBFixer

from esr1md.receptor.gaps import extend, fill_gaps
from esr1md.receptor.protonation import add_hydrogens, choose_states, unusual
from esr1md.receptor.relax import build_system, cpu_platform, minimise, overlapping, soft_system
from esr1md.receptor.sidechain import replace_residue, rotamers, templates
from esr1md.receptor.source import Molecule, SourceChain

#: Residues every bundled model has; caps are ACE 305 and NME 551.
MODEL_FIRST, MODEL_LAST = 306, 550

PH = 7.4

CAPS = ("ACE", "NME")

#: PDB records left out of a model: dates, bonds that follow from the names, a crystal cell it is not in.
_NOT_KEPT = ("REMARK", "CONECT", "CRYST1")

#: Springs (kJ/mol/nm^2) on backbone, pocket side chains and other side chains, and iterations, by stage.
_STAGES = ((50_000, 50_000, 50_000, 200), (5_000, 20_000, 2_000, 300), (1_000, 10_000, 1_000, 500))

_LINING = 5.0  # angstrom


@dataclass
class Model:
    """A receptor with hydrogens in memory: topology (chain A, P03372 numbers) and positions (n x 3, nm)."""

    topology: app.Topology
    positions: np.ndarray
    steps: list[str]

    def pdb_text(self) -> str:
        """The model as PDB, residue numbers kept."""
        text = io.StringIO()
        app.PDBFile.writeFile(self.topology, self.positions * unit.nanometer, text, keepIds=True)
        lines = [line for line in text.getvalue().splitlines() if not line.startswith(_NOT_KEPT)]
        return "\n".join(lines) + "\n"


def load_model(pdb_text: str, steps: list[str] | None = None) -> Model:
    """A :class:`Model` from the text of a prepared PDB file."""
    pdb = app.PDBFile(io.StringIO(pdb_text))
    positions = np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    return Model(pdb.topology, positions, list(steps or []))


def positions_of(chain: gemmi.Chain, topology: app.Topology) -> np.ndarray:
    """Positions (n x 3, nm) of a topology's atoms from a chain that has the same ones."""
    found = {(str(r.seqid.num), atom.name): atom.pos.tolist() for r in chain for atom in r}
    return 0.1 * np.array([found[atom.residue.id, atom.name] for atom in topology.atoms()])


def prepare_chain(source: SourceChain, donors: dict[str, gemmi.Chain] | None = None, *, whole: bool = False) -> Model:
    """Complete, cap, protonate and relax a source chain.

    Parameters
    ----------
    source
        From :func:`esr1md.receptor.source.read_source`, already in the frame.
    donors
        Prepared models by name, from which missing residues are taken (:mod:`esr1md.receptor.gaps`).
    whole
        Also add what is missing before and after the chain, from 306 to 550.

    Raises
    ------
    StageError
        If a gap is longer than 20 residues or cannot be closed.
    """
    steps = list(source.steps)
    chain = gemmi.Chain("A")
    for residue in source.chain:
        if MODEL_FIRST <= residue.seqid.num <= MODEL_LAST:
            chain.add_residue(residue)
    filled = fill_gaps(chain, donors or {})
    if whole:
        extend(filled, donors or {}, MODEL_FIRST, MODEL_LAST)
    chain, modelled = filled.chain, filled.modelled
    steps += filled.steps
    rebuilt = {n for n in source.incomplete if MODEL_FIRST <= n <= MODEL_LAST} | filled.side_chains
    cap(chain)
    steps.append(f"residues {chain[1].seqid.num}-{chain[-2].seqid.num}, capped with ACE and NME")

    model = complete([chain], source.pocket_ligand, steps)
    if rebuilt:
        model = _replace_side_chains(model, rebuilt, modelled)
    pocket = _lining(source) - rebuilt
    if pocket:
        model.steps.append(f"{len(pocket)} residues around the crystal ligand held in place")
    return relax_model(model, loose=modelled, rebuilt=rebuilt, pocket=pocket)


def complete(chains: list[gemmi.Chain], ligand: Molecule | None, steps: list[str]) -> Model:
    """Add missing side-chain atoms and every hydrogen to capped chains; other heavy atoms stay where they are.

    Parameters
    ----------
    chains
        Heavy atoms, P03372 numbers, each chain without a gap and capped.
    ligand
        The molecule in the pocket, whose hydrogen bonds decide protonation.
    steps
        What was done before; the model's go on from there.
    """
    steps = list(steps)
    with cpu_platform() as platform:
        fixer = PDBFixer(pdbfile=io.StringIO(chain_pdb(*chains)), platform=platform)
        fixer.missingResidues = {}
        fixer.findMissingAtoms()
        fixer.missingTerminals = {}
        if fixer.missingAtoms:
            built = ", ".join(f"{residue.name}{residue.id}" for residue in fixer.missingAtoms)
            fixer.addMissingAtoms(seed=1)
            steps.append(f"missing side-chain atoms built with PDBFixer: {built}")
    heavy = Model(fixer.topology, np.array(fixer.positions.value_in_unit(unit.nanometer)), [])
    whole = gemmi.Chain("A")
    for part in gemmi.read_pdb_string(heavy.pdb_text())[0]:
        for residue in part:
            if len(chains) == 1 or residue.name not in CAPS:  # caps at a gap may share a residue's number
                whole.add_residue(residue)
    sites = choose_states(whole, ligand.atoms if ligand else (), PH)
    steps.append(f"hydrogens at pH {PH} by PROPKA with {ligand.name if ligand else 'no ligand'}")
    steps += unusual(sites)
    modeller = add_hydrogens(fixer.topology, fixer.positions, sites, PH)
    positions = np.array(modeller.getPositions().value_in_unit(unit.nanometer))
    return Model(modeller.topology, _place_methine_hydrogens(modeller.topology, positions), steps)


def _place_methine_hydrogens(topology: app.Topology, positions: np.ndarray) -> np.ndarray:
    """Put the hydrogen of every carbon with three other neighbours opposite to them.

    OpenMM starts hydrogens at random points and may leave one on the wrong side of C-alpha, which would
    turn the residue into its mirror image once the heavy atoms are free to move.
    """
    neighbours: dict[int, list[app.topology.Atom]] = {}
    for first, second in topology.bonds():
        neighbours.setdefault(first.index, []).append(second)
        neighbours.setdefault(second.index, []).append(first)
    placed = positions.copy()
    for atom in topology.atoms():
        around = neighbours.get(atom.index, [])
        hydrogens = [other.index for other in around if other.element.symbol == "H"]
        if atom.element.symbol != "C" or len(around) != 4 or len(hydrogens) != 1:
            continue
        others = [other.index for other in around if other.index not in hydrogens]
        arms = positions[others] - positions[atom.index]
        outward = -(arms / np.linalg.norm(arms, axis=1)[:, None]).sum(axis=0)
        placed[hydrogens[0]] = positions[atom.index] + 0.109 * outward / np.linalg.norm(outward)
    return placed


def _replace_side_chains(model: Model, rebuilt: set[int], modelled: set[int]) -> Model:
    """Put the side chains PDBFixer built, which it leaves on top of others, into their best rotamers."""
    chain = gemmi.read_pdb_string(model.pdb_text())[0][0]
    library = templates(chain, without=rebuilt | modelled)
    for residue in list(chain):
        if residue.seqid.num in rebuilt and residue.name in library:
            chain = replace_residue(chain, residue.seqid.num, library[residue.name][0])
    placed = load_model(chain_pdb(chain))
    system, positions = build_system(placed.topology), placed.positions
    for _ in range(2):  # the second time every side chain meets the others where they now are
        for number in sorted(rebuilt):
            positions = rotamers(placed.topology, system, positions, number)[0]
    steps = [*model.steps, f"their rotamers chosen by interaction energy ({len(rebuilt)} residues)"]
    return Model(placed.topology, positions, steps)


def _lining(source: SourceChain) -> set[int]:
    """Residues with a heavy atom within 5 angstrom of a ligand of the crystal."""
    if not source.ligand_atoms:
        return set()
    ligand = np.array([position for _, position in source.ligand_atoms])
    lining = set()
    for residue in source.chain:
        atoms = np.array([atom.pos.tolist() for atom in residue])
        if (np.linalg.norm(atoms[:, None] - ligand[None], axis=2) < _LINING).any():
            lining.add(residue.seqid.num)
    return lining


def relax_model(
    model: Model,
    loose: set[int] = frozenset(),
    rebuilt: set[int] = frozenset(),
    pocket: set[int] = frozenset(),
) -> Model:
    """Minimise a whole model in three stages, held to its crystal coordinates ever more softly.

    The springs of each stage are in :data:`_STAGES`. C-beta counts as backbone, because it carries the
    handedness. Side chains in ``pocket`` stay where the crystal's ligand, which is not there now, held
    them. Side chains in ``rebuilt`` and residues in ``loose`` have no crystal coordinates; the latter are kept
    from turning into their mirror images or into cis peptides.
    """
    system = build_system(model.topology)
    positions = model.positions
    handed = _handedness(model.topology, loose | rebuilt)
    stages = [(system, *stage) for stage in _STAGES]
    if overlaps := overlapping(model.topology, positions):
        stages.insert(0, (soft_system(system), *_STAGES[0]))
    for stage_system, backbone, pocket_side_chain, side_chain, iterations in stages:
        springs = np.zeros(len(positions))
        for atom in model.topology.atoms():
            number = int(atom.residue.id)
            if atom.element.symbol == "H" or number in loose or atom.residue.name in CAPS:
                continue
            if atom.name in ("N", "CA", "C", "O", "CB"):
                springs[atom.index] = backbone
            elif number not in rebuilt:
                springs[atom.index] = pocket_side_chain if number in pocket else side_chain
        # every stage is anchored to the crystal positions, not to the end of the stage before
        positions, _ = minimise(
            stage_system,
            positions,
            restraint=springs,
            anchor=model.positions,
            held_torsions=handed,
            iterations=iterations,
        )
    heavy = np.array([a.element.symbol != "H" for a in model.topology.atoms()])
    moved = np.sqrt(((positions - model.positions)[heavy] ** 2).sum(axis=1).mean()) * 10
    step = (
        "relaxed without solvent (amber14SB, dielectric constant 4, springs 50000, 5000 and 1000 kJ/mol/nm2 "
        f"on the backbone); heavy atoms moved {moved:.2f} A RMS"
    )
    steps = [f"{overlaps} overlaps of atoms first relaxed with small atoms"] if overlaps else []
    return Model(model.topology, positions, [*model.steps, *steps, step])


def _handedness(topology: app.Topology, numbers: set[int]) -> np.ndarray:
    """Torsions (t x 4 atom indices) that say which hand C-alpha is and that the peptide before it is trans."""
    torsions, before = [], {}
    for residue in topology.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if int(residue.id) in numbers:
            if "CB" in atoms:
                torsions.append([atoms[name] for name in ("N", "CA", "C", "CB")])
            if "CA" in before and "CA" in atoms:
                torsions.append([before["CA"], before["C"], atoms["N"], atoms["CA"]])
        before = atoms
    return np.array(torsions, dtype=int).reshape(-1, 4)


def chain_pdb(*chains: gemmi.Chain) -> str:
    """PDB text of chains."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    for chain in chains:
        structure[0].add_chain(chain)
    structure.setup_entities()
    options = gemmi.PdbWriteOptions(minimal=True)
    return structure.make_pdb_string(options)


def _place(a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, torsion: float) -> np.ndarray:
    """Position of atom d bonded to c from internal coordinates (angstrom, degrees), torsion a-b-c-d."""
    angle, torsion = np.radians(angle), np.radians(torsion)
    forward = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, forward)
    normal /= np.linalg.norm(normal)
    third = np.cross(normal, forward)
    return c + bond * (-np.cos(angle) * forward + np.sin(angle) * (np.cos(torsion) * third + np.sin(torsion) * normal))


def cap(chain: gemmi.Chain, others: Iterable[gemmi.Chain] = ()) -> None:
    """Add ACE before and NME after the chain, in trans, where they touch the fewest atoms of it and of ``others``."""
    everything = np.array([atom.pos.tolist() for part in (chain, *others) for residue in part for atom in residue])
    first, last = chain[0].seqid.num, chain[len(chain) - 1].seqid.num
    start = {name: np.array(chain[0][name][0].pos.tolist()) for name in ("N", "CA", "C")}
    end = {name: np.array(chain[len(chain) - 1][name][0].pos.tolist()) for name in ("CA", "C", "O")}
    best, room = None, -1.0
    for phi in range(-180, 180, 15):
        carbon = _place(start["C"], start["CA"], start["N"], 1.335, 121.9, phi)
        oxygen = _place(start["CA"], start["N"], carbon, 1.229, 122.9, 0.0)
        methyl = _place(start["CA"], start["N"], carbon, 1.522, 116.6, 180.0)
        distance = min(np.linalg.norm(everything - x, axis=1).min() for x in (oxygen, methyl))
        if distance > room:
            best, room = (carbon, oxygen, methyl), distance
    # the nitrogen lies in the plane of CA, C and O, across from O
    nitrogen = _place(end["O"], end["CA"], end["C"], 1.335, 116.6, 180.0)
    methyl = _place(end["CA"], end["C"], nitrogen, 1.449, 121.9, 180.0)
    chain.add_residue(_new_residue("ACE", first - 1, zip(("C", "O", "CH3"), best, strict=True)), 0)
    chain.add_residue(_new_residue("NME", last + 1, (("N", nitrogen), ("C", methyl))))


def _new_residue(name: str, number: int, atoms) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId(number, " "), "A"
    for atom_name, position in atoms:
        atom = gemmi.Atom()
        atom.name, atom.element = atom_name, gemmi.Element(atom_name[0])
        atom.pos, atom.occ = gemmi.Position(*position), 1.0
        residue.add_atom(atom)
    return residue
