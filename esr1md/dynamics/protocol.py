"""A simulation protocol is a list of stages as data.

The YAML files are in ``configs/protocols/``; a user's own is given by path. Quantities are in the units
chemists write (angstrom, ps, kelvin, kcal/mol), named in each key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from esr1md.catalogue import named_file
from esr1md.config import Settings, load_settings
from esr1md.dynamics.helix12_bias import Helix12Bias

Positive = Annotated[float, Field(gt=0)]

#: The heaviest step (fs) that is stable with bonds to hydrogen constrained and hydrogens of 1.008 Da.
LONGEST_STEP_LIGHT_FS = 2.0
#: The same once hydrogens weigh at least 3 Da (hydrogen mass repartitioning, Hopkins 2015, doi 10.1021/ct5010406).
LONGEST_STEP_HEAVY_FS = 4.0


#: Selections that have a name; any other is MDTraj's atom selection language.
NAMED_SELECTIONS = ("solute-heavy", "protein-heavy", "protein-backbone", "ligand-heavy")


class Restraint(Settings):
    """Harmonic restraint of a selection to its positions at the start of the run (``k`` in kcal/mol/A^2).

    ``selection`` is one of :data:`NAMED_SELECTIONS` or MDTraj's atom selection language, in which ``residue`` is
    the P03372 number: ``residue 537 to 544 and name CA``.
    """

    selection: str
    kcal_per_angstrom2: Positive

    @field_validator("selection")
    @classmethod
    def validate_selection(cls, value: str) -> str:
        if value not in NAMED_SELECTIONS:
            from mdtraj.core.selection import parse_selection

            try:
                parse_selection(value)
            except Exception as error:
                raise ValueError(
                    f"selection '{value}' is neither one of {', '.join(NAMED_SELECTIONS)} nor an MDTraj selection "
                    "such as 'residue 537 to 544 and name CA'"
                ) from error
        return value


class Minimise(Settings):
    """Energy minimisation; ``solvent: false`` leaves implicit solvent out, which is eight times cheaper on a CPU."""

    kind: Literal["minimise"]
    iterations: Annotated[int, Field(ge=1, le=100_000)]
    solvent: bool = True
    restrain: Restraint | None = None


class Heat(Settings):
    """Langevin dynamics with the thermostat raised linearly from ``from_kelvin`` to the protocol's temperature."""

    kind: Literal["heat"]
    from_kelvin: Positive = 50.0
    duration_ps: Positive
    restrain: Restraint | None = None


class Equilibrate(Settings):
    """Dynamics whose frames are not kept; in explicit solvent the barostat is on."""

    kind: Literal["equilibrate"]
    duration_ps: Positive
    restrain: Restraint | None = None


class Produce(Settings):
    """Dynamics whose frames are kept, one every ``frame_ps``.

    With ``helix12_bias`` helix 12 is driven between its places by metadynamics
    (:mod:`~esr1md.dynamics.helix12_bias`); such frames are biased, so they give a free energy and no score.
    """

    kind: Literal["produce"]
    duration_ps: Positive
    frame_ps: Positive
    helix12_bias: Helix12Bias | None = None

    @model_validator(mode="after")
    def validate_frames(self) -> "Produce":
        if self.frame_ps > self.duration_ps:
            raise ValueError(
                f"frame_ps {self.frame_ps:g} is longer than duration_ps {self.duration_ps:g}: no frame would be kept"
            )
        return self


Stage = Annotated[Minimise | Heat | Equilibrate | Produce, Field(discriminator="kind")]


class Solvent(Settings):
    """How water is represented.

    ``obc2`` is OpenMM's native ``GBSAOBCForce`` (Onufriev, Bashford, Case 2004), ``gbn2`` the igb=8 model
    (Nguyen 2013) as a custom force for GPUs; ``tip3p``, ``tip3p-fb`` (Wang 2014) and ``opc`` (Izadi 2014, four
    sites) are explicit water with PME.
    """

    model: Literal["obc2", "gbn2", "tip3p", "tip3p-fb", "opc"]
    cutoff_angstrom: Annotated[float, Field(ge=5, le=100)] | None = None
    padding_angstrom: Positive = 10.0
    ionic_strength_molar: Annotated[float, Field(ge=0)] = 0.15

    @property
    def explicit(self) -> bool:
        return self.model in ("tip3p", "tip3p-fb", "opc")

    @model_validator(mode="after")
    def validate_cutoff(self) -> "Solvent":
        if self.explicit and self.cutoff_angstrom is None:
            raise ValueError("explicit solvent needs cutoff_angstrom (9 to 10 is usual with PME)")
        return self


