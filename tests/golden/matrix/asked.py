"""Features that a request can ask for: each is asked in every client dialect and looked for in every provider's request.

A client's body is written by the client dialect's own provider side, so a new dialect needs nothing here. What it cannot write is
no feature of that dialect ("none"). A feature that a provider's request neither holds nor names as dropped is an error of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from control_plane.dialects import canon as c
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.foreign_reasoning import settled
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.official_types import OFFICIAL, validate

MODELS: Final = {
    "openai-chat": "gpt-5",
    "openai-responses": "gpt-5",
    "anthropic-messages": "claude-sonnet-5",
    "anthropic-vertex": "claude-sonnet-5",
    "anthropic-bedrock": "anthropic.claude-sonnet-5-v1:0",
    "gemini-generate-content": "gemini-3-flash",
    "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere-chat": "command-a-03-2025",
}
"""A current model of each vendor; some of what a writer does depends on its name."""

SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL: Final = c.Tool("get_weather", "Weather of a city", SCHEMA)
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF: Final = "JVBERi0xLjQK"
PICTURE: Final = c.Image(media_type="image/png", data=PIXEL)
USER: Final = c.Message("user", (c.Text("question"),), "messages.0")


def ask(*parts: c.Part, **fields: Any) -> c.Request:
    messages = (c.Message("user", (c.Text("question"), *parts), "messages.0"),)
    return c.Request(**{"dialect": "probe", "model": "m", "messages": messages, "sampling": c.Sampling(max_tokens=2000), **fields})


def sampled(**knobs: Any) -> c.Request:
    return ask(sampling=c.Sampling(max_tokens=2000, **knobs))


def loop(*results: c.Part) -> c.Request:
    """A turn whose calls are answered, one result for each of `results`."""
    calls = tuple(c.ToolCall(f"call_{i}", "get_weather", json.dumps({"city": f"c{i}"})) for i, _ in enumerate(results))
    answers = tuple(c.ToolResult(call.id, (result,)) for call, result in zip(calls, results, strict=True))  # type: ignore[arg-type]
    messages = (USER, c.Message("assistant", calls, "messages.1"), c.Message("tool", answers, "messages.2"))
    return ask(messages=messages, tools=(TOOL,))


def parts_of(request: c.Request) -> Iterator[c.Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, c.ToolResult):
                yield from part.parts


def _calls(request: c.Request) -> object:
    calls = [(p.name, json.loads(p.arguments or "{}")) for p in parts_of(request) if isinstance(p, c.ToolCall)]
    return calls, [p.text for p in parts_of(request) if isinstance(p, c.Text) and p.text.startswith("sunny")]


def _images(request: c.Request) -> object:
    return [p.data or p.url for p in parts_of(request) if isinstance(p, c.Image)]


def _documents(request: c.Request) -> object:
    return [p.data or p.url for p in parts_of(request) if isinstance(p, c.Document)]


def _choice(request: c.Request) -> object:
    """A call that is forced when a single tool is offered is a forced call of that tool, which is how some dialects say it."""
    choice = request.tool_choice
    if choice is not None and choice.mode == "required" and len(request.tools) == 1:
        return "named", request.tools[0].name
    return choice and (choice.mode, choice.name)


def _forbidden(request: c.Request) -> object:
    """No tool may be called: said, or none offered where a dialect cannot say it."""
    return not request.tools or (request.tool_choice is not None and request.tool_choice.mode == "none")


def _format(request: c.Request) -> object:
    return request.response_format and (request.response_format.kind, request.response_format.schema)


def _thinks(request: c.Request) -> object:
    wanted = request.reasoning
    return wanted is not None and wanted.enabled is not False and wanted.effort != "none"


def _marks(request: c.Request) -> object:
    return sum(getattr(part, "cache", None) is not None for part in parts_of(request)) > 0


def _knob(*names: str) -> Callable[[c.Request], object]:
    return lambda request: [getattr(request.sampling, name) for name in names]


@dataclass(frozen=True, slots=True)
class Asked:
    name: str
    request: c.Request
    seen: Callable[[c.Request], object]


def _tools(**choice: Any) -> c.Request:
    return ask(tools=(TOOL,), tool_choice=c.ToolChoice(**choice) if choice else None)


ASKED: Final = (
    Asked("system prompt", ask(system=(c.Text("be brief"),)), lambda r: [t.text for t in r.system]),
    Asked("tools", _tools(), lambda r: [(t.name, t.description, t.schema) for t in r.tools]),
    Asked("tool results", loop(c.Text("sunny 0")), _calls),
    Asked("parallel tool results", loop(c.Text("sunny 0"), c.Text("sunny 1")), _calls),
    Asked("images in tool results", loop(PICTURE), _images),
    Asked("any tool forced", _tools(mode="required"), _choice),
    Asked("named tool forced", _tools(mode="named", name="get_weather"), _choice),
    Asked("no tool allowed", _tools(mode="none"), _forbidden),
    Asked("one call at most", _tools(mode="auto", parallel=False), lambda r: r.tool_choice and r.tool_choice.parallel),
    Asked("strict tools", ask(tools=(msgspec.structs.replace(TOOL, strict=True),)), lambda r: [bool(t.strict) for t in r.tools]),
    Asked("JSON schema", ask(response_format=c.ResponseFormat("json_schema", SCHEMA, "answer")), _format),
    Asked("JSON without a schema", ask(response_format=c.ResponseFormat("json")), _format),
    Asked("images", ask(PICTURE), _images),
    Asked("images by URL", ask(c.Image(url="https://images.example.com/a.png")), _images),
    Asked("PDF documents", ask(c.Document(media_type="application/pdf", data=PDF, title="a.pdf")), _documents),
    Asked("documents by URL", ask(c.Document(url="https://files.example.com/a.pdf")), _documents),
    Asked("audio", ask(c.Audio("UklGRg==", "wav")), lambda r: [p.data for p in parts_of(r) if isinstance(p, c.Audio)]),
    Asked("reasoning", ask(reasoning=c.Reasoning(effort="medium")), _thinks),
    Asked("cache markers", ask(c.Text("long", c.CacheMark())), _marks),
    Asked("limit of tokens", sampled(), _knob("max_tokens")),
    Asked("temperature", sampled(temperature=0.5), _knob("temperature")),
    Asked("top_p", sampled(top_p=0.5), _knob("top_p")),
    Asked("top_k", sampled(top_k=5), _knob("top_k")),
    Asked("stop sequences", sampled(stop=("END", "STOP")), _knob("stop")),
    Asked("more than five stop sequences", sampled(stop=tuple("abcdefg")), _knob("stop")),
    Asked("seed", sampled(seed=7), _knob("seed")),
    Asked("penalties", sampled(presence_penalty=0.5, frequency_penalty=0.5), _knob("presence_penalty", "frequency_penalty")),
    Asked("log probabilities", sampled(logprobs=True, top_logprobs=2), _knob("logprobs", "top_logprobs")),
    Asked("several choices", sampled(n=2), _knob("n")),
    Asked("user", ask(user="user-1"), lambda r: r.user),
    Asked("metadata", ask(metadata={"team": "a"}), lambda r: dict(r.metadata)),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`word`: yes, partly (dropped and named), no (unfit: the next target or 400), none (the dialect has no such thing)."""

    word: str
    named: tuple[str, ...] = ()


