"""OpenAI's images, audio and moderations (platform.openai.com/docs/api-reference/images, /audio, /moderations).

Answers say what arrived: a picture's text chunk repeats the prompt, a transcription the name, size and hash of the file. So a test sees
that nothing was lost or changed on the way.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.compose import read_directive, tokens_of
from control_plane.demo.simulators.form import Form
from control_plane.demo.simulators.openai_request import integer
from control_plane.demo.simulators.reply import Event, Reply, encode
from control_plane.demo.simulators.tokens import count

MODELS: Final = (
    "dall-e-2", "gpt-image-1", "gpt-4o-mini-tts", "tts-1", "whisper-1", "gpt-4o-transcribe", "omni-moderation-latest",
)  # fmt: skip
SSE: Final = "text/event-stream; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
AUDIO: Final = {"mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}
FRAME: Final = bytes((0xFF, 0xFB, 0x90, 0x00)) + bytes(413)  # of an MP3 of 128 kbit/s: 26 ms
IMAGE_TOKENS: Final = 272  # a small picture
BYTES_PER_SECOND: Final = 16_000  # of audio that is sent
CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm", "self-harm/instructions",
    "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip

IMAGE_FIELDS: Final = frozenset({
    "background", "model", "moderation", "n", "output_compression", "output_format", "partial_images", "prompt", "quality",
    "response_format", "safety_identifier", "size", "stream", "style", "user",
})  # fmt: skip


def _event(document: Mapping[str, Any], content: bool) -> Event:
    return b"event: %s\ndata: %s\n\n" % (document["type"].encode(), encode(document)), content


# ---------------------------------------------------------------------------------------------------- images


def images(body: Mapping[str, Any], speaker: str, headers: bytes, strict: bool) -> Reply:
    """Pictures from a prompt. Raises VendorError."""
    prompt = body.get("prompt")
    if prompt is None:
        raise errors.missing("prompt")
    if not isinstance(prompt, str):
        raise errors.wrong_type("prompt", "a string", prompt)
    if strict:
        for name in body:
            if name not in IMAGE_FIELDS:
                raise errors.bad_request(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    number = integer(body, "n", 1, 1, 10)
    streamed = body.get("stream") is True
    return _pictures(f"{speaker} drew: {prompt}", body["model"], prompt, number, "image_generation" if streamed else None, headers, 0)


def edited(form: Form, speaker: str, headers: bytes, *, variation: bool) -> Reply:
    """Pictures from pictures. Raises VendorError."""
    given = form.files("image", "image[]")
    if not given:
        raise errors.missing("image")
    prompt = form.get("prompt")
    if not variation and not prompt:
        raise errors.missing("prompt")
    said = f"{speaker} {'varied' if variation else 'edited'} {_seen(form)}: {prompt}"
    stream = "image_edit" if form.get("stream") == "true" else None
    return _pictures(said, form["model"], prompt, int(form.get("n", "1")), stream, headers, len(given))


def _pictures(said: str, model: str, prompt: str, number: int, stream: str | None, headers: bytes, seen: int) -> Reply:
    pictures = [base64.b64encode(png(f"{said} ({index})" if index else said)).decode() for index in range(number)]
    directive = read_directive(prompt)
    if not model.startswith("gpt-image"):
        shown: list[dict[str, Any]] = [{"url": f"data:image/png;base64,{picture}"} for picture in pictures]
        document: dict[str, Any] = {"created": int(time.time()), "data": shown}
        return Reply(200, headers, encode(document), model=model, pace=directive)
    text, pixels = count(prompt), seen * IMAGE_TOKENS
    details = {"image_tokens": pixels, "text_tokens": text}
    output = number * IMAGE_TOKENS
    usage = {
        "input_tokens": text + pixels, "input_tokens_details": details, "output_tokens": output, "total_tokens": text + pixels + output,
    }  # fmt: skip
    about = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    if stream is not None:
        head = {"b64_json": pictures[0], "created_at": int(time.time())} | about
        events = [
            _event({"type": f"{stream}.partial_image", "partial_image_index": 0} | head, True),
            _event({"type": f"{stream}.completed"} | head | {"usage": usage}, True),
        ]
        return Reply(200, headers, content_type=SSE, events=events, model=model, pace=directive, failing=_failing)
    document = {"created": int(time.time()), "background": "opaque", "data": [{"b64_json": picture} for picture in pictures]}
    document |= {"output_format": "png", "quality": "low", "size": "1024x1024", "usage": usage}
    return Reply(200, headers, encode(document), model=model, pace=directive)


def png(said: str) -> bytes:
    """A picture of one pixel with a comment."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + said.encode("latin-1", "replace")),
        (b"IDAT", zlib.compress(b"\0\x20\x60\xa0")),
        (b"IEND", b""),
    )
    made = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


# ---------------------------------------------------------------------------------------------------- audio


