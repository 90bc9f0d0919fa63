"""The usage meter of the edge filter: however a stream is cut into pieces, the same is metered and no byte is lost."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects.eventstream import encode_exception
from control_plane.signals.lines import metered
from control_plane.spec.dialect_names import DIALECT_NAMES
from tests.unit.lua.lua_filter import LuaFilter, facts

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
WHOLE = {"content-type": "application/json"}

ENDINGS = {
    "anthropic-messages": (b"event: error\n",),
    "openai-responses": (b"event: error\n",),
    "gemini-generate-content": (b'data: {"error":{"code":503,',),
    "cohere-chat": (b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR"',),
    "bedrock-converse": (encode_exception("internalServerException", b'{"message":"the provider ended its answer early"}'),),
}


def meter(
    edge: LuaFilter, chunks: list[bytes], headers: dict[str, str], dialect: str = "openai-chat", added: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """The body that the client gets and what the journal gets."""
    route = facts(route="m", dialect=dialect)
    out = edge.response(chunks, route, headers, {"headgate": {"asked": f"{dialect} trim m"}} if added else {})
    assert out.body is not None
    text = out.dynamic.get("headgate", {}).get("meter")
    known = known_of(metered(text)) if text else {}
    if known.get("stream_error") == "provider_answer_cut":  # what stands behind a stream that has no last event
        del known["stream_error"]
        assert not known["complete"]
        assert "finish" not in known
        return ending_removed(out.body, b"".join(chunks), dialect), known
    return out.body, known


def ending_removed(body: bytes, data: bytes, dialect: str) -> bytes:
    """The body without the error event that the filter put behind it, nor the line ends before that."""
    at = max(body.rfind(start) for start in ENDINGS.get(dialect, (b'data: {"error":{"message":"the provider ended',)))
    assert at >= 0, body[-300:]
    more = blank_at_end(body[:at]) - blank_at_end(data)
    assert more <= 2
    return body[: at - more] if more > 0 else body[:at]


def blank_at_end(data: bytes) -> int:
    return len(data) - len(data.rstrip(b"\n"))


def known_of(value: msgspec.Struct) -> dict[str, Any]:
    """What is known, without what is not."""
    values = ((name, getattr(value, name)) for name in value.__struct_fields__)
    return {name: known_of(v) if isinstance(v, msgspec.Struct) else v for name, v in values if v is not None}


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({c % (len(data) + 1) for c in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def event(value: Any, spaces: bool) -> bytes:
    return b"data: " + json.dumps(value, separators=None if spaces else (",", ":")).encode() + b"\n\n"


TEXTS = st.sampled_from(
    ["hi", 'the "usage": {"prompt_tokens": 7}', "[DONE]", "\ndata: [DONE]\n\n", '"finish_reason":"x"', "message_stop", '"error"', "é", ""]
)
COUNTS = st.integers(0, 10**9)


@st.composite
def openai_streams(draw: st.DrawFn) -> tuple[list[bytes], bytes | None, dict[str, Any]]:
    """Events, the usage-only one among them, and what must be metered."""
    spaces, null_usage = draw(st.booleans()), draw(st.booleans())
    more = {"usage": None} if null_usage else {}
    events = [
        draw(st.sampled_from([b"", b": ping\n\n", b": usage\n"]))
        + event({"id": "c", "choices": [{"index": 0, "delta": {"content": draw(TEXTS)}, "finish_reason": None}], **more}, spaces)
        for _ in range(draw(st.integers(0, 4)))
    ]
    known: dict[str, Any] = {"complete": False}
    if draw(st.booleans()):
        finish = draw(st.sampled_from(["stop", "length", "tool_calls"]))
        events.append(event({"choices": [{"delta": {}, "finish_reason": finish}], **more}, spaces))
        known["finish"] = finish
    only: bytes | None = None
    if draw(st.booleans()):
        sent, got, cached = draw(COUNTS), draw(COUNTS), draw(COUNTS)
        usage = {"prompt_tokens": sent, "prompt_tokens_details": {"cached_tokens": cached}, "completion_tokens": got}
        only = event({"id": "c", "choices": [], "usage": usage}, spaces)
        events.append(only)
        known["usage"] = {"input": sent, "output": got, "cached": cached}
    if draw(st.booleans()):
        events.append(b"data: [DONE]\n\n")
        known["complete"] = True
    return events, only, known


CUTS = st.one_of(st.lists(st.integers(0, 5000), max_size=12), st.just(list(range(5000))))


@SETTINGS
@given(made=openai_streams(), cuts=CUTS, crlf=st.booleans(), end_apart=st.booleans(), asked=st.booleans())
def test_openai_streams(
    edge: LuaFilter, made: tuple[list[bytes], bytes | None, dict[str, Any]], cuts: list[int], crlf: bool, end_apart: bool, asked: bool
) -> None:
    events, only, known = made
    data = b"".join(events)
    want = data if asked or only is None else data.replace(only, b"")
    if crlf:
        data, want = data.replace(b"\n", b"\r\n"), want.replace(b"\n", b"\r\n")
    chunks = split(data, cuts) + ([b""] if end_apart else [])
    got, metered = meter(edge, chunks, STREAM, added=not asked)
    if not known["complete"] and not asked:  # the end of what was taken out may be in front of the error event
        got, want = got.rstrip(b"\n"), want.rstrip(b"\n")
    assert got == want
    assert metered == known


@SETTINGS
@given(counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), repeats=st.booleans(), text=TEXTS, cuts=CUTS, crlf=st.booleans())
def test_anthropic_streams(
    edge: LuaFilter, counts: tuple[int, int, int, int], repeats: bool, text: str, cuts: list[int], crlf: bool
) -> None:
    fresh, cached, written, output = counts
    start = {"input_tokens": fresh, "cache_read_input_tokens": cached, "cache_creation_input_tokens": written, "output_tokens": 1}
    last = {"output_tokens": output, **({"input_tokens": fresh, "cache_read_input_tokens": 0} if repeats else {})}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"content": [], "usage": {**start, "cache_creation": {"ephemeral_5m_input_tokens": written}}}},
        {"type": "content_block_delta", "delta": {"text": text}},
        {
            "type": "content_block_start",
            "content_block": {"type": "tool_use", "input": {"type": "message_delta", "usage": {"output_tokens": 5}}},
        },
        {"delta": {"stop_reason": "end_turn"}, "type": "message_delta", "usage": last},
        {"type": "message_stop"},
    ]
    data = b"".join(b"event: " + str(e["type"]).encode() + b"\ndata: " + json.dumps(e).encode() + b"\n\n" for e in events)
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    got, known = meter(edge, split(data, cuts), STREAM, "anthropic-messages")
    assert got == data
    # 0 after a count says nothing new: some vendors repeat the fields with zeros
    usage = {"input": fresh + cached + written, "cached": cached, "cache_write": written, "output": output or 1}
    assert known == {"usage": usage, "finish": "end_turn", "complete": True}


TOLD = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 39,
}
TOLD_USAGE = {"input": 30, "cached": 20, "cache_write": 5, "output": 9, "reasoning": 4}


def response(status: str, **more: Any) -> dict[str, Any]:
    """A response object in the vendor's order, with the places where the words of the meter could be looked for in vain."""
    return {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": 'say "usage": {"input_tokens": 7} and "response.completed"',
        "output": [{"type": "message", "status": "completed", "content": [{"type": "output_text", "text": '"error":{"code":"x"}'}]}],
        "tools": [{"type": "function", "name": "f", "parameters": {"usage": {"input_tokens": 1}, "error": {}}}],
        "usage": None,
        "user": None,
        "metadata": {},
        **more,
    }


