"""The metrics of one process, made from the declarations in `names.py`, with a bound on what they can cost.

Every label has a cap on its distinct values and every metric one on its series; what comes later is counted under `other`, so that a
sum over a metric is always right and memory is bounded whatever clients or specs send. Values are cleaned of control characters and cut.

Series are plain numbers here and become prometheus-client's families when they are asked for: its own children take a lock for each
number and cost several times more, and one journal line moves about ten. Updates belong to one thread (the event loop);
`text` may run in another.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from control_plane.telemetry.names import NONE, OTHER, Kind, Metric

MAX_VALUE_CHARS: Final = 160
"""A label value is cut here: twice the longest provider/model name seen in vendors' lists."""

MAX_SERIES: Final = 20_000
"""Series per metric: about 10 MB of counters. 1,000 routes of three targets with a handful of outcomes each fit."""

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufffd]")

Labels = tuple[str | None, ...]


def clean_value(value: str | None) -> str:
    """What a label shows for `value`: `none` for nothing, otherwise printable and at most MAX_VALUE_CHARS long."""
    if not value:
        return NONE
    return _UNPRINTABLE.sub("_", value[:MAX_VALUE_CHARS])


class _Series:
    """The series of one metric: a list of numbers each, found by the raw label values."""

    def __init__(self, metric: Metric, width: int, max_series: int) -> None:
        self.metric = metric
        self._width = width
        self._max_series = max_series
        self._by_raw: dict[Labels, list[float]] = {}
        self._by_shown: dict[tuple[str, ...], list[float]] = {}
        self._known: tuple[set[str], ...] = tuple(set() for _ in metric.labels)

    def numbers(self, values: Labels) -> list[float]:
        """The numbers of one series, to be changed in place."""
        found = self._by_raw.get(values)
        return found if found is not None else self._admit(values)

    def shown(self) -> list[tuple[tuple[str, ...], list[float]]]:
        """All series by what their labels show; a copy, safe to walk in another thread."""
        return list(self._by_shown.items())

    def _admit(self, values: Labels) -> list[float]:
        labels = self.metric.labels
        if len(values) != len(labels):
            raise ValueError(f"{self.metric.name} has labels {[label.name for label in labels]}, got {len(values)} values")
        shown = tuple(self._bounded(at, value) for at, value in enumerate(values))
        if shown not in self._by_shown and len(self._by_shown) >= self._max_series:
            shown = (OTHER,) * len(labels)
        numbers = self._by_shown.setdefault(shown, [0.0] * self._width)
        # Raw values are remembered only while that cannot grow without bound: one entry for each series that could exist.
        if len(self._by_raw) < self._max_series:
            self._by_raw[values] = numbers
        return numbers

    def _bounded(self, at: int, value: str | None) -> str:
        text, known = clean_value(value), self._known[at]
        if text in known or text in (NONE, OTHER):
            return text
        if len(known) >= self.metric.labels[at].cap:
            return OTHER
        known.add(text)
        return text


class Counter:
    """Adds; never falls. Label values are given in the order of the declaration."""

    def __init__(self, series: _Series) -> None:
        self._series = series

    def add(self, *values: str | None, amount: float = 1.0) -> None:
        """Add `amount` >= 0. Raises ValueError below."""
        if amount < 0:
            raise ValueError(f"{self._series.metric.name} is a counter and cannot fall by {amount}")
        self._series.numbers(values)[0] += amount


class Gauge:
    """A value that moves both ways."""

    def __init__(self, series: _Series) -> None:
        self._series = series

    def set(self, *values: str | None, to: float) -> None:
        """Replace the value."""
        self._series.numbers(values)[0] = to

    def add(self, *values: str | None, amount: float = 1.0) -> None:
        """Move the value by `amount`, which may be negative."""
        self._series.numbers(values)[0] += amount


class Histogram:
    """Counts observations into the declared buckets. A series' numbers are one count a bucket, one above all of them, and the sum."""

    def __init__(self, series: _Series) -> None:
        self._series = series
        self._buckets = series.metric.buckets

    def observe(self, *values: str | None, value: float) -> None:
        """Record `value`, in the metric's unit."""
        numbers = self._series.numbers(values)
        numbers[bisect_left(self._buckets, value)] += 1
        numbers[-1] += value


class Metrics(Collector):
    """The registry of one process. Each metric exists once; asking again gives the same one."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._max_series = max_series
        self._series: dict[str, _Series] = {}

    def counter(self, metric: Metric) -> Counter:
        """The counter that `metric` declares."""
        return Counter(self._of(metric, Kind.COUNTER, 1))

    def gauge(self, metric: Metric) -> Gauge:
        """The gauge that `metric` declares."""
        return Gauge(self._of(metric, Kind.GAUGE, 1))

    def histogram(self, metric: Metric) -> Histogram:
        """The histogram that `metric` declares."""
        return Histogram(self._of(metric, Kind.HISTOGRAM, len(metric.buckets) + 2))

    def text(self) -> bytes:
        """Everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample by its exposed name and labels; None when it does not exist."""
        return self.registry.get_sample_value(name, labels)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """prometheus-client's view of it."""
        for series in list(self._series.values()):
            yield _family(series)

    def _of(self, metric: Metric, kind: Kind, width: int) -> _Series:
        if metric.kind is not kind:
            raise ValueError(f"{metric.name} is declared as a {metric.kind}, not as a {kind}")
        if metric.name not in self._series:
            self._series[metric.name] = _Series(metric, width, self._max_series)
            if not metric.labels:
                # Without labels there is one series, and it is there from the start: 0 is an answer, nothing is not.
                self._series[metric.name].numbers(())
        return self._series[metric.name]


def _family(series: _Series) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    metric = series.metric
    labels = [label.name for label in metric.labels]
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for values, numbers in series.shown():
            total, buckets = 0.0, []
            for bound, count in zip(bounds, numbers[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            histogram.add_metric(values, buckets, numbers[-1])
        return histogram
    family = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(metric.name, metric.help, labels=labels)
    for values, numbers in series.shown():
        family.add_metric(values, numbers[0])
    return family
