"""Simulators, and a call to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from control_plane.demo.simulators import Pace, Simulator
from control_plane.demo.wire_client import Answer
from control_plane.demo.wire_client import call as send

Call = Callable[..., Coroutine[Any, Any, Answer]]

CREDENTIALS = {
    "openai": {"authorization": "Bearer sk-a"},
    "anthropic": {"x-api-key": "sk-a", "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": "sk-a"},
    "cohere": {"authorization": "Bearer sk-a"},
}


@pytest.fixture
def call() -> Call:
    """`await call(simulator, path, body, method="POST", headers=the vendor's credentials, timeout_s=5)` on a connection of its own."""

    async def to(
        simulator: Simulator,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Answer:
        given = CREDENTIALS[simulator.vendor] if headers is None else headers
        return await send(simulator.url + path, body, method=method, headers=given, timeout_s=timeout_s)

    return to


@pytest.fixture
async def openai() -> AsyncIterator[Simulator]:
    async with Simulator("openai", keys=["sk-a", "sk-b"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def anthropic() -> AsyncIterator[Simulator]:
    async with Simulator("anthropic", keys=["sk-a", "sk-b"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def gemini() -> AsyncIterator[Simulator]:
    async with Simulator("gemini", keys=["sk-a", "sk-b"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def cohere() -> AsyncIterator[Simulator]:
    async with Simulator("cohere", keys=["sk-a", "sk-b"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator
