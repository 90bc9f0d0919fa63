"""OpenAI's Responses through the real gateway: the official SDK as a client of every vendor, every client of a Responses-only vendor."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from control_plane.demo.simulators import Pace
from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway.rig import ANSWERS, Rig, RigFactory, route

TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [{"type": "function", "name": "get_weather", "description": "Weather", "parameters": TOOL, "strict": True}]
ROUTES = (
    route("via-openai", "openai")
    + route("via-anthropic", "anthropic")
    + route("via-local", "local")
    + route("via-gemini", "gemini")
    + route("answers-only", "answers")
    + route("answers-first", "answers", "anthropic", first_token="1s", hold=True)
    + route("anthropic-first", "anthropic", "answers", first_token="1s", hold=True)
    + route("held", "answers", first_token="5s", hold=True)
)
SAID = {
    "via-openai": "openai/gpt-5 heard: hello",
    "via-anthropic": "anthropic/claude-sonnet-5 heard: hello",
    "via-local": "local/llama-3.3-70b heard: hello",
    "via-gemini": "gemini/gemini-2.5-flash heard: hello",
    "answers-only": "openai/gpt-5 heard: hello",
    "held": "openai/gpt-5 heard: hello",
}


class Point(BaseModel):
    x: int
    label: str


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS, pace=Pace(delay_ms=1))


@pytest.fixture(autouse=True)
def healthy(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0, timeout=20) as client:
        yield client


EVERY = pytest.mark.parametrize("model", list(SAID))
BOTH = pytest.mark.parametrize("streamed", [False, True])


def ask(client: openai.OpenAI, streamed: bool, **asked: Any) -> Any:
    """The final response."""
    if not streamed:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        last: Any = list(stream)[-1]
        if last.type == "response.incomplete":  # the helper knows completed ones only
            return last.response
        return stream.get_final_response()


# ---------------------------------------------------------------------------------------------- clients of this dialect


@EVERY
@BOTH
def test_text(client: openai.OpenAI, model: str, streamed: bool) -> None:
    done = ask(client, streamed, model=model, input="hello", instructions="be brief")
    assert (done.output_text, done.status, done.error, done.incomplete_details) == (SAID[model], "completed", None, None)
    assert done.usage.input_tokens > 0
    assert done.usage.output_tokens > 0
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    assert done.instructions == "be brief"


@EVERY
def test_the_events_of_a_stream(client: openai.OpenAI, model: str) -> None:
    events: list[Any] = list(client.responses.create(model=model, input="hello", stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = [e.type for e in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert "".join(e.delta for e in deltas) == SAID[model]
    items = events[-1].response.output
    message = next(i for i in items if i.type == "message")
    assert {(e.item_id, e.output_index, e.content_index) for e in deltas} == {(message.id, items.index(message), 0)}
    assert [e.item.id for e in events if e.type == "response.output_item.done"] == [i.id for i in items]
    for kind in ("output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done"):
        assert f"response.{kind}" in kinds


@EVERY
@BOTH
def test_tool_loop(client: openai.OpenAI, model: str, streamed: bool) -> None:
    items: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]
    first = ask(
        client, streamed, model=model, input=items, tools=TOOLS, include=["reasoning.encrypted_content"] if "local" not in model else []
    )
    calls = [i for i in first.output if i.type == "function_call"]
    assert [c.name for c in calls] == ["get_weather", "get_weather"]
    assert all(json.loads(c.arguments)["city"] for c in calls)
    assert first.status == "completed"
    items += [i.model_dump(exclude_none=True) for i in first.output]
    for item in items:
        item.pop("parsed_arguments", None)  # the SDK's own
    items += [{"type": "function_call_output", "call_id": c.call_id, "output": f"sunny {n}"} for n, c in enumerate(calls)]
    last = ask(client, streamed, model=model, input=items, tools=TOOLS)
    assert "sunny 0" in last.output_text
    assert "sunny 1" in last.output_text


@EVERY
def test_a_forced_call_and_none(client: openai.OpenAI, model: str) -> None:
    choices: list[tuple[Any, int]] = [({"type": "function", "name": "get_weather"}, 1), ("required", 1), ("none", 0)]
    for choice, called in choices:
        done = client.responses.create(model=model, input="hi", tools=TOOLS, tool_choice=choice)
        assert len([i for i in done.output if i.type == "function_call"]) == called, choice


@EVERY
def test_structured_output(client: openai.OpenAI, model: str) -> None:
    done = client.responses.parse(model=model, input="a point", text_format=Point)
    assert isinstance(done.output_parsed, Point)


@EVERY
@BOTH
def test_a_limit_makes_it_incomplete(client: openai.OpenAI, model: str, streamed: bool) -> None:
    done = ask(client, streamed, model=model, input="[[sim tokens=400]]", max_output_tokens=20)
    assert done.status == "incomplete"
    assert done.incomplete_details.reason == "max_output_tokens"
    assert done.usage.output_tokens <= 20


@EVERY
async def test_async_client(rig: Rig, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0, timeout=20) as client:
        whole = await client.responses.create(model=model, input="hello")
        stream = await client.responses.create(model=model, input="hello", stream=True)
        text = "".join([e.delta async for e in stream if e.type == "response.output_text.delta"])
        async with client.responses.stream(model=model, input="hello") as helper:
            final = await helper.get_final_response()
    assert whole.output_text == text == final.output_text == SAID[model]


@BOTH
def test_reasoning_of_another_vendor_comes_back_to_it(client: openai.OpenAI, rig: Rig, streamed: bool) -> None:
    """Signed thinking reaches the client as a reasoning item; given back inside a tool loop, the vendor accepts its own signature."""
    asked: dict[str, Any] = {"model": "via-anthropic", "tools": TOOLS, "reasoning": {"effort": "low", "summary": "auto"}}
    items: list[Any] = [{"role": "user", "content": "call get_weather"}]
    first = ask(client, streamed, input=items, **asked)
    thoughts = [i for i in first.output if i.type == "reasoning"]
    assert [t.summary[0].text[:5] for t in thoughts] == ["Water"]
    assert thoughts[0].encrypted_content.startswith("headgate.anthropic-messages.")
    items += [i.model_dump(exclude_none=True) for i in first.output]
    for item in items:
        item.pop("parsed_arguments", None)
    call = next(i for i in first.output if i.type == "function_call")
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    assert "sunny" in ask(client, streamed, input=items, **asked).output_text
    sent = json.loads(rig.vendors["anthropic"].requests[-1].body or b"")
    assert [b["type"] for b in sent["messages"][1]["content"]] == ["thinking", "tool_use"]


def test_state_works_where_the_vendor_keeps_it_and_is_refused_elsewhere(client: openai.OpenAI) -> None:
    first = client.responses.create(model="via-openai", input="hello")
    second = client.responses.create(model="via-openai", input="again", previous_response_id=first.id)
    assert second.output_text == "openai/gpt-5 heard: again"
    assert second.previous_response_id == first.id
    refused: list[tuple[str, dict[str, Any]]] = [
        ("previous_response_id", {"previous_response_id": first.id}),
        ("background", {"background": True}),
        ("conversation", {"conversation": "conv_1"}),
        ("tools.0", {"tools": [{"type": "web_search"}]}),
        ("tools.1", {"tools": [*TOOLS, {"type": "file_search", "vector_store_ids": ["v"]}]}),
        ("tool_choice", {"tools": TOOLS, "tool_choice": {"type": "web_search_preview"}}),
        ("prompt", {"prompt": {"id": "pmpt_1"}}),
    ]
    with pytest.raises(openai.BadRequestError) as json_mode:
        client.responses.create(model="via-anthropic", input="hello", text={"format": {"type": "json_object"}})
    assert json_mode.value.param == "text.format"
    for field, more in refused:
        for model in ("via-anthropic", "via-local"):
            with pytest.raises(openai.BadRequestError) as error:
                client.responses.create(model=model, input="hello", **more)
            assert error.value.param == field
            assert field in error.value.message


def test_knobs_are_dropped_and_named(client: openai.OpenAI) -> None:
    """By the names that the client gave them."""
    tool: Any = {**TOOLS[0], "parameters": {**TOOL, "properties": {"city": {"type": "string", "minLength": 1}}}}
    shaped: Any = {
        "format": {"type": "json_schema", "name": "n", "schema": {**TOOL, "properties": {"city": {"type": "string", "pattern": "x"}}}}
    }
    forced = client.responses.with_raw_response.create(
        model="via-anthropic", input="hello", tools=[tool], tool_choice="required", text=shaped, reasoning={"effort": "low"}
    )
    assert set(forced.headers["x-headgate-dropped"].replace(" ", "").split(",")) == {
        *("reasoning.effort", "text.format.schema.properties.city.pattern", "tools.0.parameters.properties.city.minLength"),
    }
    answer = client.responses.with_raw_response.create(
        model="via-anthropic", input="hello", text={"verbosity": "low"}, truncation="auto", service_tier="flex", store=True
    )
    named = set(answer.headers["x-headgate-dropped"].replace(" ", "").split(","))
    assert named == {"text.verbosity", "truncation", "service_tier", "store"}


# -------------------------------------------------------------------------------------- a vendor that speaks only this


@BOTH
def test_chat_clients(client: openai.OpenAI, streamed: bool) -> None:
    messages: list[Any] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    if streamed:
        asked: Any = {"stream_options": {"include_usage": True}}
        chunks = list(client.chat.completions.create(model="answers-only", messages=messages, stream=True, **asked))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        usage = chunks[-1].usage
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    else:
        done = client.chat.completions.create(model="answers-only", messages=messages)
        text, usage = done.choices[0].message.content or "", done.usage
        assert done.choices[0].finish_reason == "stop"
    assert text == SAID["answers-only"]
    assert usage is not None
    assert usage.completion_tokens > 0
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 64


@BOTH
def test_chat_tool_loop(client: openai.OpenAI, rig: Rig, streamed: bool) -> None:
    """With parameters that are not closed: `strict` must not be taken for granted."""
    tools: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": {**TOOL, "additionalProperties": True}}}]
    messages: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]
    if streamed:
        with client.chat.completions.stream(model="answers-only", messages=messages, tools=tools) as stream:
            first: Any = stream.get_final_completion().choices[0]
    else:
        first = client.chat.completions.create(model="answers-only", messages=messages, tools=tools).choices[0]
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls
    assert [c.function.name for c in calls] == ["get_weather"] * 2
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in calls
            ],
        }
    )
    messages += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny {n}"} for n, c in enumerate(calls)]
    last = client.chat.completions.create(model="answers-only", messages=messages, tools=tools).choices[0]
    assert "sunny 0" in (last.message.content or "")
    assert "sunny 1" in (last.message.content or "")
    sent = json.loads(rig.vendors["openai"].requests[-1].body or b"")
    assert (rig.vendors["openai"].requests[-1].path, sent["store"], sent["tools"][0]["strict"]) == ("/v1/responses", False, False)


@BOTH
def test_anthropic_clients_with_thinking_in_a_tool_loop(claude: anthropic.Anthropic, rig: Rig, streamed: bool) -> None:
    """Encrypted reasoning goes out as redacted thinking, and comes back to its vendor with the id that it belongs to."""
    messages: list[Any] = [{"role": "user", "content": "call get_weather"}]

    def turn() -> Any:
        asked: Any = {
            "model": "answers-only",
            "max_tokens": 4000,
            "messages": messages,
            "system": "be brief",
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [{"name": "get_weather", "input_schema": TOOL}],
        }
        if not streamed:
            return claude.messages.create(**asked)
        with claude.messages.stream(**asked) as stream:
            return stream.get_final_message()

    first = turn()
    assert first.stop_reason == "tool_use"
    assert [b.type for b in first.content] == ["thinking", "redacted_thinking", "tool_use"]
    assert first.usage.output_tokens > 32
    messages.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sunny"}]})
    last = turn()
    assert "sunny" in "".join(b.text for b in last.content if b.type == "text")
    sent = json.loads(rig.vendors["openai"].requests[-1].body or b"")
    assert [i.get("type", i.get("role")) for i in sent["input"]] == ["user", "reasoning", "function_call", "function_call_output"]
    assert sent["input"][1]["id"].startswith("rs_sim")
    assert sent["reasoning"] == {"effort": "low", "summary": "auto"}


# -------------------------------------------------------------------------------------------------------- failing over

FAULTS: dict[str, dict[str, Any]] = {
    "503": {"mode": "status", "status": 503},
    "429": {"mode": "status", "status": 429, "retry_after_s": 30},
    "401": {"mode": "status", "status": 401},
    "refused": {"mode": "refuse"},
    "reset": {"mode": "reset"},
    "error event in a 200": {"mode": "error_event"},
    "garbage": {"mode": "garbage"},
    "html": {"mode": "html", "status": 200},
    "truncated": {"mode": "truncated"},
    "empty": {"mode": "empty"},
    "cut before content": {"mode": "cut", "after": 0, "how": "rst"},
    "silent": {"mode": "black_hole"},
    "late": {"mode": "late_first_event", "delay_ms": 60_000},
}


@BOTH
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", ["answers", "anthropic"])
def test_no_client_sees_an_outage(
    client: openai.OpenAI, claude: anthropic.Anthropic, rig: Rig, first: str, fault: str, streamed: bool
) -> None:
    rig.break_vendor("openai" if first == "answers" else first, **FAULTS[fault])
    other = "anthropic/claude-sonnet-5" if first == "answers" else "openai/gpt-5"
    answer = client.responses.with_raw_response.create(model=f"{first}-first", input="hello")
    assert answer.headers["x-headgate-attempts"] == "2"
    assert ask(client, streamed, model=f"{first}-first", input="hello").output_text == f"{other} heard: hello"
    asked: Any = {"model": f"{first}-first", "max_tokens": 200, "messages": [{"role": "user", "content": "hello"}]}
    if streamed:
        with claude.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**asked)
    assert [b.text for b in message.content if b.type == "text"] == [f"{other} heard: hello"]


@BOTH
def test_a_failover_does_not_end_a_conversation_with_reasoning(client: openai.OpenAI, rig: Rig, streamed: bool) -> None:
    """The other vendor's reasoning is not given to a client whose next turn may go to OpenAI untranslated, which would refuse it."""
    asked: dict[str, Any] = {"model": "answers-first", "tools": TOOLS, "include": ["reasoning.encrypted_content"], "store": False}
    asked["reasoning"] = {"effort": "low", "summary": "auto"}
    items: list[Any] = [{"role": "user", "content": "call get_weather"}]
    rig.break_vendor("openai", mode="status", status=503)
    raw = client.responses.with_raw_response.create(input=items, **asked)
    assert raw.headers["x-headgate-target"] == "anthropic/claude-sonnet-5"
    assert "reasoning.summary" in raw.headers["x-headgate-dropped"]
    first = ask(client, streamed, input=items, **asked)
    assert [i.type for i in first.output] == ["function_call"]
    rig.heal()
    items += [i.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for i in first.output]
    items.append({"type": "function_call_output", "call_id": first.output[0].call_id, "output": "sunny"})
    last = ask(client, streamed, input=items, **asked)
    assert last.output_text == "openai/gpt-5 read the tool: sunny"
    assert last.output[0].type == "reasoning"


