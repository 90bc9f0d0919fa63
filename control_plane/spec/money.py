"""US dollars for a million tokens, exact: what is written as 2.50 is 2.50 and not the nearest binary fraction."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

HIGHEST: Final = Decimal(100_000)  # dollars for a million tokens; the dearest models cost hundreds
DIGITS: Final = 9  # behind the point; vendors use four


@dataclass(frozen=True, slots=True)
class Money:
    """Annotation of a Decimal field, written as a number or as text, from 0 to `HIGHEST`, or to `highest`."""

    highest: Decimal = HIGHEST

    def read(self, value: object) -> Decimal:
        if isinstance(value, Decimal):
            return self._bounded(value)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise PydanticCustomError("HG1004", "must be a number", {"fix": "write for example 2.50", "shown": True})
        try:
            # A float's shortest text is what was written, up to fifteen digits.
            amount = Decimal(repr(value) if isinstance(value, float) else value)
        except InvalidOperation:
            raise PydanticCustomError("HG1007", "not a number", {"fix": "write for example 2.50", "shown": True}) from None
        return self._bounded(amount)

    def _bounded(self, amount: Decimal) -> Decimal:
        if not amount.is_finite() or not 0 <= amount <= self.highest:
            raise PydanticCustomError("HG1006", "out of bounds", {"fix": f"choose a number from 0 to {self.highest}", "shown": True})
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -DIGITS:
            raise PydanticCustomError("HG1006", "has too many digits", {"fix": f"write at most {DIGITS} behind the point", "shown": True})
        return amount

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(lambda amount: format(amount, "f"), when_used="json")
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        number = {"type": "number", "minimum": 0, "maximum": int(self.highest)}
        return {"anyOf": [number, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}], "x-bounds": f"0 to {self.highest}"}
