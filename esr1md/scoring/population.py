"""Who carries which ESR1 mutation: published distributions (``structures/populations.yaml``), and users' patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from esr1md.catalogue import did_you_mean
from esr1md.errors import InputError
from esr1md.receptor.sequence import parse_variant
from esr1md.settings import Settings, load_settings, problem

Confidence = Literal["high", "medium", "low"]
#: Key of a profile for clones that cannot be named or modelled: they count as not simulated.
OTHER = "other"


def read_variant(text: Any) -> str:
    """The name of a variant, for a validator: what :func:`parse_variant` refuses is refused at its line."""
    try:
        return parse_variant(str(text)).name
    except InputError as error:
        raise problem(error.what, expected=error.expected, do=error.do) from None


def refuse_repeats(names: list[str], at: str, what: str) -> None:
    """Refuse a name that is there twice in the list ``at``, at its line."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise problem(f"{what} '{name}' is there twice", at=(at, index), do="remove one of them")


class VariantShare(Settings):
    """How much of a population has a variant: a count, a percentage, or a range of percentages."""

    variant: str
    count: Annotated[int, Field(ge=0)] | None = None
    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    percent_low: Annotated[float, Field(ge=0, le=100)] | None = None
    percent_high: Annotated[float, Field(ge=0, le=100)] | None = None

    @field_validator("variant")
    @classmethod
    def check_variant(cls, name: str) -> str:
        return read_variant(name)

    @model_validator(mode="after")
    def check_one_kind(self) -> VariantShare:
        low, high = self.percent_low, self.percent_high
        kinds = [self.count is not None, self.percent is not None, low is not None or high is not None]
        if sum(kinds) != 1 or (kinds[2] and (low is None or high is None or low > high)):
            raise problem(f"the share of {self.variant} is not clear", at=("variant",),
                          expected="count, or percent, or percent_low with percent_high above it")  # fmt: skip
        return self


class Population(Settings):
    """How ESR1 mutations are distributed according to one source.

    ``of`` says what the shares are of (mutations, not patients); ``n`` how many were counted, ``None`` where the source
    at hand does not say. What is missing from 100 % is mutations the source does not name.
    """

    name: str
    source: Annotated[str, Field(min_length=1)]
    doi: str = ""
    of: str
    n: Annotated[int, Field(gt=0)] | None = None
    n_text: str = ""
    confidence: Confidence
    notes: str = ""
    frequencies: Annotated[tuple[VariantShare, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def check_shares(self) -> Population:
        refuse_repeats([share.variant for share in self.frequencies], "frequencies", "variant")
        for i, share in enumerate(self.frequencies):
            if share.count is not None and (self.n is None or share.count > self.n):
                raise problem(f"count {share.count} of {self.n or 'nobody knows how many'}", at=("frequencies", i),
                              expected="n, and a count that is not above it")  # fmt: skip
        exact = sum(share.percent or 0 for share in self.frequencies) + sum(
            100 * share.count / self.n for share in self.frequencies if share.count is not None
        )
        if self.n is not None and (exact > 100.5 or any(s.percent_low is not None for s in self.frequencies)):
            raise problem(f"shares of {exact:g} % of a counted sample, or ranges", at=("frequencies",),
                          expected="counts or percentages that add up to 100 % or less")  # fmt: skip
        return self


class Populations(Settings):
    """Every published distribution, and the name of the one that is used unless another is asked for."""

    default: str
    populations: Annotated[tuple[Population, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def check_default(self) -> Populations:
        names = [population.name for population in self.populations]
        refuse_repeats(names, "populations", "population")
        if self.default not in names:
            raise problem(f"default '{self.default}' is no population", at=("default",), expected=", ".join(names))
        return self

    def named(self, name: str | None = None) -> Population:
        """The population of that name, or the default.

        Raises
        ------
        InputError
            No such population.
        """
        known = [population.name for population in self.populations]
        if (name or self.default) not in known:
            raise InputError(f"unknown population '{name}'", expected=f"one of {', '.join(known)}",
                             do=did_you_mean(str(name), known) or "or give a profile of your own")  # fmt: skip
        return self.populations[known.index(name or self.default)]


class Profile(Settings):
    """The clones of one patient: variant -> allele fraction (0 to 1); ``other`` for what cannot be named or modelled.

    Mutations in cis are one variant (``D538G+F404L``). ``patients`` is how many have this profile.
    """

    name: str
    patients: Annotated[int, Field(gt=0)] = 1
    variants: Annotated[dict[str, float], Field(min_length=1)]

    @field_validator("variants", mode="before")
    @classmethod
    def read_variants(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise problem("variants is no mapping", expected="variant: allele fraction, such as Y537S: 0.12")
        clones: dict[str, Any] = {}
        for key, fraction in value.items():
            name = OTHER if str(key).lower() == OTHER else _clone_name(key)
            if name in clones:
                raise problem(f"'{key}' is there twice (as {name})", at=(key,), do="add the fractions up")
            if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
                raise problem(f"the allele fraction of {name} is '{fraction}'", at=(key,),
                              expected="a number above 0 and up to 1: 0.12 for 12 %")  # fmt: skip
            clones[name] = float(fraction)
        total = sum(clones.values())
        if total > 1 + 1e-6:
            raise problem(f"the allele fractions add up to {total:.3g}", expected="1 or less",
                          do="write mutations in cis as one variant: D538G+F404L")  # fmt: skip
        return clones


def _clone_name(key: Any) -> str:
    try:
        name = read_variant(key)
    except PydanticCustomError as error:
        raise problem(error.context["what"], at=(key,), expected=error.context["expected"],
                      do="or count the clone under 'other'") from None  # fmt: skip
    if name == "WT":
        raise problem("WT is no mutation", at=(key,), do="leave it out: the rest of the DNA is taken for wild type")
    return name


class Profiles(Settings):
    """A user's population.

    Attributes
    ----------
    name
        Shown above the table.
    smallest_fraction
        Allele fraction from which a clone decides; smaller ones are left out.
    sample
        ``true``: the patients are a sample of those that are meant, and the interval holds their sampling error too.
    profiles
        The patients.
    """

    name: str
    smallest_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sample: bool = False
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def check_names(self) -> Profiles:
        refuse_repeats([profile.name for profile in self.profiles], "profiles", "profile")
        for index, profile in enumerate(self.profiles):
            if max(profile.variants.values()) < self.smallest_fraction:
                least = f"smallest_fraction ({self.smallest_fraction:g})"
                raise problem(f"every clone of '{profile.name}' is below {least}", at=("profiles", index),
                              do="lower it, or leave the patient out")  # fmt: skip
        return self


def load_profiles(path: str | Path) -> Profiles:
    """Read a user's profiles.

    Raises
    ------
    InputError
        Not readable or not valid, with the line.
    """
    return load_settings(path, Profiles)
