"""Every recorded Gemini answer keeps its meaning: what google-genai decodes from the vendor's bytes equals what the clients' SDKs
decode from what we made of them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from control_plane.dialects import canon
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError
from tests.conformance.conftest import Call, Meaning, Recording
from tests.conformance.ledger import Ledger

pytestmark = pytest.mark.long

GEMINI = PROVIDERS["gemini-generate-content"]
ELIDED = re.compile(rb"\[elided \d+ chars sha256=\w+\]")
"""What stands for long base64 in the recordings; google-genai decodes base64."""

EXCEPTIONS = {
    "gemini/gemini-generate.pris.create-cache-1": "a created cache",
    "gemini/gemini-generate.verc.google-429-retry-info": "an error whose fixture has no status",
    "gemini/gemini-generate.pris.stream-with-tools-1.stream": "written by hand: a signature that is no base64, which google-genai refuses",
    "vertexai/gemini-generate.otel.test-generate-content-all-events.s0": "enumerations as numbers, which google-genai refuses",
    "vertexai/gemini-generate.otel.test-generate-content-with-files.s0": "enumerations as numbers, which google-genai refuses",
}
"""Recordings that are no answer or that the vendor's SDK cannot decode."""

STOPS = {
    "STOP": {"openai-chat": "stop", "openai-responses": "completed", "anthropic-messages": "end_turn"},
    "MAX_TOKENS": {"openai-chat": "length", "openai-responses": "max_output_tokens", "anthropic-messages": "max_tokens"},
    "SAFETY": {"openai-chat": "content_filter", "openai-responses": "content_filter", "anthropic-messages": "refusal"},
    "MODEL_ARMOR": {"openai-chat": "content_filter", "openai-responses": "content_filter", "anthropic-messages": "refusal"},
}
CALLED = {"openai-chat": "tool_calls", "openai-responses": "completed", "anthropic-messages": "tool_use"}


class Ids:
    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def now(self) -> int:
        return 1_700_000_000


class Vendor:
    """google-genai's own client on a mock transport."""

    def __init__(self) -> None:
        self._answer = httpx.Response(200)
        client = httpx.Client(transport=httpx.MockTransport(lambda _: self._answer))
        self._client = genai.Client(api_key="k", http_options=types.HttpOptions(httpx_client=client))

    def decode(self, recording: Recording) -> Meaning:
        kind = "text/event-stream" if recording.stream else "application/json"
        body = ELIDED.sub(b"QUJD", recording.body)
        self._answer = httpx.Response(recording.status, headers={"content-type": kind}, content=body)
        try:
            if recording.stream:
                return folded(self._client.models.generate_content_stream(model="m", contents="?"))
            return folded([self._client.models.generate_content(model="m", contents="?")])
        except genai_errors.APIError as error:
            return Meaning(error=type(error).__name__, error_status=error.code)


def folded(answers: Iterable[types.GenerateContentResponse]) -> Meaning:
    meaning = Meaning()
    counts = [0, 0, 0, 0, 0]
    stop = None
    for answer in answers:
        for part in answer.parts or [] if answer.candidates else []:
            call = part.function_call
            if call is not None:
                signed = part.thought_signature
                meaning = replace(
                    meaning,
                    calls=(*meaning.calls, Call(call.id or "", call.name or "", call.args or {})),
                    signatures=meaning.signatures if signed is None else (*meaning.signatures, signed.hex()),
                )
            elif part.thought:
                meaning = replace(meaning, reasoning=meaning.reasoning + (part.text or ""))
            else:
                meaning = replace(meaning, text=meaning.text + (part.text or ""))
        if answer.candidates and answer.candidates[0].finish_reason is not None:
            stop = answer.candidates[0].finish_reason.value
        if answer.prompt_feedback is not None and answer.prompt_feedback.block_reason is not None:
            stop = answer.prompt_feedback.block_reason.value
        if (usage := answer.usage_metadata) is not None:
            seen = (
                usage.prompt_token_count,
                usage.tool_use_prompt_token_count,
                usage.cached_content_token_count,
                usage.candidates_token_count,
                usage.thoughts_token_count,
            )
            counts = [old if new is None else new for old, new in zip(counts, seen, strict=True)]
    prompt, tools, cached, visible, thoughts = counts
    return replace(meaning, stop=stop, usage=(prompt + tools, cached, visible + thoughts, thoughts))


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    return Vendor()


