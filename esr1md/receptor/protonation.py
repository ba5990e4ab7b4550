"""Protonation states of a receptor: pKa by PROPKA, histidine tautomers by their hydrogen bonds.

The ligand takes part in both: it shifts pKa, and its polar atoms decide which nitrogen of His524 carries the
hydrogen. Every choice is kept with its reason.
"""

from __future__ import annotations

import io
import logging
import random
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from openmm import app, unit
from rdkit import Chem

from esr1md.errors import InputError, StageError
from esr1md.receptor.relax import build_system, cpu_platform, force_field, minimise
from esr1md.receptor.residues import HEAVY_ATOMS

Atoms = tuple[tuple[str, tuple[float, float, float]], ...]  # element and position (angstrom)

#: Protonated and deprotonated form of each residue that titrates, as amber names them, the usual one first.
FORMS = {
    "ASP": ("ASP", "ASH"), "GLU": ("GLU", "GLH"), "LYS": ("LYS", "LYN"), "HIS": ("HIE", "HID", "HIP"),
    "CYS": ("CYS",), "TYR": ("TYR",), "ARG": ("ARG",),
}  # fmt: skip
_NEAR_PH = 1.0  # pKa units within which the choice is said to be close
_BOND = (3.2, 3.8)  # angstrom between heavy atoms: full hydrogen bond, none
_IN_PLANE = 0.5  # cosine between the nitrogen's outward direction and the partner
_CLEAR = 0.3  # difference of scores above which hydrogen bonds decide a tautomer
_SHORT_CO = 1.30  # angstrom: below it a terminal oxygen has no hydrogen (carbonyl, carboxylate)
_LIGAND_REACH = 12.0  # angstrom from the protein beyond which a ligand atom is left out of the pKa

_ACCEPTORS = {("ASP", "OD1"), ("ASP", "OD2"), ("GLU", "OE1"), ("GLU", "OE2"), ("ASN", "OD1"), ("GLN", "OE1")}
_DONORS = {("LYS", "NZ"), ("ARG", "NE"), ("ARG", "NH1"), ("ARG", "NH2"), ("ASN", "ND2"), ("GLN", "NE2"),
           ("TRP", "NE1")}  # fmt: skip
_EITHER = {("SER", "OG"), ("THR", "OG1"), ("TYR", "OH")}


@dataclass(frozen=True)
class Site:
    """One titratable residue.

    Attributes
    ----------
    number, residue
        P03372 number and three-letter name.
    pka, model_pka
        Predicted in the structure, and of the free amino acid.
    state
        Amber name of the form chosen: ``GLU``, ``GLH``, ``HID`` ...
    reason
        Why, in words.
    """

    number: int
    residue: str
    pka: float
    model_pka: float
    state: str
    reason: str


def choose_states(chain: gemmi.Chain, ligand: Atoms, ph: float) -> tuple[Site, ...]:
    """Predict the pKa of every titratable residue and choose its form.

    Parameters
    ----------
    chain
        Complete residues in P03372 numbers; hydrogens and caps may be there and are not used.
    ligand
        Heavy atoms of the ligand in the same coordinates; empty for none.
    ph
        Solvent pH.

    Raises
    ------
    StageError
        If PROPKA cannot read the structure.

    Notes
    -----
    PROPKA 3 (Olsson 2011; Sondergaard 2011). Cysteine, tyrosine and arginine keep their hydrogen whatever the pKa,
    because the force field has no other form; it is said where that matters.
    """
    predicted = _propka(chain, ligand)
    sites = []
    for residue in chain:
        if residue.seqid.num not in predicted or residue.name not in FORMS:
            continue
        pka, model_pka = predicted[residue.seqid.num]
        state, reason = _form(residue, chain, ligand, pka, ph)
        if abs(pka - ph) < _NEAR_PH:
            reason += f"; close to the pH of {ph:g}, so both forms occur"
        sites.append(Site(residue.seqid.num, residue.name, round(pka, 2), model_pka, state, reason))
    return tuple(sites)


