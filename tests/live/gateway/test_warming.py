"""New providers, gone providers and new keys under load: nobody gets a 5xx, no stream is cut, and a new key is used within a second."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from control_plane.demo.simulators import Simulator
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

ROUNDS = 4

LATECOMER = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec: {{preset: {preset}, baseUrl: "{url}/v1", allowInsecure: true, credentials: [{{secretRef: {{file: {key}}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan: [{{targets: [{{provider: {name}, model: {model}}}]}}]
"""


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("steady", "openai") + route("steady-translated", "anthropic"))


def write(path: Path, text: str) -> None:
    """As careful operators do it: a new file, renamed over the old one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def latecomer(rig: Rig, name: str, vendor: str, key: Path) -> str:
    model, preset = {"local": ("llama-3.3-70b", "openai-compatible"), "anthropic": ("claude-sonnet-5", "anthropic")}[vendor]
    return LATECOMER.format(name=name, preset=preset, url=rig.vendors[vendor].url, key=key, model=model)


class Load:
    """Streams on the steady routes, and short requests of both dialects at the models that come and go."""

    def __init__(self, rig: Rig, models: list[str]) -> None:
        self.streams: list[load.Answer] = []
        self.short: list[load.Answer] = []
        self._client = load.Client(rig.url)
        self._models = models
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._stream(i)) for i in range(8)]
        self._tasks += [asyncio.create_task(self._ask(i)) for i in range(3)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        self._client.close()

    async def _stream(self, i: int) -> None:
        make = load.chat if i % 2 else load.messages
        while not self._stop.is_set():
            model = ("steady", "steady-translated")[i // 2 % 2]
            self.streams.append(await self._client.post(*make(model, True, "hello [[sim tokens=60 delay_ms=15]]")))

    async def _ask(self, i: int) -> None:
        while not self._stop.is_set():
            for model in self._models:
                make = load.chat if i % 2 else load.messages
                self.short.append(await self._client.post(*make(model, i == 2)))
            await asyncio.sleep(0.005)

    def check(self) -> None:
        """No stream was cut; the short ones were served, or the model was unknown."""
        assert [problem for a in self.streams if (problem := load.served(a))] == []
        wrong = [a for a in self.short if a.status != 404 and load.served(a)]
        assert not wrong, f"{len(wrong)} of {len(self.short)}: {Counter((a.status, a.body[:200]) for a in wrong)}"


async def until(found: Callable[[], Awaitable[bool]], within_s: float) -> float:
    began = time.monotonic()
    while not await found():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def test_a_provider_and_its_route_come_and_go_in_one_edit(rig: Rig) -> None:
    """The plan must never name a target whose secret or cluster Envoy does not have yet: that is a 503."""
    base, folder = rig.specs.read_text(), rig.specs.parent.parent

    async def edits() -> tuple[Load, list[float]]:
        took: list[float] = []
        async with Load(rig, ["late-native", "late-translated"]) as under:
            client = load.Client(rig.url)

            async def answers(status: int) -> bool:
                got = [(await client.post(*load.chat(m))).status for m in ("late-native", "late-translated")]
                assert set(got) <= {200, 404}, got
                return got == [status] * 2

            for number in range(ROUNDS):
                keys = [folder / f"{name}-{number % 2}.key" for name in ("native", "translated")]
                keys[0].write_text("canary-local-4713\n")
                keys[1].write_text("sk-ant-canary-4712")
                more = latecomer(rig, "late-native", "local", keys[0]) + latecomer(rig, "late-translated", "anthropic", keys[1])
                write(rig.specs, base + more)
                took.append(await until(lambda: answers(200), 8))
                await asyncio.sleep(0.1)
                write(rig.specs, base)
                took.append(await until(lambda: answers(404), 8))
            client.close()
        return under, took

    under, took = rig.loop.run(edits(), timeout=80)
    print(f"{len(under.short)} short, {len(under.streams)} streams, edit to effect {[round(t, 2) for t in took]} s")
    under.check()
    statuses = Counter(a.status for a in under.short)
    assert statuses[200] > 10
    assert statuses[404] > 10


def test_a_key_that_is_not_there_yet(rig: Rig) -> None:
    """The file comes after the spec: until then its only target answers with what becomes of a vendor's 401, never a 503."""
    base, folder = rig.specs.read_text(), rig.specs.parent.parent

    async def edits() -> Load:
        key = folder / "late.key"
        async with Load(rig, ["late"]) as under:
            client = load.Client(rig.url)

            async def answers(status: int) -> bool:
                answer = await client.post(*load.chat("late"))
                assert answer.status in (200, 502, 404), answer
                return answer.status == status

            write(rig.specs, base + latecomer(rig, "late", "local", key))
            await until(lambda: answers(502), 8)
            write(key, "canary-local-4713")
            await until(lambda: answers(200), 8)
            write(rig.specs, base)
            await until(lambda: answers(404), 8)
            client.close()
        return under

    under = rig.loop.run(edits(), timeout=60)
    assert [problem for a in under.streams if (problem := load.served(a))] == []
    assert {a.status for a in under.short} <= {200, 502, 404}


