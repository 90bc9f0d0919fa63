"""Hostile bytes: what is answered is what a vendor saw, headers cannot be spoofed, no attempt leaves bytes behind for the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import pytest

from control_plane.demo.simulators.record import Recorded
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

QUIET_S = 1.2
"""A connection on which nothing comes for so long has said what it has to say."""

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(
        route("gpt", "openai")
        + route("other", "local")
        + route("claude", "anthropic")
        + route("via-three", "anthropic", "openai", "local")
        + route("pass-translate-pass", "openai", "anthropic", "local")
        + route("then-claude", "openai", "anthropic")
    )


def body_of(mark: str, model: str = "gpt", filler: str = "") -> bytes:
    content = f"{mark} {filler}".strip()
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}]}).encode()


def plain(mark: str, path: str = CHAT, model: str = "gpt", headers: str = "") -> bytes:
    """An honest request."""
    body = body_of(mark, model)
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def chunked(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n0\r\n\r\n" % (len(data), extension, data)


def head(*lines: str, target: str = CHAT) -> bytes:
    return "\r\n".join([f"POST {target} HTTP/1.1", "host: gateway", "content-type: application/json", *lines, "", ""]).encode("latin-1")


Case = Callable[[str], bytes]
"""From a mark to bytes. The mark names the outer request, the mark with `-inner` what is smuggled in it."""


def _cl_te(line: str) -> Case:
    def made(mark: str) -> bytes:
        inner = plain(f"{mark}-inner", model="other")
        data = chunked(body_of(mark)) + inner
        return head(f"content-length: {len(data)}", line) + data

    return made


def _te_cl(line: str) -> Case:
    def made(mark: str) -> bytes:
        inner = plain(f"{mark}-inner", model="other")
        return head("content-length: 4", line) + chunked(body_of(mark) + inner)

    return made


def _two_lengths(first: int, second: int) -> Case:
    def made(mark: str) -> bytes:
        body = body_of(mark)
        return head(f"content-length: {len(body) + first}", f"content-length: {len(body) + second}") + body

    return made


def _with_line(line: str) -> Case:
    def made(mark: str) -> bytes:
        body = body_of(mark)
        return head(line, f"content-length: {len(body)}") + body

    return made


def _length(text: Callable[[int], str]) -> Case:
    def made(mark: str) -> bytes:
        body = body_of(mark)
        return head(text(len(body))) + body

    return made


def _raw(data: Callable[[str, bytes], bytes]) -> Case:
    return lambda mark: data(mark, body_of(mark))


def _chunks(data: Callable[[bytes], bytes], *lines: str) -> Case:
    return lambda mark: head("transfer-encoding: chunked", *lines) + data(body_of(mark))


CORPUS: dict[str, Case] = {
    "honest": plain,
    "honest chunked": _chunks(chunked),
    "cl.te": _cl_te("transfer-encoding: chunked"),
    "cl.te xchunked": _cl_te("transfer-encoding: xchunked"),
    "cl.te space": _cl_te("transfer-encoding : chunked"),
    "cl.te tab": _cl_te("transfer-encoding:\tchunked"),
    "cl.te vertical tab": _cl_te("transfer-encoding:\x0bchunked"),
    "cl.te capitals": _cl_te("Transfer-Encoding: CHUNKED"),
    "cl.te folded": _cl_te("transfer-encoding:\r\n chunked"),
    "cl.te comma": _cl_te("transfer-encoding: chunked, identity"),
    "cl.te quoted": _cl_te('transfer-encoding: "chunked"'),
    "cl.te underscore": _cl_te("transfer_encoding: chunked"),
    "te.te": _cl_te("transfer-encoding: chunked\r\ntransfer-encoding: cow"),
    "te.te twice": _cl_te("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
    "te.te identity": _cl_te("transfer-encoding: identity\r\ntransfer-encoding: chunked"),
    "te.cl": _te_cl("transfer-encoding: chunked"),
    "te.cl bare lf": _te_cl("x: y\ntransfer-encoding: chunked"),
    "two equal lengths": _two_lengths(0, 0),
    "two lengths": _two_lengths(0, 5),
    "two lengths reversed": _two_lengths(-5, 0),
    "list of lengths": _length(lambda n: f"content-length: {n}, {n}"),
    "list of other lengths": _length(lambda n: f"content-length: {n}, {n + 1}"),
    "length with plus": _length(lambda n: f"content-length: +{n}"),
    "negative length": _length(lambda n: f"content-length: -{n}"),
    "length in hex": _length(lambda n: f"content-length: {n:#x}"),
    "length with letters": _length(lambda n: f"content-length: {n}abc"),
    "length with leading zeros": _length(lambda n: f"content-length: 00{n}"),
    "length too large": _length(lambda n: "content-length: 18446744073709551617"),
    "empty length": _length(lambda n: "content-length: "),
    "length with space before colon": _length(lambda n: f"content-length : {n}"),
    "length too small": lambda mark: head("content-length: 10") + body_of(mark) + plain(f"{mark}-inner", model="other"),
    "no length": lambda mark: head() + body_of(mark),
    "bare lf everywhere": _raw(lambda mark, body: plain(mark).replace(b"\r\n", b"\n")),
    "bare lf in a header": _with_line("x-a: b\nx-c: d"),
    "bare cr in a header": _with_line("x-a: b\rx-c: d"),
    "obs-fold": _with_line("x-a: b\r\n c"),
    "obs-fold at first": _raw(lambda mark, body: plain(mark).replace(b"host: gateway", b" host: gateway")),
    "space before colon": _with_line("x-a : b"),
    "space in a name": _with_line("x a: b"),
    "empty name": _with_line(": b"),
    "no colon": _with_line("x-a"),
    "nul in a name": _with_line("x-\0a: b"),
    "nul in a value": _with_line("x-a: b\0c"),
    "latin-1 in a value": _with_line("x-a: \xe9\xff"),
    "huge header": _with_line("x-a: " + "a" * 100_000),
    "many headers": _with_line("\r\n".join(f"x-{i}: {i}" for i in range(500))),
    "two hosts": _with_line("host: other.example"),
    "no host": _raw(lambda mark, body: plain(mark).replace(b"host: gateway\r\n", b"")),
    "chunk extension": _chunks(lambda b: chunked(b, b';a="b"')),
    "chunk extension with lf": _chunks(lambda b: chunked(b, b";a=\nb")),
    "chunk extension with cr": _chunks(lambda b: chunked(b, b";\rx")),
    "chunk size with 0x": _chunks(lambda b: b"0x" + chunked(b)),
    "chunk size with plus": _chunks(lambda b: b"+" + chunked(b)),
    "chunk size with zeros": _chunks(lambda b: b"000000" + chunked(b)),
    "chunk size with space": _chunks(lambda b: chunked(b, b" ")),
    "chunk size overflows": _chunks(lambda b: b"1000000000000000" + chunked(b)),
    "chunk longer than said": _chunks(lambda b: b"3\r\n" + b + b"\r\n0\r\n\r\n"),
    "chunk ends with lf": _chunks(lambda b: b"%x\r\n%s\n0\r\n\r\n" % (len(b), b)),
    "trailers": _chunks(lambda b: chunked(b)[:-2] + b"content-length: 5\r\nx-headgate-model: other\r\nhost: x\r\n\r\n"),
    "http/1.0": _raw(lambda mark, body: plain(mark).replace(b"HTTP/1.1", b"HTTP/1.0")),
    "http/1.0 chunked": _raw(lambda mark, body: head("transfer-encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + chunked(body)),
    "http/0.9": _raw(lambda mark, body: b"GET /v1/models\r\n\r\n"),
    "http/2.0 text": _raw(lambda mark, body: plain(mark).replace(b"HTTP/1.1", b"HTTP/2.0")),
    "http/1.1 twice": _raw(lambda mark, body: plain(mark).replace(b"HTTP/1.1", b"HTTP/1.1 HTTP/1.1")),
    "upgrade": _with_line("connection: upgrade\r\nupgrade: websocket"),
    "upgrade h2c": _with_line("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__"),
    "connection names content-length": _with_line("connection: content-length, content-type"),
    "connection names the model header": _with_line("connection: x-headgate-model, authorization"),
    "te trailers": _with_line("te: trailers, chunked;q=0.5"),
    "method with a space": _raw(lambda mark, body: plain(mark).replace(b"POST ", b"POST  ")),
    "method in small letters": _raw(lambda mark, body: plain(mark).replace(b"POST ", b"post ")),
    "unknown method": _raw(lambda mark, body: plain(mark).replace(b"POST ", b"POOST ")),
    "trace": _raw(lambda mark, body: plain(mark).replace(b"POST ", b"TRACE ")),
    "connect": _raw(lambda mark, body: b"CONNECT openai.example:443 HTTP/1.1\r\nhost: openai.example:443\r\n\r\n" + plain(f"{mark}-inner")),
    "get with a body": _raw(lambda mark, body: plain(mark).replace(b"POST ", b"GET ")),
    "leading empty lines": _raw(lambda mark, body: b"\r\n\r\n" + plain(mark)),
    "second request with leading lf": _raw(lambda mark, body: plain(mark) + b"\n" + plain(f"{mark}-second")),
    "pipelined": _raw(lambda mark, body: plain(mark) + plain(f"{mark}-second", model="other")),
}

TARGETS: dict[str, str] = {
    "absolute form": "http://gateway/v1/chat/completions",
    "absolute form of another host": "http://evil.example/v1/chat/completions",
    "absolute form with userinfo": "http://a:b@gateway/v1/chat/completions",
    "absolute form, other scheme": "ftp://gateway/v1/chat/completions",
    "double slash": "//v1//chat/completions",
    "dot segments": "/x/../v1/./chat/completions",
    "above the root": "/../../v1/chat/completions",
    "encoded dots": "/x/%2e%2e/v1/chat/completions",
    "encoded slash": "/v1%2fchat/completions",
    "encoded backslash": "/v1%5cchat/completions",
    "backslash": "/v1\\chat\\completions",
    "encoded letter": "/v1/ch%61t/completions",
    "doubly encoded": "/v1/ch%2561t/completions",
    "encoded nul": "/v1/chat/completions%00",
    "capitals": "/V1/Chat/Completions",
    "semicolon": "/v1/chat/completions;x=y",
    "semicolon inside": "/v1;x/chat/completions",
    "trailing slash": "/v1/chat/completions/",
    "trailing dot": "/v1/chat/completions/.",
    "fragment": "/v1/chat/completions#x",
    "query": "/v1/chat/completions?a=/v1/messages",
    "overlong utf-8": "/v1/chat%c0%afcompletions",
    "asterisk": "*",
    "empty": "",
    "no slash": "v1/chat/completions",
    "space": "/v1/chat/completions /v1/messages",
}


@dataclass
class Told:
    """What came back on one connection, request by request; `closed`: the gateway ended it."""

    statuses: list[int]
    targets: list[str | None]
    closed: bool
    rest: bytes


async def talk(rig: Rig, data: bytes) -> Told:
    """Send bytes on a new connection and read whole answers until it is quiet or closed."""
    parts = urlsplit(rig.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(data)
    got, closed = b"", False
    try:
        while more := await asyncio.wait_for(reader.read(65536), QUIET_S if got else 4 * QUIET_S):
            got += more
        closed = True
    except TimeoutError:
        pass
    except ConnectionError:
        closed = True
    writer.close()
    told = Told([], [], closed, got)
    while told.rest.startswith(b"HTTP/1."):
        head, _, rest = told.rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        if "chunked" in headers.get("transfer-encoding", ""):
            _, _, rest = rest.partition(b"\r\n0\r\n\r\n") if not rest.startswith(b"0\r\n") else (b"", b"", rest[5:])
        else:
            rest = rest[int(headers.get("content-length", 0)) :]
        told.rest = rest
        if status >= 200:
            told.statuses.append(status)
            told.targets.append(headers.get("x-headgate-target"))
    return told


@pytest.fixture(scope="module")
def told(rig: Rig) -> dict[str, Told]:
    """The whole corpus, many connections at once."""
    rig.heal()

    async def all_of_it() -> dict[str, Told]:
        gate = asyncio.Semaphore(20)

        async def one(data: bytes) -> Told:
            async with gate:
                return await talk(rig, data)

        cases = {name: made(f"<{name}>") for name, made in CORPUS.items()}
        cases |= {f"target: {name}": plain(f"<target: {name}>", path=target) for name, target in TARGETS.items()}
        return dict(zip(cases, await asyncio.gather(*map(one, cases.values())), strict=True))

    return rig.loop.run(all_of_it())


def seen(rig: Rig) -> list[Recorded]:
    return [r for vendor in rig.vendors.values() for r in vendor.requests]


def reached(rig: Rig, mark: str) -> list[Recorded]:
    """The vendors' requests that the bytes of this case led to."""
    return [r for r in seen(rig) if mark.encode() in (r.body or b"") or mark in r.path]