def speech(body: Mapping[str, Any], headers: bytes) -> Reply:
    """Audio: as it is made, or as events (`stream_format: sse`). Raises VendorError."""
    for name in ("input", "voice"):
        if body.get(name) is None:
            raise errors.missing(name)
    said = body["input"]
    if not isinstance(said, str):
        raise errors.wrong_type("input", "a string", said)
    kind = body.get("response_format") or "mp3"
    if kind not in AUDIO:
        raise errors.bad_request(f"Invalid value: '{kind}'. Supported values are: {', '.join(AUDIO)}.", "response_format", "invalid_value")
    tokens = tokens_of(said) or ("",)
    directive = read_directive(said)
    sound = [FRAME + token.encode() for token in tokens]
    if body.get("stream_format") != "sse":
        return Reply(200, headers, content_type=AUDIO[kind], events=[(s, True) for s in sound], model=body["model"], pace=directive)
    events = [_event({"type": "speech.audio.delta", "audio": base64.b64encode(s).decode()}, True) for s in sound]
    usage = {"input_tokens": count(said), "output_tokens": len(tokens), "total_tokens": count(said) + len(tokens)}
    events.append(_event({"type": "speech.audio.done", "usage": usage}, False))
    return Reply(200, headers, content_type=SSE, events=events, model=body["model"], pace=directive, failing=_failing)


def transcribed(form: Form, speaker: str, headers: bytes, *, translated: bool) -> Reply:
    """What is said in a file. Raises VendorError."""
    files = form.files("file")
    if not files:
        raise errors.missing("file")
    model = form["model"]
    text = f"{speaker} {'translated' if translated else 'heard'} {_seen(form)}"
    size = len(files[0].value)
    heard, written = -(-size // 1000), len(tokens_of(text))
    usage: dict[str, Any] = {"type": "duration", "seconds": -(-size // BYTES_PER_SECOND)}
    if not model.startswith("whisper"):
        usage = {"type": "tokens", "input_tokens": heard, "output_tokens": written, "total_tokens": heard + written}
        usage["input_token_details"] = {"audio_tokens": heard, "text_tokens": 0}
    if form.get("stream") == "true" and not model.startswith("whisper") and not translated:
        events = [_event({"type": "transcript.text.delta", "delta": token}, True) for token in tokens_of(text)]
        events.append(_event({"type": "transcript.text.done", "text": text, "usage": usage}, False))
        return Reply(200, headers, content_type=SSE, events=events, model=model, failing=_failing)
    kind = form.get("response_format", "json")
    seconds = size / BYTES_PER_SECOND
    if kind == "text":
        return Reply(200, headers, f"{text}\n".encode(), TEXT, model=model)
    if kind in ("srt", "vtt"):
        clock = "00:00:01,000" if kind == "srt" else "00:00:01.000"
        first = "1\n00:00:00,000" if kind == "srt" else "WEBVTT\n\n00:00:00.000"
        return Reply(200, headers, f"{first} --> {clock}\n{text}\n\n".encode(), TEXT, model=model)
    document: dict[str, Any] = {"text": text} if translated and kind == "json" else {"text": text, "usage": usage}
    if kind == "verbose_json":
        said = {"task": "translate" if translated else "transcribe", "language": "english", "duration": seconds}
        document = said | document | {"segments": []}
    return Reply(200, headers, encode(document), model=model)


def _seen(form: Form) -> str:
    """The files: how many bytes, their names, and what tells that not one of them changed."""
    files = [part for part in form.parts if part.filename is not None]
    return " and ".join(f"{len(f.value)} bytes of {f.filename} ({hashlib.sha256(f.value).hexdigest()[:16]})" for f in files)


def _failing(fault: Any) -> bytes:
    document = errors.for_fault(fault)
    return b"event: error\ndata: " + encode({"type": "error", **document}) + b"\n\n"


# ---------------------------------------------------------------------------------------------------- moderations


def moderations(body: Mapping[str, Any], number: int, headers: bytes) -> Reply:
    """Violence is what the word "violence" says. Raises VendorError."""
    given = body.get("input")
    if given is None:
        raise errors.missing("input")
    texts = _moderated(given)
    results = []
    for text in texts:
        flags = {name: name == "violence" and "violence" in text for name in CATEGORIES}
        results.append(
            {
                "flagged": any(flags.values()),
                "categories": flags,
                "category_scores": {name: 0.97 if flag else 1e-5 for name, flag in flags.items()},
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        )
    document = {"id": f"modr-{number:024x}", "model": body["model"], "results": results}
    return Reply(200, headers, encode(document), model=body["model"])


def _moderated(given: object) -> Sequence[str]:
    """A result for each text; texts and images of one multi-modal input have one together."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(item, str) for item in given):
            return given
        if all(isinstance(item, dict) for item in given):
            return [" ".join(str(item.get("text", "")) for item in given)]
    raise errors.bad_request("'$.input' is invalid. Please check the API reference.", "input")
