"""Options of a target, declared once: which a dialect knows, what their values are, what they mean.

A preset names them, the request writers read them, validation and JSON Schema are made of them. Nothing here depends on a
dialect's code, so that specs can be checked without loading any; `tests/unit/dialects/test_options.py` holds every dialect to
reading exactly what is declared for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

MAX_NAMES: Final = 64  # of a list or mapping; a vendor that refuses more fields than that speaks another dialect
MAX_COUNT: Final = 10_000_000  # tokens; no model answers at such length

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # options travel to the translator in a header, so ASCII only

Kind = Literal["flag", "choice", "name", "count", "names", "renames", "settings"]
Fault = Literal["type", "value", "bounds", "form"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `values` are the ones that a choice has."""

    name: str
    kind: Kind
    meaning: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadValue:
    """Why a value cannot be used and what to write instead."""

    fault: Fault
    message: str
    fix: str


COMMON: Final = (
    Option("drop_params", "names", "Top-level request fields that the provider refuses; removed, and named in x-headgate-dropped"),
    Option("rename_params", "renames", "Top-level request fields that have another name at the provider: our name to theirs"),
)

_CUSTOM_TOOLS: Final = Option(
    "custom_tools",
    "flag",
    "Whether the provider has tools that take free text; where not, they are functions with the argument input; default: true for "
    "openai-responses, and for openai-chat where the client speaks it",
)

_OPENAI_CHAT: Final = (
    Option(
        "max_tokens_field",
        "choice",
        "Field for the limit of an answer; default max_completion_tokens, which many vendors do not know",
        ("max_tokens", "max_completion_tokens"),
    ),
    Option("stream_usage", "flag", "false when the provider refuses stream_options; default true"),
    Option("replay_reasoning", "name", "Message field that takes back unsigned reasoning, such as reasoning_content; default: left out"),
    Option("tool_result_images", "flag", "true when tool messages may hold images; default: they follow in a user message"),
    Option("developer_role", "flag", "true to write system prompts as role developer"),
    Option("top_k", "flag", "true when the provider takes top_k; default: dropped, and named"),
    Option(
        "prefill",
        "choice",
        "How the provider is told to go on with an assistant message that ends the conversation: prefix, a mark on the message, or "
        "continue_final_message, a field of the request; default: it is not told, and no answer is resumed there",
        ("prefix", "continue_final_message", "none"),
    ),
    _CUSTOM_TOOLS,
)

_ANTHROPIC_MESSAGES: Final = (
    Option("default_max_tokens", "count", "Limit of an answer where the client sets none, since the field is mandatory; default 8192"),
    Option("thinking", "choice", "How a model is told to think; default: by the version in its name", ("adaptive", "budget", "none")),
    Option("structured_outputs", "flag", "false when the models do not know output_config.format (before 4.5)"),
    Option(
        "prefill",
        "choice",
        "Whether the models go on with an assistant message that ends the conversation; none: such a request is unfit; default, for "
        "resuming answers: Claude models before 4.6 do",
        ("assistant", "none"),
    ),
    Option("system_messages", "flag", "true when the models take system messages inside the conversation (4.8 and later)"),
)

_OPENAI_RESPONSES: Final = (
    Option(
        "encrypted_reasoning",
        "flag",
        "Whether to ask for reasoning that a later turn can give back; default: when the request asks for reasoning or the model reasons",
    ),
    Option("reasoning_summary", "flag", "false when the provider gives no summaries; default true"),
    _CUSTOM_TOOLS,
)

_GEMINI_GENERATE_CONTENT: Final = (
    Option("thinking", "choice", "How a model is told to think; default: by the generation in its name", ("level", "budget", "none")),
    Option("json_with_tools", "flag", "true when tools and a response format go together; default: from the third generation on"),
    Option("unsigned_calls", "flag", "true to mark replayed calls that no Gemini model signed; default: from the third generation on"),
    Option("penalties", "flag", "true when the model takes presence and frequency penalties, which newer ones refuse"),
    Option("call_ids", "flag", "false when the provider does not know ids of calls; default true"),
    Option("file_urls", "flag", "false when the provider does not fetch files by URL; default true"),
    Option("safety_settings", "settings", "The list that is sent as safetySettings: objects with category and threshold"),
)

_BEDROCK_CONVERSE: Final = (
    Option(
        "thinking",
        "choice",
        "How a model is told to think; default: by its name and version",
        ("adaptive", "budget", "reasoning_config", "reasoning_effort", "none"),
    ),
    Option("structured_outputs", "flag", "false when the models know neither outputConfig.textFormat nor strict tools"),
)

_COHERE_CHAT: Final = (
    Option("thinking", "choice", "How a model is told to think; default: budget where its name says that it reasons", ("budget", "none")),
    Option("json_with_tools", "flag", "true when tools and a response format go together; default false"),
)


def _table(options: Sequence[Option]) -> Mapping[str, Option]:
    return MappingProxyType({option.name: option for option in (*COMMON, *options)})


