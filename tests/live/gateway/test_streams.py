"""Streams that fail after content: no client takes a broken answer for a whole one, and the official SDKs raise."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import openai
import pytest

from control_plane.signals.classify import Outcome, outcome
from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway import load
from tests.live.gateway.rig import MODELS, Rig, RigFactory

IDLE_S = 0.7

ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan: [{{targets: [{{provider: {provider}, model: {model}}}]}}]
  retry: {{attempts: 1}}
  timeouts: {{connect: 100ms, firstToken: 300ms, idle: 700ms, total: 8s}}
"""


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig("".join(ROUTE.format(name=f"via-{v}", provider=v, model=MODELS[v]) for v in ("openai", "anthropic")))


FAULTS: dict[str, dict[str, Any]] = {
    "rst": {"mode": "cut", "after": 3, "how": "rst"},
    "fin": {"mode": "cut", "after": 3, "how": "fin"},
    "early end": {"mode": "cut", "after": 3, "how": "clean"},
    "error event": {"mode": "error_event", "after": 3},
    "stall": {"mode": "stall", "after": 3},
    "garbage": {"mode": "garbage", "after": 3},
    "truncated": {"mode": "truncated", "after": 3},
}
LANES = [("chat", "openai"), ("messages", "anthropic"), ("chat", "anthropic"), ("messages", "openai")]
CASES = pytest.mark.parametrize(
    ("dialect", "vendor"), LANES, ids=["chat-native", "messages-native", "chat-translated", "messages-translated"]
)


@dataclass
class Stream:
    """A stream as it came: `clean` says that HTTP ended as it should."""

    status: int
    clean: bool
    events: list[dict[str, Any]]
    text: str
    raw: bytes
    seconds: float

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1] if self.events else {}

    @property
    def terminal(self) -> bool:
        """Whether it looks like a complete answer to a client."""
        return b"data: [DONE]" in self.raw or any(e.get("type") == "message_stop" for e in self.events)

    @property
    def error(self) -> dict[str, Any] | None:
        """The error event of either dialect."""
        return next((e["error"] for e in self.events if isinstance(e.get("error"), dict)), None)


async def stream(rig: Rig, dialect: str, vendor: str) -> Stream:
    path, body = getattr(load, dialect)(f"via-{vendor}", True, "hello one two three four five six seven eight")
    began, parts = time.monotonic(), urlsplit(rig.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    )
    raw, clean, status = b"", False, 0
    try:
        async with asyncio.timeout(6):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(head.split(" ")[1])
            if "transfer-encoding: chunked" not in head:
                raw = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
                writer.close()
                return Stream(status, True, [], "", raw, time.monotonic() - began)
            while size := int(await reader.readuntil(b"\r\n"), 16):
                raw += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
            clean = True
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
    events, text = [], ""
    for line in raw.decode(errors="replace").splitlines():
        if line.startswith("data: {") and line.endswith("}"):
            event = json.loads(line[6:])
            events.append(event)
            text += "".join(c["delta"].get("content") or "" for c in event.get("choices", ()))
            text += event.get("delta", {}).get("text") or ""
    return Stream(status, clean, events, text, raw, time.monotonic() - began)


async def request_line(rig: Rig, began: datetime) -> RequestLine:
    """The journal's line of the first request that began after that."""
    for _ in range(300):
        file = rig.gateway.places.journal
        for raw in file.read_bytes().splitlines() if file.exists() else []:
            line = decode(raw)
            if isinstance(line, RequestLine) and line.start >= began:
                return line
        await asyncio.sleep(0.01)
    raise AssertionError("no journal line")


async def broken(rig: Rig, dialect: str, vendor: str) -> tuple[Stream, RequestLine]:
    began = datetime.now(UTC)
    got = await stream(rig, dialect, vendor)
    return got, await request_line(rig, began)


@pytest.mark.parametrize("fault", FAULTS)
@CASES
def test_no_broken_stream_looks_complete(rig: Rig, dialect: str, vendor: str, fault: str) -> None:
    rig.heal()
    rig.break_vendor(vendor, **FAULTS[fault])
    got, line = rig.loop.run(broken(rig, dialect, vendor))
    assert got.status == 200
    assert got.text.startswith(f"{vendor}/")
    assert not got.terminal, got.raw[-300:]
    told = line.meter()
    translated = (dialect == "chat") != (vendor == "openai")
    assert line.lane == ("translation" if translated else "passthrough")
    assert not told.complete
    assert (line.status, line.attempts, line.stream) == (200, 1, True)
    assert outcome(line) is Outcome.CUT, "nothing broken counts as served"
    if fault in ("rst", "fin") or (fault == "stall" and not translated):
        # Envoy ends the client's stream itself: no error event, on either lane, but a transfer that is visibly broken.
        assert not got.clean
        assert line.flag_set
    else:
        assert got.clean is (fault != "stall"), "after an error event the transfer ends as it should, unless the vendor's does not"
        assert got.error is not None, got.raw[-300:]
        assert got.last.get("error") == got.error, "nothing follows the error"
        assert told.stream_error
    if fault == "stall":
        assert IDLE_S <= got.seconds < IDLE_S + 1.5
        assert rig.vendors[vendor].requests[-1].outcome == "cancelled"


