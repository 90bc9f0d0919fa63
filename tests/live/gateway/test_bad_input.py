"""What callers get wrong, answered in their dialect with the place and the fix; no vendor is called for it."""

from __future__ import annotations

import gzip
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.live.gateway.rig import Rig, RigFactory, route

MESSAGES = [{"role": "user", "content": "hello"}]
PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages"]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("claude-sonnet", "anthropic") + route("gpt", "openai"))


def call(rig: Rig, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    parts = urlsplit(rig.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        said = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        connection.request(method, path, body or None, said)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def text_of(path: str, answer: dict[str, Any]) -> str:
    """The error text, after checking that the answer has the shape of the dialect that `path` speaks."""
    if path.startswith("/v1/messages"):
        assert answer["type"] == "error"
        assert answer["error"]["type"].endswith(("_error", "_too_large"))
    else:
        assert set(answer["error"]) == {"message", "type", "param", "code"}
    return str(answer["error"]["message"])


def deep(levels: int) -> bytes:
    return b'{"model":"gpt","messages":[{"role":"user","content":"x"}],"metadata":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


BAD: dict[str, tuple[bytes, int, str]] = {
    "no model": (json.dumps({"messages": MESSAGES}).encode(), 400, "model"),
    "unknown model": (json.dumps({"model": "claude-sonet", "messages": MESSAGES}).encode(), 404, "claude-sonnet"),
    "empty model": (json.dumps({"model": "", "messages": MESSAGES}).encode(), 400, "model"),
    "model is a number": (json.dumps({"model": 5, "messages": MESSAGES}).encode(), 400, "model"),
    "model twice": (b'{"model":"gpt","messages":[],"model":"claude-sonnet"}', 400, "model"),
    "escaped key": (b'{"mod\\u0065l":"gpt","messages":[]}', 400, "model"),
    "escaped second key": (b'{"model":"gpt","messages":[],"\\u006dodel":"claude-sonnet"}', 400, "model"),
    "capitals": (b'{"model":"gpt","messages":[],"Model":"claude-sonnet"}', 400, "model"),
    "nested only": (json.dumps({"metadata": {"model": "gpt"}, "messages": MESSAGES}).encode(), 400, "model"),
    "not JSON": (b"hello", 400, "JSON"),
    "an array": (b'[{"model":"gpt"}]', 400, "JSON object"),
    "cut off": (b'{"model":"gpt","messages":[{"role":"user"', 400, "JSON"),
    "trailing garbage": (b'{"model":"gpt","messages":[]} {"model":"claude-sonnet"}', 400, "JSON"),
    "too deep": (deep(200), 400, "deep"),
    "empty": (b"", 400, "body"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BAD)
def test_bad_bodies(rig: Rig, path: str, name: str) -> None:
    body, status, hint = BAD[name]
    got, answer, _ = call(rig, "POST", path, body, anthropic_version="2023-06-01")
    message = text_of(path, answer)
    assert got == status, message
    assert hint.lower() in message.lower()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", ["gpt", "claude-sonnet"])
def test_invalid_utf8_is_refused_on_both_lanes(rig: Rig, path: str, model: str) -> None:
    body = b'{"max_tokens":9,"model":"' + model.encode() + b'","messages":[{"role":"user","content":"\xff\xfe"}]}'
    status, answer, _ = call(rig, "POST", path, body, anthropic_version="2023-06-01")
    text_of(path, answer)
    assert status == 400


@pytest.mark.parametrize("path", PATHS)
def test_wrong_content_type_and_compressed_bodies(rig: Rig, path: str) -> None:
    body = json.dumps({"model": "gpt", "messages": MESSAGES}).encode()
    status, answer, _ = call(rig, "POST", path, body, content_type="text/plain")
    assert (status, "application/json" in text_of(path, answer)) == (415, True)
    status, answer, _ = call(rig, "POST", path, gzip.compress(body), content_encoding="gzip")
    assert status == 415
    assert "encoding" in text_of(path, answer).lower() or "compress" in text_of(path, answer).lower()


@pytest.mark.parametrize("path", PATHS)
def test_wrong_method(rig: Rig, path: str) -> None:
    status, answer, _ = call(rig, "GET", path)
    assert status == 405
    assert "POST" in text_of(path, answer)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/nothing", "/", "/v1/messages/nothing", "/v1/chat/completions/extra", "/v1/responses/resp_1"),
        *("/admin", "/config_dump", "/stats"),
    ],
)
def test_unknown_paths(rig: Rig, path: str) -> None:
    status, answer, _ = call(rig, "POST", path, b"{}")
    assert status == 404
    assert "/v1/chat/completions" in text_of(path, answer)


def test_internal_headers_of_clients_have_no_effect(rig: Rig) -> None:
    """A client cannot choose the route, the target or Envoy's own switches by header."""
    body = json.dumps({"model": "gpt", "messages": MESSAGES}).encode()
    for header, value in (
        ("x-headgate-model", "claude-sonnet"),
        ("X-Headgate-Model", "nothing"),
        ("x-headgate-lane", "translation"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
        ("x-envoy-original-path", "/v1/messages"),
        ("x-envoy-retry-on", "nothing"),
    ):
        status, answer, headers = call(rig, "POST", "/v1/chat/completions", body, **{header: value})
        assert status == 200, (header, answer)
        assert headers["x-headgate-target"] == "openai/gpt-5"
    seen = rig.vendors["openai"].requests[-1]
    assert not [name for name in seen.headers if name.lower().startswith("x-headgate")]


def test_client_credentials_never_reach_a_vendor(rig: Rig) -> None:
    for path, model, vendor in (
        ("/v1/chat/completions", "gpt", "openai"),
        ("/v1/messages", "gpt", "openai"),
        ("/v1/chat/completions", "claude-sonnet", "anthropic"),
    ):
        body = (
            json.dumps({"model": model, "max_tokens": 50, "messages": MESSAGES}).encode()
            if "messages" in path
            else json.dumps({"model": model, "messages": MESSAGES}).encode()
        )
        rig.heal()
        status, answer, _ = call(
            rig,
            "POST",
            path,
            body,
            authorization="Bearer client-secret",
            x_api_key="client-secret",
            api_key="client-secret",
            cookie="a=client-secret",
            x_goog_api_key="client-secret",
        )
        assert status == 200, answer
        (seen,) = rig.vendors[vendor].requests
        assert seen.key == "key-0"
        present = {name.lower() for name in seen.headers} & {"authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key"}
        assert present == {"x-api-key" if vendor == "anthropic" else "authorization"}