@pytest.mark.parametrize("name", [*CORPUS, *(f"target: {name}" for name in TARGETS)])
def test_vendors_see_what_is_answered_and_nothing_else(rig: Rig, told: dict[str, Told], name: str) -> None:
    got = told[name]
    served = sum(status < 400 for status in got.statuses)
    outer = reached(rig, f"<{name}>") + reached(rig, f"<{name}>-second")
    assert got.rest == b"", "every byte of the answers belongs to one"
    assert set(got.statuses) <= {200, 400, 403, 404, 405, 408, 411, 413, 415, 426, 431, 501, 505}, got
    assert len({id(r) for r in outer}) == served, (got, [r.path for r in outer])
    assert not reached(rig, f"<{name}>-inner"), "a request inside a request was carried out"
    for record in outer:
        assert (record.method, record.path, record.status) == ("POST", CHAT, 200)
        assert record.key == "key-0"
        assert record.headers.get("transfer-encoding") is None
        assert record.headers["content-length"] == str(record.size)
    if not served and got.statuses:
        assert got.targets == [None] * len(got.statuses), "no vendor was asked, so no target may be named"


AMBIGUOUS = [
    name for name in CORPUS if name.startswith(("cl.te", "te.te", "te.cl", "two lengths", "negative", "length with", "list of other"))
]


