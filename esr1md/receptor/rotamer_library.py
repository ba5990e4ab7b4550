"""Where side chains are found: central values of the rotamers of high-resolution crystals, and a distance to them.

Means and standard deviations of the side-chain torsions of each rotamer, from Hintze, Lewis, Richardson and
Richardson, "MolProbity's ultimate rotamer-library distributions for model validation", Proteins 84:1177 (2016).
Arginine and lysine, whose many rotamers are the combinations of staggered torsions, are written as such.
"""

from __future__ import annotations

import itertools
import math

import gemmi
from scipy.stats import chi2

from esr1md.receptor.residues import chi_torsions

#: Residue -> rotamer -> mean and standard deviation (degrees) of chi 1, chi 2, ...
_CENTRAL: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "VAL": {"p": ((65, 7.2),), "m": ((-62, 5.7),), "t": ((176, 6.4),)},
    "THR": {"p": ((61, 7.7),), "m": ((-60, 6.1),), "t": ((-173, 7.4),)},
    "SER": {"p": ((66, 8.6),), "m": ((-64, 7.7),), "t": ((179, 9.0),)},
    "CYS": {"p": ((65, 9.0),), "m": ((-65, 8.2),), "t": ((-178, 8.2),)},
    "LEU": {
        "pp": ((61, 8.2), (83, 9.5)), "pt": ((73, 8.5), (165, 10.8)), "mm": ((-83, 10.2), (-64, 10.0)),
        "tt": ((-172, 8.5), (153, 10.5)), "tp": ((-177, 8.2), (63, 7.0)), "mt": ((-66, 8.2), (174, 8.1)),
        "tm": ((-172, 5.9), (-75, 6.4)), "mp": ((-77, 12.5), (72, 15.7)),
    },
    "ILE": {
        "pp": ((58, 7.7), (84, 12.8)), "pt": ((62, 6.1), (170, 7.6)), "mm": ((-59, 7.1), (-61, 7.3)),
        "tt": ((-170, 7.7), (167, 6.9)), "tp": ((-167, 7.8), (66, 7.3)), "mt": ((-63, 6.4), (169, 7.4)),
        "mp": ((-63, 11.6), (89, 16.6)),
    },
    "ASN": {
        "p0": ((64, 7.8), (7, 43.3)), "m110": ((-64, 9.6), (115, 28.4)), "m-40": ((-70, 9.1), (-42, 26.3)),
        "t0": ((-171, 10.5), (-1, 54.9)), "t160": ((-161, 7.4), (164, 9.1)),
    },
    "ASP": {
        "p0": ((63, 7.5), (-2, 31.0)), "m-30": ((-69, 8.2), (-29, 22.4)), "t70": ((-174, 9.2), (74, 19.8)),
        "t0": ((-172, 10.2), (-2, 23.8)),
    },
    "HIS": {
        "t-170": ((-173, 9.7), (-167, 21.6)), "p90": ((62, 9.7), (87, 21.8)), "m90": ((-66, 9.8), (88, 17.5)),
        "t-90": ((-173, 10.4), (-87, 18.5)), "m170": ((-68, 8.2), (171, 21.7)), "m-70": ((-64, 10.0), (-75, 19.3)),
        "t70": ((-178, 10.0), (74, 17.3)), "p-80": ((65, 9.9), (-81, 16.2)),
    },
    "PHE": {
        "p90": ((64, 9.6), (-90, 9.4)), "m-10": ((-68, 9.3), (-15, 19.8)), "m-80": ((-67, 10.1), (-81, 16.8)),
        "t80": ((-178, 10.0), (76, 17.4)),
    },
    "TYR": {
        "p90": ((64, 10.6), (-90, 10.1)), "m-10": ((-68, 9.9), (-15, 20.2)), "m-80": ((-67, 10.4), (-81, 16.8)),
        "t80": ((-178, 10.5), (76, 16.7)),
    },
    "TRP": {
        "m-90": ((-68, 12.4), (-89, 13.8)), "m100": ((-67, 10.8), (97, 17.0)), "p90": ((60, 9.9), (88, 14.7)),
        "t60": ((-179, 9.8), (65, 32.8)), "t-100": ((-177, 11.6), (-103, 15.4)), "m-10": ((-68, 9.0), (-7, 21.7)),
        "p-90": ((62, 9.8), (-89, 12.9)),
    },
    "GLU": {
        "pp20": ((61, 8.1), (86, 8.0), (20, 17.2)), "tt0": ((-177, 8.6), (178, 10.3), (1, 41.4)),
        "mm-30": ((-66, 8.7), (-67, 10.6), (-32, 26.9)), "tm-30": ((-170, 8.6), (-83, 9.2), (-29, 17.3)),
        "tp30": ((-178, 9.8), (65, 9.2), (26, 26.1)), "mt-10": ((-67, 7.7), (179, 11.4), (-7, 37.3)),
        "mp0": ((-67, 7.3), (83, 9.4), (3, 27.5)), "pm20": ((69, 8.8), (-85, 8.6), (16, 21.7)),
        "pt0": ((65, 8.4), (-177, 10.1), (1, 51.0)),
    },
    "GLN": {
        "mm110": ((-65, 8.6), (-63, 10.9), (109, 24.1)), "tp40": ((-177, 8.7), (66, 8.2), (41, 24.2)),
        "mp10": ((-67, 9.0), (82, 11.4), (17, 37.5)), "mt0": ((-67, 7.5), (179, 11.2), (-4, 62.6)),
        "tt0": ((-176, 8.5), (178, 10.8), (2, 60.9)), "mp-120": ((-73, 10.0), (69, 11.4), (-120, 13.0)),
        "tm-30": ((-172, 10.1), (-86, 11.0), (-29, 20.3)), "pp30": ((63, 7.8), (84, 8.5), (30, 20.9)),
        "mm-40": ((-64, 8.6), (-66, 10.4), (-39, 24.7)), "pm20": ((70, 9.9), (-84, 9.3), (17, 32.3)),
        "tp-100": ((-177, 8.7), (62, 8.8), (-105, 27.5)), "tm130": ((-172, 9.7), (-76, 10.4), (127, 16.1)),
        "pt0": ((65, 8.1), (-177, 11.3), (-3, 75.2)),
    },
    "MET": {
        "pmt": ((71, 3.4), (-75, 3.2), (-162, 4.9)), "ptm": ((65, 8.2), (179, 10.2), (-72, 11.6)),
        "ttp": ((-178, 8.6), (179, 11.4), (72, 10.6)), "ttt": ((-177, 8.8), (177, 9.5), (176, 15.5)),
        "ppp": ((61, 9.3), (79, 11.0), (71, 9.9)), "ttm": ((-175, 9.3), (180, 8.2), (-72, 13.1)),
        "tpp": ((-175, 9.4), (64, 8.0), (72, 12.0)), "pmm": ((73, 7.8), (-69, 6.7), (-69, 8.1)),
        "ptt": ((65, 8.2), (-178, 9.1), (179, 15.6)), "ptp": ((65, 8.5), (-176, 11.4), (73, 11.6)),
        "tmt": ((-179, 6.7), (-86, 7.6), (174, 24.4)), "pp-130": ((64, 7.2), (82, 4.9), (-154, 27.8)),
        "tmm": ((-177, 7.3), (-82, 6.8), (-72, 10.5)), "mmt": ((-65, 8.7), (-64, 9.4), (172, 18.5)),
        "mpm": ((-77, 5.1), (64, 5.5), (-102, 5.0)), "mmp": ((-65, 5.3), (-62, 6.3), (102, 9.3)),
        "mmm": ((-66, 8.9), (-61, 8.8), (-69, 10.2)), "mpt": ((-70, 11.7), (74, 11.0), (167, 18.6)),
        "mpp": ((-77, 13.7), (73, 12.3), (74, 11.9)), "mtp": ((-67, 7.1), (177, 9.3), (70, 10.1)),
        "mtt": ((-67, 7.7), (180, 8.7), (-177, 16.5)), "tpt": ((-173, 8.7), (66, 7.8), (-156, 31.2)),
        "mtm": ((-66, 7.9), (-178, 10.7), (-74, 10.8)),
    },
}  # fmt: skip

