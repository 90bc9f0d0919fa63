"""Codes, schema, explanations and presets: nothing undocumented, nothing that contradicts the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from control_plane.spec.base_url import parse_base_url, why_internal
from control_plane.spec.catalogue import CATALOGUE
from control_plane.spec.explain import FieldDoc, UnknownField, explain_field
from control_plane.spec.fields import CREDENTIAL_HEADERS
from control_plane.spec.models import KINDS
from control_plane.spec.nearest import did_you_mean, distance, nearest
from control_plane.spec.presets import load_presets
from control_plane.spec.schema import schema_of, schema_of_all

SOURCES = Path(__file__).parents[3] / "control_plane"


def test_every_code_that_is_used_is_in_the_catalogue_and_complete() -> None:
    used = {code for file in SOURCES.rglob("*.py") for code in re.findall(r'"(HG\d{4})"', file.read_text())}
    assert used == set(CATALOGUE)
    for entry in CATALOGUE.values():
        assert all((entry.title, entry.cause, entry.example, entry.fix))


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "properties" in node and isinstance(node["properties"], dict):
            yield path, node
        for key, child in node.items():
            yield from objects(child, f"{path}/{key}")
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from objects(child, f"{path}/{position}")


@pytest.mark.parametrize("schema", [*map(schema_of, KINDS), schema_of_all()], ids=[*KINDS, "all"])
def test_schemas_are_closed_described_and_self_contained(schema: dict[str, Any]) -> None:
    found = list(objects(schema))
    assert len(found) > 4
    for path, node in found:
        assert node["additionalProperties"] is False, path
        assert set(node.get("required", ())) <= set(node["properties"]), path
        for name, field in node["properties"].items():
            assert field.get("description"), f"{path}: {name}"
    text = repr(schema)
    for reference in re.findall(r"'\$ref': '#/\$defs/(\w+)'", text):
        assert reference in schema["$defs"]
    for pattern in re.findall(r"'pattern': '([^']+)'", text):
        re.compile(pattern)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_writes_values_as_an_operator_does() -> None:
    defs = schema_of("ModelRoute")["$defs"]
    timers = defs["Timeouts"]["properties"]
    assert {name: field["default"] for name, field in timers.items()} == {
        "connect": "2s",
        "firstToken": "30s",
        "idle": "1m",
        "total": "10m",
    }
    assert defs["ModelRouteSpec"]["properties"]["maxRequestBytes"]["default"] == "32Mi"
    assert defs["Target"]["properties"]["weight"] == {
        "default": 100,
        "description": "Share of the group's requests, relative to the other weights of the group",
        "maximum": 1_000_000,
        "minimum": 1,
        "type": "integer",
    }
    assert "default" not in defs["Retry"]["properties"]["attempts"]
    assert schema_of("ModelRoute")["required"] == ["kind", "metadata", "spec"]


def all_paths(model: type[BaseModel], prefix: str) -> Iterator[str]:
    from control_plane.spec.validation import model_in

    for field in model.model_fields.values():
        yield f"{prefix}.{field.alias}"
        inner = model_in(field.annotation)
        if inner is not None:
            yield from all_paths(inner, f"{prefix}.{field.alias}")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_can_be_explained(kind: str) -> None:
    paths = list(all_paths(KINDS[kind], kind.lower()))
    assert len(paths) > 15
    for path in paths:
        field = explain_field(path)
        assert isinstance(field, FieldDoc), path
        assert field.path == path
        assert field.description
        assert field.type != "any"


def test_explanations() -> None:
    idle = explain_field("modelroute.spec.timeouts.idle")
    assert isinstance(idle, FieldDoc)
    assert (idle.type, idle.default, idle.bounds, idle.required) == ("duration", "1m", ("10ms to 1h",), False)
    weight = explain_field("spec.plan.0.targets.1.weight")  # as a finding prints it
    assert isinstance(weight, FieldDoc)
    assert (weight.path, weight.default, weight.bounds) == ("modelroute.spec.plan.targets.weight", "100", ("1 to 1000000",))
    assert explain_field("modelroute.spec.plann") == UnknownField("modelroute.spec.plann", "modelroute.spec.plan")
    assert explain_field("provder.spec.baseurl") == UnknownField("provder.spec.baseurl", "provider.spec.baseUrl")
    assert explain_field("weather") == UnknownField("weather", None)
    assert explain_field("") == UnknownField("", None)


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("wieght", ["weight", "model", "provider"], "weight"),
        ("base_url", ["baseUrl", "preset"], "baseUrl"),
        ("openai", ["openai-chat", "anthropic-messages"], "openai-chat"),
        ("opnai", ["openai", "anthropic"], "openai"),
        ("xyzzy", ["weight", "model"], None),
        ("on", ["no", "off"], "no"),
        ("", ["a"], None),
        ("a" * 100, ["a" * 99], None),
    ],
)
def test_did_you_mean(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant
    assert did_you_mean(word, known) == (f'did you mean "{meant}"?' if meant else None)


def test_edit_distance() -> None:
    assert [distance("weight", other, 3) for other in ("weight", "wieght", "wight", "weights", "wit", "plan")] == [0, 1, 1, 1, 3, 4]


def test_presets_are_exact() -> None:
    presets = load_presets()
    assert {"anthropic", "gemini", "openai", "openai-compatible"} <= set(presets)
    openai, anthropic, compatible = presets["openai"], presets["anthropic"], presets["openai-compatible"]
    assert openai.base_url == "https://api.openai.com/v1"
    assert anthropic.base_url == "https://api.anthropic.com/v1"
    assert compatible.base_url is None
    chat = openai.dialects["openai-chat"]
    assert [chat.path_of(word) for word in ("chat", "embeddings", "models", "count_tokens")] == [
        "/chat/completions",
        "/embeddings",
        "/models",
        None,
    ]
    assert compatible.dialects["openai-chat"].path == chat.path
    own = chat.operations.keys() - compatible.dialects["openai-chat"].operations.keys()
    assert own == {"files", "batches"}  # what is kept goes to the first that has it, so nobody may only be thought to
    assert {name: (offered.path, offered.default) for name, offered in openai.dialects.items()} == {
        "openai-chat": ("/chat/completions", True),
        "openai-responses": ("/responses", True),
    }
    assert (compatible.dialects["openai-responses"].path, compatible.dialects["openai-responses"].default) == ("/responses", False)
    messages = anthropic.dialects["anthropic-messages"]
    assert [messages.path_of(word) for word in ("chat", "count_tokens", "models", "embeddings")] == [
        "/messages", "/messages/count_tokens", "/models", None,
    ]  # fmt: skip
    assert (openai.auth.header, openai.auth.prefix) == ("authorization", "Bearer ")
    assert (anthropic.auth.header, anthropic.auth.prefix) == ("x-api-key", "")
    assert anthropic.headers == {"anthropic-version": "2023-06-01"}
    assert anthropic.options == {"default_max_tokens": 4096}
    gemini = presets["gemini"]
    assert gemini.base_url == "https://generativelanguage.googleapis.com/v1beta"
    generate = gemini.dialects["gemini-generate-content"]
    assert [generate.path_of(word) for word in ("chat", "embeddings", "models")] == [
        "/models/{model}:generateContent", "/models/{model}:embedContent", None,
    ]  # fmt: skip
    command = presets["cohere"].dialects["cohere-chat"]
    assert [command.path_of(word) for word in ("chat", "embeddings", "rerank", "models")] == ["/chat", "/embed", "/rerank", None]
    assert (gemini.auth.header, gemini.auth.prefix, gemini.auth.required) == ("x-goog-api-key", "", True)
    assert (gemini.headers, gemini.options) == ({}, {})


def test_presets_obey_the_rules_for_specs() -> None:
    for name, preset in load_presets().items():
        assert preset.name == name
        assert preset.auth.header in CREDENTIAL_HEADERS, "it must be among those that are removed before every attempt"
        if preset.base_url is not None:
            url = parse_base_url(preset.base_url)
            assert str(url) == preset.base_url
            assert url.scheme == "https"
            assert why_internal(url) is None
