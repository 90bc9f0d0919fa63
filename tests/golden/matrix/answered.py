"""Features that an answer can have: each is written by the provider's side of every dialect and looked for in every client's answer.

A provider's bytes come from its dialect's own client-side writer: what that cannot write is no feature of that dialect ("none").
Clients' bytes are read by the same dialect's reader, and by the vendor's SDK where the conformance suite has it. A dialect that only
providers speak has no writer: its answers are made from its sibling's (`tests.siblings`), or "untested". What the client's dialect cannot
write is "none" too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgspec

from control_plane.dialects import canon as c
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.conformance.conftest import Sdks
from tests.golden.matrix.asked import Outcome
from tests.siblings import SIBLINGS

Events = Sequence[c.Event]
ORIGIN: Final = "<provider>"  # stands for the provider's own dialect
CITATIONS: Final[dict[str, dict[str, object]]] = {
    "anthropic-messages": {
        "type": "web_search_result_location",
        "url": "https://example.com/a",
        "title": "A",
        "cited_text": "quote",
        "encrypted_index": "eA==",
    },
    "openai-chat": {
        "type": "url_citation",
        "url_citation": {"url": "https://example.com/a", "title": "A", "start_index": 0, "end_index": 4},
    },
    "openai-responses": {"type": "url_citation", "url": "https://example.com/a", "title": "A", "start_index": 0, "end_index": 4},
}
"""A citation as the vendor itself writes it; dialects that are not here are asked for one by its URL and title."""


class Ids:
    def __init__(self) -> None:
        self._count = count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._count)}"

    def now(self) -> int:
        return 1_700_000_000


def answer(*events: c.Event, stop: c.Stop | None = None, usage: c.Usage | None = None) -> Events:
    end = stop or c.Stop("end")
    return (c.Start("id-1", "m", 1_700_000_000), *events, end, c.UsageUpdate(usage or c.Usage(10, None, None, 5)), c.End())


def _joined(events: Events, kind: type[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def _text(events: Events) -> object:
    return _joined(events, c.TextDelta) or None


def _calls(events: Events) -> object:
    names = {event.index: event.name for event in events if isinstance(event, c.ToolCallStart)}
    fragments = [event for event in events if isinstance(event, c.ToolArgumentsDelta)]
    return [(name, "".join(f.text for f in fragments if f.index == index)) for index, name in sorted(names.items())] or None


def _usage(events: Events) -> object:
    total = c.Usage()
    for event in events:
        if isinstance(event, c.UsageUpdate):
            total = total.updated(event.usage)
    return {name: value for name in total.__struct_fields__ if (value := getattr(total, name))} or None


def _seals(events: Events) -> object:
    """What seals reasoning or calls, and whose it is, wherever the dialect puts it."""
    found = []
    for event in events:
        if isinstance(event, c.ReasoningSignature):
            found.append(_unsealed(event.signature, event.origin))
        elif isinstance(event, c.RedactedReasoning):
            found.append(_unsealed(event.data, event.origin))
        elif isinstance(event, c.ToolCallStart) and event.signature:
            found.append((event.signature, event.origin))
    return found or None


def _unsealed(value: str, native: str) -> tuple[str | None, str | None]:
    redacted = c.unseal_redacted(value, native)
    return (redacted.data, redacted.origin) if redacted is not None else c.unseal_signature(value, native)


def _citations(events: Events) -> object:
    return [event.url for event in events if isinstance(event, c.Citation)] or None


def _logprobs(events: Events) -> object:
    found = [token for event in events if isinstance(event, c.Logprobs) for token in event.content]
    return [token.get("token") for token in found if isinstance(token, dict)] or None


def _choices(events: Events) -> object:
    return sorted({event.choice for event in events if isinstance(event, c.TextDelta)})


def _stop(events: Events) -> object:
    return next((event.reason for event in events if isinstance(event, c.Stop)), None)


@dataclass(frozen=True, slots=True)
class Answered:
    name: str
    events: Events
    seen: Callable[[Events], object]


_TEXT: Final = c.TextDelta("The answer")
_TOKENS: Final = tuple({"token": word, "logprob": -0.5, "bytes": list(word.encode()), "top_logprobs": []} for word in ("The", " answer"))
ANSWERED: Final = (
    Answered("text", answer(_TEXT), _text),
    Answered("tool call", answer(c.ToolCallStart(0, "call_1", "f"), c.ToolArgumentsDelta(0, '{"a":1}'), stop=c.Stop("tool_use")), _calls),
    Answered(
        "parallel tool calls",
        answer(
            *(c.ToolCallStart(0, "call_1", "f"), c.ToolArgumentsDelta(0, '{"a":1}'), c.ToolCallEnd(0)),
            *(c.ToolCallStart(1, "call_2", "g"), c.ToolArgumentsDelta(1, '{"b":2}'), c.ToolCallEnd(1)),
            stop=c.Stop("tool_use"),
        ),
        _calls,
    ),
    Answered("readable reasoning", answer(c.ReasoningDelta("hm"), _TEXT), lambda events: _joined(events, c.ReasoningDelta) or None),
    Answered("signed reasoning", answer(c.ReasoningDelta("hm"), c.ReasoningSignature("U0lH", ORIGIN), _TEXT), _seals),
    Answered("encrypted reasoning", answer(c.RedactedReasoning("RU5D", ORIGIN, "rs_1"), _TEXT), _seals),
    Answered(
        "signed tool calls",
        answer(c.ToolCallStart(0, "call_1", "f", 0, "U0lH", ORIGIN), c.ToolArgumentsDelta(0, "{}"), stop=c.Stop("tool_use")),
        _seals,
    ),
    Answered("refusal text", answer(c.RefusalDelta("I will not"), stop=c.Stop("refusal")), lambda e: _joined(e, c.RefusalDelta) or None),
    Answered("citations", answer(_TEXT, c.Citation(ORIGIN, {}, "https://example.com/a", "A", "quote", 0, 4)), _citations),
    Answered("token log probabilities", answer(_TEXT, c.Logprobs(_TOKENS)), _logprobs),
    Answered(
        "choices",
        (
            c.Start("id-1", "m"),
            _TEXT,
            c.TextDelta("Other", 1),
            c.Stop("end"),
            c.Stop("end", choice=1),
            c.UsageUpdate(c.Usage(9, output=5)),
            c.End(),
        ),
        _choices,
    ),
    Answered("usage with cached and reasoning tokens", answer(_TEXT, usage=c.Usage(100, 60, None, 7, 3)), _usage),
    Answered("usage with cache writes", answer(_TEXT, usage=c.Usage(100, None, 10, 7)), _usage),
    Answered("stop: limit of tokens", answer(_TEXT, stop=c.Stop("max_tokens")), _stop),
    Answered("stop: sequence", answer(_TEXT, stop=c.Stop("stop_sequence", sequence="END")), _stop),
    Answered("stop: content filter", answer(_TEXT, stop=c.Stop("content_filter")), _stop),
)


def _request(dialect: str, stream: bool) -> c.Request:
    return c.Request(dialect=dialect, model="m", messages=(), stream=stream, include_usage=True, sampling=c.Sampling(logprobs=True))


def written(dialect: str, events: Events, stream: bool) -> bytes:
    """As the answer of that dialect's vendor."""
    if (sibling := SIBLINGS.get(dialect)) is not None:
        made = written(sibling.of, events, stream)
        return sibling.framed(made) if stream else made
    writer = DIALECTS[dialect].writer(_request(dialect, stream), Ids())
    return b"".join(writer.emit(event) for event in events) + writer.finish()