@SETTINGS
@given(
    ending=st.sampled_from(["completed", "incomplete", "failed", "none"]),
    text=TEXTS,
    cuts=CUTS,
    crlf=st.booleans(),
    spaces=st.booleans(),
    type_last=st.booleans(),
)
def test_responses_streams(edge: LuaFilter, ending: str, text: str, cuts: list[int], crlf: bool, spaces: bool, type_last: bool) -> None:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress"), "sequence_number": 0},
        {"type": "response.in_progress", "response": response("in_progress"), "sequence_number": 1},
        {"type": "response.output_text.delta", "delta": text, "sequence_number": 2},
        {"type": "response.output_item.done", "item": {"type": "function_call", "status": "completed", "arguments": '{"error": 1}'}},
    ]
    known: dict[str, Any] = {"complete": ending in ("completed", "incomplete")}
    if ending == "completed":
        events.append({"type": "response.completed", "response": response("completed", usage=TOLD), "sequence_number": 3})
        known |= {"usage": TOLD_USAGE, "finish": "completed"}
    elif ending == "incomplete":
        why = {"incomplete_details": {"reason": "max_output_tokens"}, "usage": TOLD}
        events.append({"type": "response.incomplete", "response": response("incomplete", **why), "sequence_number": 3})
        known |= {"usage": TOLD_USAGE, "finish": "max_output_tokens"}
    elif ending == "failed":
        failed = response("failed", error={"code": "server_error", "message": "m"})
        events.append({"type": "response.failed", "response": failed, "sequence_number": 3})
        known |= {"stream_error": "server_error"}
    if type_last:
        events = [{**{k: v for k, v in e.items() if k != "type"}, "type": e["type"]} for e in events]
    data = b"".join(b"event: " + str(e["type"]).encode() + b"\n" + event(e, spaces) for e in events)
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    got, metered = meter(edge, split(data, cuts), STREAM, "openai-responses")
    assert got == data
    assert metered == known


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None}, "rate_limit_exceeded"),
        ({"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "m"}}, "insufficient_quota"),
        ({"type": "error", "message": "m", "error": None}, "error"),
    ],
)
def test_errors_in_responses_streams(edge: LuaFilter, said: dict[str, Any], word: str) -> None:
    data = b"event: error\n" + event(said, True)
    _, known = meter(edge, [data], STREAM, "openai-responses")
    assert known == {"complete": False, "stream_error": word}


