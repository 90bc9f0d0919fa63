"""Options are declared once: every dialect reads what is declared for it and nothing else, and each one changes a request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from control_plane.dialects.api import TargetFacts
from control_plane.dialects.beside_chat import BESIDE_CHAT
from control_plane.dialects.canon import Unfit
from control_plane.dialects.operations import SIDES
from control_plane.dialects.options import COMMON, MAX_COUNT, MAX_NAMES, OPTIONS, Option, either, options_of, problem_of, schema_of_options
from control_plane.dialects.registry import DIALECTS, PROVIDERS

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}

FROM_ANTHROPIC: dict[str, Any] = {
    "model": "asked",
    "max_tokens": 100,
    "stream": True,
    "temperature": 0.5,
    "top_k": 7,
    "system": "be brief",
    "messages": [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "headgate.openai-chat."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [IMAGE]}]},
    ],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
}
FROM_OPENAI: dict[str, Any] = {
    "model": "asked",
    "stream": True,
    "temperature": 0.5,
    "reasoning_effort": "low",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "system", "content": "be briefer"},
        {"role": "user", "content": "well?"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "strict": True, "parameters": {"type": "object", "properties": {}}}}],
}
FORMATTED = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}}}
LOOKED: dict[str, Any] = {
    "model": "asked",
    "frequency_penalty": 0.5,
    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}],
}
Asked = tuple[str, dict[str, Any]]
OPENAI: Asked = ("openai-chat", FROM_OPENAI)
ANTHROPIC: Asked = ("anthropic-messages", FROM_ANTHROPIC)
THINKING: Asked = ("anthropic-messages", {**FROM_ANTHROPIC, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1024}})
IN_A_FORMAT: Asked = ("openai-chat", {**FROM_OPENAI, "response_format": FORMATTED})

CUSTOM: Asked = ("openai-chat", {**FROM_OPENAI, "tools": [{"type": "custom", "custom": {"name": "patch"}}]})
CODEX: Asked = ("openai-responses", {"model": "asked", "input": "hello", "tools": [{"type": "custom", "name": "patch"}]})

BEGUN: Asked = ("openai-chat", {"model": "asked", "messages": [*FROM_OPENAI["messages"], {"role": "assistant", "content": "Well,"}]})

ASKED: dict[str, tuple[Asked, ...]] = {
    "openai-chat": (ANTHROPIC, CODEX, BEGUN),
    "openai-responses": (OPENAI, THINKING, CUSTOM),
    "anthropic-messages": (OPENAI, IN_A_FORMAT, BEGUN),
    "anthropic-vertex": (OPENAI, IN_A_FORMAT, BEGUN),
    "anthropic-bedrock": (OPENAI, IN_A_FORMAT, BEGUN),
    "cohere-chat": (OPENAI, THINKING, IN_A_FORMAT),
    "gemini-generate-content": (OPENAI, ANTHROPIC, IN_A_FORMAT, ("openai-chat", LOOKED)),
    "bedrock-converse": (OPENAI, IN_A_FORMAT),
}
"""By the provider's dialect: clients' dialects and requests in them that together touch every option."""

OWN: dict[str, dict[str, Any]] = {
    "openai-chat": FROM_OPENAI,
    "openai-responses": {"model": "asked", "input": "hello"},
    "anthropic-messages": FROM_ANTHROPIC,
    "cohere-chat": {"model": "asked", "messages": [{"role": "user", "content": "hello"}]},
}

EFFECTS: dict[tuple[str, str], object] = {
    ("openai-chat", "drop_params"): ["temperature"],
    ("openai-chat", "rename_params"): {"temperature": "heat"},
    ("openai-chat", "max_tokens_field"): "max_tokens",
    ("openai-chat", "stream_usage"): False,
    ("openai-chat", "replay_reasoning"): "reasoning_content",
    ("openai-chat", "tool_result_images"): True,
    ("openai-chat", "developer_role"): True,
    ("openai-chat", "top_k"): True,
    ("openai-chat", "custom_tools"): True,
    ("openai-chat", "prefill"): "prefix",
    ("anthropic-messages", "drop_params"): ["tools"],
    ("anthropic-messages", "rename_params"): {"tools": "kit"},
    ("anthropic-messages", "default_max_tokens"): 17,
    ("anthropic-messages", "thinking"): "adaptive",
    ("anthropic-messages", "structured_outputs"): False,
    ("anthropic-messages", "system_messages"): True,
    ("anthropic-messages", "prefill"): "none",
    ("openai-responses", "drop_params"): ["temperature"],
    ("openai-responses", "rename_params"): {"temperature": "heat"},
    ("openai-responses", "encrypted_reasoning"): False,
    ("openai-responses", "reasoning_summary"): False,
    ("openai-responses", "custom_tools"): False,
    ("bedrock-converse", "drop_params"): ["temperature"],
    ("bedrock-converse", "rename_params"): {"temperature": "heat"},
    ("bedrock-converse", "thinking"): "budget",
    ("bedrock-converse", "structured_outputs"): False,
    ("cohere-chat", "drop_params"): ["temperature"],
    ("cohere-chat", "rename_params"): {"temperature": "heat"},
    ("cohere-chat", "thinking"): "budget",
    ("cohere-chat", "json_with_tools"): True,
    ("gemini-generate-content", "drop_params"): ["temperature"],
    ("gemini-generate-content", "rename_params"): {"temperature": "heat"},
    ("gemini-generate-content", "thinking"): "none",
    ("gemini-generate-content", "json_with_tools"): True,
    ("gemini-generate-content", "unsigned_calls"): True,
    ("gemini-generate-content", "penalties"): True,
    ("gemini-generate-content", "call_ids"): False,
    ("gemini-generate-content", "file_urls"): False,
    ("gemini-generate-content", "safety_settings"): [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
}
EFFECTS |= {
    (cloud, name): value
    for (dialect, name), value in EFFECTS.items()
    for cloud in ("anthropic-vertex", "anthropic-bedrock")
    if dialect == "anthropic-messages"
}
"""A value of every declared option that is not its default."""


class Spy(Mapping[str, object]):
    """Options that note what is asked of them."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> object:
        self.asked.add(key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("options are read by name, so that the declaration can be checked")

    def __len__(self) -> int:
        return 0


def written(provider: str, client: str, body: dict[str, Any], options: Mapping[str, object]) -> Any:
    """The provider's request, or the field that makes the target unfit."""
    request = DIALECTS[client].read_request(json.dumps(body).encode())
    target = TargetFacts(model="gemini-2.5-flash" if "gemini" in provider else "m", path="/", options=options)
    try:
        return json.loads(PROVIDERS[provider].write_request(request, target).body)
    except Unfit as unfit:
        return unfit.field


def test_the_effects_below_are_of_all_declared_options() -> None:
    assert set(EFFECTS) == {(dialect, name) for dialect in PROVIDERS for name in OPTIONS[dialect]}
    assert set(OPTIONS) == {*PROVIDERS, *BESIDE_CHAT}


@pytest.mark.parametrize("dialect", BESIDE_CHAT)
def test_dialects_without_chat_read_the_common_options(dialect: str) -> None:
    assert [*OPTIONS[dialect]] == [option.name for option in COMMON]
    spy = Spy()
    bodies: dict[str, dict[str, Any]] = {"embeddings": {"input": "a"}, "rerank": {"query": "q", "documents": ["a"]}}
    for operation, body in bodies.items():
        sides = SIDES[operation]
        if dialect not in sides.providers:
            continue
        request = sides.clients["openai-chat"].read_request(json.dumps({"model": "asked", **body}).encode())
        for options in (spy, {"drop_params": ["query", "input"]}, {"rename_params": {"query": "x", "input": "x"}}):
            made = json.loads(sides.providers[dialect].write_request(request, TargetFacts("m", "/", options)).body)
            assert ("x" in made) == (options is not spy and "rename_params" in options)
            assert bool({"query", "input"} & made.keys()) == (options is spy)
    assert spy.asked == set(OPTIONS[dialect])


@pytest.mark.parametrize(("dialect", "name"), list(EFFECTS))
def test_a_declared_option_changes_a_request_and_its_value_is_valid(dialect: str, name: str) -> None:
    value = EFFECTS[dialect, name]
    assert problem_of(OPTIONS[dialect][name], value) is None
    assert any(written(dialect, *asked, {name: value}) != written(dialect, *asked, {}) for asked in ASKED[dialect])


@pytest.mark.parametrize("dialect", PROVIDERS)
def test_a_dialect_reads_what_is_declared_for_it_and_nothing_else(dialect: str) -> None:
    spy = Spy()
    for asked in ASKED[dialect]:
        written(dialect, *asked, spy)
    if dialect in OWN:
        written(dialect, dialect, OWN[dialect], spy)
    assert spy.asked == set(OPTIONS[dialect])


def test_an_option_that_makes_a_request_unfit() -> None:
    assert written("anthropic-messages", *IN_A_FORMAT, {"structured_outputs": False}) == "response_format"


def option(kind: Any, *values: str) -> Option:
    return Option("o", kind, "for the test", values)


@pytest.mark.parametrize(
    ("declared", "value", "fault"),
    [
        (option("flag"), True, None),
        (option("flag"), 1, "type"),
        (option("flag"), "true", "type"),
        (option("flag"), None, "type"),
        (option("count"), 1, None),
        (option("count"), MAX_COUNT, None),
        (option("count"), MAX_COUNT + 1, "bounds"),
        (option("count"), 0, "bounds"),
        (option("count"), True, "type"),
        (option("count"), 1.5, "type"),
        (option("choice", "a", "b"), "b", None),
        (option("choice", "a", "b"), "c", "value"),
        (option("choice", "a", "b"), ["a"], "type"),
        (option("name"), "reasoning_content", None),
        (option("name"), "", "form"),
        (option("name"), "größe", "form"),
        (option("name"), 7, "type"),
        (option("names"), [], None),
        (option("names"), ("a", "b"), None),
        (option("names"), "a", "type"),
        (option("names"), ["a", 1], "form"),
        (option("names"), ["a"] * (MAX_NAMES + 1), "bounds"),
        (option("renames"), {"a": "b"}, None),
        (option("renames"), ["a"], "type"),
        (option("renames"), {"a": "b c"}, "form"),
        (option("renames"), {1: "b"}, "form"),
        (option("settings"), [{"category": "A", "threshold": "B"}], None),
        (option("settings"), {"category": "A"}, "type"),
        (option("settings"), ["A"], "type"),
        (option("settings"), [{}] * (MAX_NAMES + 1), "bounds"),
        (option("settings"), [{"category": 1}], "form"),
    ],
)
def test_values(declared: Option, value: object, fault: str | None) -> None:
    problem = problem_of(declared, value)
    assert (problem.fault if problem else None) == fault
    assert problem is None or (problem.message and problem.fix)


def test_options_of_several_dialects_are_those_of_each() -> None:
    both = options_of(["openai-chat", "anthropic-messages"])
    assert {"max_tokens_field", "default_max_tokens", *(common.name for common in COMMON)} <= set(both)
    assert options_of([]) == options_of(["no-such-dialect"]) == {}
    assert set(schema_of_options()["properties"]) == set(options_of(OPTIONS)) > set(both)


def test_an_option_of_two_dialects_may_differ_in_its_values_but_not_in_its_kind() -> None:
    merged = either(Option("o", "choice", "here", ("a", "b")), Option("o", "choice", "there", ("b", "c")))
    assert merged == Option("o", "choice", "here; there", ("a", "b", "c"))
    assert either(merged, merged) == merged
    with pytest.raises(ValueError, match="declared as choice and as flag"):
        either(merged, option("flag"))