def test_when_all_fail_the_error_is_the_clients(client: openai.OpenAI, claude: anthropic.Anthropic, rig: Rig) -> None:
    rig.break_vendor("openai", mode="status", status=500)
    rig.break_vendor("anthropic", mode="status", status=500)
    with pytest.raises(openai.InternalServerError) as error:
        client.responses.create(model="answers-first", input="hello")
    assert set(json.loads(error.value.response.content)["error"]) == {"message", "type", "param", "code"}
    with pytest.raises(anthropic.InternalServerError) as other:
        claude.messages.create(model="answers-only", max_tokens=50, messages=[{"role": "user", "content": "hello"}])
    assert json.loads(other.value.response.content)["type"] == "error"


def test_the_vendors_own_refusal_keeps_its_class(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """What only the vendor can know is wrong, said by it and read by everyone's SDK as the client's fault."""
    tool: Any = {"name": "not a name", "input_schema": {"type": "object"}}
    with pytest.raises(anthropic.BadRequestError, match="does not match pattern"):
        claude.messages.create(model="answers-only", max_tokens=50, messages=[{"role": "user", "content": "hello"}], tools=[tool])
    with pytest.raises(openai.BadRequestError, match="integer below minimum"):
        client.responses.create(model="via-openai", input="hello", max_output_tokens=3)


@pytest.mark.parametrize("model", ["via-anthropic", "via-local"])
@pytest.mark.parametrize("how", ["error_event", "cut"])
def test_a_break_after_content_is_never_a_clean_end(client: openai.OpenAI, rig: Rig, model: str, how: str) -> None:
    rig.break_vendor("anthropic" if model == "via-anthropic" else "local", mode=how, after=4)
    events: list[Any] = []
    with pytest.raises((openai.APIError, openai.APIConnectionError)):
        events.extend(client.responses.create(model=model, input="hello", stream=True))
    kinds = [e.type for e in events]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert SAID[model].startswith(text)
    assert "response.completed" not in kinds
    assert "response.incomplete" not in kinds


def test_a_break_after_content_reaches_clients_of_other_dialects(client: openai.OpenAI, claude: anthropic.Anthropic, rig: Rig) -> None:
    rig.break_vendor("openai", mode="error_event", after=2)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="answers-only", messages=[{"role": "user", "content": "hello"}], stream=True))
    with (
        pytest.raises(anthropic.APIStatusError),
        claude.messages.stream(model="answers-only", max_tokens=200, messages=[{"role": "user", "content": "hello"}]) as stream,
    ):
        stream.get_final_message()