@pytest.mark.parametrize("piece", [1000, 16384, 70000])
def test_the_last_event_of_a_responses_stream_may_be_long(edge: LuaFilter, piece: int) -> None:
    """It repeats the whole answer and what was asked: hundreds of kilobytes for agents. Beyond 1 MiB it is not kept."""
    for size, seen in ((400_000, True), (1_200_000, False)):
        last = {"type": "response.completed", "response": response("completed", usage=TOLD, instructions="x" * size)}
        data = b"event: response.completed\n" + event(last, False) + b": end\n\n"
        chunks = [data[i : i + piece] for i in range(0, len(data), piece)]
        got, known = meter(edge, chunks, STREAM, "openai-responses")
        assert got == data
        assert known == ({"complete": True, "usage": TOLD_USAGE, "finish": "completed"} if seen else {"complete": False})


@pytest.mark.parametrize("told", [True, False])
def test_whole_responses(edge: LuaFilter, told: bool) -> None:
    def known_of_body(document: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(document).encode()
        headers = {**WHOLE, "content-length": str(len(body))} if told else WHOLE
        got, known = meter(edge, split(body, [100, 300]), headers, "openai-responses")
        assert got == body
        return known

    assert known_of_body(response("completed", usage=TOLD)) == {"complete": True, "usage": TOLD_USAGE, "finish": "completed"}
    cut = response("incomplete", usage=TOLD, incomplete_details={"reason": "content_filter"})
    assert known_of_body(cut) == {"complete": True, "usage": TOLD_USAGE, "finish": "content_filter"}
    failed = response("failed", error={"code": "server_error", "message": "m"})
    assert known_of_body(failed) == {"complete": True, "finish": "failed", "stream_error": "server_error"}


COHERE_USAGE = {
    "billed_units": {"input_tokens": 8, "output_tokens": 4},
    "tokens": {"input_tokens": 503, "output_tokens": 11, "reasoning_tokens": 3},
    "cached_tokens": 448,
}
COHERE_COUNTS = {"input": 503, "cached": 448, "output": 11, "reasoning": 3}


@SETTINGS
@given(
    ending=st.sampled_from(["COMPLETE", "TOOL_CALL", "ERROR", "TIMEOUT", "none"]),
    text=TEXTS | st.just('"message-end"'),
    cuts=CUTS,
    crlf=st.booleans(),
    spaces=st.booleans(),
    type_last=st.booleans(),
)
def test_cohere_streams(edge: LuaFilter, ending: str, text: str, cuts: list[int], crlf: bool, spaces: bool, type_last: bool) -> None:
    cited = {
        "text": text,
        "sources": [{"type": "tool", "tool_output": {"type": "message-end", "finish_reason": "X", "usage": {"tokens": 1}}}],
    }
    events: list[dict[str, Any]] = [
        {"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}},
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": cited}}},
    ]
    known: dict[str, Any] = {"complete": False}
    if ending != "none":
        delta = {"finish_reason": ending, "usage": COHERE_USAGE, **({"error": text} if ending == "ERROR" else {})}
        events.append({"type": "message-end", "delta": delta})
        failed = ending in ("ERROR", "TIMEOUT")
        known = {"complete": not failed, "usage": COHERE_COUNTS, "finish": ending, **({"stream_error": ending} if failed else {})}
    if type_last:
        events = [{**{k: v for k, v in e.items() if k != "type"}, "type": e["type"]} for e in events]
    data = b"".join(b"event: " + str(e["type"]).encode() + b"\n" + event(e, spaces) for e in events) + b"data: [DONE]\n\n"
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    got, metered = meter(edge, split(data, cuts), STREAM, "cohere-chat")
    assert got == data
    assert metered == known


@pytest.mark.parametrize("told", [True, False])
def test_whole_cohere_answers(edge: LuaFilter, told: bool) -> None:
    def known_of_body(document: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(document).encode()
        headers = {**WHOLE, "content-length": str(len(body))} if told else WHOLE
        got, known = meter(edge, split(body, [100, 300]), headers, "cohere-chat")
        assert got == body
        return known

    sources = [{"type": "tool", "tool_output": {"finish_reason": "X", "usage": {"tokens": {"input_tokens": 1}}}}]
    message = {"role": "assistant", "content": [{"type": "text", "text": '"usage":{"tokens":1}'}], "citations": [{"sources": sources}]}
    answer = {"id": "i", "message": message, "finish_reason": "MAX_TOKENS", "usage": COHERE_USAGE}
    whole = {"complete": True, "usage": COHERE_COUNTS, "finish": "MAX_TOKENS"}
    assert known_of_body(answer) == whole
    assert known_of_body({key: answer[key] for key in ("finish_reason", "usage", "id", "message")}) == whole
    assert known_of_body(answer | {"usage": {"billed_units": {"input_tokens": 8}}})["usage"] == {"input": 8}
    images = {"billed_units": {"input_tokens": 267}, "tokens": {"input_tokens": 34, "output_tokens": 56, "image_tokens": 259}}
    assert known_of_body(answer | {"usage": images})["usage"] == {"input": 293, "output": 56}
    failed = {"complete": True, "finish": "ERROR", "stream_error": "ERROR"}
    assert known_of_body({"id": "i", "message": message, "finish_reason": "ERROR"}) == failed
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7, "image_tokens": 0}}
    vectors = {
        "id": "i",
        "texts": ['"meta":{"input_tokens":9}'],
        "embeddings": {"float": [[0.5] * 40_000]},
        "meta": meta,
        "response_type": "x",
    }
    assert known_of_body(vectors) == {"complete": True, "usage": {"input": 7}}
    assert known_of_body({"id": "i", "results": [], "meta": {"billed_units": {"search_units": 1}}}) == {"complete": True}
    assert known_of_body({"id": "i", "message": "overloaded"}) == {"complete": True, "stream_error": "error"}


def test_counts_in_lists_of_iterations_are_not_taken_for_the_total(edge: LuaFilter) -> None:
    usage = {"iterations": [{"input_tokens": 1, "output_tokens": 2}], "input_tokens": 30, "output_tokens": 40}
    body = json.dumps({"content": [], "usage": usage, "stop_reason": "end_turn"}).encode()
    _, known = meter(edge, [body], WHOLE, "anthropic-messages")
    assert known == {"usage": {"input": 30, "output": 40}, "finish": "end_turn", "complete": True}


@SETTINGS
@given(
    junk=st.lists(
        st.sampled_from(
            [
                b"data: ",
                b'{"usage":',
                b'"usage"',
                b"{",
                b"}",
                b"\n",
                b"\n\n",
                b"\r\n\r\n",
                b'"',
                b"\\",
                b"[DONE]",
                b'"error":',
                b"message_",
                b'"type":"response.completed",',
                b'"response":{',
                b'"type":"message-end",',
                b'"delta":{',
                b'"choices":[',
                b"]",
                b":",
                b"1",
            ]
        ),
        max_size=40,
    ),
    cuts=CUTS,
    added=st.booleans(),
    dialect=st.sampled_from(["openai-chat", "openai-responses", "anthropic-messages", "cohere-chat"]),
)
def test_junk_passes_unharmed(edge: LuaFilter, junk: list[bytes], cuts: list[int], added: bool, dialect: str) -> None:
    data = b"".join(junk)
    got, _ = meter(edge, split(data, cuts), STREAM, dialect)
    assert got == data
    got, _ = meter(edge, split(data, cuts), WHOLE, dialect)
    assert got == data
    if added and dialect == "openai-chat":
        got, _ = meter(edge, split(data, cuts), STREAM, dialect, added=True)
        assert got == data or (b'"usage":' in data and b'"choices":[]' in data)


def test_words_of_a_provider_are_bounded_and_stay_apart(edge: LuaFilter) -> None:
    body = json.dumps({"choices": [{"finish_reason": "a;b" + "x" * 100}], "usage": {"prompt_tokens": 3}}).encode()
    _, known = meter(edge, [body], WHOLE)
    assert known == {"complete": True, "usage": {"input": 3}, "finish": "a,b" + "x" * 61}


@pytest.mark.parametrize("added", [True, False])
def test_what_is_kept_of_a_stream_is_bounded(edge: LuaFilter, added: bool) -> None:
    """A line that never ends is not kept, and what follows it is metered again."""
    chunks = (
        [b"data: " + b"x" * 1000] + [b"y" * 1000] * 500 + [b'\n\ndata: {"choices":[{"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]
    )
    got, known = meter(edge, chunks, STREAM, added=added)
    assert got == b"".join(chunks)
    assert known == {"complete": True, "finish": "stop"}


ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS,
        "choices": st.lists(st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": TEXTS})}), max_size=3),
        "inner": st.just({"usage": {"prompt_tokens": 999}}),
        "usage": st.fixed_dictionaries({"prompt_tokens": COUNTS, "completion_tokens": COUNTS}),
        "service_tier": TEXTS,
        "tail": st.lists(st.just({"usage": {"prompt_tokens": 998}}), max_size=2),
    },
)


@SETTINGS
@given(answer=ANSWERS, order=st.randoms(use_true_random=False), cuts=CUTS, indent=st.sampled_from([None, 2]), told=st.booleans())
def test_whole_answers(edge: LuaFilter, answer: dict[str, Any], order: Any, cuts: list[int], indent: int | None, told: bool) -> None:
    keys = list(answer)
    order.shuffle(keys)
    body = json.dumps({k: answer[k] for k in keys}, indent=indent).encode()
    headers = {**WHOLE, "content-length": str(len(body))} if told else WHOLE
    got, known = meter(edge, split(body, cuts), headers)
    assert got == body
    assert known["complete"] is True
    usage = answer.get("usage")
    assert known.get("usage") == (usage and {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]})


