"""What a request for an override must say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.overrides.asked import DEFAULT_S, LONGEST_S, Asked, Refusal, read, rivals, wish_of
from control_plane.overrides.model import Event, What, Wish, folded
from tests.unit.overrides.conftest import PLANS, T0, override, wish


def asked(**given: Any) -> Wish:
    body = {"kind": "drain", "subject": "provider/openai", "reason": "INC-1", "author": "alice", **given}
    return wish_of(read(json.dumps(body).encode(), Asked), T0, PLANS, "local")


def refused(**given: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        asked(**given)
    return caught.value


def test_an_hour_unless_it_is_said() -> None:
    assert asked().until == T0 + DEFAULT_S
    assert asked(for_s=90).until == T0 + 90
    assert asked(until=T0 + 5).until == T0 + 5
    assert asked(never=True).until is None
    assert (asked().via, asked(force=True).forced) == ("local", True)


@pytest.mark.parametrize(
    "lasts",
    [{"for_s": 0}, {"for_s": -1}, {"until": T0 - 1}, {"for_s": LONGEST_S + 1}, {"never": True, "for_s": 5}, {"for_s": 5, "until": T0 + 5}],
)
def test_ends_that_are_none(lasts: dict[str, Any]) -> None:
    assert refused(**lasts).code == "invalid"


@pytest.mark.parametrize("text", ["", "  ", "x" * 501, "two\nlines", "\x1b[31m"])
def test_reason_and_author_are_words(text: str) -> None:
    assert "reason must say something" in refused(reason=text).message
    assert "author must say something" in refused(author=text).message


def test_unknown_names_are_answered_with_the_nearest() -> None:
    assert 'did you mean "openai"?' in str(refused(subject="provider/opnai"))
    assert 'did you mean "openai/gpt-5"?' in str(refused(subject="target/openai/gpt5"))
    assert 'did you mean "chat"?' in str(refused(route="chatt"))
    assert 'no provider "azure" in a plan on route only' in str(refused(subject="provider/azure", route="only"))
    assert "there are anthropic, azure, openai" in str(refused(subject="provider/zzzzzzzz"))
    assert 'did you mean "azure/gpt-5"' in str(refused(kind="weight", subject="route/chat", weights={"azur/gpt-5": 3}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"subject": "route/chat"}, "drain does not go with route/chat"),
        ({"kind": "weight", "weights": {"openai/gpt-5": 1}}, "weight does not go with provider/openai"),
        ({"kind": "weight", "subject": "route/chat"}, "no weight is given"),
        ({"kind": "weight", "subject": "route/chat", "weights": {"openai/gpt-5": -1}}, "is no weight"),
        ({"kind": "weight", "subject": "route/chat", "weights": {"openai/gpt-5": 10**9}}, "is no weight"),
        ({"kind": "weight", "subject": "route/chat", "route": "chat", "weights": {"openai/gpt-5": 1}}, "a weight names its route"),
        ({"kind": "pin"}, "Invalid enum value"),
        ({"extra": 1}, "unknown field"),
        ({"force": "yes"}, "Expected `bool`"),
        ({"step_s": -1}, "no length of a step"),
        ({"subject": "openai"}, "is not provider/NAME"),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str) -> None:
    error = refused(**given)
    assert said in error.message
    assert error.fix


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'{"kind": "drain"}'])
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read(body, Asked)
    assert caught.value.code == "invalid"


def test_rivals_say_something_about_the_same_thing() -> None:
    book = {"ov-1": override(), "ov-2": override("ov-2", kind="weight", subject="route/chat", weights=(("openai/gpt-5", 1),))}
    assert [o.id for o in rivals(wish("cordon"), book)] == ["ov-1"]
    assert rivals(wish(route="chat"), book) == []
    assert rivals(wish(subject="target/openai/gpt-5"), book) == []
    assert [o.id for o in rivals(wish("weight", "route/chat", weights=(("openai/gpt-5", 9), ("azure/gpt-5", 1))), book)] == ["ov-2"]
    assert rivals(wish("weight", "route/chat", weights=(("azure/gpt-5", 1),)), book) == []
    over = folded([Event(T0, "ov-1", What.ENDED, "bob", {"why": "undone"})], book)
    assert rivals(wish(), over) == []
