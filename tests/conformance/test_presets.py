"""Presets against recorded requests: what we write for a vendor has only top-level fields that the vendor was seen to take.

Recorded requests are what the vendors' users really sent, so they show which name of the output limit a vendor takes and
whether it is asked for usage with `stream_options`. A vendor whose recordings do not show a field proves nothing about it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest

from control_plane.dialects import error_rules, failures
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.canon import InStreamError
from control_plane.dialects.rate_limits import read_names, reset_s
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.spec.presets import load_presets

pytestmark = pytest.mark.long

DATE = "Wed, 19 Aug 2026 14:34:00 GMT"  # of answers that were recorded without one
RECORDED_AS = {"llama.cpp": "llama-cpp", "lmstudio": "lm-studio"}
"""Names of vendors in the recordings that differ from those of presets."""

LIMITS = ("max_tokens", "max_completion_tokens")
BASICS = {"model", "messages", "stream"}

# What every vendor of chat completions documents, and what recordings of some do not happen to show.
DOCUMENTED = {"temperature", "top_p", "stop", "tools", "tool_choice"}

SERVERS = {"llama-cpp", "vllm"}
"""Document top_k as an extension of theirs; their few recordings do not have it."""

CLIENT: dict[str, Any] = {
    "model": "asked",
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "stop_sequences": ["END"],
    "system": "be brief",
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [{"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto"},
}
"""A request of an Anthropic client, which is always translated for these vendors' own dialect."""


class Seen:
    """What the recordings show of one vendor: fields of requests that it answered, and streams that told the usage."""

    def __init__(self) -> None:
        self.fields: Counter[str] = Counter()
        self.streams = 0
        self.asked_usage = 0
        self.told_usage_unasked = 0


@pytest.fixture(scope="module")
def seen(recordings: list[Any]) -> dict[str, Seen]:
    """By preset; only vendors that have one, and only requests that were answered with 200."""
    found: defaultdict[str, Seen] = defaultdict(Seen)
    for recording in recordings:
        name = RECORDED_AS.get(recording.provider, recording.provider)
        if recording.api != "openai-chat" or recording.status != 200 or recording.request is None or name not in load_presets():
            continue
        try:
            body = json.loads(recording.request)
        except ValueError:
            continue  # one recorded body has a trailing comma
        vendor = found[name]
        vendor.fields.update(body.keys())
        if body.get("stream"):
            vendor.streams += 1
            vendor.asked_usage += "stream_options" in body
            vendor.told_usage_unasked += "stream_options" not in body and b'"usage"' in recording.body
    return dict(found)


def written(name: str, stream: bool) -> dict[str, Any]:
    request = DIALECTS["anthropic-messages"].read_request(json.dumps({**CLIENT, "stream": stream}).encode())
    target = TargetFacts(model="m", path="/", options=load_presets()[name].options)
    body: dict[str, Any] = json.loads(DIALECTS["openai-chat"].write_request(request, target).body)
    return body


def test_the_limit_of_an_answer_has_a_name_that_the_vendor_was_seen_to_take(seen: dict[str, Seen]) -> None:
    shown = {name: {limit for limit in LIMITS if vendor.fields[limit]} for name, vendor in seen.items()}
    checked = {name for name, limits in shown.items() if limits}
    assert len(checked) >= 9, checked
    for name in checked:
        used = {limit for limit in LIMITS if limit in written(name, stream=False)}
        assert len(used) == 1, name
        assert used <= shown[name], f"{name}: we write {used}, recorded requests have {shown[name]}"


def test_usage_is_asked_for_as_recorded_requests_do(seen: dict[str, Seen]) -> None:
    checked = {name for name, vendor in seen.items() if vendor.streams}
    assert len(checked) >= 9, checked
    for name in checked:
        vendor = seen[name]
        asks = "stream_options" in written(name, stream=True)
        if not asks:
            assert vendor.told_usage_unasked, f"{name}: we do not ask for usage, and no recorded stream gives it unasked"
        elif name != "vllm":  # recorded streams of vLLM neither ask nor tell; its documentation has the field
            assert vendor.asked_usage, f"{name}: we ask for usage, no recorded request does"


def test_what_we_write_has_only_fields_that_are_recorded_or_documented(seen: dict[str, Seen], capsys: pytest.CaptureFixture[str]) -> None:
    for name, vendor in seen.items():
        unseen = set(written(name, stream=True)) - BASICS - DOCUMENTED - set(vendor.fields)
        if not any(vendor.fields[limit] for limit in LIMITS):
            unseen -= set(LIMITS)
        if not vendor.streams or name == "vllm":
            unseen -= {"stream_options"}
        if name in SERVERS:
            unseen -= {"top_k"}
        assert not unseen, f"{name}: {unseen} in no recorded request"
    with capsys.disabled():
        print(f"\nconformance: presets of {len(seen)} recorded vendors: {', '.join(sorted(seen))}")
    assert len(seen) >= 14


def test_what_recorded_errors_mean_with_the_presets_rules(recordings: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Every recorded error answer of a vendor that has rules; without the rules marked here they would be read otherwise."""
    read: dict[str, tuple[str, str]] = {}
    for recording in recordings:
        preset = load_presets().get(RECORDED_AS.get(recording.provider, recording.provider))
        if preset is None or not preset.errors or recording.api not in PROVIDERS:
            continue
        rules = [error_rules.ErrorRule(**rule.model_dump()) for rule in preset.errors]
        before: Any = None
        if recording.status >= 400:
            before = PROVIDERS[recording.api].read_error(recording.status, recording.headers, recording.body)
            document, text = failures.error_document(recording.body)
            after = error_rules.settled(before, rules, recording.status, document or text)
        elif b'"error":{' in recording.body.replace(b" ", b""):
            reader = PROVIDERS[recording.api].reader(DIALECTS["anthropic-messages"].read_request(json.dumps(CLIENT).encode()))
            reader.start(200, "text/event-stream" if recording.stream else "application/json")
            events = [event for event in reader.feed(recording.body) if isinstance(event, InStreamError)]
            if not events:
                continue
            before = events[0].failure
            after = error_rules.settled(before, rules, recording.status, events[0].error)
        if before is not None:
            read[f"{recording.provider} {recording.status}"] = (before.kind, after.kind)
    with capsys.disabled():
        print(f"\nconformance: rules for errors: {read}")
    assert read == {
        "xai 400": ("client_fault", "credential_dead"),
        "perplexity 400": ("client_fault", "context_too_long"),
        "groq 404": ("transient", "transient"),
        "groq 200": ("client_fault", "transient"),
    }


def test_recorded_answers_say_what_is_left_where_the_presets_look(recordings: list[Any]) -> None:
    told: Counter[str] = Counter()
    for recording in recordings:
        preset = load_presets().get(RECORDED_AS.get(recording.provider, recording.provider))
        if preset is not None and preset.rate_limits is not None:
            names = read_names(preset.rate_limits.model_dump_json(exclude_none=True))
            headers = {name.lower(): value for name, value in recording.headers.items()}
            for unit in (names.requests, names.tokens):
                if unit is not None and (remaining := headers.get(unit.remaining)) is not None and remaining.isdigit():
                    told[preset.name] += 1
                    said = unit.reset and headers.get(unit.reset)
                    assert not said or reset_s(said, headers.get("date", DATE)) is not None, (recording.name, said)
    assert {name for name, count in told.items() if count} >= {"openai", "xai", "mistral", "anthropic"}, told
