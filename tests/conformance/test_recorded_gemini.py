"""Every recorded Gemini answer keeps its meaning: what google-genai decodes from the vendor's bytes equals what the clients' SDKs
decode from what we made of them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.gemini_generate_content.names import camel
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError
from tests.conformance.conftest import ELIDED, Meaning, Recording, check_gemini, gemini_meaning
from tests.conformance.ledger import Ledger
from tests.conformance.test_recorded_requests import missing
from tests.siblings import SIBLINGS

pytestmark = pytest.mark.long

GEMINI = PROVIDERS["gemini-generate-content"]
EXCEPTIONS = {
    "gemini/gemini-generate.pris.create-cache-1": "a created cache",
    "gemini/gemini-generate.verc.google-429-retry-info": "an error whose fixture has no status",
    "gemini/gemini-generate.pris.stream-with-tools-1.stream": "written by hand: a signature that is no base64, which google-genai refuses",
    "vertexai/gemini-generate.otel.test-generate-content-all-events.s0": "enumerations as numbers, which google-genai refuses",
    "vertexai/gemini-generate.otel.test-generate-content-with-files.s0": "enumerations as numbers, which google-genai refuses",
}
"""Recordings that are no answer or that the vendor's SDK cannot decode."""

G, B, C = "gemini-generate-content", "bedrock-converse", "cohere-chat"
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
FILTERED = {CHAT: "content_filter", RESPONSES: "content_filter", MESSAGES: "refusal", B: "content_filtered", C: "ERROR"}
STOPS = {
    "STOP": {CHAT: "stop", RESPONSES: "completed", MESSAGES: "end_turn", G: "STOP", B: "end_turn", C: "COMPLETE"},
    "MAX_TOKENS": {
        CHAT: "length",
        RESPONSES: "max_output_tokens",
        MESSAGES: "max_tokens",
        G: "MAX_TOKENS",
        B: "max_tokens",
        C: "MAX_TOKENS",
    },
    "SAFETY": {**FILTERED, G: "SAFETY"},
    "MODEL_ARMOR": {**FILTERED, G: "MODEL_ARMOR"},
}
CALLED = {CHAT: "tool_calls", RESPONSES: "completed", MESSAGES: "tool_use", G: "STOP", B: "tool_use", C: "TOOL_CALL"}


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
                return gemini_meaning(self._client.models.generate_content_stream(model="m", contents="?"))
            return gemini_meaning([self._client.models.generate_content(model="m", contents="?")])
        except genai_errors.APIError as error:
            return Meaning(error=type(error).__name__, error_status=error.code)


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
    if client == B and wanted.usage is not None:
        wanted = replace(wanted, usage=(*wanted.usage[:3], 0))  # it does not count reasoning
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
        check_gemini(written.body)
        made += 1
    assert made >= 300
    assert unfit <= 0.25 * (made + unfit)


def test_recorded_requests_are_accepted_and_writable_for_every_vendor(gemini_recordings: list[Recording]) -> None:
    """Nothing said is lost, or the target is unfit; the client's own body survives for its own vendor."""
    accepted, made, unfit, refused = 0, 0, Counter[str](), {}
    for recording in gemini_recordings:
        if recording.request is None or recording.request == b"null" or recording.name in EXCEPTIONS or recording.status == 400:
            continue
        try:
            request = DIALECTS["gemini-generate-content"].read_request(recording.request, Call("m", recording.stream))
        except ClientProtocolError as error:
            refused[recording.name] = str(error)
            continue
        accepted += 1
        own = msgspec.json.decode(GEMINI.write_request(request, TargetFacts("m", "/models/{model}:generateContent")).body)
        sent = camel(msgspec.json.decode(recording.request), "")
        assert own == {key: value for key, value in sent.items() if key != "model"}, recording.name
        for name, provider in PROVIDERS.items():
            asked = request.edited() if name == request.dialect else request
            try:
                written = provider.write_request(asked, TargetFacts(MODEL_OF.get(name, "m"), "/"))
            except canon.Unfit as error:
                unfit[f"{name}: {error}"[:120]] += 1
                continue
            lost = missing(request, provider_reads(name, written.body))
            assert not lost, f"{recording.name} for {name}: {lost[:3]}"
            made += 1
    print(f"{accepted} accepted, {made} written, unfit {unfit}, refused {refused}")
    assert not refused
    assert accepted >= 90
    assert made >= 3 * accepted


MODEL_OF = {"anthropic-messages": "claude-sonnet-4-5", "openai-chat": "gpt-4o", "openai-responses": "gpt-4o", G: "gemini-3-flash"}


def provider_reads(name: str, body: bytes) -> canon.Request:
    if (sibling := SIBLINGS.get(name)) is not None:  # the path says the model
        return DIALECTS[sibling.of].read_request(b'{"model":"m",' + body.removeprefix(b"{"))
    return DIALECTS[name].read_request(body, Call("m"))


def test_an_error_inside_a_200_is_one(gemini_recordings: list[Recording]) -> None:
    (recording,) = [r for r in gemini_recordings if r.name.endswith("429-retry-info")]
    (event,) = read(recording)
    assert isinstance(event, canon.InStreamError)
    assert event.failure == GEMINI.read_error(429, {}, recording.body)
    assert (event.failure.kind, event.failure.status, event.failure.retry_after) == ("rate_limited", 429, 34.4)
