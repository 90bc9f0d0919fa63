"""All kinds of clients: HTTP/2, chunked bodies, Expect, kept connections, slow readers, those that leave; bodies arrive byte for byte."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from control_plane.demo.simulators.record import Recorded
from control_plane.kit import probe
from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

SLOW = "hello [[sim tokens=600 delay_ms=20]]"
LANES = pytest.mark.parametrize("model", ["via-openai", "via-anthropic"])
CALLS = {"chat": load.chat, "messages": load.messages}
DIALECTS = pytest.mark.parametrize("dialect", CALLS)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(
        route("via-openai", "openai")
        + route("via-anthropic", "anthropic")
        + route("two-native", "openai", "local")
        + route("then-native", "anthropic", "openai")
        + route("then-anthropic", "openai", "anthropic")
    )


@pytest.fixture(autouse=True)
def healthy(rig: Rig) -> None:
    rig.heal()


@dataclass
class H2Answer(load.Answer):
    """An answer over HTTP/2, filled as it comes."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    first: asyncio.Event = field(default_factory=asyncio.Event)


class H2Client:
    """One HTTP/2 connection with prior knowledge. `async with`; many requests at once."""

    def __init__(self, url: str, window: int = 65_535) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 0)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.local_settings = h2.settings.Settings(client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._more = window - 65_535
        self._answers: dict[int, H2Answer] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._window = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()

    async def __aenter__(self) -> H2Client:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._h2.initiate_connection()
        if self._more:
            self._h2.increment_flow_control_window(self._more)
        self._flush()
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def begin(
        self, path: str, body: bytes, headers: dict[str, str] | None = None, trailers: dict[str, str] | None = None
    ) -> tuple[int, H2Answer]:
        """Send a request; the answer fills itself."""
        number = self._h2.get_next_available_stream_id()
        answer = self._answers[number] = H2Answer()
        self._parts[number] = []
        head = {":method": "POST", ":path": path, ":scheme": "http", ":authority": "gateway", **JSON, **(headers or {})}
        self._h2.send_headers(number, list(head.items()), end_stream=not body and not trailers)
        at = 0
        while at < len(body):
            size = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size, len(body) - at)
            if size <= 0:
                self._flush()
                self._window.clear()
                await asyncio.wait_for(self._window.wait(), 10)
                continue
            at += size
            self._h2.send_data(number, body[at - size : at], end_stream=at == len(body) and not trailers)
        if trailers:
            self._h2.send_headers(number, list(trailers.items()), end_stream=True)
        self._flush()
        return number, answer

    async def post(self, path: str, body: bytes, **more: Any) -> H2Answer:
        _, answer = await self.begin(path, body, **more)
        await asyncio.wait_for(answer.ended.wait(), 30)
        return answer

    def cancel(self, number: int) -> None:
        self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    async def _read(self) -> None:
        while await self.reading.wait() and (data := await self._reader.read(65536)):
            for event in self._h2.receive_data(data):
                self._take(event)
            self._flush()
        for answer in self._answers.values():
            answer.ended.set()

    def _take(self, event: Any) -> None:
        if isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self._window.set()
        answer = self._answers.get(getattr(event, "stream_id", 0))
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = {str(k): str(v) for k, v in event.headers}
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self._parts[event.stream_id].append(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            answer.first.set()
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            answer.clean = isinstance(event, h2.events.StreamEnded)
            answer.body = b"".join(self._parts[event.stream_id])
            answer.first.set()
            answer.ended.set()


async def read(reader: asyncio.StreamReader) -> load.Answer:
    """One answer; `clean` only if it ended as HTTP says it must."""
    answer = load.Answer()
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer.status = int(head[0].split(" ")[1])
        answer.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        if "content-length" in answer.headers:
            answer.body = await reader.readexactly(int(answer.headers["content-length"]))
        else:
            parts: list[bytes] = []
            while size := int(await reader.readuntil(b"\r\n"), 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
            answer.body = b"".join(parts)
            await reader.readexactly(2)
        answer.clean = True
    except (asyncio.IncompleteReadError, ConnectionError):
        answer.clean = False
    return answer


async def raw(rig: Rig, data: bytes, limit: int = 1 << 22) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which `data` was sent; it takes twice `limit` bytes before they are read."""
    parts = urlsplit(rig.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=limit)
    writer.write(data)
    return reader, writer


def request(path: str, body: bytes, headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def until(found: Callable[[], bool], within_s: float) -> float:
    """Seconds until it was so; fails after `within_s`."""
    began = time.monotonic()
    while not found():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def now() -> datetime:
    return datetime.now(UTC)


def requests_since(rig: Rig, began: datetime) -> list[RequestLine]:
    """Request lines of what began after that; lines come late, so their number tells nothing."""
    file = rig.gateway.places.journal
    lines = [decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    return [line for line in lines if isinstance(line, RequestLine) and line.start >= began]


async def request_line(rig: Rig, began: datetime) -> RequestLine:
    await until(lambda: bool(requests_since(rig, began)), 3)
    return requests_since(rig, began)[0]


def seen(rig: Rig, *vendors: str) -> list[Recorded]:
    return [r for name in vendors or tuple(rig.vendors) for r in rig.vendors[name].requests]


# ---------------------------------------------------------------------------------------------------------------- HTTP/2
def test_http2_on_both_lanes(rig: Rig) -> None:
    async def ask() -> list[H2Answer]:
        async with H2Client(rig.url) as client:
            asked = [make(model, s) for make in CALLS.values() for model in ("via-openai", "via-anthropic") for s in (False, True)]
            return [await client.post(*one) for one in asked]

    answers = rig.loop.run(ask())
    assert [load.served(a) for a in answers] == [None] * 8


def test_a_hundred_http2_streams_on_one_connection(rig: Rig) -> None:
    async def ask() -> list[H2Answer]:
        async with H2Client(rig.url) as client:

            async def one(i: int) -> H2Answer:
                make = load.chat if i % 2 else load.messages
                return await client.post(*make("via-openai" if i % 3 else "via-anthropic", stream=True, text=f"number-{i}-of-many"))

            return await asyncio.gather(*(one(i) for i in range(100)))

    answers = rig.loop.run(ask())
    for i, answer in enumerate(answers):
        assert load.served(answer) is None
        said = "".join(part for part in _texts(answer.body))
        assert said.endswith(f"number-{i}-of-many"), said


def _texts(stream: bytes) -> list[str]:
    """The pieces of text of a stream of either dialect."""
    found = []
    for line in stream.decode().splitlines():
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            found += [choice["delta"].get("content") or "" for choice in event.get("choices", ())]
            found.append(event.get("delta", {}).get("text") or "")
    return found


@LANES
@DIALECTS
def test_http2_bodies_larger_than_a_window_and_trailers(rig: Rig, model: str, dialect: str) -> None:
    """Trailers of a client end its request; none of them reaches a vendor."""

    async def ask() -> H2Answer:
        async with H2Client(rig.url) as client:
            path, body = CALLS[dialect](model, text="hello " + "long " * 100_000)
            return await client.post(path, body, trailers={"x-headgate-model": "via-anthropic", "x-api-key": "stolen", "x-other": "1"})

    answer = rig.loop.run(ask())
    assert load.served(answer) is None
    (got,) = seen(rig)
    assert got.outcome == "answered"
    assert not {"x-headgate-model", "x-other", "trailer"} & set(got.headers)
    assert answer.headers["x-headgate-target"].startswith(model.removeprefix("via-"))


# ------------------------------------------------------------------------------------------------------------ HTTP/1.1
@LANES
@DIALECTS
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_chunked_request_bodies(rig: Rig, model: str, dialect: str, size: int) -> None:
    async def ask() -> load.Answer:
        path, body = CALLS[dialect](model)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        pieces = [body[i : i + size] for i in range(0, len(body), size)]
        reader, writer = await raw(rig, head + b"".join(b"%x;note=1\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n")
        answer = await read(reader)
        writer.close()
        return answer

    assert load.served(rig.loop.run(ask())) is None
    (got,) = seen(rig)
    assert "transfer-encoding" not in got.headers, "a body whose length is known is sent with it"


@LANES
def test_expect_100_continue(rig: Rig, model: str) -> None:
    async def ask() -> tuple[bytes, load.Answer]:
        path, body = load.chat(model)
        data = request(path, body, "expect: 100-continue\r\n")
        reader, writer = await raw(rig, data[: -len(body)])
        interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.write(body)
        answer = await read(reader)
        writer.close()
        return interim, answer

    interim, answer = rig.loop.run(ask())
    assert interim.startswith(b"HTTP/1.1 100 ")
    assert load.served(answer) is None
    assert "expect" not in seen(rig)[0].headers


def test_kept_connections_and_pipelining(rig: Rig) -> None:
    """30 requests of all kinds on one connection, then five sent at once: answered in order, nothing is left over."""

    async def ask() -> list[load.Answer]:
        kinds = [(make, model, s) for make in CALLS.values() for model in ("via-openai", "via-anthropic") for s in (False, True)]
        asked = [make(model, s, text=f"q-{i}.") for i in range(30) for make, model, s in [kinds[i % len(kinds)]]]
        reader, writer = await raw(rig, b"")
        answers = []
        for path, body in asked:
            writer.write(request(path, body))
            answers.append(await read(reader))
        writer.write(b"".join(request(*load.chat("via-openai", text=f"q-{30 + i}.")) for i in range(5)))
        answers += [await read(reader) for _ in range(5)]
        writer.close()
        return answers

    for i, answer in enumerate(rig.loop.run(ask())):
        assert load.served(answer) is None
        said = "".join(_texts(answer.body)) if b"data: " in answer.body else answer.body.decode()
        assert f"q-{i}." in said
        assert f"q-{i + 1}." not in said


# ------------------------------------------------------------------------------------------------------ clients that leave
@LANES
@DIALECTS
@pytest.mark.parametrize("version", ["http/1.1", "http/2"])
def test_leaving_in_the_middle_cancels_the_vendors_stream(rig: Rig, model: str, dialect: str, version: str) -> None:
    async def leave() -> tuple[float, RequestLine]:
        began, asked = now(), CALLS[dialect](model, True, SLOW)
        if version == "http/2":
            async with H2Client(rig.url) as client:
                number, answer = await client.begin(*asked)
                _, other = await client.begin(*CALLS[dialect](model, True, "hello"))
                await asyncio.wait_for(answer.first.wait(), 5)
                client.cancel(number)
                took = await until(lambda: any(r.outcome == "cancelled" for r in seen(rig)), 1)
                await asyncio.wait_for(other.ended.wait(), 5)
                assert load.served(other) is None, "a neighbour on the same connection is not touched"
        else:
            reader, writer = await raw(rig, request(*asked))
            await reader.readuntil(b"data: ")
            writer.close()
            took = await until(lambda: any(r.outcome == "cancelled" for r in seen(rig)), 1)

        def left() -> bool:
            return any(line.flag_set for line in requests_since(rig, began))

        await until(left, 3)
        return took, next(line for line in requests_since(rig, began) if line.flag_set)

    took, line = rig.loop.run(leave())
    assert took < 1
    flag = "DR" if version == "http/2" else "DC"
    assert (line.status, line.flags, line.stream, line.attempts) == (200, flag, True, 1)
    assert (line.route, line.model) == (model, model)
    assert not line.meter().complete
    rig.loop.run(counted(rig, 'outcome="cancelled"', f'route="{model}"'))


async def counted(rig: Rig, *having: str) -> None:
    """Wait until /metrics counts a request with these labels."""
    host, port = rig.gateway.admin
    deadline = time.monotonic() + 3
    while True:
        _, text = await probe.http(f"{host}:{port}", "GET", "/metrics")
        if any(line.startswith("headgate_requests_total{") and all(h in line for h in having) for line in text.splitlines()):
            return
        assert time.monotonic() < deadline, f"never counted: {having}"
        await asyncio.sleep(0.02)


@LANES
@DIALECTS
@pytest.mark.parametrize("streamed", [False, True])
def test_leaving_before_the_answer(rig: Rig, model: str, dialect: str, streamed: bool) -> None:
    rig.break_vendor(model.removeprefix("via-"), mode="black_hole")

    async def leave() -> RequestLine:
        began = now()
        _, writer = await raw(rig, request(*CALLS[dialect](model, streamed)))
        await until(lambda: len(seen(rig)) == 1, 2)
        writer.close()
        await until(lambda: seen(rig)[0].outcome == "cancelled", 1)
        return await request_line(rig, began)

    line = rig.loop.run(leave())
    assert (line.flags, line.status, line.attempts) == ("DC", 0, 1)
    assert (line.provider, line.stream) == (model.removeprefix("via-"), streamed)


def test_leaving_while_the_body_is_sent_reaches_no_vendor(rig: Rig) -> None:
    async def leave() -> RequestLine:
        began = now()
        _, writer = await raw(rig, request(*load.chat("via-openai"))[:-10])
        await asyncio.sleep(0.1)
        writer.close()
        return await request_line(rig, began)

    line = rig.loop.run(leave())
    assert "DC" in line.flag_set
    assert not seen(rig)


# ------------------------------------------------------------------------------------------------------------------ streams
def test_a_hundred_streams_at_once(rig: Rig) -> None:
    def make(i: int) -> tuple[str, bytes]:
        kind = load.chat if i % 2 else load.messages
        return kind("via-openai" if i % 4 < 2 else "via-anthropic", True, "hello [[sim tokens=40 delay_ms=10]]")

    began = time.monotonic()
    answers = rig.loop.run(load.run(rig.url, 100, 100, make))
    assert [problem for a in answers if (problem := load.served(a))] == []
    assert len(seen(rig)) == 100
    assert time.monotonic() - began < 10


# ------------------------------------------------------------------------------------------------------------- query, bodies
@pytest.mark.parametrize(
    ("path", "model", "fault", "vendors"),
    [
        ("/v1/messages?beta=true", "via-anthropic", None, ["anthropic"]),
        ("/v1/messages/count_tokens?beta=true", "via-anthropic", None, ["anthropic"]),
        ("/v1/chat/completions?beta=true&x=%2Fy%3F&z", "two-native", "openai", ["openai", "local"]),
        ("/v1/chat/completions?beta=true", "then-native", "anthropic", ["openai"]),
        ("/v1/messages?beta=true", "then-anthropic", "openai", ["anthropic"]),
    ],
)
def test_query_strings_reach_passthrough_vendors(rig: Rig, path: str, model: str, fault: str | None, vendors: list[str]) -> None:
    if fault:
        rig.break_vendor(fault, mode="status", status=503)
    make = load.messages if "messages" in path else load.chat
    body = make(model)[1]
    if "count" in path:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}).encode()
    (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _: (path, body)))
    assert answer.status == 200, answer.body
    for got in seen(rig, *vendors):
        assert f"{got.path}?{got.query}" == path
    assert answer.attempts == 1 + bool(fault)


TAIL = b'"messages":[{"role":"user","content":"hello"}],"max_tokens":9'
ODD_BODIES: dict[str, bytes] = {
    "model last": b"{" + TAIL + b',"model":"@@"}',
    "model first": b'{"model":"@@",' + TAIL + b"}",
    "whitespace": b' \r\n\t{ "model"\r\n\t :\n "@@" ,\t' + TAIL + b"\n}\n\n\r ",
    "unknown fields": b'{"model":"@@","x_new":{"a":[1,2,{"b":null}]},"zz":1e-7,"n":123456789012345678901234567890,' + TAIL + b"}",
    "unicode": '{"model":"@@","user":"Zürich → 東京 😀","messages":[{"role":"user","content":"grüß 🎉"}],"max_tokens":9}'.encode(),
    "escapes": rb'{"model":"@@","messages":[{"role":"user","content":"\u006d\u006fdel \\u006d \"model\": \\\" \/ \ud83c"}],"max_tokens":9}',
    "model in a string": rb'{"messages":[{"role":"user","content":"{\"model\":\"other\"}"}],"model":"@@","max_tokens":9}',
    "nested model keys": (
        b'{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"}}}}}],'
        b'"metadata":{"model":"other","stream":true},"model":"@@",' + TAIL + b"}"
    ),
    "model inside tool input": (
        b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n",'
        b'"input":{"model":"other","m\\u006fdel":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}],'
        b'"max_tokens":9,"model":"@@"}'
    ),
    "same text as the model": b'{"user":"two-native","model":"@@","metadata":{"via-anthropic":"gpt-5"},' + TAIL + b"}",
    "deep": b'{"model":"@@","metadata":' + b'{"a":' * 40 + b"[]" + b"}" * 40 + b"," + TAIL + b"}",
    "stream false": b'{"stream":false,"model":"@@",' + TAIL + b"}",
    "stream null": b'{"stream":null,"model":"@@",' + TAIL + b"}",
    "empty keys": b'{"":"","model":"@@"," model":1,"model ":2,"models":3,' + TAIL + b"}",
}


@pytest.mark.parametrize("name", ODD_BODIES)
def test_bodies_reach_passthrough_vendors_byte_for_byte(rig: Rig, name: str) -> None:
    """Only the model's name differs, on the first attempt and on the retry; whether the vendor likes it is its own business."""
    template = ODD_BODIES[name]
    rig.break_vendor("openai", mode="status", status=503, path="/v1/chat/completions")

    def body(model: str) -> bytes:
        return template.replace(b'"@@"', b'"%s"' % model.encode())

    async def ask() -> None:
        client = load.Client(rig.url)
        await client.post("/v1/chat/completions", body("two-native"))
        await client.post("/v1/messages", body("via-anthropic"))
        client.close()

    rig.loop.run(ask())
    for vendor, model in (("openai", "gpt-5"), ("local", "llama-3.3-70b"), ("anthropic", "claude-sonnet-5")):
        (got,) = seen(rig, vendor)
        assert got.body == body(model), vendor
        assert got.headers["content-length"] == str(got.size)


@pytest.mark.parametrize(
    "stream", [b'"stream":true', b'"stream" : true ', b'"stream":true,"stream_options":null', b'"stream_options":{},"stream":true']
)
def test_streamed_openai_bodies_differ_by_the_wish_for_usage_only(rig: Rig, stream: bytes) -> None:
    body = b'{"a":[1, 2],' + stream + b',"model":"two-native","messages":[{"role":"user","content":"hello"}] , "z":0 }'
    rig.break_vendor("openai", mode="status", status=503)
    (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _: ("/v1/chat/completions", body)))
    assert load.served(answer) is None
    assert b'"usage":{' not in answer.body
    for vendor, model in (("openai", b"gpt-5"), ("local", b"llama-3.3-70b")):
        (got,) = seen(rig, vendor)
        asked, expected = json.loads(got.body or b""), json.loads(body)
        assert asked.pop("stream_options") == {"include_usage": True}
        expected.pop("stream_options", None)
        assert asked == {**expected, "model": model.decode()}
        assert (got.body or b"").startswith(b'{"a":[1, 2],')
        assert (got.body or b"").endswith(b' , "z":0 }')


# last, since a crash would be seen by what follows
@pytest.mark.parametrize("version", ["http/1.1", "http/2"])
@LANES
@DIALECTS
def test_slow_readers(rig: Rig, dialect: str, model: str, version: str) -> None:
    """Streams of 5 MB that nobody reads: Envoy lives, holds no more than was sent and lets go of it, and all complete.

    Envoy 1.40 dies when a client's buffer crosses a watermark after the provider has ended and before the translator has."""
    pid = rig.gateway.children["envoy"].pid

    async def ask() -> tuple[float, float, list[bytes]]:
        before = await allocated(rig)
        path, body = CALLS[dialect](model, True, "[[sim tokens=20000 delay_ms=0]]")
        body = body[:-1].replace(b'"max_tokens": 400, ', b"") + b', "max_tokens": 60000}'
        if model == "via-openai" and dialect == "chat":
            body = body.replace(b"max_tokens", b"max_completion_tokens")
        if version == "http/2":
            async with H2Client(rig.url) as client:
                client.reading.clear()
                asked = [await client.begin(path, body) for _ in range(3)]
                held = await settled(before)
                client.reading.set()
                for _, answer in asked:
                    await asyncio.wait_for(answer.ended.wait(), 20)
                answers: list[load.Answer] = [answer for _, answer in asked]
        else:
            opened = [await raw(rig, request(path, body), limit=65536) for _ in range(3)]
            held = await settled(before)
            answers = [await asyncio.wait_for(read(reader), 20) for reader, _ in opened]
            for _, writer in opened:
                writer.close()
        assert [a.status for a in answers] == [200] * 3, answers[0].body
        assert all(a.clean for a in answers)
        await asyncio.sleep(0.05)
        return held, await allocated(rig) - before, [a.body for a in answers]

    async def settled(before: int) -> float:
        """What Envoy holds once it does not change any more."""
        last = -1.0
        while abs((now := await allocated(rig) - before) - last) > 1e5:
            last = now
            await asyncio.sleep(0.15)
        return now

    held, kept, bodies = rig.loop.run(ask(), timeout=60)
    total = sum(map(len, bodies))
    print(f"{total / 1e6:.1f} MB on the way, Envoy holds {held / 1e6:.1f} MB, then {kept / 1e6:.1f} MB")
    assert rig.gateway.children["envoy"].pid == pid, "Envoy crashed"
    assert all(len(_texts(b)) > 20_000 and (b"[DONE]" in b or b"message_stop" in b) for b in bodies)
    assert held < total + 8e6
    assert kept < 4e6


async def allocated(rig: Rig) -> int:
    """Bytes that Envoy has allocated."""
    _, text = await probe.http(rig.gateway.places.envoy_admin, "GET", "/memory")
    return int(json.loads(text)["allocated"])


@pytest.mark.parametrize(("dialect", "model"), [("messages", "via-openai"), ("chat", "via-anthropic")])
def test_unread_answers_add_up_on_one_connection(rig: Rig, dialect: str, model: str) -> None:
    """With windows wide open all of them wait in the buffer of the connection, which has a limit of its own."""
    pid = rig.gateway.children["envoy"].pid

    async def ask() -> list[load.Answer]:
        path, body = CALLS[dialect](model, text="[[sim tokens=100000 delay_ms=0]]")
        body = body[:-1].replace(b'"max_tokens": 400, ', b"") + b', "max_tokens": 120000}'
        async with H2Client(rig.url, window=2**31 - 1) as client:
            client.reading.clear()
            asked = [await client.begin(path, body) for _ in range(16)]
            await until(lambda: sum(r.outcome == "answered" for r in seen(rig)) == 16, 10)
            await asyncio.sleep(0.3)
            client.reading.set()
            for _, answer in asked:
                await asyncio.wait_for(answer.ended.wait(), 20)
            return [answer for _, answer in asked]

    answers = rig.loop.run(ask())
    assert rig.gateway.children["envoy"].pid == pid, "Envoy crashed"
    assert [(a.status, a.clean) for a in answers] == [(200, True)] * 16, answers[0].body[:300]
    assert min(len(a.body) for a in answers) > 500_000