@pytest.mark.parametrize("name", [name for name in AMBIGUOUS if name not in ("cl.te xchunked", "cl.te quoted")])
def test_ambiguous_framing_is_refused_and_the_connection_closed(told: dict[str, Told], name: str) -> None:
    if told[name].statuses == [200]:
        assert name in ("length with leading zeros", "two equal lengths"), told[name]
        return
    assert told[name].closed, told[name]
    assert all(400 <= status < 600 for status in told[name].statuses)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("honest", 200),
        ("honest chunked", 200),
        ("chunk extension", 200),
        ("target: query", 200),
        ("target: absolute form", 200),
        ("target: double slash", 200),
        ("target: dot segments", 200),
        ("target: encoded slash", 404),
        ("target: encoded backslash", 404),
        ("target: capitals", 404),
        ("target: trailing slash", 404),
        ("target: semicolon", 404),
        ("target: above the root", 200),
        ("target: doubly encoded", 404),
    ],
)
def test_paths_mean_one_thing(told: dict[str, Told], name: str, status: int) -> None:
    assert told[name].statuses == [status]


def test_the_connections_to_vendors_are_clean_afterwards(rig: Rig, told: dict[str, Told]) -> None:
    answers = rig.loop.run(load.run(rig.url, 60, 6, lambda i: (load.chat if i % 2 else load.messages)(("gpt", "other", "claude")[i % 3])))
    assert [problem for a in answers if (problem := load.served(a))] == []
    assert {r.status for r in seen(rig)} == {200}


