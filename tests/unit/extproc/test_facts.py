"""What a target's configuration says."""

from __future__ import annotations

import json

import pytest

from control_plane.dialects.error_rules import ErrorRule
from control_plane.dialects.operations import SIDES
from control_plane.dialects.rate_limits import RateLimits, Unit
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.extproc.facts import (
    ASKED,
    ERRORS,
    LACKS,
    LIMITS,
    MODEL,
    OFFERS,
    OPTIONS,
    TARGET,
    FactsReader,
)
from control_plane.kit.errors import SpecError
from tests.unit.extproc.fakes import LineDialect


def asked(dialect: str = "lines", operation: str = "chat", **more: object) -> str:
    return json.dumps({"dialect": dialect, "operation": operation, **more})


def offers(*offered: tuple[str, str, str]) -> str:
    return json.dumps([dict(zip(("dialect", "operation", "path"), offer, strict=True)) for offer in offered])


WHOLE = {
    ASKED: asked(),
    OFFERS: offers(("lines", "chat", "/v1/x")),
    TARGET: "p/m",
    MODEL: "up",
    OPTIONS: '{"default_max_tokens":5}',
}


@pytest.fixture
def reader() -> FactsReader:
    return FactsReader({"lines": LineDialect()}, {"lines": LineDialect(), "answers": LineDialect()})


def test_metadata_is_decoded_once_per_text(reader: FactsReader) -> None:
    facts = reader.read(WHOLE)
    assert (facts.name, facts.target.model, facts.target.path) == ("p/m", "up", "/v1/x")
    assert facts.target.options == {"default_max_tokens": 5}
    assert reader.read(dict(WHOLE)) is facts
    assert reader.read(WHOLE | {OPTIONS: "{}"}).target.options == {}


def test_options_may_be_absent(reader: FactsReader) -> None:
    assert reader.read({k: v for k, v in WHOLE.items() if k != OPTIONS}).target.options == {}


def test_thinking_is_given_unless_the_plan_also_leads_to_a_vendor_that_refuses_this_ones(reader: FactsReader) -> None:
    assert not reader.read(WHOLE).mute
    assert not reader.read(WHOLE | {ASKED: asked(thinking_of=["other", "lines"])}).mute
    assert reader.read(WHOLE | {ASKED: asked(thinking_of=["other"])}).mute


def test_a_routes_policies_are_the_lenient_ones_unless_said(reader: FactsReader) -> None:
    assert (reader.read(WHOLE).reject, reader.read(WHOLE).foreign_reasoning) == (False, "strip")
    assert reader.read(WHOLE | {ASKED: asked(unsupported_params="reject")}).reject
    assert reader.read(WHOLE | {ASKED: asked(foreign_reasoning="refuse")}).foreign_reasoning == "refuse"
    with pytest.raises(SpecError, match=r"x-headgate-asked cannot be read: Invalid enum value 'shred' - at `\$.foreign_reasoning`"):
        reader.read(WHOLE | {ASKED: asked(foreign_reasoning="shred")})


def test_the_clients_own_dialect_comes_first_and_then_the_providers_first(reader: FactsReader) -> None:
    told = WHOLE | {OFFERS: offers(("answers", "embeddings", "/e"), ("answers", "chat", "/a"), ("lines", "chat", "/l"))}
    assert reader.read(told).target.path == "/l"
    told = WHOLE | {OFFERS: offers(("answers", "embeddings", "/e"), ("answers", "chat", "/a"), ("answers", "chat", "/b"))}
    assert reader.read(told).target.path == "/a"


def test_an_operation_may_be_answered_by_one_of_another_name() -> None:
    reader = FactsReader(DIALECTS, PROVIDERS)
    call = asked("gemini-generate-content", "batch_embeddings", served_by="embeddings", by_path=True)
    openai = WHOLE | {ASKED: call, OFFERS: offers(("openai-chat", "chat", "/c"), ("openai-chat", "embeddings", "/e"))}
    assert (reader.read(openai).target.path, reader.read(openai).by_path) == ("/e", True)
    own = ("gemini-generate-content", "batch_embeddings", "/b")
    assert reader.read(openai | {OFFERS: offers(("openai-chat", "embeddings", "/e"), own)}).target.path == "/b"
    with pytest.raises(SpecError, match="x-headgate-offers has nothing that answers 'batch_embeddings'"):
        reader.read(openai | {OFFERS: offers(("openai-chat", "chat", "/c"))})
    with pytest.raises(SpecError, match="cannot translate 'embeddings' from anthropic-messages to 'embeddings' of openai-chat"):
        reader.read(openai | {ASKED: asked("anthropic-messages", "embeddings")})


