"""Recorded answers of Claude on Bedrock and on Vertex AI keep their meaning for every client; the vendor's own clients say what that is."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests import official_types
from tests.conformance.ledger import Ledger
from tests.conformance.test_recorded_answers import asked, differences, expected, write
from tests.siblings import STREAMED

pytestmark = pytest.mark.long


def read(recording: Any, pieces: list[bytes] | None = None) -> list[canon.Event]:
    reader = PROVIDERS[recording.api].reader(asked(recording.api, recording.stream))
    reader.start(200, STREAMED.get(recording.api, "text/event-stream") if recording.stream else "application/json")
    events: list[canon.Event] = []
    for piece in pieces or [recording.body]:
        events += reader.feed(piece)
    return events + reader.finish()


def test_meaning_of_every_recorded_answer(cloud_recordings: list[Any], sdks: Any, ledger: Ledger) -> None:
    answers = [r for r in cloud_recordings if r.status == 200]
    assert len([r for r in answers if r.api == "anthropic-bedrock"]) >= 12
    assert len([r for r in answers if r.stream]) >= 7
    wrong: dict[str, list[str]] = {}
    for recording in answers:
        vendor = sdks.decode(recording.api, recording.body, recording.stream)
        assert vendor.error is None, recording.name
        assert vendor.text or vendor.calls, recording.name
        events = read(recording)
        for client in DIALECTS:
            wanted = expected(vendor, "anthropic-messages", client)
            found = [
                f"{client} {difference}"
                for stream in (True, False)
                for difference in differences(
                    wanted, sdks.decode(client, write(client, stream, events), stream), same=client == "anthropic-messages"
                )
            ]
            ledger.add(recording.api, client, equal=not found)
            if found:
                wrong[recording.name] = found
    assert not wrong
    ledger.settle()


def test_any_split_gives_the_same_events(cloud_recordings: list[Any]) -> None:
    rng = random.Random(7)
    for recording in (r for r in cloud_recordings if r.stream):
        cuts = sorted(rng.sample(range(1, len(recording.body)), 40))
        pieces = [recording.body[a:b] for a, b in zip([0, *cuts], [*cuts, len(recording.body)], strict=True)]
        assert read(recording, pieces) == read(recording), recording.name


def test_recorded_requests_are_what_we_write(cloud_recordings: list[Any]) -> None:
    """A recorded body, as Anthropic's client would have sent it, comes out as its cloud got it."""
    checked = 0
    for recording in (r for r in cloud_recordings if r.api == "anthropic-bedrock"):
        body = json.loads(recording.request)
        betas = body.pop("anthropic_beta", None)
        sent = {key: value for key, value in body.items() if key != "anthropic_version"}
        request = DIALECTS["anthropic-messages"].read_request(json.dumps({"model": "m", "stream": recording.stream, **sent}).encode())
        if betas is not None:
            continue
        written = PROVIDERS[recording.api].write_request(request, TargetFacts("anthropic.claude-x", "/model/{model}/invoke"))
        assert json.loads(written.body) == {**sent, "anthropic_version": "bedrock-2023-05-31"}, recording.name
        assert written.path == f"/model/anthropic.claude-x/invoke{'-with-response-stream' if recording.stream else ''}"
        official_types.validate(recording.api, written.body)
        checked += 1
    assert checked >= 10
