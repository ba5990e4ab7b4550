"""What a user configures: a screen (which matrix, how long, compared with what) and a site (where it runs).

YAML files become typed, unit-checked, frozen settings here, and nowhere else. What needs science to check
(is ``Y538S`` a mutation of ER-alpha, is ``fulvestrnt`` a catalogued ligand) is checked when the screen is
planned, before anything is computed; :meth:`ScreenConfig.where` tells it the line to point at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, field_validator, model_validator

from esr1md.catalogue import did_you_mean, named_file
from esr1md.errors import InputError
from esr1md.settings import ExistingFile, Settings, Structure, load_settings, problem
from esr1md.specs import HelixState
from esr1md.units import Price, UnitError, parse_price

__all__ = [
    "ALL",
    "APO",
    "LigandChoice",
    "LigandFile",
    "PoseOptions",
    "ScreenConfig",
    "Settings",
    "DaskCluster",
    "RayCluster",
    "SiteConfig",
    "SlurmJobs",
    "Thresholds",
    "WorkPool",
    "load_screen",
    "load_settings",
    "load_site",
    "read_price",
]

APO = "apo"
ALL = "all"
BY_CLASS = "by class"
PLATFORMS = ("auto", "CUDA", "HIP", "OpenCL", "CPU", "Reference")
STATES = tuple(str(state) for state in HelixState)

#: What a screen may be called: its results go into a folder of that name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class LigandChoice(Settings):
    """One ligand of a screen: a catalogued name, or the user's own compound by SMILES or SDF file.

    The rest is for the user's own. ``drug_class`` ``agonist`` decides the helix-12 state it starts in by default.
    ``stereo`` says what an open stereocentre means: ``defined`` refuses it and names the choices, since a screen must
    not silently simulate one of two; ``enumerate`` simulates every stereoisomer, as ``NAME (R)`` and ``NAME (S)``.
    ``protonation: as written`` keeps charges and tautomer; by default a molecule drawn with a charge keeps it and a
    neutral one is brought to its dominant state at pH 7.4.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    smiles: str | None = None
    sdf: ExistingFile | None = None
    drug_class: str = ""
    stereo: Literal["defined", "enumerate"] = "defined"
    protonation: Literal["dominant", "as written"] = "dominant"

    @model_validator(mode="before")
    @classmethod
    def read_bare_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def validate_source(self) -> LigandChoice:
        if self.smiles is not None and self.sdf is not None:
            raise problem(f"ligand '{self.name}' has both smiles and sdf", expected="one of them")
        if self.drug_class and self.catalogued:
            raise problem(
                f"drug_class is given for '{self.name}', which has no smiles or sdf",
                do="leave it out: the catalogue knows its class",
            )
        for option in ("stereo", "protonation"):
            if option in self.model_fields_set and self.catalogued:
                raise problem(
                    f"{option} is given for '{self.name}', which has no smiles or sdf",
                    at=(option,),
                    do="leave it out: the catalogue names one state, or give the structure as smiles",
                )
        if self.name.lower() in (APO, ALL, "default"):
            raise problem(
                f"a ligand cannot be called '{self.name}'",
                do="write 'apo: true' for the empty receptor, 'ligands: all' for every catalogued ligand",
            )
        return self

    @property
    def catalogued(self) -> bool:
        """Whether the name is to be looked up in ``ligands/ligands.yaml``."""
        return self.smiles is None and self.sdf is None


class LigandFile(Settings):
    """Every molecule of a file as ligands of a screen, under the names it has there.

    ``file`` is any that ``esr1md ligands prepare`` reads (SMILES, CSV, SDF, Parquet); ``smiles_column`` and
    ``name_column`` are those of a table where they are not found by themselves. A row that cannot be simulated is
    refused with its line; with ``skip_bad`` it is left out, and the plan lists it. The rest is as in
    :class:`LigandChoice`, for all rows alike.
    """

    file: ExistingFile
    smiles_column: str | None = None
    name_column: str | None = None
    drug_class: str = ""
    stereo: Literal["defined", "enumerate"] = "defined"
    protonation: Literal["dominant", "as written"] = "dominant"
    skip_bad: bool = False


