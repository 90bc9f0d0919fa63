"""What a vendor is, as data: base URL, paths, how a key is sent, fixed headers, quirks for the translator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Final, Self

import msgspec
import yaml
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from control_plane.dialects.capabilities import MEANINGS, Capability
from control_plane.dialects.failure_classes import FailureClass
from control_plane.dialects.options import Fault, options_of, problem_of, schema_of_options
from control_plane.spec.base_url import MAX_URL
from control_plane.spec.dialect_names import WITHOUT_CHAT, OperationName, ProviderDialectName
from control_plane.spec.fields import check_base_url, check_error_status, check_headers, check_key_header, check_title, distinct
from control_plane.spec.nearest import did_you_mean, listed
from control_plane.spec.shape import Shape

MAX_HEADERS: Final = 32  # fixed headers of a preset
MAX_RULES: Final = 16  # for errors; they travel with every request to the translator
MAX_WORDS: Final = 100  # characters of a condition
MAX_LACKS: Final = 32
MAX_PATTERNS: Final = 32
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # thirty files at every start

_FOLDER: Final = resources.files("control_plane.spec.presets")

VendorPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^(/([a-z0-9_.-]+|\{(base_)?model\})(:[a-zA-Z]+)?)+(\?[A-Za-z0-9_.-]+=[A-Za-z0-9_.-]*(&[A-Za-z0-9_.-]+=[A-Za-z0-9_.-]*)*)?$",
        max_length=200,
    ),
]
"""`{model}` stands for the upstream name of the model, where a vendor has it in the path, `{base_model}` for the one behind an inference
profile of Bedrock's. A query is sent with every request; a
client's parameters go along, except those that the path's own query sets."""
Title = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(check_title)]
KeyPrefix = Annotated[str, StringConstraints(pattern=r"^[!-~ ]*$", max_length=32)]
HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
HeaderValue = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class PresetDialect(Shape):
    """Paths of one dialect, relative to the base URL."""

    path: VendorPath | None = Field(
        default=None,
        description="Path of a chat request, behind the base URL, for example /chat/completions; without it there is no chat",
    )
    operations: dict[OperationName, VendorPath] = Field(
        default_factory=dict, description="Paths of the other operations that exist, for example embeddings: /embeddings"
    )
    default: bool = Field(default=True, description="Whether a provider has the dialect unless its spec says otherwise")

    @model_validator(mode="after")
    def _useful(self) -> Self:
        if self.path is None and not self.operations:
            fix = "add path for chat, or operations"
            raise PydanticCustomError("HG1005", "offers nothing", {"fix": fix})
        return self

    def path_of(self, operation: str) -> str | None:
        """Path of an operation relative to the base URL, or None where the vendor has no such operation."""
        return self.path if operation == "chat" else {str(key): path for key, path in self.operations.items()}.get(operation)


class PresetAuth(Shape):
    """How the key is sent: header `header` with the value `prefix` + key."""

    header: Annotated[str, StringConstraints(max_length=64), AfterValidator(check_key_header)] = Field(
        description="Header that carries the key: authorization, x-api-key, api-key or x-goog-api-key"
    )
    prefix: KeyPrefix = Field(default="", description='What stands before the key, for example "Bearer " with the space')
    required: bool = Field(default=True, description="Whether the vendor asks for a key; without one a Provider gets a warning")


Words = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]*[!-~])?$", max_length=MAX_WORDS)]
ResponseHeader = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=100)]
"""In lower case, as Envoy hands them on."""
ModelPattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/@*-]+$", max_length=200)]


class ErrorRule(Shape):
    """What an error of this vendor means, where its dialect would not know: all conditions that are given must hold."""

    kind: FailureClass = Field(description="What such an error means; client_fault, context_too_long and content_policy are not retried")
    status: Annotated[int, Field(ge=200, le=599), AfterValidator(check_error_status)] | None = Field(
        default=None, description="HTTP status of the answer: 400 to 599, or 200 for an error inside a successful one"
    )
    code: Words | None = Field(default=None, description="The vendor's code, exactly, for example tool_use_failed")
    type: Words | None = Field(default=None, description="The vendor's type or status word, exactly")
    message: Words | None = Field(default=None, description="A part of the vendor's text, in any case of letters; * stands for anything")

    @model_validator(mode="after")
    def _conditional(self) -> Self:
        if all(value is None for value in (self.status, self.code, self.type, self.message)):
            fix = "add status, code, type or message"
            raise PydanticCustomError("HG1005", "a rule without a condition would hold for every error", {"fix": fix})
        return self


class Lack(Shape):
    """What models of the vendor lack of their dialect, so that a request for it goes elsewhere instead of being refused."""

    features: Annotated[tuple[Capability, ...], AfterValidator(distinct)] = Field(
        min_length=1, description="; ".join(f"{name}: {meaning.partition(';')[0]}" for name, meaning in MEANINGS.items())
    )
    models: Annotated[tuple[ModelPattern, ...], AfterValidator(distinct)] = Field(
        default=("*",), min_length=1, max_length=MAX_PATTERNS, description="Upstream names of the models, where * stands for anything"
    )


class RateLimitHeaders(Shape):
    """Response headers that speak of one unit."""

    remaining: ResponseHeader = Field(description="Header with what is left, for example x-ratelimit-remaining-requests")
    limit: ResponseHeader | None = Field(default=None, description="Header with the limit")
    reset: ResponseHeader | None = Field(
        default=None, description="Header with the time until there is more: seconds, a duration such as 1m30s, or a time"
    )


class PresetRateLimits(Shape):
    """Where answers say what is left of the account's rate limits."""

    requests: RateLimitHeaders | None = Field(default=None, description="Headers that speak of requests")
    tokens: RateLimitHeaders | None = Field(default=None, description="Headers that speak of tokens")


