"""What the edge filter lets through, rewrites and refuses, on a real Envoy."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.live.lua.edge_envoy import Gateway, Model, Vendor, provider, rename, stream, target, whole

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
JSON = {"content-type": "application/json"}
PLAIN_ANSWER = b'{"id":"x","choices":[{"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor_a: Vendor, vendor_b: Vendor) -> Iterator[Gateway]:
    models = [
        Model("gpt-5-mini", ["a"]),
        Model("alias", ["a", "b"], {"rename": "the-upstream-name"}),
        Model("mixed", ["a-named", "b-named"], {"mark": "1", "restore": "1"}),
        Model("chat-only", ["a"], paths=[CHAT]),
    ]
    clusters = [
        provider("pa", vendor_a.port),
        provider("pb", vendor_b.port),
        target("a", "pa"),
        target("b", "pb"),
        target("a-named", "pa", [rename(model="name-at-a")]),
        target("b-named", "pb", [rename(model="quite-another-name-at-b", paths="\nopenai-chat/chat=/base/path/chat\n")]),
    ]
    running = Gateway(tmp_path_factory.mktemp("edge"), models, clusters)
    yield running
    running.close()


def post(gateway: Gateway, body: bytes | object, path: str = CHAT, headers: dict[str, str] | None = None) -> httpx.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(gateway.url + path, content=data, headers={**JSON, **(headers or {})}, timeout=20)


def test_plain_request_is_untouched(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(*whole(PLAIN_ANSWER))
    body = b'{ "messages" : [{"role":"user","content":"say \\"model\\": \\u006d"}] ,\n"model" : "gpt-5-mini" }'
    answer = post(gateway, body, headers={"x-headgate-model": "mixed", "x-headgate-at": "1,2"})
    assert (answer.status_code, answer.content) == (200, PLAIN_ANSWER)
    assert vendor_a.seen[0].body == body
    assert vendor_a.seen[0].headers["content-length"] == str(len(body))


def test_rename_survives_failover(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    vendor_a.answer(*whole(b"{}", 503))
    vendor_b.answer(*whole(PLAIN_ANSWER))
    answer = post(gateway, {"messages": [{"content": 'x "model":"alias"'}], "model": "alias", "n": 1})
    assert answer.status_code == 200
    for vendor in (vendor_a, vendor_b):
        assert json.loads(vendor.seen[0].body) == {"messages": [{"content": 'x "model":"alias"'}], "model": "the-upstream-name", "n": 1}
        assert vendor.seen[0].headers["content-length"] == str(len(vendor.seen[0].body))


def test_targets_with_different_names_and_paths(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    vendor_a.answer(*whole(b"{}", 503))
    vendor_b.answer(*whole(PLAIN_ANSWER))
    answer = post(gateway, {"tools": [{"model": "opus"}], "model": "mixed", "t": "é"}, CHAT + "?api-version=1&x=%20")
    assert answer.status_code == 200
    assert json.loads(vendor_a.seen[0].body) == {"tools": [{"model": "opus"}], "model": "name-at-a", "t": "é"}
    assert vendor_a.seen[0].path == CHAT + "?api-version=1&x=%20"
    assert json.loads(vendor_b.seen[0].body) == {"tools": [{"model": "opus"}], "model": "quite-another-name-at-b", "t": "é"}
    assert vendor_b.seen[0].path == "/base/path/chat?api-version=1&x=%20"
    for vendor in (vendor_a, vendor_b):
        assert vendor.seen[0].headers["content-length"] == str(len(vendor.seen[0].body))
        assert not [h for h in vendor.seen[0].headers if h == "x-headgate-at"]


@pytest.mark.parametrize("name", ["alias", "mixed"])
def test_usage_is_asked_for_at_every_attempt(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, name: str) -> None:
    vendor_a.answer(*whole(b"{}", 503))
    vendor_b.answer(*stream([b"data: [DONE]\n\n"]))
    sent = {"stream": True, "model": name, "messages": []}
    assert post(gateway, sent).status_code == 200
    for vendor in (vendor_a, vendor_b):
        got = json.loads(vendor.seen[0].body)
        assert got.pop("stream_options") == {"include_usage": True}
        assert got.pop("model") != name
        assert got == {"stream": True, "messages": []}
        assert vendor.seen[0].headers["content-length"] == str(len(vendor.seen[0].body))


REFUSED = [
    (b"", "missing_body"),
    (b"[]", "invalid_json"),
    (b"{", "invalid_json"),
    (b'{"model":"gpt-5-mini"', "invalid_json"),
    (b'{"model":"gpt-5-mini"} {"model":"mixed"}', "invalid_json"),
    (b'{"model":"gpt-5-mini"}\0', "invalid_json"),
    (b'\xef\xbb\xbf{"model":"gpt-5-mini"}', "invalid_json"),
    (b"{'model':'gpt-5-mini'}", "invalid_json"),
    (b'{"a":1 /* , */ ,"model":"gpt-5-mini"}', "invalid_json"),
    (b'{"a":' + b"[" * 100 + b"]" * 100 + b',"model":"gpt-5-mini"}', "too_deep"),
    (b'{"messages":[{"model":"gpt-5-mini"}]}', "missing_model"),
    (b'{"model":null}', "invalid_model"),
    (b'{"model":""}', "invalid_model"),
    (b'{"model":"' + b"m" * 201 + b'"}', "invalid_model"),
    (b'{"model":"gpt-5-\\u006dini"}', "invalid_model"),
    (b'{"model":"gpt-5-mini","model":"mixed"}', "duplicate_key"),
    (b'{"model":"gpt-5-mini","mod\\u0065l":"mixed"}', "ambiguous_key"),
    (b'{"model":"gpt-5-mini","Model":"mixed"}', "ambiguous_key"),
    (b'{"model":"gpt-5-mini","stream":false,"stream":true}', "duplicate_key"),
    (b'{"model":"no-such-model"}', "model_not_found"),
    (b'{"model":"*"}', "model_not_found"),
]


@pytest.mark.parametrize(("body", "code"), REFUSED, ids=[f"{i}-{c}" for i, (_, c) in enumerate(REFUSED)])
def test_refused(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, body: bytes, code: str) -> None:
    vendor_a.answer(*whole(PLAIN_ANSWER))
    vendor_b.answer(*whole(PLAIN_ANSWER))
    answer = post(gateway, body)
    status = 404 if code == "model_not_found" else 400
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert error["param"] in {None, "model", "stream"}
    anthropic = post(gateway, body, MESSAGES).json()
    assert anthropic["type"] == "error"
    assert anthropic["error"]["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert not vendor_a.seen
    assert not vendor_b.seen


def test_unknown_model_names_the_nearest(gateway: Gateway) -> None:
    message = post(gateway, {"model": "gpt5-mini"}).json()["error"]["message"]
    assert message == "The model 'gpt5-mini' does not exist; did you mean 'gpt-5-mini'?"
    shown = post(gateway, {"model": "\x7f<b>é" + "z" * 150}, MESSAGES)
    assert shown.status_code == 400  # control characters
    shown = post(gateway, json.dumps({"model": "<b>é'" + "z" * 150}, ensure_ascii=False).encode(), MESSAGES)
    assert shown.status_code == 404
    assert shown.content.isascii()
    other = post(gateway, {"model": "chat-only"}, MESSAGES)
    assert (other.status_code, other.json()["error"]["message"][:48]) == (404, "The model 'chat-only' does not serve this operat")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-type": "text/plain"}, "unsupported_content_type"),
        ({"content-type": "application/jsonl"}, "unsupported_content_type"),
        ({"content-type": "application/json; charset=utf-16"}, "unsupported_content_type"),
        ({"content-encoding": "gzip"}, "unsupported_content_encoding"),
    ],
)
def test_unfit_headers(gateway: Gateway, vendor_a: Vendor, headers: dict[str, str], code: str) -> None:
    vendor_a.answer(*whole(PLAIN_ANSWER))
    answer = post(gateway, {"model": "gpt-5-mini", "pad": "x" * 300_000}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, code)
    assert post(gateway, {"model": "gpt-5-mini"}, headers=headers).status_code == 415
    assert not vendor_a.seen


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json ; charset=us-ascii"]
)
def test_fit_headers(gateway: Gateway, vendor_a: Vendor, kind: str) -> None:
    vendor_a.answer(*whole(PLAIN_ANSWER))
    assert post(gateway, {"model": "gpt-5-mini"}, headers={"content-type": kind, "content-encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("name", ["gpt-5-mini", "alias", "mixed"])
def test_20_mb_body_with_failover(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, name: str, http2: bool) -> None:
    vendor_a.answer(*whole(b"{}", 200 if name == "gpt-5-mini" else 503))
    vendor_b.answer(*whole(PLAIN_ANSWER))
    body = b'{"messages":["' + b'line of \\"code\\"\\n' * 1_200_000 + b'"],"model":"' + name.encode() + b'"}'
    assert len(body) > 20 * 1024 * 1024
    with httpx.Client(http1=not http2, http2=http2, timeout=60) as client:
        answer = client.post(gateway.url + CHAT, content=body, headers=JSON)
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
    last = vendor_a if name == "gpt-5-mini" else vendor_b
    names = {"gpt-5-mini": b"gpt-5-mini", "alias": b"the-upstream-name", "mixed": b"quite-another-name-at-b"}
    assert last.seen[0].body == body[: -len(name) - 2] + names[name] + b'"}'


def test_body_over_the_limit(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(*whole(PLAIN_ANSWER))
    answer = post(gateway, b'{"model":"gpt-5-mini","x":"' + b"x" * (33 * 1024 * 1024) + b'"}')
    assert answer.status_code == 413
    assert not vendor_a.seen


def test_chunked_request(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(*whole(PLAIN_ANSWER))
    pieces = [b'{"mod', b'el":"ali', b'as","x":"', b"y" * 100_000, b'"}']
    answer = httpx.post(gateway.url + CHAT, content=iter(pieces), headers=JSON)
    assert answer.status_code == 200
    assert vendor_a.seen[0].body == b"".join(pieces).replace(b"alias", b"the-upstream-name")


def test_other_paths_are_left_alone(gateway: Gateway) -> None:
    assert httpx.get(gateway.url + "/v1/models").text == "no such path"
    assert httpx.get(gateway.url + CHAT).text == "no such path"
    assert httpx.post(gateway.url + "/v1/other", content=b'{"model":"gpt-5-mini"}', headers=JSON).text == "no such path"


def test_embeddings_and_count_tokens(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(*whole(b'{"input_tokens":7}'))
    for path, extra in (("/v1/embeddings", {"input": [1, 2.5e-3, -7], "stream": "x", "STREAM": 1}), ("/v1/messages/count_tokens", {})):
        lines = gateway.lines()
        assert post(gateway, {"model": "alias", **extra}, path).status_code == 200
        assert json.loads(vendor_a.seen[-1].body) == {"model": "the-upstream-name", **extra}
        line = gateway.journal(lines)
        assert (line["operation"], line["route"], line["stream"], line["complete"]) == (path.split("/")[-1], "alias", False, True)


def test_no_script_errors(gateway: Gateway) -> None:
    """Runs last: nothing above made the scripts fail."""
    assert "script log" not in gateway.log()
