"""What the vendors' own SDKs say a request of each dialect looks like. A dialect is added in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import anthropic.types.message_create_params as anthropic_params
import botocore.session
import cohere
import openai.types.chat.completion_create_params as openai_params
import openai.types.responses.response_create_params as responses_params
from botocore.validate import ParamValidator
from google.genai import types as genai
from pydantic import TypeAdapter

_CHAT: Final[TypeAdapter[Any]] = TypeAdapter(
    openai_params.CompletionCreateParamsNonStreaming | openai_params.CompletionCreateParamsStreaming
)
_RESPONSES: Final[TypeAdapter[Any]] = TypeAdapter(
    responses_params.ResponseCreateParamsNonStreaming | responses_params.ResponseCreateParamsStreaming
)
_MESSAGES: Final[TypeAdapter[Any]] = TypeAdapter(
    anthropic_params.MessageCreateParamsNonStreaming | anthropic_params.MessageCreateParamsStreaming
)
_COHERE: Final[TypeAdapter[Any]] = TypeAdapter(list[cohere.ChatMessageV2])


def validate(dialect: str, body: bytes) -> None:
    """Raises ValueError (pydantic's or our own) when the vendor's SDK could not have sent this body. KeyError for an unknown dialect."""
    OFFICIAL[dialect](json.loads(body))


def _typed(adapter: TypeAdapter[Any]) -> Callable[[Any], None]:
    return lambda body: _drain(adapter.validate_python(body))


def _drain(value: Any) -> None:
    """The official types hold `Iterable`s, which pydantic validates only while they are read."""
    if isinstance(value, Mapping):
        for item in value.values():
            _drain(item)
    elif isinstance(value, Iterator | list | tuple):
        for item in value:
            _drain(item)


def _gemini(body: dict[str, Any]) -> None:
    rest = {key: value for key, value in body.items() if key not in ("contents", "generationConfig", "labels")}
    genai.GenerateContentConfig.model_validate({**body.get("generationConfig", {}), **rest})
    TypeAdapter(list[genai.Content]).validate_python(body["contents"])


@cache
def _converse_shape() -> Any:
    return botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def _converse(body: dict[str, Any]) -> None:
    report = ParamValidator().validate({"modelId": "m", **body}, _converse_shape())
    if report.has_errors():
        raise ValueError(report.generate_report())


def _cohere(body: dict[str, Any]) -> None:
    if not body.get("model"):
        raise ValueError("model is required")
    _COHERE.validate_python(body["messages"])


OFFICIAL: Final[Mapping[str, Callable[[Any], None]]] = {
    "openai-chat": _typed(_CHAT),
    "openai-responses": _typed(_RESPONSES),
    "anthropic-messages": _typed(_MESSAGES),
    "gemini-generate-content": _gemini,
    "bedrock-converse": _converse,
    "cohere-chat": _cohere,
}
