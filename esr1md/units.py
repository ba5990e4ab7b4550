"""Quantities as chemists write them, checked against the unit that a setting's name ends in.

A setting called ``cutoff_angstrom`` is a number of angstrom. Written bare (``12``) it is that; written with a
unit (``1.2 nm``) it is converted; written with the unit of another dimension (``10 ps``) it is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

#: Dimension -> unit as written -> size in the dimension's first unit.
DIMENSIONS: dict[str, dict[str, float]] = {
    "length": {"angstrom": 1.0, "angstroms": 1.0, "A": 1.0, "Å": 1.0, "nm": 10.0, "nanometer": 10.0},
    "time": {"ps": 1.0, "picosecond": 1.0, "picoseconds": 1.0, "fs": 1e-3, "femtosecond": 1e-3,
             "femtoseconds": 1e-3, "ns": 1e3, "nanosecond": 1e3, "nanoseconds": 1e3, "us": 1e6},
    "temperature": {"kelvin": 1.0, "K": 1.0},
    "energy": {"kcal/mol": 1.0, "kJ/mol": 1 / 4.184},
    "force constant": {"kcal/mol/angstrom^2": 1.0, "kcal/mol/A^2": 1.0, "kcal/mol/Å^2": 1.0,
                       "kcal/mol/angstrom**2": 1.0, "kJ/mol/nm^2": 1 / 418.4, "kJ/mol/nm**2": 1 / 418.4},
    "rate": {"/ps": 1.0, "1/ps": 1.0, "ps^-1": 1.0, "ps-1": 1.0, "1/fs": 1e3, "1/ns": 1e-3},
    "mass": {"dalton": 1.0, "Da": 1.0, "amu": 1.0, "u": 1.0, "g/mol": 1.0},
    "pressure": {"bar": 1.0, "atm": 1.01325, "kPa": 0.01, "MPa": 10.0},
    "concentration": {"molar": 1.0, "M": 1.0, "mol/L": 1.0, "mM": 1e-3, "mmol/L": 1e-3},
}  # fmt: skip

#: Ending of a setting's name -> (dimension, unit). The longest ending that fits counts.
ENDINGS: dict[str, tuple[str, str]] = {
    "kcal_per_angstrom2": ("force constant", "kcal/mol/angstrom^2"),
    "per_ps": ("rate", "1/ps"),
    "angstrom": ("length", "angstrom"),
    "ps": ("time", "ps"),
    "fs": ("time", "fs"),
    "ns": ("time", "ns"),
    "kelvin": ("temperature", "kelvin"),
    "kcal": ("energy", "kcal/mol"),
    "dalton": ("mass", "dalton"),
    "bar": ("pressure", "bar"),
    "molar": ("concentration", "molar"),
}

#: What a price can be for, and the words for it.
PRICED = {"GPU hour": ("gpu",), "core hour": ("core", "cpu core", "cpu")}

_PRICE = re.compile(
    r"\s*(?P<amount>\d+\.?\d*|\.\d+)\s*(?P<currency>[A-Za-z]{3})\s*(?:per|/)\s*"
    r"(?P<what>[A-Za-z]+(?: [A-Za-z]+)?)[ -](?:hours?|hrs?|h)\s*"
)
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


class UnitError(ValueError):
    """Text that is no quantity of the unit a setting is in; ``expected`` says what would have been."""

    def __init__(self, what: str, expected: str) -> None:
        self.what, self.expected = what, expected
        super().__init__(f"{what}; expected {expected}")


def unit_of(name: str) -> str | None:
    """The unit a setting is in, read off the end of its name: ``cutoff_angstrom`` -> ``angstrom``.

    ``None`` for a name that ends in no unit.
    """
    ending = _ending(name)
    return ENDINGS[ending][1] if ending else None


def parse_quantity(text: str, name: str) -> float:
    """The number that ``text`` means for the setting ``name``, in the unit the name ends in.

    Parameters
    ----------
    text
        ``"4 fs"``, ``"1.2nm"``, ``"0.5 kcal/mol"``, or a bare number in the setting's own unit.
    name
        Name of the setting; must end in a unit (:func:`unit_of`).

    Raises
    ------
    UnitError
        Not a number, an unknown unit, or the unit of another dimension.
    """
    dimension, own = ENDINGS[_ending(name)]
    factors = DIMENSIONS[dimension]
    expected = f"{_a(dimension)}, such as '12 {own}', or a bare number of {own}"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f"{name} '{text}' is not a quantity", expected)
    number, unit = float(match[1]), match[2]
    if not math.isfinite(number):
        raise UnitError(f"{name} '{text}' is not finite", expected)
    if not unit or unit == own:
        return number
    if unit not in factors:
        other = next((d for d, units in DIMENSIONS.items() if unit in units), None)
        wrong = f"is {_a(other)}, not {_a(dimension)}" if other else f"has an unknown unit '{unit}'"
        raise UnitError(f"{name} '{text}' {wrong}", expected)
    # twelve digits: '0.004 ps' is 4 fs, not 4.000000000000001
    return float(f"{number * factors[unit] / factors[own]:.12g}")


@dataclass(frozen=True)
class Price:
    """``amount`` of a ``currency`` (three letters, ISO 4217) for an hour of what :data:`PRICED` lists."""

    amount: float
    currency: str
    per: str

    def __str__(self) -> str:
        exact = f"{self.amount:.2f}" if round(self.amount, 2) == self.amount else f"{self.amount:g}"
        return f"{exact} {self.currency} per {self.per}"


def parse_price(text: str) -> Price:
    """``2.50 USD per GPU hour`` or ``0.04 EUR/core hour``.

    Raises
    ------
    UnitError
        Not an amount, a currency of three letters and what it is for.
    """
    expected = "an amount, a currency and what it is for, such as '2.50 USD per GPU hour' or '0.04 EUR per core hour'"
    match = _PRICE.fullmatch(text)
    if match is None:
        raise UnitError(f"the price '{text}' cannot be read", expected)
    words = match["what"].lower().strip()
    per = next((name for name, known in PRICED.items() if words in known), None)
    if per is None:
        raise UnitError(f"the price '{text}' is for the hour of a '{words}'", expected)
    return Price(float(match["amount"]), match["currency"].upper(), per)


def _ending(name: str) -> str | None:
    fits = [end for end in ENDINGS if name == end or name.endswith("_" + end)]
    return max(fits, key=len, default=None)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
