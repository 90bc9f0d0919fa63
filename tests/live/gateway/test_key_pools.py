"""A provider with several keys, of which one or all are revoked under load: what clients see of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.live.gateway.rig import MODELS, Rig, RigFactory

POOL = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: pooled}}
spec:
  preset: openai-compatible
  baseUrl: "{local}/v1"
  allowInsecure: true
  credentials: [{{secretRef: {{file: FIRST}}}}, {{secretRef: {{file: SECOND}}}}]
"""
ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan:
{groups}
"""
HELLO: Any = [{"role": "user", "content": "hello"}]


def route(name: str, *providers: str) -> str:
    model = MODELS | {"pooled": MODELS["local"]}
    groups = (f"  - {{targets: [{{provider: {provider}, model: {model[provider]}}}]}}" for provider in providers)
    return ROUTE.format(name=name, groups="\n".join(groups))


@dataclass
class Pooled:
    """The gateway, and the two keys of the vendor behind `pooled`."""

    rig: Rig
    files: tuple[Path, Path]
    keys: tuple[str, str] = ("", "")
    round: int = 0

    def accept(self, *keys: str) -> None:
        """What the vendor accepts from now on."""

        async def change() -> None:
            self.rig.vendors["local"].set_keys(keys)

        self.rig.loop.run(change())

    def renew(self) -> None:
        """Two keys that nobody has used yet; returns when they are in use."""
        self.round += 1
        self.keys = (f"canary-first-{self.round}-{id(self)}", f"canary-second-{self.round}-{id(self)}")
        for file, key in zip(self.files, self.keys, strict=True):
            file.write_text(key)
        self.accept(*self.keys)
        wait(lambda: self.states() == ["READY", "SPARE"])
        wait(lambda: self.ask("alone").status_code == 200)

    def states(self) -> list[str]:
        host, port = self.rig.gateway.admin
        rows = httpx.get(f"http://{host}:{port}/api/v1/credentials", timeout=10).json()["items"]
        return [row["state"] for row in rows if row["provider"] == "pooled"]

    def ask(self, model: str) -> httpx.Response:
        return httpx.post(f"{self.rig.url}/v1/chat/completions", json={"model": model, "messages": HELLO}, timeout=20)


@pytest.fixture(scope="module")
def made(make_rig: RigFactory, tmp_path_factory: pytest.TempPathFactory) -> Pooled:
    folder = tmp_path_factory.mktemp("keys")
    files = folder / "first", folder / "second"
    for file in files:
        file.write_text("none-yet")
    providers = POOL.replace("FIRST", str(files[0])).replace("SECOND", str(files[1]))
    rig = make_rig(route("alone", "pooled") + route("helped", "pooled", "openai"), providers=providers)
    return Pooled(rig, files)


@pytest.fixture
def pooled(made: Pooled) -> Pooled:
    made.renew()
    made.rig.heal()
    return made


def wait(done: Callable[[], object], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Load:
    """Clients that ask again and again, passthrough and translated, whole and streamed."""

    def __init__(self, url: str, model: str, clients: int = 4) -> None:
        self.seen: Counter[int] = Counter()
        self.attempts: Counter[str] = Counter()
        self.bodies: list[bytes] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, model, n)) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, model: str, number: int) -> None:
        body = {"model": model, "messages": HELLO, "stream": bool(number & 1)}
        path = "/v1/messages" if number & 2 else "/v1/chat/completions"
        if number & 2:
            body["max_tokens"] = 50
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post(path, json=body)
                self.seen[answer.status_code] += 1
                self.attempts[answer.headers.get("x-headgate-attempts", "")] += 1
                if answer.status_code != 200:
                    self.bodies.append(answer.content)
                time.sleep(0.01)


def test_one_key_of_two_is_revoked_and_no_other_provider_is_there(pooled: Pooled) -> None:
    with Load(pooled.rig.url, "alone") as load:
        wait(lambda: load.seen[200] > 60)
        pooled.accept(pooled.keys[1])
        revoked = time.monotonic()
        wait(lambda: pooled.states() == ["OUT", "READY"])
        took = time.monotonic() - revoked
        time.sleep(1)
        settled = load.attempts["2"]
        before = load.seen[200]
        wait(lambda: load.seen[200] > before + 60)
        assert load.attempts["2"] == settled, "what comes after the change is served by the first attempt again"
    assert set(load.seen) == {200}, (load.seen, load.bodies[:3])
    print(f"\none of two keys revoked: {load.seen[200]} requests, 0 errors, {load.attempts['2']} by the spare key; out after {took:.2f} s")


def test_all_keys_are_revoked_and_another_provider_serves(pooled: Pooled) -> None:
    with Load(pooled.rig.url, "helped") as load:
        wait(lambda: load.seen[200] > 60)
        pooled.accept("canary-none-1")
        wait(lambda: pooled.states() == ["OUT", "OUT"])

        def left_the_plan() -> bool:
            asked, before = pooled.rig.vendors["local"].stats.requests, load.seen[200]
            wait(lambda: load.seen[200] > before + 60)
            return pooled.rig.vendors["local"].stats.requests == asked

        wait(left_the_plan)
    assert set(load.seen) == {200}, (load.seen, load.bodies[:3])
    print(f"\nall keys revoked, another provider: {load.seen[200]} requests, 0 errors")


def test_all_keys_are_revoked_and_nobody_else_is_there(pooled: Pooled) -> None:
    pooled.accept("canary-none-2")
    with openai.OpenAI(base_url=f"{pooled.rig.url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as error:
            client.chat.completions.create(model="alone", messages=HELLO)
        assert (error.value.status_code, error.value.code) == (502, "upstream_credentials_exhausted")
    with (
        anthropic.Anthropic(base_url=pooled.rig.url, api_key="any", max_retries=0) as client,
        pytest.raises(anthropic.InternalServerError) as said,
    ):
        client.messages.create(model="alone", max_tokens=50, messages=HELLO)
    assert said.value.status_code == 502
    assert "upstream_credentials_exhausted" in str(said.value)
    wait(lambda: pooled.ask("alone").status_code and pooled.states() == ["OUT", "OUT"])
    assert not any(key in str(pooled.rig.lines) for key in pooled.keys)
    pooled.accept(*pooled.keys)
    wait(lambda: pooled.ask("alone").status_code == 200 and pooled.states() == ["READY", "OUT"])


def test_streams_that_run_are_not_cut_when_the_key_changes(pooled: Pooled) -> None:
    words = " ".join(f"word{n}" for n in range(400))
    ended: list[str] = []

    def read() -> None:
        with openai.OpenAI(base_url=f"{pooled.rig.url}/v1", api_key="any", max_retries=0) as client:
            stream = client.chat.completions.create(model="alone", messages=[{"role": "user", "content": words}], stream=True)
            ended.append([chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1] or "")

    async def slow() -> None:
        pooled.rig.vendors["local"].pace = type(pooled.rig.vendors["local"].pace)(delay_ms=100)

    pace = pooled.rig.vendors["local"].pace
    pooled.rig.loop.run(slow())
    try:
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        pooled.accept(pooled.keys[1])
        wait(lambda: pooled.ask("alone").status_code == 200 and pooled.states() == ["OUT", "READY"])
        assert not ended, "the streams must still run for this to say anything"
        for thread in threads:
            thread.join(60)
    finally:
        pooled.rig.vendors["local"].pace = pace
    assert ended == ["stop"] * 4