def unusual(sites: tuple[Site, ...]) -> tuple[str, ...]:
    """One sentence per residue that is not in its usual form at pH 7, and per histidine."""
    return tuple(
        f"{site.residue}{site.number} {site.state}: {site.reason}"
        for site in sites
        if site.residue == "HIS" or site.state != FORMS[site.residue][0] or "kept" in site.reason
    )


def present_states(topology: app.Topology) -> dict[int, str]:
    """The form each titratable residue of a model has, by its hydrogens."""
    found = {}
    for residue in topology.residues():
        names = {atom.name for atom in residue.atoms()}
        if residue.name == "HIS":
            found[int(residue.id)] = {(True, False): "HID", (False, True): "HIE", (True, True): "HIP"}.get(
                ("HD1" in names, "HE2" in names), "HIN"
            )
        elif residue.name == "ASP":
            found[int(residue.id)] = "ASH" if names & {"HD1", "HD2"} else "ASP"
        elif residue.name == "GLU":
            found[int(residue.id)] = "GLH" if names & {"HE1", "HE2"} else "GLU"
        elif residue.name == "LYS":
            found[int(residue.id)] = "LYS" if "HZ3" in names else "LYN"
        elif residue.name in FORMS:
            found[int(residue.id)] = residue.name
    return found


def add_hydrogens(topology: app.Topology, positions: unit.Quantity, sites: tuple[Site, ...], ph: float) -> app.Modeller:
    """The structure with every hydrogen, residues of ``sites`` in their chosen form; repeatable."""
    modeller = app.Modeller(topology, positions)
    chosen = {site.number: site.state for site in sites if len(FORMS[site.residue]) > 1}
    variants = [
        chosen.get(int(residue.id)) if residue.name in FORMS else None for residue in modeller.topology.residues()
    ]
    generator = random.getstate()
    random.seed(1)  # addHydrogens scatters its hydrogens with the global generator
    try:
        with cpu_platform() as platform:
            modeller.addHydrogens(force_field(), pH=ph, variants=variants, platform=platform)
    finally:
        random.setstate(generator)
    return modeller


def change_states(
    topology: app.Topology, positions: np.ndarray, sites: tuple[Site, ...], ph: float
) -> tuple[app.Topology, np.ndarray, list[str]]:
    """Bring a model with hydrogens into the chosen forms; only residues that change, and hydrogens, move.

    Parameters
    ----------
    positions
        n x 3, nm.

    Returns
    -------
    topology, positions (m x 3, nm), changes
        ``changes`` says ``GLU385 GLU to GLH`` for each residue that changed.
    """
    before = present_states(topology)
    changed = {
        site.number: site
        for site in sites
        if len(FORMS[site.residue]) > 1 and before.get(site.number, site.state) != site.state
    }
    if not changed:
        return topology, positions, []
    modeller = add_hydrogens(topology, positions * unit.nanometer, sites, ph)
    placed = np.array(modeller.positions.value_in_unit(unit.nanometer))
    mobile, springs = np.zeros(len(placed), dtype=bool), np.zeros(len(placed))
    for atom in modeller.topology.atoms():
        own = int(atom.residue.id) in changed
        mobile[atom.index] = atom.element.symbol == "H" or (own and atom.name not in ("N", "CA", "C", "O"))
        springs[atom.index] = 1000.0 if own and atom.element.symbol != "H" else 0.0
    placed, _ = minimise(build_system(modeller.topology), placed, mobile=mobile, restraint=springs, iterations=200)
    words = [f"{site.residue}{n} {before[n]} to {site.state} (pKa {site.pka:.1f})" for n, site in changed.items()]
    return modeller.topology, placed, words


