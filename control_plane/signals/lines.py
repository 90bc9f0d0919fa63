"""The two kinds of access journal line, and how bytes or tags become them. The writer's side is `formats.py`.

A line is decoded strictly first, in about a microsecond. If one value is not what it should be (a provider may report any JSON as
its usage) that value alone becomes None and the line still counts: what a provider says must not hide that a request happened.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from control_plane.signals import rate_limits
from control_plane.signals.rate_limits import RateLimitSignal

MAX_TOKENS: Final = 100_000_000
"""Tokens in one answer, far above any context window: more is a provider's mistake and is not counted."""


class Malformed(ValueError):
    """Bytes that are no journal line. `kind` is a fixed word: json, shape or text."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer; None where unknown. `input` includes `cached` and `cache_write`, `output` includes `reasoning`."""

    input: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None


class Metered(msgspec.Struct, frozen=True, gc=False):
    """What is known of an answer, from the edge's meter or from the translator.

    `dropped` (translator only) names request fields that the target cannot take.
    """

    usage: Usage | None = None
    finish: str | None = None
    complete: bool | None = None
    stream_error: str | None = None
    dropped: tuple[str, ...] | None = None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else None


class _Placed(msgspec.Struct, frozen=True, gc=False):
    """What both kinds of line say: `call` is "operation route", `at` is "lane provider/model", `limits` is the vendor's words about its
    rate limits; see `formats.py`."""

    id: str
    start: datetime.datetime
    call: str = ""
    at: str = ""
    limits: str = ""

    @property
    def operation(self) -> str | None:
        """chat, embeddings, ...; None where no route of a model call was met."""
        return self.call.partition(" ")[0] or None

    @property
    def route(self) -> str | None:
        """The ModelRoute, None for a model that none has."""
        return self.call.partition(" ")[2] or None

    @property
    def lane(self) -> str | None:
        """passthrough or translation; None, like target and provider, when no target was asked."""
        return self.at.partition(" ")[0].rstrip("*+") or None

    @property
    def spare(self) -> bool:
        """Whether the target was asked with the spare key of its provider's pool."""
        return self.at.partition(" ")[0].endswith("*")

    @property
    def resumed(self) -> bool:
        """Whether the target went on with an answer that another had begun."""
        return self.at.partition(" ")[0].endswith("+")

    @property
    def inner(self) -> bool:
        """Whether it is an attempt of the resumer's, whose client has a request line of its own, under the id before the dot."""
        return "." in self.id

    @property
    def target(self) -> str | None:
        """provider/model."""
        return self.at.partition(" ")[2] or None

    @property
    def provider(self) -> str | None:
        """The target's provider."""
        return self.at.partition(" ")[2].partition("/")[0] or None


class AttemptLine(_Placed, frozen=True, gc=False, tag_field="log", tag="attempt"):
    """One attempt that ended. `n` counts from 1.

    `status` is 0 when no answer began. `fault` is the class of an answer that is an error, by its body too. `duration_us` is None unless
    the provider's answer ended cleanly; `duration_ms` is always there.
    """

    n: int | None = None
    status: int | None = None
    flags: str | None = None
    details: str | None = None
    fault: str | None = None
    ttft_us: int | None = None
    duration_us: int | None = None
    duration_ms: int | None = None

    @property
    def key(self) -> tuple[str, object]:
        """What makes this line unique: Envoy's request id and the attempt's number."""
        return (self.id, self.n)

    @property
    def flag_set(self) -> frozenset[str]:
        """Envoy's response flags, `-` being none."""
        return parse_flags(self.flags)

    @property
    def duration_s(self) -> float | None:
        """How long the attempt took."""
        if self.duration_us is not None:
            return self.duration_us / 1e6
        return None if self.duration_ms is None else self.duration_ms / 1e3

    @property
    def ended_at(self) -> float:
        """Seconds since the epoch."""
        return self.start.timestamp() + max(0.0, self.duration_s or 0.0)

    def rate_limits(self) -> RateLimitSignal | None:
        """What the vendor said of its rate limits with this answer; None when it said nothing."""
        return rate_limits.read(self.limits, self.ended_at) if self.limits else None


