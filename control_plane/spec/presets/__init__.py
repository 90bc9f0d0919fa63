"""Kinds of providers as data: one YAML file each."""

from control_plane.spec.presets.preset import (
    DIALECT_NAMES,
    PROVIDER_ONLY_NAMES,
    DialectName,
    OperationName,
    Preset,
    PresetAuth,
    PresetDialect,
    ProviderDialectName,
    load_presets,
)

__all__ = [
    "DIALECT_NAMES",
    "PROVIDER_ONLY_NAMES",
    "DialectName",
    "OperationName",
    "Preset",
    "PresetAuth",
    "PresetDialect",
    "ProviderDialectName",
    "load_presets",
]