@pytest.mark.parametrize(
    ("metadata", "headers"),
    [
        ({}, WHOLE),
        (facts(route="m", dialect="openai-chat"), {**WHOLE, ":status": "429"}),
        (facts(route="m", dialect="openai-chat"), {**WHOLE, "content-encoding": "gzip"}),
        (facts(route="m", dialect="openai-chat"), {**WHOLE, "x-headgate-lane": "translation"}),
        (facts(route="m", dialect="openai-chat"), {"content-type": "text/plain"}),
        (facts(["m"], dialect="openai-chat"), {**WHOLE, ":status": "400"}),
    ],
)
def test_not_metered(edge: LuaFilter, metadata: dict[str, Any], headers: dict[str, str]) -> None:
    out = edge.response([b'{"usage":{"prompt_tokens":3}}'], metadata, headers)
    assert (out.body, out.dynamic) == (b'{"usage":{"prompt_tokens":3}}', {})
    assert "x-headgate-lane" not in out.headers


REFUSED = "upstream_credentials_exhausted: the provider refused the gateway's own credentials; those of the caller are not at fault"


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_what_a_vendor_says_about_our_key_is_not_passed_on(edge: LuaFilter, dialect: str) -> None:
    headers = {":status": "401", "content-type": "text/html", "content-encoding": "gzip"}
    out = edge.response([b"Incorrect API key: sk-", b"secret"], facts(route="m", dialect=dialect), headers)
    assert out.body is not None
    assert b"secret" not in out.body
    error = json.loads(out.body)
    if dialect == "gemini-generate-content":
        assert (error["error"]["code"], error["error"]["status"]) == (502, "UNAVAILABLE")
    elif dialect == "bedrock-converse":
        assert error["__type"] == "ServiceUnavailableException"
    elif dialect == "cohere-chat":
        assert error == {"message": REFUSED}
    else:
        assert error["error"]["type"] == ("api_error" if dialect == "anthropic-messages" else "server_error")
    assert b"upstream_credentials_exhausted" in out.body
    assert out.headers == {":status": "502", "content-type": "application/json"}