class RequestLine(_Placed, frozen=True, gc=False, tag_field="log", tag="request"):
    """One request that ended. `at` is the last attempt's.

    `asked` is "dialect how model", `edge` what the edge's meter says; see `formats.py`.
    """

    asked: str = ""
    status: int | None = None
    flags: str | None = None
    details: str | None = None
    attempts: int | None = None
    sent_us: int | None = None
    head_us: int | None = None
    ttft_us: int | None = None
    duration_ms: int | None = None
    edge: str = ""
    translation: Metered | None = None

    @property
    def dialect(self) -> str | None:
        """The client's dialect; None, like the rest of `asked`, when the request's body was not understood."""
        return self.asked.partition(" ")[0] or None

    @property
    def stream(self) -> bool | None:
        """Whether the client asked for a stream."""
        how = self.asked.partition(" ")[2].partition(" ")[0]
        return how != "whole" if how else None

    @property
    def model(self) -> str | None:
        """The name the client asked for, as it was sent: never a metric label."""
        return self.asked.partition(" ")[2].partition(" ")[2] or None

    @property
    def key(self) -> tuple[str, object]:
        """What makes this line unique: Envoy's request id, and that it is not an attempt's."""
        return (self.id, "request")

    @property
    def flag_set(self) -> frozenset[str]:
        """Envoy's response flags, `-` being none."""
        return parse_flags(self.flags)

    @property
    def first_token_s(self) -> float | None:
        """Until the client got the first byte of the body: when the provider sent it, or when a held response was let go, the later."""
        if self.ttft_us is None:
            return None
        return max(self.ttft_us, self.head_us or 0) / 1e6

    def only_attempt(self) -> AttemptLine:
        """The line that the one attempt of this request would have had, if its answer began well.

        Times count from when the provider was asked. `duration_us` is in whole milliseconds, and None if the exchange was broken off.
        """
        sent_us = min(max(0, self.sent_us or 0), _DAY_US)
        took_us = None if self.duration_ms is None else max(0, self.duration_ms * 1000 - sent_us)
        return AttemptLine(
            id=self.id,
            start=self.start + datetime.timedelta(microseconds=sent_us),
            n=1,
            call=self.call,
            at=self.at,
            limits=self.limits,
            status=self.status,
            flags=",".join(sorted(self.flag_set & _OF_THE_ATTEMPT)) or "-",
            ttft_us=None if self.ttft_us is None else self.ttft_us - sent_us,
            duration_us=None if self.flag_set else took_us,
            duration_ms=None if took_us is None else round(took_us / 1000),
        )

    def meter(self) -> Metered:
        """The usage and the ending to believe: the translator's where it translated the last attempt, else the meter's of the edge.

        The translator's words survive from an earlier attempt into the line of a request that another lane served, hence the test.
        """
        if self.translation is not None and self.lane == "translation":
            return self.translation
        return metered(self.edge) if self.edge else _NOTHING


@lru_cache(maxsize=256)  # who counts a line asks four times
def metered(text: str) -> Metered:
    """What envoy/lua/edge.lua published: "complete;input,cached,cache_write,output,reasoning;finish;stream_error". Never raises:
    what is no number, or is not there, is None."""
    complete, usage, finish, error = (*text.split(";", 3), "", "", "")[:4]
    counts = [_number(n) for n in usage.split(",", 5)[:5]]
    return Metered(
        usage=Usage(*counts) if usage else None,
        finish=finish or None,
        complete={"1": True, "0": False}.get(complete),
        stream_error=error or None,
    )


_DIGITS: Final = 16
"""Of a number that the meter found: more are nonsense, and enough of them take long to read."""

_NOTHING: Final = Metered()
_OF_THE_ATTEMPT: Final = frozenset(("LR", "UC", "UF", "UPE", "UR"))
"""Flags of a request that its attempt has too: the provider's side broke an answer that had begun."""

_DAY_US: Final = 86_400_000_000
"""No request is older; an odd number in a line must not overflow a date."""

Line = RequestLine | AttemptLine

_KINDS: Final[dict[object, type[RequestLine] | type[AttemptLine]]] = {"request": RequestLine, "attempt": AttemptLine}
_REQUIRED: Final = ("id", "start")
_decoder: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line, strict=False)
_any_decoder: Final = msgspec.json.Decoder(dict[str, object])
_types: Final[dict[type[msgspec.Struct], dict[str, object]]] = {
    kind: {field.name: field.type for field in msgspec.structs.fields(kind)} for kind in (RequestLine, AttemptLine, Metered, Usage)
}
_nested: Final[dict[str, type[msgspec.Struct]]] = {"usage": Usage, "translation": Metered}


def decode(raw: bytes) -> Line:
    """One line without its newline. Numbers may be JSON strings, missing values left out, null or `-`. Raises Malformed."""
    try:
        return _decoder.decode(raw)
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError as error:
        raise Malformed("json", str(error)) from None
    except UnicodeDecodeError as error:
        raise Malformed("text", str(error)) from None
    try:
        values = _any_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Malformed("shape", str(error)) from None
    except msgspec.DecodeError as error:
        raise Malformed("json", str(error)) from None
    except UnicodeDecodeError as error:
        raise Malformed("text", str(error)) from None
    return from_values(values)


def from_tags(tags: Mapping[str, str]) -> Line:
    """A line from text values, as the gRPC access log brings them: objects are JSON texts. Raises Malformed."""
    values: dict[str, object] = dict(tags)
    if text := tags.get("translation"):
        try:
            values["translation"] = _any_decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            values["translation"] = None
    return from_values(values)


def from_values(values: Mapping[str, object]) -> Line:
    """A line from loose values: what does not fit its field becomes None. Raises Malformed without kind, id or start."""
    kind = _KINDS.get(values.get("log"))
    if kind is None:
        raise Malformed("shape", f"log is {str(values.get('log'))[:40]!r}, not request or attempt")
    made = _loose(kind, values)
    for name in _REQUIRED:
        if made.get(name) is None:
            raise Malformed("shape", f"{values.get('log')} line without a usable {name}")
    return kind(**made)  # type: ignore[arg-type]


def parse_flags(flags: str | None) -> frozenset[str]:
    """`URX,UF` as a set; `-` and nothing are the empty set."""
    return frozenset(flags.split(",")) if flags and flags != "-" else frozenset()


def tokens(value: int | None) -> int | None:
    """`value` if it can be a number of tokens, else None."""
    return value if value is not None and 0 <= value <= MAX_TOKENS else None


def _loose(kind: type[msgspec.Struct], values: Mapping[str, object]) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, expected in _types[kind].items():
        value = values.get(name)
        if value is None or (value == "-" and name != "flags"):
            continue
        if (nested := _nested.get(name)) is not None:
            made[name] = nested(**_loose(nested, value)) if isinstance(value, Mapping) else None
            continue
        try:
            made[name] = msgspec.convert(value, expected, strict=False)
        except (msgspec.ValidationError, OverflowError):
            continue
    return made
