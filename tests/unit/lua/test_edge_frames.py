"""The usage meter on AWS's event streams: however one is cut into pieces, the same is metered and no byte is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects.eventstream import encode, encode_event, encode_exception
from tests.unit.lua.lua_filter import LuaFilter
from tests.unit.lua.test_edge_meter import COUNTS, CUTS, TEXTS, meter, split

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FRAMES = {"content-type": "application/vnd.amazon.eventstream"}
WHOLE = {"content-type": "application/json"}
MIB = 1024 * 1024


def frame(name: str, **fields: Any) -> bytes:
    return encode_event(name, json.dumps(fields).encode())


def metered(edge: LuaFilter, chunks: list[bytes]) -> dict[str, Any]:
    body, known = meter(edge, chunks, FRAMES, "bedrock-converse")
    assert body == b"".join(chunks)
    return known


def usage_of(fresh: int, output: int, cached: int, written: int, inside: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(as told, as metered)"""
    beside = 0 if inside else cached + written
    read = fresh + (cached + written if inside else 0)
    told = {
        "cacheDetails": [{"ttl": "5m", "inputTokens": 123}],
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": written,
        "inputTokens": read,
        "outputTokens": output,
        "totalTokens": read + beside + output,
    }
    return told, {"input": read + beside, "cached": cached, "cache_write": written, "output": output}


@SETTINGS
@given(
    counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), inside=st.booleans(), text=TEXTS, cuts=CUTS, told=st.booleans(), broken=st.booleans()
)
def test_streams(
    edge: LuaFilter, counts: tuple[int, int, int, int], inside: bool, text: str, cuts: list[int], told: bool, broken: bool
) -> None:
    usage, wanted = usage_of(*counts, inside)
    frames = [
        frame("messageStart", role="assistant"),
        frame("contentBlockDelta", contentBlockIndex=0, delta={"text": text + 'messageStop"usage":{"inputTokens":5}'}),
        frame("contentBlockStop", contentBlockIndex=0),
    ]
    known: dict[str, Any] = {"complete": False}
    if broken:
        frames.append(encode_exception("throttlingException", b'{"message":"slow"}'))
        known["stream_error"] = "throttlingException"
    else:
        frames.append(frame("messageStop", p="abc", stopReason="end_turn", additionalModelResponseFields={"stopReason": "x"}))
        known.update(complete=True, finish="end_turn")
        if told:
            frames.append(frame("metadata", metrics={"latencyMs": 5}, usage=usage))
            known["usage"] = wanted
    assert metered(edge, split(b"".join(frames), cuts)) == known


@pytest.mark.parametrize("piece", [1000, 16384, 70000])
@pytest.mark.parametrize(("size", "seen"), [(MIB - 1000, True), (2 * MIB, False)])
def test_what_is_kept_of_a_frame_is_bounded_and_what_follows_a_long_one_is_read(edge: LuaFilter, piece: int, size: int, seen: bool) -> None:
    usage, wanted = usage_of(3, 4, 1, 1, False)
    trace = frame("metadata", trace="x" * size, usage=usage)
    stop = frame("messageStop", stopReason="max_tokens")
    body = stop + trace
    known = metered(edge, [body[i : i + piece] for i in range(0, len(body), piece)])
    assert known == {"complete": True, "finish": "max_tokens", **({"usage": wanted} if seen else {})}
    body = frame("contentBlockDelta", delta={"text": "x" * size}) + stop + frame("metadata", usage=usage)
    known = metered(edge, [body[i : i + piece] for i in range(0, len(body), piece)])
    assert known == {"complete": True, "finish": "max_tokens", "usage": wanted}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (encode_exception("modelStreamErrorException", b"{}"), "modelStreamErrorException"),
        (encode({":message-type": "error", ":error-code": "500", ":error-message": "x"}, b""), "error"),
        (encode_exception("x" * 300, b"{}"), "x" * 64),
        (encode_exception("a;b", b"{}"), "a,b"),
    ],
)
def test_errors(edge: LuaFilter, body: bytes, word: str) -> None:
    assert metered(edge, [frame("messageStart"), body]) == {"complete": False, "stream_error": word}


@SETTINGS
@given(junk=st.lists(st.binary(max_size=60) | st.just(frame("metadata", usage=5)) | st.just(frame("messageStop")), max_size=6), cuts=CUTS)
def test_junk_passes_unharmed(edge: LuaFilter, junk: list[bytes], cuts: list[int]) -> None:
    assert metered(edge, split(b"".join(junk), cuts)).get("complete") in (False, None)


def test_kinds_of_frames_that_are_remembered_are_bounded(edge: LuaFilter) -> None:
    known = metered(edge, [frame(f"kind{i}") for i in range(1000)] + [frame("messageStop", stopReason="end_turn")])
    assert known == {"complete": True, "finish": "end_turn"}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("long", [False, True])
def test_whole_answers(edge: LuaFilter, inside: bool, long: bool) -> None:
    told, wanted = usage_of(10, 5, 2, 1, inside)
    text = "the stopReason " * (20_000 if long else 1)
    body = json.dumps(
        {
            "metrics": {"latencyMs": 5},
            "output": {"message": {"content": [{"text": text}, {"toolUse": {"input": {"stopReason": "x", "usage": {"inputTokens": 1}}}}]}},
            "stopReason": "tool_use",
            "usage": told,
        }
    ).encode()
    chunks = [body[i : i + 9000] for i in range(0, len(body), 9000)]
    got, known = meter(edge, chunks, WHOLE, "bedrock-converse")
    assert got == body
    assert known == {"complete": True, "finish": "tool_use", "usage": wanted}


def test_an_error_in_a_200(edge: LuaFilter) -> None:
    _, known = meter(edge, [b'{"message":"no"}'], WHOLE, "bedrock-converse")
    assert known == {"complete": True, "stream_error": "error"}
