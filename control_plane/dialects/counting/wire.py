"""How each dialect with token counting asks and answers; the rest of a request is that of its chat.

What a request says about sampling, the user or the way of answering has no bearing on its size, so it is left out and not named as
dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.anthropic_messages.request_read import read_request as read_messages
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.canon import Request
from control_plane.dialects.gemini_generate_content.request_read import read_request as read_generate
from control_plane.dialects.openai_responses.request_read import read_request as read_responses

_encode: Final = msgspec.json.Encoder().encode

_MESSAGES: Final = frozenset(("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"))
_RESPONSES: Final = frozenset(
    ("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "truncation")
)
_GENERATE: Final = frozenset(("contents", "systemInstruction", "tools", "toolConfig", "generationConfig"))
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


WIRES: Final[Mapping[str, Wire]] = {
    "anthropic-messages": Wire(lambda body, call: read_messages(body, call, counting=True), _kept(_MESSAGES), "input_tokens"),
    "openai-responses": Wire(
        lambda body, call: read_responses(body), _kept(_RESPONSES), "input_tokens", {"object": "response.input_tokens"}
    ),
    "gemini-generate-content": Wire(_read_gemini, _asked_gemini, "totalTokens"),
}
