"""Large bodies fail over whole, Envoy survives them, and a provider without a key is one more failure that fails over."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from tests.live.gateway import load
from tests.live.gateway.rig import KEYS, Rig, RigFactory, route

ROUTES = (
    route("openai-first", "openai", "anthropic", "local", first_token="20s")
    + route("anthropic-first", "anthropic", "openai", first_token="20s")
    + route("local-first", "local", "openai", first_token="20s")
)
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