def _check_without_chat(dialects: dict[ProviderDialectName, PresetDialect]) -> dict[ProviderDialectName, PresetDialect]:
    for name, known in WITHOUT_CHAT.items():
        if name not in dialects:
            continue
        if dialects[name].path is not None:
            fix = f"write its paths under operations: {listed(known)}"
            raise PydanticCustomError("HG1015", "{name} has no chat, so no path of its own", {"name": name, "fix": fix})
        for operation in dialects[name].operations:
            if operation not in known:
                problem = {"name": name, "operation": operation, "fix": f"it has {listed(known)}"}
                raise PydanticCustomError("HG1015", "{name} has no operation {operation}", problem)
    return dialects


class PresetSpec(Shape):
    """A kind of provider: the same fields in the presets that ship with Headgate and in those that operators write."""

    title: Title = Field(description="The vendor's name for people")
    base_url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL), AfterValidator(check_base_url)] | None = Field(
        default=None, description="http(s) URL before all paths; without it every Provider must have a baseUrl of its own"
    )
    base_url_needs: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=64)], ...] = Field(
        default=(),
        max_length=8,
        description="Steps that the path of a Provider's baseUrl must have, each with a value behind it, for example [projects, locations]",
    )
    dialects: Annotated[dict[ProviderDialectName, PresetDialect], AfterValidator(_check_without_chat)] = Field(
        min_length=1, description="Dialects that the vendor speaks, each with its paths; clients of the others are translated"
    )
    auth: PresetAuth = Field(description="How the key is sent")
    headers: Annotated[dict[HeaderName, HeaderValue], AfterValidator(check_headers)] = Field(
        default_factory=dict, max_length=MAX_HEADERS, description="Fixed request headers, literal values; not for keys"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="What the translator must know of the vendor's habits; which options there are depends on the dialects",
        json_schema_extra=lambda schema: schema.update(schema_of_options()),
    )

    errors: tuple[ErrorRule, ...] = Field(
        default=(), max_length=MAX_RULES, description="Rules for errors that the vendor words in its own way; the first that fits decides"
    )
    lacks: tuple[Lack, ...] = Field(
        default=(), max_length=MAX_LACKS, description="What the vendor or some of its models lack: features lead to the next target"
    )

    rate_limits: PresetRateLimits | None = Field(
        default=None, description="Response headers with what is left of the vendor's rate limits, for metrics, get targets and retry-after"
    )


class Preset(PresetSpec):
    """A preset that ships with Headgate. One that an operator writes has its name in the document's metadata."""

    name: str


@dataclass(frozen=True, slots=True)
class BadOption:
    """An option that no dialect of the preset knows, or that has a bad value: a finding without its place."""

    name: str
    code: str
    message: str
    fix: str


def bad_options(preset: PresetSpec) -> Iterator[BadOption]:
    """Everything that is wrong with the options of a preset."""
    known = options_of(preset.dialects)
    for name, value in preset.options.items():
        if name not in known:
            spoken = " and ".join(preset.dialects)
            fix = did_you_mean(name, known) or f"remove it; the options of {spoken} are {listed(known, 20)}"
            yield BadOption(name, "HG1019", f"unknown option of {spoken}", fix)
        elif (problem := problem_of(known[name], value)) is not None:
            yield BadOption(name, _CODES[problem.fault], problem.message, problem.fix)


_CODES: Final[Mapping[Fault, str]] = {"type": "HG1004", "value": "HG1015", "bounds": "HG1006", "form": "HG1007"}


@cache
def load_presets() -> Mapping[str, Preset]:
    """The presets that ship with Headgate, by name. A broken one is a broken build: pydantic.ValidationError or ValueError."""
    found: dict[str, Preset] = {}
    for file in sorted((entry for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name):
        preset = read_preset(file.read_text(encoding="utf-8"))
        found[preset.name] = preset
    return MappingProxyType(dict(sorted(found.items())))


def read_preset(text: str) -> Preset:
    """A preset file. Raises pydantic.ValidationError or ValueError."""
    preset = Preset.model_validate_json(msgspec.json.encode(yaml.load(text, Loader=_LOADER)))
    for bad in bad_options(preset):
        raise ValueError(f"preset {preset.name}: options.{bad.name}: {bad.message}; {bad.fix}")
    return preset


def preset_text(name: str) -> str:
    """The file of a shipped preset as it was written, comments included."""
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
