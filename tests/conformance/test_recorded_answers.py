"""Every recorded answer keeps its meaning: read by our reader, written in every dialect, decoded by the official SDKs."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.eventstream import CONTENT_TYPE
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ProviderProtocolError
from tests.conformance.ledger import Ledger

pytestmark = pytest.mark.long

CANON = {
    "openai-chat": {"stop": "end", "length": "max", "tool_calls": "tool", "function_call": "tool", "content_filter": "filter"},
    "openai-responses": {"completed": "end", "max_output_tokens": "max", "content_filter": "filter"},
    "anthropic-messages": {
        "end_turn": "end",
        "stop_sequence": "end",
        "pause_turn": "end",
        "max_tokens": "max",
        "tool_use": "tool",
        "refusal": "filter",
    },
    "bedrock-converse": {
        "end_turn": "end",
        "stop_sequence": "end",
        "max_tokens": "max",
        "tool_use": "tool",
        "guardrail_intervened": "filter",
        "content_filtered": "filter",
    },
    "cohere-chat": {"COMPLETE": "end", "STOP_SEQUENCE": "end", "MAX_TOKENS": "max", "TOOL_CALL": "tool", "ERROR": "filter"},
}
WORDS = {
    "openai-chat": {"end": "stop", "max": "length", "tool": "tool_calls", "filter": "content_filter"},
    "openai-responses": {"end": "completed", "max": "max_output_tokens", "tool": "completed", "filter": "content_filter"},
    "anthropic-messages": {"end": "end_turn", "max": "max_tokens", "tool": "tool_use", "filter": "refusal"},
    "gemini-generate-content": {"end": "STOP", "max": "MAX_TOKENS", "tool": "STOP", "filter": "SAFETY"},
    "bedrock-converse": {"end": "end_turn", "max": "max_tokens", "tool": "tool_use", "filter": "content_filtered"},
    "cohere-chat": {"end": "COMPLETE", "max": "MAX_TOKENS", "tool": "TOOL_CALL", "filter": "ERROR"},
}
STOPPED = {"anthropic-messages": "stop_sequence", "bedrock-converse": "stop_sequence", "cohere-chat": "STOP_SEQUENCE"}
"""What the dialects that have a word for it call the end at a stop sequence."""


IN_WORDS = ("openai-responses",)
"""Where a refusal in the model's own words is a completed answer."""

STREAMED = {"bedrock-converse": CONTENT_TYPE}
"""Content types of streams that are not SSE."""

EXCEPTIONS: dict[str, str] = {
    "anthropic/anthropic-messages.verc.anthropic-tool-search-bm25.1.chunks.stream": "the fixture holds two answers",
    "anthropic/anthropic-messages.verc.anthropic-tool-search-deferred-bm25.chunks.stream": "the fixture holds three answers",
    "openai/openai-responses.verc.openai-reasoning-encrypted-content.1.chunks.stream": "the fixture holds two answers",
    "openai/openai-responses.verc.openai-shell-container.1.chunks.stream": "shortened by hand: its deltas say less than its items",
    "openai/openai-responses.pyd.openai-responses.openai-responses-model-mcp-list-tools-stream-backfills-missing-results.s0": (
        "cut by hand: two of its items are never done"
    ),
    "openai/openai-responses.pyd.openai-responses.background-mode-with-tool-vcr.s0": "still queued: only in the background, which is unfit",
}
"""Recordings whose meaning is knowingly not equal, each with the reason."""


class Ids:
    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def now(self) -> int:
        return 1_700_000_000


def read(recording: Any, pieces: list[bytes] | None = None) -> list[canon.Event]:
    reader = DIALECTS[recording.api].reader(asked(recording.api, recording.stream))
    reader.start(200, STREAMED.get(recording.api, "text/event-stream; charset=utf-8") if recording.stream else "application/json")
    events: list[canon.Event] = []
    for piece in pieces if pieces is not None else [recording.body]:
        events += reader.feed(piece)
    return events + reader.finish()


def asked(dialect: str, stream: bool) -> canon.Request:
    return canon.Request(dialect=dialect, model="m", messages=(), stream=stream, include_usage=True)


def write(dialect: str, stream: bool, events: list[canon.Event]) -> bytes:
    writer = DIALECTS[dialect].writer(asked(dialect, stream), Ids())
    return b"".join(writer.emit(event) for event in events) + writer.finish()


def expected(meaning: Any, api: str, client: str) -> Any:
    """What a user of `client` should see of an answer that the vendor's SDK decodes as `meaning`."""
    if client == api:
        if api == "openai-chat":
            return replace(meaning, stop={"eos": "stop", None: "stop"}.get(meaning.stop, meaning.stop))  # Together's word, and none
        return meaning
    if meaning.stop is not None and meaning.stop == STOPPED.get(api) and client in STOPPED:
        usage = meaning.usage and (*meaning.usage[:3], 0) if client == "bedrock-converse" else meaning.usage
        return replace(meaning, stop=STOPPED[client], usage=usage)
    stop = CANON[api].get(meaning.stop or "", "end")
    if stop == "end" and (api, client) != ("anthropic-messages", "openai-chat"):
        # A vendor whose own word does not tell: the answer does. A refusal in its own words is a completed response.
        stop = "tool" if meaning.calls else "filter" if meaning.refusal and client not in IN_WORDS else stop
    if client == "bedrock-converse" and meaning.usage is not None:
        meaning = replace(meaning, usage=(*meaning.usage[:3], 0))  # it does not count reasoning
    if client in ("anthropic-messages", "gemini-generate-content", "bedrock-converse", "cohere-chat"):
        meaning = replace(meaning, text=meaning.text + meaning.refusal, refusal="")
    if client == "gemini-generate-content" and meaning.usage is not None:
        read, cached, output, reasoning = meaning.usage
        meaning = replace(meaning, usage=(read, cached, max(output, reasoning), reasoning))  # reasoning stands beside the rest there
    if client == "gemini-generate-content" and meaning.stop is None and not meaning.calls:
        return replace(meaning, stop="OTHER")  # the vendor did not say why
    return replace(meaning, stop=WORDS[client][stop])


