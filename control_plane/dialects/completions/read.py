"""Requests for completions as clients write them: OpenAI's (https://platform.openai.com/docs/api-reference/completions) and Mistral's
fill-in-the-middle (https://docs.mistral.ai/api, "Fim Completion").
"""

from __future__ import annotations

from typing import Final

from control_plane.dialects import json_body as j
from control_plane.dialects.api import Call
from control_plane.dialects.canon import Sampling
from control_plane.dialects.completions.canon import CompletionRequest

NAME: Final = "openai-chat"
_COMPLETIONS: Final = frozenset(
    (
        *("model", "prompt", "suffix", "max_tokens", "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty"),
        *("n", "best_of", "echo", "user", "stream", "stream_options"),
    )
)
_FIM: Final = frozenset(
    ("model", "prompt", "suffix", "max_tokens", "min_tokens", "temperature", "top_p", "stop", "random_seed", "stream"),
)


def read_completions(body: bytes, call: Call | None) -> CompletionRequest:
    """Raises ClientProtocolError naming the field at fault. Several prompts, prompts of tokens and several choices are features."""
    raw = j.parse_object(body)
    model = j.model_of(raw)
    features: list[str] = []
    lost = list(j.unknown_fields(raw, _COMPLETIONS, ""))
    choices = j.integer(raw, "n", "")
    for name, number in (("n", choices), ("best_of", j.integer(raw, "best_of", ""))):
        if (number or 1) > 1:
            features.append(name)
    if j.boolean(raw, "echo", ""):
        features.append("echo")
    options = j.obj(raw, "stream_options", "") or {}
    lost.extend(j.unknown_fields(options, frozenset(("include_usage", "include_obfuscation")), "stream_options"))
    return CompletionRequest(
        dialect=NAME,
        form="completions",
        model=model,
        messages=(),
        prompt=_prompt(raw, features),
        suffix=j.string(raw, "suffix", ""),
        sampling=Sampling(
            temperature=j.number(raw, "temperature", ""),
            top_p=j.number(raw, "top_p", ""),
            max_tokens=j.integer(raw, "max_tokens", ""),
            stop=_stop(raw),
            seed=j.integer(raw, "seed", ""),
            presence_penalty=j.number(raw, "presence_penalty", ""),
            frequency_penalty=j.number(raw, "frequency_penalty", ""),
            n=choices,
        ),
        user=j.string(raw, "user", ""),
        stream=j.boolean(raw, "stream", "") or False,
        include_usage=j.boolean(options, "include_usage", "stream_options") or False,
        unmapped=tuple(lost),
        features=tuple(features),
        raw=raw,
    )


def read_fim(body: bytes, call: Call | None) -> CompletionRequest:
    """Raises ClientProtocolError naming the field at fault. Answers always tell their usage."""
    raw = j.parse_object(body)
    return CompletionRequest(
        dialect=NAME,
        form="fim",
        model=j.model_of(raw),
        messages=(),
        prompt=j.required_string(raw, "prompt", ""),
        suffix=j.string(raw, "suffix", ""),
        min_tokens=j.integer(raw, "min_tokens", ""),
        sampling=Sampling(
            temperature=j.number(raw, "temperature", ""),
            top_p=j.number(raw, "top_p", ""),
            max_tokens=j.integer(raw, "max_tokens", ""),
            stop=_stop(raw),
            seed=j.integer(raw, "random_seed", ""),
        ),
        stream=j.boolean(raw, "stream", "") or False,
        include_usage=True,
        unmapped=tuple(j.unknown_fields(raw, _FIM, "")),
        raw=raw,
        names={"seed": "random_seed"},
    )


def _prompt(raw: j.Object, features: list[str]) -> str | None:
    value = raw.get("prompt")
    if type(value) is list and len(value) == 1:
        value = value[0]
    if type(value) is str:
        return value
    if value is not None and type(value) not in (list, int):
        j.wrong_type("prompt", "a string or an array", value)
    features.append("prompt")
    return None


def _stop(raw: j.Object) -> tuple[str, ...]:
    value = raw.get("stop")
    texts = [value] if type(value) is str else j.array(raw, "stop", "")
    for index, item in enumerate(texts):
        if type(item) is not str:
            j.wrong_type(f"stop.{index}", "a string", item)
    return tuple(texts)
