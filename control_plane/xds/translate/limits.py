"""What Envoy must not limit by itself."""

from __future__ import annotations

from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import CircuitBreakers, CircuitBreakersThresholds

NO_LIMIT: Final = 1_000_000
"""Envoy's own limits are 1,024 each; a stream holds one for minutes. What bounds load is decided by us."""


def no_limits() -> CircuitBreakers:
    """Circuit breakers that never break."""
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(max_connections=NO_LIMIT, max_pending_requests=NO_LIMIT, max_requests=NO_LIMIT, max_retries=NO_LIMIT)
        ]
    )
