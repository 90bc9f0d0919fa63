"""Operations beside chat: one case for each kind."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from control_plane.demo.check.clients import Failed, check_ok
from control_plane.demo.wire_client import Answer, call

Work = Callable[[], Awaitable[None]]
SOUND: Final = b"RIFF\r\n--" * 40_000


def works(base_url: str) -> Iterator[tuple[str, Work]]:
    """Name and work of each case."""
    yield "completions: whole, streamed, with a suffix", lambda: _completions(base_url)
    yield "images", lambda: _images(base_url)
    yield "speech", lambda: _speech(base_url)
    yield "transcriptions: a form with a file", lambda: _transcriptions(base_url)
    yield "a form with two models (ambiguous)", lambda: _two_models(base_url)
    yield "moderations", lambda: _moderations(base_url)
    yield "token counts of Responses", lambda: _input_tokens(base_url)


async def _post(base_url: str, path: str, body: object, content_type: str = "application/json") -> Answer:
    return await call(f"{base_url}{path}", body, headers={"authorization": "Bearer demo", "content-type": content_type})


async def _completions(base_url: str) -> None:
    body = {"model": "tab", "prompt": "def add(a, b):", "suffix": "return c", "max_tokens": 60}
    said = "openai/gpt-3.5-turbo-instruct heard: def add(a, b): before return c"
    answer = await _post(base_url, "/v1/completions", body)
    check_ok(answer)
    if answer.json()["choices"][0]["text"] != said:
        raise Failed(f"unexpected: {answer.body[:200]!r}")
    answer = await _post(base_url, "/v1/completions", body | {"stream": True})
    check_ok(answer)
    events = answer.events()
    if events[-1] != "[DONE]" or "".join(event["choices"][0]["text"] for event in events[:-1]) != said:
        raise Failed(f"unexpected stream: {answer.body[-300:]!r}")


async def _images(base_url: str) -> None:
    answer = await _post(base_url, "/v1/images/generations", {"model": "draw", "prompt": "a gate"})
    check_ok(answer)
    if not answer.json()["data"][0]["b64_json"]:
        raise Failed(f"no picture: {answer.body[:200]!r}")


async def _speech(base_url: str) -> None:
    answer = await _post(base_url, "/v1/audio/speech", {"model": "say", "voice": "alloy", "input": "open the gate"})
    check_ok(answer)
    if answer.headers["content-type"] != "audio/mpeg" or not answer.body.endswith(b" gate"):
        raise Failed(f"no sound: {answer.headers['content-type']}, {len(answer.body)} bytes")


def _form(*models: str) -> bytes:
    fields = "".join(f'--gate\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n' for model in models)
    head = '--gate\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    return (fields + head).encode() + SOUND + b"\r\n--gate--\r\n"


async def _transcriptions(base_url: str) -> None:
    answer = await _post(base_url, "/v1/audio/transcriptions", _form("hear"), "multipart/form-data; boundary=gate")
    check_ok(answer)
    said = f"openai/whisper-1 heard {len(SOUND)} bytes of a.wav ({hashlib.sha256(SOUND).hexdigest()[:16]})"
    if answer.json()["text"] != said:
        raise Failed(f"expected {said!r}, got {answer.body[:200]!r}")


async def _two_models(base_url: str) -> None:
    answer = await _post(base_url, "/v1/audio/transcriptions", _form("hear", "tab"), "multipart/form-data; boundary=gate")
    if answer.status != 400 or "model" not in answer.json()["error"]["message"]:
        raise Failed(f"expected 400, got {answer.status}: {answer.body[:200]!r}")


async def _moderations(base_url: str) -> None:
    answer = await _post(base_url, "/v1/moderations", {"model": "watch", "input": ["a garden", "violence"]})
    check_ok(answer)
    if [result["flagged"] for result in answer.json()["results"]] != [False, True]:
        raise Failed(f"unexpected: {answer.body[:200]!r}")


async def _input_tokens(base_url: str) -> None:
    answer = await _post(base_url, "/v1/responses/input_tokens", {"model": "chat", "input": "how many?"})
    check_ok(answer)
    if answer.json()["input_tokens"] < 1:
        raise Failed(f"unexpected: {answer.body[:200]!r}")
