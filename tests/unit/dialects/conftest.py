"""What the dialect tests share: ids that can be foreseen, and reading and writing in one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import Dialect, TargetFacts
from control_plane.dialects.registry import DIALECTS


class Ids:
    """prefix + a count, and a clock that stands."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def now(self) -> int:
        return 1_700_000_000


class Bench:
    """The dialects at hand: `openai`, `anthropic`, and shortcuts that tests read like sentences."""

    openai: Dialect = DIALECTS["openai-chat"]
    anthropic: Dialect = DIALECTS["anthropic-messages"]
    Ids = Ids

    def request(self, dialect: str, stream: bool = True, include_usage: bool = True, **fields: Any) -> canon.Request:
        return canon.Request(dialect=dialect, model="asked", messages=(), stream=stream, include_usage=include_usage, **fields)

    def target(self, model: str = "upstream", **options: object) -> TargetFacts:
        return TargetFacts(model=model, path="/v1/x", options=options)

    def ask(self, body: dict[str, Any], client: Dialect, provider: Dialect, **options: object) -> tuple[dict[str, Any], tuple[str, ...]]:
        """(the provider's body, what was dropped) of a client's request."""
        model = options.pop("model", "claude-sonnet-4-5" if provider is self.anthropic else "gpt-4o")
        request = client.read_request(json.dumps(body).encode())
        made = provider.write_request(request, self.target(str(model), **options))
        return json.loads(made.body), tuple(map(request.named, made.dropped))

    def read(self, provider: Dialect, body: bytes | Iterable[bytes], stream: bool = True) -> list[canon.Event]:
        reader = provider.reader(self.request(provider.name, stream))
        reader.start(200, "text/event-stream" if stream else "application/json")
        events: list[canon.Event] = []
        for piece in [body] if isinstance(body, bytes) else body:
            events += reader.feed(piece)
        return events + reader.finish()

    def write(self, client: Dialect, events: Iterable[canon.Event], stream: bool = True, include_usage: bool = True) -> bytes:
        writer = client.writer(self.request(client.name, stream, include_usage), Ids())
        return b"".join(writer.emit(event) for event in events) + writer.finish()


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def sse_of() -> Callable[..., bytes]:
    """Frames payloads: openai-chat without names, anthropic-messages with them."""

    def frame(*payloads: Any, named: bool = False, done: bool = False) -> bytes:
        out = b""
        for payload in payloads:
            if named:
                out += b"event: " + str(payload["type"]).encode() + b"\n"
            out += b"data: " + json.dumps(payload).encode() + b"\n\n"
        return out + (b"data: [DONE]\n\n" if done else b"")

    return frame
