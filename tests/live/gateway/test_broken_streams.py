"""Streams that break after content, in the official SDKs of every dialect: none takes one for whole, and where the data plane can still
write, the client is told by an error event of its dialect. Passthrough (a vendor of the client's own dialect) and translation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anthropic
import cohere
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from control_plane.signals.classify import Outcome, outcome
from tests.boto import clients
from tests.live.gateway import load
from tests.live.gateway.rig import ANSWERS, Rig, RigFactory, route
from tests.live.gateway.test_streams import request_line

IDLE_S = 0.8
NATIVE = {
    "chat": "openai",
    "responses": "answers",
    "messages": "anthropic",
    "generate": "gemini",
    "converse": "bedrock",
    "cohere": "cohere",
}
VENDORS = ("openai", "answers", "anthropic", "gemini", "bedrock", "cohere")
ROUTES = "".join(
    route(f"via-{vendor}", vendor, first_token="400ms").replace("idle: 20s", "idle: 800ms").replace("connect: 500ms", "connect: 150ms")
    for vendor in VENDORS
)
FAULTS: dict[str, dict[str, Any]] = {
    "rst": {"mode": "cut", "after": 3, "how": "rst"},
    "fin": {"mode": "cut", "after": 3, "how": "fin"},
    "early end": {"mode": "cut", "after": 3, "how": "clean"},
    "closed": {"mode": "cut", "after": 3, "how": "closed"},
    "stall": {"mode": "stall", "after": 3},
    "stall behind heartbeats": {"mode": "stall", "after": 3, "heartbeat_ms": 50},
    "stall behind empty deltas": {"mode": "stall", "after": 3, "heartbeat_ms": 50, "heartbeat": "empty_delta"},
}
TOLD = ("early end", "closed", "stall behind heartbeats", "stall behind empty deltas")
"""After these the data plane can still write on the passthrough lane."""
HELLO: Any = [{"role": "user", "content": "hello one two three four five six seven eight"}]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> Iterator[None]:
    rig.heal()
    yield
    rig.heal()


@pytest.fixture(scope="module")
def streams(rig: Rig) -> Iterator[dict[str, Callable[[str], Iterator[Any]]]]:
    """The events of a stream, as the SDK of each dialect gives them."""
    with (
        openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0, timeout=20) as chat,
        anthropic.Anthropic(base_url=rig.url, api_key="k", max_retries=0, timeout=20) as claude,
        genai.Client(api_key="k", http_options=types.HttpOptions(base_url=rig.url)) as google,
        httpx.Client(timeout=20) as transport,
        clients() as make,
    ):
        command, boto = cohere.ClientV2("k", base_url=rig.url, httpx_client=transport, max_retries=0), make(rig.url)
        said = [{"role": "user", "content": [{"text": HELLO[0]["content"]}]}]
        yield {
            "chat": lambda model: iter(chat.chat.completions.create(model=model, messages=HELLO, stream=True)),
            "responses": lambda model: iter(chat.responses.create(model=model, input=HELLO, stream=True)),
            "messages": lambda model: iter(claude.messages.create(model=model, messages=HELLO, max_tokens=300, stream=True)),
            "generate": lambda model: google.models.generate_content_stream(model=model, contents=HELLO[0]["content"]),
            "converse": lambda model: boto.converse_stream(modelId=model, messages=said)["stream"],
            "cohere": lambda model: command.chat_stream(model=model, messages=HELLO),
        }


def ended(dialect: str, events: list[Any]) -> str | None:
    """The reason that the last events give for the end, as the SDK shows it."""
    for event in reversed(events):
        if dialect == "chat" and event.choices and event.choices[0].finish_reason:
            return str(event.choices[0].finish_reason)
        if dialect == "responses" and event.type in ("response.completed", "response.incomplete"):
            return str(event.type)
        if dialect == "messages" and event.type == "message_delta" and event.delta.stop_reason:
            return str(event.delta.stop_reason)
        if dialect == "generate" and event.candidates and event.candidates[0].finish_reason:
            return str(event.candidates[0].finish_reason)
        if dialect == "converse" and "messageStop" in event:
            return str(event["messageStop"]["stopReason"])
        if dialect == "cohere" and event.type == "message-end":
            return str(event.delta.finish_reason)
    return None


def read(stream: Iterator[Any], events: list[Any]) -> BaseException | None:
    """What the SDK raises, if it does."""
    try:
        events.extend(stream)
    except Exception as error:
        return error
    finally:
        if hasattr(stream, "close"):  # boto3 leaves the connection open when it raises
            stream.close()
    return None


def judge(dialect: str, events: list[Any], raised: BaseException | None, told: bool) -> None:
    assert events, "some of the answer had come"
    if raised is None:  # Cohere's dialect tells an error in its last event, and its SDK hands that on
        assert (dialect, ended(dialect, events)) == ("cohere", "ERROR")
        assert told
        return
    assert ended(dialect, events) is None
    text = f"{type(raised).__name__} {raised}"
    if dialect == "generate" and "keep-alive" in text:  # its SDK takes comments for errors
        return
    if told and dialect != "cohere":
        assert "the provider ended its answer early" in text or "the provider stopped" in text, text
    elif not told:
        assert "the provider" not in text, text


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dialect", NATIVE)
def test_passthrough(rig: Rig, streams: dict[str, Callable[[str], Iterator[Any]]], dialect: str, fault: str) -> None:
    vendor = NATIVE[dialect]
    rig.break_vendor("openai" if vendor == "answers" else vendor, **FAULTS[fault])
    began, at = datetime.now(UTC), time.monotonic()
    events: list[Any] = []
    raised = read(streams[dialect](f"via-{vendor}"), events)
    took = time.monotonic() - at
    judge(dialect, events, raised, fault in TOLD)
    if "keep-alive" in str(raised):  # Google's SDK takes a comment for an error and leaves
        return
    if fault.startswith("stall"):
        assert IDLE_S <= took < 1.25 * IDLE_S + 2.5
    rig.heal()  # lets a client that is still there go
    line = rig.loop.run(request_line(rig, began))
    assert line.lane == "passthrough"
    assert outcome(line) is Outcome.CUT
    assert not line.meter().complete
    if fault in TOLD:
        assert line.meter().stream_error in ("provider_answer_cut", "provider_answer_stalled")


TRANSLATED = {
    "chat": "anthropic",
    "responses": "gemini",
    "messages": "openai",
    "generate": "anthropic",
    "converse": "openai",
    "cohere": "anthropic",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dialect", TRANSLATED)
def test_translation(rig: Rig, streams: dict[str, Callable[[str], Iterator[Any]]], dialect: str, fault: str) -> None:
    vendor = TRANSLATED[dialect]
    rig.break_vendor(vendor, **FAULTS[fault])
    began, at = datetime.now(UTC), time.monotonic()
    events: list[Any] = []
    raised = read(streams[dialect](f"via-{vendor}"), events)
    took = time.monotonic() - at
    told = fault not in ("rst", "fin")
    if raised is None:
        assert (dialect, ended(dialect, events), told) == ("cohere", "ERROR", True)
    else:
        assert ended(dialect, events) in (None, "ERROR")
        text = f"{type(raised).__name__} {raised}"
        assert not told or dialect == "cohere" or "the provider stopped" in text or "ended before its last event" in text, text
    if fault.startswith("stall"):
        assert IDLE_S <= took < IDLE_S + 2
    line = rig.loop.run(request_line(rig, began))
    assert line.lane == "translation"
    assert outcome(line) is Outcome.CUT


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize("fault", FAULTS)
async def test_async_clients(rig: Rig, fault: str) -> None:
    """The same with the asynchronous clients, one after the other, each on its own vendor."""

    async def events_of(stream: AsyncIterator[Any], events: list[Any]) -> BaseException | None:
        try:
            async with asyncio.timeout(10):
                keep = events.append
                async for event in stream:
                    keep(event)
        except TimeoutError:
            raise
        except Exception as error:
            return error
        return None

    async with (
        openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0) as chat,
        anthropic.AsyncAnthropic(base_url=rig.url, api_key="k", max_retries=0) as claude,
        httpx.AsyncClient(timeout=20) as transport,
    ):
        google = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=rig.url)).aio
        command = cohere.AsyncClientV2("k", base_url=rig.url, httpx_client=transport, max_retries=0)
        for dialect in ("chat", "responses", "messages", "generate", "cohere"):
            vendor = NATIVE[dialect]
            rig.break_vendor("openai" if vendor == "answers" else vendor, **FAULTS[fault])
            model = f"via-{vendor}"
            stream: Any
            if dialect == "chat":
                stream = await chat.chat.completions.create(model=model, messages=HELLO, stream=True)
            elif dialect == "responses":
                stream = await chat.responses.create(model=model, input=HELLO, stream=True)
            elif dialect == "messages":
                stream = await claude.messages.create(model=model, messages=HELLO, max_tokens=300, stream=True)
            elif dialect == "generate":
                stream = await google.models.generate_content_stream(model=model, contents=HELLO[0]["content"])
            else:
                stream = command.chat_stream(model=model, messages=HELLO)
            events: list[Any] = []
            raised = await events_of(stream, events)
            judge(dialect, events, raised, fault in TOLD)
        await google.aclose()


@pytest.mark.parametrize("fault", ["truncated", "empty"])
@pytest.mark.parametrize(("dialect", "vendor"), [("chat", "openai"), ("messages", "anthropic")])
def test_whole_answers_that_are_none(rig: Rig, dialect: str, vendor: str, fault: str) -> None:
    """The body ends as HTTP says it should, and is no answer: an error status, since its headers have not gone."""
    rig.break_vendor(vendor, mode=fault)

    async def ask() -> Any:
        (answer,) = await load.run(rig.url, 1, 1, lambda _: getattr(load, dialect)(f"via-{vendor}", fault == "empty", "hello"))
        return answer

    answer = rig.loop.run(ask())
    assert (answer.status, answer.clean) == (503, True), answer
    assert b"the provider ended its answer early" in answer.body