def differences(wanted: Any, got: Any, same: bool) -> list[str]:
    if wanted.error is not None:
        return [] if got.error is not None else [f"an error ({wanted.error}) became an answer"]
    found = []
    for name in ("text", "reasoning", "refusal", "stop", "usage"):
        a, b = getattr(wanted, name), getattr(got, name)
        if a != b and not (name == "usage" and a is None):
            found.append(f"{name}: {a!r} became {b!r}"[:300])
    if [(c.name, c.arguments) for c in wanted.calls] != [(c.name, c.arguments) for c in got.calls]:
        found.append(f"calls: {wanted.calls!r} became {got.calls!r}"[:400])
    if not got.coherent:
        found.append("the stream contradicts itself")
    if any(w.id and w.id != g.id for w, g in zip(wanted.calls, got.calls, strict=False)):
        found.append("the id of a call changed")
    if same and (wanted.signatures, wanted.blocks) != (got.signatures, got.blocks):
        found.append(f"signatures or blocks changed: {wanted.blocks} became {got.blocks}")
    return found


def check(recording: Any, sdks: Any) -> dict[str, list[str]]:
    """What differs, by client dialect; those for which such a request is unfit are left out."""
    vendor = sdks.decode(recording.api, recording.body, recording.stream)
    try:
        events = read(recording)
    except ProviderProtocolError as error:
        return {client: [] if vendor.error is not None else [f"our reader refuses it: {error}"] for client in DIALECTS}
    found: dict[str, list[str]] = {}
    failed = [event.failure for event in events if isinstance(event, canon.InStreamError)]
    for client in DIALECTS:
        if vendor.choices > 1 and client != "openai-chat":
            continue  # such a request is unfit for them
        problems = found.setdefault(client, [])
        for stream in (True, False):
            # Nothing of a whole answer was sent when the error came, so that it goes out with its own status.
            status = failed[0].status if failed and not stream else 200
            got = sdks.decode(client, write(client, stream, events), stream, status)
            wanted = expected(vendor, recording.api, client)
            problems += [f"{client}{' streamed' if stream else ''}: {d}" for d in differences(wanted, got, client == recording.api)]
    return found


def test_meaning_of_every_recorded_answer(recordings: list[Any], sdks: Any, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    answers = [r for r in recordings if r.status == 200]
    failed: dict[str, list[str]] = {}
    for recording in answers:
        found = check(recording, sdks)
        for client, problems in found.items():
            ledger.add(recording.api, client, equal=not problems, excepted=recording.name in EXCEPTIONS)
        if different := [problem for problems in found.values() for problem in problems]:
            failed[recording.name] = different
    unexpected = {name: problems for name, problems in failed.items() if name not in EXCEPTIONS}
    with capsys.disabled():
        print(
            f"\nconformance: {len(answers)} recorded answers × {len(DIALECTS)} client dialects × streamed and whole, "
            f"{len(answers) - len(failed)} equal in meaning, {len(failed)} not, {time.monotonic() - began:.1f} s"
        )
        for name, reason in EXCEPTIONS.items():
            print(f"  exception {name}: {reason}")
        for name, problems in unexpected.items():
            print(f"  FAILED {name}: {problems[:3]}")
    assert len(answers) >= 600
    assert not unexpected
    assert len(failed) <= 0.01 * len(answers)
    assert set(EXCEPTIONS) <= set(failed), "an exception that no longer fails must go"
    ledger.settle()


def test_any_split_of_a_recording_gives_the_same_events(recordings: list[Any]) -> None:
    rng = random.Random(7)
    streams = [r for r in recordings if r.status == 200 and r.stream]
    assert len(streams) >= 150
    for recording in streams:
        body = recording.body
        try:
            whole = read(recording)
        except ProviderProtocolError:
            whole = []
        cuts = sorted(rng.sample(range(1, len(body)), min(40, len(body) - 1)))
        splits = [[body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]]
        if len(body) < 5000:
            splits.append([body[i : i + 1] for i in range(len(body))])
        for pieces in splits:
            try:
                assert read(recording, pieces) == whole, recording.name
            except ProviderProtocolError:
                assert not whole, recording.name


def test_recorded_errors_keep_their_class(recordings: list[Any], sdks: Any) -> None:
    errors = [r for r in recordings if r.status >= 400]
    assert len(errors) >= 20
    for recording in errors:
        failure = DIALECTS[recording.api].read_error(recording.status, recording.headers, recording.body)
        vendor = sdks.decode(recording.api, recording.body, False, recording.status)
        for client, dialect in DIALECTS.items():
            got = sdks.decode(client, dialect.write_error(failure), False, failure.status)
            assert got.error_status == recording.status, recording.name
            assert got.error == vendor.error, recording.name