def read(recording: Recording, pieces: list[bytes] | None = None) -> list[canon.Event]:
    asked = canon.Request(dialect="openai-chat", model="m", messages=(), stream=recording.stream, include_usage=True)
    reader = GEMINI.reader(asked)
    reader.start(200, "text/event-stream" if recording.stream else "application/json; charset=UTF-8")
    events: list[canon.Event] = []
    for piece in pieces if pieces is not None else [recording.body]:
        events += reader.feed(piece)
    return events + reader.finish()


def write(dialect: str, stream: bool, events: list[canon.Event]) -> bytes:
    asked = canon.Request(dialect=dialect, model="m", messages=(), stream=stream, include_usage=True)
    writer = DIALECTS[dialect].writer(asked, Ids())
    return b"".join(writer.emit(event) for event in events) + writer.finish()


def answers_of(recordings: list[Recording]) -> list[Recording]:
    """Whole answers and SSE streams; the one array is a test of its own."""
    return [r for r in recordings if r.status == 200 and r.name not in EXCEPTIONS and not r.body.startswith(b"[")]


def differences(wanted: Meaning, got: Meaning, client: str) -> list[str]:
    stop = STOPS[wanted.stop or ""][client]
    if wanted.calls and wanted.stop == "STOP":
        stop = CALLED[client]
    pairs = {
        "text": (wanted.text, got.text),
        "reasoning": (wanted.reasoning, got.reasoning),
        "stop": (stop, got.stop),
        "usage": (wanted.usage, got.usage),
        "calls": ([(c.name, c.arguments) for c in wanted.calls], [(c.name, c.arguments) for c in got.calls]),
        "ids": ([c.id for c in wanted.calls if c.id], [g.id for w, g in zip(wanted.calls, got.calls, strict=False) if w.id]),
    }
    return [f"{name}: {a!r} became {b!r}"[:300] for name, (a, b) in pairs.items() if a != b]


def test_meaning_of_every_recorded_answer(gemini_recordings: list[Recording], vendor: Vendor, sdks: Any, ledger: Ledger) -> None:
    answers = answers_of(gemini_recordings)
    assert len(answers) >= 125
    failed: dict[str, list[str]] = {}
    for recording in answers:
        wanted, events = vendor.decode(recording), read(recording)
        for client in DIALECTS:
            problems = []
            for stream in (True, False):
                got = sdks.decode(client, write(client, stream, events), stream)
                if found := differences(wanted, got, client):
                    problems.append(f"{client}{' streamed' if stream else ''}: {found}")
            ledger.add(GEMINI.name, client, equal=not problems)
            if problems:
                failed.setdefault(recording.name, []).extend(problems)
    assert not failed
    ledger.settle()


def test_an_array_is_read_as_the_stream_that_it_is(gemini_recordings: list[Recording], vendor: Vendor, sdks: Any) -> None:
    """Streams asked for without alt=sse; the SDK cannot read them, so it gets their objects as events."""
    arrays = [r for r in gemini_recordings if r.status == 200 and r.body.startswith(b"[")]
    assert arrays
    for recording in arrays:
        objects = msgspec.json.decode(recording.body)
        framed = b"".join(b"data: %b\n\n" % msgspec.json.encode(item) for item in objects)
        wanted, events = vendor.decode(replace(recording, stream=True, body=framed)), read(recording)
        assert wanted.text
        for client in DIALECTS:
            assert differences(wanted, sdks.decode(client, write(client, False, events), False), client) == []


def test_signatures_of_calls_arrive(gemini_recordings: list[Recording], vendor: Vendor) -> None:
    """In the order of the calls; google-genai gives their bytes, we carry their text."""
    seen = 0
    for recording in answers_of(gemini_recordings):
        calls = [event for event in read(recording) if isinstance(event, canon.ToolCallStart) and event.signature]
        assert {call.origin for call in calls} <= {"gemini-generate-content"}
        decoded = tuple(types.Part.model_validate({"thoughtSignature": call.signature}).thought_signature or b"" for call in calls)
        assert tuple(value.hex() for value in decoded) == vendor.decode(recording).signatures, recording.name
        seen += len(calls)
    assert seen >= 20


