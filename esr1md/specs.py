"""What a screen is made of: variants, ligands, cells and replicas, as frozen values with a digest.

A spec says everything that changes a number and nothing else. Two equal specs have the same canonical
JSON and so the same SHA-256 digest, which names the folder of their results.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Packages whose version is part of a replica's identity, because they change its numbers.
NUMERIC_PACKAGES = ("openmm", "rdkit", "acpype", "openff-nagl-models", "vina", "meeko")

#: Raised by hand when our own science changes the numbers of an unchanged spec.
SCIENCE_VERSION = 3


class HelixState(StrEnum):
    """Where helix 12 starts."""

    AGONIST = "agonist"
    ANTAGONIST = "antagonist"
    DISPLACED = "displaced"


@dataclass(frozen=True, order=True)
class Mutation:
    """One change of the receptor sequence, in UniProt P03372 numbering.

    ``mutant`` is the one-letter code of the new residue, or ``""`` for a deletion.
    """

    position: int
    wild: str
    mutant: str

    def __str__(self) -> str:
        return f"{self.wild}{self.position}{self.mutant or 'del'}"


@dataclass(frozen=True)
class Variant:
    """A receptor sequence as its mutations from P03372, ordered by position; none is the wild type.

    Made from text by :func:`esr1md.receptor.sequence.parse_variant`, which checks it against P03372.
    """

    mutations: tuple[Mutation, ...] = ()

    @property
    def name(self) -> str:
        """``WT``, ``Y537S``, ``V422del`` or ``F404L+D538G`` (in order of position)."""
        return "+".join(str(m) for m in self.mutations) or "WT"

    def __str__(self) -> str:
        return self.name


WILD_TYPE = Variant()


@dataclass(frozen=True, slots=True)
class Ligand:
    """One compound in one protonation state and stereoisomer.

    Attributes
    ----------
    name
        Name for tables, unique in a screen. Not part of the identity of a replica.
    smiles
        RDKit canonical isomeric SMILES of the *simulated* protonation state.
    inchikey
        Standard InChIKey of the simulated state.
    formal_charge
        Total formal charge (e).
    drug_class
        ``agonist``, ``SERM``, ``SERD``, ``SERCA``, ``PROTAC`` ... or ``""`` if not known.
    notes
        What a reader must know: chosen stereoisomer, covalent warhead, low-confidence structure.
    confidence
        ``high``, ``medium`` or ``low``: how sure the catalogue is of the structure; ``user`` for a
        user's own ligand.
    """

    name: str
    smiles: str
    inchikey: str
    formal_charge: int
    drug_class: str = ""
    notes: str = ""
    confidence: str = "user"

    @property
    def identity(self) -> dict[str, Any]:
        return {"smiles": self.smiles, "inchikey": self.inchikey}


@dataclass(frozen=True, slots=True)
class Cell:
    """One square of the matrix: a variant, a ligand (``None`` for apo) and a starting helix-12 state."""

    variant: Variant
    ligand: Ligand | None
    state: HelixState

    @property
    def ligand_name(self) -> str:
        return self.ligand.name if self.ligand else "apo"

    @property
    def name(self) -> str:
        """``Y537S/fulvestrant/antagonist``."""
        return f"{self.variant.name}/{self.ligand_name}/{self.state}"

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "variant": self.variant.name,
            "ligand": self.ligand.identity if self.ligand else None,
            "state": str(self.state),
        }


@dataclass(frozen=True)
class ReplicaSpec:
    """One seed of a cell under a protocol, with everything that decides its numbers.

    Attributes
    ----------
    cell, seed
        The square of the matrix and the random seed (shared by all variants, so differences pair).
    protocol
        The protocol as plain data (``Protocol.model_dump(mode="json")``).
    receptor_source
        Digest of the starting structure (bundled model or user's file) the variant is built from.
    pose
        How the ligand is placed: ``seed`` of the conformers, ``exclude``d reference ligands.
    charges
        How the ligand's partial charges are made: ``nagl`` or ``am1bcc``.
    versions
        Name and version of each package in :data:`NUMERIC_PACKAGES`, and ``esr1md-science``.
    """

    cell: Cell
    seed: int
    protocol: dict[str, Any] = dataclasses.field(hash=False)
    receptor_source: str
    pose: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    charges: str = "nagl"
    versions: dict[str, str] = dataclasses.field(default_factory=lambda: numeric_versions(), hash=False)

    @property
    def identity(self) -> dict[str, Any]:
        return {
            **self.cell.identity,
            "seed": self.seed,
            "protocol": _unnamed(self.protocol),
            "receptor_source": self.receptor_source,
            "pose": self.pose if self.cell.ligand else {},
            "charges": self.charges if self.cell.ligand else "",
            "versions": self.versions,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of :attr:`identity`, computed once."""
        return digest_of(self.identity)

    @property
    def name(self) -> str:
        """``Y537S/fulvestrant/antagonist#1``."""
        return f"{self.cell.name}#{self.seed}"


def digests_of(specs: Iterable[ReplicaSpec]) -> Iterator[bytes]:
    """The 32 bytes of :attr:`ReplicaSpec.digest` of each, in a tenth of the time.

    Of the canonical JSON, the text of a protocol, pose, ligand or variant is written once for all specs that hold the
    same object.
    """
    plain = _Texts(lambda part: part)
    protocol, variant = _Texts(_unnamed), _Texts(lambda part: part.name)
    ligand = _Texts(lambda part: part.identity if part else None)
    nothing, nowhere = "", {}
    for spec in specs:
        cell, bound = spec.cell, spec.cell.ligand is not None
        text = (
            f'{{"charges":{plain(spec.charges if bound else nothing)},"ligand":{ligand(cell.ligand)},'
            f'"pose":{plain(spec.pose if bound else nowhere)},"protocol":{protocol(spec.protocol)},'
            f'"receptor_source":{plain(spec.receptor_source)},"seed":{spec.seed},"state":{plain(cell.state)},'
            f'"variant":{variant(cell.variant)},"versions":{plain(spec.versions)}}}'
        )
        yield hashlib.sha256(text.encode()).digest()


class _Texts:
    """Canonical JSON of what ``part`` makes of an object, each written once; the object is kept, as its id is."""

    def __init__(self, part: Callable[[Any], Any]) -> None:
        self._part, self._written = part, {}

    def __call__(self, shared: Any) -> str:
        found = self._written.get(id(shared))
        if found is None:
            found = self._written[id(shared)] = (canonical_json(self._part(shared)), shared)
        return found[0]


def _unnamed(protocol: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in protocol.items() if key not in ("name", "description")}


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and plain ASCII: equal values give equal text.

    Raises
    ------
    ValueError
        For NaN or infinity, which have no JSON form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of :func:`canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def numeric_versions() -> dict[str, str]:
    """Installed versions of :data:`NUMERIC_PACKAGES` and our own science version."""
    found = {"esr1md-science": str(SCIENCE_VERSION)}
    for name in NUMERIC_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
