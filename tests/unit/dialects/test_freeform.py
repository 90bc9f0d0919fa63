"""Tools that take free text, between dialects that have them and vendors that know functions only: no letter of the text may change."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dialects import canon, freeform
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.siblings import STREAMED
from tests.unit.dialects.conftest import Ids

GRAMMAR = 'start: "*** Begin Patch" LF hunk+ "*** End Patch"\nLF: /\\n/'
NASTY = (
    "",
    "plain",
    '"quoted" \\ back\\\\slashed \\n and a real\nnewline\r\n\ttab',
    "\b\f\x00\x01\x1f\x7f\u2028\u2029\ufeff",
    "ü ✓ 😀 \U0010ffff 👩‍👩‍👧‍👦 \\ud83d\\ude00 \\u0041",
    '{"input":"not this one"}',
    '"}',
    "*** Begin Patch\n*** Update File: src/ä.py\n@@\n-\tprint(\"{\\n}\")\n+\tprint('\\u2028 ✓')\n*** End Patch",
    "".join(f"@@ {i}\n-a = \"{i}\\n\"\n+b = '{chr(0x400 + i % 900)}😀'\n" for i in range(2000)),
)
TEXTS = pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
CUSTOM_RESPONSES: dict[str, Any] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files. Do not wrap the patch in JSON.",
    "format": {"type": "grammar", "syntax": "lark", "definition": GRAMMAR},
}
CUSTOM_CHAT: dict[str, Any] = {
    "type": "custom",
    "custom": {
        "name": "apply_patch",
        "description": "Edits files. Do not wrap the patch in JSON.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": GRAMMAR}},
    },
}
OTHERS = sorted(set(PROVIDERS) - {"openai-responses"})
MODELS = {"gemini-generate-content": "gemini-3-flash", "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0"}


def responses(**fields: Any) -> canon.Request:
    body = {"model": "m", "input": "go", "tools": [CUSTOM_RESPONSES, {"type": "function", "name": "shell", "parameters": {}}], **fields}
    return DIALECTS["openai-responses"].read_request(json.dumps(body).encode())


def chat(**fields: Any) -> canon.Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "tools": [CUSTOM_CHAT], **fields}
    return DIALECTS["openai-chat"].read_request(json.dumps(body).encode())


def written(provider: str, request: canon.Request, **options: object) -> Any:
    facts = TargetFacts(MODELS.get(provider, "m"), "/{model}:generateContent", options)
    return json.loads(PROVIDERS[provider].write_request(request, facts).body)


# ------------------------------------------------------------------------------------------------ the text and the argument


def cut(text: str, rng: random.Random, most: int) -> list[str]:
    pieces, i = [], 0
    while i < len(text):
        n = rng.randint(1, most)
        pieces.append(text[i : i + n])
        i += n
    return pieces


def read(fragments: Iterable[str]) -> str:
    reader = freeform.TextReader()
    return "".join([*map(reader.feed, fragments), reader.finish()])


@TEXTS
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_text_comes_back_however_it_is_escaped_and_cut(text: str, ascii_only: bool) -> None:
    """Vendors escape more or less, and some put blanks around."""
    rng = random.Random(len(text))
    for made in (freeform.arguments(text), json.dumps({"input": text}, ensure_ascii=ascii_only), json.dumps({"input": text}, indent=2)):
        assert json.loads(made) == {"input": text}
        assert freeform.text_of(made) == text
        for most in (1, 2, 5, 4096):
            assert read(cut(made, rng, most)) == text


@given(st.text(max_size=40), st.booleans(), st.randoms())
def test_any_text(text: str, ascii_only: bool, rng: Any) -> None:
    assert read(cut(json.dumps({"input": text}, ensure_ascii=ascii_only), rng, 3)) == text
    assert read([freeform.OPENING, *map(freeform.escaped, cut(text, rng, 4)), freeform.CLOSING]) == text


def test_the_text_is_there_as_soon_as_its_letters_are() -> None:
    reader = freeform.TextReader()
    assert [reader.feed(piece) for piece in ('{"in', 'put" : "a', "b\\", "n", "\\ud83d", "\\ude00", 'c"', "}")] == [
        *("", "a", "b", "\n", "", "😀", "c", ""),
    ]
    assert reader.finish() == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", ""),
        ("{}", ""),
        ('{"input":"cut he', "cut he"),
        ('{"input":"cut \\', "cut "),
        ('{"input":"cut \\u00e', "cut "),
        ('{"inp', ""),
        ('{"input":"a\nb"}', "a\nb"),
        ('{"input":"\\ud83d x"}', "\ufffd x"),
        ('{"input":"\\ude00"}', "\ufffd"),
        ('{"input":"\\ud83d"}', "\ufffd"),
        ('{"input":"\\ud83d', "\ufffd"),
        ('{"input":"\\ud83d\\ud83d\\ude00"}', "\ufffd😀"),
        ('{"input":"\\q\\uzzzz"}', "\\q\\uzzzz"),
        ('{"input":"a","more":1}', "a"),
        ('{"more":1,"input":"a"}', "a"),
        ('{"input":["a"]}', '{"input":["a"]}'),
        ('"a bare \\" string"', 'a bare " string'),
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"patch":"a"}', '{"patch":"a"}'),
        ('{"patch":"a', '{"patch":"a'),
        (" \n", ""),
    ],
)
def test_what_models_get_wrong(given: str, text: str) -> None:
    assert read([given]) == text
    assert read(given) == text


# ------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize("request_of", [responses, chat], ids=["openai-responses", "openai-chat"])
def test_a_custom_tool_is_a_function_that_says_its_grammar(request_of: Any) -> None:
    tool = request_of().tools[0]
    assert tool.freeform == canon.Freeform(CUSTOM_RESPONSES["description"], "lark", GRAMMAR)
    assert tool.schema["required"] == ["input"]
    assert tool.schema["properties"]["input"]["type"] == "string"
    assert CUSTOM_RESPONSES["description"] in tool.description
    assert GRAMMAR in tool.description


@pytest.mark.parametrize("provider", OTHERS)
@TEXTS
def test_every_other_vendor_is_told_of_functions(provider: str, text: str) -> None:
    request = responses(
        input=[
            {"role": "user", "content": "go"},
            {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": text},
            {"type": "function_call", "call_id": "call_2", "name": "shell", "arguments": '{"a":1}'},
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"},
            {"type": "function_call_output", "call_id": "call_2", "output": "ran"},
        ],
        tool_choice={"type": "custom", "name": "apply_patch"},
    )
    assert not (request.unmapped)
    assert not (request.features)
    assert not (request.foreign_tools)
    body = json.dumps(written(provider, request), ensure_ascii=False)
    assert "custom" not in body
    assert json.dumps(GRAMMAR)[1:-1] in body
    back = _as_client(provider, request)
    calls = [part for message in back.messages for part in message.parts if isinstance(part, canon.ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("apply_patch", {"input": text}), ("shell", {"a": 1})]


def _as_client(provider: str, request: canon.Request) -> canon.Request:
    """The provider's body as a client of that dialect would have written it."""
    body = json.dumps(written(provider, request)).encode()
    sibling = {"anthropic-vertex": "anthropic-messages", "anthropic-bedrock": "anthropic-messages"}.get(provider, provider)
    if sibling != provider:
        body = json.dumps({**json.loads(body), "model": "m"}).encode()
    return DIALECTS[sibling].read_request(body, Call("m", False))


