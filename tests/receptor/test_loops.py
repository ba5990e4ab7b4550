"""Closing loops: geometry, what is refused, what is chosen."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from esr1md.errors import StageError
from esr1md.receptor.frame import bundled_model
from esr1md.receptor.loops import (
    CA_C_N,
    IDEAL,
    PHI,
    PSI,
    beta_carbon,
    close_backbones,
    different,
    dihedral,
    internal_coordinates,
    put_backbone,
    random_starts,
    sample_loops,
    vary,
)
from esr1md.receptor.quality import ramachandran_allowed

NUMBERS = list(range(458, 466))


@pytest.fixture(scope="module")
def chain() -> gemmi.Chain:
    return gemmi.read_structure(str(bundled_model("agonist")))[0][0]


@pytest.fixture(scope="module")
def residues(chain) -> dict[int, gemmi.Residue]:
    return {residue.seqid.num: residue for residue in chain}


def position(residue, name) -> np.ndarray:
    return np.array(residue[name][0].pos.tolist())


def own_coordinates(residues, numbers):
    return internal_coordinates([residues[n] for n in range(numbers[0] - 2, numbers[-1] + 3)])


def test_a_backbone_grown_from_its_own_coordinates_is_itself(chain, residues):
    own = own_coordinates(residues, NUMBERS)
    loop = sample_loops(chain, NUMBERS, [residues[n].name for n in NUMBERS], own[None])[0]
    apart = [
        np.linalg.norm(loop.backbone[i, k] - position(residues[n], name))
        for i, n in enumerate(NUMBERS)
        for k, name in enumerate(("N", "CA", "C", "O"))
    ]
    assert max(apart) < 0.4 and np.sqrt(np.mean(np.square(apart))) < 0.15
    assert loop.outliers == 0


def test_internal_coordinates_agree_with_gemmi(residues):
    own = own_coordinates(residues, NUMBERS)
    three = [residues[n] for n in (459, 460, 461)]
    assert np.radians(own[3, [PHI, PSI]]) == pytest.approx(gemmi.calculate_phi_psi(*three), abs=1e-6)
    four = [position(residues[460], a) for a in ("N", "CA", "C")] + [position(residues[461], "N")]
    assert dihedral(*four) == pytest.approx(own[3, PSI])


def test_closed_loops_have_good_geometry_whatever_they_start_from(chain, residues):
    names = [residues[n].name for n in NUMBERS]
    starts = random_starts(np.random.default_rng(5), ["GLY", *names, "GLY"], 64)
    loops = sample_loops(chain, NUMBERS, names, starts)
    assert len(loops) > 10
    assert [loop.score for loop in loops] == sorted(loop.score for loop in loops)
    for loop in loops[:5]:
        atoms = loop.backbone
        for one, two in zip(atoms, atoms[1:], strict=False):
            assert np.linalg.norm(two[0] - one[2]) == pytest.approx(1.329, abs=1e-3)
            assert abs(dihedral(one[1], one[2], two[0], two[1])) == pytest.approx(180, abs=1e-3)
            assert dihedral(one[0], one[1], one[2], one[3]) == pytest.approx(
                (dihedral(one[0], one[1], one[2], two[0]) + 360) % 360 - 180, abs=1.0
            )
        # the end meets the residue behind within what minimisation takes up
        assert np.linalg.norm(atoms[-1][2] - position(residues[NUMBERS[-1] + 1], "N")) == pytest.approx(1.33, abs=0.5)


def test_outliers_are_counted_as_quality_counts_them(chain, residues):
    names = [residues[n].name for n in NUMBERS]
    starts = vary(np.random.default_rng(2), own_coordinates(residues, NUMBERS), np.full(40, 60.0))
    for loop in sample_loops(chain, NUMBERS, names, starts)[:10]:
        new = list(put_backbone(chain, loop))
        at = {residue.seqid.num: i for i, residue in enumerate(new)}
        found = 0
        for n in range(NUMBERS[0] - 1, NUMBERS[-1] + 2):
            phi, psi = np.degrees(gemmi.calculate_phi_psi(*new[at[n] - 1 : at[n] + 2]))
            found += not ramachandran_allowed(phi, psi, new[at[n]].name)
        # the residue behind is reached to 0.15 A, so a torsion at a region's edge may fall either way
        assert abs(found - loop.outliers) <= 1


def test_a_distance_too_long_is_never_closed():
    anchor = np.array([[0.0, 0, 0], [1.46, 0, 0], [2.0, 1.43, 0]])
    starts = np.tile(np.array([-120.0, 130.0, *IDEAL[2:]]), (20, 4, 1))
    ended = close_backbones(anchor, anchor + [60.0, 0, 0], starts, [False] * 3)
    assert np.linalg.norm(ended[:, -1] - (anchor + [60.0, 0, 0]), axis=2).min() > 30
    assert starts[0, 0, CA_C_N] == 116.9


def test_proline_keeps_its_phi():
    anchor = np.array([[0.0, 0, 0], [1.46, 0, 0], [2.0, 1.43, 0]])
    starts = np.tile(np.array([-65.0, 140.0, *IDEAL[2:]]), (4, 5, 1))
    ended = close_backbones(anchor, anchor + [8.0, 3.0, 2.0], starts, [False, True, False, False])
    phi = dihedral(ended[0, 0, 2], *ended[0, 1])
    assert phi == pytest.approx(-65.0, abs=1e-3)
    assert dihedral(ended[0, 1, 2], *ended[0, 2]) != pytest.approx(-65.0, abs=1e-3)


def test_beta_carbons_are_where_the_models_have_them(residues):
    apart = [
        np.linalg.norm(beta_carbon(*(position(r, a) for a in ("N", "CA", "C"))) - position(r, "CB"))
        for r in residues.values()
        if "CB" in r
    ]
    assert max(apart) < 0.35 and np.mean(apart) < 0.1


def test_side_chains_ride_along_and_hydrogens_stay_in_the_peptide_plane(chain, residues):
    names = [residues[n].name for n in NUMBERS]
    starts = vary(np.random.default_rng(1), own_coordinates(residues, NUMBERS), np.full(20, 15.0))
    new = put_backbone(chain, sample_loops(chain, NUMBERS, names, starts)[0])
    assert [(r.name, r.seqid.num, len(r)) for r in new] == [(r.name, r.seqid.num, len(r)) for r in chain]
    for number in NUMBERS:
        one = next(r for r in new if r.seqid.num == number)
        for a, b in (("CA", "CB"), ("CB", "CG")):
            if a in one and b in one and b in residues[number]:
                before = np.linalg.norm(position(residues[number], a) - position(residues[number], b))
                assert np.linalg.norm(position(one, a) - position(one, b)) == pytest.approx(before, abs=0.03)
        if "H" in one:
            carbon = position(next(r for r in new if r.seqid.num == number - 1), "C")
            assert np.linalg.norm(position(one, "H") - carbon) == pytest.approx(2.05, abs=0.15)


def test_different_loops_differ(chain, residues):
    names = [residues[n].name for n in NUMBERS]
    starts = vary(np.random.default_rng(1), own_coordinates(residues, NUMBERS), np.repeat([0.0, 20.0], 20))
    loops = sample_loops(chain, NUMBERS, names, starts)
    chosen = different(loops, 5)
    assert chosen[0] is loops[0] and 2 <= len(chosen) <= 5
    for i, one in enumerate(chosen):
        for other in chosen[i + 1 :]:
            assert np.sqrt(((one.backbone - other.backbone) ** 2).sum(axis=2).mean()) > 0.6


def test_a_stretch_at_the_end_has_nothing_to_join(chain):
    with pytest.raises(StageError, match="no residues on both sides"):
        sample_loops(chain, [550, 551], ["HIS", "NME"], np.tile(np.array(IDEAL), (1, 4, 1)))