def _content_type(dialect: str, stream: bool) -> str:
    sibling = SIBLINGS.get(dialect)
    if sibling is not None and stream:
        return sibling.content_type
    own = sibling.of if sibling is not None else dialect
    return DIALECTS[own].writer(_request(own, stream), Ids()).content_type


def read(dialect: str, body: bytes, stream: bool) -> Events:
    reader = PROVIDERS[dialect].reader(_request(dialect, stream))
    reader.start(200, _content_type(dialect, stream))
    return [*reader.feed(body), *reader.finish()]


def _of(provider: str, events: Events) -> Events:
    """The probe with the provider's own name and words in it."""
    provider = SIBLINGS[provider].of if provider in SIBLINGS else provider
    found: list[c.Event] = []
    for event in events:
        if getattr(event, "origin", None) == ORIGIN:
            raw = {"raw": CITATIONS.get(provider, {})} if isinstance(event, c.Citation) else {}
            event = msgspec.structs.replace(event, origin=provider, **raw)
        found.append(event)
    return found


def outcome(client: str, provider: str, probe: Answered, stream: bool, sdks: Sdks) -> Outcome:
    if provider not in DIALECTS and provider not in SIBLINGS:
        return Outcome("untested")
    sent = _of(provider, probe.events)
    events = read(provider, written(provider, sent, stream), stream)
    own = _of(client, probe.events)
    if probe.seen(events) != probe.seen(sent) or probe.seen(read(client, written(client, own, stream), stream)) != probe.seen(own):
        return Outcome("none")
    if client == provider:
        return Outcome("yes")  # the passthrough lane: the bytes go on as they are
    body = written(client, events, stream)
    if (meaning := decoded(sdks, client, body, stream)) is not None:
        assert meaning.error is None, f"{client} ← {provider}, {probe.name}: the SDK raises {meaning.error}"
        assert _text(events) is None or str(_text(events)).startswith(meaning.text[:10]), f"{client} ← {provider}: {meaning.text!r}"
    got, wanted = probe.seen(read(client, body, stream)), probe.seen(events)
    if got == wanted:
        return Outcome("yes")
    some = isinstance(got, dict) and isinstance(wanted, dict) and got.items() & wanted.items()
    return Outcome("partly" if some else "no")


