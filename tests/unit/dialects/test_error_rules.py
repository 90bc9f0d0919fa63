"""Rules of presets for errors: which holds, what it changes, and what the vendors' own presets make of what the vendors say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from control_plane.dialects import error_rules, failures
from control_plane.dialects.canon import Failure, InStreamError
from control_plane.dialects.error_rules import ErrorRule, settled
from control_plane.dialects.failure_classes import FAILURE_CLASSES
from control_plane.dialects.registry import PROVIDERS
from control_plane.ir.passes import _errors
from control_plane.spec.presets import load_presets

FAULT = Failure("client_fault", 400, "no such field", code="bad")


def rules_of(preset: str) -> tuple[ErrorRule, ...]:
    """As they arrive at the translator."""
    return error_rules.read_rules(_errors(load_presets()[preset]) or "[]")


def classed(preset: str, status: int, body: object, dialect: str = "openai-chat") -> Failure:
    """What an error answer of a vendor comes to with its preset."""
    text = json.dumps(body).encode()
    document, words = failures.error_document(text)
    return settled(PROVIDERS[dialect].read_error(status, {}, text), rules_of(preset), status, document or words)


@pytest.mark.parametrize(
    ("preset", "dialect", "status", "body", "before", "after", "told"),
    [
        (
            "xai",
            "openai-responses",
            400,
            {
                "code": "invalid-argument",
                "error": "Incorrect API key provided: xa***gh. You can obtain an API key from https://console.x.ai.",
            },
            "client_fault",
            "credential_dead",
            401,
        ),
        ("xai", "openai-chat", 400, {"code": "invalid-argument", "error": "Unknown field: n"}, "client_fault", "client_fault", 400),
        (
            "groq",
            "openai-chat",
            400,
            {"error": {"message": "Failed to call a function.", "type": "invalid_request_error", "code": "tool_use_failed"}},
            "client_fault",
            "transient",
            503,
        ),
        (
            "perplexity",
            "openai-chat",
            400,
            {"error": {"message": "The total length of all messages is too long.", "type": "too_many_prompt_tokens", "code": 400}},
            "client_fault",
            "context_too_long",
            400,
        ),
    ],
)
def test_presets_know_what_their_vendors_say(
    preset: str, dialect: str, status: int, body: object, before: str, after: str, told: int
) -> None:
    assert PROVIDERS[dialect].read_error(status, {}, json.dumps(body).encode()).kind == before, "the rule is needed"
    failure = classed(preset, status, body, dialect)
    assert (failure.kind, failure.status) == (after, told)
    assert "xa***" not in failure.message


def test_an_error_inside_a_stream(bench: Any, sse_of: Any) -> None:
    said = {"message": "Tool choice is required, but model did not call a tool", "code": "tool_use_failed", "status_code": 400}
    (event,) = bench.read(bench.openai, sse_of({"error": said}))
    assert event.failure.kind == "client_fault"
    failure = settled(event.failure, rules_of("groq"), 200, event.error)
    assert (failure.kind, failure.status, failure.message) == ("transient", 503, said["message"])
    assert "Tool choice" not in repr(InStreamError(FAULT, said)), "vendors echo parts of keys"


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"status": 400}, True),
        ({"status": 429}, False),
        ({"code": "bad"}, True),
        ({"code": "Bad"}, False),
        ({"code": "ba"}, False),
        ({"code": "invalid_request_error"}, False),
        ({"type": "invalid_request_error"}, True),
        ({"type": "bad"}, False),
        ({"message": "SUCH field"}, True),
        ({"message": "no*field"}, True),
        ({"message": "*such*"}, True),
        ({"message": "field*such"}, False),
        ({"message": "nosuch"}, False),
        ({"status": 400, "code": "bad", "type": "invalid_request_error", "message": "field"}, True),
        ({"status": 400, "code": "bad", "type": "invalid_request_error", "message": "other"}, False),
    ],
)
def test_all_conditions_of_a_rule_must_hold(rule: dict[str, Any], holds: bool) -> None:
    document = {"code": "bad", "type": "invalid_request_error", "message": "no such field"}
    found = settled(FAULT, [ErrorRule("transient", **rule)], 400, document)
    assert (found.kind == "transient") is holds
    assert found is FAULT or holds


def test_the_first_rule_that_holds_decides() -> None:
    rules = [ErrorRule("quota_spent", status=402), ErrorRule("client_fault", status=400), ErrorRule("transient", status=400)]
    assert settled(FAULT, rules, 400, {}) is FAULT
    assert settled(FAULT, rules[::-1], 400, {}).kind == "transient"
    assert settled(FAULT, [], 400, {}) is FAULT


def test_what_a_dialect_has_read_counts_where_there_is_no_document() -> None:
    assert settled(FAULT, [ErrorRule("rate_limited", code="bad", message="such")], 200, None).kind == "rate_limited"
    assert settled(FAULT, [ErrorRule("rate_limited", message="engine died")], 200, "the engine died").kind == "rate_limited"


@pytest.mark.parametrize("kind", FAILURE_CLASSES)
def test_a_changed_class_has_a_status_that_says_the_same(kind: Any) -> None:
    failure = settled(Failure("other", 418, "m"), [ErrorRule(kind, status=418)], 418, {"message": "m"})  # type: ignore[arg-type]
    assert failure.kind == kind
    assert failure.retryable_elsewhere == (failure.status >= 500 or failure.status in (401, 402, 429))


def test_the_text_of_a_credential_error_is_replaced_and_comes_back_when_it_is_none() -> None:
    told = {"message": "bad key sk-1"}
    dead = settled(Failure("client_fault", 400, "bad key sk-1"), [ErrorRule("credential_dead", status=400)], 400, told)
    assert dead.message == failures.KEY_REFUSED
    read = failures.failure(401, None, "no more tokens today")
    back = settled(read, [ErrorRule("quota_spent", message="tokens")], 401, {"message": "no more tokens today"})
    assert (back.kind, back.status, back.message) == ("quota_spent", 402, "no more tokens today")
    assert settled(read, [ErrorRule("transient", status=401)], 401, None).message == "the provider answered 401"


def test_the_rules_of_every_preset_arrive_as_they_were_written() -> None:
    for name, preset in load_presets().items():
        assert [msgspec.structs.asdict(rule) for rule in rules_of(name)] == [rule.model_dump() for rule in preset.errors]
    with pytest.raises(msgspec.DecodeError):
        error_rules.read_rules('[{"kind": "sometimes"}]')