@pytest.mark.parametrize(("vendor", "name"), [("local", "turning"), ("anthropic", "turning-translated")])
def test_keys_rotate_under_streams(rig: Rig, vendor: str, name: str) -> None:
    base, key = rig.specs.read_text(), rig.specs.parent.parent / f"{name}.key"
    simulator = rig.vendors[vendor]
    first = {"local": "canary-local-4713", "anthropic": "sk-ant-canary-4712"}[vendor]

    async def rotate() -> tuple[Load, list[load.Answer], list[float]]:
        simulator.set_keys([first, "new-1", "new-2", "new-3"])
        took, streams = [], []
        write(key, first)
        write(rig.specs, base + latecomer(rig, name, vendor, key))
        async with Load(rig, [name]) as under:
            client = load.Client(rig.url)
            await until(lambda: served(client, name), 8)
            for number in (1, 2, 3):
                running = [asyncio.create_task(client.post(*load.chat(name, True, "[[sim tokens=80 delay_ms=15]]"))) for _ in range(4)]
                await asyncio.sleep(0.15)
                if number == 2:
                    key.write_text(f"new-{number}")  # in place, as `echo > file` does
                else:
                    write(key, f"new-{number}")
                took.append(await until(lambda number=number: uses(simulator, client, name, number), 5))  # type: ignore[misc]
                streams += await asyncio.gather(*running)
            client.close()
        return under, streams, took

    try:
        under, streams, took = rig.loop.run(rotate(), timeout=60)
    finally:
        rig.specs.write_text(base)
        simulator.set_keys([first])
    print(f"written to used: {[round(t, 3) for t in took]} s")
    assert [problem for a in streams if (problem := load.served(a)) and "odd body" not in problem] == []
    under.check()
    assert max(took) < 1.0


async def served(client: load.Client, model: str) -> bool:
    return (await client.post(*load.chat(model))).status == 200


async def uses(simulator: Simulator, client: load.Client, model: str, number: int) -> bool:
    """Whether the vendor got the new key."""
    answer = await client.post(*load.chat(model))
    assert answer.status == 200, answer
    return simulator.requests[-1].key == f"key-{number}" or any(r.key == f"key-{number}" for r in list(simulator.requests)[-12:])


def test_the_old_key_is_forgotten(rig: Rig) -> None:
    """After a rotation no request carries the old key, even if the vendor would still take it."""
    base, key = rig.specs.read_text(), rig.specs.parent.parent / "forgotten.key"
    simulator = rig.vendors["local"]

    async def rotate() -> None:
        simulator.set_keys(["canary-local-4713", "new-1"])
        write(key, "canary-local-4713")
        write(rig.specs, base + latecomer(rig, "forgetful", "local", key))
        client = load.Client(rig.url)
        await until(lambda: served(client, "forgetful"), 8)
        write(key, "new-1")
        await until(lambda: uses(simulator, client, "forgetful", 1), 5)
        await asyncio.sleep(0.1)  # both of Envoy's threads have it
        simulator.clear()
        answers = await load.run(rig.url, 60, 12, lambda i: load.chat("forgetful"))
        assert [problem for a in answers if (problem := load.served(a))] == []
        assert simulator.stats.by_key == {"key-1": 60}
        client.close()

    try:
        rig.loop.run(rotate())
    finally:
        rig.specs.write_text(base)
        simulator.set_keys(["canary-local-4713"])
