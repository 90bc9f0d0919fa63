"""Every recorded completion of plain text keeps its texts: what OpenAI's SDK decodes from the vendor's bytes is what clients of both forms
get of it, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from control_plane.dialects.canon import Request
from control_plane.dialects.operations import SIDES
from tests.conformance.conftest import RECORDINGS, Recording, load

pytestmark = pytest.mark.long

CHAT = "openai-chat"
FINISH = {"eos": "stop"}
"""A vendor's own words, and what clients get for them."""

Seen = dict[int, tuple[str, str | None]]
"""Text and finish reason by choice."""


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    if not RECORDINGS.exists():
        pytest.skip("no recordings here")
    return [recording for recording in load(("openai-completions",)) if recording.provider != "portkey"]  # its own prompts


def sdk(body: bytes, stream: bool) -> tuple[Seen, int | None]:
    """What a user of OpenAI's SDK sees: the choices, and the tokens of the answer, None where none are reported."""
    kind = "text/event-stream" if stream else "application/json"
    answering = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-type": kind}, content=body))
    texts: dict[int, str] = {}
    ends: dict[int, str | None] = {}
    tokens = None
    with openai.OpenAI(api_key="k", base_url="http://mock", http_client=httpx2.Client(transport=answering), max_retries=0) as client:
        made: Any = client.completions.create(model="m", prompt="x", stream=stream)
        for chunk in made if stream else [made]:
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
                ends[choice.index] = choice.finish_reason or ends.get(choice.index)
    return {index: (text, FINISH.get(str(ends[index]), ends[index])) for index, text in texts.items()}, tokens


def filled(body: bytes, stream: bool) -> tuple[Seen, int | None]:
    """The same of an answer in Mistral's form, by its JSON: there is one choice."""
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert not stream or lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    field = "delta" if stream else "message"
    text = "".join(chunk["choices"][0][field]["content"] for chunk in chunks)
    usage = chunks[-1].get("usage")
    return {0: (text, chunks[-1]["choices"][0]["finish_reason"])}, usage and usage["completion_tokens"]


def translated(recording: Recording, request: Request, form: str, piece: int) -> bytes:
    class Ids:
        def new(self, prefix: str) -> str:
            return f"{prefix}1"

        def now(self) -> int:
            return 1

    reader, writer = SIDES["completions"].providers[CHAT].reader(request), SIDES[form].clients[CHAT].writer(request, Ids())
    reader.start(200, "text/event-stream" if recording.stream else "application/json")
    events = [event for at in range(0, len(recording.body), piece) for event in reader.feed(recording.body[at : at + piece])]
    return b"".join(map(writer.emit, [*events, *reader.finish()])) + writer.finish()


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_texts_of_every_recorded_completion(recordings: list[Recording], piece: int) -> None:
    replayed = {"whole": 0, "streamed": 0, "filled": 0}
    for recording in recordings:
        if recording.status != 200:
            continue
        truth, tokens = sdk(recording.body, recording.stream)
        asked = {"model": "m", "prompt": "x", "stream": recording.stream}
        usage = {"stream_options": {"include_usage": True}} if recording.stream and tokens is not None else {}
        request = SIDES["completions"].clients[CHAT].read_request(json.dumps(asked | usage).encode())
        assert sdk(translated(recording, request, "completions", piece), recording.stream) == (truth, tokens), recording.name
        replayed["streamed" if recording.stream else "whole"] += 1
        if len(truth) == 1:
            request = SIDES["fim"].clients[CHAT].read_request(json.dumps(asked).encode())
            assert filled(translated(recording, request, "fim", piece), recording.stream) == (truth, tokens), recording.name
            replayed["filled"] += 1
    assert min(replayed.values()) >= 3, replayed


def test_recorded_requests_are_read(recordings: list[Recording]) -> None:
    known = 0
    for recording in recordings:
        if recording.request is not None and recording.status == 200:
            said = json.loads(recording.request)
            request: Any = SIDES["completions"].clients[CHAT].read_request(recording.request)
            several = isinstance(said["prompt"], list) and len(said["prompt"]) > 1
            assert (request.prompt is None) == several, recording.name
            assert request.sampling.max_tokens == said.get("max_tokens"), recording.name
            known += 1
    assert known >= 5


def test_recorded_errors_keep_their_class(recordings: list[Recording]) -> None:
    failed = [recording for recording in recordings if recording.status >= 400]
    assert len(failed) >= 2
    for recording in failed:
        failure = SIDES["fim"].providers[CHAT].read_error(recording.status, recording.headers, recording.body)
        assert failure.kind == ("credential_dead" if recording.status == 401 else "client_fault"), recording.name
        assert failure.message
