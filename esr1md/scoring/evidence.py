"""What is published: measured values, ordinal claims, clinical results, how ESR1 mutations are distributed.

The records are typed and checked when they are read (``ligands/measurements.yaml``, ``claims.yaml``, ``clinical.yaml``;
``structures/measurements.yaml``, ``populations.yaml``; mechanisms and the frequencies as printed are in
``structures/variants.yaml``). Values of different datasets are never pooled. Clinical results stand beside a ligand for
context; nothing in this package computes with them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from esr1md.catalogue import data_path, did_you_mean
from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.receptor.variants import Frequency, Mechanism, variant_entries
from esr1md.scoring.population import Confidence, Populations, read_variant, refuse_repeats
from esr1md.scoring.scores import Record
from esr1md.settings import Settings, load_settings, problem
from esr1md.specs import HelixState

APO = "apo"
Kind = Literal["binding", "coactivator", "function", "degradation", "stability", "structure"]
Quantity = Literal[
    "binding_kcal", "helix12_angstrom", "h12_rmsd_agonist_angstrom", "h12_rmsd_antagonist_angstrom", "h12_helicity",
    "h12_rmsf_angstrom", "loop_rmsf_angstrom", "loop_end_to_end_angstrom", "latch_537_351_angstrom",
    "latch_537_348_angstrom", "latch_537_380_angstrom", "ligand_n_d351_angstrom", "h12_fraction_agonist",
    "h12_fraction_antagonist", "h12_fraction_displaced",
]  # fmt: skip

#: Quantities that a lower value of means tighter binding, and the one where a higher does.
_LOWER_IS_TIGHTER, _HIGHER_IS_TIGHTER = ("Kd", "Ki", "IC50", "IC50 binding"), ("RBA",)


def _known_ligand(name: str) -> str:
    known = [entry.name for entry in catalogue_entries()]
    if name != APO and name not in known:
        raise problem(f"unknown ligand '{name}'", expected="a name of ligands.yaml, or apo",
                      do=did_you_mean(name, known))  # fmt: skip
    return name


# -- measured values ----------------------------------------------------------------------------------------


class AffinityValue(Settings):
    """One published number.

    Attributes
    ----------
    ligand, variant
        Names of the catalogues (``apo``: no ligand); ``ligand_text`` and ``variant_text`` where it is no single one.
    quantity, unit
        ``Kd`` in ``nM``, ``RBA`` in ``% of E2`` ...
    value, relation, error
        The number, how it is meant and its error as printed; ``value_text`` where there is no number.
    kind
        What the assay says something about; only ``binding`` is compared with scores.
    assay, cell_line, confidence
        Of the dataset unless the value has its own.
    """

    ligand: str = ""
    ligand_text: str = ""
    variant: str = ""
    variant_text: str = ""
    quantity: str
    value: float | None = None
    value_text: str = ""
    unit: str = ""
    relation: Literal["=", "~", "<=", ">=", "none detected"] = "="
    error: Annotated[float, Field(gt=0)] | None = None
    kind: Kind
    assay: str = ""
    cell_line: str = ""
    confidence: Confidence
    notes: str = ""

    @model_validator(mode="after")
    def check_one_of_each(self) -> AffinityValue:
        for name in ("ligand", "variant", "value"):
            given = [key for key in (name, f"{name}_text") if getattr(self, key) not in ("", None)]
            if len(given) != 1:
                what = f"both {name} and {name}_text are given" if given else f"neither {name} nor {name}_text is given"
                raise problem(what, at=tuple(given[1:]), expected="one of the two")
        return self

    @field_validator("ligand")
    @classmethod
    def check_ligand(cls, name: str) -> str:
        return _known_ligand(name) if name else name

    @field_validator("variant")
    @classmethod
    def check_variant(cls, name: str) -> str:
        return read_variant(name) if name else name

    @property
    def log_affinity(self) -> float | None:
        """log10 of the value with the sign that makes lower bind tighter; ``None`` where that cannot be said."""
        exact = self.kind == "binding" and self.relation == "=" and self.value and self.ligand not in ("", APO)
        if not exact or not self.variant or self.quantity not in _LOWER_IS_TIGHTER + _HIGHER_IS_TIGHTER:
            return None
        return math.log10(self.value) * (1 if self.quantity in _LOWER_IS_TIGHTER else -1)


class Dataset(Settings):
    """Values of one paper and table (or assay): the only values that may be compared with each other.

    ``via`` says where they were read, if not in the source. ``kind``, ``assay``, ``cell_line`` and ``confidence``
    hold for every value that does not say otherwise.
    """

    name: str
    source: Annotated[str, Field(min_length=1)]
    doi: str = ""
    via: str = ""
    kind: Kind
    assay: str = ""
    cell_line: str = ""
    confidence: Confidence
    notes: str = ""
    values: Annotated[tuple[AffinityValue, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def fill_values(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("values"), list):
            return data
        common = {key: data[key] for key in ("kind", "assay", "cell_line", "confidence") if key in data}
        return {**data, "values": [common | v if isinstance(v, dict) else v for v in data["values"]]}


class _Measurements(Settings):
    datasets: tuple[Dataset, ...]


# -- ordinal claims -----------------------------------------------------------------------------------------


class CellSet(Settings):
    """The cells one side of a comparison is about: every variant with every ligand.

    ``ligand_class`` stands for the screen's catalogued ligands of these classes. Without ``state`` agonists are
    compared in the agonist state and other ligands in the antagonist state, or the displaced one.
    """

    variant: tuple[str, ...] = ()
    ligand: tuple[str, ...] = ()
    ligand_class: tuple[str, ...] = ()
    state: HelixState | None = None

    @field_validator("variant", "ligand", "ligand_class", mode="before")
    @classmethod
    def read_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("variant")
    @classmethod
    def check_variants(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_at(i, read_variant, name) for i, name in enumerate(names))

    @field_validator("ligand")
    @classmethod
    def check_ligands(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_at(i, _known_ligand, name) for i, name in enumerate(names))


def _at(index: int, read: Any, name: str) -> str:
    try:
        return read(name)
    except PydanticCustomError as error:
        raise problem(error.context["what"], at=(index,), expected=error.context["expected"],
                      do=error.context["do"]) from None  # fmt: skip


class Check(Settings):
    """A comparison that a screen can make: ``of`` RELATION ``than``, in one quantity.

    Attributes
    ----------
    quantity
        ``binding_kcal`` (lower binds better), ``helix12_angstrom`` or a metric of the cells.
    of, than
        Cells; what ``than`` leaves out is as in ``of``. ``than`` may be a number in the quantity's unit.
    relation, within
        ``<``, ``>``; ``<=`` (not above by more than ``within``) and ``~`` (equal to ``within``).
    ratio
        Published range of the ratio of affinities, the larger over the smaller. Shown; only its sign is compared.
    """

    quantity: Quantity
    of: CellSet
    relation: Literal["<", ">", "<=", "~"]
    than: CellSet | float
    within: Annotated[float, Field(gt=0)] | None = None
    ratio: tuple[float, float] | None = None

    @model_validator(mode="after")
    def check_sides(self) -> Check:
        of, than = self.of, self.than
        if not of.variant or not (of.ligand or of.ligand_class):
            raise problem("'of' names no cell", at=("of",), expected="a variant, and a ligand or ligand_class")
        if APO in of.ligand and of.state is None:
            raise problem("apo without a state", at=("of",), expected="state: agonist, antagonist or displaced")
        if isinstance(than, CellSet):
            if than.state is not None or than.ligand_class:
                raise problem("'than' may not differ in state or class", at=("than",), expected="variant or ligand")
            if bool(than.variant) == bool(than.ligand):
                raise problem("'than' must differ in one thing", at=("than",), expected="either variant or ligand")
        if (self.within is None) != (self.relation in ("<", ">")):
            raise problem(f"relation '{self.relation}' {'needs' if self.within is None else 'takes no'} 'within'",
                          at=("relation",))  # fmt: skip
        if self.ratio is not None:
            if self.quantity != "binding_kcal" or self.relation not in ("<", ">") or not isinstance(than, CellSet):
                raise problem("a ratio belongs to '<' or '>' of binding_kcal between cells", at=("ratio",))
            if not 1 <= self.ratio[0] < self.ratio[1]:
                raise problem(f"ratio {list(self.ratio)} is no range on one side of 1", at=("ratio",),
                              expected="[1 or more, more]: the larger affinity constant over the smaller")  # fmt: skip
        return self


class OrdinalClaim(Settings):
    """A published statement about an order.

    Either ``checks`` say how a screen tests it, or ``not_checkable`` why none can. ``universal``: it is about all of
    its cells, so those that were simulated speak for it; otherwise every comparison is needed before a screen can
    agree. ``proxy`` says what is measured where that is not the same thing.
    """

    id: str
    statement: str
    domain: Literal["binding", "H12", "coactivator", "stability", "function", "degradation"]
    source: Annotated[str, Field(min_length=1)]
    doi: str = ""
    confidence: Confidence
    notes: str = ""
    universal: bool = False
    proxy: str = ""
    checks: tuple[Check, ...] = ()
    not_checkable: str = ""

    @model_validator(mode="after")
    def check_checkable_or_why_not(self) -> OrdinalClaim:
        if bool(self.checks) == bool(self.not_checkable):
            what = "both checks and" if self.checks else "neither checks nor"
            raise problem(f"claim {self.id} has {what} not_checkable", at=("id",), expected="one of the two")
        return self

    @property
    def checkable(self) -> bool:
        """Whether a screen can say something about it."""
        return bool(self.checks)


class _Claims(Settings):
    claims: tuple[OrdinalClaim, ...]

    @model_validator(mode="after")
    def checkrefuse_repeats(self) -> _Claims:
        refuse_repeats([claim.id for claim in self.claims], "claims", "claim")
        return self


# -- clinical results ---------------------------------------------------------------------------------------


class ClinicalResult(Settings):
    """One result of a trial or cohort, by ESR1 status, as printed. For context only: it never enters a score.

    ``ligands`` and ``comparator_ligands`` are the catalogued ligands among the drugs and in the comparator arm;
    ``hr`` with ``hr_low`` to ``hr_high`` is the hazard ratio and its 95 % interval.
    """

    trial: str
    phase: str = ""
    nct: tuple[Annotated[str, Field(pattern=r"^NCT\d{8}$")], ...] = ()
    drugs: str
    ligands: tuple[str, ...] = ()
    comparator: str = ""
    comparator_ligands: tuple[str, ...] = ()
    population: str = ""
    esr1_status: str = ""
    n: str = ""
    endpoint: str = ""
    value: str = ""
    hr: Annotated[float, Field(gt=0)] | None = None
    hr_low: Annotated[float, Field(gt=0)] | None = None
    hr_high: Annotated[float, Field(gt=0)] | None = None
    p: str = ""
    source: Annotated[str, Field(min_length=1)]
    doi: str = ""
    notes: str = ""

    @field_validator("ligands", "comparator_ligands")
    @classmethod
    def check_ligands(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_at(i, _known_ligand, name) for i, name in enumerate(names))

    @model_validator(mode="after")
    def check_interval(self) -> ClinicalResult:
        low, high = self.hr_low, self.hr_high
        if (low is None) != (high is None) or (low is not None and not (self.hr and low <= self.hr <= high)):
            raise problem(f"the interval of the hazard ratio is {low} to {high}", at=("hr",),
                          expected="hr_low <= hr <= hr_high, or neither end")  # fmt: skip
        return self

    @property
    def of_mutants(self) -> bool:
        """Whether it says something about ESR1-mutant disease."""
        return self.esr1_status not in ("", "WT", "all", "all (ITT)", "not ESR1-selected")


class _Clinical(Settings):
    results: tuple[ClinicalResult, ...]


# -- mutations ----------------------------------------------------------------------------------------------


class MutationEvidence(Record):
    """What is published of one mutation: frequencies as printed, each with its own context, and mechanisms."""

    variant: str
    region: str
    frequencies: tuple[Frequency, ...]
    mechanisms: tuple[Mechanism, ...]
    confidence: str
    notes: tuple[str, ...]


# -- everything ---------------------------------------------------------------------------------------------


class Evidence(Record):
    """Everything published that this installation carries."""

    datasets: tuple[Dataset, ...]
    claims: tuple[OrdinalClaim, ...]
    clinical: tuple[ClinicalResult, ...]
    populations: Populations
    mutations: tuple[MutationEvidence, ...]

    def values(self) -> Iterator[tuple[Dataset, AffinityValue]]:
        """Every measured value with its dataset."""
        return ((dataset, value) for dataset in self.datasets for value in dataset.values)

    def clinical_of(self, ligand: str) -> tuple[ClinicalResult, ...]:
        """Results with a ligand among the drugs, then those with it in the comparator arm only.

        Results of ESR1-mutant disease come first in each.
        """
        found = [r for r in self.clinical if ligand in r.ligands or ligand in r.comparator_ligands]
        return tuple(sorted(found, key=lambda r: (ligand not in r.ligands, not r.of_mutants)))

    def claims_named(self, ids: list[str] | None) -> tuple[OrdinalClaim, ...]:
        """The claims with these ids in the order given, or all.

        Raises
        ------
        InputError
            No such claim.
        """
        known, written = {claim.id.lower(): claim for claim in self.claims}, [claim.id for claim in self.claims]
        if ids is None:
            return self.claims
        for name in ids:
            if name.lower() not in known:
                raise InputError(f"unknown claim '{name}'", expected=f"of {', '.join(written)}",
                                 do=did_you_mean(name, written))  # fmt: skip
        return tuple(dict.fromkeys(known[name.lower()] for name in ids))


@functools.cache
def evidence() -> Evidence:
    """Read and check the bundled evidence.

    Raises
    ------
    InputError
        A file is not valid, with the line; a dataset's name is used twice.
    """
    ligands, structures = data_path("ligands"), data_path("structures")
    measured = [load_settings(folder / "measurements.yaml", _Measurements) for folder in (ligands, structures)]
    datasets = tuple(dataset for each in measured for dataset in each.datasets)
    names = [dataset.name for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"dataset '{name}' is there twice", where="measurements.yaml", do="rename one of them")
    return Evidence(
        datasets=datasets,
        claims=load_settings(ligands / "claims.yaml", _Claims).claims,
        clinical=load_settings(ligands / "clinical.yaml", _Clinical).results,
        populations=load_settings(structures / "populations.yaml", Populations),
        mutations=tuple(
            MutationEvidence(variant=entry.name, **{key: getattr(entry, key) for key in MutationEvidence.model_fields
                                                    if key != "variant"})
            for entry in variant_entries()
        ),
    )  # fmt: skip
