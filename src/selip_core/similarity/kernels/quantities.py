"""Numbers with units, read from the words of a report."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import final

_LONGEST = 100
_FACTORS = {
    "mm": {
        "0.001": "μm um micron microns 微米",
        "1": "mm millimeter millimeters millimetre millimetres 毫米",
        "10": "cm centimeter centimeters centimetre centimetres zentimeter 厘米 公分",
        "1000": "m meter meters metre metres 米",
    },
    "mm2": {
        "1": "mm2 mm^2 平方毫米",
        "100": "cm2 cm^2 平方厘米",
    },
    "ml": {
        "0.001": "mm3 mm^3 μl ul microliter microliters 立方毫米",
        "1": "ml cc ccm cm3 cm^3 milliliter milliliters millilitre millilitres 毫升 立方厘米",
        "1000": "l liter liters litre litres 升",
    },
    "": {"1": ""},
}
_UNITS = {
    unit: (kind, Decimal(factor))
    for kind, factors in _FACTORS.items()
    for factor, units in factors.items()
    for unit in units.split(" ")
}

# A comma begins the decimals, unless it could part thousands: "1,500" is not read.
_NUMBER = r"(?:0,\d+|\d+,(?!\d{3}(?!\d))\d+|\d*\.\d+|\d+)(?:e[+-]?\d{1,3})?"
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_MEASURE = re.compile(rf"([-+−]?{_NUMBER})\s*({_UNIT})")
_RANGE = re.compile(rf"({_NUMBER}\s*(?:{_UNIT}))\s*(?:[-‐–—−~至到]|to)\s*({_NUMBER}\s*(?:{_UNIT}))")
_BY = re.compile(r"\s*(?:[x×*乘]|by)\s*")
_ABOUT = re.compile(r"(?:about|approximately|approx\.?|circa|ca\.?|[~≈约]|大约)\s*")


@final
@dataclass(frozen=True)
class Quantity:
    """A number and what it counts.

    Attributes:
        magnitude: How many.
        unit: ``"mm"`` for lengths, ``"mm2"`` for areas, ``"ml"`` for volumes, ``""`` for plain
            numbers.
    """

    magnitude: float
    unit: str


def read_quantity(text: str) -> Quantity | None:
    """Return the number that a text is, in the one unit of its kind; ``None`` if it is none.

    The whole text must be a number with or without a unit: lengths (μm, mm, cm, m), areas (mm2,
    cm2) and volumes (mm3, μl, ml, cc, cm3, l), also spelled out or in Chinese, with a decimal point
    or comma. Of several diameters (``"12 x 8 mm"``) it is the largest, as radiologists measure; of
    a range (``"3-5 mm"``) the middle; ``"about"`` before it changes nothing. A bound (``"< 5 mm"``)
    is no number, nor is ``"1,500"``, which is 1.5 to some and 1500 to others.

    Example:
        >>> read_quantity("1,5 cm"), read_quantity("12 x 8 mm")
        (Quantity(magnitude=15.0, unit='mm'), Quantity(magnitude=12.0, unit='mm'))
        >>> read_quantity("3-5 cc"), read_quantity("small")
        (Quantity(magnitude=4.0, unit='ml'), None)
    """
    if len(text) > _LONGEST:
        return None
    text = unicodedata.normalize("NFKC", text).casefold().strip().rstrip(".")
    if about := _ABOUT.match(text):
        text = text[about.end() :]
    ends = _RANGE.fullmatch(text)
    measures = _measures(ends.groups() if ends else _BY.split(text))
    if measures is None:
        return None
    numbers, kind = measures
    if ends and numbers[0] > numbers[1]:
        return None
    if not ends and len(numbers) > 1 and kind not in ("mm", ""):
        return None
    magnitude = float(sum(numbers) / 2 if ends else max(numbers))
    return Quantity(magnitude, kind) if math.isfinite(magnitude) else None


def _measures(texts: Sequence[str]) -> tuple[list[Decimal], str] | None:
    """Return numbers of one kind, in its unit; one without a unit has that of the others."""
    matches = [_MEASURE.fullmatch(text) for text in texts]
    if not all(matches):
        return None
    numbers, units = zip(*(match.groups() for match in matches if match), strict=True)
    given = {unit for unit in units if unit}
    if len(given) > 1 and "" in units:
        return None
    shared = given.pop() if len(given) == 1 else ""
    kinds, factors = zip(*(_UNITS[unit or shared] for unit in units), strict=True)
    if len(set(kinds)) > 1:
        return None
    # Decimal: 1.1 cm and 11 mm are the same float.
    decimals = (Decimal(number.replace(",", ".").replace("−", "-")) for number in numbers)
    return [own * factor for own, factor in zip(decimals, factors, strict=True)], kinds[0]
