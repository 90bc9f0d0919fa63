"""Specs → IR: lanes, plans, renames, and what is left out."""

from __future__ import annotations

from pathlib import Path

from control_plane.dialects.told import Speaks
from control_plane.ir.build import build
from control_plane.ir.model import ANY_MODEL, DEFAULT_CONNECT_MS, Choice, Entry, Gateway, Lane, Route, TargetUse
from control_plane.ir.show import diff, plain
from control_plane.ir.target_paths import paths_of
from control_plane.spec.load import load

PROVIDERS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {preset: openai, credentials: [{secretRef: {env: NO_SUCH_KEY}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: anthropic}
spec: {preset: anthropic}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:8000/v1", allowInsecure: true}
---
"""


def gateway(tmp_path: Path, route: str, unready: dict[str, str] | None = None) -> Gateway:
    file = tmp_path / "specs.yaml"
    file.write_text(PROVIDERS + "apiVersion: headgate.dev/v1alpha1\nkind: ModelRoute\nmetadata: {name: r}\n" + route, encoding="utf-8")
    loaded = load(file)
    assert loaded.ok, [str(f) for f in loaded.findings]
    return build(loaded.specs, unready)


def targets(route: Route, dialect: str, operation: str = "chat") -> list[list[str]]:
    entry = next(e for e in route.entries if (e.dialect, e.operation) == (dialect, operation))
    return [[c.use.target for c in group] for group in entry.groups]


KEPT = ("files", "batches")
TWO = "spec: {models: [m], plan: [{targets: [{provider: openai, model: a}]}, {targets: [{provider: anthropic, model: b}]}]}"


def test_a_provider_says_which_dialects_it_has(tmp_path: Path) -> None:
    """The first one serves clients of all others; a compatible server has chat only unless it says more."""

    def chats(spec: str) -> dict[str, tuple[str, str]]:
        more = f"apiVersion: headgate.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec: {spec}\n---\n"
        file = tmp_path / "specs.yaml"
        route = "kind: ModelRoute\nmetadata: {name: r}\nspec: {models: [m], plan: [{targets: [{provider: p, model: a}]}]}"
        file.write_text(more + "apiVersion: headgate.dev/v1alpha1\n" + route, encoding="utf-8")
        loaded = load(file)
        assert loaded.ok, [str(f) for f in loaded.findings]
        (built,) = build(loaded.specs, None).routes
        first = {e.dialect: e.groups[0][0] for e in built.entries if e.operation == "chat"}
        return {name: (c.serves.dialect, c.use.lane.value) for name, c in first.items() if name != "gemini-generate-content"}

    chat, responses, messages = "openai-chat", "openai-responses", "anthropic-messages"
    assert chats("{preset: openai}") == {
        chat: (chat, "passthrough"),
        responses: (responses, "passthrough"),
        messages: (chat, "translation"),
        "bedrock-converse": (chat, "translation"),
        "cohere-chat": (chat, "translation"),
    }
    assert chats("{preset: openai, dialects: [openai-responses, openai-chat]}")[messages] == (responses, "translation")
    assert chats("{preset: openai, dialects: [openai-responses]}")[chat] == (responses, "translation")
    server = 'preset: openai-compatible, baseUrl: "http://127.0.0.1:8000/v1", allowInsecure: true'
    assert chats(f"{{{server}}}")[responses] == (chat, "translation")
    assert chats(f"{{{server}, dialects: [openai-chat, openai-responses]}}")[responses] == (responses, "passthrough")


def test_the_lane_follows_the_dialects(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO).routes
    lanes = {(e.dialect, c.use.provider): c.use.lane for e in route.entries if e.operation == "chat" for g in e.groups for c in g}
    assert lanes == {
        ("openai-chat", "openai"): Lane.PASSTHROUGH,
        ("openai-chat", "anthropic"): Lane.TRANSLATION,
        ("openai-responses", "openai"): Lane.PASSTHROUGH,
        ("openai-responses", "anthropic"): Lane.TRANSLATION,
        ("anthropic-messages", "openai"): Lane.TRANSLATION,
        ("anthropic-messages", "anthropic"): Lane.PASSTHROUGH,
        ("gemini-generate-content", "openai"): Lane.TRANSLATION,
        ("gemini-generate-content", "anthropic"): Lane.TRANSLATION,
        ("bedrock-converse", "openai"): Lane.TRANSLATION,
        ("bedrock-converse", "anthropic"): Lane.TRANSLATION,
        ("cohere-chat", "openai"): Lane.TRANSLATION,
        ("cohere-chat", "anthropic"): Lane.TRANSLATION,
    }


CLOUD = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: cloud}
spec: {preset: bedrock, baseUrl: "https://bedrock-runtime.eu-central-1.amazonaws.com", dialects: [anthropic-bedrock]}
---
"""


def test_thinking_of_claude_moves_between_anthropic_and_the_clouds(tmp_path: Path) -> None:
    file = tmp_path / "specs.yaml"
    groups = ("{provider: anthropic, model: a}", "{provider: cloud, model: b}", "{provider: openai, model: c}")
    plan = f"[{', '.join(f'{{targets: [{group}]}}' for group in groups)}]"
    route = f"apiVersion: headgate.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec: {{models: [m], plan: {plan}}}\n"
    file.write_text(CLOUD.lstrip() + PROVIDERS.lstrip() + route, encoding="utf-8")
    loaded = load(file)
    assert loaded.ok, [str(f) for f in loaded.findings]
    (built,) = build(loaded.specs, None).routes
    (entry,) = [e for e in built.entries if (e.dialect, e.operation) == ("anthropic-messages", "chat")]
    found = {c.use.provider: c for group in entry.groups for c in group}
    assert {name for name, choice in found.items() if choice.serves.dialect in entry.thinking_of} == {"anthropic", "cloud"}
    assert found["cloud"].use.lane is Lane.TRANSLATION
    assert found["cloud"].serves == Speaks("anthropic-bedrock", "chat", "/model/{model}/invoke")


def test_no_foreign_thinking_where_the_plan_also_leads_to_a_vendor_that_would_refuse_it(tmp_path: Path) -> None:
    """Only Anthropic refuses it, and only what goes there untranslated still holds it."""

    def muted(route: Route) -> set[tuple[str, str]]:
        choices = ((e, c) for e in route.entries for g in e.groups for c in g)
        return {(e.dialect, c.use.provider) for e, c in choices if e.thinking_of and c.serves.dialect not in e.thinking_of}

    (route,) = gateway(tmp_path, TWO).routes
    assert muted(route) == {("anthropic-messages", "openai"), ("openai-responses", "anthropic")}
    alone = "spec: {models: [m], plan: [{targets: [{provider: openai, model: a}]}, {targets: [{provider: local, model: b}]}]}"
    (route,) = gateway(tmp_path, alone).routes
    assert muted(route) == {("openai-responses", "local")}


def test_operations_that_cannot_be_translated_use_only_targets_that_offer_them(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO).routes
    assert targets(route, "openai-chat", "embeddings") == [["openai/a"]]
    assert targets(route, "openai-chat", "moderations") == [["openai/a"]]


def test_tokens_are_counted_where_the_answer_would_be_made(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO).routes
    for dialect, lanes in (("anthropic-messages", ["translation", "passthrough"]), ("openai-responses", ["passthrough", "translation"])):
        assert targets(route, dialect, "count_tokens") == [["openai/a"], ["anthropic/b"]]
        entry = next(e for e in route.entries if (e.dialect, e.operation) == (dialect, "count_tokens"))
        assert [c.use.lane.value for g in entry.groups for c in g] == lanes


def test_one_shared_name_is_written_at_the_edge_and_different_ones_at_the_targets(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO).routes
    assert {e.rename for e in route.entries if e.dialect == "openai-chat" and e.operation not in KEPT} == {"a"}
    both = "spec: {models: [m], dialects: [openai-chat], plan: [{targets: [{provider: openai, model: a}, {provider: local, model: b}]}]}"
    (route,) = gateway(tmp_path, both).routes
    entries = [e for e in route.entries if e.operation not in KEPT]
    assert [(e.rename, [c.use.rename for g in e.groups for c in g]) for e in entries] == [(None, [True, True])] * len(entries)


def test_a_passthrough_attempt_after_a_translated_one_restores_the_request(tmp_path: Path) -> None:
    plan = "[{targets: [{provider: anthropic, model: b}]}, {targets: [{provider: openai, model: a}]}]"
    (route,) = gateway(tmp_path, f"spec: {{models: [m], dialects: [openai-chat], plan: {plan}}}").routes
    (choice,) = [c for e in route.entries if e.operation == "chat" for g in e.groups for c in g if c.use.provider == "openai"]
    assert choice.use.restore
    assert choice.serves.path == "/v1/chat/completions"


def test_a_passthrough_attempt_before_any_change_needs_nothing(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO).routes
    entries = [e for e in route.entries if e.dialect == "openai-chat" and e.operation not in KEPT]
    uses = [c.use for e in entries for g in e.groups for c in g if c.use.provider == "openai"]
    assert uses
    assert set(uses) == {TargetUse("openai", "a", Lane.PASSTHROUGH, DEFAULT_CONNECT_MS)}


def test_a_repeated_last_group_counts_as_following_itself(tmp_path: Path) -> None:
    plan = "[{targets: [{provider: openai, model: a}, {provider: anthropic, model: b}]}]"
    spec = "spec: {{models: [m], dialects: [openai-chat], plan: {plan}, retry: {{attempts: {n}}}}}"
    for attempts, restore in ((1, False), (2, True)):
        (route,) = gateway(tmp_path, spec.format(plan=plan, n=attempts)).routes
        (use,) = [c.use for e in route.entries if e.operation == "chat" for g in e.groups for c in g if c.use.provider == "openai"]
        assert use.restore is restore


def test_targets_without_a_key_leave_the_plan_unless_nothing_would_be_left(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO, {"openai": "not set"}).routes
    assert targets(route, "openai-chat") == [["anthropic/b"]]
    (route,) = gateway(tmp_path, TWO, {"openai": "not set", "anthropic": "empty"}).routes
    assert targets(route, "openai-chat") == [["openai/a"], ["anthropic/b"]]


def test_the_idle_timer_spans_all_attempts(tmp_path: Path) -> None:
    (route,) = gateway(tmp_path, TWO[:-1] + ", timeouts: {connect: 1s, firstToken: 10s, idle: 5s}}").routes
    assert route.timers.idle_ms >= 2 * (1_000 + 10_000)


def test_diff_names_what_changed(tmp_path: Path) -> None:
    before, after = gateway(tmp_path, TWO), gateway(tmp_path, TWO.replace("[m]", "[m, n]"))
    assert diff(before, after) == ["~ route/r: models"]
    assert diff(before, before) == []
    assert diff(before, Gateway((), ())) == ["- provider/anthropic", "- provider/local", "- provider/openai", "- route/r"]


def test_the_ir_prints_as_plain_data_without_secrets(tmp_path: Path) -> None:
    shown = plain(gateway(tmp_path, TWO))
    assert isinstance(shown, dict)
    assert shown["providers"][2]["auth"] == {
        "header": "authorization",
        "prefix": "Bearer ",
        "secret": "provider/openai",
        "signed_in": False,
        "spare": None,
    }


def test_a_routes_policies_are_the_routes_and_change_no_target(tmp_path: Path) -> None:
    strict = TWO.replace("spec: {models: [m]", "spec: {models: [m], unsupportedParams: reject, foreignReasoning: text", 1)
    assert strict != TWO
    (route,) = gateway(tmp_path, strict).routes
    assert (route.unsupported_params, route.foreign_reasoning) == ("reject", "text")
    assert gateway(tmp_path, strict).uses() == gateway(tmp_path, TWO).uses()


def test_a_target_is_one_use_for_each_lane_whatever_clients_speak_and_call(tmp_path: Path) -> None:
    used = [u for u in gateway(tmp_path, TWO).uses() if u.model != "*"]
    assert [(u.target, u.lane.value) for u in used] == [
        ("anthropic/b", "passthrough"),  # after an attempt at openai/a, which was translated
        ("anthropic/b", "translation"),
        ("openai/a", "passthrough"),
        ("openai/a", "translation"),
    ]
    assert [u.restore for u in used] == [True, False, False, False]


def test_files_belong_to_providers_in_the_order_of_the_plan(tmp_path: Path) -> None:
    plan = "[{targets: [{provider: anthropic, model: c}, {provider: openai, model: a}]}, {targets: [{provider: openai, model: b}]}]"
    (route,) = gateway(tmp_path, f"spec: {{models: [m], plan: {plan}}}").routes
    for name in KEPT:
        assert targets(route, "openai-chat", name) == [["openai/*"]]
        assert targets(route, "anthropic-messages", name) == [["anthropic/*"]]
    assert {c.serves.path for e in route.entries if e.operation == "batches" for g in e.groups for c in g} == {
        "/v1/batches",
        "/v1/messages/batches",
    }


def test_stored_responses_are_looked_for_at_every_provider_that_speaks_the_dialect(tmp_path: Path) -> None:
    plan = "[{targets: [{provider: openai, model: a}, {provider: openai, model: b}]}, {targets: [{provider: anthropic, model: c}]}]"
    (route,) = gateway(tmp_path, f"spec: {{models: [m], plan: {plan}}}").routes
    assert targets(route, "openai-responses", "stored") == [["openai/*"]]
    alone = "spec: {models: [m], plan: [{targets: [{provider: anthropic, model: b}]}]}"
    (route,) = gateway(tmp_path, alone).routes
    assert not [entry for entry in route.entries if entry.operation == "stored"]
    chat_only = "spec: {models: [m], dialects: [openai-chat], plan: [{targets: [{provider: openai, model: a}]}]}"
    (route,) = gateway(tmp_path, chat_only).routes
    assert not [entry for entry in route.entries if entry.operation == "stored"]


GEMINI = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: gemini}
spec: {preset: gemini}
---
"""


def gemini_choices(tmp_path: Path, targets: str, operation: str = "chat") -> tuple[Entry, list[list[Choice]]]:
    file = tmp_path / "specs.yaml"
    route = f"apiVersion: headgate.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec: {{models: [m], plan: {targets}}}\n"
    file.write_text(GEMINI.lstrip() + PROVIDERS.lstrip() + route, encoding="utf-8")
    loaded = load(file)
    assert loaded.ok, [str(f) for f in loaded.findings]
    (built,) = build(loaded.specs, None).routes
    entry = next(e for e in built.entries if (e.dialect, e.operation) == ("gemini-generate-content", operation))
    assert entry.rename is None
    return entry, [list(group) for group in entry.groups]


def test_where_the_path_names_the_model_every_target_has_its_own_path(tmp_path: Path) -> None:
    groups = ("{provider: gemini, model: up/1}", "{provider: openai, model: a}", "{provider: gemini, model: tunedModels/t}")
    plan = f"[{', '.join(f'{{targets: [{group}]}}' for group in groups)}]"
    entry, ((first,), (second,), (third,)) = gemini_choices(tmp_path, plan)
    assert [c.use.lane for c in (first, second, third)] == [Lane.PASSTHROUGH, Lane.TRANSLATION, Lane.PASSTHROUGH]
    assert [(c.use.restore, c.use.rename) for c in (first, second, third)] == [(True, False), (False, False), (True, False)]
    assert second.serves.path == "/v1/chat/completions"
    assert entry.thinking_of == ("gemini-generate-content",)
    provider = build(load(tmp_path / "specs.yaml").specs, None).providers[1]
    assert dict(paths_of(provider, "up/1")) == {
        "gemini-generate-content/chat": "/v1beta/models/up%2F1:generateContent",
        "gemini-generate-content/chat/stream": "/v1beta/models/up%2F1:streamGenerateContent",
        "gemini-generate-content/count_tokens": "/v1beta/models/up%2F1:countTokens",
        "gemini-generate-content/embeddings": "/v1beta/models/up%2F1:embedContent",
        "gemini-generate-content/batch_embeddings": "/v1beta/models/up%2F1:batchEmbedContents",
    }
    assert dict(paths_of(provider, "tunedModels/t"))["gemini-generate-content/chat"] == "/v1beta/tunedModels/t:generateContent"


def test_the_paths_of_a_target_are_those_of_its_providers_own_dialects(tmp_path: Path) -> None:
    anthropic, local, openai = gateway(tmp_path, TWO).providers
    assert dict(paths_of(anthropic, "m")) == {
        "anthropic-messages/chat": "/v1/messages",
        "anthropic-messages/count_tokens": "/v1/messages/count_tokens",
    }
    assert dict(paths_of(local, "m"))["openai-chat/embeddings"] == "/v1/embeddings"
    assert dict(paths_of(openai, ANY_MODEL)) == {
        "openai-responses/stored": "/v1/responses",
        "openai-chat/files": "/v1/files",
        "openai-chat/batches": "/v1/batches",
    }


def test_embeddings_of_gemini_clients(tmp_path: Path) -> None:
    plan = "[{targets: [{provider: gemini, model: up}]}, {targets: [{provider: openai, model: a}]}]"
    entry, ((own,), (other,)) = gemini_choices(tmp_path, plan, "embeddings")
    path = "/v1beta/models/{model}:embedContent"
    assert (own.use.lane, own.serves.path, other.use.lane, other.serves.path) == (
        Lane.PASSTHROUGH,
        path,
        Lane.TRANSLATION,
        "/v1/embeddings",
    )
    assert not entry.thinking_of
    _, ((renamed,), (batch,)) = gemini_choices(tmp_path, plan, "batch_embeddings")
    assert renamed.use.lane is Lane.TRANSLATION
    assert renamed.serves == Speaks("gemini-generate-content", "batch_embeddings", "/v1beta/models/{model}:batchEmbedContents")
    assert batch == other  # one target for both
    _, ((same,),) = gemini_choices(tmp_path, "[{targets: [{provider: gemini, model: m}]}]", "batch_embeddings")
    assert (same.use.lane, same.serves.path) == (Lane.PASSTHROUGH, "/v1beta/models/{model}:batchEmbedContents")