@TEXTS
def test_between_the_dialects_that_have_custom_tools_they_stay_what_they_are(text: str) -> None:
    asked = responses(
        input=[
            {"role": "user", "content": "go"},
            {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": text},
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "done"}]},
        ],
        tool_choice={"type": "custom", "name": "apply_patch"},
    )
    told = written("openai-chat", asked, custom_tools=True)
    assert told["tools"][0] == CUSTOM_CHAT
    assert told["tool_choice"] == {"type": "custom", "custom": {"name": "apply_patch"}}
    assert told["messages"][1]["tool_calls"] == [{"id": "call_1", "type": "custom", "custom": {"name": "apply_patch", "input": text}}]
    back = written("openai-responses", DIALECTS["openai-chat"].read_request(json.dumps(told).encode()))
    assert back["tools"][0] == CUSTOM_RESPONSES
    assert back["tool_choice"] == {"type": "custom", "name": "apply_patch"}
    assert back["input"][1:] == [
        {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": text},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"},
    ]


@pytest.mark.parametrize(("dialect", "request_of"), [("openai-responses", responses), ("openai-chat", chat)])
def test_a_request_to_its_own_dialect_keeps_them_unless_the_target_has_none(dialect: str, request_of: Any) -> None:
    request = request_of(service_tier="flex")
    assert written(dialect, request)["tools"][0]["type"] == "custom"
    assert written(dialect, request.edited())["tools"][0]["type"] == "custom"
    told = written(dialect, request, custom_tools=False)
    assert [tool["type"] for tool in told["tools"]] == ["function"] * len(request.tools)
    assert told["service_tier"] == "flex"


