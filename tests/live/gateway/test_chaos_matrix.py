"""R3: what a network can do between Envoy and a vendor, for every provider dialect, streamed and whole, on both lanes, seen by the
official SDKs. Before content nobody sees it; after content it is an error; half an answer is never taken for a whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from control_plane.demo.fault_proxy import Trouble, Way
from control_plane.demo.simulators.compose import filler
from tests.live.gateway.matrix import CLIENTS, MORE_PROVIDERS, VENDORS
from tests.live.gateway.rig import MODELS, Rig, RigFactory

TOKENS = 120
QUESTION = f"go [[sim tokens={TOKENS} delay_ms=1 reasoning=0]]"
WHOLE = "".join(filler(TOKENS))

SPARE = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: spare}}
spec: {{preset: openai-compatible, baseUrl: "{local_direct}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""
"""The second vendor of every plan: nothing is between it and Envoy."""

ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan: [{{targets: [{{provider: {provider}, model: "{model}"}}]}}, {{targets: [{{provider: spare, model: llama-3.3-70b}}]}}]
  timeouts: {{connect: 500ms, firstToken: 3s, idle: 7500ms, total: 30s}}
  firstEventHold: true
"""

BEFORE: dict[str, Way] = {
    "refused": Way(listens="no"),
    "connects hang": Way(listens="full"),
    "reset at once": Way(listens="reset"),
    "reset inside the request": Way(up=Trouble(ends="reset", at=40)),
    "half-close inside the request": Way(up=Trouble(ends="half_close", at=40)),
    "the request stalls": Way(up=Trouble(ends="stall", at=40)),
    "reset before the answer": Way(down=Trouble(ends="reset")),
    "closed before the answer": Way(down=Trouble(ends="close")),
    "reset inside the head": Way(down=Trouble(ends="reset", at=30)),
    "half-close inside the head": Way(down=Trouble(ends="half_close", at=30)),
    "stall inside the head": Way(down=Trouble(ends="stall", at=30)),
}
"""The first vendor gets no further than this: the second one answers, and no client notices."""

HARMLESS: dict[str, Way] = {
    "latency": Way(up=Trouble(latency_ms=60), down=Trouble(latency_ms=60)),
    "the vendor reads slowly": Way(up=Trouble(bytes_per_s=4_000)),
    "a narrow way back": Way(down=Trouble(bytes_per_s=60_000)),
}
"""Slow, and whole."""

AFTER: dict[str, Way] = {
    "reset": Way(down=Trouble(ends="reset", at=3_000)),
    "closed inside a chunk": Way(down=Trouble(ends="close", at=3_000)),
    "half-close": Way(down=Trouble(ends="half_close", at=3_000)),
    "stall": Way(down=Trouble(ends="stall", at=3_000)),
    "reset in a short answer": Way(down=Trouble(ends="reset", at=500)),
    "closed in a short answer": Way(down=Trouble(ends="close", at=500)),
}
"""Somewhere inside the answer: in a stream after content, in a whole answer or before content where the dialect is wordy."""


@dataclass(frozen=True)
class Cell:
    """One client on one vendor, and what its user saw: the text, or the SDK's error."""

    client: str
    vendor: str
    stream: bool
    text: str | None = None
    error: str = ""

    def __str__(self) -> str:
        seen = f"{len(self.text)} of {len(WHOLE)} characters" if self.text is not None else self.error[:120]
        return f"{self.client} at {self.vendor}, {'streamed' if self.stream else 'whole'}: {seen}"


def cells() -> list[Cell]:
    """Every provider dialect with the client of its own (or the first one) and with one that has to be translated; streamed and whole."""
    names = list(CLIENTS)
    pairs = []
    for number, dialect in enumerate(VENDORS):
        own = dialect if dialect in CLIENTS else "anthropic-messages"
        pairs += [(own, dialect), (next(n for n in names[number % len(names) :] + names if n != own), dialect)]
    return [Cell(client, vendor, stream) for client, vendor in pairs for stream in (False, True)]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    routes = "".join(ROUTE.format(name=f"via-{p}", provider=p, model=MODELS[p]) for p in VENDORS.values())
    return make_rig(routes, providers=MORE_PROVIDERS + SPARE, proxied=True)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as found:
        yield found


def ask_all(rig: Rig, threads: ThreadPoolExecutor, way: Way) -> list[Cell]:
    """Every cell while the way to all vendors is like this; the way is clear again at the end."""

    def ask(cell: Cell) -> Cell:
        try:
            said = CLIENTS[cell.client](rig.url, f"via-{VENDORS[cell.vendor]}", QUESTION, cell.stream)
        except Exception as error:  # whatever its SDK raises is what its user sees
            return Cell(cell.client, cell.vendor, cell.stream, error=repr(error))
        return Cell(cell.client, cell.vendor, cell.stream, said.text)

    set_way(rig, way)
    try:
        return list(threads.map(ask, cells()))
    finally:
        set_way(rig, Way())


def set_way(rig: Rig, way: Way) -> None:
    async def change() -> None:
        for proxy in rig.proxies.values():
            proxy.way = way
            if way == Way():
                proxy.cut()  # what was stalled or held open does not meet the next test
        await asyncio.sleep(0.1)

    rig.loop.run(change())


def counted(rig: Rig) -> int:
    return sum(vendor.stats.requests for vendor in rig.vendors.values())


@pytest.mark.parametrize("name", HARMLESS)
def test_r3_slow_ways_only_take_longer(rig: Rig, threads: ThreadPoolExecutor, name: str) -> None:
    rig.heal()
    seen = ask_all(rig, threads, HARMLESS[name])
    assert not [str(cell) for cell in seen if cell.text != WHOLE]


@pytest.mark.parametrize("name", BEFORE)
def test_r3_before_content_nobody_sees_it(rig: Rig, threads: ThreadPoolExecutor, name: str) -> None:
    seen = ask_all(rig, threads, BEFORE[name])
    assert not [str(cell) for cell in seen if cell.text != WHOLE]


@pytest.mark.parametrize("name", AFTER)
def test_r3_after_content_it_is_an_error_and_never_half_an_answer(rig: Rig, threads: ThreadPoolExecutor, name: str) -> None:
    seen = ask_all(rig, threads, AFTER[name])
    assert not [str(cell) for cell in seen if cell.text not in (WHOLE, None)], "half an answer was taken for a whole one"
    broken = [cell for cell in seen if cell.text is None]
    print(f"{len(broken)} of {len(seen)} saw an error, the others a whole answer")
    if AFTER[name].down.at > 1_000:
        assert [cell for cell in broken if cell.stream], "the trouble came too late to hit a stream: the test shows nothing"


def test_r3_the_second_vendor_was_needed(rig: Rig, threads: ThreadPoolExecutor) -> None:
    """The matrix notices: with a clear way the first vendor answers every cell, and with a closed one none."""
    for way, first in ((Way(), True), (Way(listens="no"), False)):
        rig.heal()
        seen = ask_all(rig, threads, way)
        assert not [str(cell) for cell in seen if cell.text != WHOLE]
        straight = sum(v.stats.requests for n, v in rig.vendors.items() if n != "local")
        assert straight == (len([c for c in seen if VENDORS[c.vendor] != "local"]) if first else 0)
