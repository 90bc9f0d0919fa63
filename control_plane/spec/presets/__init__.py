"""Kinds of providers as data: one YAML file each."""

from control_plane.spec.dialect_names import DIALECT_NAMES, DialectName, OperationName
from control_plane.spec.presets.preset import (
    BadOption,
    Preset,
    PresetAuth,
    PresetDialect,
    PresetSpec,
    bad_options,
    load_presets,
    preset_text,
    read_preset,
)

__all__ = [
    "DIALECT_NAMES",
    "BadOption",
    "DialectName",
    "OperationName",
    "Preset",
    "PresetAuth",
    "PresetDialect",
    "PresetSpec",
    "bad_options",
    "load_presets",
    "preset_text",
    "read_preset",
]