def decoded(sdks: Sdks, client: str, body: bytes, stream: bool) -> Any:
    """What the vendor's SDK makes of it; None where the conformance suite has no SDK for the dialect."""
    try:
        return sdks.decode(client, body, stream)
    except KeyError:
        return None


# ------------------------------------------------------------------------------------------------------------ errors

FAILURES: Final = (
    c.Failure("client_fault", 400, "bad", "invalid_request_error", "messages"),
    c.Failure("credential_dead", 401, "refused"),
    c.Failure("credential_dead", 403, "refused"),
    c.Failure("rate_limited", 429, "slow down"),
    c.Failure("transient", 500, "oops"),
    c.Failure("transient", 503, "oops"),
)


def _errors_of(provider: str) -> str:
    return SIBLINGS[provider].errors if provider in SIBLINGS else provider


def errors(client: str, provider: str) -> Outcome:
    """Errors in front of an answer keep status and class."""
    if provider not in DIALECTS and provider not in SIBLINGS:
        return Outcome("untested")
    kept = 0
    for failure in FAILURES:
        told = PROVIDERS[provider].read_error(failure.status, {}, DIALECTS[_errors_of(provider)].write_error(failure))
        again = PROVIDERS[client].read_error(told.status, {}, DIALECTS[client].write_error(told))
        kept += (again.kind, again.status) == (failure.kind, failure.status)
    return Outcome("yes" if kept == len(FAILURES) else "partly" if kept else "no")


def errors_in_streams(client: str, provider: str) -> Outcome:
    """An error after content ends the client's stream as an error, never cleanly."""
    if provider not in DIALECTS and provider not in SIBLINGS:
        return Outcome("untested")

    def broken(dialect: str, events: Events, failure: c.Failure) -> bytes:
        if (sibling := SIBLINGS.get(dialect)) is not None:
            begun = DIALECTS[sibling.of].writer(_request(sibling.of, True), Ids())
            sent = sibling.framed(b"".join(begun.emit(event) for event in events))
            return sent + DIALECTS[sibling.errors].writer(_request(sibling.errors, True), Ids()).fail(failure)
        writer = DIALECTS[dialect].writer(_request(dialect, True), Ids())
        return b"".join(writer.emit(event) for event in events) + writer.fail(failure)

    def failure_of(dialect: str, body: bytes) -> c.Failure | None:
        reader = PROVIDERS[dialect].reader(_request(dialect, True))
        reader.start(200, _content_type(dialect, True))
        found = [event.failure for event in reader.feed(body) if isinstance(event, c.InStreamError)]
        return found[0] if found else None

    begun = (c.Start("id-1", "m"), _TEXT)
    told = failure_of(provider, broken(provider, begun, c.Failure("transient", 529, "overloaded")))
    if told is None:
        return Outcome("none")
    again = failure_of(client, broken(client, begun, told))
    return Outcome("yes" if again is not None and again.kind == told.kind else "no")
