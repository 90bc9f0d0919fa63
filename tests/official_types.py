"""What the vendors' own SDKs say a request of each dialect looks like. A dialect is added in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal

import anthropic.types.message_create_params as anthropic_params
import botocore.session
import cohere
import openai.types.chat.completion_create_params as openai_params
import openai.types.responses.response_create_params as responses_params
from botocore.validate import ParamValidator
from google.genai import types as genai
from pydantic import BaseModel, ConfigDict, TypeAdapter

_CHAT: Final[TypeAdapter[Any]] = TypeAdapter(
    openai_params.CompletionCreateParamsNonStreaming | openai_params.CompletionCreateParamsStreaming
)
_RESPONSES: Final[TypeAdapter[Any]] = TypeAdapter(
    responses_params.ResponseCreateParamsNonStreaming | responses_params.ResponseCreateParamsStreaming
)
_MESSAGES: Final[TypeAdapter[Any]] = TypeAdapter(
    anthropic_params.MessageCreateParamsNonStreaming | anthropic_params.MessageCreateParamsStreaming
)


class CohereParams(BaseModel):
    """The body that Cohere's SDK sends, of the types that its `chat` takes."""

    model_config = ConfigDict(extra="forbid")
    model: str
    messages: list[cohere.UserChatMessageV2 | cohere.AssistantChatMessageV2 | cohere.SystemChatMessageV2 | cohere.ToolChatMessageV2]
    tools: list[cohere.ToolV2] | None = None
    strict_tools: bool | None = None
    documents: list[str | cohere.Document] | None = None
    response_format: cohere.TextResponseFormatV2 | cohere.JsonObjectResponseFormatV2 | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None
    logprobs: bool | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    thinking: cohere.Thinking | None = None
    stream: bool | None = None


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


def _on_cloud(version: str) -> Callable[[Any], None]:
    def check(body: dict[str, Any]) -> None:
        if body.pop("anthropic_version", None) != version:
            raise ValueError(f"anthropic_version is not {version}")
        if "model" in body or ("stream" in body and version.startswith("bedrock")):
            raise ValueError("the path says model and stream")
        _drain(_MESSAGES.validate_python({"model": "m", **body}))

    return check


OFFICIAL: Final[Mapping[str, Callable[[Any], None]]] = {
    "openai-chat": _typed(_CHAT),
    "openai-responses": _typed(_RESPONSES),
    "anthropic-messages": _typed(_MESSAGES),
    "anthropic-vertex": _on_cloud("vertex-2023-10-16"),
    "anthropic-bedrock": _on_cloud("bedrock-2023-05-31"),
    "gemini-generate-content": _gemini,
    "bedrock-converse": _converse,
    "cohere-chat": _typed(TypeAdapter(CohereParams)),
}
