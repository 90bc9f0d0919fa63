"""Scripted vendors for the tests of the edge filter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.lua.edge_envoy import Vendor


@pytest.fixture(scope="module")
def vendor_a() -> Iterator[Vendor]:
    vendor = Vendor()
    yield vendor
    vendor.close()


@pytest.fixture(scope="module")
def vendor_b() -> Iterator[Vendor]:
    vendor = Vendor()
    yield vendor
    vendor.close()
