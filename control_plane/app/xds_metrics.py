"""Metrics of the configuration path, kept up to date from what nodes answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from control_plane.telemetry import names
from control_plane.telemetry.metrics import Metrics
from control_plane.xds.nodes import Histogram, NodeRegistry


class _Observed(Histogram):
    """The registry's histogram, which tells a metric of every value too."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        super().__init__()
        self._tell = tell

    def observe(self, seconds: float) -> None:
        super().observe(seconds)
        self._tell(seconds)


class XdsMetrics:
    """Copies the registry's counts into metrics at every change."""

    def __init__(self, metrics: Metrics, nodes: NodeRegistry) -> None:
        self._nodes = nodes
        self._streams = metrics.gauge(names.XDS_STREAMS)
        self._rejects = metrics.counter(names.XDS_REJECTS)
        self._pushes = metrics.counter(names.XDS_PUSHES)
        self._convergence = metrics.histogram(names.XDS_CONVERGENCE)
        self._seen_rejects: Counter[str] = Counter()
        self._seen_pushes: Counter[str] = Counter()
        nodes.convergence = _Observed(lambda seconds: self._convergence.observe(value=seconds))
        nodes.on_change(self._update)

    def _update(self) -> None:
        self._streams.set(to=len(self._nodes))
        for kind, count in (self._nodes.nacks - self._seen_rejects).items():
            self._rejects.add(kind, amount=count)
        self._seen_rejects = Counter(self._nodes.nacks)
        for reason, count in (self._nodes.push_reasons - self._seen_pushes).items():
            self._pushes.add(reason, amount=count)
        self._seen_pushes = Counter(self._nodes.push_reasons)