# ------------------------------------------------------------------------------------------------------------ metering


def test_tokens_are_counted_on_both_lanes(client: openai.OpenAI, rig: Rig) -> None:
    """The journal has what the vendor said, streamed and whole, passed through and translated; however long the last event is."""
    told: dict[str, Any] = {}
    for model in ("via-openai", "via-anthropic"):
        for streamed in (False, True):
            for size in (10, 60_000):
                asked = {"model": model, "input": "hello", "instructions": "word " * size, "stream": streamed}
                raw = client.responses.with_raw_response.create(**asked)  # type: ignore[call-overload]
                parsed = raw.parse()
                response = [e for e in parsed if e.type == "response.completed"][-1].response if streamed else parsed
                told[raw.headers["x-headgate-request-id"]] = (response.usage, streamed)
    wanted = {k: (u.input_tokens, u.output_tokens, u.output_tokens_details.reasoning_tokens, s) for k, (u, s) in told.items()}
    assert requests_in(rig, set(told)) == wanted


def requests_in(rig: Rig, ids: set[str]) -> dict[str, tuple[Any, ...]]:
    """Tokens and kind of these requests in the journal, once all are there; each complete."""
    journal = rig.gateway.places.journal
    deadline = time.monotonic() + 15
    found: dict[str, tuple[Any, ...]] = {}
    while time.monotonic() < deadline and set(found) != ids:
        time.sleep(0.2)
        for text in journal.read_bytes().splitlines():
            line = decode(text)
            if isinstance(line, RequestLine) and line.id in ids:
                assert (line.dialect, line.operation) == ("openai-responses", "chat")
                found[line.id] = describe(line)
    return found


def describe(line: RequestLine) -> tuple[Any, ...]:
    meter = line.meter()
    assert meter.usage is not None
    assert meter.complete
    assert meter.finish in ("completed", "end_turn")
    return meter.usage.input, meter.usage.output, meter.usage.reasoning or 0, line.stream
