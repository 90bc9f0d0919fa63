"""Which dialects count tokens; the others have no such operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.api import ClientDialect, ProviderDialect
from control_plane.dialects.counting.sides import ClientSide, ProviderSide
from control_plane.dialects.counting.wire import WIRES
from control_plane.dialects.registry import DIALECTS, PROVIDERS

CLIENTS: Final[Mapping[str, ClientDialect]] = {name: ClientSide(DIALECTS[name], wire) for name, wire in WIRES.items() if name in DIALECTS}
"""Spoken by clients."""

COUNTERS: Final[Mapping[str, ProviderDialect]] = {name: ProviderSide(PROVIDERS[name], wire) for name, wire in WIRES.items()}
"""Spoken by providers."""
