"""One answer out of several attempts, for every split of their bytes."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from control_plane.dialects.registry import DIALECTS
from control_plane.extproc.resume.splice import Splice, splice

EVENTS = "text/event-stream"
CHAT = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "say it"}]}
CLAUDE = {"model": "m", "stream": True, "max_tokens": 99, "messages": [{"role": "user", "content": "say it"}]}


class Ids:
    def __init__(self) -> None:
        self._count = count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._count)}"

    def now(self) -> int:
        return 1


def made(dialect: str, body: dict[str, Any]) -> Splice:
    found = splice(DIALECTS[dialect], json.dumps(body).encode(), Ids())
    assert found is not None
    return found


def sse(*documents: dict[str, Any]) -> bytes:
    named = [f"event: {d['type']}\n" if "type" in d else "" for d in documents]
    return "".join(f"{name}data: {json.dumps(d)}\n\n" for name, d in zip(named, documents, strict=True)).encode()


def chunks(answer: str, *texts: str, usage: tuple[int, int] | None = None, ends: bool = True, newline: str = "\n") -> bytes:
    head = {"id": answer, "object": "chat.completion.chunk", "created": 7, "model": f"model-{answer}"}
    parts = [head | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    parts += [head | {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    if usage:
        told = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        if not ends:
            parts.append(head | {"choices": [], "usage": told})
    if ends:
        parts.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage:
            parts.append(head | {"choices": [], "usage": told})
    stream = sse(*parts) + (b"data: [DONE]\n\n" if ends else b"")
    return stream.replace(b"\n", newline.encode())


def message(*texts: str, usage: tuple[int, int] = (3, 1), stopped_block: bool = False, ends: bool = True) -> bytes:
    told = {"input_tokens": usage[0], "output_tokens": usage[1]}
    start: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": told}
    parts: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    parts.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    parts += [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts]
    if ends or stopped_block:
        parts.append({"type": "content_block_stop", "index": 0})
    if ends:
        parts.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": usage[1]}})
        parts.append({"type": "message_stop"})
    return sse(*parts)


def fed(one: Splice, body: bytes, size: int) -> bytes:
    one.begin(200, EVENTS)
    out = b""
    for at in range(0, len(body), size):
        out += one.feed(body[at : at + size])
        if one.broken or one.complete:
            return out
    return out + one.finish()


def documents(body: bytes) -> list[dict[str, Any]]:
    lines = body.decode().replace("\r\n", "\n").split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def text_of(body: bytes) -> str:
    found = documents(body)
    said = [d["choices"][0]["delta"].get("content") or "" for d in found if d.get("choices")]
    return "".join([*said, *(d["delta"].get("text", "") for d in found if d.get("type") == "content_block_delta")])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_whole_chat_goes_on_as_it_is(size: int, newline: str) -> None:
    body = chunks("a", "One", " two", usage=(5, 2), newline=newline)
    one = made("openai-chat", CHAT)
    assert fed(one, body, size) == body
    assert one.complete


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_whole_message_goes_on_as_it_is(size: int) -> None:
    body = message("One", " two")
    one = made("anthropic-messages", CLAUDE)
    assert fed(one, body, size) == body
    assert one.complete


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_a_chat_is_spliced_wherever_it_is_cut(size: int) -> None:
    whole = chunks("a", "One", " two", " three", usage=(5, 3))
    for cut in range(len(chunks("a", "One", ends=False)), len(whole) - len(b"data: [DONE]\n\n") - 400, 11):
        one = made("openai-chat", CHAT)
        out = fed(one, whole[:cut], size)
        if not one.continuable:
            continue
        asked = json.loads(one.continuation())
        begun = asked["messages"][-1]
        assert asked["messages"][:-1] == CHAT["messages"]
        assert begun == {"role": "assistant", "content": text_of(out)}
        rest = "One two three"[len(begun["content"]) :]
        out += fed(one, chunks("b", rest, usage=(6, 2)), size)
        found = documents(out)
        assert one.complete
        assert text_of(out) == "One two three"
        assert {d["id"] for d in found} == {"a"}
        assert [d["choices"][0]["finish_reason"] for d in found if d["choices"]].count("stop") == 1
        assert out.count(b"[DONE]") == 1


def test_usage_is_the_sum() -> None:
    one = made("openai-chat", CHAT)
    out = fed(one, chunks("a", "One", usage=(5, 1), ends=False), 9)
    assert one.continuable
    out += fed(one, chunks("b", " two", usage=(6, 2)), 9)
    assert documents(out)[-1]["usage"]["prompt_tokens"] == 11
    assert documents(out)[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stopped", [False, True])
def test_a_message_keeps_its_block(stopped: bool) -> None:
    one = made("anthropic-messages", CLAUDE)
    out = fed(one, message("One", stopped_block=stopped, ends=False), 4)
    assert one.continuable
    out += fed(one, message(" two", usage=(4, 2)), 4)
    kinds = [d["type"] for d in documents(out)]
    assert [kinds.count(k) for k in ("message_start", "content_block_start", "content_block_stop", "message_stop")] == [1, 1, 1, 1]
    assert text_of(out) == "One two"
    assert next(d for d in documents(out) if d["type"] == "message_delta")["usage"]["output_tokens"] == 3


@pytest.mark.parametrize("again", [" two", "two", "\n two"])
def test_white_space_at_the_end_is_neither_sent_nor_said_twice(again: str) -> None:
    one = made("openai-chat", CHAT)
    out = fed(one, chunks("a", "One", " ", ends=False), 20)
    assert json.loads(one.continuation())["messages"][-1]["content"] == "One"
    out += fed(one, chunks("b", again), 20)
    assert text_of(out) == ("One \n two" if again.startswith("\n") else "One two")


def test_it_can_break_more_than_once() -> None:
    one = made("openai-chat", CHAT)
    out = fed(one, chunks("a", "One", ends=False), 20)
    one.continuation()
    out += fed(one, chunks("b", " two", ends=False), 20)
    assert one.continuable
    assert json.loads(one.continuation())["messages"][-1]["content"] == "One two"
    out += fed(one, chunks("c", " three"), 20)
    assert text_of(out) == "One two three"
    assert one.complete


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"reasoning_content": "hm"},
    ],
)
def test_more_than_text_is_not_gone_on_with(delta: dict[str, Any]) -> None:
    one = made("openai-chat", CHAT)
    more = {"id": "a", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [{"index": 0, "delta": delta}]}
    out = fed(one, chunks("a", "One", ends=False) + sse(more), 20)
    assert one.broken
    assert not one.continuable
    assert documents(out + one.fail())[-1]["error"]["code"] == "provider_answer_cut"


@pytest.mark.parametrize(
    "change",
    [
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "low"},
        {"messages": [*CHAT["messages"], {"role": "assistant", "content": "Well,"}]},  # type: ignore[misc]
    ],
)
def test_requests_for_more_than_text_are_not(change: dict[str, Any]) -> None:
    one = made("openai-chat", CHAT | change)
    fed(one, chunks("a", "One", ends=False), 20)
    assert one.broken
    assert not one.continuable


def test_nothing_said_is_nothing_to_go_on_with() -> None:
    one = made("openai-chat", CHAT)
    fed(one, chunks("a", ends=False), 20)
    assert one.broken
    assert not one.continuable


def test_an_error_event_stays_the_vendors_own_when_nobody_goes_on() -> None:
    error = sse({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}})
    one = made("openai-chat", CHAT)
    out = fed(one, chunks("a", "One", ends=False) + error, 20)
    assert one.continuable
    assert b"overloaded" not in out
    assert one.fail() == error


def test_what_cannot_be_read_is_not_spliced() -> None:
    assert splice(DIALECTS["openai-chat"], b"{}", Ids()) is None
