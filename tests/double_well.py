"""A particle in a double well whose free energy along s is known: what the helix-12 bias is tested on.

Particle 0 stands for helix 12; 1 and 2, of mass 0 on the x axis, for the anchors. Between them s = x.
"""

from __future__ import annotations

import numpy as np
import openmm

from esr1md.dynamics.helix12_bias import Bias, Helix12Bias, Line

TEMPERATURE, STEP_FS = 300.0, 20.0
#: Where the wells are in s (angstrom); the analysis is told so.
BASINS = ((-4.4, -1.9), (1.9, 4.4))
SETTINGS = Helix12Bias(height_kcal=0.15, width_angstrom=0.3, bias_factor=8, deposit_ps=0.4)

GROUPS = ([0], [1], [2])

_WELL_NM, _BARRIER_KJ, _ANCHOR_NM = 0.315, 4 * 4.184, 0.925
LINE = Line(((0, 1), (0, 2)), (_ANCHOR_NM, _ANCHOR_NM), (0.5, -0.5))


def potential_kcal(s_angstrom: np.ndarray, tilt_kcal: float) -> np.ndarray:
    """Energy along s; the right well lies about ``tilt_kcal`` above the left."""
    x = s_angstrom / 10
    return (_BARRIER_KJ * ((x / _WELL_NM) ** 2 - 1) ** 2) / 4.184 + tilt_kcal * x / (2 * _WELL_NM)


def system(tilt_kcal: float = 0.0, periodic: bool = False) -> openmm.System:
    system = openmm.System()
    for mass in (40.0, 0.0, 0.0):
        system.addParticle(mass)
    slope = tilt_kcal * 4.184 / (2 * _WELL_NM)
    well = openmm.CustomExternalForce(f"{_BARRIER_KJ}*((x/{_WELL_NM})^2-1)^2+{slope}*x+2000*(y^2+z^2)")
    well.addParticle(0, [])
    system.addForce(well)
    if periodic:
        system.setDefaultPeriodicBoxVectors(*np.eye(3) * 5.0)
        nothing = openmm.NonbondedForce()
        nothing.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        for _ in range(3):
            nothing.addParticle(0.0, 1.0, 0.0)
        system.addForce(nothing)
    return system


class Run:
    """The double well under the bias, in a context on the Reference platform; starts in the left well.

    All Reference contexts of a process share one generator of random numbers: run one after the other.
    """

    def __init__(
        self, seed: int = 1, tilt_kcal: float = 0.0, settings: Helix12Bias = SETTINGS, per_step: int = 1
    ) -> None:
        system_ = system(tilt_kcal)
        self.bias = Bias(
            system_, GROUPS, LINE, settings, temperature_kelvin=TEMPERATURE, time_step_fs=STEP_FS
        )  # fmt: skip
        self.integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 2.0, STEP_FS / 1000 / per_step)
        self.integrator.setRandomNumberSeed(seed)
        self.context = openmm.Context(system_, self.integrator, openmm.Platform.getPlatformByName("Reference"))
        self.put(-_WELL_NM)
        self.context.setVelocitiesToTemperature(TEMPERATURE, seed)
        self.per_step = per_step

    def put(self, x_nm: float, y_nm: float = 0.0) -> None:
        self.context.setPositions([[x_nm, y_nm, 0], [-_ANCHOR_NM, 0, 0], [_ANCHOR_NM, 0, 0]])

    def step(self, steps: int) -> None:
        self.bias.step(self.context, self.integrator, steps, self.per_step)

    def positions(self) -> np.ndarray:
        return self.context.getState(positions=True).getPositions(asNumpy=True)._value.copy()
