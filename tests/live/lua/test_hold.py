"""The first-event hold of the passthrough lane on a real Envoy: what fails over, what passes, and that bytes stay."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator, Sequence

import httpx
import pytest

from control_plane.dialects.eventstream import CONTENT_TYPE, encode, encode_event, encode_exception
from tests.live.lua.edge_envoy import END, Gateway, Model, Step, Vendor, chunk, head, hold, provider, stream, target, whole

CHAT = "/v1/chat/completions"
FIRST_TOKEN_S = 0.5
GOOD = b'data: {"choices":[{"delta":{"content":"from b"}}]}\n\ndata: [DONE]\n\n'
EMPTY = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[]},"finish_reason":null}]}\n\n'
ERROR = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
A_ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
TEXT_BLOCK = b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
TOOL_BLOCK = b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t"}}\n\n'
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"{\\"error\\":1}"}}\n\n'
)
R_START = (
    b'event: response.created\ndata: {"type":"response.created","response":{"status":"in_progress","error":null,"output":[]}}\n\n'
    b'event: response.in_progress\ndata: {"type":"response.in_progress","response":{"error":null}}\n\n'
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"type":"message"}}\n\n'
    b'event: response.content_part.added\ndata: {"type":"response.content_part.added","part":{"type":"output_text"}}\n\n'
)
R_HIDDEN = (
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"type":"reasoning","summary":[]}}\n\n'
    b'event: response.output_item.done\ndata: {"type":"response.output_item.done","item":{"type":"reasoning","summary":[]}}\n\n'
)
R_DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n'
R_CALL = b'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"type":"function_call"}}\n\n'
R_FAILED = b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"server_error"}}}\n\n'
R_EMPTY = b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed","output":[]}}\n\n'


C_START = (
    b'event: message-start\ndata: {"id":"i","type":"message-start","delta":{"message":{"role":"assistant","content":[]}}}\n\n'
    b'event: content-start\ndata: {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}\n\n'
)
C_DELTA = b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"x"}}}}\n\n'
C_PLAN = b'event: tool-plan-delta\ndata: {"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I"}}}\n\n'
C_FAILED = b'event: message-end\ndata: {"type":"message-end","delta":{"error":"overloaded","finish_reason":"ERROR"}}\n\n'
C_TIMEOUT = b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}\n\n'
C_EMPTY = b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}\n\n'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor_a: Vendor, vendor_b: Vendor) -> Iterator[Gateway]:
    models = [Model("m", ["a", "b"], retry={"per_try_timeout": f"{FIRST_TOKEN_S}s"}), Model("patient", ["a", "b"])]
    clusters = [provider("pa", vendor_a.port), provider("pb", vendor_b.port), target("a", "pa", [hold()]), target("b", "pb", [hold()])]
    running = Gateway(tmp_path_factory.mktemp("hold"), models, clusters)
    yield running
    running.close()


def ask(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, steps: Sequence[Step], path: str = CHAT) -> httpx.Response:
    vendor_a.answer(*steps)
    vendor_b.answer(*stream([GOOD]))
    return httpx.post(gateway.url + path, json={"model": "m", "stream": True, "stream_options": {"include_usage": True}}, timeout=10)


BAD_STREAMS = {
    "error at once": [ERROR],
    "error after a role chunk": [EMPTY, ERROR],
    "error after comments": [b": PROCESSING\n\n", b": PROCESSING\n\n", ERROR],
    "error event": [A_ERROR],
    "error after message_start, ping and an empty block": [START, PING, TEXT_BLOCK, A_ERROR],
    "vllm error": [b'data: {"object":"error","message":"x","type":"BadRequest"}\n\n'],
    "ends before content": [START, PING],
    "ends at once": [],
    "done before content": [EMPTY, b"data: [DONE]\n\n"],
    "json error": [b'{"error":{"message":"x"}}'],
    "html": [b"<html><body>Bad gateway</body></html>\n"],
    "html without a line end": [b"<html>" + b"x" * 500],
    "broken json": [b'data: {"choices":[\n\n'],
    "not json": [b"data: upstream connect error\n\n"],
    "crlf error": [EMPTY.replace(b"\n", b"\r\n"), ERROR.replace(b"\n", b"\r\n")],
    "one byte at a time": [bytes([c]) for c in START + A_ERROR],
    "response failed": [R_START, R_FAILED],
    "response failed after hidden reasoning": [R_HIDDEN, R_START, R_FAILED],
    "response error": [R_START, b'event: error\ndata: {"type":"error","code":"server_error","message":"x","sequence_number":4}\n\n'],
    "response ends before content": [R_START],
    "cohere failed": [C_START, C_FAILED],
    "cohere timed out": [C_START, C_TIMEOUT],
    "cohere ends before content": [C_START, b"data: [DONE]\n\n"],
}


@pytest.mark.parametrize("pieces", BAD_STREAMS.values(), ids=BAD_STREAMS.keys())
def test_bad_streams_fail_over(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, pieces: list[bytes]) -> None:
    answer = ask(gateway, vendor_a, vendor_b, stream(pieces, 0.002))
    assert (answer.status_code, answer.content) == (200, GOOD)
    assert (len(vendor_a.seen), len(vendor_b.seen)) == (1, 1)


GOOD_STREAMS = {
    "content": [EMPTY, b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', ERROR],
    "content of the second choice": [b'data: {"choices":[{"delta":{}},{"delta":{"content":"x"}}]}\n\n', ERROR],
    "tool call": [b'data: {"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[{"id":"t"}]}}]}\n\n', ERROR],
    "reasoning": [b'data: {"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}\n\n', ERROR],
    "an empty answer": [EMPTY, b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"],
    "anthropic text": [START, PING, TEXT_BLOCK, DELTA, A_ERROR],
    "anthropic tool": [START, TOOL_BLOCK, A_ERROR],
    "error in text only": [b'data: {"choices":[{"delta":{"content":"\\"error\\":{\\"a\\":1}"}}],"error":null}\n\n', b"data: [DONE]\n\n"],
    "64 events": [EMPTY] * 64 + [ERROR],
    "256 KiB": [b": " + b"x" * 70_000 + b"\n\n"] * 4 + [ERROR],
    "one byte at a time": [bytes([c]) for c in START + DELTA],
    "response text": [R_START, R_DELTA, R_FAILED],
    "response call": [R_START, R_CALL, R_FAILED],
    "an empty response": [R_START, R_EMPTY],
    "cohere text": [C_START, C_DELTA, C_FAILED],
    "cohere plan": [C_PLAN, C_FAILED],
    "an empty answer of cohere": [C_START, C_EMPTY, b"data: [DONE]\n\n"],
    "everything in one": [START + PING + TEXT_BLOCK + DELTA + A_ERROR],
}


def passed(got: bytes, sent: bytes) -> bool:
    """Untouched; behind what lacks its last event the edge filter says so."""
    more = got[len(sent) :]
    return got.startswith(sent) and (not more or b"provider_answer_cut" in more or b"exception" in more)


@pytest.mark.parametrize("pieces", GOOD_STREAMS.values(), ids=GOOD_STREAMS.keys())
def test_good_streams_pass_untouched(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, pieces: list[bytes]) -> None:
    answer = ask(gateway, vendor_a, vendor_b, stream(pieces, 0.001))
    assert (answer.status_code, passed(answer.content, b"".join(pieces))) == (200, True)
    assert (len(vendor_a.seen), len(vendor_b.seen)) == (1, 0)


F_START = encode_event("messageStart", b'{"role":"assistant"}')
F_DELTA = encode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"x"}}')
F_STOP = encode_event("messageStop", b'{"stopReason":"end_turn"}')
F_ERROR = encode_exception("throttlingException", b'{"message":"slow"}')
BAD_FRAMES = {
    "an exception at once": [F_ERROR],
    "an exception after the start": [F_START, F_ERROR],
    "an error outside of the model": [encode({":message-type": "error", ":error-code": "x", ":error-message": "y"}, b"")],
    "ends before content": [F_START],
    "ends inside a frame": [F_START + F_DELTA[:40]],
    "ends at once": [],
    "garbage": [b"\x00\x9f\x92\x96 upstream connect error }{ \xff\xfe\n\n"],
    "text": [b"data: {}\n\ndata: {}\n\n"],
    "a wrong checksum": [F_START[:8] + b"\0\0\0\0" + F_START[12:] + F_DELTA],
    "one byte at a time": [bytes([c]) for c in F_START + F_ERROR],
}
GOOD_FRAMES = {
    "text": [F_START, F_DELTA, F_ERROR],
    "a call": [F_START, encode_event("contentBlockStart", b"{}"), F_ERROR],
    "an empty answer": [F_START, F_STOP],
    "five bytes at a time": [(F_START + F_DELTA)[i : i + 5] for i in range(0, len(F_START + F_DELTA), 5)],
    "everything in one": [F_START + F_DELTA + F_STOP],
    "64 frames": [encode_event("other", b"{}") * 32] * 2 + [F_ERROR],
    "a frame too long to hold": [encode_event("other", b"x" * 300_000)[i : i + 60_000] for i in range(0, 300_000, 60_000)],
}


def frames(pieces: Sequence[bytes]) -> list[Step]:
    return [head(CONTENT_TYPE), *[step for piece in pieces for step in (chunk(piece), 0.002)], END]


@pytest.mark.parametrize("pieces", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_bad_event_streams_of_aws_fail_over(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, pieces: list[bytes]) -> None:
    answer = ask(gateway, vendor_a, vendor_b, frames(pieces))
    assert (answer.status_code, answer.content) == (200, GOOD)


@pytest.mark.parametrize("pieces", GOOD_FRAMES.values(), ids=GOOD_FRAMES.keys())
def test_good_event_streams_of_aws_pass_untouched(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, pieces: list[bytes]) -> None:
    answer = ask(gateway, vendor_a, vendor_b, frames(pieces))
    assert (answer.status_code, passed(answer.content, b"".join(pieces))) == (200, True)


BAD_WHOLE = {
    "cohere error": (b'{"id":"i","message":"overloaded"}', "application/json"),
    "cohere failed": (b'{"id":"i","message":{"role":"assistant"},"finish_reason":"ERROR"}', "application/json"),
    "error object": (b'{"object":"x","error":{"message":"x"}}', "application/json"),
    "error string": (b'{"error":"no"}', "application/json"),
    "anthropic error": (b'{"type":"error","error":{"type":"api_error"}}', "application/json; charset=utf-8"),
    "html": (b"<html></html>", "text/html; charset=utf-8"),
    "html that looks like json": (b"{}", "Text/HTML"),
    "text": (b"upstream unavailable", "application/json"),
    "cut": (b'{"choices":[{"message":{"content":"x', "application/json"),
    "empty": (b"", "application/json"),
    "blank": (b"  \n", "application/json"),
    "garbage behind": (b"{} {}", "application/json"),
    "text error": (b'{"error":{"a":1}}', "text/plain"),
}


@pytest.mark.parametrize(("body", "kind"), BAD_WHOLE.values(), ids=BAD_WHOLE.keys())
def test_bad_whole_answers_fail_over(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, body: bytes, kind: str) -> None:
    answer = ask(gateway, vendor_a, vendor_b, whole(body, kind=kind))
    assert (answer.status_code, answer.content) == (200, GOOD)


@pytest.mark.parametrize("size", [10, 100_000_000])
def test_good_whole_answers_pass_untouched(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor, size: int) -> None:
    bodies = [
        b' {"choices":[{"message":{"content":"\\"error\\""}}],"error":null,"x":{"error":{"a":1}}} \n',
        b'{"content":[{"type":"text","text":"\\\\"}],"type":"message"}',
        b"[1,2]",
        b'{"id":"i","message":{"content":[{"type":"text","text":"x"}]},"finish_reason":"COMPLETE"}',
        json.dumps({"data": ["x" * 1000] * 50}).encode(),
    ]
    for body in bodies:
        step = min(size, len(body)) if len(body) < 1000 else 5000
        steps = [head("application/json"), *(chunk(body[i : i + step]) for i in range(0, len(body), step)), END]
        answer = ask(gateway, vendor_a, vendor_b, steps)
        assert (answer.status_code, answer.content) == (200, body)
        assert not vendor_b.seen


def test_answers_above_the_bound_pass(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    body = b'{"data":"' + b"x" * 2_000_000 + b'","error":{"a":1}}'
    answer = ask(gateway, vendor_a, vendor_b, whole(body))
    assert (answer.status_code, answer.content) == (200, body)


def test_other_statuses_are_not_looked_at(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    answer = ask(gateway, vendor_a, vendor_b, whole(b'{"error":{"a":1}}', 400))
    assert (answer.status_code, answer.content) == (400, b'{"error":{"a":1}}')
    assert not vendor_b.seen


def test_late_first_event_fails_over(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    began = time.monotonic()
    answer = ask(gateway, vendor_a, vendor_b, [head(), chunk(EMPTY), 0.3, chunk(b": still here\n\n"), 2.0, chunk(GOOD), END])
    assert answer.content == GOOD
    assert FIRST_TOKEN_S - 0.05 <= time.monotonic() - began < 1.5
    assert len(vendor_b.seen) == 1


def test_nothing_is_held_after_the_first_event(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    """The first event arrives while the provider still pauses before the second: longer than a busy machine needs, and than the timer."""
    pause_s = 3.0
    vendor_a.answer(head(), chunk(EMPTY), chunk(DELTA), pause_s, chunk(DELTA), END)
    began = time.monotonic()
    with httpx.stream("POST", gateway.url + CHAT, json={"model": "m"}, timeout=15) as answer:
        arrivals = [(piece, time.monotonic() - began) for piece in answer.iter_raw() if piece]
    assert passed(b"".join(piece for piece, _ in arrivals), EMPTY + DELTA + DELTA)
    assert arrivals[0][1] < pause_s - 0.5
    assert arrivals[-1][1] - arrivals[0][1] > pause_s / 2


def test_a_cut_before_content_fails_over(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    answer = ask(gateway, vendor_a, vendor_b, [head(), chunk(START), 0.05, "close"])
    assert (answer.status_code, answer.content) == (200, GOOD)


def test_when_every_target_fails_the_client_gets_the_last_error(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    vendor_a.answer(*stream([ERROR]))
    vendor_b.answer(*stream([A_ERROR]))
    answer = httpx.post(gateway.url + CHAT, json={"model": "m"}, timeout=10)
    assert (answer.status_code, answer.content) == (503, A_ERROR)


def test_many_streams_at_once(gateway: Gateway, vendor_a: Vendor, vendor_b: Vendor) -> None:
    """More than the first page of contexts, ended in another order than begun, all held at the same time."""
    vendor_a.script = lambda seen: [
        head(),
        chunk(START),
        0.02 + (hash(seen.body) % 7) / 50,
        chunk(A_ERROR if b"odd" in seen.body else DELTA),
        END,
    ]
    vendor_b.answer(*stream([GOOD]))

    def one(i: int) -> bytes:
        user = f"{'odd' if i % 2 else 'even'}{i}"
        return httpx.post(gateway.url + CHAT, json={"model": "patient", "user": user}, timeout=20).content

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        got = list(pool.map(one, range(160)))
    assert all(passed(piece, GOOD if i % 2 else START + DELTA) for i, piece in enumerate(got))
