"""How each dialect with token counting asks and answers; the rest of a request is that of its chat.

What a request says about sampling, the user or the way of answering has no bearing on its size, so it is left out and not named as
dropped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.anthropic_messages.request_read import read_request as read_messages
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.bedrock_converse.request_read import read_request as read_converse
from control_plane.dialects.canon import Request
from control_plane.dialects.gemini_generate_content.request_read import read_request as read_generate
from control_plane.dialects.openai_responses.request_read import read_request as read_responses

_encode: Final = msgspec.json.Encoder().encode

_MESSAGES: Final = frozenset(("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"))
_RESPONSES: Final = frozenset(
    ("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "truncation")
)
_GENERATE: Final = frozenset(("contents", "systemInstruction", "tools", "toolConfig", "generationConfig"))
_CONVERSE: Final = frozenset(("messages", "system", "toolConfig", "additionalModelRequestFields"))
_WRAPPED: Final = ("generateContentRequest", "generate_content_request")


class Wire(msgspec.Struct, frozen=True):
    """`read`: a client's request. `asked`: a chat body of the dialect as the provider is asked to count it.

    `field` holds the count in an answer, which has `answer` beside it.
    """

    read: Callable[[bytes, Call | None], Request]
    asked: Callable[[Mapping[str, Any], TargetFacts], dict[str, Any]]
    field: str
    answer: Mapping[str, str] = {}


def _kept(names: frozenset[str]) -> Callable[[Mapping[str, Any], TargetFacts], dict[str, Any]]:
    return lambda body, target: {name: value for name, value in body.items() if name in names}


def _read_gemini(body: bytes, call: Call | None) -> Request:
    """The contents alone, or a whole request in an object of its own."""
    given = j.parse_object(body)
    name = next((name for name in _WRAPPED if given.get(name) is not None), None)
    if name is None:
        return read_generate(body, call)
    if given.get("contents"):
        j.reject("contents", f"stands in {name} too; send one of them")
    return read_generate(_encode(j.required_obj(given, name, "")), call)


def _asked_gemini(body: Mapping[str, Any], target: TargetFacts) -> dict[str, Any]:
    """The Gemini API counts instructions and tools only inside a whole request, Vertex AI only outside."""
    kept = {name: value for name, value in body.items() if name in _GENERATE}
    if "/publishers/" in target.path:
        kept.pop("toolConfig", None)
        return kept
    model = target.model if "/" in target.model else f"models/{target.model}"
    return {"generateContentRequest": {"model": model, **kept}}


def _read_bedrock(body: bytes, call: Call | None) -> Request:
    """What Converse or InvokeModel would be asked: an object of its own, or Anthropic's body in base64."""
    given = j.required_obj(j.parse_object(body), "input", "")
    model = call.model if call is not None else ""
    if given.get("invokeModel") is None:
        return read_converse(_encode(j.required_obj(given, "converse", "input")), model, False)
    if given.get("converse") is not None:
        j.reject("input", "holds converse and invokeModel; send one of them")
    coded = j.required_string(j.required_obj(given, "invokeModel", "input"), "body", "input.invokeModel")
    try:
        inner = j.parse_object(base64.b64decode(coded, validate=True))
    except binascii.Error:
        j.reject("input.invokeModel.body", "is not base64")
    if "messages" not in inner:
        j.reject("input.invokeModel.body", "is no body of an Anthropic model, which is the only one that can be read")
    return read_messages(_encode({**inner, "model": model}), call, counting=True)


def _asked_converse(body: Mapping[str, Any], target: TargetFacts) -> dict[str, Any]:
    return {"input": {"converse": {name: value for name, value in body.items() if name in _CONVERSE}}}


def _asked_invoke(body: Mapping[str, Any], target: TargetFacts) -> dict[str, Any]:
    """The whole body of invoke, as it would be sent. A limit of the answer is mandatory there, whatever it is."""
    return {"input": {"invokeModel": {"body": base64.b64encode(_encode({"max_tokens": 1, **body})).decode()}}}


def _asked_vertex(body: Mapping[str, Any], target: TargetFacts) -> dict[str, Any]:
    """Here alone Vertex AI has the model in the body."""
    kept = {name: value for name, value in body.items() if name in _MESSAGES or name == "anthropic_version"}
    return {**kept, "model": target.model}


def _unspoken(body: bytes, call: Call | None) -> Request:
    raise AssertionError("only providers speak this dialect")


WIRES: Final[Mapping[str, Wire]] = {
    "anthropic-messages": Wire(lambda body, call: read_messages(body, call, counting=True), _kept(_MESSAGES), "input_tokens"),
    "openai-responses": Wire(
        lambda body, call: read_responses(body), _kept(_RESPONSES), "input_tokens", {"object": "response.input_tokens"}
    ),
    "gemini-generate-content": Wire(_read_gemini, _asked_gemini, "totalTokens"),
    "bedrock-converse": Wire(_read_bedrock, _asked_converse, "inputTokens"),
    "anthropic-bedrock": Wire(_unspoken, _asked_invoke, "inputTokens"),
    "anthropic-vertex": Wire(_unspoken, _asked_vertex, "input_tokens"),
}
