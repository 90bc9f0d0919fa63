"""Initial metadata as targets had it while each was a cluster for one client dialect and operation.

Envoys keep such a configuration until they are given a new one, and a last known good file may hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from control_plane.dialects.told import Speaks

CLIENT_DIALECT: Final = "x-headgate-client-dialect"


def renewed(metadata: Mapping[str, str]) -> dict[str, str]:
    """The same as targets and routes say it now. Raises KeyError where a field is missing."""
    client, provider = metadata[CLIENT_DIALECT], metadata["x-headgate-provider-dialect"]
    operation = metadata.get("x-headgate-operation", "chat")
    asked = {
        "dialect": client,
        "operation": operation,
        "by_path": metadata.get("x-headgate-named-by") == "path",
        "thinking_of": ["-"] if metadata.get("x-headgate-thinking") == "none" else [],
        "unsupported_params": metadata.get("x-headgate-unsupported-params", "drop"),
        "foreign_reasoning": metadata.get("x-headgate-foreign-reasoning", "strip"),
    }
    offers = [Speaks(provider, operation, metadata["x-headgate-path"])]
    return {**metadata, "x-headgate-asked": msgspec.json.encode(asked).decode(), "x-headgate-offers": msgspec.json.encode(offers).decode()}
