"""Completions and fill-in-the-middle: what a client's request means, what each provider is asked and answers, what the client gets."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from control_plane.dialects.api import TargetFacts
from control_plane.dialects.canon import Failure, Unfit
from control_plane.dialects.completions.canon import CompletionRequest, Form
from control_plane.dialects.completions.registry import CLIENTS, COMPLETERS
from control_plane.dialects.operations import SIDES
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError

CHAT = "openai-chat"
FORMS: tuple[Form, ...] = get_args(Form)
ASKED: dict[str, Any] = {"prompt": "def f(", "suffix": "return a"}
COMMON: dict[str, Any] = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.25, "stop": ["x"]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1


def read(form: Form, **body: Any) -> CompletionRequest:
    request = CLIENTS[form][CHAT].read_request(json.dumps({"model": "m", **ASKED, **body}).encode())
    assert isinstance(request, CompletionRequest)
    return request


def ask(client: Form, provider: Form, options: dict[str, object] | None = None, **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = read(client, **body)
    made = COMPLETERS[provider][CHAT].write_request(request, TargetFacts("up", "/", options or {}))
    return json.loads(made.body), tuple(map(request.named, made.dropped))


def sse(*documents: object, done: bool = True) -> bytes:
    return b"".join(b"data: " + json.dumps(d).encode() + b"\n\n" for d in documents) + (b"data: [DONE]\n\n" if done else b"")


def answer(client: Form, provider: Form, data: bytes, piece: int = 7, **body: Any) -> bytes:
    """The client's bytes of a provider's, in pieces of that many bytes."""
    request = read(client, **body)
    reader, writer = COMPLETERS[provider][CHAT].reader(request), CLIENTS[client][CHAT].writer(request, Ids())
    reader.start(200, "text/event-stream" if request.stream else "application/json")
    assert writer.content_type == ("text/event-stream" if request.stream else "application/json")
    given = [event for at in range(0, len(data), piece) for event in reader.feed(data[at : at + piece])]
    return b"".join(map(writer.emit, [*given, *reader.finish()])) + writer.finish()


def events(data: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_both_operations_are_translated() -> None:
    assert {form: SIDES[form].providers for form in FORMS} == COMPLETERS


def test_what_a_provider_of_the_other_form_is_asked() -> None:
    plain = {"model": "up", **ASKED, **COMMON}
    assert ask("completions", "fim", **COMMON, seed=3) == ({**plain, "random_seed": 3}, ())
    assert ask("fim", "completions", **COMMON, random_seed=3) == ({**plain, "seed": 3}, ())
    assert ask("completions", "fim", prompt=["one"], suffix=None, stop="x")[0] == {"model": "up", "prompt": "one", "stop": ["x"]}
    assert ask("fim", "completions", {"rename_params": {"seed": "s"}}, random_seed=3)[0] == {"model": "up", **ASKED, "s": 3}


def test_usage_of_streams_is_asked_for_where_that_is_not_refused() -> None:
    assert ask("fim", "completions", stream=True)[0]["stream_options"] == {"include_usage": True}
    assert "stream_options" not in ask("fim", "completions", {"stream_usage": False}, stream=True)[0]
    streamed = ask("completions", "fim", stream=True, stream_options={"include_usage": True})
    assert streamed == ({"model": "up", **ASKED, "stream": True}, ())


def test_what_has_no_place_is_dropped_and_named_in_the_clients_words() -> None:
    said: dict[str, Any] = {"presence_penalty": 1, "frequency_penalty": 1, "user": "u", "logprobs": 2, "logit_bias": {"1": 1}, "odd": 1}
    body, dropped = ask("completions", "fim", **said, stream=True, stream_options={"other": 1})
    assert body == {"model": "up", **ASKED, "stream": True}
    assert set(dropped) == {*said, "stream_options.other"}
    assert ask("fim", "completions", min_tokens=2, metadata={"a": 1}) == ({"model": "up", **ASKED}, ("metadata", "min_tokens"))
    assert ask("fim", "completions", {"drop_params": ["seed"]}, random_seed=2) == ({"model": "up", **ASKED}, ("random_seed",))


@pytest.mark.parametrize(
    "body", [{"n": 2}, {"best_of": 2}, {"echo": True}, {"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"prompt": [[1]]}, {"prompt": None}]
)
def test_what_would_be_another_answer_makes_the_target_unfit(body: dict[str, Any]) -> None:
    with pytest.raises(Unfit) as unfit:
        ask("completions", "fim", **body)
    assert unfit.value.field == next(iter(body))


@pytest.mark.parametrize(
    ("form", "body", "field"),
    [
        ("completions", {"prompt": 7.5}, "prompt"),
        ("completions", {"suffix": 1}, "suffix"),
        ("completions", {"stop": [1]}, "stop.0"),
        ("completions", {"temperature": "hot"}, "temperature"),
        ("completions", {"stream_options": 1}, "stream_options"),
        ("fim", {"prompt": None}, "prompt"),
        ("fim", {"prompt": ["a"]}, "prompt"),
        ("fim", {"random_seed": "x"}, "random_seed"),
    ],
)
def test_bad_requests_name_the_field(form: Form, body: dict[str, Any], field: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        read(form, **body)
    assert error.value.param == field


def chunk(choice: dict[str, Any], kind: str, **more: object) -> dict[str, Any]:
    return {"id": "i", "object": kind, "created": 2, "model": "up", "choices": [choice], **more}


def fim(delta: dict[str, Any], finish: str | None, **more: object) -> dict[str, Any]:
    return chunk({"index": 0, "delta": delta, "finish_reason": finish}, "chat.completion.chunk", **more)


def text(said: str, finish: str | None, **more: object) -> dict[str, Any]:
    return chunk({"text": said, "index": 0, "logprobs": None, "finish_reason": finish}, "text_completion", **more)


FIM_STREAM = sse(
    fim({"role": "assistant", "content": ""}, None), fim({"content": "a, "}, None), fim({"content": "b"}, None),
    fim({"content": ""}, "length", usage=USAGE),
)  # fmt: skip
STREAM = sse(text("a, ", None), text("b", None), text("", "length"), {**text("", None), "choices": [], "usage": USAGE})


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 64, 4096])
def test_streams(piece: int) -> None:
    assert answer("fim", "completions", STREAM, piece, stream=True) == answer("fim", "completions", STREAM, stream=True)
    assert events(answer("fim", "completions", STREAM, piece, stream=True)) == events(FIM_STREAM)
    assert events(answer("completions", "fim", FIM_STREAM, piece, stream=True)) == [*events(STREAM)[:3], "[DONE]"]
    counted = events(answer("completions", "fim", FIM_STREAM, piece, stream=True, stream_options={"include_usage": True}))
    assert [c["usage"] for c in counted[:-1]] == [None, None, None, USAGE]
    assert counted[-2]["choices"] == []


def test_whole_answers() -> None:
    done = {"index": 0, "message": {"role": "assistant", "tool_calls": None, "content": "a, b"}, "finish_reason": "stop"}
    fim_whole = chunk(done, "chat.completion", usage=USAGE)
    whole = chunk({"text": "a, b", "index": 0, "logprobs": None, "finish_reason": "stop"}, "text_completion", usage=USAGE)
    assert json.loads(answer("completions", "fim", json.dumps(fim_whole).encode())) == whole
    assert json.loads(answer("fim", "completions", json.dumps(whole).encode())) == fim_whole
    assert json.loads(answer("fim", "completions", json.dumps({"choices": [{"text": "", "finish_reason": "eos"}]}).encode())) == {
        "id": "made",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [done | {"message": done["message"] | {"content": ""}}],  # type: ignore[operator]
    }


@pytest.mark.parametrize(("client", "provider", "stream"), [("fim", "completions", STREAM), ("completions", "fim", FIM_STREAM)])
def test_a_stream_without_its_end_is_no_answer(client: Form, provider: Form, stream: bytes) -> None:
    cut = stream[: stream.index(b'"length"')]
    with pytest.raises(ProviderProtocolError):
        answer(client, provider, cut[: cut.rindex(b"data: ")], stream=True)


@pytest.mark.parametrize(("client", "provider"), [("fim", "completions"), ("completions", "fim")])
def test_an_error_inside_a_stream_ends_it_as_an_error(client: Form, provider: Form) -> None:
    first = text("a", None) if provider == "completions" else fim({"content": "a"}, None)
    last = events(answer(client, provider, sse(first, {"error": {"message": "overloaded", "code": 503}}, done=False), stream=True))[-1]
    assert "overloaded" in last["error"]["message"]


@pytest.mark.parametrize("form", FORMS)
def test_a_broken_answer_fails_in_the_clients_shape_once(form: Form) -> None:
    failure = Failure("transient", 503, "gone", code="provider_answer_cut")
    for stream in (False, True):
        writer = CLIENTS[form][CHAT].writer(read(form, stream=stream), Ids())
        ended = writer.fail(failure)
        assert b'"message":"gone"' in ended
        assert b"[DONE]" not in ended
        assert writer.finish() == writer.fail(failure) == b""