OPTIONS: Final[Mapping[str, Mapping[str, Option]]] = MappingProxyType(
    {
        "openai-chat": _table(_OPENAI_CHAT),
        "openai-responses": _table(_OPENAI_RESPONSES),
        "anthropic-messages": _table(_ANTHROPIC_MESSAGES),
        "anthropic-vertex": _table(_ANTHROPIC_MESSAGES),
        "anthropic-bedrock": _table(_ANTHROPIC_MESSAGES),
        "cohere-chat": _table(_COHERE_CHAT),
        "gemini-generate-content": _table(_GEMINI_GENERATE_CONTENT),
        "bedrock-converse": _table(_BEDROCK_CONVERSE),
        **{name: _table(()) for name in ("voyage", "tei", "sglang-rerank", "nvidia-rerank")},  # without chat
    }
)
"""By dialect and name. A dialect that is not here has no options at all."""


def options_of(dialects: Iterable[str]) -> Mapping[str, Option]:
    """Every option that at least one of `dialects` knows."""
    found: dict[str, Option] = {}
    for dialect in dialects:
        for name, option in OPTIONS.get(dialect, {}).items():
            found[name] = either(found[name], option) if name in found else option
    return found


def either(one: Option, other: Option) -> Option:
    """One declaration for an option that two dialects know, perhaps with other values. Another kind would be another option: ValueError."""
    if one.kind != other.kind:
        raise ValueError(f"the option {one.name} is declared as {one.kind} and as {other.kind}")
    meaning = one.meaning if one.meaning == other.meaning else f"{one.meaning}; {other.meaning}"
    return Option(one.name, one.kind, meaning, tuple(dict.fromkeys((*one.values, *other.values))))


def problem_of(option: Option, value: object) -> BadValue | None:
    """What is wrong with `value`, or None. Lists may be tuples."""
    if option.kind == "flag":
        return None if isinstance(value, bool) else BadValue("type", "must be true or false", "write true or false")
    if option.kind == "count":
        if type(value) is not int:
            return BadValue("type", "must be a whole number", "write a number such as 4096")
        return None if 0 < value <= MAX_COUNT else BadValue("bounds", "out of bounds", f"write a number from 1 to {MAX_COUNT}")
    if option.kind == "choice":
        ways = " or ".join(option.values)
        if not isinstance(value, str):
            return BadValue("type", "must be a text", f"write {ways}")
        return None if value in option.values else BadValue("value", "unknown value", f"write {ways}")
    if option.kind == "name":
        if not isinstance(value, str):
            return BadValue("type", "must be a text", "write the name of a field")
        return None if _NAME.fullmatch(value) else BadValue("form", "not the name of a field", "write letters, digits and underscores")
    return _problem_of_settings(value) if option.kind == "settings" else _problem_of_names(option, value)


def _problem_of_settings(value: object) -> BadValue | None:
    example = "write for example [{category: HARM_CATEGORY_HARASSMENT, threshold: BLOCK_ONLY_HIGH}]"
    if not isinstance(value, list | tuple) or not all(isinstance(entry, Mapping) for entry in value):
        return BadValue("type", "must be a list of objects", example)
    if len(value) > MAX_NAMES:
        return BadValue("bounds", f"has more than {MAX_NAMES} entries", "shorten it")
    if not all(isinstance(word, str) and _NAME.fullmatch(word) for entry in value for pair in entry.items() for word in pair):
        return BadValue("form", "holds something that is not a word", example)
    return None


def _problem_of_names(option: Option, value: object) -> BadValue | None:
    if option.kind == "names":
        if not isinstance(value, list | tuple):
            return BadValue("type", "must be a list of field names", "write for example [logprobs, top_logprobs]")
        names: list[object] = list(value)
    else:
        if not isinstance(value, Mapping):
            return BadValue("type", "must map field names to field names", "write for example {seed: random_seed}")
        names = [*value.keys(), *value.values()]
    if len(value) > MAX_NAMES:
        return BadValue("bounds", f"has more than {MAX_NAMES} entries", "shorten it")
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        return BadValue("form", "holds something that is not the name of a field", "write letters, digits and underscores")
    return None


def schema_of_options() -> dict[str, Any]:
    """JSON Schema of an options mapping, with the options of all dialects: which of them a preset may have depends on its dialects."""
    properties = {option.name: _schema_of(option) for option in sorted(options_of(OPTIONS).values(), key=lambda option: option.name)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _schema_of(option: Option) -> dict[str, Any]:
    name = {"type": "string", "pattern": f"^{_NAME.pattern}$"}
    shapes: dict[Kind, dict[str, Any]] = {
        "flag": {"type": "boolean"},
        "choice": {"type": "string", "enum": list(option.values)},
        "name": name,
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT},
        "names": {"type": "array", "items": name, "maxItems": MAX_NAMES},
        "renames": {
            "type": "object",
            "propertyNames": {"pattern": name["pattern"]},
            "additionalProperties": name,
            "maxProperties": MAX_NAMES,
        },
        "settings": {"type": "array", "items": {"type": "object", "additionalProperties": name}, "maxItems": MAX_NAMES},
    }
    return {"description": option.meaning, **shapes[option.kind]}
