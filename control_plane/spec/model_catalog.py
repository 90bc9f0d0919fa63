"""`ModelCatalog`: what models of a vendor can do and cost, the same in the catalogue that ships and in operators' documents.

Amounts are US dollars for a million tokens.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from control_plane.spec.fields import check_upstream_model, distinct
from control_plane.spec.money import Money
from control_plane.spec.quantities import Quantity
from control_plane.spec.shape import Shape

MAX_ENTRIES: Final = 1_000  # models of one catalogue
MAX_ALIASES: Final = 32
MAX_TIERS: Final = 8
DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

Modality = Literal["text", "image", "audio", "video", "document"]
Capability = Literal["tools", "parallel-tools", "structured-output", "prompt-caching", "reasoning"]
ReasoningControl = Literal["always", "effort", "budget", "switch"]


def read_date(value: object) -> date:
    """A day as text. Raises HG1004 or HG1007."""
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("HG1004", "must be a date", {"fix": "write for example 2026-08-21", "shown": True})
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("HG1007", "not a date", {"fix": "write for example 2026-08-21", "shown": True}) from None


def check_source(value: str) -> str:
    """Where a fact was found. Raises HG2006."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise PydanticCustomError("HG2006", "the URL cannot be read", {"fix": "write for example https://vendor.example/pricing"})
    return value


Day = Annotated[
    date,
    BeforeValidator(read_date),
    PlainSerializer(date.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DATE_PATTERN}),
]
Source = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(check_source)]
ModelId = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_upstream_model)]
Dollars = Annotated[Decimal, Money()]


class Rates(Shape):
    """What a million tokens cost, in dollars. What is not written costs what the next more general kind does."""

    input: Dollars = Field(description="Input tokens that no other rate covers")
    cached_input: Dollars | None = Field(default=None, description="Input read from the vendor's cache. Default: as input")
    cache_write: Dollars | None = Field(default=None, description="Input written to the cache for the short time. Default: as input")
    cache_write_1h: Dollars | None = Field(
        default=None, alias="cacheWrite1h", description="Input written to the cache for an hour. Default: as cacheWrite"
    )
    output: Dollars = Field(description="Output tokens, thinking included")


class Tier(Rates):
    """Rates of requests with a long input."""

    above: Annotated[int, Quantity(1, 1_000_000_000)] = Field(
        description="For requests with more input tokens than this; all tokens of the request then cost the tier's rates"
    )


class Price(Rates):
    """Rates of a model, and what changes them."""

    tiers: tuple[Tier, ...] = Field(default=(), max_length=MAX_TIERS, description="Rates of requests with a long input, by rising `above`")
    batch: Annotated[Decimal, Money(Decimal(1))] | None = Field(
        default=None, description="Share of every rate that requests of the vendor's batch API cost, for example 0.5. Default: no such API"
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        limits = [tier.above for tier in self.tiers]
        for position, (low, high) in enumerate(pairwise(limits), 1):
            if high <= low:
                raise PydanticCustomError("HG1006", "tiers must rise", {"fix": f"write tier {position + 1} above {low}"})
        return self


class ModelModalities(Shape):
    """What goes in and comes out."""

    input: Annotated[tuple[Modality, ...], AfterValidator(distinct)] = Field(default=("text",), min_length=1, description="What it reads")
    output: Annotated[tuple[Modality, ...], AfterValidator(distinct)] = Field(default=("text",), min_length=1, description="What it makes")


class ModelEntry(Shape):
    """One model. What is not known is not written."""

    id: ModelId = Field(description="The vendor's name of the model, as targets name it")
    aliases: Annotated[tuple[ModelId, ...], AfterValidator(distinct)] = Field(
        default=(), max_length=MAX_ALIASES, description="Other names of the same model, such as dated ones"
    )
    context_window: Annotated[int, Quantity(1, 1_000_000_000)] | None = Field(default=None, description="Tokens, input and output together")
    max_output: Annotated[int, Quantity(1, 1_000_000_000)] | None = Field(default=None, description="Tokens of one answer at most")
    modalities: ModelModalities = Field(default_factory=ModelModalities, description="What goes in and comes out")
    capabilities: Annotated[tuple[Capability, ...], AfterValidator(distinct)] = Field(default=(), description="What it can do")
    reasoning: Annotated[tuple[ReasoningControl, ...], AfterValidator(distinct)] = Field(
        default=(), description="How its thinking is set: effort, budget (tokens), switch (on or off); always: not at all"
    )
    price: Price | None = Field(default=None, description="What it costs; without it the model is described only")
    checked: Day | None = Field(default=None, description="Day of the last comparison with the source; default: the catalogue's")
    source: Source | None = Field(default=None, description="URL of where it stands; default: the catalogue's")


class ModelCatalogSpec(Shape):
    """Models of a preset, or of one provider."""

    preset: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, description="Kind of provider that the entries hold for; a document of yours wins over what ships"
    )
    provider: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, description="Provider that the entries hold for, such as an account with a discount; wins over its preset's"
    )
    checked: Day = Field(description="Day on which the entries were last compared with their source, for example 2026-08-21")
    source: Source = Field(description="URL of where the entries were found, for example the vendor's price page")
    models: tuple[ModelEntry, ...] = Field(min_length=1, max_length=MAX_ENTRIES, description="The models; each name once")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.preset is None) == (self.provider is None):
            fix = "write preset: NAME or provider: NAME"
            raise PydanticCustomError("HG1014", "needs exactly one of preset and provider", {"fix": fix})
        seen: set[str] = set()
        for entry in self.models:
            for name in (entry.id, *entry.aliases):
                if name in seen:
                    fix = "keep one of the two"
                    raise PydanticCustomError("HG1016", 'names the model "{name}" twice', {"name": name, "fix": fix, "at": "models"})
                seen.add(name)
        return self
