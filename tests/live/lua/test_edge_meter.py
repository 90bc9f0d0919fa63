"""What the edge filter meters and what it leaves alone in answers, on a real Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.live.lua.edge_envoy import END, Gateway, Model, Step, Vendor, chunk, head, provider, stream, target, whole

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor_a: Vendor) -> Iterator[Gateway]:
    clusters = [provider("pa", vendor_a.port), target("a", "pa")]
    running = Gateway(tmp_path_factory.mktemp("meter"), [Model("m", ["a"])], clusters)
    yield running
    running.close()


def ask(gateway: Gateway, vendor: Vendor, steps: Sequence[Step], path: str = CHAT, **body: Any) -> tuple[bytes, dict[str, Any]]:
    """The body that the client gets, and the journal line of the request without what is null."""
    vendor.answer(*steps)
    lines = gateway.lines()
    answer = httpx.post(gateway.url + path, json={"model": "m", **body}, timeout=20)
    return answer.content, {k: v for k, v in gateway.journal(lines).items() if v is not None}


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def said(text: str, finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}], usage=None)


USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
METERED = {"input": 20, "cached": 12, "output": 9, "reasoning": 5}
USAGE_ONLY = event(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
OPENAI = [said('he said "usage": {"prompt_tokens": 999} and [DONE] "error"'), said("and more"), said("", "stop"), USAGE_ONLY, DONE]

_START_USAGE = b'{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":1}'
_TEXT = b'{"type":"text_delta","text":"message_stop \\"error\\""}'
ANTHROPIC = [
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[],"usage":%s}}\n\n' % _START_USAGE,
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":%s}\n\n' % _TEXT,
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":42}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
ANTHROPIC_METERED = {"input": 22, "cached": 7, "cache_write": 5, "output": 42}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 64, 250, 5000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_openai_stream_that_asked_for_usage_is_untouched(gateway: Gateway, vendor_a: Vendor, size: int, line_end: bytes) -> None:
    data = b"".join(OPENAI).replace(b"\n", line_end)
    steps = stream(cut(data, size), 0.0002)
    got, line = ask(gateway, vendor_a, steps, stream=True, stream_options={"include_usage": True})
    assert got == data
    assert vendor_a.seen[0].body == b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'
    assert (line["usage"], line["finish"], line["complete"], line["stream"]) == (METERED, "stop", True, True)
    assert "stream_error" not in line


@pytest.mark.parametrize("size", [1, 7, 64, 250, 5000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_usage_only_chunk_is_taken_out(gateway: Gateway, vendor_a: Vendor, size: int, line_end: bytes) -> None:
    data = b"".join(OPENAI).replace(b"\n", line_end)
    got, line = ask(gateway, vendor_a, stream(cut(data, size), 0.0002), stream=True)
    assert got == data.replace(USAGE_ONLY.replace(b"\n", line_end), b"")
    assert (line["usage"], line["finish"], line["complete"]) == (METERED, "stop", True)


def test_other_chunks_without_choices_stay(gateway: Gateway, vendor_a: Vendor) -> None:
    filters = event(choices=[], prompt_filter_results=[{"prompt_index": 0}], usage=None)
    full = event(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}], usage={"prompt_tokens": 1, "completion_tokens": 2})
    comment = b": OPENROUTER PROCESSING\n\n"
    parts = [filters, comment, said("a"), full, b": about usage\n" + USAGE_ONLY, DONE]
    got, line = ask(gateway, vendor_a, stream([b"".join(parts)]), stream=True)
    assert got == b"".join([filters, comment, said("a"), full, b": about usage\n", DONE])
    assert line["usage"] == METERED


@pytest.mark.parametrize(
    "end", [b"", b"data: [DONE]", b'data: {"choices":[],"usage"', b"data: " + b"x" * 100_000 + b"\n\n", b"data: " + b"y" * 20_000]
)
def test_unfinished_tail_reaches_the_client(gateway: Gateway, vendor_a: Vendor, end: bytes) -> None:
    data = said("a") + end
    closing: list[Step] = [head(more="connection: close\r\n"), chunk(data), 0.05, END, "close"]
    for steps in (stream([data]), stream(cut(data, 900), 0.0002), closing):
        got, line = ask(gateway, vendor_a, steps, stream=True)
        assert got.startswith(data)
        if len(end) < 100_000:  # a longer line may be too long to be read
            assert (b"provider_answer_cut" in got[len(data) :]) is (b"DONE" not in end)
        assert line["complete"] == (b"DONE" in end)


def test_chunks_are_not_delayed(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(head(), chunk(said("first")), 0.4, chunk(said("second")[:60]), 0.4, chunk(said("second")[60:] + DONE), END)
    began = time.monotonic()
    with httpx.stream("POST", gateway.url + CHAT, json={"model": "m", "stream": True}, timeout=5) as answer:
        arrivals = [time.monotonic() - began for piece in answer.iter_raw() if piece]
    assert arrivals[0] < 0.3


@pytest.mark.parametrize("size", [1, 7, 64, 250, 5000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_anthropic_stream(gateway: Gateway, vendor_a: Vendor, size: int, line_end: bytes) -> None:
    data = b"".join(ANTHROPIC).replace(b"\n", line_end)
    got, line = ask(gateway, vendor_a, stream(cut(data, size), 0.0002), MESSAGES, stream=True)
    assert got == data
    assert vendor_a.seen[0].body == b'{"model":"m","stream":true}'
    assert (line["usage"], line["finish"], line["complete"]) == (ANTHROPIC_METERED, "tool_use", True)
    assert "stream_error" not in line


def test_cut_streams_are_not_complete(gateway: Gateway, vendor_a: Vendor) -> None:
    _, line = ask(gateway, vendor_a, stream(ANTHROPIC[:-2]), MESSAGES, stream=True)
    assert (line["usage"], line.get("complete"), line.get("finish")) == ({**ANTHROPIC_METERED, "output": 1}, False, None)
    _, line = ask(gateway, vendor_a, stream(OPENAI[:2]), stream=True)
    assert (line.get("usage"), line.get("complete"), line.get("finish")) == (None, False, None)


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        (
            MESSAGES,
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
            "overloaded_error",
        ),
        (CHAT, b'data: {"error":{"message":"x","type":"server_error","code":null}}\n\n', "server_error"),
        (CHAT, b'data: {"object":"error","message":"x","type":"BadRequestError"}\n\n', "BadRequestError"),
        (CHAT, b'data: {"id":"x","choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":"502x"}}\n\n', "502x"),
    ],
)
def test_errors_in_a_stream(gateway: Gateway, vendor_a: Vendor, path: str, data: bytes, kind: str) -> None:
    first = ANTHROPIC[0] if path == MESSAGES else OPENAI[0]
    got, line = ask(gateway, vendor_a, stream([first, data]), path, stream=True)
    assert got == first + data
    assert (line["stream_error"], line["complete"]) == (kind, False)


ANSWER = {"id": "x", "choices": [{"index": 0, "message": {"content": 'say "usage":{}'}, "finish_reason": "tool_calls"}], "usage": USAGE}
ANTHROPIC_ANSWER = {
    "content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 666}, "stop_reason": "no"}}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 8, "cache_creation": {"input_tokens": 99}},
}


@pytest.mark.parametrize("size", [40, 100_000])
def test_whole_answers(gateway: Gateway, vendor_a: Vendor, size: int) -> None:
    for path, answer, usage, finish in (
        (CHAT, ANSWER, METERED, "tool_calls"),
        (MESSAGES, ANTHROPIC_ANSWER, {"input": 7, "cached": 4, "output": 8}, "end_turn"),
    ):
        body = json.dumps(answer).encode()
        steps: list[Step] = [head("application/json"), *(chunk(c) for c in cut(body, size)), END]
        got, line = ask(gateway, vendor_a, steps, path)
        assert got == body
        assert (line["usage"], line["finish"], line["complete"], line["stream"]) == (usage, finish, True, False)


def test_large_whole_answer(gateway: Gateway, vendor_a: Vendor) -> None:
    vectors = [{"embedding": [0.123456789] * 1536, "index": i} for i in range(100)]
    body = json.dumps({"object": "list", "data": vectors, "model": "x", "usage": {"prompt_tokens": 77, "total_tokens": 77}}).encode()
    assert len(body) > 1_000_000
    got, line = ask(gateway, vendor_a, whole(body), "/v1/embeddings")
    assert got == body
    assert (line["usage"], line["complete"], line["operation"]) == ({"input": 77}, True, "embeddings")
    nested = json.dumps({"data": "x" * 200_000, "inner": {"usage": {"prompt_tokens": 5}}}).encode()
    _, line = ask(gateway, vendor_a, whole(nested), "/v1/embeddings")
    assert "usage" not in line


def test_refusals_of_the_vendor_are_not_metered(gateway: Gateway, vendor_a: Vendor) -> None:
    body = b'{"error":{"message":"no"},"usage":{"prompt_tokens":5}}'
    got, line = ask(gateway, vendor_a, whole(body, 400))
    assert got == body
    assert not {"usage", "complete"} & line.keys()


def test_translated_answers_are_left_to_the_translator(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(*whole(json.dumps(ANSWER).encode(), more="x-headgate-lane: translation\r\n"))
    lines = gateway.lines()
    answer = httpx.post(gateway.url + CHAT, json={"model": "m"})
    assert (answer.status_code, "x-headgate-lane" in answer.headers) == (200, False)
    assert gateway.journal(lines)["usage"] is None


def test_garbage_does_not_disturb(gateway: Gateway, vendor_a: Vendor) -> None:
    for body in (
        b'data: {"usage"',
        b'data: "usage":{\n\n',
        b'data: {"usage":{"prompt_tokens":}}\n\n',
        b'data: {"choices":[],"usage":{"a":[}}\n\n',
        b"\n\n\n",
        b"\r\n\r\n",
    ):
        for path in (CHAT, MESSAGES):
            got, line = ask(gateway, vendor_a, stream([body]), path, stream=True)
            assert got.startswith(body)
            assert line["complete"] is False
        got, _ = ask(gateway, vendor_a, whole(body))
        assert got == body if body.rstrip()[-1:] == b"}" else b"provider_answer_cut" in got


def test_client_that_leaves_still_leaves_its_usage(gateway: Gateway, vendor_a: Vendor) -> None:
    vendor_a.answer(head(), chunk(ANTHROPIC[0]), 0.5, chunk(ANTHROPIC[2]), 0.5, END)
    lines = gateway.lines()
    with httpx.stream("POST", gateway.url + MESSAGES, json={"model": "m", "stream": True}, timeout=5) as answer:
        next(answer.iter_raw())
    line = gateway.journal(lines)
    assert (line["usage"]["input"], line["complete"]) == (22, False)


def test_no_script_errors(gateway: Gateway) -> None:
    """Runs last: nothing above made the scripts fail."""
    assert "script log" not in gateway.log()