def test_what_a_model_lacks_is_about_chat() -> None:
    reader = FactsReader(DIALECTS, PROVIDERS)
    told = WHOLE | {LACKS: "image", OFFERS: offers(("openai-chat", "embeddings", "/e"), ("openai-chat", "chat", "/c"))}
    assert reader.read(told | {ASKED: asked("cohere-chat", "embeddings")}).lacks == frozenset()
    assert reader.read(told | {ASKED: asked("cohere-chat")}).lacks == {"image"}


FORMER = {
    "x-headgate-client-dialect": "openai-chat",
    "x-headgate-provider-dialect": "anthropic-messages",
    "x-headgate-target": "p/m",
    "x-headgate-model": "up",
    "x-headgate-path": "/v1/messages",
    "x-headgate-options": '{"default_max_tokens":5}',
}


def test_configurations_of_former_versions_are_still_understood() -> None:
    """Envoys keep them until they are given new ones, and so does the last known good file."""
    reader = FactsReader(DIALECTS, PROVIDERS)
    facts = reader.read(FORMER)
    assert (facts.client.name, facts.provider.name, facts.name) == ("openai-chat", "anthropic-messages", "p/m")
    assert (facts.target.model, facts.target.path, facts.target.options) == ("up", "/v1/messages", {"default_max_tokens": 5})
    assert (facts.mute, facts.reject, facts.foreign_reasoning, facts.by_path) == (False, False, "strip", False)
    told = {"x-headgate-thinking": "none", "x-headgate-unsupported-params": "reject", "x-headgate-foreign-reasoning": "text"}
    facts = reader.read(FORMER | told | {"x-headgate-client-dialect": "gemini-generate-content", "x-headgate-named-by": "path"})
    assert (facts.mute, facts.reject, facts.foreign_reasoning, facts.by_path) == (True, True, "text", True)
    facts = reader.read(FORMER | {"x-headgate-operation": "count_tokens", "x-headgate-client-dialect": "openai-responses"})
    assert facts.provider is SIDES["count_tokens"].providers["anthropic-messages"]
    with pytest.raises(SpecError, match="x-headgate-path"):
        reader.read({k: v for k, v in FORMER.items() if k != "x-headgate-path"})


@pytest.mark.parametrize("missing", [ASKED, OFFERS, TARGET, MODEL])
def test_missing_field_is_named(reader: FactsReader, missing: str) -> None:
    with pytest.raises(SpecError, match=missing):
        reader.read({k: v for k, v in WHOLE.items() if k != missing})


@pytest.mark.parametrize("options", ["[]", "nonsense", ""])
def test_options_must_be_an_object(reader: FactsReader, options: str) -> None:
    with pytest.raises(SpecError, match="target p/m: x-headgate-options cannot be read"):
        reader.read(WHOLE | {OPTIONS: options})


@pytest.mark.parametrize("told", [{ASKED: asked("newer-dialect")}, {OFFERS: offers(("newer-dialect", "chat", "/"))}])
def test_unknown_dialect_is_named(reader: FactsReader, told: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="'newer-dialect'"):
        reader.read(WHOLE | told)


def test_a_dialect_for_providers_only_is_no_client_dialect(reader: FactsReader) -> None:
    assert reader.read(WHOLE | {OFFERS: offers(("answers", "chat", "/"))}).provider.name
    with pytest.raises(SpecError, match="clients cannot speak the dialect 'answers' yet"):
        reader.read(WHOLE | {ASKED: asked("answers")})


def test_what_a_preset_says_of_a_vendor(reader: FactsReader) -> None:
    plain = reader.read(WHOLE)
    assert (plain.lacks, plain.vendor.errors, plain.vendor.limits) == (frozenset(), (), None)
    told = {ERRORS: '[{"kind":"transient","status":400}]', LACKS: "image,tools", LIMITS: '{"tokens":{"remaining":"x-left"}}'}
    facts = reader.read(WHOLE | told)
    assert facts.vendor.errors == (ErrorRule("transient", 400),)
    assert facts.vendor.limits == RateLimits(tokens=Unit("x-left"))
    assert facts.lacks == {"image", "tools"}


@pytest.mark.parametrize(
    ("field", "value"),
    [(ERRORS, '[{"kind":"odd"}]'), (ERRORS, "{}"), (LACKS, "image,wings"), (ASKED, "{}"), (OFFERS, "x"), (LIMITS, '{"tokens":1}')],
)
def test_what_it_cannot_use_is_named(reader: FactsReader, field: str, value: str) -> None:
    with pytest.raises(SpecError, match=field):
        reader.read(WHOLE | {field: value})
