"""Hostile bytes: readers raise the declared errors and nothing else, and stay within their bounds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError
from tests.siblings import STREAMED
from tests.unit.dialects.samples import JUNK, KEY_WORDS, REQUESTS, STREAMS, VALUE_WORDS, WHOLE_COHERE, framed

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_KEYS = st.sampled_from(KEY_WORDS.split())
_WORDS = st.sampled_from(VALUE_WORDS.split())
_LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False, allow_infinity=False) | _WORDS | st.text(max_size=5)
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=25
)


def read_answer(name: str, body: bytes, stream: bool) -> list[canon.Event]:
    reader = PROVIDERS[name].reader(canon.Request(dialect=name, model="m", messages=(), stream=stream))
    reader.start(200, STREAMED.get(name, "text/event-stream") if stream else "application/json")
    try:
        events = reader.feed(body)
        return events + reader.finish()
    except ProviderProtocolError:
        return []


def write_answer(events: list[canon.Event]) -> None:
    for name, dialect in DIALECTS.items():
        for stream in (True, False):
            writer = dialect.writer(canon.Request(dialect=name, model="m", messages=(), stream=stream, include_usage=True), Ids())
            for event in events:
                writer.emit(event)
            writer.finish()


class Ids:
    def new(self, prefix: str) -> str:
        return prefix + "x"

    def now(self) -> int:
        return 1


@STEADY
@given(st.binary(max_size=400), st.sampled_from(sorted(PROVIDERS)), st.booleans())
def test_any_bytes_as_an_answer(body: bytes, name: str, stream: bool) -> None:
    write_answer(read_answer(name, body, stream))
    PROVIDERS[name].read_error(500, {}, body)


@settings(STEADY, max_examples=400)
@given(st.lists(_JSON, max_size=6), st.sampled_from(sorted(PROVIDERS)), st.booleans())
def test_any_json_as_an_answer(values: list[Any], name: str, stream: bool) -> None:
    texts = [json.dumps(value) for value in values]
    body = framed(name, values) if stream else "".join(texts[:1]).encode()
    write_answer(read_answer(name, body, stream))
    PROVIDERS[name].read_error(400, {}, body)


@settings(STEADY, max_examples=400)
@given(st.dictionaries(_KEYS, _JSON, max_size=6), st.lists(_JSON, max_size=3), st.sampled_from(sorted(DIALECTS)))
def test_any_json_as_a_request(fields: dict[str, Any], messages: list[Any], name: str) -> None:
    body = {"model": "m", "max_tokens": 5, **fields, "messages": messages or fields.get("messages"), "input": messages}
    write_request(name, json.dumps(body).encode())


def write_request(name: str, body: bytes) -> None:
    try:
        request = DIALECTS[name].read_request(body, Call("m", True))
    except ClientProtocolError as error:
        if error.status != 400:
            raise
        return
    for dialect in PROVIDERS.values():
        for asked in (request, request.edited()):
            try:
                made = dialect.write_request(asked, TargetFacts(model="claude-x", path="/"))
            except canon.Unfit as unfit:
                if not unfit.field:
                    raise
            else:
                json.loads(made.body)


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from spots(child)


def mutants(value: Any) -> Iterator[Any]:
    """The value with each spot replaced by each junk, removed, and doubled."""
    count = sum(1 for _ in spots(value))
    for number in range(count):
        for junk in [*JUNK, "remove", "double"]:
            copy = json.loads(json.dumps(value))
            container, key = next(spot for n, spot in enumerate(spots(copy)) if n == number)
            if junk == "remove":
                del container[key]
            elif junk == "double" and isinstance(container, list):
                container.insert(key, container[key])
            else:
                container[key] = junk
            yield copy


def test_every_field_of_a_request_replaced_by_junk() -> None:
    for name, request in REQUESTS.items():
        for mutant in mutants(request):
            write_request(name, json.dumps(mutant).encode())


def test_every_field_of_a_whole_response_replaced_by_junk() -> None:
    for mutant in mutants(STREAMS["openai-responses"][-1]["response"]):
        write_answer(read_answer("openai-responses", json.dumps(mutant).encode(), False))
    for mutant in mutants(WHOLE_COHERE):
        write_answer(read_answer("cohere-chat", json.dumps(mutant).encode(), False))


def test_every_field_of_a_stream_replaced_by_junk() -> None:
    for name, events in STREAMS.items():
        for mutant in mutants(events):
            write_answer(read_answer(name, framed(name, mutant), True))


def test_bytes_of_a_stream_flipped_cut_and_repeated() -> None:
    rng = random.Random(11)
    for name, events in STREAMS.items():
        body = framed(name, events)
        for _ in range(1500):
            changed = bytearray(body)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(changed))
                action = rng.randrange(3)
                if action == 0:
                    changed[at] = rng.randrange(256)
                elif action == 1:
                    del changed[at : at + rng.randint(1, 60)]
                else:
                    changed[at:at] = changed[at : at + rng.randint(1, 200)]
                if not changed:
                    changed = bytearray(b"{")
            write_answer(read_answer(name, bytes(changed), True))
