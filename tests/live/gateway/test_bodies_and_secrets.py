"""Large bodies fail over whole, Envoy survives them, and a provider without a key is one more failure that fails over."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.live.gateway import load
from tests.live.gateway.rig import KEYS, Rig, RigFactory, route

ROUTES = (
    route("openai-first", "openai", "anthropic", "local", first_token="20s")
    + route("anthropic-first", "anthropic", "openai", first_token="20s")
    + route("local-first", "local", "openai", first_token="20s")
    + route("only-openai", "openai")
    + route("only-anthropic", "anthropic")
    + route("small", "openai", "anthropic").replace("  firstEventHold", "  maxRequestBytes: 20Ki\n  firstEventHold")
).replace("  firstEventHold", "  fallback: {contextWindow: send}\n  firstEventHold")
MB = 1 << 20


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


def big(path: str, model: str, size: int) -> tuple[str, bytes]:
    """A request with a long history and the question at its end."""
    turns: list[dict[str, str]] = [
        {"role": "user", "content": 'line "quoted" \\ and {braces}\n' * (size // 30)},
        {"role": "assistant", "content": "noted"},
        {"role": "user", "content": "hello"},
    ]
    return path, json.dumps(
        {"max_tokens": 300, "messages": turns, "model": model} if "messages" in path else {"messages": turns, "model": model}
    ).encode()


def envoy_pid(rig: Rig) -> int | None:
    return rig.gateway.children["envoy"].pid


@pytest.mark.parametrize("megabytes", [2, 20])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    "fault", [{"mode": "status", "status": 503}, {"mode": "unconnectable"}, {"mode": "reset"}], ids=lambda f: f["mode"]
)
def test_large_bodies_fail_over_whole(rig: Rig, fault: dict[str, Any], path: str, megabytes: int) -> None:
    pid = envoy_pid(rig)
    name = "openai-first" if path.endswith("completions") else "anthropic-first"
    rig.break_vendor(name.removesuffix("-first"), **fault)
    try:
        at_once = 4 if megabytes == 2 else 1
        answers = rig.loop.run(load.run(rig.url, at_once, at_once, lambda _: big(path, name, megabytes * MB)), timeout=110)
    finally:
        rig.heal()
    assert not [problem for a in answers if (problem := load.served(a))]
    assert {a.attempts for a in answers} == {2}
    assert envoy_pid(rig) == pid, "Envoy crashed"


def test_a_large_body_reaches_a_passthrough_vendor_unchanged(rig: Rig) -> None:
    path, body = big("/v1/chat/completions", "local-first", 2 * MB)
    answers = rig.loop.run(load.run(rig.url, 1, 1, lambda _: (path, body)))
    assert not [problem for a in answers if (problem := load.served(a))]
    expected = body.replace(b'"model": "local-first"', b'"model": "llama-3.3-70b"')
    assert hashlib.sha256(expected).hexdigest().startswith(rig.vendors["local"].requests[-1].body_hash.removeprefix("sha256:"))


def test_over_the_limit_is_a_413_in_the_clients_dialect(rig: Rig) -> None:
    for path, sign in (("/v1/chat/completions", b'"code":"request_too_large"'), ("/v1/messages", b'"type":"request_too_large"')):
        request = big(path, "openai-first", 40 * MB)
        (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _, request=request: request))  # type: ignore[misc]
        assert answer.status == 413
        assert sign in answer.body


TOO_LARGE = (("/v1/chat/completions", b'"code":"request_too_large"'), ("/v1/messages", b'"type":"request_too_large"'))


@pytest.mark.parametrize(("path", "sign"), TOO_LARGE)
def test_a_route_may_take_less_than_the_others(rig: Rig, path: str, sign: bytes) -> None:
    for vendor in rig.vendors.values():
        vendor.clear()
    (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _: big(path, "small", 25_000)))
    assert (answer.status, sign in answer.body) == (413, True), answer.body
    assert not any(vendor.requests for vendor in rig.vendors.values())
    for name, size in (("small", 15_000), ("openai-first", 25_000)):
        (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _, n=name, s=size: big(path, n, s)))  # type: ignore[misc]
        assert load.served(answer) is None


@pytest.mark.parametrize(("path", "sign"), TOO_LARGE)
def test_a_chunked_body_over_the_limit_is_a_413_too(rig: Rig, path: str, sign: bytes) -> None:
    """Nobody says beforehand how long it gets: Envoy counts while it comes."""

    async def ask() -> bytes:
        parts = urlsplit(rig.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        writer.write(b'1d\r\n{"model":"openai-first","x":"\r\n')
        answer = asyncio.create_task(reader.read(4096))  # at once: what is not read when the connection is reset is lost
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                writer.write(b"100000\r\n" + b"y" * MB + b"\r\n")
                await writer.drain()
        try:
            return await answer
        finally:
            writer.transport.abort()

    answer = rig.loop.run(ask())
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert sign in answer


def test_a_revoked_key_fails_over(rig: Rig) -> None:
    async def revoke(keys: list[str]) -> None:
        rig.vendors["openai"].set_keys(keys)

    rig.loop.run(revoke(["another"]))
    try:
        answers = rig.loop.run(load.run(rig.url, 100, 10, lambda i: (load.chat if i % 2 else load.messages)("openai-first")))
    finally:
        rig.loop.run(revoke([KEYS["SIM_OPENAI_KEY"]]))
    assert not [problem for a in answers if (problem := load.served(a))]
    assert {a.headers["x-headgate-target"].split("/")[0] for a in answers} == {"anthropic"}


def responses(model: str, stream: bool = False) -> tuple[str, bytes]:
    """An OpenAI Responses request: path and body."""
    return "/v1/responses", json.dumps({"model": model, "input": "hello", "stream": stream}).encode()


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_a_vendors_words_about_our_key_reach_no_client(rig: Rig, vendor: str) -> None:
    """Vendors quote what they got. With no other target the client gets a 502 in its own dialect, without the quote, on both lanes."""

    async def keys(names: list[str]) -> None:
        rig.vendors[vendor].set_keys(names)

    key = KEYS[f"SIM_{vendor.upper()}_KEY"]
    rig.loop.run(keys(["another"]))
    try:
        made = (load.chat, load.messages, responses)
        answers = rig.loop.run(load.run(rig.url, 6, 1, lambda i: made[i % 3](f"only-{vendor}", stream=i > 2)))
    finally:
        rig.loop.run(keys([key]))
    assert [a.status for a in answers] == [502] * 6
    for answer in answers:
        said = json.loads(answer.body)["error"]
        assert said["type"] in ("server_error", "api_error")
        assert said["message"].startswith("upstream_credentials_exhausted: ")
        assert key[-4:].encode() not in answer.body


def test_a_missing_key_fails_over_without_an_attempt(make_rig: RigFactory) -> None:
    rig = make_rig(ROUTES, env={"SIM_OPENAI_KEY": ""})
    answers = rig.loop.run(load.run(rig.url, 50, 10, lambda i: (load.chat if i % 2 else load.messages)("openai-first")))
    assert not [problem for a in answers if (problem := load.served(a))]
    assert {a.attempts for a in answers} == {1}
    assert not rig.vendors["openai"].requests
    assert any(re.search(r"HG3001.*SIM_OPENAI_KEY", line) for line in rig.lines)


def test_no_secret_is_ever_shown(rig: Rig) -> None:
    """Provider keys and client keys, searched for in the journal, in Envoy's dumps, in the state on disk and in every output."""
    import subprocess

    rig.loop.run(
        load.run(
            rig.url,
            4,
            1,
            lambda i: (load.chat if i % 2 else load.messages)("openai-first"),
            headers={"authorization": "Bearer client-canary-99"},
        )
    )
    sent = rig.vendors["openai"].requests[-1]
    assert sent.key == "key-0", "the provider's own key must have been used"
    dumps = [
        subprocess.run(
            ["curl", "-s", "--unix-socket", rig.gateway.places.envoy_admin, f"http://x/{what}"], capture_output=True, check=True
        ).stdout
        for what in ("config_dump?include_eds", "stats", "clusters")
    ]
    files = [p.read_bytes() for p in rig.gateway.places.state.rglob("*") if p.is_file()]
    shown = b"\n".join([*dumps, *files, "\n".join(rig.lines).encode()])
    assert b"target:openai/gpt-5" in shown
    for secret in (*KEYS.values(), "client-canary-99"):
        assert secret.encode() not in shown
