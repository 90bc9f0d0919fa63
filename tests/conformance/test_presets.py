"""Presets against recorded requests: what we write for a vendor has only top-level fields that the vendor was seen to take.

Recorded requests are what the vendors' users really sent, so they show which name of the output limit a vendor takes and
whether it is asked for usage with `stream_options`. A vendor whose recordings do not show a field proves nothing about it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest

from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS
from control_plane.spec.presets import load_presets

pytestmark = pytest.mark.long

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
