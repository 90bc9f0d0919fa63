"""Every recorded request is accepted as a client's, and what we make of it is valid for the other vendors' official types."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import anthropic.types.message_create_params as anthropic_params
import msgspec
import openai.types.chat.completion_create_params as openai_params
import openai.types.responses.response_create_params as responses_params
import pytest
from pydantic import TypeAdapter

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ClientProtocolError
from tests import official_types
from tests.conformance.conftest import check_gemini
from tests.official_types import CohereParams

pytestmark = pytest.mark.long


OFFICIAL: dict[str, TypeAdapter[Any]] = {
    "openai-chat": TypeAdapter(openai_params.CompletionCreateParamsNonStreaming | openai_params.CompletionCreateParamsStreaming),
    "openai-responses": TypeAdapter(responses_params.ResponseCreateParamsNonStreaming | responses_params.ResponseCreateParamsStreaming),
    "anthropic-messages": TypeAdapter(anthropic_params.MessageCreateParamsNonStreaming | anthropic_params.MessageCreateParamsStreaming),
    "cohere-chat": TypeAdapter(CohereParams),
}

REFUSED: dict[str, str] = {
    "writer/openai-chat.trac.test-writer-async-chat-tool-calls-legacy.s0": "the body has a trailing comma, so it is not JSON",
    "openai/openai-responses.ddtp.response-with-prompt.s0": "a prompt stored at the vendor names the model, which a gateway routes by",
    "cohere/cohere-chat.ddtp.completion-command-r.s0": "of version 1 of the API",
    "writer/openai-chat.trac.test-writer-async-streaming-chat-tool-calls-legacy.s0": "a replayed tool call without an id",
}
"""Recorded requests that we refuse, each with the reason; their vendors were lenient where nobody else is."""


def body_of(recording: Any) -> bytes:
    """Azure and Vertex name the model in the path, which is another way in than ours: put it into the body."""
    body: bytes = recording.request
    if recording.provider in ("azure", "vertexai") and b'"model"' not in body:
        return b'{"model": "m", ' + body.removeprefix(b"{")
    return body


MODELS = {
    "anthropic-messages": "claude-sonnet-4-5",
    "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere-chat": "command-a-03-2025",
}


def facts(dialect: str) -> TargetFacts:
    return TargetFacts(model=MODELS.get(dialect, "gpt-4o"), path="/", options={})


def validate(dialect: str, body: bytes) -> None:
    """Raises ValidationError. The official types hold `Iterable`s, which pydantic validates only while they are read."""
    if dialect == "gemini-generate-content":
        check_gemini(body)
    elif dialect == "bedrock-converse":
        official_types.validate(dialect, body)
    else:
        drain(OFFICIAL[dialect].validate_python(json.loads(body)))


def drain(value: Any) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            drain(item)
    elif isinstance(value, Iterator | list | tuple):
        for item in value:
            drain(item)


def arguments_of(text: str) -> str:
    """Arguments as comparable text; those that are no object stand under `arguments` where a dialect demands one."""
    value = json.loads(text or "{}")
    if isinstance(value, dict) and set(value) == {"arguments"} and isinstance(value["arguments"], str):
        return str(value["arguments"])
    return json.dumps(value, sort_keys=True)


def unspaced(text: str) -> str:
    """A result that is JSON may travel as what it is, and come back without its white space."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return text


def said(request: canon.Request) -> Counter[tuple[str, ...]]:
    """What a request says to the model, however it is arranged: texts, calls, results, images, files, tools."""
    found: Counter[tuple[str, ...]] = Counter()

    def add(parts: Any) -> None:
        for part in parts:
            match part:
                case canon.Text(text=text) | canon.Refusal(text=text) if text:
                    found["text", unspaced(text)] += 1
                case canon.ToolCall():
                    found["call", part.name, arguments_of(part.arguments)] += 1
                case canon.ToolResult():
                    found["result",] += 1
                    add(part.parts)
                case canon.Image(url=url) | canon.Document(url=url) if url is not None:
                    found["file", url] += 1  # an address does not always tell what is there
                case canon.Image():
                    found["image", part.data or ""] += 1
                case canon.Document() if part.text is None:
                    found["document", part.data or ""] += 1
                case canon.Document():
                    found["text", part.text or ""] += 1
                case _:
                    pass

    add(request.system)
    for message in request.messages:
        add(message.parts)
    for tool in request.tools:
        found["tool", tool.name, tool.description or ""] += 1
    return found