def test_what_aws_says_about_a_signature_is_not_passed_on(edge: LuaFilter) -> None:
    """With 403, and the class that the target's filter has found."""
    said = b'{"message":"The Canonical String for this request should have been secret"}'
    headers = {":status": "403", "content-type": "application/json", "x-amzn-errortype": "InvalidSignatureException"}
    headers["x-headgate-fault"] = "credential_dead"
    out = edge.response([said], facts(route="m", dialect="bedrock-converse"), headers)
    assert json.loads(out.body or b"")["__type"] == "ServiceUnavailableException"
    headers = {":status": "403", "content-type": "application/json", "x-headgate-fault": "content_policy"}
    assert edge.response([said], facts(route="m", dialect="openai-chat"), headers).body == said


def unknown(edge: LuaFilter, model: str, names: list[str], dialect: str = "openai-chat") -> str:
    star = facts(names, dialect=dialect, operation="chat")
    out = edge.response([b""], star, {":status": "404"}, {"headgate": {"asked": f"{dialect} whole {model}"}})
    assert out.body is not None
    assert out.body.isascii()
    error = json.loads(out.body)["error"]
    assert error["type"] == ("invalid_request_error" if dialect == "openai-chat" else "not_found_error")
    return str(error["message"])


def test_unknown_models() -> None:
    edge = LuaFilter("edge.lua")
    names = ["gpt-5", "gpt-5-mini", "claude-sonnet-4-5", "claude-opus-4"]
    assert unknown(edge, "gpt5-mini", names) == "The model 'gpt5-mini' does not exist; did you mean 'gpt-5-mini'?"
    assert "did you mean 'claude-sonnet-4-5'?" in unknown(edge, "cluade-sonnet-4-5", names, "anthropic-messages")
    assert unknown(edge, "zzz", names).endswith("GET /v1/models lists what there is.")
    assert "does not serve this operation" in unknown(edge, "gpt-5", names)
    assert "\\" in unknown(edge, 'a"\\b', names)
    assert "'" + "?" * 90 + "'" in unknown(edge, "ü" * 90, [])
    many = [f"model-{i:04d}" for i in range(1000)]
    messages = [unknown(edge, "model-12345", many) for _ in range(60)]
    assert "did you mean" in messages[0]
    assert sum("did you mean" in m for m in messages) <= 40  # at most 20 a second, over at most two seconds