@pytest.mark.parametrize(
    ("model", "kind"),
    [("gpt-5.2-codex", "custom"), ("gpt-4o", "function"), ("openai/gpt-4.1", "function"), ("o3", "function"), ("my-gpt-4", "custom")],
)
def test_models_that_are_older_than_custom_tools(model: str, kind: str) -> None:
    for provider, request in (("openai-chat", responses()), ("openai-responses", chat())):
        facts = TargetFacts(model, "/", {"custom_tools": True})
        assert json.loads(PROVIDERS[provider].write_request(request, facts).body)["tools"][0]["type"] == kind


def test_formats_that_nobody_knows_stay_with_their_vendor() -> None:
    odd = {"type": "custom", "name": "c", "format": {"type": "sketch"}}
    assert [tool.path for tool in responses(tools=[odd]).foreign_tools] == ["tools.0"]
    odd = {"type": "custom", "custom": {"name": "c", "format": {"type": "sketch"}}}
    assert [tool.path for tool in chat(tools=[odd]).foreign_tools] == ["tools.0"]
    assert responses(tools=[{**CUSTOM_RESPONSES, "defer_loading": True}]).unmapped == ("tools.0.defer_loading",)


# ------------------------------------------------------------------------------------------------ answers


def calls(*said: tuple[str, str]) -> list[canon.Event]:
    """Parallel calls whose fragments interleave."""
    events: list[canon.Event] = [canon.Start("id", "m", 1)]
    events += [canon.ToolCallStart(i, f"call_{i}", name) for i, (name, _) in enumerate(said)]
    longest = max(len(arguments) for _, arguments in said)
    for at in range(0, longest, 7):
        events += [canon.ToolArgumentsDelta(i, piece) for i, (_, text) in enumerate(said) if (piece := text[at : at + 7])]
    return [*events, canon.Stop("tool_use"), canon.End()]


def answered(dialect: str, request: canon.Request, events: Iterable[canon.Event]) -> bytes:
    writer = DIALECTS[dialect].writer(request, Ids())
    return b"".join([*map(writer.emit, events), writer.finish()])