def missing(before: canon.Request, after: canon.Request) -> list[tuple[str, ...]]:
    """What `after` no longer says. A text document may have become a text with its title in front."""
    kept = said(after)
    texts = [item[1] for item in kept if item[0] == "text"]
    choice = before.tool_choice
    # Said by offering none, or this one alone.
    by_offer = choice is not None and {"none": [], "named": [choice.name]}.get(choice.mode) == [tool.name for tool in after.tools]
    lost = [item for item in said(before) - kept if not (by_offer and item[0] == "tool")]
    return [item for item in lost if not (item[0] == "text" and any(item[1] in text for text in texts))]


def test_recorded_requests_are_accepted_and_translate(recordings: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    asked = [r for r in recordings if r.request is not None]
    refused: dict[str, str] = {}
    unfit: Counter[str] = Counter()
    invalid: list[str] = []
    translated = 0
    for recording in asked:
        dialect = DIALECTS[recording.api]
        try:
            request = dialect.read_request(body_of(recording), Call("m", recording.stream))
        except ClientProtocolError as error:
            refused[recording.name] = str(error)
            continue
        again = json.loads(dialect.write_request(request, facts(dialect.name)).body)
        original = json.loads(body_of(recording))
        for key in set(again) | set(original):
            if key not in ("model", "stream_options"):
                assert again.get(key) == original.get(key), f"{recording.name}: {key} changed in its own dialect"
        for other in (other for other in DIALECTS.values() if other is not dialect):
            try:
                provider = other.write_request(request, facts(other.name))
            except canon.Unfit as error:
                unfit[f"{recording.api} for {other.name} {error.field.split('.')[0]}: {error.message}"] += 1
                continue
            translated += 1
            try:
                validate(other.name, provider.body)
            except ValueError as error:
                invalid.append(f"{recording.name} for {other.name}: {str(error)[:200]}")
                continue
            if lost := missing(request, other.read_request(provider.body, Call("m"))):
                invalid.append(f"{recording.name} for {other.name}: lost {lost[:3]}")
    with capsys.disabled():
        print(
            f"\nconformance: {len(asked)} recorded requests, {len(asked) - len(refused)} accepted, {translated} translated and valid, "
            f"{sum(unfit.values())} unfit for another dialect, {time.monotonic() - began:.1f} s"
        )
        for reason, count in unfit.most_common():
            print(f"  unfit {count}× {reason}")
        for name, reason in refused.items():
            print(f"  refused {name}: {reason}{'' if name in REFUSED else '  UNEXPECTED'}")
    assert len(asked) >= 600
    assert not invalid, "\n".join(invalid[:20])
    assert set(refused) == set(REFUSED)
    assert len(refused) <= 0.01 * len(asked)


def test_translated_requests_survive_an_edit(recordings: list[Any]) -> None:
    """A request that the gateway changed is written from its meaning; that must be valid in its own dialect too."""
    checked = 0
    for recording in recordings:
        if recording.request is None or recording.status != 200:
            continue
        dialect = DIALECTS[recording.api]
        try:
            request = dialect.read_request(body_of(recording), Call("m", recording.stream))
        except ClientProtocolError:
            continue
        edited = request.edited(model="another")
        body = dialect.write_request(edited, facts(dialect.name)).body
        back = dialect.read_request(body, Call("m"))
        assert not missing(request, back), recording.name
        knobs = msgspec.structs.replace(request.sampling, top_k=back.sampling.top_k, top_p=back.sampling.top_p)
        assert back.sampling.top_k in (None, request.sampling.top_k)
        assert back.sampling == knobs or "thinking" in json.loads(body), recording.name
        checked += 1
    assert checked >= 500