class Region(Settings):
    """Which part of the receptor is simulated: a pocket-centred region instead of the whole domain.

    Residues within ``mobile_angstrom`` of the ligand's reference volume, and ``helix12`` (first and last
    residue), move. Residues within ``shell_angstrom`` of those are present but fixed; the rest is left out
    of the forces and stays at its model position in every frame.
    """

    mobile_angstrom: Positive = 4.0
    shell_angstrom: Positive = 3.0
    helix12: tuple[int, int] = (527, 550)

    @field_validator("helix12")
    @classmethod
    def validate_helix12(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 305 <= value[0] < value[1] <= 554:
            raise ValueError(f"helix12 {list(value)} is not a residue range within 305-554")
        return value


class Scoring(Settings):
    """Which frames MM/GBSA scores, in how much of the receptor, and how.

    ``receptor: simulated`` scores the simulated region only, ``whole`` the whole domain. ``model`` and ``salt_molar``
    are the generalised Born model's, whatever the simulation's solvent. ``entropy: interaction`` adds the interaction
    entropy of each replica (:func:`esr1md.analysis.mmgbsa.interaction_entropy`) to its binding energy. ``trajectories:
    three`` gives the free energy of each scored frame's solute as well, apo or not
    (:mod:`esr1md.analysis.three_trajectory`).
    """

    frames: Annotated[int, Field(ge=1)] = 50
    receptor: Literal["simulated", "whole"] = "whole"
    solute_dielectric: Positive = 1.0
    solvent_dielectric: Positive = 78.5
    model: Literal["obc2", "gbn2"] = "obc2"
    salt_molar: Annotated[float, Field(ge=0, le=5)] = 0.0
    entropy: Literal["none", "interaction"] = "none"
    trajectories: Literal["single", "three"] = "single"

    @model_validator(mode="after")
    def validate_trajectories(self) -> "Scoring":
        if self.entropy == "interaction" and self.frames < 2:
            raise ValueError("entropy 'interaction' is a scatter between frames: frames must be at least 2")
        if self.trajectories == "three" and self.receptor == "simulated":
            raise ValueError("trajectories 'three' needs receptor 'whole': a region has other atoms without the ligand")
        return self

    @model_serializer(mode="wrap")
    def leave_out_later_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what came later and is not used, so that a protocol keeps its identity and its replicas."""
        later = {name: type(self).model_fields[name].default for name in _LATER_SCORING}
        return {name: value for name, value in dump(self).items() if name not in later or value != later[name]}


#: Keys of ``scoring`` that are younger than replicas that people have.
_LATER_SCORING = ("model", "salt_molar", "entropy", "trajectories")


class Protocol(Settings):
    """A named list of stages with its force field, solvent and scoring."""

    name: str
    description: str = ""
    protein: Literal["amber14SB", "amber19SB"] = "amber14SB"
    ligand: Literal["gaff2-nagl"] = "gaff2-nagl"
    solvent: Solvent
    region: Region | None = None
    temperature_kelvin: Annotated[float, Field(ge=100, le=1000)] = 300.0
    friction_per_ps: Positive = 1.0
    time_step_fs: Annotated[float, Field(ge=0.1)] = 4.0
    hydrogen_mass_dalton: Annotated[float, Field(ge=1.0, le=5.0)] = 3.0
    pressure_bar: Positive = 1.0
    stages: tuple[Stage, ...]
    scoring: Scoring = Scoring()

    @model_validator(mode="after")
    def validate_timestep(self) -> "Protocol":
        longest = LONGEST_STEP_HEAVY_FS if self.hydrogen_mass_dalton >= 3.0 else LONGEST_STEP_LIGHT_FS
        if self.time_step_fs > longest:
            raise ValueError(
                f"time_step_fs {self.time_step_fs:g} is unstable with hydrogen_mass_dalton "
                f"{self.hydrogen_mass_dalton:g}: at most {longest:g} fs (4 fs needs at least 3 Da)"
            )
        return self

    @model_validator(mode="after")
    def validate_stages(self) -> "Protocol":
        produce = [stage for stage in self.stages if stage.kind == "produce"]
        if len(produce) != 1 or self.stages[-1].kind != "produce":
            raise ValueError("a protocol needs exactly one produce stage, as its last stage")
        if self.region is not None and self.solvent.explicit:
            raise ValueError("region is for implicit solvent: a fixed shell cannot stand in for a water box")
        if self.region is not None and self.production.helix12_bias is not None:
            raise ValueError("helix12_bias needs the whole domain: helix 12 leaves the region; take region out")
        if self.region is None and self.scoring.receptor == "simulated":
            raise ValueError("scoring.receptor 'simulated' needs a region; without one write 'whole'")
        return self

    @property
    def production(self) -> Produce:
        return self.stages[-1]

    @property
    def dynamics_ps(self) -> float:
        """Simulated time of one replica (ps), all stages together."""
        return sum(stage.duration_ps for stage in self.stages if stage.kind != "minimise")

    def steps(self, duration_ps: float) -> int:
        """Number of time steps in a duration, at least one."""
        return max(1, round(duration_ps * 1000 / self.time_step_fs))


def load_protocol(name_or_path: str) -> Protocol:
    """Read a protocol by its name in ``configs/protocols/`` or by the path of a YAML file.

    Raises
    ------
    InputError
        Unknown name, unreadable file, unknown key or a value that cannot be, with file and line.
    """
    return load_settings(named_file("protocols", name_or_path), Protocol)
