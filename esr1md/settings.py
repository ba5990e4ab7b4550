"""Typed settings read from YAML, with every error traced to its line.

:class:`Settings` is the base of whatever a user may configure: frozen, unknown keys refused with the
nearest known one suggested, defaults validated, quantities unit-checked by the end of their name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from esr1md.catalogue import data_path, did_you_mean
from esr1md.errors import InputError
from esr1md.units import UnitError, parse_quantity, unit_of

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Where settings were read: the file, and the line (from 1) of each key and list item."""

    file: str
    lines: dict[Location, int] = field(repr=False)

    def line(self, location: Location) -> int:
        """Line of the nearest enclosing key or item whose line is known."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def where(self, *location: str | int) -> str:
        """``quickstart.yaml:7``."""
        return f"{self.file}:{self.line(location)}"


def problem(what: str, *, at: Location = (), expected: str = "", do: str = "") -> PydanticCustomError:
    """An error for a validator to raise, shown as one line: ``FILE:LINE: what; expected ...; do``.

    ``at`` is where in the settings, relative to what is being validated: ``at=("variants", 1)``.
    """
    return PydanticCustomError("problem", "{what}", {"what": what, "at": at, "expected": expected, "do": do})


class Settings(BaseModel):
    """Base of everything a user may configure.

    The unit of a quantity is the end of its field's name (:mod:`esr1md.units`): ``cutoff_angstrom`` accepts
    ``12``, ``12 angstrom`` and ``1.2 nm`` and refuses ``10 ps``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    _source: Source | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = list(cls.model_fields)
            unknown = [key for key in data if key not in known]
            if unknown:
                more = f" (and {len(unknown) - 1} more unknown)" if len(unknown) > 1 else ""
                raise problem(
                    f"unknown key '{unknown[0]}'{more}",
                    at=(unknown[0],),
                    expected=f"one of {', '.join(known)}",
                    do=did_you_mean(str(unknown[0]), known),
                )
        return data

    @model_validator(mode="before")
    @classmethod
    def read_quantities(cls, data: Any) -> Any:
        # here and not in a validator of each field: pydantic allows none on the tag of a union of settings
        if not isinstance(data, dict):
            return data
        return {
            key: _read_quantity(key, value) if isinstance(value, str | bool) else value for key, value in data.items()
        }

    def where(self, *location: str | int) -> str:
        """File and line of a key or list item, ``where("variants", 1)`` -> ``quickstart.yaml:7``.

        Empty for settings that were not read from a file.
        """
        return self._source.where(*location) if self._source else ""


def _read_quantity(name: Any, value: str | bool) -> Any:
    unit = unit_of(name) if isinstance(name, str) else None
    if unit is None:
        return value
    if isinstance(value, bool):
        raise problem(f"{name} is {str(value).lower()}", at=(name,), expected=f"a number of {unit}")
    try:
        return parse_quantity(value, name)
    except UnitError as error:
        raise problem(error.what, at=(name,), expected=error.expected) from None


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    full = path.expanduser()
    if folder is not None and not full.is_absolute():
        full = Path(folder) / full
    if not full.is_file():
        beside = f"relative to {folder}" if folder is not None else "relative to the working folder"
        raise problem(f"no file '{path}'", expected=f"a file that exists ({beside})")
    return full.resolve()


#: A file that exists; a relative one is looked for beside the YAML file that names it. Becomes absolute.
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]

_PDB_ID = re.compile(r"(pdb_0000)?[0-9][a-z0-9]{3}", re.IGNORECASE | re.ASCII)


def _structure(text: str, info: ValidationInfo) -> str:
    try:
        return str(_existing_file(Path(text), info))
    except PydanticCustomError as error:
        if _PDB_ID.fullmatch(text.strip()) or (data_path("structures") / "models" / f"{text}.pdb").is_file():
            return text.strip()
        raise problem(f"no file '{text}'", expected="a structure file that exists, a PDB id such as 5WGD, or a bundled "
                      "model by name") from error  # fmt: skip


#: A structure file as :data:`ExistingFile` finds it, absolute; or a PDB id or a bundled model's name.
Structure = Annotated[str, AfterValidator(_structure)]

Model = TypeVar("Model", bound=Settings)


