"""Durations ("300ms", "2s", "1m30s") and quantities ("2M", "400k", "32Mi") as pydantic types with bounds.

Stored as integers: milliseconds and plain counts. A bare number is not a duration, because a reader cannot see its unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
SUFFIXES: Final = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
DURATION_PATTERN: Final = r"^([0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h))+$"
QUANTITY_PATTERN: Final = r"^[0-9]{1,18}(\.[0-9]{1,9})?(k|M|G|Ki|Mi|Gi)?$"
LONGEST: Final = 40  # characters of a duration or quantity

_DURATION_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)")
_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(k|M|G|Ki|Mi|Gi|)")


def parse_duration(text: str) -> int:
    """Milliseconds of "300ms", "1.5s", "1m30s". Raises ValueError for anything else."""
    if not text or len(text) > LONGEST:
        raise ValueError("not a duration")
    total, at = Decimal(0), 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != at:
            raise ValueError("not a duration")
        total, at = total + Decimal(part[1]) * UNITS_MS[part[2]], part.end()
    if at != len(text) or total != int(total):
        raise ValueError("not a duration")
    return int(total)


def format_duration(value_ms: int) -> str:
    """A short text that `parse_duration` reads back: 60000 -> "1m", 90000 -> "90s", 30750 -> "30.75s", 300 -> "300ms"."""
    for unit in ("h", "m", "s"):
        if value_ms and value_ms % UNITS_MS[unit] == 0:
            return f"{value_ms // UNITS_MS[unit]}{unit}"
    return f"{value_ms / 1000:.3f}".rstrip("0") + "s" if value_ms > 1000 else f"{value_ms}ms"


def parse_quantity(text: str) -> int:
    """The count of "2M", "400k", "32Mi", "1.5k" or "12". Raises ValueError for anything else, and for fractions of one."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError("not a quantity")
    value = Decimal(found[1]) * SUFFIXES[found[2]]
    if value != int(value):
        raise ValueError("not a whole number")
    return int(value)


def format_quantity(value: int) -> str:
    """A short text that `parse_quantity` reads back: 2000000 -> "2M", 33554432 -> "32Mi"."""
    for suffix in ("Gi", "G", "Mi", "M", "Ki", "k"):
        if value and value % SUFFIXES[suffix] == 0:
            return f"{value // SUFFIXES[suffix]}{suffix}"
    return str(value)


def _write_quantity(value: int) -> int | str:
    text = format_quantity(value)
    return value if text.isdigit() else text


@dataclass(frozen=True, slots=True)
class Duration:
    """Annotation of an int field in milliseconds, written as text with a unit, between `low` and `high` (both included)."""

    low: str
    high: str

    def read(self, value: object) -> int:
        if not isinstance(value, str):
            number = isinstance(value, int) and not isinstance(value, bool)
            fix = f'write the unit, for example "{value}s"' if number else 'write for example "30s"'
            raise PydanticCustomError("HG1004", "must be a duration", {"fix": fix, "shown": True})
        try:
            value_ms = parse_duration(value)
        except ValueError:
            fix = "write a number and a unit (ms, s, m, h), for example 300ms, 2s, 1m30s"
            raise PydanticCustomError("HG1007", "not a duration", {"fix": fix, "shown": True}) from None
        if not parse_duration(self.low) <= value_ms <= parse_duration(self.high):
            fix = f"choose a duration from {self.low} to {self.high}"
            raise PydanticCustomError("HG1006", "out of bounds", {"fix": fix, "shown": True})
        return value_ms

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(format_duration, when_used="json")
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": DURATION_PATTERN, "maxLength": LONGEST, "x-bounds": f"{self.low} to {self.high}"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """Annotation of an int field, written as a number or as text with a suffix, between `low` and `high` (both included)."""

    low: int
    high: int

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            fix = "write a number, or one with k, M, G, Ki, Mi or Gi, for example 400k"
            raise PydanticCustomError("HG1004", "must be a quantity", {"fix": fix, "shown": True})
        try:
            count = value if isinstance(value, int) else parse_quantity(value)
        except ValueError:
            fix = "write a whole number, or one with k, M, G, Ki, Mi or Gi, for example 400k or 32Mi"
            raise PydanticCustomError("HG1007", "not a quantity", {"fix": fix, "shown": True}) from None
        if not self.low <= count <= self.high:
            fix = f"choose a value from {format_quantity(self.low)} to {format_quantity(self.high)}"
            raise PydanticCustomError("HG1006", "out of bounds", {"fix": fix, "shown": True})
        return count

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_write_quantity, when_used="json")
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds = f"{format_quantity(self.low)} to {format_quantity(self.high)}"
        return {
            "anyOf": [{"type": "integer", "minimum": self.low, "maximum": self.high}, {"type": "string", "pattern": QUANTITY_PATTERN}],
            "x-bounds": bounds,
        }
