"""What a vendor or model lacks of its dialect, as data: one check of a request before any dialect writes it.

Otherwise the vendor would answer 400 for what the gateway could have known. As everywhere, a feature makes the target unfit for the
request and a tuning knob is dropped and named. `capabilities` declares the names, presets list them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from typing import Final

import msgspec

from control_plane.dialects.canon import Audio, Document, Image, Message, Part, Request, ToolCall, ToolResult, Unfit

_Found = Iterator[str]


def settled(request: Request, lacks: Set[str]) -> tuple[Request, tuple[str, ...]]:
    """(the request without knobs that the target lacks, their names in OpenAI chat's words, as writers name what they drop).

    Raises Unfit naming the first field that asks for a feature which the target lacks.
    """
    if not lacks:
        return request, ()
    for name, uses in _FEATURES.items():
        if name in lacks and (path := next(uses(request), None)) is not None:
            raise Unfit(path, f"the target does not have {_WORDS.get(name, name)}")
    changes: dict[str, object] = {}
    dropped: list[str] = []
    choice = request.tool_choice
    if "parallel-tools" in lacks and choice is not None and choice.parallel is not None:
        changes["tool_choice"] = msgspec.structs.replace(choice, parallel=None)
        dropped.append("parallel_tool_calls")
    if knobs := [name for capability, names in _KNOBS.items() if capability in lacks for name in names if _turned(request, name)]:
        changes["sampling"] = msgspec.structs.replace(request.sampling, **dict.fromkeys(knobs))
        dropped.extend(knobs)
    if "reasoning" in lacks and request.reasoning is not None:
        changes["reasoning"] = None
        dropped.append("reasoning_effort" if request.reasoning.effort is not None else "reasoning")
    if "prompt-caching" in lacks:
        _without_marks(request, changes, dropped)
    if not changes:
        return request, ()
    return (request.edited(**changes) if request.raw is not None else msgspec.structs.replace(request, **changes)), tuple(dropped)


def _turned(request: Request, name: str) -> bool:
    """Whether a request says something by that knob; `logprobs: false` says what is so anyway."""
    value = getattr(request.sampling, name)
    return value is not None and value is not False


def _tools(request: Request) -> _Found:
    if request.tools or request.foreign_tools:
        yield "tools"
    yield from (message.path for message in request.messages if any(isinstance(part, ToolCall | ToolResult) for part in message.parts))


def _tool_choice(request: Request) -> _Found:
    if request.tool_choice is not None and request.tool_choice.mode in ("required", "named"):
        yield "tool_choice"


def _several(request: Request) -> _Found:
    if (request.sampling.n or 1) > 1:
        yield "n"


def _format(kind: str) -> Callable[[Request], _Found]:
    def found(request: Request) -> _Found:
        if request.response_format is not None and request.response_format.kind == kind:
            yield "response_format"

    return found


def _part(kind: type[Part]) -> Callable[[Request], _Found]:
    def holds(part: Part) -> bool:
        return isinstance(part, kind) or (isinstance(part, ToolResult) and any(isinstance(inner, kind) for inner in part.parts))

    def found(request: Request) -> _Found:
        yield from (message.path for message in request.messages if any(map(holds, message.parts)))

    return found


_FEATURES: Final[dict[str, Callable[[Request], _Found]]] = {
    "tools": _tools,
    "tool-choice": _tool_choice,
    "structured-output": _format("json_schema"),
    "json-mode": _format("json"),
    "image": _part(Image),
    "audio": _part(Audio),
    "document": _part(Document),
    "several-choices": _several,
}
"""By capability: where a request uses it."""

_KNOBS: Final[dict[str, tuple[str, ...]]] = {
    "logprobs": ("logprobs", "top_logprobs"),
    "temperature": ("temperature",),
    "top-p": ("top_p",),
    "top-k": ("top_k",),
    "penalties": ("presence_penalty", "frequency_penalty"),
}
"""By capability: the fields of `Sampling` that tell of it, which OpenAI chat calls the same."""

_WORDS: Final = {"tool-choice": "forced tool choice", "structured-output": "JSON schemas", "json-mode": "JSON mode"} | {
    "several-choices": "several choices",
    "image": "images",
    "document": "documents",
}


def _without_marks(request: Request, changes: dict[str, object], dropped: list[str]) -> None:
    tools = tuple(msgspec.structs.replace(tool, cache=None) if tool.cache else tool for tool in request.tools)
    system = tuple(msgspec.structs.replace(text, cache=None) if text.cache else text for text in request.system)
    messages = tuple(map(_unmarked, request.messages))
    new: dict[str, object] = {"tools": tools, "system": system, "messages": messages, "cache": None}
    marked = {name: value for name, value in new.items() if value != getattr(request, name)}
    if marked:
        changes.update(marked)
        dropped.append("cache_control")


def _unmarked(message: Message) -> Message:
    if not any(getattr(part, "cache", None) for part in message.parts):
        return message
    parts = tuple(msgspec.structs.replace(part, cache=None) if getattr(part, "cache", None) else part for part in message.parts)
    return msgspec.structs.replace(message, parts=parts)