def load_settings(path: str | Path, model: type[Model]) -> Model:
    """Read and validate a YAML file.

    Parameters
    ----------
    path
        The YAML file. Files it names are looked for beside it.
    model
        The settings it must hold.

    Raises
    ------
    InputError
        Unreadable file, bad YAML, a duplicate or unknown key, a wrong type, unit or value: the first problem
        in the file with its line, what was expected, and how many more there are.
    """
    path = Path(path)
    data, source = _read_yaml(path)
    try:
        settings = model.model_validate(data, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise _first_error(error, data, source) from None
    settings._source = source
    return settings


def _read_yaml(path: Path) -> tuple[dict[str, Any], Source]:
    """The mapping in a YAML file and the line of everything in it."""
    shown = _shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", where=shown, expected="a YAML file") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=shown, expected="a YAML file") from None
    loader = yaml.SafeLoader(text)
    lines: dict[Location, int] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            raise InputError("the file is empty", where=shown, expected="a mapping of keys")
        _note_lines(node, (), lines, shown)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown}:{mark.line + 1}" if mark else shown
        raise InputError(
            f"not valid YAML: {error.problem or error.context}",
            where=where,
            do="check the indentation, colons and brackets of this line and the one before",
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML: {error}", where=shown) from None
    except ValueError as error:  # a scalar that looks like a date or number and is none
        raise InputError(f"not valid YAML: {error}", where=shown, do="put the value in quotes") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise InputError(f"holds {_kind(data)}", where=f"{shown}:1", expected="a mapping of keys")
    return data, Source(shown, lines)


def _note_lines(node: yaml.Node, at: Location, lines: dict[Location, int], shown: str) -> None:
    """Record the line of every key and item below ``node``; a key given twice is refused."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*at, index), lines, shown)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(
                    "a key that is itself a list or mapping", where=f"{shown}:{line}", expected="a plain word"
                )
            if key.value in seen:
                raise InputError(
                    f"key '{key.value}' is given twice (first on line {seen[key.value]})",
                    where=f"{shown}:{line}",
                    do="remove one of them",
                )
            seen[key.value] = line
            lines[(*at, key.value)] = line
            _note_lines(value, (*at, key.value), lines, shown)


def _first_error(error: ValidationError, data: Any, source: Source) -> InputError:
    """The first problem in the order of the file, as one line, with the number of the others."""
    found: dict[Location, list[dict[str, Any]]] = {}
    for item in error.errors(include_url=False):
        location = (*_in_data(item["loc"], data), *(item.get("ctx") or {}).get("at", ()))
        found.setdefault(location, []).append(item)
    # where a setting may be one of several kinds, pydantic reports each kind it is not; the one that was
    # followed into the value is the one that was meant
    deepest = [at for at in found if not any(len(other) > len(at) and other[: len(at)] == at for other in found)]
    first = min(deepest, key=source.line)
    explained = [_explain(item, first) for item in found[first]]
    what, _, do = explained[0]
    expected = " or ".join(dict.fromkeys(expected for _, expected, _ in explained if expected))
    rest = len(deepest) - 1
    more = f"({rest} more problem{'s' * (rest > 1)} in this file)" if rest else ""
    return InputError(
        what, where=source.where(*first), expected=expected, do=" ".join(part for part in (do, more) if part)
    )


def _in_data(location: Location, data: Any) -> Location:
    """``location`` without the steps pydantic adds for unions, which are not in the user's file."""
    kept: list[str | int] = []
    for step in location:
        if (isinstance(data, dict) and step in data) or (
            isinstance(data, list) and isinstance(step, int) and 0 <= step < len(data)
        ):
            data = data[step]
            kept.append(step)
    return tuple(kept)


def _explain(item: dict[str, Any], location: Location) -> tuple[str, str, str]:
    """What is wrong, what was expected and what to do, from one of pydantic's errors."""
    context, kind, given = item.get("ctx") or {}, item["type"], item.get("input")
    name = str(next((step for step in reversed(location) if isinstance(step, str)), "the file"))
    if kind == "problem":
        return context["what"], context["expected"], context["do"]
    if kind == "missing":
        inside = f" in '{name}'" if location else ""
        return f"the key '{item['loc'][-1]}' is missing{inside}", "", "add it"
    if kind in ("union_tag_not_found", "model_type", "dict_type", "model_attributes_type"):
        if isinstance(given, dict):
            return f"the key {context.get('discriminator', '')} is missing in '{name}'", "", "add it"
        return f"'{name}' is {_kind(given)}", "a mapping of keys", ""
    if kind in ("literal_error", "enum"):
        known = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{name} '{given}' is not known", f"one of {', '.join(known)}", did_you_mean(str(given), known)
    if kind == "union_tag_invalid":
        known = [word.strip("'") for word in context["expected_tags"].split(", ")]
        tag = context["tag"]
        return (
            f"{context['discriminator'].strip(chr(39))} '{tag}' is not known",
            f"one of {', '.join(known)}",
            did_you_mean(tag, known),
        )
    if kind in ("value_error", "assertion_error"):
        return str(context["error"]), "", ""
    expected = _EXPECTED.get(kind) or item["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{name} is {_value(given)}", expected, ""


_EXPECTED = {
    "int_parsing": "a whole number", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_parsing": "a number", "float_type": "a number", "bool_parsing": "true or false",
    "bool_type": "true or false", "string_type": "text", "tuple_type": "a list", "list_type": "a list",
    "path_type": "the path of a file",
}  # fmt: skip


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping of keys", list: "a list", str: "text", int: "a number", float: "a number"}
    return kinds.get(type(value), "empty" if value is None else f"'{value}'")


def _value(value: Any) -> str:
    return _kind(value) if value is None or isinstance(value, dict | list) else f"'{value}'"


def _shown(path: Path) -> str:
    """The file as messages name it: short for a bundled one or one below the working folder."""
    full = path.resolve()
    for folder in (data_path("configs").parent, Path.cwd()):
        if full.is_relative_to(folder):
            return os.path.relpath(full, folder)
    return str(path)
