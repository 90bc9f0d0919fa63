"""Reasoning of earlier turns: what each target takes back, what each policy does with the rest, and that nothing else changes."""

from __future__ import annotations

from itertools import count
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.dialects import canon as c
from control_plane.dialects.api import ReasoningReplay, TargetFacts
from control_plane.dialects.foreign_reasoning import settled
from control_plane.dialects.policies import ForeignReasoning
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.official_types import validate

POLICIES: tuple[ForeignReasoning, ...] = get_args(ForeignReasoning)
ORIGINS = (*PROVIDERS, "some-other-vendor")
OPTIONS: tuple[dict[str, object], ...] = ({}, {"replay_reasoning": "reasoning_content"}, {"replay_reasoning": "reasoning_details"})
ENCRYPTING = {name for name, dialect in PROVIDERS.items() if dialect.replay(TargetFacts("m", "/")).summaries}
"""Vendors whose seal holds the reasoning itself; others sign what can be read."""

OWN = frozenset({"own"})
TOOL = c.Tool("f", "d", {"type": "object", "properties": {"a": {"type": "string"}}})


def turn(*parts: c.Part) -> c.Request:
    messages = (c.Message("user", (c.Text("q"),), "messages.0"), c.Message("assistant", parts, "messages.1"))
    return c.Request(dialect="client", model="m", messages=messages)


def after(takes: ReasoningReplay, policy: ForeignReasoning, *parts: c.Part) -> tuple[tuple[c.Part, ...], tuple[str, ...]]:
    request, named = settled(turn(*parts), takes, policy)
    return request.messages[1].parts, named


SIGNED, SEALED, PLAIN = c.Thinking("t", "s", "other"), c.RedactedThinking("d", "other", "id"), c.Thinking("t")
CALL, SIGNED_CALL = c.ToolCall("1", "f", "{}"), c.ToolCall("1", "f", "{}", "s", "other")


def test_a_request_without_foreign_reasoning_stays_the_same_object() -> None:
    request = turn(c.Thinking("t", "s", "own"), c.RedactedThinking("d", "own"), c.Text("a"), CALL)
    for policy in POLICIES:
        assert settled(request, ReasoningReplay(sealed_by=OWN), policy) == (request, ())
        assert settled(request, ReasoningReplay(sealed_by=OWN), policy)[0] is request


def test_stripped() -> None:
    name = "messages.1.reasoning"
    assert after(ReasoningReplay(), "strip", SIGNED, SEALED, PLAIN, c.Text("a"), CALL) == ((c.Text("a"), CALL), (name, name, name))
    assert after(ReasoningReplay(plain=True), "strip", SIGNED, SEALED, PLAIN) == ((PLAIN, PLAIN), (f"{name}.signature", name))
    assert after(ReasoningReplay(calls_signed_by=OWN), "strip", SIGNED_CALL) == ((CALL,), ("messages.1.tool_calls.signature",))


def test_as_text() -> None:
    marked = c.Text("<thinking>\nt\n</thinking>")
    named = ("messages.1.reasoning.signature", "messages.1.reasoning")
    assert after(ReasoningReplay(), "text", SIGNED, SEALED, c.Text("a"), CALL) == ((marked, c.Text("a"), CALL), named)
    assert after(ReasoningReplay(), "text", PLAIN) == ((marked,), ())
    assert after(ReasoningReplay(plain=True), "text", SIGNED, SEALED) == ((PLAIN,), named)
    assert after(ReasoningReplay(), "text", c.Thinking("", "s", "other")) == ((), ("messages.1.reasoning",))


@pytest.mark.parametrize("part", [SIGNED, SEALED, PLAIN, SIGNED_CALL])
def test_refused(part: c.Part) -> None:
    with pytest.raises(c.Unfit, match=r"messages\.1\.reasoning: the target cannot take back"):
        after(ReasoningReplay(sealed_by=OWN), "refuse", part)


def test_readable_reasoning_in_front_of_encrypted_reasoning_belongs_to_it() -> None:
    takes = ReasoningReplay(sealed_by=OWN, summaries=True)
    own = c.RedactedThinking("d", "own")
    assert after(takes, "refuse", PLAIN, PLAIN, own) == ((PLAIN, PLAIN, own), ())
    assert after(takes, "strip", PLAIN, SEALED, PLAIN, c.Text("a"), own)[0] == (c.Text("a"), own)
    assert after(ReasoningReplay(sealed_by=OWN), "strip", PLAIN, own)[0] == (own,)


def test_a_changed_request_of_the_targets_own_dialect_forgets_its_body() -> None:
    request = c.Request(dialect="target", model="m", messages=turn(SIGNED, CALL).messages, raw={"model": "m"})
    assert settled(request, ReasoningReplay(), "strip")[0].raw is None


# ------------------------------------------------------------------------------------------------------- properties


