"""What the admin API shows. The composition root implements it; this package only writes it as HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Row = Mapping[str, object]
"""One item of a list, JSON types only. Never holds a secret."""


class GatewayView(Protocol):
    """The running gateway, read only. Every method answers from memory, at once."""

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Whether traffic is served, and if not, why: one short sentence a reason."""

    def parts(self) -> Sequence[Row]:
        """Health of the parts: {"part": "envoy", "up": true, "restarts": 0, "detail": "pid 4711"}."""

    def proxies(self) -> Sequence[Row]:
        """One row a connected Envoy, as `xds.nodes.NodeRegistry.to_dict()` makes them; see `cli/get.py` for the keys it prints."""

    def routes(self) -> Sequence[Row]:
        """{"route": name, "models": [...], "plan": [[{"target", "weight", "lane"}, ...], ...]}."""

    def providers(self) -> Sequence[Row]:
        """{"provider": name, "dialect": ..., "base_url": ..., "targets": count, "egress": [what differs from the usual way to it, ...]}."""

    def credentials(self) -> Sequence[Row]:
        """{"provider", "source", "state", "expires_at", "refreshed_at", "next_at", "error"}: times in seconds since the epoch, or None."""

    def targets(self) -> Sequence[Row]:
        """Rows of `signals.windows.TargetWindows.rows`, with what the plan says beside them."""

    def findings(self) -> Sequence[Row]:
        """`spec.findings.Finding.as_dict()` of the last specs read."""

    def snapshot_version(self) -> str:
        """The version of the configuration that is being served, empty before the first."""

    def xds_dump(self, node: str | None) -> Sequence[Row] | None:
        """What each node (or that one) wants and holds, secrets redacted; None when there is no such node."""

    def metrics_text(self) -> bytes:
        """The process's metrics in Prometheus' text format. Called in a thread."""