Raised = type[BaseException]
# What the SDK raises: on the passthrough lane, on the translation lane.
OPENAI_RAISES: dict[str, tuple[Raised, Raised]] = {
    "rst": (openai.APIConnectionError, openai.APIConnectionError),
    "fin": (openai.APIConnectionError, openai.APIConnectionError),
    "early end": (openai.APIError, openai.APIError),
    "error event": (openai.APIError, openai.APIError),
    "stall": (openai.APIConnectionError, openai.APIError),
}
ANTHROPIC_RAISES: dict[str, tuple[Raised, Raised]] = {
    "rst": (httpx2.RemoteProtocolError, httpx2.RemoteProtocolError),
    "fin": (httpx2.RemoteProtocolError, httpx2.RemoteProtocolError),
    "early end": (anthropic.APIStatusError, anthropic.APIStatusError),
    "error event": (anthropic.APIStatusError, anthropic.APIStatusError),
    "stall": (httpx2.RemoteProtocolError, anthropic.APIStatusError),
}


@pytest.fixture(scope="module")
def sdks(rig: Rig) -> Iterator[dict[str, Callable[[str], list[Any]]]]:
    """Each reads a whole stream with the official SDK."""
    with (
        openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0) as openai_client,
        anthropic.Anthropic(base_url=rig.url, api_key="k", max_retries=0) as anthropic_client,
    ):
        asked: Any = {"messages": [{"role": "user", "content": "a b c d e"}], "stream": True}
        yield {
            "chat": lambda model: list(openai_client.chat.completions.create(model=model, **asked)),
            "messages": lambda model: list(anthropic_client.messages.create(model=model, max_tokens=300, **asked)),
        }


@pytest.mark.parametrize("fault", OPENAI_RAISES)
@CASES
def test_the_sdks_raise(rig: Rig, sdks: dict[str, Callable[[str], list[Any]]], dialect: str, vendor: str, fault: str) -> None:
    rig.heal()
    rig.break_vendor(vendor, **FAULTS[fault])
    translated = (dialect == "chat") != (vendor == "openai")
    expected = (OPENAI_RAISES if dialect == "chat" else ANTHROPIC_RAISES)[fault][translated]
    with pytest.raises(expected) as caught:
        sdks[dialect](f"via-{vendor}")
    assert type(caught.value) is expected or isinstance(caught.value, anthropic.APIStatusError)


LONG = "hello [[sim tokens=30000]]"
"""Makes an answer of more than the 64 KiB that the edge waits for."""


@pytest.mark.parametrize("text", ["hello", LONG], ids=["short", "long"])
@CASES
def test_broken_whole_answers_are_errors(rig: Rig, dialect: str, vendor: str, text: str) -> None:
    """A whole answer that is cut: an error status on the translation lane, and on the passthrough lane where the edge waits for all of
    a short answer; a broken transfer of a long one. No client takes it for whole, and it is not counted as served."""
    rig.heal()
    path, body = getattr(load, dialect)(f"via-{vendor}", False, text)
    asked = path, body.replace(b'"max_tokens": 400', b'"max_tokens": 32000')
    for how in ("rst", "fin"):
        rig.break_vendor(vendor, mode="cut", how=how)
        began = datetime.now(UTC)
        (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _: asked))
        line = rig.loop.run(request_line(rig, began))
        if text == LONG and (dialect == "chat") == (vendor == "openai"):
            assert int(answer.headers["content-length"]) > 65536
            assert (answer.status, answer.clean) == (200, False)
            assert outcome(line) is Outcome.CUT
        else:
            assert answer.status in (502, 503), answer
            assert answer.clean
            assert b'"error"' in answer.body
            assert outcome(line) is Outcome.FAILED


@CASES
def test_heartbeats_are_no_content(rig: Rig, dialect: str, vendor: str) -> None:
    """A vendor that keeps the connection alive before its first content: passed on as it comes on the passthrough lane; the
    translator holds the answer, so the first-token timer sees it."""
    rig.heal()
    rig.break_vendor(vendor, mode="slow_first_token", delay_ms=500, heartbeat_ms=100)
    got = rig.loop.run(stream(rig, dialect, vendor))
    if (dialect == "chat") == (vendor == "openai"):
        assert (got.status, got.clean, got.terminal) == (200, True, True), got.raw[-300:]
    else:
        assert got.status == 504
        assert b'"error"' in got.raw