def target(provider: str) -> TargetFacts:
    return TargetFacts(MODELS.get(provider, "m"), "/v1/{model}:generateContent", {})


def _read(dialect: str, body: bytes, stream: bool = False) -> c.Request:
    """As a client's; `Call` is for dialects whose path names the model."""
    return DIALECTS[dialect].read_request(body, Call("m", stream))


def as_client(client: str, probe: Asked, stream: bool) -> c.Request | None:
    """The probe as a client of that dialect sends it; None when the dialect has no such thing."""
    try:
        written = DIALECTS[client].write_request(msgspec.structs.replace(probe.request, stream=stream), target(client))
    except c.Unfit:
        return None
    read = _read(client, written.body, stream)
    return None if probe.seen(read) != probe.seen(probe.request) else read


def outcome(client: str, provider: str, probe: Asked, stream: bool) -> Outcome:
    """What becomes of the feature between the two. AssertionError when it is lost without a word, or the provider's request is invalid."""
    request = as_client(client, probe, stream)
    if request is None:
        return Outcome("none")
    if client == provider:
        return Outcome("yes")  # the passthrough lane: the body goes on as it is
    dialect, facts = PROVIDERS[provider], target(provider)
    try:
        fitted, _ = settled(request, dialect.replay(facts), "strip")
        written = dialect.write_request(fitted, facts)
    except c.Unfit as unfit:
        name = request.named(unfit.field)
        assert is_of(name, request), f"{client} → {provider}, {probe.name}: {name} is no word of the client's"
        return Outcome("no", (name,))
    if provider in OFFICIAL:
        validate(provider, written.body)
    named = tuple(map(request.named, written.dropped))
    strange = [name for name in named if not is_of(name, request)]
    assert not strange, f"{client} → {provider}, {probe.name}: {strange} are no words of the client's"
    if named:
        return Outcome("partly", named)
    carried = provider not in DIALECTS or probe.seen(_read(provider, written.body)) == probe.seen(request)
    assert carried, f"{client} → {provider}: {probe.name} is lost without a word: {written.body!r}"
    return Outcome("yes")


def is_of(name: str, request: c.Request) -> bool:
    """Whether the client finds this place in its own body: a path whose first step is there, or a key that stands anywhere."""
    assert request.raw is not None
    return name.partition(".")[0] in request.raw or _has(request.raw, name)


def _has(value: object, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_has(inner, key) for inner in value.values())
    return isinstance(value, list) and any(_has(inner, key) for inner in value)