# ------------------------------------------------------------------------------------------------------------------ HTTP/2
def _h2(**changes: Any) -> Callable[[str], tuple[list[tuple[str, str]], bytes]]:
    def made(mark: str) -> tuple[list[tuple[str, str]], bytes]:
        body = body_of(mark)
        named = {k.replace("_", "-").replace("P-", ":"): v for k, v in changes.items()}
        headers = {":method": "POST", ":scheme": "http", ":path": CHAT, ":authority": "gateway", "content-type": "application/json"} | named
        return [(k, v) for k, v in headers.items() if v is not None], body

    return made


H2_CORPUS: dict[str, Callable[[str], tuple[list[tuple[str, str]], bytes]]] = {
    "h2 honest": _h2(),
    "h2 content-length too small": _h2(content_length="5"),
    "h2 content-length too large": _h2(content_length="99999"),
    "h2 transfer-encoding": _h2(transfer_encoding="chunked"),
    "h2 connection": _h2(connection="transfer-encoding"),
    "h2 newline in a value": _h2(x_a="b\r\ntransfer-encoding: chunked"),
    "h2 nul in a value": _h2(x_a="b\0"),
    "h2 newline in the path": _h2(**{"P-path": "/v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\nGET /"}),
    "h2 space in the path": _h2(**{"P-path": "/v1/chat/completions /x"}),
    "h2 newline in the method": _h2(**{"P-method": "POST / HTTP/1.1\r\nx: y"}),
    "h2 newline in the authority": _h2(**{"P-authority": "a\r\nx: y"}),
    "h2 host differs": _h2(host="evil.example"),
    "h2 no path": _h2(**{"P-path": None}),
    "h2 absolute path": _h2(**{"P-path": "http://evil.example/v1/chat/completions"}),
    "h2 capitals": _h2(**{"X-Headgate-Model": "other"}),
    "h2 te": _h2(te="chunked"),
}