def _kind_of_entry(entry: Any) -> str:
    is_file = isinstance(entry, LigandFile) or (isinstance(entry, dict) and "file" in entry)
    return "file of ligands" if is_file else "one ligand"


#: One ligand, or a file of them.
LigandEntry = Annotated[
    Annotated[LigandChoice, Tag("one ligand")] | Annotated[LigandFile, Tag("file of ligands")],
    Discriminator(_kind_of_entry),
]


class Thresholds(Settings):
    """From which loss a verdict says weakened, and from which lost (see :mod:`esr1md.scoring.verdicts`).

    ``minimum_production_ps`` is the production per replica below which no verdict is given at all: an interval
    over replicas that never left their starting structure is narrow, and wrong about everything slower.
    """

    weakened_kcal: Annotated[float, Field(gt=0)] = 1.0
    lost_kcal: Annotated[float, Field(gt=0)] = 4.0
    helix12_weakened_angstrom: Annotated[float, Field(gt=0)] = 1.0
    helix12_lost_angstrom: Annotated[float, Field(gt=0)] = 4.0
    minimum_production_ps: Annotated[float, Field(ge=0)] = 1000.0

    @model_validator(mode="after")
    def validate_order(self) -> Thresholds:
        for weakened in ("weakened_kcal", "helix12_weakened_angstrom"):
            lost = weakened.replace("weakened", "lost")
            low, high = getattr(self, weakened), getattr(self, lost)
            if not low < high:
                raise problem(
                    f"{weakened} ({low:g}) is not below {lost} ({high:g})",
                    at=(lost,) if lost in self.model_fields_set else (weakened,),
                )
        return self


class Weights(Settings):
    """What each criterion counts in the weighted rank and whether it counts for the Pareto front (0: not).

    ``binding`` is the mean relative binding over the variants, ``helix12`` how far helix 12 is kept from the active
    place, ``resistance`` how little the worst mutant weakens binding (see :mod:`esr1md.scoring.priorities`).
    """

    binding: Annotated[float, Field(ge=0)] = 1.0
    helix12: Annotated[float, Field(ge=0)] = 1.0
    resistance: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def validate_any(self) -> Weights:
        if not any(self.as_tuple()):
            raise problem("every weight is 0", expected="at least one above 0")
        return self

    def as_tuple(self) -> tuple[float, float, float]:
        """In the order of the criteria: binding, helix 12, resistance."""
        return self.binding, self.helix12, self.resistance


class Transfers(Settings):
    """Which relative free energies ``method: atm`` computes (:mod:`esr1md.screen.transfers`).

    ``edges`` are pairs of ligands, or ``reference``: the reference ligand of each state with every other one there.
    ``repeats`` of each share the seeds of the first replicas. ``sampling`` takes the keys of
    :class:`esr1md.dynamics.atm.Transfer`.
    """

    edges: Literal["reference"] | Annotated[tuple[tuple[str, str], ...], Field(min_length=1)] = "reference"
    repeats: Annotated[int, Field(ge=1, le=100)] = 3
    sampling: dict[str, Any] = {}


class PoseOptions(Settings):
    """How ligands are placed (:func:`esr1md.poses.place.place_ligand`).

    ``seed`` is that of the conformers; ``exclude`` names ligands whose crystal poses are not to be started
    from, to see what a placement is worth for a ligand without a crystal. ``poses`` is how many of the up to five
    poses of a ligand are simulated: replicas take them in turn, the first seed the best.
    """

    seed: Annotated[int, Field(ge=1)] = 1
    exclude: tuple[str, ...] = ()
    poses: Annotated[int, Field(ge=1, le=5)] = 1


