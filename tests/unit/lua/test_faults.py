"""Errors on the passthrough lane: the script in Envoy says the same as the translator would, by the same rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dialects import error_rules, failures
from control_plane.dialects.failure_classes import FAILURE_CLASSES
from control_plane.dialects.registry import PROVIDERS
from control_plane.ir.passes import _errors
from control_plane.spec.presets import load_presets
from tests.fault_filter import FaultFilter

RULES = {name: _errors(preset) for name, preset in load_presets().items()}
WRONG_KEY = {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}
PER_DAY = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}
PER_MINUTE = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}


@pytest.fixture(scope="module")
def faults() -> FaultFilter:
    return FaultFilter()


def of_openai(message: str, code: str | None = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def of_google(status: int, message: str, word: str, *details: Any) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": word, "details": list(details)}}


SPENT = "You exceeded your current quota, please check your plan and billing details."
CASES: list[tuple[str, str, int, Any, str]] = [
    ("openai", "openai-chat", 401, of_openai("Incorrect API key provided: sk-x.", "invalid_api_key"), "credential_dead"),
    ("openai", "openai-chat", 429, of_openai(SPENT, "insufficient_quota", "insufficient_quota"), "quota_spent"),
    ("openai", "openai-chat", 429, of_openai("Rate limit reached for gpt-5", "rate_limit_exceeded", "requests"), "rate_limited"),
    ("openai", "openai-chat", 400, of_openai("This model's maximum context length is 8192", "context_length_exceeded"), "context_too_long"),
    ("openai", "openai-chat", 400, of_openai("flagged", "content_policy_violation"), "content_policy"),
    ("openai", "openai-chat", 400, of_openai("Unknown parameter: 'x'.", "unknown_parameter"), "client_fault"),
    ("openai", "openai-responses", 400, of_openai("The requested model 'm' does not exist.", "model_not_found"), "transient"),
    ("openai", "openai-chat", 404, of_openai("no such model", "model_not_found"), "transient"),
    ("openai", "openai-chat", 503, of_openai("overloaded"), "transient"),
    ("azure-openai", "openai-chat", 400, of_openai("The response was filtered", "content_filter"), "content_policy"),
    ("xai", "openai-chat", 400, {"code": "invalid-argument", "error": "Incorrect API key provided: ca***ry."}, "credential_dead"),
    ("xai", "openai-chat", 400, {"code": "invalid-argument", "error": "Argument not supported: presencePenalty"}, "client_fault"),
    ("deepseek", "openai-chat", 402, of_openai("Insufficient Balance"), "quota_spent"),
    ("groq", "openai-chat", 400, of_openai("no tool", "tool_use_failed"), "transient"),
    ("groq", "openai-chat", 498, of_openai("flex at capacity"), "rate_limited"),
    ("anthropic", "anthropic-messages", 400,
     {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}, "quota_spent"),
    ("anthropic", "anthropic-messages", 400,
     {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 3 > 2"}}, "context_too_long"),
    ("anthropic", "anthropic-messages", 529, {"type": "error", "error": {"type": "overloaded_error"}}, "transient"),
    ("gemini", "gemini-generate-content", 400, WRONG_KEY, "credential_dead"),
    ("gemini", "gemini-generate-content", 400, [WRONG_KEY], "credential_dead"),
    ("gemini", "gemini-generate-content", 429, of_google(429, SPENT, "RESOURCE_EXHAUSTED", PER_DAY, WAIT), "quota_spent"),
    ("gemini", "gemini-generate-content", 429, of_google(429, SPENT, "RESOURCE_EXHAUSTED", PER_MINUTE, WAIT), "rate_limited"),
    ("gemini", "gemini-generate-content", 429, of_google(429, SPENT, "RESOURCE_EXHAUSTED", WAIT), "rate_limited"),
    ("gemini", "gemini-generate-content", 429, of_google(429, SPENT, "RESOURCE_EXHAUSTED"), "quota_spent"),
    ("gemini", "gemini-generate-content", 400, of_google(400, "User location is not supported", "FAILED_PRECONDITION"), "transient"),
    ("gemini", "gemini-generate-content", 400, of_google(400, "input token count (9) exceeds it", "BAD"), "context_too_long"),
    ("bedrock", "bedrock-converse", 400, {"message": "This model doesn't support tool use.", "__type": "ValidationException"}, "transient"),
    ("bedrock", "bedrock-converse", 400, {"message": "bad", "__type": "com.amazon#ServiceQuotaExceededException"}, "quota_spent"),
    ("bedrock", "bedrock-converse", 429, {"message": "Too many tokens per day", "__type": "ThrottlingException"}, "quota_spent"),
    ("bedrock", "bedrock-converse", 424, {"message": "model failed"}, "transient"),
    ("cohere", "cohere-chat", 498, {"id": "a", "message": "blocked"}, "content_policy"),
    ("cohere", "cohere-chat", 429, {"message": "You are limited to 1000 API calls / month"}, "quota_spent"),
    ("mistral", "openai-chat", 401, {"detail": "Unauthorized"}, "credential_dead"),
    ("openai-compatible", "openai-chat", 422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "client_fault"),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "dialect", "status", "document", "kind"), CASES)
def test_both_lanes_say_the_same(faults: FaultFilter, preset: str, dialect: str, status: int, document: Any, kind: str) -> None:
    for body in (json.dumps(document).encode(), json.dumps(document, indent=2).encode()):
        assert faults.kind(status, body, dialect, RULES[preset]) == kind
        assert translated(status, body, dialect, RULES[preset]) == kind


def translated(status: int, body: bytes, dialect: str, rules: str, headers: dict[str, str] | None = None) -> str:
    failure = PROVIDERS[dialect].read_error(status, headers or {}, body)
    document, text = failures.error_document(body)
    return error_rules.settled(failure, error_rules.read_rules(rules or "[]"), status, document or text).kind


def test_the_class_that_aws_says_in_a_header(faults: FaultFilter) -> None:
    headers = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}
    assert faults.kind(400, b'{"message":"slow"}', "bedrock-converse", headers=headers) == "client_fault", "its status is what counts"
    headers = {"x-amzn-errortype": "ModelNotReadyException:http://internal.amazon.com/coral/"}
    assert faults.kind(429, b'{"message":"wait"}', "bedrock-converse", headers=headers) == "transient"


def test_a_wait_that_google_says_in_the_body_becomes_a_header(faults: FaultFilter) -> None:
    body = json.dumps(of_google(429, SPENT, "RESOURCE_EXHAUSTED", PER_MINUTE, WAIT)).encode()
    assert faults.read(429, body, "gemini-generate-content")[0]["retry-after"] == "35"
    assert faults.read(429, body, "gemini-generate-content", headers={"retry-after": "7"})[0]["retry-after"] == "7"


@pytest.mark.parametrize(
    ("status", "rules", "headers", "reads"),
    [
        (429, "", {}, True),
        (503, "", {}, False),
        (503, '[{"kind":"rate_limited","status":503,"message":"slow"}]', {}, True),
        (429, "", {"content-encoding": "gzip"}, False),
        (429, "", {"content-encoding": "identity"}, True),
        (429, "", {"content-length": "99999999"}, False),
    ],
)
def test_a_body_is_waited_for_where_it_can_tell_something(
    faults: FaultFilter, status: int, rules: str, headers: dict[str, str], reads: bool
) -> None:
    assert faults.read(status, b'{"error":{"message":"slow down"}}', "openai-chat", rules, headers)[1] is reads


def test_what_a_client_wrote_and_the_vendor_repeats_elsewhere_says_nothing(faults: FaultFilter) -> None:
    body = {"detail": [{"msg": "field required", "input": "insufficient_quota, api key not valid"}], "input": "insufficient_quota"}
    assert faults.kind(422, json.dumps(body).encode(), "openai-chat") == "client_fault"


NOTHING = [
    *(None, b"", b"<html>billing</html>", b"{", b'{"error":', b'"', b"[" * 100_000),
    *(b'{"error":{"message":{}}}', b"\xff\xfe", b'{"a":"' + b'\\"' * 60_000 + b'"}'),
]


@pytest.mark.parametrize("body", NOTHING)
def test_bodies_that_say_nothing(faults: FaultFilter, body: bytes | None) -> None:
    for dialect in PROVIDERS:
        assert faults.kind(400, body, dialect) == "client_fault"
        assert faults.kind(401, body, dialect) == "credential_dead"


@given(status=st.integers(400, 599), body=st.binary(max_size=300), dialect=st.sampled_from(sorted(PROVIDERS)))
def test_any_error_has_a_class(status: int, body: bytes, dialect: str) -> None:
    assert ANY.kind(status, body, dialect) in FAILURE_CLASSES


ANY = FaultFilter()
