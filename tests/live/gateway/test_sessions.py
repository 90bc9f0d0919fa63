"""Sessions that stay at their target through the real gateway, in both lanes, through outages and changes of weights."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.live.gateway.rig import Rig, RigFactory, route

THREE = "openai:50,anthropic:30,local:20"
SESSIONS = [f"session-{n}" for n in range(60)]


def sticky(text: str, by: str) -> str:
    return text.replace("  firstEventHold:", f"  stickiness: {{by: [{by}]}}\n  firstEventHold:")


ROUTES = (
    sticky(route("by-header", THREE, THREE), "header X-Session-Id")
    + sticky(route("by-conversation", THREE, THREE), "header X-Session-Id, conversation")
    + sticky(route("by-consumer", THREE), "consumer")
    + route("by-chance", THREE)
    + sticky(route("moving", "openai:50,anthropic:50"), "header x-session-id")
)


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def client(rig: Rig) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=rig.url, timeout=20) as made:
        yield made


def provider(client: httpx.Client, model: str, session: str, **body: Any) -> str:
    """Which provider answers a request of that session."""
    asked = {"model": model, "messages": [{"role": "user", "content": "hello"}], **body}
    answer = client.post("/v1/chat/completions", json=asked, headers={"x-session-id": session, "x-headgate-session": "1"})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-headgate-target"].split("/")[0]


def providers(client: httpx.Client, model: str, sessions: Sequence[str] = SESSIONS, **body: Any) -> dict[str, str]:
    return {one: provider(client, model, one, **body) for one in sessions}


def test_a_session_stays_whatever_it_asks_and_all_targets_have_some(rig: Rig, client: httpx.Client) -> None:
    first = providers(client, "by-header")
    assert set(first.values()) == {"openai", "anthropic", "local"}
    assert Counter(first.values())["openai"] > Counter(first.values())["local"]
    assert providers(client, "by-header", messages=[{"role": "user", "content": "quite another thing"}]) == first
    assert providers(client, "by-header", stream=True) == first
    for vendor in rig.vendors.values():
        assert not [name for request in vendor.requests for name in request.headers if name.startswith("x-headgate")]


def test_without_stickiness_the_same_requests_wander(client: httpx.Client) -> None:
    assert len({provider(client, "by-chance", "session-1") for _ in range(40)}) > 1


def test_an_outage_moves_the_sessions_of_that_target_alone_and_they_come_back(rig: Rig, client: httpx.Client) -> None:
    before = providers(client, "by-header")
    for down in ("anthropic", "openai"):  # one of each lane
        rig.break_vendor(down, mode="status", status=503)
        during = providers(client, "by-header")
        assert down not in during.values()
        assert {one for one in SESSIONS if during[one] != before[one]} == {one for one in SESSIONS if before[one] == down}
        assert providers(client, "by-header") == during  # where they went is one place too
        rig.heal()
        deadline = time.monotonic() + 60
        while (now := providers(client, "by-header")) != before:
            assert time.monotonic() < deadline
            assert {before[one] for one in SESSIONS if now[one] != before[one]} == {down}  # at every step of its return


def test_conversations_of_every_dialect(rig: Rig, client: httpx.Client) -> None:
    chat = openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0)
    messages = anthropic.Anthropic(base_url=rig.url, api_key="k", max_retries=0)
    homes = Counter[str]()
    with chat, messages:
        for n in range(12):
            first: list[Any] = [{"role": "user", "content": f"conversation {n}"}]
            later: list[Any] = [*first, {"role": "assistant", "content": "yes"}, {"role": "user", "content": f"more, {time.monotonic()}"}]
            for calls in (
                [chat.chat.completions.with_raw_response.create(model="by-conversation", messages=turns) for turns in (first, later)],
                [
                    messages.messages.with_raw_response.create(model="by-conversation", max_tokens=50, system=system, messages=turns)
                    for system, turns in (("one", first), ("two", later))
                ],
                [chat.responses.with_raw_response.create(model="by-conversation", input=turns) for turns in (first, later)],
            ):
                targets = [call.headers["x-headgate-target"] for call in calls]
                assert targets[0] == targets[1], (n, targets)
                homes[targets[0]] += 1
    assert len(homes) == 3


def test_a_key_of_the_prompt_cache_beats_the_first_message_and_a_header_both(client: httpx.Client) -> None:
    def ask(text: str, **more: Any) -> str:
        headers = more.pop("headers", {})
        body = {"model": "by-conversation", "messages": [{"role": "user", "content": text}], **more}
        return str(client.post("/v1/chat/completions", json=body, headers=headers).headers["x-headgate-target"])

    assert len({ask(str(n)) for n in range(30)}) == 3
    assert len({ask(str(n), prompt_cache_key="one") for n in range(30)}) == 1
    assert len({ask(str(n), prompt_cache_key=str(n), headers={"x-session-id": "s"}) for n in range(30)}) == 1


def test_by_the_clients_key(client: httpx.Client) -> None:
    def ask(key: str) -> str:
        body = {"model": "by-consumer", "messages": [{"role": "user", "content": "hello"}]}
        return str(client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}).headers["x-headgate-target"])

    assert len({ask(f"key-{n}") for n in range(30)}) == 3
    assert len({ask("key-1") for _ in range(20)}) == 1


def test_a_weight_edit_moves_only_the_sessions_it_must(rig: Rig, client: httpx.Client) -> None:
    before = providers(client, "moving")
    text = rig.specs.read_text()
    head, mark, rest = text.partition("metadata: {name: moving}")
    changed = head + mark + rest.replace("weight: 50}", "weight: 10}", 1)
    assert changed != text
    rig.specs.write_text(changed)
    deadline = time.monotonic() + 10
    after = before
    while after == before and time.monotonic() < deadline:
        after = providers(client, "moving")
    moved = {(before[one], after[one]) for one in SESSIONS if before[one] != after[one]}
    assert moved == {("openai", "anthropic")}
    assert "openai" in after.values()
    rig.specs.write_text(text)
    deadline = time.monotonic() + 10
    while providers(client, "moving") != before:
        assert time.monotonic() < deadline