class ScreenConfig(Settings):
    """A screen: the variant x ligand x helix-12-state matrix, how it is simulated and judged.

    Attributes
    ----------
    name, description
        The name is that of the results' folder.
    variants
        ``WT``, ``Y537S``, ``D538G+F404L`` ...; the wild type is what mutants are compared with.
    ligands
        Names, users' compounds, files of compounds, or ``all``: every catalogued ligand with a structure.
    apo
        Whether the receptor without a ligand is simulated too (a control).
    states
        Starting helix-12 state or states of a ligand by its name; of ``apo``; and of all others, ``default``:
        a state, or ``by class`` (class agonist starts agonist, every other class antagonist).
    protocol, replicas, first_seed
        Protocol by name or path; seeds are ``first_seed`` and up, the same for every cell.
    reference_ligand
        The ligand that relative binding is measured against: one name, or one for each state.
    site, platform
        Where it runs (``configs/sites/``) and on which OpenMM platform; ``auto`` probes for the fastest.
    receptors
        The user's own starting structure for a state (PDB or mmCIF file, or a PDB id), instead of the bundled model.
    charges
        Of the ligands' atoms: ``nagl``, or ``am1bcc`` (minutes for a ligand that ``ligands/am1bcc`` lacks).
    method, transfers
        ``mmgbsa``, or ``atm``: relative free energies by alchemical transfer as well, see :class:`Transfers`.
    thresholds, weights, pose
        See :class:`Thresholds`, :class:`Weights` and :class:`PoseOptions`.
    """

    name: str
    description: str = ""
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    ligands: Literal["all"] | Annotated[tuple[LigandEntry, ...], Field(min_length=1)]
    apo: bool = False
    states: dict[str, tuple[HelixState, ...] | Literal["by class"]] = {}
    protocol: str
    replicas: Annotated[int, Field(ge=1, le=1000)]
    first_seed: Annotated[int, Field(ge=1, le=2**31 - 1001)] = 1
    reference_ligand: str | dict[HelixState, str] | None = None
    site: str = "local"
    platform: str = "auto"
    receptors: dict[HelixState, Structure] = {}
    charges: Literal["nagl", "am1bcc"] = "nagl"
    method: Literal["mmgbsa", "atm"] = "mmgbsa"
    transfers: Transfers = Transfers()
    thresholds: Thresholds = Thresholds()
    weights: Weights = Weights()
    pose: PoseOptions = PoseOptions()

    # -- reading what users write ------------------------------------------------------------------------

    @field_validator("name")
    @classmethod
    def validate_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise problem(f"name '{name}' cannot name a folder", expected="letters, digits, '.', '-' and '_'")
        return name

    @field_validator("variants", mode="before")
    @classmethod
    def read_variants(cls, value: Any) -> Any:
        return read_text_list(value, "variant", "Y537S")

    @field_validator("ligands", mode="before")
    @classmethod
    def read_ligands(cls, value: Any) -> Any:
        if value == ALL:
            return value
        if not isinstance(value, list | tuple):
            raise problem(f"ligands is '{value}'", expected="a list of ligands, or 'all'")
        for index, item in enumerate(value):
            if not isinstance(item, str | dict | LigandChoice | LigandFile):
                raise problem(
                    f"ligand {item!r} is neither a name nor a mapping",
                    at=(index,),
                    expected="a name, or {name: ..., smiles: ...}, {name: ..., sdf: ...} or {file: ...}",
                )
        # validated here, so that an error in an item is not also reported as "not 'all'"
        return tuple(value)

    @field_validator("states", mode="before")
    @classmethod
    def read_states(cls, value: Any) -> Any:
        if isinstance(value, str | list):
            value = {"default": value}
        if not isinstance(value, dict):
            raise problem("states is not a mapping", expected="ligand name: state, with 'default' and 'apo'")
        return {str(name): _read_state_list(str(name), written) for name, written in value.items()}

    @field_validator("platform")
    @classmethod
    def read_platform(cls, value: str) -> str:
        return read_platform(value)

    # -- checks that need no science ---------------------------------------------------------------------

    @model_validator(mode="after")
    def validate_unique(self) -> ScreenConfig:
        entries = {
            "variants": list(enumerate(self.variants)),
            "ligands": [(i, each.name) for i, each in enumerate(self.ligands) if isinstance(each, LigandChoice)],
        }
        for key, given in entries.items():
            first: dict[str, int] = {}
            for index, name in given:
                if (seen := first.setdefault(name.lower(), index)) != index:
                    raise problem(
                        f"{key.removesuffix('s')} '{name}' is given twice (also as number {seen + 1})",
                        at=(key, index),
                        do="remove one of them",
                    )
        return self

    @model_validator(mode="after")
    def validate_states(self) -> ScreenConfig:
        if self.states.get(APO) == BY_CLASS:
            raise problem("apo has no class", at=("states", APO), expected=f"one of {', '.join(STATES)}")
        known = self.ligand_names
        for name in self.states if known is not None else ():
            if name not in (APO, "default", *known):
                raise problem(
                    f"states names '{name}', which is not a ligand of this screen",
                    at=("states", name),
                    expected=f"one of default, apo, {', '.join(known)}",
                    do=did_you_mean(name, ["default", APO, *known]),
                )
        return self

    @model_validator(mode="after")
    def validate_reference(self) -> ScreenConfig:
        known = self.ligand_names
        if known is None:
            return self
        by_state = isinstance(self.reference_ligand, dict)
        references = self.reference_ligand if by_state else {None: self.reference_ligand}
        several = tuple(f"{choice.name} (" for choice in self.ligands if choice.stereo == "enumerate")
        for state, name in references.items():
            if name is not None and name not in known and not (several and name.startswith(several)):
                at = ("reference_ligand", str(state)) if by_state else ("reference_ligand",)
                raise problem(
                    f"reference_ligand '{name}' is not a ligand of this screen",
                    at=at,
                    expected=f"one of {', '.join(known)}",
                    do=did_you_mean(name, known),
                )
        return self

    # -- what the plan asks ------------------------------------------------------------------------------

    def on_platform(self, platform: str) -> ScreenConfig:
        """The same screen on another OpenMM platform, as the command line may ask.

        Raises
        ------
        InputError
            OpenMM knows no such platform.
        """
        return self.model_copy(update={"platform": read_platform(platform, InputError)})

    def on_site(self, site: str | Path) -> ScreenConfig:
        """The same screen at another site, by name or path, as the command line may ask.

        Raises
        ------
        InputError
            There is no such site, or its file cannot be used.
        """
        load_site(site)
        path = named_file("sites", site)
        return self.model_copy(update={"site": str(site) if path.stem == str(site) else str(path.resolve())})

    @property
    def ligand_names(self) -> tuple[str, ...] | None:
        """Names as the user wrote them; ``None`` when the screen takes all of the catalogue or of a file."""
        if self.ligands == ALL or any(isinstance(entry, LigandFile) for entry in self.ligands):
            return None
        return tuple(ligand.name for ligand in self.ligands)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds every cell is simulated with, so that variants can be compared in pairs."""
        return tuple(range(self.first_seed, self.first_seed + self.replicas))

    def states_of(self, ligand: str, drug_class: str = "") -> tuple[HelixState, ...]:
        """The states a ligand (or ``apo``) starts in.

        Parameters
        ----------
        ligand
            Name as in the screen, or ``apo``.
        drug_class
            From the catalogue; ``agonist`` starts in the agonist state where the default is ``by class``.
        """
        written = self.states.get(ligand)
        if written is None and ligand == APO:
            return (HelixState.AGONIST,)
        if written is None:
            written = self.states.get("default", BY_CLASS)
        if written == BY_CLASS:
            return (HelixState.AGONIST if drug_class == "agonist" else HelixState.ANTAGONIST,)
        return written

    def reference_for(self, state: HelixState) -> str | None:
        """The ligand that relative binding in this state is measured against, if there is one."""
        if isinstance(self.reference_ligand, dict):
            return self.reference_ligand.get(state)
        return self.reference_ligand


class DaskCluster(Settings):
    """A Dask cluster: the ``address`` of its scheduler, or none for one on this machine that lasts as long as a run."""

    address: str | None = None


class SlurmJobs(Settings):
    """What each Slurm job asks for; ``jobs`` of them run at most, and new ones follow those that end.

    ``environment`` are shell lines that come before the worker starts (``module load cuda``), ``directives`` further
    ``#SBATCH`` options (``--constraint=a100``). ``margin_minutes`` before ``wall_time_minutes`` are
    over, the replicas of a job leave a checkpoint and are given to another job.
    """

    partition: str | None = None
    account: str | None = None
    jobs: Annotated[int, Field(ge=1, le=10_000)] = 1
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    cores: Annotated[int, Field(ge=1, le=1024)] = 1
    memory_gb: Annotated[float, Field(gt=0)] = 8.0
    wall_time_minutes: Annotated[int, Field(ge=2)] = 240
    margin_minutes: Annotated[float, Field(gt=0)] = 5.0
    environment: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    interface: str | None = None

    @model_validator(mode="after")
    def validate_margin(self) -> SlurmJobs:
        if not self.margin_minutes < self.wall_time_minutes:
            raise problem(
                f"margin_minutes ({self.margin_minutes:g}) is not below wall_time_minutes ({self.wall_time_minutes})",
                at=("margin_minutes",),
            )
        for name in ("environment", "directives"):
            for index, line in enumerate(getattr(self, name)):
                if "\n" in line:
                    raise problem(f"{name} has a line break in it", at=(name, index), expected="one line each")
        return self


class RayCluster(Settings):
    """A Ray cluster by ``address`` (``auto``: the one of this machine), or none for one that lasts as long as the run.

    ``gpus`` of each simulation, a share such as 0.25 where several fit; 0 on the CPU.
    """

    address: str | None = None
    gpus: Annotated[float, Field(ge=0, le=64)] = 0.0


class WorkPool(Settings):
    """A Prefect work pool (processes, Kubernetes ...): ``members`` runs of the deployment share the screen.

    ``job_variables`` override those of the work pool's job template, in the runs that are added.
    """

    deployment: str = "screen/screen"
    members: Annotated[int, Field(ge=1, le=1000)] = 1
    job_variables: dict[str, Any] = {}


def read_price(text: str, where: str) -> Price:
    """What an hour costs, as the command line may say; ``InputError`` for what is no price."""
    try:
        return parse_price(text)
    except UnitError as error:
        raise InputError(error.what, where=where, expected=error.expected) from None


def _price(value: Any) -> Price:
    if isinstance(value, Price):
        return value
    try:
        return parse_price(str(value))
    except UnitError as error:
        raise problem(error.what, expected=error.expected) from None


class SiteConfig(Settings):
    """Where a screen runs, and how its simulations share a machine; ``auto`` fits the machine.

    Attributes
    ----------
    kind
        ``local``: this machine; ``dask``, ``slurm``, ``ray``: others work for this one, which hands the steps out;
        ``prefect``: several equal runs of the deployed flow, wherever a Prefect work pool starts them.
    workers
        Simulations at once on a machine, on all its GPUs together; ``auto``: one for each CPU core, or ``per_gpu`` on
        each GPU.
    threads
        CPU threads of each; ``auto`` divides the cores.
    per_gpu
        Simulations that share a GPU; ``auto`` takes what ``esr1md bench`` has measured for the protocol, else a guess.
    mps
        Whether NVIDIA's multi-process service is started where it can be and several simulations share a GPU; ``false``
        keeps the simulations from one that the machine runs, too.
    platform
        OpenMM platform of the machines that work, where the screen leaves it to us.
    price
        Of an hour of a GPU or of a core, for what a plan says it will cost: ``2.50 USD per GPU hour``.
    silent_minutes
        A replica that reports no progress for so long hangs: it is ended and tried again.
    dask, slurm, ray, prefect
        What the kind of that name is told.
    """

    name: str
    description: str = ""
    kind: Literal["local", "dask", "slurm", "ray", "prefect"] = "local"
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    per_gpu: Literal["auto"] | Annotated[int, Field(ge=1, le=48)] = "auto"  # 48: clients of one MPS server
    mps: bool = True
    platform: str = "auto"
    price: Annotated[Price, BeforeValidator(_price), PlainSerializer(str)] | None = None
    silent_minutes: Annotated[float, Field(gt=0)] = 60.0
    dask: DaskCluster = DaskCluster()
    slurm: SlurmJobs = SlurmJobs()
    ray: RayCluster = RayCluster()
    prefect: WorkPool = WorkPool()

    @field_validator("platform")
    @classmethod
    def read_platform(cls, value: str) -> str:
        return read_platform(value)

    @model_validator(mode="after")
    def validate_sharing(self) -> SiteConfig:
        if self.workers != "auto" and self.per_gpu != "auto":
            raise problem(
                f"workers ({self.workers}) and per_gpu ({self.per_gpu}) are both given",
                at=("per_gpu",),
                expected="one of them",
                do="workers is all simulations at once, per_gpu those on each GPU",
            )
        return self

    @model_validator(mode="after")
    def validate_kind(self) -> SiteConfig:
        for kind in ("dask", "slurm", "ray", "prefect"):
            if kind in self.model_fields_set and kind != self.kind:
                raise problem(
                    f"'{kind}' is given for a site of kind '{self.kind}'",
                    at=(kind,),
                    do=f"write 'kind: {kind}', or leave it out",
                )
        return self

    @model_validator(mode="after")
    def validate_platform(self) -> SiteConfig:
        if self.elsewhere and self.platform == "auto":
            raise problem(
                f"a site of kind '{self.kind}' does not say which platform its machines have",
                at=("kind",),
                expected=f"'platform: CUDA', or another of {', '.join(PLATFORMS[1:])}",
            )
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether other machines than this one do the work, which cannot be probed from here."""
        cluster = {"dask": self.dask.address, "ray": self.ray.address, "slurm": "slurm"}
        return cluster.get(self.kind) is not None

    @property
    def slots_each(self) -> int:
        """Simulations at once on one machine or in one Slurm job, from what is written alone."""
        if self.workers != "auto":
            return self.workers
        if self.kind == "slurm" and self.slurm.gpus:
            return self.slurm.gpus * (self.per_gpu if self.per_gpu != "auto" else min(4, self.slurm.cores))
        return self.slurm.cores if self.kind == "slurm" else 1


