"""The catalogue of ESR1 mutations (``structures/variants.yaml``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import yaml

from esr1md.catalogue import data_path
from esr1md.receptor.sequence import parse_variant
from esr1md.specs import Variant


@dataclass(frozen=True)
class Frequency:
    """How often one source saw a mutation; ``value`` is text, because sources give ranges and fractions."""

    value: str = ""
    context: str = ""
    source: str = ""
    confidence: str = ""


@dataclass(frozen=True)
class Mechanism:
    """What one source says a mutation does."""

    text: str
    source: str = ""


@dataclass(frozen=True)
class VariantEntry:
    """One line of the catalogue.

    Attributes
    ----------
    name
        Variant name, mutations in position order.
    type
        ``wild type``, ``missense``, ``double`` or ``deletion``.
    region
        Where in the ligand-binding domain.
    frequencies, mechanisms
        One per source, never pooled.
    confidence
        ``high``, ``medium`` or ``low``.
    notes
        What a reader must know.
    not_buildable
        Why no model can be built of it; empty if one can.
    """

    name: str
    type: str
    region: str
    frequencies: tuple[Frequency, ...]
    mechanisms: tuple[Mechanism, ...]
    confidence: str
    notes: tuple[str, ...]
    not_buildable: str = ""

    @property
    def buildable(self) -> bool:
        """Whether :func:`esr1md.receptor.build.build_receptor` can build it."""
        return not self.not_buildable

    def variant(self) -> Variant:
        """The variant to build.

        Raises
        ------
        InputError
            If it lies outside the ligand-binding domain.
        """
        return parse_variant(self.name)


@lru_cache(maxsize=1)
def variant_entries() -> tuple[VariantEntry, ...]:
    """Every variant of ``structures/variants.yaml``, in its order (wild type first)."""
    path = data_path("structures") / "variants.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        VariantEntry(
            **{
                **entry,
                "frequencies": tuple(Frequency(**row) for row in entry["frequencies"]),
                "mechanisms": tuple(Mechanism(**row) for row in entry["mechanisms"]),
                "notes": tuple(entry["notes"]),
            }
        )
        for entry in document["variants"]
    )