async def talk_h2(rig: Rig, headers: list[tuple[str, str]], body: bytes) -> int:
    """The status of one request over HTTP/2; 0 when the stream or the connection was broken off."""
    parts = urlsplit(rig.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    config = h2.config.H2Configuration(
        header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False
    )
    peer = h2.connection.H2Connection(config)
    peer.initiate_connection()
    peer.send_headers(1, headers)
    peer.send_data(1, body, end_stream=True)
    writer.write(peer.data_to_send())
    status = 0
    try:
        async with asyncio.timeout(2):
            while data := await reader.read(65536):
                events: list[Any] = peer.receive_data(data)
                for event in events:
                    if type(event).__name__ == "ResponseReceived":
                        status = int(dict(event.headers)[":status"])
                    if type(event).__name__ in ("StreamEnded", "StreamReset", "ConnectionTerminated"):
                        return status
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return status


@pytest.mark.parametrize("name", H2_CORPUS)
def test_http2_cannot_smuggle_into_http1(rig: Rig, name: str) -> None:
    rig.heal()
    status = rig.loop.run(talk_h2(rig, *H2_CORPUS[name](name)))
    assert (status == 200) == (len(seen(rig)) == 1), (status, seen(rig))
    assert status in (0, 200, 400, 404)
    assert status == 200 if name in ("h2 honest",) else status != 200 or name in ("h2 host differs", "h2 te", "h2 absolute path")
    for record in seen(rig):
        assert (record.path, record.headers["content-length"]) == (CHAT, str(record.size))
        assert "evil" not in record.headers["host"]
        assert not {"te", "connection", "transfer-encoding"} & set(record.headers)


# ------------------------------------------------------------------------------------------------------------ header spoofs
SPOOFS = [
    *(
        f"x-headgate-{name}: {value}"
        for name, value in (("model", "other"), ("lane", "translation"), ("failure", "unfit"), ("target", "x"))
    ),
    "x-headgate-attempts: 7",
    "X-HeadGate-Model: other",
    "x-headgate-model: other\r\nx-headgate-model: claude",
    "x_headgate_model: other",
    "x-headgate_model: other",
    *(
        f"x-envoy-{name}: 1"
        for name in ("upstream-rq-timeout-ms", "upstream-rq-per-try-timeout-ms", "max-retries", "hedge-on-per-try-timeout")
    ),
    "x-envoy-retry-on: 5xx",
    "x-envoy-retriable-status-codes: 200",
    "x-envoy-retriable-header-names: content-type",
    "x-envoy-upstream-alt-stat-name: x",
    "x-envoy-original-path: /v1/messages",
    "x-envoy-original-host: evil.example",
    "x-envoy-attempt-count: 9",
    "x-envoy-internal: true",
    "x-envoy-external-address: 10.0.0.1",
    "x-envoy-decorator-operation: x",
    "x-envoy-force-trace: true",
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-for: 10.0.0.1\r\nx-envoy-upstream-rq-per-try-timeout-ms: 1",
    "x-forwarded-proto: https",
    "x-forwarded-host: evil.example",
    "x-forwarded-client-cert: By=spiffe://x",
    "x-original-url: /v1/messages",
    "x-rewrite-url: /v1/messages",
    "x-http-method-override: GET",
    "x-request-id: 00000000-0000-4000-8000-000000000001",
    "forwarded: for=127.0.0.1;host=evil.example",
    "authorization: Bearer stolen\r\nAuthorization: Bearer stolen2\r\nx-api-key: stolen\r\napi-key: stolen\r\ncookie: a=stolen",
    "proxy-authorization: Basic stolen\r\nproxy-connection: keep-alive\r\nkeep-alive: timeout=5",
]
ADDRESSES = ("x-forwarded-for", "x-forwarded-host", "x-envoy-external-address", "forwarded", "x-real-ip")
PRIVATE = ("x-headgate", "x-envoy-", "x-forwarded-", "proxy-", "keep-alive", "connection", "te", "upgrade", "cookie", "forwarded")


@pytest.fixture(scope="module")
def spoofed(rig: Rig, told: dict[str, Told]) -> dict[tuple[str, str], Told]:
    """Every spoof on both lanes, followed by an honest request on the same connection."""

    async def all_of_it() -> dict[tuple[str, str], Told]:
        cases = [(spoof, lane) for spoof in SPOOFS for lane in ("gpt", "claude")]
        gate = asyncio.Semaphore(20)

        async def one(spoof: str, lane: str) -> Told:
            mark = f"<{SPOOFS.index(spoof)}-{lane}>"
            async with gate:
                return await talk(rig, plain(f"spoof {mark}", model=lane, headers=f"{spoof}\r\n") + plain(f"after {mark}", model=lane))

        return dict(zip(cases, await asyncio.gather(*(one(*case) for case in cases)), strict=True))

    return rig.loop.run(all_of_it())


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda s: s.replace("\r\n", " + ")[:60])
@pytest.mark.parametrize("lane", ["gpt", "claude"])
def test_spoofed_headers_change_nothing(rig: Rig, spoofed: dict[tuple[str, str], Told], spoof: str, lane: str) -> None:
    got, records = spoofed[spoof, lane], reached(rig, f"<{SPOOFS.index(spoof)}-{lane}>")
    if "_" in spoof.partition(":")[0]:
        assert got.statuses[:1] == [400]
        assert len(records) == len(got.statuses) - 1
        return
    assert got.statuses == [200, 200], got
    assert got.targets == [{"gpt": "openai/gpt-5", "claude": "anthropic/claude-sonnet-5"}[lane]] * 2
    first, second = sorted(records, key=lambda r: b"after" in (r.body or b""))
    assert first.key == second.key == "key-0"
    assert not [name for name in first.headers if name.startswith(PRIVATE) and name not in ("x-envoy-attempt-count", *ADDRESSES)]
    assert first.headers.get("x-envoy-attempt-count", "1") == "1"
    assert "evil" not in first.headers["host"]
    assert (first.path, first.query) == (second.path, "")
    assert b"stolen" not in str(first._headers).encode()
    assert "00000000-0000-4000-8000-000000000001" not in first.headers.get("x-request-id", "")


