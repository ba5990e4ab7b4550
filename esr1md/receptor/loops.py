"""Build and rebuild stretches of backbone between two fixed residues.

Backbones are grown with ideal bond lengths, angles and trans peptides from starting torsions, then closed on the
residue behind them by cyclic coordinate descent (Canutescu and Dunbrack, Protein Sci. 2003, 12, 963): torsion by
torsion, the angle that brings the end nearest to its place. Many starts are closed at once. What closes is judged
by Ramachandran regions and by contacts with the rest of the chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import gemmi
import numpy as np
from scipy.spatial.distance import cdist

from esr1md.errors import StageError
from esr1md.receptor.quality import ramachandran_allowed
from esr1md.receptor.residues import BACKBONE
from esr1md.receptor.sidechain import with_side_chain

# bond lengths (angstrom) of Engh and Huber 1991
_C_N, _N_CA, _CA_C, _C_O, _CA_CB = 1.329, 1.458, 1.525, 1.231, 1.530
_JOINED = 2.5  # angstrom, C to N
_SWEEPS = 150
_STEP = math.radians(12.0)  # largest turn at once, so that the start is remembered
_CLOSED = 0.15  # angstrom RMSD of N, CA and C of the residue behind; minimisation takes the rest
_CONTACT = {True: 2.7, False: 3.3}  # angstrom at which two atoms touch, both polar or not
_OUTLIER_PENALTY = 4.0  # a Ramachandran outlier weighs like four clashes of 1 angstrom
_STRAIN_PENALTY = 2.0  # a helical residue before proline, whose ring then meets its C-beta


@dataclass(frozen=True)
class Loop:
    """One closed backbone.

    Attributes
    ----------
    numbers
        Residue numbers, ascending.
    backbone
        N, CA, C and O of each residue, n x 4 x 3, angstrom.
    anchor_oxygen
        New position (3) of the oxygen of the residue before, whose psi has changed.
    score
        Badness: squared overlaps (angstrom^2) plus a penalty per Ramachandran outlier.
    outliers
        How many of its residues, flanks included, are Ramachandran outliers.
    rarity
        Sum of :func:`rarity` over the same residues.
    """

    numbers: tuple[int, ...]
    backbone: np.ndarray
    anchor_oxygen: np.ndarray
    score: float
    outliers: int
    rarity: float = 0.0


#: Columns of a start: torsions phi, psi and omega (to the next residue), angles N-CA-C, CA-C-N and C-N-CA (both of
#: the peptide bond to the next residue); degrees.
PHI, PSI, OMEGA, N_CA_C, CA_C_N, C_N_CA = range(6)
IDEAL = (math.nan, math.nan, 180.0, 111.0, 116.9, 121.7)  # Engh and Huber 1991


def sample_loops(chain: gemmi.Chain, numbers: list[int], names: list[str], starts: np.ndarray) -> list[Loop]:
    """Close a stretch of backbone from many starting torsions.

    Parameters
    ----------
    chain
        Has the residues before and after the stretch; residues of the stretch itself are ignored.
    numbers, names
        Number and name of each residue to build, ascending.
    starts
        m x (n + 2) x 6 internal coordinates (:data:`PHI` ...) of the residue before, the stretch and the residue
        behind; the first phi and the last psi are not used.

    Returns
    -------
    list of Loop
        Those that closed, best first.

    Raises
    ------
    StageError
        If the residues around the stretch are not there.
    """
    residues = [r for r in chain if r.seqid.num not in numbers]
    rows = [r.seqid.num for r in residues]
    behind = next((i for i, number in enumerate(rows) if number > numbers[-1]), None)
    if behind is None or behind < 2 or behind + 1 >= len(rows):
        raise StageError("receptor", f"residues {numbers[0]}-{numbers[-1]} have no residues on both sides to join")
    before, after = residues[behind - 1], residues[behind]
    ends = [[np.array(r[a][0].pos.tolist()) for a in ("N", "CA", "C")] for r in (before, after)]
    locked = [name == "PRO" for name in [*names, after.name]]
    positions = close_backbones(np.array(ends[0]), np.array(ends[1]), starts, locked)
    tails = positions[:, -1]
    closed = np.sqrt(((tails - np.array(ends[1])) ** 2).sum(axis=2).mean(axis=1)) <= _CLOSED
    around = _around(residues, {before.seqid.num, after.seqid.num})
    context = (residues[behind - 2], before, after, residues[behind + 1])
    loops = [_judged(trial, numbers, names, context, around) for trial in positions[closed]]
    return sorted(loops, key=lambda loop: loop.score)


def close_backbones(anchor: np.ndarray, target: np.ndarray, starts: np.ndarray, locked_phi: list[bool]) -> np.ndarray:
    """Grow backbones behind ``anchor`` and turn their torsions until they end on ``target``.

    Parameters
    ----------
    anchor, target
        N, CA, C (3 x 3, angstrom) of the residues before and behind.
    starts
        m x (n + 2) x 6 internal coordinates, see :func:`sample_loops`.
    locked_phi
        For each of the n residues and the one behind, whether phi must not turn (proline).

    Returns
    -------
    m x (n + 1) x 3 x 3
        N, CA, C of the stretch and of the residue behind, as far as they came.
    """
    count, size = len(starts), starts.shape[1] - 1
    atoms = np.empty((count, 3 * (size + 1), 3))
    atoms[:, :3] = anchor
    for i in range(1, size + 1):
        k = 3 * i
        last, this = starts[:, i - 1], starts[:, i]
        atoms[:, k] = _extend(atoms, k, _C_N, last[:, CA_C_N], last[:, PSI])
        atoms[:, k + 1] = _extend(atoms, k + 1, _N_CA, last[:, C_N_CA], last[:, OMEGA])
        atoms[:, k + 2] = _extend(atoms, k + 2, _CA_C, this[:, N_CA_C], this[:, PHI])
    axes = [1]  # psi of the residue before turns about its CA (1) - C (2)
    for i in range(1, size + 1):
        axes += [] if locked_phi[i - 1] else [3 * i]
        axes += [3 * i + 1] if i < size else []
    for _ in range(_SWEEPS):
        for a in axes:
            _turn_towards(atoms, a, target)
        if np.sqrt(((atoms[:, -3:] - target) ** 2).sum(axis=2).mean(axis=1)).max() < 0.5 * _CLOSED:
            break
    return atoms[:, 3:].reshape(count, size, 3, 3)


def _extend(atoms: np.ndarray, k: int, bond: float, angle: np.ndarray, torsion: np.ndarray) -> np.ndarray:
    """Position (m, 3) of atom k from the three before it, for every backbone at once."""
    a, b, c = atoms[:, k - 3], atoms[:, k - 2], atoms[:, k - 1]
    forward = _unit(c - b)
    normal = _unit(_cross(b - a, forward))
    third = _cross(normal, forward)
    bend, turn = np.radians(angle)[:, None], np.radians(torsion)[:, None]
    return c + bond * (-np.cos(bend) * forward + np.sin(bend) * (np.cos(turn) * third + np.sin(turn) * normal))


def _turn_towards(atoms: np.ndarray, a: int, target: np.ndarray) -> None:
    """Turn everything behind the bond a - a+1 so that the last three atoms come nearest to ``target``."""
    pivot, axis = atoms[:, a + 1], _unit(atoms[:, a + 1] - atoms[:, a])
    arms = atoms[:, -3:] - pivot[:, None]
    wanted = target[None] - pivot[:, None]
    arms = arms - (arms * axis[:, None]).sum(axis=2, keepdims=True) * axis[:, None]
    across = _cross(axis[:, None], arms)
    angle = np.arctan2((wanted * across).sum(axis=(1, 2)), (wanted * arms).sum(axis=(1, 2)))
    angle = np.clip(angle, -_STEP, _STEP)
    moving = atoms[:, a + 2 :] - pivot[:, None]
    along = (moving * axis[:, None]).sum(axis=2, keepdims=True) * axis[:, None]
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    atoms[:, a + 2 :] = (
        pivot[:, None] + along + cosine * (moving - along) + sine * _cross(axis[:, None], moving - along)
    )


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product over the last axis; numpy's own spends most of its time on checking small arrays."""
    a, b = np.broadcast_arrays(a, b)
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    u, v, w = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _around(residues: list[gemmi.Residue], ends: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions and polarity of heavy atoms a loop must not touch (of its two ends, only the side chains)."""
    positions, polar = [], []
    for residue in residues:
        for atom in residue:
            joined = residue.seqid.num in ends and atom.name in ("N", "CA", "C", "O", "CB")
            if not atom.is_hydrogen() and not joined:
                positions.append(atom.pos.tolist())
                polar.append(atom.element.name in ("N", "O", "S"))
    return np.array(positions), np.array(polar)


def _judged(
    trial: np.ndarray,
    numbers: list[int],
    names: list[str],
    context: tuple[gemmi.Residue, gemmi.Residue, gemmi.Residue, gemmi.Residue],
    around: tuple[np.ndarray, np.ndarray],
) -> Loop:
    """Complete one backbone with its oxygens and count what is wrong with it."""
    ahead, before, after, beyond = (
        np.array([r[a][0].pos.tolist() if a in r else [math.nan] * 3 for a in ("N", "CA", "C")]) for r in context
    )
    stretch = [ahead, before, *trial[:-1], after, beyond]
    oxygens = [_oxygen(one, two) for one, two in zip(stretch[1:-2], stretch[2:-1], strict=True)]
    outliers, strained, rare = 0, 0, 0.0
    path = [context[1].name, *names, context[2].name, context[3].name]
    for i, (name, following) in enumerate(zip(path, path[1:], strict=False), start=1):
        phi = dihedral(stretch[i - 1][2], *stretch[i])
        psi = dihedral(*stretch[i], stretch[i + 1][0])
        if not (math.isnan(phi) or math.isnan(psi)):
            rare += rarity(phi, psi, name)
            outliers += not ramachandran_allowed(phi, psi, name)
            strained += following == "PRO" and name != "GLY" and -90 <= psi <= 50
    backbone = np.concatenate([trial[:-1], np.array(oxygens[1:])[:, None]], axis=1)
    score = _badness(backbone, names, *around) + _OUTLIER_PENALTY * outliers + _STRAIN_PENALTY * strained
    return Loop(tuple(numbers), backbone, oxygens[0], score, outliers, rare)


def overlap_of_backbone(backbone: np.ndarray, names: list[str], residues: list[gemmi.Residue], ends: set[int]) -> float:
    """How much a stretch of backbone overlaps with residues and with itself (angstrom^2).

    Parameters
    ----------
    backbone, names
        N, CA, C, O (n x 4 x 3, angstrom) and names of the stretch's residues.
    residues
        The rest of the chain.
    ends
        Numbers of the residues it is joined to.
    """
    return _badness(backbone, names, *_around(residues, ends))


def _badness(backbone: np.ndarray, names: list[str], others: np.ndarray, others_polar: np.ndarray) -> float:
    betas = [beta_carbon(*atoms[:3]) for atoms, name in zip(backbone, names, strict=True) if name != "GLY"]
    own = np.concatenate([backbone.reshape(-1, 3), np.array(betas).reshape(-1, 3)])
    polar = np.array([True, False, False, True] * len(names) + [False] * len(betas))
    owner = np.array([i for i in range(len(names)) for _ in range(4)] + [i for i, n in enumerate(names) if n != "GLY"])
    apart = np.abs(owner[:, None] - owner[None]) >= 2
    return _overlap(own, polar, others, others_polar) + 0.5 * _overlap(own, polar, own, polar, apart)


def _overlap(own, own_polar, others, others_polar, mask: np.ndarray | None = None) -> float:
    contact = np.where(own_polar[:, None] & others_polar[None], _CONTACT[True], _CONTACT[False])
    overlap = np.maximum(contact - cdist(own, others), 0.0)
    return float((overlap**2 * (1 if mask is None else mask)).sum())


def _oxygen(residue: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Carbonyl oxygen in the plane of CA, C and the next nitrogen."""
    _, alpha, carbon = residue
    inward = _unit(alpha - carbon) + _unit(following[0] - carbon)
    return carbon - _C_O * inward / np.linalg.norm(inward)


def beta_carbon(nitrogen: np.ndarray, alpha: np.ndarray, carbon: np.ndarray) -> np.ndarray:
    """Position of C-beta of an L-amino acid (angstrom)."""
    bisector = _unit(_unit(alpha - nitrogen) + _unit(alpha - carbon))
    normal = _unit(_cross(nitrogen - alpha, carbon - alpha))
    return alpha + _CA_CB * (0.58 * bisector + 0.815 * normal)


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Torsion a-b-c-d in degrees."""
    axis = _unit(c - b)
    first, second = _cross(b - a, c - b), _cross(c - b, d - c)
    return math.degrees(math.atan2(np.dot(_cross(first, second), axis), np.dot(first, second)))


def internal_coordinates(residues: list[gemmi.Residue | None]) -> np.ndarray:
    """n x 6 internal coordinates of the inner residues of a list, ideal or NaN where a neighbour is not joined."""
    found = np.tile(np.array(IDEAL), (len(residues) - 2, 1))
    atoms = [
        None if r is None or any(a not in r for a in ("N", "CA", "C")) else [r[a][0].pos for a in ("N", "CA", "C")]
        for r in residues
    ]
    for i, (one, two, three) in enumerate(zip(atoms, atoms[1:], atoms[2:], strict=False)):
        if two is None:
            continue
        found[i, N_CA_C] = math.degrees(gemmi.calculate_angle(*two))
        if one is not None and one[2].dist(two[0]) < _JOINED:
            found[i, PHI] = math.degrees(gemmi.calculate_dihedral(one[2], *two))
        if three is not None and two[2].dist(three[0]) < _JOINED:
            found[i, PSI] = math.degrees(gemmi.calculate_dihedral(*two, three[0]))
            found[i, OMEGA] = math.degrees(gemmi.calculate_dihedral(two[1], two[2], three[0], three[1]))
            found[i, CA_C_N] = math.degrees(gemmi.calculate_angle(two[1], two[2], three[0]))
            found[i, C_N_CA] = math.degrees(gemmi.calculate_angle(two[2], three[0], three[1]))
    return found


#: Centres (phi, psi) and weights from which residues without any known torsions start.
_BASINS = ((-120.0, 135.0, 0.35), (-68.0, 145.0, 0.25), (-64.0, -42.0, 0.35), (57.0, 42.0, 0.05))
#: Where residues are found: centre (phi, psi), width (degrees) and share; a rough picture of Lovell 2003's maps.
_POPULATED = (
    (-63.0, -43.0, 12.0, 0.40), (-90.0, -5.0, 22.0, 0.10), (-115.0, 132.0, 25.0, 0.28), (-68.0, 147.0, 16.0, 0.19),
    (57.0, 42.0, 12.0, 0.03),
)  # fmt: skip


def rarity(phi: float, psi: float, name: str) -> float:
    """How rare a backbone conformation (degrees) is: minus the logarithm of its density relative to helix, up to 8."""
    best = 1e-12
    for sign in (1, -1) if name == "GLY" else (1,):
        density = 0.0
        for centre_phi, centre_psi, width, share in _POPULATED:
            a, b = ((x - c + 180) % 360 - 180 for x, c in ((sign * phi, centre_phi), (sign * psi, centre_psi)))
            density += share / width**2 * math.exp(-(a * a + b * b) / (2 * width * width))
        best = max(best, density)
    return min(8.0, -math.log(best / (_POPULATED[0][3] / _POPULATED[0][2] ** 2)))


def random_starts(generator: np.random.Generator, names: list[str], count: int) -> np.ndarray:
    """Starts (count x n x 6) with ideal geometry and torsions drawn from the common basins, 15 degrees wide."""
    centres = np.array([basin[:2] for basin in _BASINS])
    weights = np.array([basin[2] for basin in _BASINS])
    drawn = centres[generator.choice(len(_BASINS), size=(count, len(names)), p=weights)]
    for i, name in enumerate(names):
        if name == "GLY":
            drawn[:, i] *= generator.choice((-1.0, 1.0), size=(count, 1))
        if name == "PRO":
            drawn[:, i, 0] = -65.0
    starts = np.tile(np.array(IDEAL), (count, len(names), 1))
    starts[..., :2] = drawn + generator.normal(scale=15.0, size=drawn.shape)
    return starts


def vary(generator: np.random.Generator, coordinates: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Starts with phi and psi of ``coordinates`` (n x 6) varied by ``degrees`` (m standard deviations)."""
    starts = np.repeat(coordinates[None], len(degrees), axis=0)
    noise = generator.normal(size=(len(degrees), len(coordinates), 2))
    starts[..., :2] += noise * degrees[:, None, None]
    return starts


def put_backbone(chain: gemmi.Chain, loop: Loop, library: dict[str, gemmi.Residue] | None = None) -> gemmi.Chain:
    """A copy of a chain with the residues of a loop on their new backbone, side chains carried along.

    Parameters
    ----------
    chain
        Has the loop's residues, or lacks those that are in ``library``.
    library
        Residue by number, for those that the chain lacks.
    """
    residues = {residue.seqid.num: residue for residue in chain} | (library or {})
    new = gemmi.Chain(chain.name)
    carbonyl = None
    for number in sorted(residues):
        residue = residues[number].clone()
        if number in loop.numbers:
            bare = gemmi.Residue()
            bare.name, bare.seqid, bare.het_flag = residue.name, gemmi.SeqId(number, " "), "A"
            for name, position in zip(BACKBONE, loop.backbone[loop.numbers.index(number)], strict=True):
                atom = gemmi.Atom()
                atom.name, atom.element, atom.occ = name, gemmi.Element(name[0]), 1.0
                atom.pos = gemmi.Position(*position)
                bare.add_atom(atom)
            residue = with_side_chain(bare, residue, carbonyl)
        new.add_residue(residue)
        carbonyl = np.array(residue["C"][0].pos.tolist()) if "C" in residue else None
    before = next(residue for residue in new if residue.seqid.num == max(n for n in residues if n < loop.numbers[0]))
    before["O"][0].pos = gemmi.Position(*loop.anchor_oxygen)
    _place_amide_hydrogen(new, loop.numbers[-1])
    return new


def _place_amide_hydrogen(chain: gemmi.Chain, last: int) -> None:
    """Turn the amide hydrogen of the residue behind a loop into the plane of its new peptide bond."""
    before = next(residue for residue in chain if residue.seqid.num == last)
    after = next(residue for residue in chain if residue.seqid.num > last)
    if "H" not in after:
        return
    carbon, nitrogen, alpha = (np.array(r[a][0].pos.tolist()) for r, a in ((before, "C"), (after, "N"), (after, "CA")))
    outward = _unit(nitrogen - carbon) + _unit(nitrogen - alpha)
    after["H"][0].pos = gemmi.Position(*(nitrogen + 1.01 * outward / np.linalg.norm(outward)))


def different(loops: list[Loop], count: int, apart: float = 0.6) -> list[Loop]:
    """The first ``count`` of some loops that are more than ``apart`` (angstrom RMSD) from each one before."""
    chosen: list[Loop] = []
    for loop in loops:
        if len(chosen) < count and all(_rmsd(loop, other) > apart for other in chosen):
            chosen.append(loop)
    return chosen


def _rmsd(one: Loop, two: Loop) -> float:
    """RMSD of the backbone atoms of the residues that two loops share; infinite for fewer than three."""
    shared = sorted(set(one.numbers) & set(two.numbers))
    if len(shared) < 3:
        return math.inf
    a, b = (np.array([loop.backbone[loop.numbers.index(n)] for n in shared]) for loop in (one, two))
    return float(np.sqrt(((a - b) ** 2).sum(axis=2).mean()))
