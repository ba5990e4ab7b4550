"""Generalised Born energies of a receptor with its ligand and of both alone, from one pass over the pairs of atoms.

    G = -1/2 k sum_ij q_i q_j (1/eps_in - exp(-kappa f_ij)/eps_out) / f_ij,
    f_ij^2 = r_ij^2 + B_i B_j exp(-r_ij^2 / 4 B_i B_j)

MM/GBSA needs G three times for each frame, with Born radii B that differ because each molecule keeps solvent from the
other. OpenMM would evaluate three Systems, forces included, and GBn2 or salt as a ``CustomGBForce``, seconds a frame on
a CPU. Here one piece of code does it for every model, with the contribution of each atom:

* What an atom loses to the others (the integral that gives B) is summed for its own molecule and for the other one
  apart, so that the radii in and out of the complex come from the same pass.
* Beyond three radii that integral is a power series in 1/r^2, so the sums over far atoms are matrix-vector products;
  pairs within that distance get the exact expression in its stead (relative error of G: a few 1e-6).
* With z = r^2 / B_i B_j, which one matrix product gives for a block of pairs,
  1/f = (z + exp(-z/4))^(-1/2) / sqrt(B_i B_j).
* Distances and sums are in double precision, functions of a distance in single.

Parameters (radii, screening, neck tables) are OpenMM's. OpenMM's own forces are the check (``tests/analysis``).

Sources: OBC2, Onufriev, Bashford, Case 2004, doi 10.1002/prot.20033; GBn2, Nguyen, Roe, Simmerling 2013, doi
10.1021/ct3010485; pair integral, Hawkins, Cramer, Truhlar 1996, doi 10.1021/jp961710n; salt, Srinivasan 1999, doi
10.1007/s002140050460.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from openmm import app
from openmm.app.internal.customgbforces import GBSAGBn2Force, GBSAOBC2Force
from scipy.spatial import cKDTree

from esr1md.errors import StageError

Model = Literal["obc2", "gbn2"]

#: kJ mol^-1 nm e^-2, as OpenMM has it.
COULOMB = 138.935456

#: Coefficients of s^(2k+3) / r^(2k+4) in the pair integral of an atom of (scaled) radius s at distance r.
_SERIES = (1 / 3, 2 / 5, 3 / 7, 4 / 9)
#: Pairs nearer than so many of the largest scaled radius get the exact integral.
_NEAR_RADII = 3.0
#: Tanh coefficients of OBC2; those of GBn2 depend on the element. Reach (nm) and weight of GBn2's neck.
_OBC2_TANH = (1.0, 0.8, 4.85)
_NECK_NM, _NECK_SCALE = 0.68, 0.826836
#: Pairs worked on at once on a CPU, so that they stay in its cache, and on a GPU; pairs of a list at once.
_CPU_PAIRS, _GPU_PAIRS = 1 << 18, 1 << 24
_LIST_PAIRS = 1 << 13
#: Functions of a pair's distance are computed in this precision; distances, sums and radii in double.
_KERNEL = torch.float32
_LN2 = math.log(2.0)


def inverse_debye_length(salt_molar: float, solvent_dielectric: float, temperature_kelvin: float) -> float:
    """kappa (1/nm) of a 1:1 salt, times 0.73 for the ions' own size as in Amber and OpenMM.

    Source: Srinivasan et al., Theor. Chem. Acc. 1999, 101, 426.
    """
    return 0.73 * 503.3355 * math.sqrt(salt_molar / (solvent_dielectric * temperature_kelvin))


class GeneralisedBorn:
    """Polar solvation of a receptor and a ligand, or of one molecule.

    Parameters
    ----------
    topology
        Gives elements and bonds for the intrinsic radii.
    charge
        (n_topology,) in elementary charges.
    atoms
        (n,) indices into the topology of the atoms to evaluate, in the order in which positions come.
    first_ligand
        How many of ``atoms`` are the receptor's (they come first); ``len(atoms)`` for one molecule.
    model
        ``obc2`` (igb=5, radii mbondi2) or ``gbn2`` (igb=8, mbondi3).
    solute_dielectric, solvent_dielectric
        Relative permittivities.
    salt_molar, temperature_kelvin
        Concentration of a 1:1 salt, and the temperature its screening is for.
    device
        Where torch computes: ``cpu`` or ``cuda``.

    Raises
    ------
    StageError
        An atom whose radius the model's tables do not reach.
    """

    def __init__(
        self,
        topology: app.Topology,
        charge: np.ndarray,
        atoms: np.ndarray,
        first_ligand: int,
        *,
        model: Model = "obc2",
        solute_dielectric: float = 1.0,
        solvent_dielectric: float = 78.5,
        salt_molar: float = 0.0,
        temperature_kelvin: float = 300.0,
        device: str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._n, self._first = len(atoms), first_ligand
        self._neck: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        if model == "obc2":
            standard = np.asarray(GBSAOBC2Force.getStandardParameters(topology))[atoms]
            offset, tanh = GBSAOBC2Force.OFFSET, np.tile(_OBC2_TANH, (self._n, 1))
        else:
            standard = np.asarray(GBSAGBn2Force.getStandardParameters(topology))[atoms]
            offset, tanh = GBSAGBn2Force.OFFSET, standard[:, 2:5]
            self._neck = self._neck_tables(topology, atoms, standard)
        self._radius = self._tensor(standard[:, 0])
        self._offset_radius = self._radius - offset
        self._scaled = self._offset_radius * self._tensor(standard[:, 1])
        self._tanh = self._tensor(tanh.T)
        self._charge = self._tensor(np.asarray(charge)[atoms])
        self._inside, self._outside = 1 / solute_dielectric, 1 / solvent_dielectric
        self._kappa = inverse_debye_length(salt_molar, solvent_dielectric, temperature_kelvin)
        self._near = _NEAR_RADII * float(self._scaled.abs().max())
        self._series_weights = torch.stack([c * self._scaled ** (2 * k + 3) for k, c in enumerate(_SERIES)])
        self._series_at_near = sum(w / self._near ** (2 * k + 4) for k, w in enumerate(self._series_weights))

    def binding(self, positions: np.ndarray) -> np.ndarray:
        """Change of the polar solvation energy when receptor and ligand, as they lie, come together.

        Parameters
        ----------
        positions
            (n, 3) in nm.

        Returns
        -------
        (n,) in kJ/mol, by atom; the sum is G(complex) - G(receptor) - G(ligand). Within a molecule the energy of a
        pair is shared by its two atoms; between receptor and ligand it is the receptor atom's, so that it screens the
        Coulomb energy of the same two.

        Source: decomposition, Gohlke, Kiel, Case, J. Mol. Biol. 2003, 330, 891, who halve the latter pairs as well.
        """
        x = self._centred(positions)
        together, alone = self._born(self._descreening(x))
        receptor, ligand = slice(0, self._first), slice(self._first, self._n)
        change = torch.cat(
            [self._within(x, together, part) - self._within(x, alone, part) for part in (receptor, ligand)]
        )
        change[receptor] += 2 * self._between(x, together)
        return change.cpu().numpy()

    def energy(self, positions: np.ndarray) -> float:
        """Polar solvation energy (kJ/mol) of all atoms together, at ``positions`` (n, 3) in nm."""
        x = self._centred(positions)
        together, _ = self._born(self._descreening(x))
        total = sum(self._within(x, together, part).sum() for part in (slice(0, self._first), slice(self._first, None)))
        return float(total + 2 * self._between(x, together).sum())

    def born_radii(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Effective Born radii (n,) in nm at ``positions`` (n, 3), nm: in the complex, and of each molecule alone."""
        together, alone = self._born(self._descreening(self._centred(positions)))
        return together.cpu().numpy(), alone.cpu().numpy()

    # -- Born radii --------------------------------------------------------------------------------------------

    def _descreening(self, x: torch.Tensor) -> torch.Tensor:
        """(2, n), 1/nm: the integral over an atom's own molecule, and over the other one."""
        integral = x.new_zeros(2, self._n)
        self._add_far(x, integral)
        self._add_near(x, integral)
        return integral

    def _add_far(self, x: torch.Tensor, integral: torch.Tensor) -> None:
        """The series over all pairs, near ones as if they were at the distance where it begins to hold.

        At those distances single precision is enough for the square as well.
        """
        own, other = integral
        left, right = (factor.to(_KERNEL) for factor in _factors(x))
        weights, first = self._series_weights.to(_KERNEL), self._first
        for a, b in self._blocks(0, first) + self._blocks(first, self._n):
            inverse = (left[a:b] @ right[:, a:]).clamp_(min=self._near**2).reciprocal_()
            power = inverse * inverse
            mine = (first if a < first else self._n) - a  # columns of the rows' own molecule
            for k, w in enumerate(weights):
                if k:
                    power *= inverse
                own[a:b] += power[:, :mine] @ w[a : a + mine]
                own[b : a + mine] += w[a:b] @ power[:, b - a : mine]
                if a + mine < self._n:
                    other[a:b] += power[:, mine:] @ w[a + mine :]
                    other[a + mine :] += w[a:b] @ power[:, mine:]
        own -= self._series_at_near  # of each atom with itself

    def _add_near(self, x: torch.Tensor, integral: torch.Tensor) -> None:
        """Near pairs: the exact integral instead of what the series made of them, and GBn2's neck."""
        reach = self._near if self._neck is None else max(self._near, _NECK_NM + 2 * float(self._radius.max()))
        pairs = torch.from_numpy(cKDTree(x.cpu().numpy()).query_pairs(reach, output_type="ndarray")).to(self._device)
        flat = integral.view(-1)
        for chunk in pairs.split(_LIST_PAIRS if self._device.type == "cpu" else _GPU_PAIRS):
            i, j = chunk[:, 0], chunk[:, 1]
            r = (x[i] - x[j]).square_().sum(dim=1).sqrt_()
            row = self._n * ((i < self._first) != (j < self._first))  # 0: own molecule, n: the other
            if self._neck is not None:
                kind, depth, place = self._neck
                within = torch.nonzero(r < self._radius[i] + self._radius[j] + _NECK_NM)[:, 0]
                for to, source in ((i[within], j[within]), (j[within], i[within])):
                    cell = kind[to] * len(depth) + kind[source]
                    off = (r[within] - place.view(-1)[cell]).square_()
                    neck = depth.view(-1)[cell] / (1 + 100 * off + 3e5 * off**3)
                    flat.index_add_(0, to + row[within], _NECK_SCALE * neck)
                near = torch.nonzero(r < self._near)[:, 0]
                i, j, r, row = i[near], j[near], r[near], row[near]
            for to, source in ((i, j), (j, i)):
                exact = _pair_integral(r, self._offset_radius[to], self._scaled[source])
                flat.index_add_(0, to + row, exact - self._series_at_near[source])

    def _born(self, integral: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Born radii (nm) in the complex and alone."""
        alpha, beta, gamma = self._tanh

        def radius(total: torch.Tensor) -> torch.Tensor:
            psi = total * self._offset_radius
            filled = torch.tanh(psi * (alpha - psi * (beta - gamma * psi)))
            return 1 / (1 / self._offset_radius - filled / self._radius)

        return radius(integral.sum(dim=0)), radius(integral[0])

    # -- energies ----------------------------------------------------------------------------------------------

    def _within(self, x: torch.Tensor, born: torch.Tensor, part: slice) -> torch.Tensor:
        """Energy (kJ/mol) by atom of the atoms of one molecule with each other; a pair is shared by its two."""
        left, right, root, weight = self._scaled_factors(x[part], born[part], self._charge[part])
        n = len(weight)
        potential = x.new_zeros(n)
        charge = weight.to(_KERNEL)
        for a, b in self._blocks(0, n):
            kernel = self._kernel(left[a:b] @ right[:, a:], root[a:b], root[a:])
            potential[a:b] += kernel @ charge[a:]
            potential[b:] += charge[a:b] @ kernel[:, b - a :]
        return -0.5 * COULOMB * weight * potential

    def _between(self, x: torch.Tensor, born: torch.Tensor) -> torch.Tensor:
        """Half the energy (kJ/mol) of each receptor atom with the ligand."""
        left, right, root, weight = self._scaled_factors(x, born, self._charge)
        first = self._first
        kernel = self._kernel(left[:first] @ right[:, first:], root[:first], root[first:])
        return -0.5 * COULOMB * weight[:first] * (kernel @ weight[first:].to(_KERNEL))

    def _kernel(self, exponent: torch.Tensor, root: torch.Tensor, other_root: torch.Tensor) -> torch.Tensor:
        """(1/eps_in - exp(-kappa f)/eps_out) sqrt(B_i B_j) / f for a block of pairs.

        ``exponent`` is -z/4 log2(e): torch's exp2 is twice as fast as its exp on a CPU. The roots are of Born radii.
        """
        exponent = exponent.to(_KERNEL)
        inverse = exponent.exp2().sub_(exponent, alpha=4 * _LN2).rsqrt_()
        if self._kappa == 0.0:
            return inverse.mul_(self._inside - self._outside)
        distance = inverse.reciprocal().mul_(root[:, None].to(_KERNEL)).mul_(other_root.to(_KERNEL))
        screening = distance.mul_(-self._kappa / _LN2).exp2_()
        return inverse.mul_(screening.mul_(-self._outside).add_(self._inside))

    @staticmethod
    def _scaled_factors(x: torch.Tensor, born: torch.Tensor, charge: torch.Tensor):
        """Factors of -r^2 / 4 B_i B_j in base 2, the roots of the radii, and charges divided by them."""
        left, right = _factors(x)
        root = born.sqrt()
        return left / (-4 * _LN2 * born[:, None]), right / born, root, charge / root

    # -- housekeeping ------------------------------------------------------------------------------------------

    def _blocks(self, start: int, end: int) -> list[tuple[int, int]]:
        """Ranges of rows so that a block of pairs is of a handy size."""
        pairs = _CPU_PAIRS if self._device.type == "cpu" else _GPU_PAIRS
        rows = max(16, pairs // max(1, self._n))
        return [(a, min(a + rows, end)) for a in range(start, end, rows)]

    def _centred(self, positions: np.ndarray) -> torch.Tensor:
        """Positions about their mean, so that squares of distances lose no digits."""
        positions = np.asarray(positions, dtype=float)
        return self._tensor(positions - positions.mean(axis=0))

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64, device=self._device)

    def _neck_tables(self, topology: app.Topology, atoms: np.ndarray, standard: np.ndarray):
        """Type by atom, and depth and place (types x types) of the neck, as OpenMM interpolates them."""
        force = GBSAGBn2Force()
        try:
            force.addParticles(np.column_stack([np.zeros(self._n), standard]))
        except ValueError as error:
            named = list(topology.atoms())
            bad = next(i for i, r in enumerate(standard[:, 0]) if not 0.1 <= r <= 0.2)
            atom = named[int(atoms[bad])]
            raise StageError(
                "analysis",
                f"GBn2 has no parameters for {atom.element.symbol} (atom {atom.name} of {atom.residue.name}"
                f"{atom.residue.id}): its radius {10 * standard[bad, 0]:.2f} A is not within 1 to 2 A; "
                "score with model obc2",
            ) from error
        force.finalize()
        tables = {
            force.getTabulatedFunctionName(k): force.getTabulatedFunction(k).getFunctionParameters()
            for k in range(force.getNumTabulatedFunctions())
        }
        n, _, depth = tables["getm0"]
        place = tables["getd0"][2]
        kind = [int(force.getParticleParameters(i)[6]) for i in range(self._n)]
        # a Discrete2DFunction has its first argument running fastest
        depth, place = (self._tensor(np.reshape(table, (n, n)).T) for table in (depth, place))
        return torch.as_tensor(kind, device=self._device), depth, place


def _factors(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 5) and (5, n) whose product is the squared distances."""
    square, one = (x * x).sum(dim=1, keepdim=True), torch.ones_like(x[:, :1])
    return torch.cat([-2 * x, square, one], dim=1), torch.cat([x, one, square], dim=1).T.contiguous()


def _pair_integral(r: torch.Tensor, radius: torch.Tensor, scaled: torch.Tensor) -> torch.Tensor:
    """What an atom of offset radius ``radius`` loses to one of ``scaled`` radius at distance ``r`` (1/nm)."""
    upper = (r + scaled).reciprocal_()
    lower = torch.maximum(radius, (r - scaled).abs_()).reciprocal_()
    inverse = r.reciprocal()
    value = (lower - upper).add_((upper * upper - lower * lower) * (r - scaled * scaled * inverse) * 0.25)
    value.add_((upper / lower).log_() * (0.5 * inverse)).mul_(0.5)
    return torch.where(r + scaled > radius, value, torch.zeros_like(value))