PICTURE = {"type": "image_generation.completed", "b64_json": "", "usage": {"input_tokens": 7, "output_tokens": 272, "total_tokens": 279}}


@SETTINGS
@given(st.integers(0, 200_000), st.lists(st.integers(0, 10**6), max_size=8), st.booleans(), st.sampled_from(["speech", "transcriptions"]))
def test_streams_of_pictures_and_sound(edge: LuaFilter, size: int, cuts: list[int], spaces: bool, operation: str) -> None:
    """However long the line is that the usage stands in."""
    data = event(PICTURE | {"b64_json": "A" * size, "usage": PICTURE["usage"]}, spaces)
    route = facts(route="m", dialect="openai-chat", operation=operation)
    out = edge.response(split(data, cuts), route, STREAM, {})
    assert out.body == data
    assert known_of(metered(out.dynamic["headgate"]["meter"])) == {"usage": {"input": 7, "output": 272}, "complete": True}


@pytest.mark.parametrize("error", [{"type": "server_error", "code": "x"}, {"message": "m"}, None])
def test_an_error_in_a_stream_of_pictures(edge: LuaFilter, error: dict[str, str] | None) -> None:
    data = event({"type": "error"} | ({} if error is None else {"error": error}), True)
    out = edge.response([data], facts(route="m", dialect="openai-chat", operation="image_generation"), STREAM, {})
    word = "server_error" if error and "code" in error else "error"
    assert known_of(metered(out.dynamic["headgate"]["meter"])) == {"complete": False, "stream_error": word}


