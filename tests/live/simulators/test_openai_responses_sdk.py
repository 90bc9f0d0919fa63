"""The simulated OpenAI's Responses are good enough for OpenAI's own SDK, and as strict as the vendor's."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from control_plane.demo.simulators import Fault, Simulator

CLOSED = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
TOOLS: list[Any] = [
    {"type": "function", "name": "get_weather", "parameters": CLOSED, "strict": True},
    {"type": "function", "name": "get_time", "parameters": EMPTY, "strict": True},
]
ENCRYPTED: list[Any] = ["reasoning.encrypted_content"]


class Point(BaseModel):
    x: int
    label: str


async def test_whole_and_streamed(openai_async: openai.AsyncOpenAI) -> None:
    whole = await openai_async.responses.create(model="gpt-4o", input="hello there")
    events: list[Any] = [e async for e in await openai_async.responses.create(model="gpt-4o", input="hello there", stream=True)]
    assert whole.output_text == "openai/gpt-4o heard: hello there"
    assert (whole.status, whole.model) == ("completed", "gpt-4o-2024-08-06")
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert [e.type for e in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 5,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage == whole.usage
    async with openai_async.responses.stream(model="gpt-4o", input="hello there") as stream:
        assert (await stream.get_final_response()).output_text == whole.output_text


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_a_tool_loop_with_reasoning(openai_async: openai.AsyncOpenAI, streamed: bool, store: bool) -> None:
    """Stateless: reasoning goes back encrypted, under its id. Stateful: the vendor has kept it."""
    items: list[Any] = [{"role": "user", "content": "get_weather and get_time, both"}]
    asked: dict[str, Any] = {"model": "gpt-5", "tools": TOOLS, "store": store, "reasoning": {"effort": "low", "summary": "auto"}}
    if not store:
        asked["include"] = ENCRYPTED
    if streamed:
        async with openai_async.responses.stream(input=items, **asked) as stream:
            first: Any = await stream.get_final_response()
    else:
        first = await openai_async.responses.create(input=items, **asked)
    assert [i.type for i in first.output] == ["reasoning", "function_call", "function_call"]
    assert first.output[0].summary[0].text.startswith("Water runs")
    assert (first.output[0].encrypted_content is not None) is not store
    calls = first.output[1:]
    assert json.loads(calls[0].arguments) == {"city": 'the "city" of Zürich\n→ sample'}
    results: list[Any] = [{"type": "function_call_output", "call_id": c.call_id, "output": f"result {n}"} for n, c in enumerate(calls)]
    if store:
        last = await openai_async.responses.create(input=results, previous_response_id=first.id, **asked)
    else:
        replayed = [i.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for i in first.output]
        last = await openai_async.responses.create(input=[*items, *replayed, *results], **asked)
    assert last.output_text == "openai/gpt-5 read the tool: result 0 | result 1"
    assert last.usage is not None
    assert last.usage.output_tokens_details.reasoning_tokens == 32


async def test_a_forced_tool_structured_output_and_a_limit(openai_async: openai.AsyncOpenAI) -> None:
    forced: Any = {"type": "function", "name": "get_time"}
    done: Any = await openai_async.responses.create(model="gpt-4o", input="hello", tools=TOOLS, tool_choice=forced)
    assert [i.name for i in done.output] == ["get_time"]
    parsed = await openai_async.responses.parse(model="gpt-4o", input="hello", text_format=Point)
    assert parsed.output_parsed == Point(x=7, label='the "label" of Zürich\n→ sample')
    cut = await openai_async.responses.create(model="gpt-4o", input="[[sim tokens=99]]", max_output_tokens=16)
    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


LOOSE = {"type": "object", "properties": {"city": {"type": "string"}}}
CALL = {"type": "function_call", "call_id": "c", "name": "get_time", "arguments": "{}"}
USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"model": "gpt-99"}, "does not exist"),
        ({"max_output_tokens": 5}, "integer below minimum value"),
        ({"stop": ["x"]}, "Unknown parameter: 'stop'"),
        ({"temperature": 0.5}, "'temperature' is not supported"),
        ({"tools": [{"type": "function", "name": "f", "parameters": LOOSE}]}, "'additionalProperties' is required"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "nobody"}}, "not found in 'tools'"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "No tool call found"),
        ({"input": [USER, CALL]}, "No tool output found for function call c"),
        (
            {"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "headgate.x.y"}, USER]},
            "could not be verified",
        ),
        ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]}, "Invalid value: 'input_text'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "Expected a valid URL"),
        ({"previous_response_id": "resp_0"}, "not found"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"include": ["everything"]}, "Invalid value: 'everything'"),
        ({"model": "gpt-4o", "include": ENCRYPTED}, "Encrypted content is not supported"),
        ({"reasoning": {"effort": "enormous"}}, "Invalid value: 'enormous'"),
    ],
)
async def test_what_the_vendor_refuses_is_refused(openai_async: openai.AsyncOpenAI, overrides: dict[str, Any], said: str) -> None:
    body = {"model": "gpt-5", "input": "hi", **overrides}
    with pytest.raises(openai.BadRequestError, match=said):
        await openai_async.post("/responses", body=body, cast_to=object)


async def test_reasoning_under_another_id_or_without_a_seal_is_refused(openai_async: openai.AsyncOpenAI) -> None:
    first: Any = await openai_async.responses.create(model="gpt-5", input="hi", include=ENCRYPTED, store=False)
    item = first.output[0].model_dump(exclude_none=True)
    swapped: Any = [{**item, "id": "rs_other"}, USER]
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        await openai_async.responses.create(model="gpt-5", input=swapped)
    bare: Any = [{"type": "reasoning", "id": item["id"], "summary": []}, USER]
    with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
        await openai_async.responses.create(model="gpt-5", input=bare)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(mode="status", status=429), openai.RateLimitError),
        (Fault(mode="error_event", status=500), openai.APIError),
        (Fault(mode="error_event", status=500, after=2), openai.APIError),
        (Fault(mode="cut", after=2), openai.APIConnectionError),
        (Fault(mode="stall", after=2), openai.APITimeoutError),
    ],
)
async def test_faults_become_the_sdks_errors(
    openai_async: openai.AsyncOpenAI, openai_vendor: Simulator, fault: Fault, kind: type[Exception]
) -> None:
    openai_vendor.fault = fault
    with pytest.raises(kind):
        async for _ in await openai_async.with_options(timeout=0.5).responses.create(model="gpt-4o", input="hello", stream=True):
            pass


async def test_stored_responses(openai_async: openai.AsyncOpenAI) -> None:
    made = await openai_async.responses.create(model="gpt-4o", input="hello there")
    assert (await openai_async.responses.retrieve(made.id)).output_text == made.output_text
    listed = (await openai_async.responses.input_items.list(made.id)).data
    assert [item.type for item in listed] == ["message"]
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        await openai_async.responses.cancel(made.id)
    await openai_async.responses.delete(made.id)
    for call in (openai_async.responses.retrieve, openai_async.responses.delete, openai_async.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="not found"):
            await call(made.id)
    unkept = await openai_async.responses.create(model="gpt-4o", input="hello there", store=False)
    with pytest.raises(openai.NotFoundError):
        await openai_async.responses.input_items.list(unkept.id)
