"""Requests for completions as providers take them, in OpenAI's words and in Mistral's."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.completions.canon import CompletionRequest, Form

_encode: Final = msgspec.json.Encoder().encode


def write_completions(request: CompletionRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit for features. A stream is asked to tell its usage, which this gateway counts, unless the provider refuses that."""
    body, dropped = _begun(request, target, "completions")
    wanted = request.sampling
    body |= _said(seed=wanted.seed, presence_penalty=wanted.presence_penalty, frequency_penalty=wanted.frequency_penalty, user=request.user)
    if request.stream and quirks.flag(target.options, "stream_usage", True):
        body["stream_options"] = {"include_usage": True}
    if request.min_tokens is not None:
        dropped.append("min_tokens")
    return _ended(body, dropped, target)


def write_fim(request: CompletionRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit for features. Streams tell their usage unasked, and whoever asks is refused."""
    body, dropped = _begun(request, target, "fim")
    wanted = request.sampling
    body |= _said(random_seed=wanted.seed, min_tokens=request.min_tokens)
    lost = _said(presence_penalty=wanted.presence_penalty, frequency_penalty=wanted.frequency_penalty, user=request.user)
    return _ended(body, [*dropped, *lost], target)


def _begun(request: CompletionRequest, target: TargetFacts, form: Form) -> tuple[dict[str, Any], list[str]]:
    """What both forms call the same, and the names of what has no place in `form`."""
    dropped = list(request.lost_to(form))
    wanted = request.sampling
    limits = _said(suffix=request.suffix, max_tokens=wanted.max_tokens, temperature=wanted.temperature, top_p=wanted.top_p)
    body: dict[str, Any] = {"model": target.model, "prompt": request.prompt, **limits}
    if wanted.stop:
        body["stop"] = wanted.stop
    if request.stream:
        body["stream"] = True
    return body, dropped


def _ended(body: dict[str, Any], dropped: list[str], target: TargetFacts) -> ProviderRequest:
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


def _said(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
