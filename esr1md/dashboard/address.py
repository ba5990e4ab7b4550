"""What an address says: which screen, which cell, what is chosen on a page. A colleague who opens it sees the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlencode

#: Longer addresses are not read.
MOST_CHARACTERS = 4000
_BETWEEN = "~"


class Address(dict[str, str]):
    """The part of an address after ``?`` as a mapping; a name that it lacks is an empty text."""

    @classmethod
    def of(cls, search: str | None) -> Address:
        return cls(parse_qsl((search or "")[:MOST_CHARACTERS].removeprefix("?"), keep_blank_values=False))

    def __missing__(self, name: str) -> str:
        return ""

    def choice(self, name: str, among: Iterable[str], default: str = "") -> str:
        """The value of ``name`` if it is one of ``among``, else ``default``."""
        return self[name] if self[name] in set(among) else default

    def choices(self, name: str, among: Iterable[str]) -> list[str]:
        """The values of ``name``, those of them that are among ``among``."""
        allowed = set(among)
        return [each for each in self[name].split(_BETWEEN) if each in allowed]

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """The number of ``name``, kept between ``low`` and ``high``."""
        try:
            value = float(self[name])
        except ValueError:
            return default
        return min(high, max(low, value)) if value == value else default


def href(path: str, **values: str | Iterable[str] | None) -> str:
    """``/cell?variant=Y537S&ligand=fulvestrant``; what is empty is left out, several values are one list."""
    said: Mapping[str, str] = {
        name: value if isinstance(value, str) else _BETWEEN.join(value) for name, value in values.items() if value
    }
    return f"{path}?{urlencode(said)}" if said else path


def cell_key(cell: tuple[str, str, str]) -> str:
    """(variant, ligand, state) as one value of an address."""
    return "|".join(cell)


def cell_href(screen: str, variant: str, ligand: str, state: str) -> str:
    return href("/cell", screen=screen, variant=variant, ligand=ligand, state=state)
