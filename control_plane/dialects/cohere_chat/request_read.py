"""Reading a chat request body as a client wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from control_plane.dialects import json_body as j
from control_plane.dialects.canon import Message, Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice
from control_plane.dialects.cohere_chat import messages_read
from control_plane.dialects.cohere_chat.vocabulary import NAME

_MAPPED: Final = frozenset(
    (
        *("model", "messages", "documents", "tools", "strict_tools", "tool_choice", "response_format", "thinking", "stream"),
        *("max_tokens", "stop_sequences", "temperature", "p", "k", "seed", "presence_penalty", "frequency_penalty", "logprobs"),
    )
)
_FEATURES: Final = frozenset(("raw_prompting", "return_prompt"))
"""Without these the answer would be another one, so a target that lacks them is unfit."""

_FUNCTION_FIELDS: Final = frozenset(("name", "description", "parameters"))
_CHOICES: Final = {"REQUIRED": "required", "NONE": "none"}
_NAMES: Final[Mapping[str, str]] = {
    "top_p": "p",
    "top_k": "k",
    "stop": "stop_sequences",
    "reasoning": "thinking",
    "reasoning_effort": "thinking",
    "response_format.json_schema.schema": "response_format.json_schema",
}
"""What writers call otherwise."""


def read_request(body: bytes) -> Request:
    """The canonical request. Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    lost, features = j.placeless(raw, _MAPPED, _FEATURES)
    model = j.model_of(raw)
    wire_messages = j.messages_of(raw)
    system, messages = messages_read.read_messages(wire_messages, lost)
    documents = messages_read.read_documents(j.array(raw, "documents", ""), lost)
    tools = _tools(raw, lost)
    return Request(
        dialect=NAME,
        model=model,
        messages=_with_documents(messages, documents),
        system=system,
        tools=tools,
        tool_choice=_tool_choice(raw),
        response_format=_response_format(raw, lost),
        sampling=Sampling(
            temperature=j.number(raw, "temperature", ""),
            top_p=j.number(raw, "p", ""),
            top_k=j.integer(raw, "k", ""),
            max_tokens=j.integer(raw, "max_tokens", ""),
            stop=_stop(raw),
            seed=j.integer(raw, "seed", ""),
            presence_penalty=j.number(raw, "presence_penalty", ""),
            frequency_penalty=j.number(raw, "frequency_penalty", ""),
            logprobs=j.boolean(raw, "logprobs", ""),
        ),
        reasoning=_reasoning(raw, lost),
        stream=j.boolean(raw, "stream", "") or False,
        include_usage=True,
        unmapped=tuple(lost),
        features=tuple(features),
        raw=raw,
        names=_NAMES,
    )


def _with_documents(messages: tuple[Message, ...], documents: Message | None) -> tuple[Message, ...]:
    """The documents stand in front of the first turn of the user, so that the beginning of a longer history stays as it was."""
    if documents is None:
        return messages
    place = next((i for i, message in enumerate(messages) if message.role == "user"), len(messages))
    return (*messages[:place], documents, *messages[place:])


def _tools(raw: j.Object, lost: list[str]) -> tuple[Tool, ...]:
    strict = j.boolean(raw, "strict_tools", "")
    tools: list[Tool] = []
    for index, value in enumerate(j.array(raw, "tools", "")):
        path = f"tools.{index}"
        item = j.as_obj(value, path)
        if j.string(item, "type", path) not in (None, "function"):
            j.reject(f"{path}.type", "expected function")
        function = j.required_obj(item, "function", path)
        path = f"{path}.function"
        lost.extend(j.unknown_fields(function, _FUNCTION_FIELDS, path))
        tools.append(
            Tool(
                name=j.required_string(function, "name", path),
                description=j.string(function, "description", path),
                schema=j.obj(function, "parameters", path),
                strict=strict,
            )
        )
    return tuple(tools)


def _tool_choice(raw: j.Object) -> ToolChoice | None:
    value = j.string(raw, "tool_choice", "")
    if value is None:
        return None
    if value not in _CHOICES:
        j.reject("tool_choice", "expected REQUIRED or NONE")
    return ToolChoice("required" if value == "REQUIRED" else "none")


def _response_format(raw: j.Object, lost: list[str]) -> ResponseFormat | None:
    value = j.obj(raw, "response_format", "")
    if value is None:
        return None
    kind = j.required_string(value, "type", "response_format")
    lost.extend(j.unknown_fields(value, frozenset(("type", "json_schema")), "response_format"))
    if kind == "text":
        return ResponseFormat("text")
    if kind != "json_object":
        j.reject("response_format.type", "expected text or json_object")
    schema = j.obj(value, "json_schema", "response_format")
    return ResponseFormat("json") if schema is None else ResponseFormat("json_schema", schema=schema)


def _reasoning(raw: j.Object, lost: list[str]) -> Reasoning | None:
    value = j.obj(raw, "thinking", "")
    if value is None:
        return None
    kind = j.required_string(value, "type", "thinking")
    if kind not in ("enabled", "disabled"):
        j.reject("thinking.type", "expected enabled or disabled")
    lost.extend(j.unknown_fields(value, frozenset(("type", "token_budget")), "thinking"))
    return Reasoning(enabled=kind == "enabled", budget=j.integer(value, "token_budget", "thinking"))


def _stop(raw: j.Object) -> tuple[str, ...]:
    found: Sequence[object] = j.array(raw, "stop_sequences", "")
    texts: list[str] = []
    for index, item in enumerate(found):
        if type(item) is not str:
            j.wrong_type(f"stop_sequences.{index}", "a string", item)
        texts.append(item)
    return tuple(texts)