def test_any_split_of_a_recording_gives_the_same_events(gemini_recordings: list[Recording]) -> None:
    rng = random.Random(7)
    streams = [r for r in answers_of(gemini_recordings) if r.stream]
    assert len(streams) >= 40
    for recording in streams:
        body, whole = recording.body, read(recording)
        cuts = sorted(rng.sample(range(1, len(body)), min(40, len(body) - 1)))
        splits = [[body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]]
        if len(body) < 5000:
            splits.append([body[i : i + 1] for i in range(len(body))])
        for pieces in splits:
            assert read(recording, pieces) == whole, recording.name


def test_a_stream_cut_anywhere_is_never_complete(gemini_recordings: list[Recording]) -> None:
    """Up to the last event, which says the finish reason."""
    for recording in [r for r in answers_of(gemini_recordings) if r.stream]:
        events = [e for e in recording.body.replace(b"\r\n", b"\n").split(b"\n\n") if e.strip()]
        last = next(i for i, e in enumerate(events) if b'"finishReason"' in e)
        for kept in range(last):
            body = b"\n\n".join(events[:kept]) + b"\n\n"
            with pytest.raises(ProviderProtocolError):
                read(replace(recording, body=body))


def test_recorded_errors_keep_their_class(gemini_recordings: list[Recording], sdks: Any) -> None:
    errors = [r for r in gemini_recordings if r.status >= 400]
    assert len(errors) >= 5
    kinds = {}
    for recording in errors:
        failure = GEMINI.read_error(recording.status, recording.headers, recording.body)
        kinds[recording.name.rpartition("gemini-generate.")[2]] = (recording.status, failure.kind)
        for client, dialect in DIALECTS.items():
            assert sdks.decode(client, dialect.write_error(failure), False, failure.status).error_status == recording.status
    assert sorted(set(kinds.values())) == [(400, "client_fault"), (400, "context_too_long"), (404, "transient"), (429, "rate_limited")]


def test_recorded_requests_of_other_dialects_become_valid_ones(recordings: list[Recording]) -> None:
    """Valid by google-genai's types, which refuse unknown fields; nothing said is lost, or the target is unfit."""
    made, unfit = 0, 0
    for recording in recordings:
        if recording.request is None:
            continue
        try:
            request = DIALECTS[recording.api].read_request(recording.request)
            written = GEMINI.write_request(request, TargetFacts("gemini-3-flash", "/v1beta/models/{model}:generateContent"))
        except canon.Unfit:
            unfit += 1
            continue
        except ClientProtocolError:
            continue
        body = ELIDED.sub(b"QUJD", written.body)
        check_request(msgspec.json.decode(body), body)
        made += 1
    assert made >= 300
    assert unfit <= 0.25 * (made + unfit)


def check_request(body: dict[str, Any], raw: bytes) -> None:
    fields = dict(body)
    config = dict(fields.pop("generationConfig", {}))
    assert fields.pop("contents"), raw
    for content in body["contents"]:
        for part in content["parts"]:
            part.pop("thoughtSignature", None)  # bytes for the SDK, which takes other base64 than the service
        types.Content.model_validate(content)
    if (system := fields.pop("systemInstruction", None)) is not None:
        types.Content.model_validate(system)
    for tool in fields.pop("tools", []):
        types.Tool.model_validate(tool)
    if (choice := fields.pop("toolConfig", None)) is not None:
        types.ToolConfig.model_validate(choice)
    assert not fields
    level = config.get("thinkingConfig", {}).get("thinkingLevel")
    assert level is None or level.upper() in types.ThinkingLevel.__members__
    types.GenerationConfig.model_validate(config)


def test_an_error_inside_a_200_is_one(gemini_recordings: list[Recording]) -> None:
    (recording,) = [r for r in gemini_recordings if r.name.endswith("429-retry-info")]
    (event,) = read(recording)
    assert isinstance(event, canon.InStreamError)
    assert event.failure == GEMINI.read_error(429, {}, recording.body)
    assert (event.failure.kind, event.failure.status, event.failure.retry_after) == ("rate_limited", 429, 34.4)
