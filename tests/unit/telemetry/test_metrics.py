"""What a metric costs is bounded whatever is thrown at it, and what it says stays true."""

from __future__ import annotations

import random
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control_plane.telemetry import names
from control_plane.telemetry.metrics import MAX_VALUE_CHARS, Metrics, clean_value
from control_plane.telemetry.names import Kind, Label, Metric

SMALL = Label("route", "x", 3, "x")
COUNTER = Metric("headgate_x_total", Kind.COUNTER, "x", "An x.", (SMALL, Label("target", "x", 100, "x")))


def test_values_above_a_labels_cap_are_other_and_the_sum_stays_right() -> None:
    metrics = Metrics()
    counter = metrics.counter(COUNTER)
    for n in range(50):
        for _ in range(2):
            counter.add(f"route-{n}", "t")
    samples = {sample.labels["route"]: sample.value for family in metrics.registry.collect() for sample in family.samples}
    assert samples == {"route-0": 2, "route-1": 2, "route-2": 2, "other": 94}


def test_series_of_one_metric_are_bounded() -> None:
    metrics = Metrics(max_series=20)
    counter = metrics.counter(COUNTER)
    chance = random.Random(1)
    for _ in range(5000):
        counter.add(f"r{chance.randint(0, 9)}", f"t{chance.randint(0, 999)}")
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert len(samples) <= 21
    assert sum(sample.value for sample in samples) == 5000
    assert len(counter._series._by_raw) <= 20


def test_no_value_breaks_the_exposition() -> None:
    metrics = Metrics()
    counter = metrics.counter(Metric("headgate_y_total", Kind.COUNTER, "x", "A y.", (Label("route", "x", 1000, "x"),)))
    evil = [
        "a\nb",
        'q"q',
        "back\\slash",
        "\x00\x1b[31m",
        "\ud800",
        "é",
        "x" * 10_000,
        "{}",
        "",
        "# HELP",
        "\u2028",
        "a\r\nheadgate_fake_total 1",
    ]
    for value in evil:
        counter.add(value)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    assert [family.name for family in families] == ["headgate_y"]
    assert sum(sample.value for sample in families[0].samples) == len(evil)
    assert max(len(sample.labels["route"]) for sample in families[0].samples) == MAX_VALUE_CHARS


def test_nothing_is_none() -> None:
    assert (clean_value(None), clean_value(""), clean_value("x")) == ("none", "none", "x")


def test_each_metric_is_declared_once_well_named_and_can_be_made() -> None:
    metrics = Metrics()
    assert len({metric.name for metric in names.METRICS}) == len(names.METRICS) >= 20
    for metric in names.METRICS:
        assert re.fullmatch(r"headgate_[a-z0-9_]+", metric.name)
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.unit != "seconds" or metric.name.endswith("_seconds")
        assert metric.help.endswith(".")
        values = ["v"] * len(metric.labels)
        if metric.kind is Kind.COUNTER:
            metrics.counter(metric).add(*values)
        elif metric.kind is Kind.GAUGE:
            metrics.gauge(metric).set(*values, to=1)
        else:
            metrics.histogram(metric).observe(*values, value=1)
    shown = {family.name for family in text_string_to_metric_families(metrics.text().decode())}
    assert shown == {metric.name.removesuffix("_total") for metric in names.METRICS}


def test_a_metric_used_wrongly_says_so() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="declared as a counter, not as a gauge"):
        metrics.gauge(COUNTER)
    with pytest.raises(ValueError, match=r"has labels \['route', 'target'\], got 1"):
        metrics.counter(COUNTER).add("only one")


def test_asking_twice_gives_the_same_metric() -> None:
    metrics = Metrics()
    metrics.counter(COUNTER).add("r", "t")
    metrics.counter(COUNTER).add("r", "t", amount=2)
    assert metrics.value("headgate_x_total", route="r", target="t") == 3


def test_a_gauge_moves_both_ways() -> None:
    metrics = Metrics()
    gauge = metrics.gauge(names.XDS_STREAMS)
    gauge.set(to=3)
    gauge.add(amount=-1)
    assert metrics.value("headgate_xds_streams") == 2
