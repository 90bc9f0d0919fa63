"""Presets: those that ship are complete, short and sourced; those that operators write are data of the same kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from control_plane.app import last_good_specs
from control_plane.cli.presets import document_of, text_of
from control_plane.dialects.registry import PROVIDERS
from control_plane.ir.build import build
from control_plane.ir.model import Lane
from control_plane.ir.passes import _errors
from control_plane.spec.dialect_names import WITHOUT_CHAT
from control_plane.spec.fields import KEY_HEADERS
from control_plane.spec.load import Loaded, SpecFile, load, parse_bytes
from control_plane.spec.models import PresetDocument
from control_plane.spec.presets import bad_options, load_presets, preset_text, read_preset
from control_plane.spec.presets.preset import MAX_RULES, MAX_WORDS
from control_plane.xds.translate.filters.credentials import CREDENTIAL_HEADERS

FOLDER = Path(__file__).parents[3] / "control_plane/spec/presets"
MOST_LINES = 15  # without comments: onboarding a vendor is a few lines
ORIGINAL = ("anthropic", "openai", "openai-compatible")  # written out in full, one field a line
OWN_ADDRESS = {  # no base URL of their own, so a Provider must give it
    "azure-openai", "azure-openai-deployments", "bedrock", "cloudflare", "databricks", "gpustack", "llama-cpp", "lm-studio", "nim-rerank",
    "nvidia-rerank", "ollama", "openai-compatible", "sglang", "snowflake", "tei", "tensorrt-llm", "tgi", "vertex", "vllm",
}  # fmt: skip
BOTH = {  # Anthropic's dialect, too
    "deepseek", "gpustack", "llama-cpp", "lm-studio", "minimax", "moonshot", "novita", "ollama", "openrouter", "sglang", "vllm", "zai",
}  # fmt: skip

PRESET = """\
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {name: acme}
spec:
  title: Acme
  baseUrl: https://api.acme.example.com/api
  dialects:
    openai-chat: {path: /v3/chat/completions, operations: {embeddings: /v3/embeddings}}
    anthropic-messages: {path: /claude/v1/messages}
  auth: {header: Authorization, prefix: "Bearer "}
  headers: {X-Acme-Version: "7"}
  options: {max_tokens_field: max_tokens, drop_params: [seed], rename_params: {top_p: nucleus}}
