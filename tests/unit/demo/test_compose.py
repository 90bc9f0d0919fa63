"""What a simulated model answers, and values for schemas."""

from __future__ import annotations

import json

import pytest

from control_plane.demo.simulators.compose import Ask, Tool, answer, order, read_directive
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.sampling import sample
from control_plane.demo.simulators.tokens import PromptCache, count

WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool("get_time", {"type": "object", "properties": {}})


def test_text_repeats_the_question_and_says_who_speaks() -> None:
    assert "".join(answer(Ask("openai/gpt-5", "what now?")).text) == "openai/gpt-5 heard: what now?"


def test_tools_are_called_in_the_order_in_which_the_question_names_them() -> None:
    result = answer(Ask("x", "get_time, then get_weather, then get_time", tools=(WEATHER, TIME)))
    assert [call.name for call in result.calls] == ["get_time", "get_weather", "get_time"]
    assert result.finish == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "text", "parallel", "expected"),
    [
        ("none", "get_time", True, []),
        ("auto", "my get_timer is not a tool", True, []),
        ("required", "nothing named", True, ["get_weather"]),
        ("=get_time", "get_weather", True, ["get_time"]),
        ("auto", "get_time and get_weather", False, ["get_time"]),
    ],
)
def test_tool_choice(choice: str, text: str, parallel: bool, expected: list[str]) -> None:
    result = answer(Ask("x", text, tools=(WEATHER, TIME), choice=choice, parallel=parallel))
    assert [call.name for call in result.calls] == expected


def test_ordered_calls_have_exactly_the_ordered_arguments() -> None:
    arguments = '{"city": "Zürich \\"x\\"", "n": 12345678901234567890}'
    orders = order("get_weather", arguments) + order("get_time", "{}") + order("no_such_tool", "{}")
    for ask in (Ask("x", orders, tools=(WEATHER, TIME)), Ask("x", "t", tools=(WEATHER, TIME), tool_results=("fine", orders))):
        assert [(call.name, call.arguments) for call in answer(ask).calls] == [("get_weather", arguments), ("get_time", "{}")]
    assert len(answer(Ask("x", orders, tools=(WEATHER, TIME), parallel=False)).calls) == 1
    assert not answer(Ask("x", "[[call get_time !!!]]", tools=(TIME,), tool_results=("r",))).calls


def test_after_a_tool_result_it_answers_with_text_that_quotes_it() -> None:
    result = answer(Ask("x", "get_time", tools=(TIME,), tool_results=("it is noon",)))
    assert not result.calls
    assert "it is noon" in "".join(result.text)


def test_fragments_join_to_the_arguments() -> None:
    call = answer(Ask("x", "get_weather", tools=(WEATHER,))).calls[0]
    assert len(call.fragments()) > 3
    assert json.loads("".join(call.fragments())) == {"city": 'the "city" of Zürich\n→ sample'}


def test_the_token_limit_cuts_reasoning_first_and_says_length() -> None:
    result = answer(Ask("x", "a b c d e f", max_tokens=5, reasoning_tokens=3))
    assert (len(result.reasoning), len(result.text), result.finish, result.tokens) == (3, 2, "length", 5)


def test_a_stop_sequence_cuts_before_itself() -> None:
    result = answer(Ask("x", "one two three", stop=("three", "two")))
    assert ("".join(result.text), result.finish, result.stop_sequence) == ("x heard: one ", "stop_sequence", "two")


def test_a_directive_asks_for_a_long_answer() -> None:
    directive = read_directive("please [[sim tokens=700 delay_ms=0.5 bogus=1 first_ms=x]] go")
    assert (directive.tokens, directive.delay_ms, directive.first_ms) == (700, 0.5, None)
    assert len(answer(Ask("x", "", answer_tokens=directive.tokens)).text) == 700


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 3}, 3),
        ({"enum": ["celsius", "kelvin"]}, "celsius"),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
        ({"type": ["null", "array"], "items": {"type": "integer"}, "minItems": 2}, [7, 7]),
        ({"allOf": [{"type": "object"}, {"properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"$ref": "#/$defs/day", "$defs": {"day": {"type": "string", "format": "date"}}}, "2026-01-31"),
        ({"type": "string", "maxLength": 5}, 'the "'),
        ("not a schema", 'the "value" of Zürich\n→ sample'),
    ],
)
def test_samples_fit_their_schema(schema: object, expected: object) -> None:
    assert sample(schema) == expected


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert "next" in sample(node)


def test_the_prompt_cache_reads_the_longest_known_prefix_and_forgets_nothing_small() -> None:
    cache = PromptCache(minimum_tokens=10)
    assert cache.look("m", ["a", "b"], [4, 4]) == (0, 0)
    assert cache.look("m", ["a", "b", "c"], [6, 6, 6]) == (0, 18)
    assert cache.look("m", ["a", "b", "d"], [6, 6, 6]) == (12, 6)
    assert cache.look("other", ["a", "b"], [6, 6]) == (0, 12)
    assert count("Zürich") == 2


@pytest.mark.parametrize(
    "wrong", [{"status": 99}, {"probability": 0.0}, {"count": 0}, {"delay_ms": -1}, {"mode": "refuse", "count": 1}, {"bytes_per_s": 0}]
)
def test_a_fault_that_would_do_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Fault(**({"mode": "status"} | wrong))  # type: ignore[arg-type]  # the point of the test