def load_screen(name_or_path: str | Path) -> ScreenConfig:
    """Read a screen by its name in ``configs/screens/`` or by the path of a YAML file.

    Raises
    ------
    InputError
        Unknown name, unreadable file, unknown key or a value that cannot be, with file and line.
    """
    return load_settings(named_file("screens", name_or_path), ScreenConfig)


def load_site(name_or_path: str | Path) -> SiteConfig:
    """Read a site by its name in ``configs/sites/`` or by path; raises as :func:`load_screen`."""
    return load_settings(named_file("sites", name_or_path), SiteConfig)


def read_platform(value: str, refuse: Callable[..., Exception] = problem) -> str:
    """The name of an OpenMM platform, or ``auto``, in whatever case it is written; ``refuse`` makes the error."""
    by_lower = {name.lower(): name for name in PLATFORMS}
    if value.lower() not in by_lower:
        raise refuse(
            f"unknown platform '{value}'",
            expected=f"one of {', '.join(PLATFORMS)}",
            do=did_you_mean(value, PLATFORMS),
        )
    return by_lower[value.lower()]


def read_text_list(value: Any, what: str, example: str) -> tuple[str, ...]:
    """A list of non-empty texts, or a problem that names the item which is not one."""
    if not isinstance(value, list | tuple):
        raise problem(f"'{value}' is not a list of {what}s", expected=f"a list, such as [{example}]")
    for index, item in enumerate(value):
        if not isinstance(item, str) or not item.strip():
            raise problem(f"{what} {item!r} is not text", at=(index,), expected=f"a name such as {example}")
    return tuple(item.strip() for item in value)


def _read_state_list(name: str, written: Any) -> Any:
    """``agonist`` or ``[agonist, antagonist]`` as a tuple of states; ``by class`` stays as it is."""
    if written == BY_CLASS:
        return BY_CLASS
    listed = written if isinstance(written, list | tuple) else [written]
    if not listed:
        raise problem(f"no state for '{name}'", at=(name,), expected=f"one or more of {', '.join(STATES)}")
    for state in listed:
        if state not in STATES:
            raise problem(
                f"'{state}' is not a helix-12 state",
                at=(name,),
                expected=f"one of {', '.join(STATES)}, or '{BY_CLASS}'",
                do=did_you_mean(str(state), STATES),
            )
    if len(set(listed)) < len(listed):
        raise problem(f"a state is given twice for '{name}'", at=(name,), do="remove one of them")
    return tuple(HelixState(state) for state in listed)
