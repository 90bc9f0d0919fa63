"""The metrics of one process, made from the declarations in `names.py`, with a bound on what they can cost.

Every label has a cap on its distinct values and every metric one on its series; what comes later is counted under `other`, so that a
sum over a metric is always right and memory is bounded whatever clients or specs send. Values are cleaned of control characters and cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from control_plane.telemetry.names import NONE, OTHER, Kind, Metric

MAX_VALUE_CHARS: Final = 160
"""A label value is cut here: twice the longest provider/model name seen in vendors' lists."""

MAX_SERIES: Final = 20_000
"""Series per metric: about 10 MB of counters. 1,000 routes of three targets with a handful of outcomes each fit."""

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufffd]")

# One `_created` gauge beside every counter would double the size of a scrape and tells a Prometheus server nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]

_Child = TypeVar("_Child", PrometheusCounter, PrometheusGauge, PrometheusHistogram)


def clean_value(value: str | None) -> str:
    """What a label shows for `value`: `none` for nothing, otherwise printable and at most MAX_VALUE_CHARS long."""
    if not value:
        return NONE
    return _UNPRINTABLE.sub("_", value[:MAX_VALUE_CHARS])


class _Series(Generic[_Child]):
    """The labelled children of one metric, looked up by the raw label values."""

    def __init__(self, metric: Metric, parent: _Child, max_series: int) -> None:
        self._metric = metric
        self._parent: _Child = parent
        self._max_series = max_series
        self._children: dict[tuple[str | None, ...], _Child] = {}
        self._made: dict[tuple[str, ...], _Child] = {}
        self._known: tuple[set[str], ...] = tuple(set() for _ in metric.labels)
        self._overflow = (OTHER,) * len(metric.labels)

    def child(self, values: tuple[str | None, ...]) -> _Child:
        found = self._children.get(values)
        return found if found is not None else self._admit(values)

    def _admit(self, values: tuple[str | None, ...]) -> _Child:
        if len(values) != len(self._metric.labels):
            raise ValueError(f"{self._metric.name} has labels {[label.name for label in self._metric.labels]}, got {len(values)} values")
        shown = tuple(self._bounded(at, value) for at, value in enumerate(values))
        if shown not in self._made:
            if len(self._made) >= self._max_series:
                shown = self._overflow
            if shown not in self._made:
                self._made[shown] = self._parent.labels(*shown) if shown else self._parent
        child = self._made[shown]
        # Raw values are remembered only while that cannot grow without bound: one entry for each series that could exist.
        if len(self._children) < self._max_series:
            self._children[values] = child
        return child

    def _bounded(self, at: int, value: str | None) -> str:
        text, known = clean_value(value), self._known[at]
        if text in known or text in (NONE, OTHER):
            return text
        if len(known) >= self._metric.labels[at].cap:
            return OTHER
        known.add(text)
        return text


class Counter:
    """Adds; never falls. Label values are given in the order of the declaration."""

    def __init__(self, series: _Series[PrometheusCounter]) -> None:
        self._series = series

    def add(self, *values: str | None, amount: float = 1.0) -> None:
        """Add `amount` >= 0."""
        self._series.child(values).inc(amount)


class Gauge:
    """A value that moves both ways."""

    def __init__(self, series: _Series[PrometheusGauge]) -> None:
        self._series = series

    def set(self, *values: str | None, to: float) -> None:
        """Replace the value."""
        self._series.child(values).set(to)

    def add(self, *values: str | None, amount: float = 1.0) -> None:
        """Move the value by `amount`, which may be negative."""
        self._series.child(values).inc(amount)


class Histogram:
    """Counts observations into the declared buckets."""

    def __init__(self, series: _Series[PrometheusHistogram]) -> None:
        self._series = series

    def observe(self, *values: str | None, value: float) -> None:
        """Record `value`, in the metric's unit."""
        self._series.child(values).observe(value)


class Metrics:
    """The registry of one process. Each metric exists once; asking again gives the same one."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._max_series = max_series
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, metric: Metric) -> Counter:
        """The counter that `metric` declares."""
        if metric.name not in self._counters:
            _require(metric, Kind.COUNTER)
            made = PrometheusCounter(metric.name.removesuffix("_total"), metric.help, _label_names(metric), registry=self.registry)
            self._counters[metric.name] = Counter(_Series(metric, made, self._max_series))
        return self._counters[metric.name]

    def gauge(self, metric: Metric) -> Gauge:
        """The gauge that `metric` declares."""
        if metric.name not in self._gauges:
            _require(metric, Kind.GAUGE)
            made = PrometheusGauge(metric.name, metric.help, _label_names(metric), registry=self.registry)
            self._gauges[metric.name] = Gauge(_Series(metric, made, self._max_series))
        return self._gauges[metric.name]

    def histogram(self, metric: Metric) -> Histogram:
        """The histogram that `metric` declares."""
        if metric.name not in self._histograms:
            _require(metric, Kind.HISTOGRAM)
            made = PrometheusHistogram(metric.name, metric.help, _label_names(metric), registry=self.registry, buckets=metric.buckets)
            self._histograms[metric.name] = Histogram(_Series(metric, made, self._max_series))
        return self._histograms[metric.name]

    def text(self) -> bytes:
        """Everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample by its exposed name and labels; None when it does not exist."""
        return self.registry.get_sample_value(name, labels)


def _require(metric: Metric, kind: Kind) -> None:
    if metric.kind is not kind:
        raise ValueError(f"{metric.name} is declared as a {metric.kind}, not as a {kind}")


def _label_names(metric: Metric) -> Sequence[str]:
    return [label.name for label in metric.labels]
