"""Sessions stay at their targets: the number that the edge hands to Envoy, with the weights that the control plane configures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects.told import Speaks
from control_plane.ir.model import Choice, Lane, TargetUse
from control_plane.xds.translate.sessions import MAX_PRODUCT, Sessions
from tests.unit.lua.lua_filter import LuaFilter, facts

STAR = facts([], dialect="openai-chat", operation="chat")
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBER = "x-headgate-session"
Plan = Sequence[dict[str, int]]
HELLO = [{"role": "user", "content": "hello"}]


def choices(plan: Plan) -> list[list[Choice]]:
    serves = Speaks("openai-chat", "chat", "/v1/chat/completions")
    return [[Choice(TargetUse(name, "m", Lane.PASSTHROUGH, 2000), weight, serves) for name, weight in group.items()] for group in plan]


def number(edge: LuaFilter, plan: Plan, body: dict[str, Any], by: Sequence[str] = ("conversation",), **headers: str) -> int | None:
    told = Sessions.among(choices(plan)).facts(by)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = json.dumps({"model": "m", **body}).encode()
    out = edge.request(raw, STAR, {"m": facts(route="r", dialect="openai-chat", **told)}, sent)
    assert out.status is None
    return int(out.headers[NUMBER]) if NUMBER in out.headers else None


def served(edge: LuaFilter, plan: Plan, session: str) -> list[str]:
    """The target of each group, as Envoy takes the number."""
    drawn = number(edge, plan, {"messages": HELLO}, ("header x-session-id",), x_session_id=session)
    assert drawn is not None
    found = []
    for group, weights in zip(plan, Sessions.among(choices(plan)).weights, strict=True):
        rest = drawn % sum(weights)
        for name, weight in zip(group, weights, strict=True):
            if rest < weight:
                found.append(name)
                break
            rest -= weight
    return found


def sessions(count: int) -> list[str]:
    return [f"session-{n}" for n in range(count)]


@pytest.mark.parametrize("weights", [(1, 1), (90, 10), (50, 30, 20), (1,) * 8, (997, 3, 131)])
def test_sessions_are_shared_by_weight(edge: LuaFilter, weights: tuple[int, ...]) -> None:
    plan = [{f"p{n}": weight for n, weight in enumerate(weights)}]
    count = Counter(served(edge, plan, one)[0] for one in sessions(4000))
    for name, weight in plan[0].items():
        share = weight / sum(weights)
        assert abs(count[name] / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5 + 0.001


def test_only_sessions_of_a_target_that_leaves_move_and_they_come_back(edge: LuaFilter) -> None:
    full = [{"a": 50, "b": 30, "c": 20}]
    before = {one: served(edge, full, one) for one in sessions(1000)}
    after = {one: served(edge, [{"a": 50, "c": 20}], one) for one in before}
    moved = {one for one in before if before[one] != after[one]}
    assert moved == {one for one in before if before[one] == ["b"]}
    assert {name for one in moved for name in after[one]} == {"a", "c"}
    assert {one: served(edge, full, one) for one in before} == before


@SETTINGS
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6), st.integers(1, 99), st.randoms(use_true_random=False))
def test_a_smaller_weight_takes_sessions_from_that_target_alone(edge: LuaFilter, weights: list[int], percent: int, chance: Any) -> None:
    group = {f"p{n}": weight * 100 for n, weight in enumerate(weights)}
    shrunk = chance.choice(sorted(group))
    less = {**group, shrunk: group[shrunk] * percent // 100}
    for one in sessions(60):
        old, new = served(edge, [group], one), served(edge, [less], one)
        # Shares are kept to a part in 65,536, so a score at the edge of two may fall the other way; never among these.
        assert old == new or old == [shrunk], one


@SETTINGS
@given(st.lists(st.lists(st.integers(1, 10_000), min_size=1, max_size=5), min_size=1, max_size=6))
def test_groups_choose_on_their_own(edge: LuaFilter, weights: list[list[int]]) -> None:
    """A change of one group moves nobody in another, and Envoy can hold the weights."""
    plan = [{"a": 1, "b": 1}, *({f"g{g}t{t}": weight for t, weight in enumerate(group)} for g, group in enumerate(weights))]
    made = Sessions.among(choices(plan))
    assert all(sum(group) <= max(MAX_PRODUCT, 50_000) for group in made.weights)
    changed = [{"other": 1, "another": 1}, *plan[1:]]
    chosen = len(made.choices) == sum(len(group) > 1 for group in plan)
    for one in sessions(8):
        then, now = served(edge, plan, one), served(edge, changed, one)
        assert all(name in group for name, group in zip(then, plan, strict=True))
        if chosen and all(max(group.values()) <= 10 for group in plan):
            assert then[1:] == now[1:]


def test_a_later_group_asks_another_target_where_it_has_one(edge: LuaFilter) -> None:
    for one in sessions(200):
        first, second, third = served(edge, [{"a": 1, "b": 9}, {"a": 1, "b": 9}, {"a": 1, "b": 1, "c": 1}], one)
        assert {first, second} == {"a", "b"}
        assert third == "c"


def test_shares_of_coarse_groups_stay_close() -> None:
    made = Sessions.among(choices([{"a": 9973, "b": 27}, {"a": 9999, "b": 3331}, {"a": 1, "b": 2}]))
    for group, (one, other) in zip(([9973, 27], [9999, 3331], [1, 2]), made.weights, strict=True):
        assert abs(one / (one + other) - group[0] / sum(group)) < 0.003


def turn(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]}


def blocks(*said: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": said[0], **said[1]}]}, *said[2:]]}


CACHED = {"cache_control": {"type": "ephemeral"}}
REPLY = {"role": "assistant", "content": "hi"}
SAME = {
    "a later turn": (turn("hello"), turn("hello", "hi", "more")),
    "another system prompt": ({"messages": [{"role": "system", "content": "now 1"}, *HELLO]}, {"messages": [REPLY, *HELLO, REPLY]}),
    "a cache mark that moves": (blocks("hello", CACHED), blocks("hello", {}, REPLY)),
    "key of the prompt cache": ({"prompt_cache_key": "k", **turn("a")}, {**turn("b"), "prompt_cache_key": "k"}),
    "conversation by id": ({"input": "a", "conversation": "c1"}, {"input": "b", "conversation": {"id": "c1"}}),
    "session of a user": ({"metadata": {"user_id": "u_session_1"}, **turn("a")}, {**turn("b"), "metadata": {"user_id": "u_session_1"}}),
    "no session of a user": ({"metadata": {"user_id": "u1"}, **turn("a")}, {**turn("a"), "metadata": {"user_id": "u2"}}),
    "Responses": ({"input": [{"role": "user", "content": "a"}]}, {"input": [{"role": "user", "content": "a"}, {"type": "reasoning"}]}),
    "Gemini": ({"contents": [{"parts": [{"text": "a"}]}]}, {"contents": [{"parts": [{"text": "a"}]}, {"role": "model"}]}),
}
PLAN: Plan = [{f"p{n}": 1 for n in range(32)}]
"""Of so many that chance would rarely find the same."""


@pytest.mark.parametrize("case", sorted(SAME))
def test_a_conversation_is_known_again(edge: LuaFilter, case: str) -> None:
    one, other = (number(edge, PLAN, body) for body in SAME[case])
    assert one is not None
    assert one == other


DIFFERENT = [
    turn("hello"),
    turn("hello, world"),
    blocks("hello there", CACHED),
    blocks("hello" * 2000, {}),
    blocks("hello" * 2000 + "!", {}),
    {"prompt_cache_key": "k", **turn("hello")},
    {"conversation": "hello2", **turn("hello")},
    {"input": "hello you"},
    {"contents": [{"role": "user", "parts": [{"text": "hello me"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:1"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:2"}}]}]},
]


def test_conversations_are_told_apart(edge: LuaFilter) -> None:
    wide = [{f"g{g}p{n}": 1 for n in range(32)} for g in range(4)]
    numbers = [number(edge, wide, body) for body in DIFFERENT]
    assert None not in numbers
    assert len(set(numbers)) == len(DIFFERENT)


@pytest.mark.parametrize(
    "body",
    [
        {"input": [], "n": 1},
        {"input": [1, 2, 3]},
        {"input": "the next turn", "previous_response_id": "resp_1"},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": {"role": "user"}},
        {"prompt_cache_key": "", "conversation": None, "metadata": "x"},
        {},
    ],
)
def test_what_names_no_conversation_goes_by_weight_alone(edge: LuaFilter, body: dict[str, Any]) -> None:
    assert number(edge, PLAN, body) is None


@pytest.mark.parametrize("size", [1000, 32_768, 100_000, 500_000])
def test_long_bodies(edge: LuaFilter, size: int) -> None:
    """The beginning of a conversation is found wherever it stands in the body."""
    tools = {"tools": [{"name": "t", "description": 'say "messages": [' + "x" * size}]}
    expected = number(edge, PLAN, turn("hello"))
    assert number(edge, PLAN, {**tools, **turn("hello", "y" * size)}) == expected
    assert number(edge, PLAN, {**turn("hello", "y" * size), **tools}) == expected
    long = number(edge, PLAN, turn("z" * size))
    assert long is not None
    assert number(edge, PLAN, {**tools, **turn("z" * size, "a", "b")}) == long


def test_the_first_way_that_a_request_has_counts(edge: LuaFilter) -> None:
    by = ("header x-session-id", "consumer", "conversation")
    bound = number(edge, PLAN, turn("a"), by, x_session_id="s", authorization="k")
    assert bound == number(edge, PLAN, turn("b"), by, x_session_id="s")
    keyed = number(edge, PLAN, turn("a"), by, authorization="Bearer k")
    assert keyed == number(edge, PLAN, turn("b"), by, authorization="Bearer k")
    assert number(edge, PLAN, turn("a"), by) == number(edge, PLAN, turn("a"))
    assert number(edge, PLAN, turn("a"), by[:1]) is None


def test_other_routes_are_left_alone(edge: LuaFilter) -> None:
    assert Sessions.among(choices([{"a": 1}, {"b": 1}])).facts(("conversation",)) == {}
    out = edge.request(json.dumps({"model": "m", **turn("a")}).encode(), STAR, {"m": facts(route="r", dialect="openai-chat")})
    assert NUMBER not in out.headers