def mark_of(origin: str) -> str:
    return f"SEAL{origin.replace('-', '')}X"


def seal_of(origin: str, number: int) -> str:
    """In the alphabet of base64, as all vendors' seals are."""
    text = f"{mark_of(origin)}{number:04d}"
    return text + "A" * (-len(text) % 4)


@st.composite
def conversations(draw: st.DrawFn) -> c.Request:
    """Any client's, with reasoning of any origin; every text, seal, argument and result is a word of its own."""
    words = count()

    def word(kind: str) -> str:
        return f"{kind}-{next(words):04d}"

    def seal() -> tuple[str | None, str | None]:
        origin = draw(st.sampled_from((None, *ORIGINS)))
        return (None, None) if origin is None else (seal_of(origin, next(words)), origin)

    def thought() -> c.Part:
        signature, origin = seal()
        if origin is not None and (origin in ENCRYPTING or draw(st.booleans())):
            return c.RedactedThinking(signature or "", origin, word("rs"))
        return c.Thinking(word("THOUGHT") if draw(st.booleans()) or not origin else "", signature, origin)

    messages = [c.Message("user", (c.Text(word("TEXT")),), "messages.0")]
    for number in range(draw(st.integers(1, 3))):
        parts: list[c.Part] = [thought() for _ in range(draw(st.integers(0, 3)))]
        if draw(st.booleans()):
            parts.append(c.Text(word("TEXT")))
        calls = []
        for _ in range(draw(st.integers(0, 2))):
            if draw(st.booleans()):
                parts.append(thought())
            call = c.ToolCall(word("call"), "f", f'{{"a":"{word("ARGUMENT")}"}}', *seal())
            calls.append(call)
            parts.append(call)
        if not calls and not any(isinstance(part, c.Text) for part in parts):
            parts.append(c.Text(word("TEXT")))
        path = f"messages.{2 * number + 1}"
        messages.append(c.Message("assistant", tuple(parts), path))
        answers = tuple(c.ToolResult(call.id, (c.Text(word("RESULT")),)) for call in calls)
        messages.append(c.Message("tool" if answers else "user", answers or (c.Text(word("TEXT")),), f"messages.{2 * number + 2}"))
    return c.Request(dialect="client", model="m", messages=tuple(messages), tools=(TOOL,))


def words_of(request: c.Request, kind: str) -> list[str]:
    found: list[str] = []
    for message in request.messages:
        for part in message.parts:
            inner = part.parts if isinstance(part, c.ToolResult) else (part,)
            texts = [p.arguments.partition(':"')[2].rstrip('"}') if isinstance(p, c.ToolCall) else getattr(p, "text", "") for p in inner]
            found += [text for text in texts if text.startswith(kind)]
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=150, deadline=None)
@given(request=conversations(), policy=st.sampled_from(POLICIES), options=st.sampled_from(OPTIONS), gemini=st.sampled_from(("2.5", "3")))
def test_no_foreign_seal_is_sent_and_nothing_else_is_lost(
    provider: str, request: c.Request, policy: ForeignReasoning, options: dict[str, object], gemini: str
) -> None:
    dialect, target = PROVIDERS[provider], TargetFacts(f"gemini-{gemini}-pro", "/{model}:generateContent", options)
    takes = dialect.replay(target)
    try:
        fitted, named = settled(request, takes, policy)
    except c.Unfit:
        assert policy == "refuse"
        assert settled(request, takes, "strip")[1]
        return
    written = dialect.write_request(fitted, target)
    text = written.body.decode()
    for origin in set(ORIGINS) - takes.sealed_by - takes.calls_signed_by:
        assert mark_of(origin) not in text
    for kind in ("TEXT", "ARGUMENT", "RESULT"):
        assert all(text.count(word) == 1 for word in words_of(request, kind))
    thoughts = words_of(request, "THOUGHT")
    shown = [word for word in thoughts if word in text]
    assert all(text.count(word) == 1 for word in shown)
    if policy == "text":
        assert shown == thoughts
    elif len(shown) < len(thoughts):
        assert any(".reasoning" in name for name in named)
    if provider not in ("openai-chat",) or not options:
        validate(provider, written.body)
    assert not {name for name in written.dropped if ".reasoning" in name or ".thinking" in name} or takes.sealed_by


@pytest.mark.parametrize("client", DIALECTS)
def test_every_client_dialect_keeps_whose_a_seal_is(client: str) -> None:
    """The sealed form of another vendor's reasoning, read back, still names its vendor."""
    if client == "openai-chat":
        pytest.skip("carries seals in reasoning_details, by format")
    assert c.unseal_signature(c.seal_signature("s", "some-vendor"), client) == ("s", "some-vendor")
    redacted = c.unseal_redacted(c.seal_redacted("d", "some-vendor", "id"), client)
    assert redacted == c.RedactedThinking("d", "some-vendor", "id")