def ligand_from_sdf(path: Path) -> Atoms:
    """Heavy atoms of the first molecule of an SDF file.

    Raises
    ------
    InputError
        If there is no molecule with 3D coordinates.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"cannot read the ligand ({reason})", where=str(path), expected="an SDF file") from None
    molecule = Chem.MolFromMolBlock(text, sanitize=False, removeHs=False)
    if molecule is None or not molecule.GetNumAtoms() or not molecule.GetConformer().Is3D():
        raise InputError(
            "no molecule with 3D coordinates", where=str(path), expected="an SDF file with the posed ligand",
            do="give the ligand in the coordinates of the receptor",
        )  # fmt: skip
    positions = molecule.GetConformer().GetPositions()
    return tuple(
        (atom.GetSymbol(), tuple(float(x) for x in positions[atom.GetIdx()]))
        for atom in molecule.GetAtoms()
        if atom.GetAtomicNum() > 1
    )


# -- pKa ----------------------------------------------------------------------------------------------------------


def _propka(chain: gemmi.Chain, ligand: Atoms) -> dict[int, tuple[float, float]]:
    """pKa in the structure and in water, by residue number."""
    import propka.run  # here, because it configures logging when imported

    logger = logging.getLogger("propka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        text = io.StringIO(_propka_input(chain, ligand))
        molecule = propka.run.single("receptor.pdb", optargs=["--quiet"], stream=text, write_pka=False)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, ZeroDivisionError) as error:
        raise StageError("receptor", f"PROPKA cannot read the model ({type(error).__name__}: {error})") from error
    finally:
        logger.setLevel(level)
    return {
        group.atom.res_num: (float(group.pka_value), float(group.model_pka))
        for group in molecule.conformations["AVR"].groups
        if group.titratable and group.residue_type in FORMS and group.atom.chain_id == "A"
    }


def _propka_input(chain: gemmi.Chain, ligand: Atoms) -> str:
    lines, protein = [], []
    for residue in chain:
        if residue.name not in HEAVY_ATOMS:  # caps; the charged ends PROPKA sees instead are not used
            continue
        for atom in residue:
            if not atom.is_hydrogen():
                protein.append(atom.pos.tolist())
                lines.append(_pdb_line("ATOM", len(lines), atom.name, residue.name, "A", residue.seqid.num,
                                       atom.pos.tolist(), atom.element.name))  # fmt: skip
    lines.append("TER")
    counts: dict[str, int] = {}
    everything = np.array(protein)
    for element, position in ligand:
        if np.linalg.norm(everything - np.array(position), axis=1).min() > _LIGAND_REACH:
            continue
        counts[element] = counts.get(element, 0) + 1
        name = f"{element}{counts[element]}"
        lines.append(_pdb_line("HETATM", len(lines), name, "LIG", "L", 1, position, element))
    return "\n".join([*lines, "END"]) + "\n"


def _pdb_line(record, serial, name, residue, chain, number, position, element) -> str:
    x, y, z = position
    padded = f" {name:<3}" if len(element) == 1 and len(name) < 4 else f"{name:<4}"
    return (
        f"{record:<6}{serial % 100000:5d} {padded} {residue:>3} {chain}{number:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}"
    )


def _form(residue: gemmi.Residue, chain: gemmi.Chain, ligand: Atoms, pka: float, ph: float) -> tuple[str, str]:
    """The form of one residue and why."""
    protonated, name = pka > ph, residue.name
    said = f"pKa {pka:.1f}"
    if name == "HIS":
        return ("HIP", said) if protonated else _tautomer(residue, chain, ligand, said)
    if name in ("ASP", "GLU"):
        return (("ASH" if name == "ASP" else "GLH") if protonated else name), said
    if name == "LYS":
        return ("LYS" if protonated else "LYN"), said
    if not protonated:
        said += ", below the pH, but its hydrogen is kept: the force field has no other form"
    return name, said


# -- histidine tautomers ---------------------------------------------------------------------------------------


def _tautomer(residue: gemmi.Residue, chain: gemmi.Chain, ligand: Atoms, said: str) -> tuple[str, str]:
    """The neutral tautomer whose hydrogen bonds fit: hydrogen towards an acceptor, bare nitrogen towards a donor."""
    if any(name not in residue for name in HEAVY_ATOMS["HIS"]):
        return "HIE", f"{said}; side chain incomplete: the commoner tautomer in water"
    partners = _partners(chain, residue, ligand)
    scores, words = {"HID": 0.0, "HIE": 0.0}, []
    for nitrogen, bearing in (("ND1", "HID"), ("NE2", "HIE")):
        bare = "HIE" if bearing == "HID" else "HID"
        origin, outward = _outward(residue, nitrogen)
        for role, position, name in partners:
            arm = position - origin
            distance = float(np.linalg.norm(arm))
            if distance > _BOND[1] or np.dot(arm, outward) < _IN_PLANE * distance:
                continue
            weight = float(np.clip((_BOND[1] - distance) / (_BOND[1] - _BOND[0]), 0, 1))
            # a partner that can do both suits either tautomer
            scores[bearing] += weight * {"acceptor": 1, "donor": -1, "either": 0.5}[role]
            scores[bare] += weight * {"acceptor": -1, "donor": 1, "either": 0.5}[role]
            words.append((weight, f"{nitrogen} {distance:.1f} A from {name}"))
    bonds = ", ".join(text for _, text in sorted(words, reverse=True)[:3])
    gap = scores["HIE"] - scores["HID"]
    if abs(gap) >= _CLEAR:
        return ("HIE" if gap > 0 else "HID"), f"{said}; {bonds}"
    return "HIE", f"{said}; {bonds or 'no hydrogen bond'}: none decides, the commoner tautomer in water"


def _outward(residue: gemmi.Residue, nitrogen: str) -> tuple[np.ndarray, np.ndarray]:
    """A ring nitrogen's position (angstrom) and the direction its hydrogen or lone pair points in."""
    around = {"ND1": ("CG", "CE1"), "NE2": ("CE1", "CD2")}[nitrogen]
    origin = np.array(residue[nitrogen][0].pos.tolist())
    outward = 2 * origin - sum(np.array(residue[name][0].pos.tolist()) for name in around)
    return origin, outward / np.linalg.norm(outward)