def test_whole_pictures_count_tokens_by_their_own_names(edge: LuaFilter) -> None:
    document = {"created": 1, "data": [{"b64_json": "A" * 300_000}], "size": "1024x1024", "usage": PICTURE["usage"]}
    _, known = meter(edge, split(json.dumps(document).encode(), [5, 70_000, 200_000]), WHOLE)
    assert known == {"usage": {"input": 7, "output": 272}, "complete": True}


def gemini(**fields: Any) -> dict[str, Any]:
    return {"responseId": "r", "modelVersion": "m", **fields}


def candidate(text: str, finish: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return made if finish is None else {**made, "finishReason": finish}


GEMINI_COUNTS = {
    "promptTokenCount": 10,
    "toolUsePromptTokenCount": 2,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 3,
}
GEMINI_USAGE = {"input": 12, "cached": 4, "output": 8, "reasoning": 3}


@SETTINGS
@given(st.lists(TEXTS, max_size=5), st.booleans(), st.lists(st.integers(0, 10**6), max_size=10), st.booleans())
def test_gemini_streams(edge: LuaFilter, texts: list[str], spaces: bool, cuts: list[int], every: bool) -> None:
    """Some models say a reason with every chunk; the last counts are the ones."""
    chunks = [gemini(candidates=[candidate(t, "STOP" if every else None)], usageMetadata={"promptTokenCount": 1}) for t in texts]
    chunks.append(gemini(candidates=[candidate("", "MAX_TOKENS")], usageMetadata=GEMINI_COUNTS))
    body = b"".join(event(c, spaces).replace(b"\n\n", b"\r\n\r\n") for c in chunks)
    got, known = meter(edge, split(body, cuts), STREAM, "gemini-generate-content")
    assert got == body
    assert known == {"complete": True, "usage": GEMINI_USAGE, "finish": "MAX_TOKENS"}


@SETTINGS
@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans(), st.lists(st.integers(0, 10**6), max_size=10), st.sampled_from([None, 2]))
def test_gemini_whole_and_as_an_array(edge: LuaFilter, texts: list[str], array: bool, cuts: list[int], indent: int | None) -> None:
    last = gemini(candidates=[candidate("".join(texts), "STOP")], usageMetadata=GEMINI_COUNTS)
    document: Any = [*(gemini(candidates=[candidate(t)]) for t in texts), last] if array else last
    body = json.dumps(document, indent=indent).encode()
    for headers in (WHOLE, {**WHOLE, "content-length": str(len(body))}):
        got, known = meter(edge, split(body, cuts), headers, "gemini-generate-content")
        assert got == body
        assert known == {"complete": True, "usage": GEMINI_USAGE, "finish": "STOP"}
    cut = body[: len(body) // 2]
    assert meter(edge, [cut], WHOLE, "gemini-generate-content")[1].get("complete") is not True


@pytest.mark.parametrize("document", [{"embedding": {"values": [0.5]}}, {"embeddings": [{"values": [0.5]}] * 20_000}])
@pytest.mark.parametrize("counted", [False, True])
def test_gemini_embeddings(edge: LuaFilter, document: dict[str, Any], counted: bool) -> None:
    """Whole when their body is; older models do not count."""
    usage = {"usageMetadata": {"promptTokenCount": 7}} if counted else {}
    got, known = meter(edge, [json.dumps({**document, **usage}).encode()], WHOLE, "gemini-generate-content")
    assert known == {"complete": True, **({"usage": {"input": 7}} if counted else {})}
    assert json.loads(got) == {**document, **usage}


def test_gemini_blocks_errors_and_cuts(edge: LuaFilter) -> None:
    def known(*chunks: Any) -> dict[str, Any]:
        return meter(edge, [event(c, False) for c in chunks], STREAM, "gemini-generate-content")[1]

    blocked = gemini(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={"promptTokenCount": 3})
    assert known(blocked) == {"complete": True, "finish": "SAFETY", "usage": {"input": 3}}
    assert known(gemini(candidates=[candidate("a")])) == {"complete": False}
    failed = known(gemini(candidates=[candidate("a")]), {"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}})
    assert failed == {"complete": False, "stream_error": "UNAVAILABLE"}
    long = gemini(candidates=[candidate("x" * 300_000, "STOP")], usageMetadata=GEMINI_COUNTS)
    pieces = split(json.dumps(long).encode(), list(range(0, 300_000, 9000)))
    assert meter(edge, pieces, WHOLE, "gemini-generate-content")[1] == {"complete": True, "usage": GEMINI_USAGE}