def test_vendors_do_not_learn_who_asks(rig: Rig) -> None:
    """The address of a user, as Envoy sees it or as a proxy in front of it says, is nobody's business."""
    rig.heal()
    headers = "".join(f"{name}: 203.0.113.7\r\n" for name in ADDRESSES if name != "x-envoy-external-address")
    for model in ("gpt", "claude"):
        assert rig.loop.run(talk(rig, plain("who", model=model, headers=headers))).statuses == [200]
    for record in seen(rig):
        assert not set(ADDRESSES) & set(record.headers)
        assert not {"203.0.113.7", "127.0.0.1"} & {value for name, value in record.headers.items() if name != "host"}


# ------------------------------------------------------------------------------- one attempt's headers in the next (internal)
SIZES = [0, 1, 2, 9, 10, 63, 64, 99, 100, 255, 999, 1000, 4095, 4096, 9_999, 16_384, 65_535, 65_536, 99_999, 100_000, 262_144, 1_000_003]


def conversation(path: str, model: str, size: int, mark: str) -> bytes:
    """A request whose body differs in length between the dialects: roles, tools and a filler."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "é" * (size // 2) + "x" * (size % 2) + "."}, {"role": "assistant", "content": "noted"}],
    }
    body["messages"].append({"role": "user", "content": f"hello {mark}"})
    if path == CHAT:
        body["messages"].insert(0, {"role": "system", "content": "be brief"})
    else:
        body |= {"system": "be brief", "max_tokens": 50}
    return json.dumps(body, ensure_ascii=size % 3 == 0, separators=(",", ":") if size % 2 else None).encode()


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize(
    ("path", "model", "broken"),
    [
        (CHAT, "via-three", ["anthropic"]),  # translated, passthrough
        (CHAT, "via-three", ["anthropic", "openai"]),  # translated, passthrough, passthrough
        (CHAT, "pass-translate-pass", ["openai"]),  # passthrough, translated
        (CHAT, "pass-translate-pass", ["openai", "anthropic"]),  # passthrough, translated, passthrough
        ("/v1/messages", "then-claude", ["openai"]),  # translated, passthrough
        ("/v1/messages", "pass-translate-pass", ["openai", "anthropic"]),  # translated, passthrough, translated
    ],
)
def test_every_attempt_sends_one_whole_request(rig: Rig, path: str, model: str, broken: list[str], framing: str) -> None:
    rig.heal()
    for name in broken:
        rig.break_vendor(name, mode="status", status=503)

    async def ask() -> list[load.Answer]:
        async def worker(numbers: list[int]) -> list[load.Answer]:
            client = load.Client(rig.url)
            answers = []
            for i in numbers:
                body = conversation(path, model, SIZES[i], f"mark-{i}.")
                if framing == "chunked":
                    at = len(body) // 3
                    data = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:at], body[at:]) if p) + b"0\r\n\r\n"
                    answers.append(await post_chunked(rig, path, data))
                else:
                    answers.append(await client.post(path, body))
            client.close()
            return answers

        done = await asyncio.gather(*(worker(list(range(k, len(SIZES), 3))) for k in range(3)))
        return [a for part in done for a in part]

    answers = rig.loop.run(ask())
    assert [problem for a in answers if (problem := load.served(a))] == []
    assert {a.attempts for a in answers} == {len(broken) + 1}
    for vendor in rig.vendors.values():
        for record in vendor.requests:
            assert record.status in ((503,) if vendor.name in broken else (200,)), (vendor.name, record.status)
            assert record.headers["content-length"] == str(record.size)
            assert "transfer-encoding" not in record.headers
            assert (record.path, record.query) == ("/v1/messages" if vendor.vendor == "anthropic" else CHAT, "")
    last = rig.vendors[answers[0].headers["x-headgate-target"].split("/")[0]]
    assert len(last.requests) == len(SIZES)
    native = (last.vendor == "anthropic") == (path == "/v1/messages")
    upstream = answers[0].headers["x-headgate-target"].partition("/")[2]
    if native:
        wanted = {conversation(path, upstream, size, f"mark-{i}.") for i, size in enumerate(SIZES) if size < 60_000}
        assert wanted <= {r.body for r in last.requests}
    # What an attempt left on a kept connection would be read as the beginning of the next request.
    rig.loop.run(heal_and_ask(rig))


async def post_chunked(rig: Rig, path: str, data: bytes) -> load.Answer:
    parts = urlsplit(rig.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode() + data)
    answer = load.Answer()
    async with asyncio.timeout(20):
        await load._read(reader, answer)
    writer.close()
    return answer


async def heal_and_ask(rig: Rig) -> None:
    for vendor in rig.vendors.values():
        await vendor.heal()
        vendor.clear()
    answers = await load.run(rig.url, 24, 8, lambda i: (load.chat if i % 2 else load.messages)(("gpt", "other", "claude")[i % 3]))
    assert [problem for a in answers if (problem := load.served(a))] == []
    assert [r.status for r in seen(rig)] == [200] * 24
