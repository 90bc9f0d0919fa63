"""What a route's policies make of a request that its target cannot take whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from control_plane.dialects.api import TargetFacts
from control_plane.dialects.error_rules import ErrorRule
from control_plane.dialects.rate_limits import RateLimits, Unit
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import Facts, Vendor
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


XAI = Vendor(
    (ErrorRule("credential_dead", 400, message="incorrect api key"), ErrorRule("transient", 200, code="tool_use_failed")),
    RateLimits(requests=Unit("x-left", "x-limit", "x-reset")),
)
GROK = replace(GPT, name="x/m", vendor=XAI, lacks=frozenset({"image", "logprobs", "prompt-caching"}))
QUESTION: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
MARKED = {"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


def test_rules_of_a_preset_settle_what_an_error_answer_means() -> None:
    attempt, _ = asked(GROK, QUESTION)
    attempt.head(400, content_type="application/json")
    attempt.body('{"code":"invalid-argument","error":"Incorrect API key provided: xa***gh"}', end=True)
    assert attempt.client_head is not None
    assert (attempt.client_head[":status"], attempt.client_head["x-headgate-failure"]) == ("502", "credential_dead")
    assert b"xa***" not in attempt.client_body
    attempt, _ = asked(GROK, QUESTION)
    attempt.head(400, content_type="application/json")
    attempt.body('{"code":"invalid-argument","error":"no such field"}', end=True)
    assert attempt.client_head is not None
    assert attempt.client_head[":status"] == "400"
    assert "x-headgate-failure" not in attempt.client_head


def test_and_what_an_error_inside_a_stream_means() -> None:
    attempt, _ = asked(GROK, {**QUESTION, "stream": True})
    attempt.head(200, content_type="text/event-stream")
    attempt.body('data: {"error":{"message":"no tool","code":"tool_use_failed","status_code":400}}\n\n')
    assert attempt.client_head is not None
    assert (attempt.client_head[":status"], attempt.client_head["x-headgate-failure"]) == ("503", "transient")


def test_rate_limits_become_a_retry_after() -> None:
    attempt, _ = asked(GROK, QUESTION)
    attempt.head(429, content_type="application/json", x_left="0", x_reset="1m1.2s")
    attempt.body('{"error":{"message":"slow down"}}', end=True)
    assert attempt.client_head is not None
    assert attempt.client_head["retry-after"] == "62"


def test_what_a_target_lacks() -> None:
    attempt, sent = asked(GROK, {**QUESTION, "messages": [{"role": "user", "content": [MARKED, IMAGE]}]})
    assert sent == {}
    head, error = refusal_of(attempt)
    assert (head[":status"], head["x-headgate-failure"]) == ("400", "unfit")
    assert "messages.0: the target does not have images" in error["message"]
    attempt, sent = asked(GROK, {**QUESTION, "messages": [{"role": "user", "content": [MARKED]}]})
    assert sent["messages"][0]["content"] == "q"
    attempt, sent = asked(replace(GROK, reject=True), {**QUESTION, "messages": [{"role": "user", "content": [MARKED]}]})
    assert sent == {}
    assert "cache_control" in refusal_of(attempt)[1]["message"]