def payloads(stream: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: {")]


@TEXTS
def test_a_responses_client_gets_a_custom_call(text: str) -> None:
    events = calls(("apply_patch", json.dumps({"input": text})), ("shell", '{"a":1}'), ("apply_patch", freeform.arguments("second")))
    document = json.loads(answered("openai-responses", responses(), events))
    expected = [("custom_tool_call", "call_0", text), ("function_call", "call_1", '{"a":1}'), ("custom_tool_call", "call_2", "second")]
    assert [(item["type"], item["call_id"], item.get("input", item.get("arguments"))) for item in document["output"]] == expected
    told = payloads(answered("openai-responses", responses(stream=True), events))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    deltas = [event for event in told if event["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(event["delta"] for event in deltas if event["output_index"] == 0) == text
    assert all(event["delta"] for event in deltas)
    done = [event for event in told if event["type"] == "response.custom_tool_call_input.done"]
    assert [event["input"] for event in done] == [text, "second"]
    closed = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert [(item["type"], item.get("input")) for item in closed if item["type"] == "custom_tool_call"] == [
        ("custom_tool_call", text),
        ("custom_tool_call", "second"),
    ]
    assert {item["id"] for item in closed} == {event["item"]["id"] for event in told if event["type"] == "response.output_item.added"}


@TEXTS
def test_a_chat_client_gets_a_custom_call(text: str) -> None:
    both = chat(tools=[CUSTOM_CHAT, {"type": "function", "function": {"name": "shell"}}])
    events = calls(("apply_patch", json.dumps({"input": text})), ("shell", ""))
    made = json.loads(answered("openai-chat", both, events))["choices"][0]["message"]["tool_calls"]
    assert made == [
        {"id": "call_0", "type": "custom", "custom": {"name": "apply_patch", "input": text}},
        {"id": "call_1", "type": "function", "function": {"name": "shell", "arguments": "{}"}},
    ]
    streaming = chat(tools=[CUSTOM_CHAT, {"type": "function", "function": {"name": "shell"}}], stream=True)
    deltas = [call for chunk in payloads(answered("openai-chat", streaming, events)) for call in _calls_of(chunk)]
    assert "".join(call["custom"]["input"] for call in deltas if call["index"] == 0) == text
    assert deltas[0]["custom"]["name"] == "apply_patch"
    assert deltas[0]["type"] == "custom"
    assert "".join(call["function"]["arguments"] for call in deltas if call["index"] == 1) == "{}"


def _calls_of(chunk: Any) -> list[Any]:
    return [call for choice in chunk["choices"] for call in choice["delta"].get("tool_calls") or ()]


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@TEXTS
def test_custom_calls_of_a_vendor_survive_its_own_answer(dialect: str, stream: bool, text: str) -> None:
    """Writer and reader of the dialects that have them: what a client's writer makes is what the vendor would send."""
    request = responses(stream=stream) if dialect == "openai-responses" else chat(stream=stream)
    body = answered(dialect, request, calls(("apply_patch", freeform.arguments(text)), ("other", '{"b":2}')))
    for most in (1, 50, len(body)) if len(text) < 1000 else (997,):
        reader = PROVIDERS[dialect].reader(request)
        reader.start(200, STREAMED.get(dialect, "text/event-stream") if stream else "application/json")
        events = [event for i in range(0, len(body), most) for event in reader.feed(body[i : i + most])] + reader.finish()
        starts = [(event.index, event.name) for event in events if isinstance(event, canon.ToolCallStart)]
        assert starts == [(0, "apply_patch"), (1, "other")]
        for index, expected in ((0, {"input": text}), (1, {"b": 2})):
            fragments = [event.text for event in events if isinstance(event, canon.ToolArgumentsDelta) and event.index == index]
            assert json.loads("".join(fragments)) == expected
            assert all(fragments)


def test_servers_that_tell_the_input_at_the_end_only() -> None:
    item = {"type": "custom_tool_call", "id": "ctc", "call_id": "c", "name": "apply_patch"}
    done = {"type": "response.output_item.done", "output_index": 0, "item": {**item, "input": "a\nb"}}
    ended = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**item, "input": ""}}
    said = {"type": "response.custom_tool_call_input.done", "output_index": 0, "input": "a\nb"}
    for told in ([done], [added, done], [added, said, done]):
        reader = PROVIDERS["openai-responses"].reader(responses(stream=True))
        reader.start(200, "text/event-stream")
        events = reader.feed("".join(f"data: {json.dumps(event)}\n\n" for event in [*told, ended]).encode())
        assert "".join(event.text for event in events if isinstance(event, canon.ToolArgumentsDelta)) == freeform.arguments("a\nb")
        assert [event.reason for event in events if isinstance(event, canon.Stop)] == ["tool_use"]


def test_a_text_that_ends_early_is_what_came_of_it() -> None:
    events: list[canon.Event] = [
        canon.ToolCallStart(0, "c", "apply_patch"),
        canon.ToolArgumentsDelta(0, '{"input":"half a li'),
        canon.Stop("max_tokens"),
    ]
    document = json.loads(answered("openai-responses", responses(), [canon.Start(), *events, canon.End()]))
    assert (document["status"], document["output"][0]["input"], document["output"][0]["status"]) == (
        "incomplete",
        "half a li",
        "incomplete",
    )