def _partners(chain: gemmi.Chain, own: gemmi.Residue, ligand: Atoms) -> list[tuple[str, np.ndarray, str]]:
    """What a histidine can bond: ``acceptor``, ``donor`` or ``either``, position (angstrom), name."""
    found = []
    centre = own["CG"][0].pos
    for residue in chain:
        # no residue reaches farther than 9 A from its C-alpha
        if residue.seqid.num == own.seqid.num or ("CA" in residue and residue["CA"][0].pos.dist(centre) > 16):
            continue
        for atom in residue:
            key = (residue.name, atom.name)
            if atom.name == "O" or key in _ACCEPTORS:
                role = "acceptor"
            elif (atom.name == "N" and residue.name != "PRO") or key in _DONORS:
                role = "donor"
            elif key in _EITHER or key in (("HIS", "ND1"), ("HIS", "NE2")):
                role = "either"
            else:
                continue
            found.append((role, np.array(atom.pos.tolist()), f"{residue.name}{residue.seqid.num} {atom.name}"))
    return found + [(role, position, f"the ligand's {words}") for role, position, words in _ligand_partners(ligand)]


def _ligand_partners(ligand: Atoms) -> list[tuple[str, np.ndarray, str]]:
    """Polar atoms of a ligand without hydrogens; bond lengths say which oxygen is a hydroxyl."""
    if not ligand:
        return []
    positions = np.array([position for _, position in ligand])
    found = []
    for i, (element, _) in enumerate(ligand):
        if element not in ("O", "N"):
            continue
        distances = np.linalg.norm(positions - positions[i], axis=1)
        bonded = [j for j in np.flatnonzero(distances < 1.75) if j != i]
        if element == "O" and len(bonded) == 1 and distances[bonded[0]] > _SHORT_CO:
            found.append(("either", positions[i], "hydroxyl"))
        elif element == "O":
            found.append(("acceptor", positions[i], "oxygen"))
        else:
            # a nitrogen's hydrogens do not show; three heavy neighbours may be a charged amine
            found.append(("donor" if len(bonded) >= 3 else "either", positions[i], "nitrogen"))
    return found
