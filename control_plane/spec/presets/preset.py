"""What a vendor is, as data: base URL, paths, how a key is sent, fixed headers, quirks for the translator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

DialectName = Literal["openai-chat", "openai-responses", "anthropic-messages"]
OperationName = Literal["chat", "embeddings", "count_tokens", "models"]
ProviderDialectName = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini-generate-content"]
DIALECT_NAMES: Final[tuple[DialectName, ...]] = ("openai-chat", "openai-responses", "anthropic-messages")
"""Dialects that clients speak."""
PROVIDER_ONLY_NAMES: Final[tuple[ProviderDialectName, ...]] = ("gemini-generate-content",)
"""Dialects that so far only providers speak."""

VendorPath = Annotated[str, StringConstraints(pattern=r"^(/([a-z0-9_.-]+|\{model\})(:[a-zA-Z]+)?)+$", max_length=200)]
"""`{model}` stands for the upstream name of the model, for dialects that have it in the path."""
HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=64)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class PresetDialect(_Data):
    """Paths of one dialect, relative to the base URL."""

    path: VendorPath = Field(description="Path of a chat request")
    operations: dict[OperationName, VendorPath] = Field(default_factory=dict, description="Paths of the other operations that exist")
    default: bool = Field(default=True, description="Whether a provider has the dialect unless its spec says otherwise")

    def path_of(self, operation: str) -> str | None:
        """Path of an operation relative to the base URL, or None where the vendor has no such operation."""
        return self.path if operation == "chat" else {str(key): path for key, path in self.operations.items()}.get(operation)


class PresetAuth(_Data):
    """How the key is sent: header `header` with the value `prefix` + key."""

    header: HeaderName
    prefix: Annotated[str, StringConstraints(max_length=32)] = ""
    required: bool = True


class Preset(_Data):
    """A kind of provider."""

    name: str
    title: str
    base_url: str | None = None
    dialects: dict[ProviderDialectName, PresetDialect]
    auth: PresetAuth
    headers: dict[HeaderName, str] = Field(default_factory=dict)
    options: dict[str, str | int | bool] = Field(default_factory=dict)


@cache
def load_presets() -> Mapping[str, Preset]:
    """The presets that ship with Headgate, by name. A broken one is a broken build: pydantic.ValidationError."""
    folder = resources.files("control_plane.spec.presets")
    found: dict[str, Preset] = {}
    for file in sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name):
        preset = Preset.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        found[preset.name] = preset
    return MappingProxyType(found)
