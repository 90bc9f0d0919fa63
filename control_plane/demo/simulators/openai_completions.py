"""Completions of plain text: OpenAI's `/v1/completions` (with `suffix`) and Mistral's `/v1/fim/completions`.

Shapes: platform.openai.com/docs/api-reference/completions; docs.mistral.ai/api, "Fim Completion", whose answers are those of chat and whose
streams end with a chunk that has both the finish reason and the usage, unasked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.compose import Answer, Ask, Directive, answer, read_directive
from control_plane.demo.simulators.openai_request import integer
from control_plane.demo.simulators.reply import Event, VendorError, encode
from control_plane.demo.simulators.tokens import count

FIELDS: Final = frozenset({
    "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n", "presence_penalty", "prompt", "seed",
    "stop", "stream", "stream_options", "suffix", "temperature", "top_p", "user",
})  # fmt: skip
FIM_FIELDS: Final = frozenset({
    "max_tokens", "metadata", "min_tokens", "model", "prompt", "random_seed", "stop", "stream", "suffix", "temperature", "top_p",
})  # fmt: skip
MODELS: Final = frozenset({"gpt-3.5-turbo-instruct", "davinci-002", "babbage-002"})
"""OpenAI's own models that have the operation; all others are chat models."""
TOKENS: Final = 16  # `max_tokens` where nothing is said
DONE: Final = b"data: [DONE]\n\n"
_FINISH: Final = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool_calls": "stop"}


@dataclass(frozen=True, slots=True)
class Completions:
    """What to answer: a choice for each prompt and each `n`."""

    model: str
    stream: bool
    include_usage: bool
    prompt_tokens: int
    choices: tuple[Answer, ...]
    echoed: tuple[str, ...]
    directive: Directive

    @property
    def usage(self) -> dict[str, int]:
        completion = sum(choice.tokens for choice in self.choices)
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": completion, "total_tokens": self.prompt_tokens + completion}


