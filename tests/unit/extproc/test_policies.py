"""What a route's policies make of a request that its target cannot take whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from tests.unit.extproc.conftest import Attempt
from tests.unit.extproc.fakes import Ids

CLAUDE = Facts(DIALECTS["openai-chat"], PROVIDERS["anthropic-messages"], "a/m", TargetFacts("claude-sonnet-5", "/v1/messages"))
GPT = Facts(DIALECTS["anthropic-messages"], PROVIDERS["openai-chat"], "o/m", TargetFacts("gpt-5", "/v1/chat/completions"))
REASONED = {
    "model": "m",
    "max_tokens": 99,
    "stop_sequences": ["a", "b", "c", "d", "e"],
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "U0lH"}, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "and?"},
    ],
}


def asked(facts: Facts, body: dict[str, Any]) -> tuple[Attempt, dict[str, Any]]:
    """(the attempt, what the provider got)."""
    tally = Tally()
    attempt = Attempt(Exchange(facts, Ids(), tally), tally)
    answers = attempt.request(json.dumps(body).encode())
    sent = b"".join(answer.request_body.response.body_mutation.streamed_response.body for answer in answers)
    attempt.answers.clear()
    return attempt, json.loads(sent)


def refusal_of(attempt: Attempt) -> tuple[dict[str, str], dict[str, Any]]:
    """(head, error document) of the answer to a harmless request."""
    attempt.head(404)
    attempt.body("no such page", end=True)
    assert attempt.client_head is not None
    return attempt.client_head, json.loads(attempt.client_body)["error"]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "q"}], **fields}


def test_a_route_that_rejects_names_every_field_in_the_clients_words() -> None:
    attempt, sent = asked(replace(CLAUDE, reject=True), chat(seed=1, logit_bias={"1": 1}, service_tier="flex", temperature=0.5))
    assert sent == {}
    head, error = refusal_of(attempt)
    assert (head[":status"], head["x-headgate-failure"]) == ("400", "unfit")
    assert error["code"] == "unsupported_parameter"
    assert all(name in error["message"] for name in ("seed", "logit_bias", "service_tier"))
    assert "temperature" not in error["message"]
    attempt, _ = asked(replace(GPT, reject=True), {**REASONED, "top_k": 5})
    _, error = refusal_of(attempt)
    assert all(name in error["message"] for name in ("top_k", "stop_sequences.4"))
    assert "messages" not in error["message"]  # reasoning has a policy of its own


def test_a_route_that_rejects_serves_what_the_target_gets_whole() -> None:
    attempt, sent = asked(replace(CLAUDE, reject=True), chat(temperature=0.5))
    assert sent["temperature"] == 0.5
    assert attempt.tally.declined == 0


def test_options_of_the_target_count_too() -> None:
    facts = replace(GPT, reject=True, target=TargetFacts("gpt-5", "/", {"drop_params": ["temperature"]}))
    attempt, sent = asked(facts, {"model": "m", "max_tokens": 9, "temperature": 0.1, "messages": [{"role": "user", "content": "q"}]})
    assert sent == {}
    assert "temperature" in refusal_of(attempt)[1]["message"]


def test_foreign_reasoning_by_policy() -> None:
    attempt, sent = asked(GPT, REASONED)
    assert "hm" not in json.dumps(sent)
    attempt.head(content_type="application/json")
    attempt.body(json.dumps({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}), end=True)
    assert attempt.client_head is not None
    assert attempt.client_head["x-headgate-dropped"] == "stop_sequences.4,messages.1.reasoning"
    _, sent = asked(replace(GPT, foreign_reasoning="text"), REASONED)
    assert [part["text"] for part in sent["messages"][1]["content"]] == ["<thinking>\nhm\n</thinking>", "a"]
    attempt, sent = asked(replace(GPT, foreign_reasoning="refuse"), REASONED)
    assert sent == {}
    head, error = refusal_of(attempt)
    assert (head[":status"], head["x-headgate-failure"]) == ("400", "unfit")
    assert "messages.1.reasoning" in error["message"]
