"""Which entry is in force for a model: the operator's for the provider, the operator's for its preset, the one that ships."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Final

from control_plane.spec.model_catalog import ModelCatalogSpec, ModelEntry
from control_plane.spec.models import ModelCatalog, SpecSet
from control_plane.spec.yaml_tree import read_documents

_FOLDER: Final = resources.files("control_plane.catalogue.models")
SHIPPED: Final = "shipped"


@dataclass(frozen=True, slots=True)
class InForce:
    """An entry and where it comes from: `origin` is `shipped` or the document's name; `scope` a preset or `provider NAME`."""

    entry: ModelEntry
    scope: str
    origin: str
    checked: date
    source: str

    def age_days(self, today: date) -> int:
        """Days since the entry was compared with its source."""
        return (today - self.checked).days


@cache
def shipped() -> tuple[ModelCatalogSpec, ...]:
    """The catalogue that ships, a file a vendor, by preset. A broken one is a broken build: pydantic.ValidationError."""
    files = sorted((file for file in _FOLDER.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(ModelCatalogSpec.model_validate(next(read_documents(file.read_text(encoding="utf-8"))).plain()) for file in files)


class Catalogue:
    """Answers `find`; built from what ships and the documents of a set."""

    def __init__(self, documents: Iterable[ModelCatalog] = (), presets: Mapping[str, str] | None = None) -> None:
        """`presets` says which preset each provider has."""
        self._presets = dict(presets or {})
        self._found: dict[tuple[str, str], InForce] = {}
        for spec in shipped():
            self._add(spec, SHIPPED)
        for document in documents:
            self._add(document.spec, document.name)

    @classmethod
    def of(cls, specs: SpecSet) -> Catalogue:
        """What is in force with a set of specs."""
        return cls(specs.catalogs, {provider.name: provider.spec.preset for provider in specs.providers})

    def _add(self, spec: ModelCatalogSpec, origin: str) -> None:
        scope = f"provider {spec.provider}" if spec.provider is not None else spec.preset or ""
        for entry in spec.models:
            found = InForce(entry, scope, origin, entry.checked or spec.checked, entry.source or spec.source)
            for name in (entry.id, *entry.aliases):
                self._found[scope, name] = found

    def find(self, provider: str, model: str) -> InForce | None:
        """The entry for a target, or None when nobody knows the model."""
        own = self._found.get((f"provider {provider}", model))
        return own or self._found.get((self._presets.get(provider, ""), model))

    def preset(self, preset: str, model: str) -> InForce | None:
        """The entry for a model of a preset, whatever the provider."""
        return self._found.get((preset, model))

    def __iter__(self) -> Iterator[InForce]:
        """Every entry in force once, by scope and model."""
        for (_, name), found in sorted(self._found.items()):
            if name == found.entry.id:
                yield found