_STAGGERED = {"p": (65, 10.0), "t": (180, 10.0), "m": (-65, 10.0)}
_GUANIDINIUM = {"80": (85, 15.0), "180": (180, 20.0), "-80": (-85, 15.0)}
_CENTRAL["LYS"] = {
    "".join(names): tuple(_STAGGERED[name] for name in names) for names in itertools.product("ptm", repeat=4)
}
_CENTRAL["ARG"] = {
    "".join(names) + last: (*(_STAGGERED[name] for name in names), _GUANIDINIUM[last])
    for names in itertools.product("ptm", repeat=3)
    for last in _GUANIDINIUM
}

#: The last torsion of these turns a group onto itself after 180 degrees.
_SYMMETRIC = {"ASP", "GLU", "PHE", "TYR"}
#: The share of a rotamer's own side chains that lie farther from its centre than the limit, were they spread evenly.
_SHARE = 0.003
#: Real distributions have longer tails than a normal one; with this factor 2 % of the side chains of recent crystals
#: at 1.8 to 2.2 A (5WGD, 5DZI) are outliers.
_TAIL = 1.3


def rotamer(residue: gemmi.Residue) -> tuple[str, float, tuple[float, ...]] | None:
    """The nearest rotamer, how far from it, and the torsions.

    Parameters
    ----------
    residue
        With standard atom names.

    Returns
    -------
    name, distance, angles
        ``distance`` is in units of the outlier limit: above 1 the side chain is an outlier. The limit is the
        Mahalanobis radius that leaves out 0.3 % of a normal distribution, MolProbity's share, times 1.3.
        ``None`` for residues without rotamers (Gly, Ala, Pro) and incomplete side chains.
    """
    torsions = chi_torsions(residue.name)
    if residue.name not in _CENTRAL:
        return None
    count = len(next(iter(_CENTRAL[residue.name].values())))
    angles = []
    for names, _ in torsions[:count]:
        if any(name not in residue for name in names):
            return None
        angles.append(math.degrees(gemmi.calculate_dihedral(*(residue[name][0].pos for name in names))))
    limit = _TAIL * math.sqrt(chi2.isf(_SHARE, count))
    best = min(
        (_distance(angles, centre, residue.name in _SYMMETRIC), name) for name, centre in _CENTRAL[residue.name].items()
    )
    return best[1], best[0] / limit, tuple(angles)


def _distance(angles: list[float], centre: tuple[tuple[float, float], ...], symmetric: bool) -> float:
    total = 0.0
    for i, (angle, (mean, deviation)) in enumerate(zip(angles, centre, strict=True)):
        period = 180.0 if symmetric and i == len(angles) - 1 else 360.0
        off = (angle - mean + period / 2) % period - period / 2
        total += (off / deviation) ** 2
    return math.sqrt(total)