def read(body: Mapping[str, Any], speaker: str, strict: bool) -> Completions:
    """A request to /v1/completions. Raises VendorError."""
    model: str = body["model"]
    if strict:
        for name in body:
            if name not in FIELDS:
                raise errors.bad_request(f"Unrecognized request argument supplied: {name}")
        if model not in MODELS:
            message = "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use v1/chat/completions?"
            raise VendorError(404, errors.document(message, param="model"))
    prompts = _prompts(body.get("prompt", "<|endoftext|>"))
    suffix = body.get("suffix")
    if suffix is not None and not isinstance(suffix, str):
        raise errors.wrong_type("suffix", "a string", suffix)
    options = body.get("stream_options")
    stream = body.get("stream") is True
    if options is not None and not stream:
        raise errors.bad_request("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    each = integer(body, "n", 1, 1, 128)
    directive = read_directive("\n".join(prompts))
    asks = [_ask(body, speaker, prompt, suffix, directive) for prompt in prompts for _ in range(each)]
    return Completions(
        model=model,
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        prompt_tokens=sum(map(count, prompts)) + count(suffix or ""),
        choices=tuple(answer(ask) for ask in asks),
        echoed=tuple(prompt if body.get("echo") is True else "" for prompt in prompts for _ in range(each)),
        directive=directive,
    )


def read_fim(body: Mapping[str, Any], speaker: str, strict: bool) -> Completions:
    """A request to Mistral's /v1/fim/completions. Raises VendorError."""
    prompt, suffix = body.get("prompt"), body.get("suffix")
    if strict:
        for name in body:
            if name not in FIM_FIELDS:
                raise _unprocessable("extra_forbidden", name, "Extra inputs are not permitted")
    if not isinstance(prompt, str):
        raise _unprocessable("missing" if prompt is None else "string_type", "prompt", "Input should be a valid string")
    directive = read_directive(prompt)
    done = answer(_ask({"max_tokens": None, **body}, speaker, prompt, suffix, directive))
    tokens = count(prompt) + count(suffix or "")
    return Completions(body["model"], body.get("stream") is True, False, tokens, (done,), ("",), directive)


def _ask(body: Mapping[str, Any], speaker: str, prompt: str, suffix: str | None, directive: Directive) -> Ask:
    stop = body.get("stop") or ()
    return Ask(
        speaker=speaker,
        text=f"{prompt} before {suffix}" if suffix else prompt,
        max_tokens=body["max_tokens"] if body.get("max_tokens", TOKENS) is None else integer(body, "max_tokens", TOKENS, 0, 1_000_000),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        answer_tokens=directive.tokens,
    )


def _prompts(given: object) -> list[str]:
    """One text for each prompt; tokens are shown as numbers."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(item, str) for item in given):
            return list(given)
        if all(isinstance(item, int) for item in given):
            return [" ".join(map(str, given))]
        if all(isinstance(item, list) and item for item in given):
            return [" ".join(map(str, item)) for item in given]
    raise errors.bad_request("Invalid type for 'prompt': expected a string, an array of strings or of tokens.", "prompt", "invalid_type")


def _unprocessable(kind: str, name: str, message: str) -> VendorError:
    detail = [{"type": kind, "loc": ["body", name], "msg": message}]
    document = {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "param": None, "code": None}
    return VendorError(422, document)


# ---------------------------------------------------------------------------------------------------- OpenAI's answers


def document(asked: Completions, number: int) -> dict[str, Any]:
    choices = [
        _choice(echoed + "".join(choice.text), index, _FINISH[choice.finish])
        for index, (choice, echoed) in enumerate(zip(asked.choices, asked.echoed, strict=True))
    ]
    return _head(asked, number) | {"choices": choices, "usage": asked.usage}


def events(asked: Completions, number: int) -> Sequence[Event]:
    head = _head(asked, number)
    nothing: dict[str, Any] = {"usage": None} if asked.include_usage else {}
    made: list[Event] = []
    for index, (choice, echoed) in enumerate(zip(asked.choices, asked.echoed, strict=True)):
        texts = ([echoed] if echoed else []) + list(choice.text)
        made += [(_event(head | {"choices": [_choice(text, index, None)]} | nothing), True) for text in texts]
        made.append((_event(head | {"choices": [_choice("", index, _FINISH[choice.finish])]} | nothing), False))
    if asked.include_usage:
        made.append((_event(head | {"choices": [], "usage": asked.usage}), False))
    made.append((DONE, False))
    return made


def _head(asked: Completions, number: int) -> dict[str, Any]:
    return {"id": f"cmpl-Sim{number:026x}", "object": "text_completion", "created": int(time.time()), "model": asked.model}


def _choice(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


# ---------------------------------------------------------------------------------------------------- Mistral's answers


def fim_document(asked: Completions, number: int) -> dict[str, Any]:
    (done,) = asked.choices
    message = {"role": "assistant", "tool_calls": None, "content": "".join(done.text)}
    choice = {"index": 0, "message": message, "finish_reason": _FINISH[done.finish]}
    return _fim_head(asked, number, "chat.completion") | {"choices": [choice], "usage": asked.usage}


def fim_events(asked: Completions, number: int) -> Sequence[Event]:
    (done,) = asked.choices
    head = _fim_head(asked, number, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    made: list[Event] = [(_event(chunk({"role": "assistant", "content": ""}, None)), False)]
    made += [(_event(chunk({"content": text}, None)), True) for text in done.text]
    made.append((_event(chunk({"content": ""}, _FINISH[done.finish]) | {"usage": asked.usage}), False))
    made.append((DONE, False))
    return made


def _fim_head(asked: Completions, number: int, kind: str) -> dict[str, Any]:
    return {"id": f"{number:032x}", "object": kind, "created": int(time.time()), "model": asked.model}


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + encode(chunk) + b"\n\n"
