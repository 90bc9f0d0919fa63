"""Answers that break off after content and are gone on with at another target: official SDKs, real Envoy, every way to break."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from control_plane.demo.simulators.compose import filler
from tests.live.gateway.rig import ROUTE, Rig, RigFactory

TOKENS = 24
ASK: Any = [{"role": "user", "content": f"[[sim tokens={TOKENS} delay_ms=2]]"}]
WHOLE = "".join(filler(TOKENS))

PREFIXING = """
---
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {{name: prefixing}}
spec:
  title: Goes on with answers
  dialects: {{openai-chat: {{path: /chat/completions}}}}
  auth: {{header: authorization, prefix: "Bearer ", required: true}}
  options: {{max_tokens_field: max_tokens, prefill: prefix}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: goes-on}}
spec:
  preset: prefixing
  baseUrl: "{local}/v1"
  allowInsecure: true
  breaker: {{enabled: false}}
  credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]
"""
OPENAI, LOCAL, CLAUDE, NEWEST = (
    "{provider: openai, model: gpt-4o}",
    "{provider: goes-on, model: llama-3.3-70b}",
    "{provider: anthropic, model: claude-sonnet-4-5}",
    "{provider: anthropic, model: claude-sonnet-5}",
)


def resuming(name: str, *targets: str, resume: str = "resume: {}") -> str:
    plan = "\n".join(f"    - {{targets: [{target}]}}" for target in targets)
    made = ROUTE.format(name=name, plan=plan, first_token="400ms", hold="false").replace("idle: 20s", "idle: 800ms")
    return made.replace("connect: 500ms", "connect: 150ms") + f"  {resume}\n"


ROUTES = (
    resuming("chat", OPENAI, LOCAL)
    + resuming("chat-claude", OPENAI, CLAUDE)
    + resuming("claude", NEWEST, CLAUDE)
    + resuming("claude-local", NEWEST, LOCAL)
    + resuming("alone", LOCAL, OPENAI)
    + resuming("plain", OPENAI, LOCAL, resume="unsupportedParams: drop")
)
FAULTS: dict[str, dict[str, Any]] = {
    "rst": {"mode": "cut", "after": 5, "how": "rst"},
    "early end": {"mode": "cut", "after": 5, "how": "clean"},
    "stall": {"mode": "stall", "after": 5},
    "stall behind heartbeats": {"mode": "stall", "after": 5, "heartbeat_ms": 50},
    "error event": {"mode": "error_event", "after": 5},
}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=PREFIXING)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> Iterator[None]:
    rig.heal()
    yield
    rig.heal()


@pytest.fixture(scope="module")
def chat(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="k", max_retries=0, timeout=20) as client:
        yield client


def said(chat: openai.OpenAI, model: str, **more: Any) -> tuple[str, list[Any]]:
    chunks = list(chat.chat.completions.create(model=model, messages=ASK, stream=True, **more))
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks


def journal(rig: Rig, before: int) -> list[dict[str, Any]]:
    """The lines since then, when they are all there."""
    deadline = time.monotonic() + 5
    path = next(rig.gateway.places.state.rglob("*journal*.log"))
    while True:
        lines = [json.loads(line) for line in path.read_text().splitlines()[before:]]
        if any(line["log"] == "request" and "." not in line["id"] for line in lines) or time.monotonic() > deadline:
            return lines
        time.sleep(0.05)


def lines_now(rig: Rig) -> int:
    time.sleep(0.3)
    return len(next(rig.gateway.places.state.rglob("*journal*.log")).read_text().splitlines())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("model", ["chat", "chat-claude"])
def test_a_chat_that_breaks_off_is_whole(rig: Rig, chat: openai.OpenAI, model: str, fault: str) -> None:
    rig.break_vendor("openai", **FAULTS[fault])
    text, chunks = said(chat, model, stream_options={"include_usage": True})
    assert text == WHOLE
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert len({c.id for c in chunks}) == 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == TOKENS - 5


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("model", ["claude", "claude-local"])
def test_a_message_that_breaks_off_is_whole(rig: Rig, claude: anthropic.Anthropic, model: str, fault: str) -> None:
    rig.break_vendor("anthropic", **FAULTS[fault], model="claude-sonnet-5")
    with claude.messages.stream(model=model, messages=ASK, max_tokens=300) as stream:
        events = [event.type for event in stream]
        message = stream.get_final_message()
    assert [block.text for block in message.content if block.type == "text"] == [WHOLE]
    assert len(message.content) == 1
    assert message.stop_reason == "end_turn"
    assert events.count("message_start") == events.count("message_stop") == events.count("content_block_stop") == 1


def test_what_does_not_break_off_is_as_it_was(rig: Rig, chat: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert said(chat, "chat")[0] == said(chat, "plain")[0] == WHOLE
    whole = chat.chat.completions.with_raw_response.create(model="chat", messages=ASK)
    assert whole.parse().choices[0].message.content == WHOLE
    assert whole.headers["x-headgate-target"] == "openai/gpt-4o"
    message = claude.messages.create(model="claude", messages=ASK, max_tokens=300)
    assert [block.text for block in message.content if block.type == "text"] == [WHOLE]
    with pytest.raises(openai.BadRequestError):
        chat.chat.completions.create(model="chat", messages=[], stream=True)


def test_nobody_to_go_on_is_an_error(rig: Rig, chat: openai.OpenAI) -> None:
    rig.break_vendor("local", **FAULTS["early end"])
    with pytest.raises(openai.APIError):
        said(chat, "alone")


def test_without_resume_it_is_an_error(rig: Rig, chat: openai.OpenAI) -> None:
    rig.break_vendor("openai", **FAULTS["early end"])
    with pytest.raises(openai.APIError):
        said(chat, "plain")


def test_a_call_that_has_begun_is_not_gone_on_with(rig: Rig, chat: openai.OpenAI) -> None:
    rig.break_vendor("openai", mode="cut", after=2, how="clean")
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": schema}}
    with pytest.raises(openai.APIError):
        list(chat.chat.completions.create(model="chat", messages=[{"role": "user", "content": "look it up"}], tools=[tool], stream=True))
    assert not rig.vendors["local"].requests


def test_both_attempts_are_in_the_journal(rig: Rig, chat: openai.OpenAI) -> None:
    before = lines_now(rig)
    rig.break_vendor("openai", **FAULTS["early end"])
    assert said(chat, "chat", stream_options={"include_usage": True})[0] == WHOLE
    requests = [line for line in journal(rig, before) if line["log"] == "request"]
    outer = next(line for line in requests if "." not in line["id"])
    first, second = sorted((line for line in requests if line["id"].startswith(outer["id"] + ".")), key=lambda line: line["id"])
    assert outer["at"] == "resume"
    assert (first["at"], second["at"]) == ("passthrough openai/gpt-4o", "translation+ goes-on/llama-3.3-70b")
    assert first["edge"].startswith("0;")
    assert second["translation"]["usage"]["output"] == TOKENS - 5


def test_a_message_has_the_usage_of_both_attempts(rig: Rig, claude: anthropic.Anthropic) -> None:
    before = lines_now(rig)
    rig.break_vendor("anthropic", **FAULTS["error event"], model="claude-sonnet-5")
    with claude.messages.stream(model="claude", messages=ASK, max_tokens=300) as stream:
        usage = stream.get_final_message().usage
    requests = [line for line in journal(rig, before) if line["log"] == "request"]
    first = next(line for line in requests if line["id"].endswith(".1"))["edge"].split(";")[1].split(",")
    second = next(line for line in requests if line["id"].endswith(".2"))["translation"]["usage"]
    assert usage.input_tokens == int(first[0]) + second["input"]
    assert usage.output_tokens == int(first[3] or 0) + second["output"]


def test_a_client_that_leaves_ends_the_attempt(rig: Rig, chat: openai.OpenAI) -> None:
    slow: Any = [{"role": "user", "content": "[[sim tokens=4000 delay_ms=20]]"}]
    stream = chat.chat.completions.create(model="chat", messages=slow, stream=True)
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 1
    while rig.vendors["openai"].stats.in_flight:
        assert time.monotonic() < deadline, "the vendor still writes for nobody"
        time.sleep(0.02)
    assert rig.vendors["openai"].stats.cancelled == 1


async def many(rig: Rig, model: str, number: int) -> int:
    """How many of so many streams, sixteen at a time, are whole and right."""
    turns = asyncio.Semaphore(16)

    async def one(client: openai.AsyncOpenAI) -> bool:
        async with turns:
            try:
                stream = await client.chat.completions.create(model=model, messages=ASK, stream=True)
                chunks = [chunk async for chunk in stream]
            except openai.APIError:
                return False
            return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == WHOLE

    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0, timeout=30) as client:
        return sum(await asyncio.gather(*(one(client) for _ in range(number))))


def cpu_ms(rig: Rig) -> float:
    """Of Envoy and the translators so far."""
    pids = [child.pid for name, child in rig.gateway.children.items() if name == "envoy" or name.startswith("translator")]
    ticks = [sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) for pid in pids]
    return sum(ticks) * 10.0


def test_of_many_cut_streams_nearly_all_are_whole(rig: Rig) -> None:
    rig.break_vendor("openai", mode="cut", after=5, how="rst")
    whole = asyncio.run(many(rig, "chat", 500))
    print(f"{whole} of 500 cut streams were whole")
    assert whole >= 495
    rig.heal()
    spent = {}
    for model in ("plain", "chat"):
        before = cpu_ms(rig)
        assert asyncio.run(many(rig, model, 500)) == 500
        spent[model] = (cpu_ms(rig) - before) / 500
    print(f"CPU of Envoy and translators for a stream of {TOKENS} chunks: {spent['plain']:.2f} ms, with resume {spent['chat']:.2f} ms")


def test_clients_cannot_mark_a_request(rig: Rig, chat: openai.OpenAI) -> None:
    rig.break_vendor("openai", **FAULTS["early end"])
    assert said(chat, "chat", extra_headers={"x-headgate-resume": "first"})[0] == WHOLE
