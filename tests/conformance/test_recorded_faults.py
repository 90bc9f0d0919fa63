"""Every recorded error, read by hand once: what it means, on both lanes alike."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from control_plane.dialects import error_rules, failures
from control_plane.dialects.api import ProviderDialect
from control_plane.dialects.failure_classes import FailureClass
from control_plane.dialects.operations import SIDES
from control_plane.dialects.registry import PROVIDERS
from control_plane.ir.passes import _errors
from control_plane.spec.presets import load_presets
from tests.fault_filter import FaultFilter

PRESET_OF: Final = {"azure": "azure-openai", "vertexai": "vertex", "bedrock-mantle": "bedrock", "llama.cpp": "llama-cpp"}
DIALECT_OF: Final = {"gemini-generate": "gemini-generate-content"}
"""APIs of recordings whose dialect has another name; those that have none there are the vendor's first."""

MEANT: Final[dict[tuple[str, int, str], FailureClass]] = {
    ("anthropic", 400, "prompt is too long"): "context_too_long",
    ("anthropic", 401, "invalid x-api-key"): "credential_dead",
    ("anthropic", 404, "claude-does-not-exist"): "transient",
    ("anthropic", 400, "is not downloadable"): "client_fault",
    ("azure", 404, "Resource not found"): "transient",
    ("azure", 404, "DeploymentNotFound"): "transient",
    ("azure", 429, "have exceeded rate limit"): "rate_limited",
    ("bedrock", 400, "document.source.type: Field required"): "client_fault",
    ("bedrock", 400, "doesn't support the s3Uri field"): "transient",
    ("bedrock", 400, "doesn't support the video content block"): "transient",
    ("bedrock", 403, "security token included in the request is expired"): "credential_dead",
    ("bedrock", 400, "does not match any of the expected tags"): "client_fault",
    ("cohere", 400, "too many tokens"): "context_too_long",
    ("cohere", 404, "not found, make sure"): "transient",
    ("deepseek", 400, "maximum context length is 1048565"): "context_too_long",
    ("deepseek", 400, "No tool output found"): "client_fault",
    ("gemini", 404, "is not found for API version"): "transient",
    ("gemini", 429, "Resource exhausted. Please try again later"): "rate_limited",
    ("groq", 404, "llama-3.3-70b-versatlie"): "transient",
    ("mistral", 401, "Invalid API Key"): "credential_dead",
    ("ollama", 400, "prompt too long"): "context_too_long",
    ("ollama", 401, "Unauthorized"): "credential_dead",
    ("openai", 404, "does not exist"): "transient",
    ("openai", 404, "has been deprecated"): "transient",
    ("openai", 400, "Unknown parameter: 'quality'"): "client_fault",
    ("openai", 400, "Content blocks are expected to be"): "client_fault",
    ("openai", 400, "does not support 'system'"): "client_fault",
    ("openai", 400, "Web search options not supported"): "client_fault",
    ("openai", 401, "Incorrect API key provided"): "credential_dead",
    ("openai", 400, "Invalid token in prompt"): "client_fault",
    ("openai", 400, "decimal below minimum value"): "client_fault",
    ("openai", 400, "The requested model 'gpt-5.2-proo' does not exist"): "transient",
    ("openai", 400, "file type you uploaded is not supported"): "client_fault",
    ("openai", 400, "without its required following item"): "client_fault",
    ("openai", 400, "exceeds the context window"): "context_too_long",
    ("openrouter", 400, "maximum context length is 200000"): "context_too_long",
    ("openrouter", 401, "Missing Authentication header"): "credential_dead",
    ("openrouter", 429, "temporarily rate-limited upstream"): "rate_limited",
    ("perplexity", 400, "too_many_prompt_tokens"): "context_too_long",
    ("vertexai", 400, "Cannot fetch content from the provided URL"): "client_fault",
    ("vertexai", 400, "use a valid role"): "client_fault",
    ("vertexai", 400, "exceeds the maximum number of tokens"): "context_too_long",
    ("voyage", 400, "Model nonexistent is not supported"): "client_fault",
    ("xai", 400, "Incorrect API key provided"): "credential_dead",
}
"""Vendor, status and a part of the body."""


def dialect_of(recording: Any, preset: Any) -> str:
    api = DIALECT_OF.get(recording.api, recording.api)
    return api if api in PROVIDERS else next(iter(preset.dialects)) if preset is not None else "openai-chat"


def reader_of(dialect: str) -> ProviderDialect:
    """Vendors without chat have no dialect of chat."""
    return PROVIDERS.get(dialect) or next(sides.providers[dialect] for sides in SIDES.values() if dialect in sides.providers)


def test_recorded_errors_mean_what_somebody_read_in_them(recorded_errors: list[Any]) -> None:
    faults, seen = FaultFilter(), Counter[tuple[str, int, str]]()
    for recording in recorded_errors:
        text = recording.body.decode(errors="replace").replace('\\"', '"')
        row = next((row for row in MEANT if row[:2] == (recording.provider, recording.status) and row[2] in text), None)
        assert row is not None, f"nobody has said what this means: {recording.name} {recording.status} {text[:200]}"
        seen[row] += 1
        preset = load_presets().get(PRESET_OF.get(recording.provider, recording.provider))
        rules = _errors(preset) if preset is not None else ""
        dialect = dialect_of(recording, preset)
        headers = {name.lower(): value for name, value in recording.headers.items() if name.lower() == "x-amzn-errortype"}
        failure = reader_of(dialect).read_error(recording.status, headers, recording.body)
        document, said = failures.error_document(recording.body)
        translated = error_rules.settled(failure, error_rules.read_rules(rules or "[]"), recording.status, document or said)
        passed = faults.kind(recording.status, recording.body, dialect, rules, headers)
        assert (translated.kind, passed) == (MEANT[row], MEANT[row]), f"{recording.name}: {text[:300]}"
    assert not MEANT.keys() - seen.keys(), "rows that no recording has"
    assert sum(seen.values()) >= 50
