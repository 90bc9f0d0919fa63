"""What a target's configuration says."""

from __future__ import annotations

import pytest

from control_plane.dialects.error_rules import ErrorRule
from control_plane.dialects.rate_limits import RateLimits, Unit
from control_plane.extproc.facts import (
    CLIENT_DIALECT,
    ERRORS,
    FOREIGN,
    LACKS,
    LIMITS,
    MODEL,
    OPTIONS,
    PATH,
    PROVIDER_DIALECT,
    TARGET,
    THINKING,
    UNSUPPORTED,
    FactsReader,
)
from control_plane.kit.errors import SpecError
from tests.unit.extproc.fakes import LineDialect

WHOLE = {CLIENT_DIALECT: "lines", PROVIDER_DIALECT: "lines", TARGET: "p/m", MODEL: "up", PATH: "/v1/x", OPTIONS: '{"default_max_tokens":5}'}


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


def test_thinking_is_given_unless_the_target_says_none(reader: FactsReader) -> None:
    assert not reader.read(WHOLE).mute
    assert reader.read(WHOLE | {THINKING: "none"}).mute


def test_a_routes_policies_are_the_lenient_ones_unless_said(reader: FactsReader) -> None:
    assert (reader.read(WHOLE).reject, reader.read(WHOLE).foreign_reasoning) == (False, "strip")
    assert reader.read(WHOLE | {UNSUPPORTED: "reject"}).reject
    assert reader.read(WHOLE | {FOREIGN: "refuse"}).foreign_reasoning == "refuse"
    with pytest.raises(SpecError, match="'shred', not one of strip, text, refuse"):
        reader.read(WHOLE | {FOREIGN: "shred"})


@pytest.mark.parametrize("missing", [CLIENT_DIALECT, PROVIDER_DIALECT, TARGET, MODEL, PATH])
def test_missing_field_is_named(reader: FactsReader, missing: str) -> None:
    with pytest.raises(SpecError, match=missing):
        reader.read({k: v for k, v in WHOLE.items() if k != missing})


@pytest.mark.parametrize("options", ["[]", "nonsense", ""])
def test_options_must_be_an_object(reader: FactsReader, options: str) -> None:
    with pytest.raises(SpecError, match="JSON object"):
        reader.read(WHOLE | {OPTIONS: options})


@pytest.mark.parametrize("field", [CLIENT_DIALECT, PROVIDER_DIALECT])
def test_unknown_dialect_is_named(reader: FactsReader, field: str) -> None:
    with pytest.raises(SpecError, match="'newer-dialect'"):
        reader.read(WHOLE | {field: "newer-dialect"})


def test_a_dialect_for_providers_only_is_no_client_dialect(reader: FactsReader) -> None:
    assert reader.read(WHOLE | {PROVIDER_DIALECT: "answers"}).provider.name
    with pytest.raises(SpecError, match="clients cannot speak the dialect 'answers' yet"):
        reader.read(WHOLE | {CLIENT_DIALECT: "answers"})


def test_what_a_preset_says_of_a_vendor(reader: FactsReader) -> None:
    plain = reader.read(WHOLE)
    assert (plain.lacks, plain.vendor.errors, plain.vendor.limits) == (frozenset(), (), None)
    told = {ERRORS: '[{"kind":"transient","status":400}]', LACKS: "image,tools", LIMITS: '{"tokens":{"remaining":"x-left"}}'}
    facts = reader.read(WHOLE | told)
    assert facts.vendor.errors == (ErrorRule("transient", 400),)
    assert facts.vendor.limits == RateLimits(tokens=Unit("x-left"))
    assert facts.lacks == {"image", "tools"}


@pytest.mark.parametrize(
    ("field", "value"), [(ERRORS, '[{"kind":"odd"}]'), (ERRORS, "{}"), (LACKS, "image,wings"), (LIMITS, '{"tokens":1}')]
)
def test_what_it_cannot_use_is_named(reader: FactsReader, field: str, value: str) -> None:
    with pytest.raises(SpecError, match=field):
        reader.read(WHOLE | {field: value})