"""
USERS = """\
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: one}
spec: {preset: acme, credentials: [{secretRef: {env: NO_SUCH_KEY}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: two}
spec: {preset: acme, baseUrl: https://eu.acme.example.com, headers: {x-acme-version: "8"}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: r}
spec: {models: [m], plan: [{targets: [{provider: one, model: a}]}, {targets: [{provider: two, model: b}]}]}
"""


def loaded_from(tmp_path: Path, text: str) -> Loaded:
    (tmp_path / "specs.yaml").write_text(text, encoding="utf-8")
    return load(tmp_path / "specs.yaml")


@pytest.mark.parametrize("name", load_presets())
def test_a_shipped_preset_is_short_and_says_where_it_comes_from(name: str) -> None:
    text = preset_text(name)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= MOST_LINES or name in ORIGINAL
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments
    assert name == "openai-compatible" or "https://" in "".join(comments), "where its facts are documented"
    preset = load_presets()[name]
    assert preset.name == name
    assert preset.auth.header in KEY_HEADERS
    assert set(preset.dialects) <= {*PROVIDERS, *WITHOUT_CHAT}
    assert not list(bad_options(preset))


def test_which_presets_need_an_address_and_which_speak_two_dialects() -> None:
    presets = load_presets()
    assert list(presets) == sorted(path.stem for path in FOLDER.glob("*.yaml"))
    assert {name for name, preset in presets.items() if preset.base_url is None} == OWN_ADDRESS
    assert {name for name, preset in presets.items() if {"openai-chat", "anthropic-messages"} <= set(preset.dialects)} == BOTH
    for name in BOTH:
        assert next(iter(presets[name].dialects)) == "openai-chat", "the vendor's first dialect is the one to translate to"


def test_which_presets_have_files_and_batches() -> None:
    """Both or neither: a batch is of a file."""
    offering = {
        operation: {
            name
            for name, preset in load_presets().items()
            if "openai-chat" in preset.dialects and preset.dialects["openai-chat"].path_of(operation)
        }
        for operation in ("files", "batches")
    }
    assert offering["files"] == offering["batches"] == {"openai", "groq", "novita", "azure-openai"}


def test_keys_travel_only_in_headers_that_are_wiped_before_every_attempt() -> None:
    assert set(KEY_HEADERS) <= set(CREDENTIAL_HEADERS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("max_tokens_field: max_tokens", "max_token_field: max_tokens"), 'did you mean "max_tokens_field"'),
        (("max_tokens_field: max_tokens", "max_tokens_field: tokens"), "write max_tokens or max_completion_tokens"),
    ],
)
def test_a_shipped_preset_with_a_bad_option_is_a_broken_build(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_preset(preset_text("groq").replace(*change))


@pytest.mark.parametrize(("old", "new"), [("path: /chat", "path: chat"), ("title: Groq", "titel: Groq"), ("https://", "https://k@")])
def test_a_shipped_preset_obeys_the_rules_for_specs(old: str, new: str) -> None:
    text = preset_text("groq")
    body = text.replace(old, new)
    assert body != text
    with pytest.raises(ValidationError):
        read_preset(body)


@pytest.mark.parametrize("name", load_presets())
def test_what_the_command_prints_can_be_used_as_it_is(name: str, tmp_path: Path) -> None:
    """Printed as a document, a preset is valid, and means the same as the one that ships."""
    parsed = parse_bytes(SpecFile("specs.yaml"), text_of(name).encode())
    assert not parsed.findings
    (document,) = parsed.documents
    assert isinstance(document, PresetDocument)
    assert document.name == f"my-{name}"
    shipped = load_presets()[name]
    assert document.spec.model_dump() == shipped.model_dump(exclude={"name"}) | {"options": document.spec.options}
    assert dict(document.spec.options) == {key: tuple(v) if isinstance(v, list) else v for key, v in shipped.options.items()}
    assert PresetDocument.model_validate_json(json.dumps(document_of(shipped))).name == f"my-{name}"


def test_two_providers_share_a_preset_and_differ_in_what_is_theirs(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, PRESET + USERS)
    assert loaded.ok
    assert {finding.code for finding in loaded.findings} == {"HG3008"}, "two has no key, and the preset asks for one"
    one, two = build(loaded.specs).providers
    assert (one.host, two.host) == ("api.acme.example.com", "eu.acme.example.com")
    assert [(s.dialect, s.operation, s.path) for s in one.speaks] == [
        ("openai-chat", "chat", "/api/v3/chat/completions"),
        ("openai-chat", "embeddings", "/api/v3/embeddings"),
        ("anthropic-messages", "chat", "/api/claude/v1/messages"),
    ]
    assert two.speaks[0].path == "/v3/chat/completions"
    assert (one.headers, two.headers) == ((("x-acme-version", "7"),), (("x-acme-version", "8"),))
    assert one.auth is not None
    assert (one.auth.header, one.auth.prefix) == ("authorization", "Bearer ")
    assert one.options == two.options == '{"drop_params":["seed"],"max_tokens_field":"max_tokens","rename_params":{"top_p":"nucleus"}}'


def test_a_vendor_with_two_dialects_translates_for_neither_client_and_for_others_to_its_first(tmp_path: Path) -> None:
    specs = loaded_from(tmp_path, PRESET + USERS).specs
    (route,) = build(specs).routes
    chats = [(e.dialect, c) for e in route.entries if e.operation == "chat" for g in e.groups for c in g]
    assert {(dialect, c.use.lane, c.serves.dialect) for dialect, c in chats} == {
        ("openai-chat", Lane.PASSTHROUGH, "openai-chat"),
        ("anthropic-messages", Lane.PASSTHROUGH, "anthropic-messages"),
        ("openai-responses", Lane.TRANSLATION, "openai-chat"),
        ("gemini-generate-content", Lane.TRANSLATION, "openai-chat"),
        ("bedrock-converse", Lane.TRANSLATION, "openai-chat"),
        ("cohere-chat", Lane.TRANSLATION, "openai-chat"),
    }


def test_a_change_of_a_preset_changes_its_providers(tmp_path: Path) -> None:
    before = build(loaded_from(tmp_path, PRESET + USERS).specs)
    after = build(loaded_from(tmp_path, PRESET.replace("/v3/chat", "/v4/chat") + USERS).specs)
    assert before.providers != after.providers


def test_last_good_specs_keep_the_presets(tmp_path: Path) -> None:
    specs = loaded_from(tmp_path, PRESET + USERS).specs
    last_good_specs.save(tmp_path, specs)
    kept = last_good_specs.restore(tmp_path)
    assert kept is not None
    assert kept.ok
    assert kept.specs == specs
    assert build(kept.specs) == build(specs)


def test_a_preset_in_an_unreadable_file_is_not_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "presets.yaml").write_text("kind: [", encoding="utf-8")
    (tmp_path / "rest.yaml").write_text(USERS.removeprefix("---\n"), encoding="utf-8")
    assert {finding.code for finding in load(tmp_path).findings if finding.severity == "error"} == {"HG1002"}


def test_the_longest_rules_fit_into_what_envoy_hands_to_a_translator(tmp_path: Path) -> None:
    """Envoy takes 16 KiB for a value of a stream's metadata, in which a percent sign is written twice."""
    rule = {"status": 400, "code": '"' * MAX_WORDS, "type": "%" * MAX_WORDS, "message": "\\" * MAX_WORDS, "kind": "context_too_long"}
    spec = json.loads(json.dumps(document_of(load_presets()["groq"])))
    spec["spec"]["errors"] = [rule] * MAX_RULES
    (document,) = parse_bytes(SpecFile("specs.yaml"), json.dumps(spec).encode()).documents
    assert isinstance(document, PresetDocument)
    assert len(_errors(document.spec).replace("%", "%%")) < 16_384
    spec["spec"]["errors"].append(rule)
    assert [f.code for f in parse_bytes(SpecFile("specs.yaml"), json.dumps(spec).encode()).findings] == ["HG1006"]


def test_what_a_model_lacks_is_what_the_patterns_that_name_it_say(tmp_path: Path) -> None:
    lacks = '\n  lacks: [{features: [image]}, {features: [tools, image], models: ["b*", a-*]}, {features: [audio], models: [B]}]\n'
    one, _ = build(loaded_from(tmp_path, PRESET.replace('"Bearer "}\n', f'"Bearer "}}{lacks}', 1) + USERS).specs).providers
    found = [one.lacks_of(model) for model in ("a", "b", "a-1", "B")]
    assert found == [("image",), ("image", "tools"), ("image", "tools"), ("audio", "image")]
