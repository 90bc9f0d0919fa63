"""Cohere through the real gateway: its official SDK as a client of every vendor, every client of a Cohere provider, failover both ways."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import cohere
import cohere.core
import httpx
import httpx2
import openai
import pytest

from control_plane.demo.simulators.record import Recorded
from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway import load
from tests.live.gateway.drills import moved
from tests.live.gateway.rig import ANSWERS, COHERE_KEYS, KEYS, Rig, RigFactory, route
from tests.live.gateway.test_failover import FAULTS
from tests.live.gateway.test_sdks import TOOL, anthropic_tools, openai_tools

PLAIN, THINKER = "command-a-03-2025", "command-a-reasoning-08-2025"
ROUTES = (
    route("via-cohere", "cohere")
    + route("via-thinker", "cohere").replace(PLAIN, THINKER)
    + route("via-openai", "openai")
    + route("via-anthropic", "anthropic")
    + route("via-local", "local")
    + route("via-gemini", "gemini")
    + route("answers-only", "answers")
    + route("cohere-first", "cohere", "openai", first_token="1s", hold=True)
    + route("openai-first", "openai", "cohere", first_token="1s", hold=True)
    + route("cohere-anthropic", "cohere", "anthropic", first_token="1s", hold=True)
    + route("there-and-back", "cohere", "openai", "cohere", first_token="1s", hold=True)
)
SAID = {
    "via-cohere": f"cohere/{PLAIN}",
    "via-thinker": f"cohere/{THINKER}",
    "via-openai": "openai/gpt-5",
    "via-anthropic": "anthropic/claude-sonnet-5",
    "via-local": "local/llama-3.3-70b",
    "via-gemini": "gemini/gemini-2.5-flash",
    "answers-only": "openai/gpt-5",
}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
EVERY = pytest.mark.parametrize("model", list(SAID))
BOTH = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def client(rig: Rig) -> Iterator[cohere.ClientV2]:
    with httpx.Client(timeout=20) as transport:
        yield cohere.ClientV2("client-key", base_url=rig.url, httpx_client=transport, max_retries=0)


@pytest.fixture
def openai_client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as made:
        yield made


def last(rig: Rig, vendor: str) -> Recorded:
    return rig.vendors[vendor].requests[-1]


class Told:
    """What a user of the SDK has of an answer."""

    def __init__(self, client: cohere.ClientV2, streamed: bool, **asked: Any) -> None:
        self.text = self.thinking = self.plan = ""
        self.calls: list[Any] = []
        self.citations: list[Any] = []
        if not streamed:
            done: Any = client.chat(**asked)
            self.message: Any = done.message
            for block in done.message.content or []:
                self.text += block.text if block.type == "text" else ""
                self.thinking += block.thinking if block.type == "thinking" else ""
            self.plan = done.message.tool_plan or ""
            self.calls = done.message.tool_calls or []
            self.citations = done.message.citations or []
            self.finish, self.usage, self.error = done.finish_reason, done.usage, getattr(done, "error", None)
            return
        self.kinds: list[str] = []
        for event in client.chat_stream(**asked):
            self._take(event)
        self.message = {"role": "assistant", "content": self.text, "tool_calls": self.calls, "tool_plan": self.plan}
        if self.thinking:
            self.message["content"] = [{"type": "thinking", "thinking": self.thinking}]

    def _take(self, event: Any) -> None:
        self.kinds.append(event.type)
        if event.type in ("content-start", "content-delta"):
            self.text += event.delta.message.content.text or ""
            self.thinking += event.delta.message.content.thinking or ""
        elif event.type == "tool-plan-delta":
            self.plan += event.delta.message.tool_plan
        elif event.type == "tool-call-start":
            assert event.index == len(self.calls)
            self.calls.append(event.delta.message.tool_calls)
        elif event.type == "tool-call-delta":
            self.calls[event.index].function.arguments += event.delta.message.tool_calls.function.arguments
        elif event.type == "citation-start":
            self.citations.append(event.delta.message.citations)
        elif event.type == "message-end":
            self.finish, self.usage, self.error = event.delta.finish_reason, event.delta.usage, event.delta.error


# ---------------------------------------------------------------------------------------------- clients of this dialect


@EVERY
@BOTH
def test_text(client: cohere.ClientV2, model: str, streamed: bool) -> None:
    told = Told(client, streamed, model=model, messages=[{"role": "system", "content": "be brief"}, *HELLO])
    assert (told.text, told.finish, told.error) == (f"{SAID[model]} heard: hello", "COMPLETE", None)
    assert told.usage.tokens.input_tokens > 0
    assert told.usage.tokens.output_tokens > 0
    assert told.usage.billed_units.output_tokens > 0


@EVERY
def test_the_events_of_a_stream(client: cohere.ClientV2, model: str) -> None:
    told = Told(client, True, model=model, messages=HELLO)
    assert (told.kinds[0], told.kinds[-1]) == ("message-start", "message-end")
    assert told.kinds.count("content-start") == told.kinds.count("content-end") >= 1
    assert told.kinds.count("content-delta") > 2


@EVERY
@BOTH
def test_a_tool_loop(client: cohere.ClientV2, model: str, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]
    first = Told(client, streamed, model=model, messages=messages, tools=openai_tools())
    assert first.finish == "TOOL_CALL"
    assert [(c.function.name, bool(json.loads(c.function.arguments)["city"])) for c in first.calls] == [("get_weather", True)] * 2
    assert len({c.id for c in first.calls}) == 2
    messages.append(first.message)
    messages += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny {i}"} for i, c in enumerate(first.calls)]
    done = Told(client, streamed, model=model, messages=messages, tools=openai_tools())
    assert done.text == f"{SAID[model]} read the tool: sunny 0 | sunny 1"
    assert done.finish == "COMPLETE"


@EVERY
def test_required_tools_structured_output_images_and_limits(client: cohere.ClientV2, model: str) -> None:
    forced = Told(client, False, model=model, messages=HELLO, tools=openai_tools(), tool_choice="REQUIRED")
    assert [c.function.name for c in forced.calls] == ["get_weather"]
    called: list[Any] = [{"role": "user", "content": "call get_weather"}]
    assert not Told(client, False, model=model, messages=called, tools=openai_tools(), tool_choice="NONE").calls
    wanted = cohere.JsonObjectResponseFormatV2(json_schema=TOOL)
    assert set(json.loads(Told(client, False, model=model, messages=HELLO, response_format=wanted).text)) == {"city", "days"}
    image: list[Any] = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    seen = Told(client, False, model=model, messages=[{"role": "user", "content": image}])
    assert seen.text == f"{SAID[model]} heard and saw 1 image: look"
    cut = Told(client, False, model=model, messages=[{"role": "user", "content": "[[sim tokens=900]]"}], max_tokens=200)
    assert cut.finish == "MAX_TOKENS"


@BOTH
def test_thinking_is_seen(client: cohere.ClientV2, streamed: bool) -> None:
    thinking = cohere.Thinking(type="enabled", token_budget=1024)
    for model in ("via-thinker", "via-gemini", "via-anthropic"):
        told = Told(client, streamed, model=model, messages=HELLO, thinking=thinking, max_tokens=5000)
        assert told.thinking.startswith("Water"), model
        assert told.text == f"{SAID[model]} heard: hello"


@BOTH
def test_documents_are_read_everywhere_and_cited_at_home(client: cohere.ClientV2, rig: Rig, streamed: bool) -> None:
    documents: list[Any] = [cohere.Document(id="d", data={"title": "T", "text": "the canary sings"})]
    told = Told(client, streamed, model="via-cohere", messages=HELLO, documents=documents)
    assert [c.sources[0].id for c in told.citations] == ["d"]
    for model, vendor in (("via-openai", "openai"), ("via-anthropic", "anthropic"), ("via-gemini", "gemini")):
        Told(client, streamed, model=model, messages=HELLO, documents=documents)
        assert "the canary sings" in json.dumps(last(rig, vendor).json())


def test_dropped_parameters_are_named_as_the_client_calls_them(client: cohere.ClientV2) -> None:
    raw = client.with_raw_response.chat(
        model="via-openai", messages=HELLO, k=3, safety_mode="OFF", citation_options=cohere.CitationOptions(mode="OFF")
    )
    assert set(raw.headers["x-headgate-dropped"].split(",")) == {"k", "safety_mode", "citation_options"}
    assert raw.headers["x-headgate-target"] == "openai/gpt-5"


async def test_async_client(rig: Rig) -> None:
    async with httpx.AsyncClient() as transport:
        client = cohere.AsyncClientV2("client-key", base_url=rig.url, httpx_client=transport, max_retries=0)
        for model in ("via-cohere", "via-openai"):
            done: Any = await client.chat(model=model, messages=HELLO)
            assert done.message.content[0].text == f"{SAID[model]} heard: hello"
            events: list[Any] = [e async for e in client.chat_stream(model=model, messages=HELLO)]
            text = "".join(e.delta.message.content.text or "" for e in events if e.type == "content-delta")
            assert text == f"{SAID[model]} heard: hello"


def test_errors_have_the_vendors_classes(rig: Rig, client: cohere.ClientV2) -> None:
    with pytest.raises(cohere.NotFoundError, match="did you mean 'via-cohere'"):
        client.chat(model="via-coher", messages=HELLO)
    with pytest.raises(cohere.BadRequestError, match=r"tools\.0"):
        client.chat(model="via-openai", messages=HELLO, tools=[{"type": "function"}])  # type: ignore[list-item]
    for path, status, word in (("/v2/chat", 405, "POST only"), ("/v2/nothing", 404, "")):
        answer = httpx.get(rig.url + path)
        assert (answer.status_code, set(answer.json())) == (status, {"message"})
        assert word in answer.json()["message"]
    for body, word in ((b"{", "valid JSON"), (b'{"messages":[]}', "model"), (b'{"model":"a","model":"b"}', "more than once")):
        answer = httpx.post(f"{rig.url}/v2/chat", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, set(answer.json())) == (400, {"message"})
        assert word in answer.json()["message"]
    for model, vendor in (("via-openai", "openai"), ("via-cohere", "cohere"), ("via-gemini", "gemini")):
        rig.break_vendor(vendor, mode="status", status=429, retry_after_s=7)
        with pytest.raises(cohere.TooManyRequestsError) as limited:
            client.chat(model=model, messages=HELLO)
        assert (limited.value.headers or {})["retry-after"] == "7"
        rig.break_vendor(vendor, mode="refuse")
        with pytest.raises(cohere.ServiceUnavailableError):
            client.chat(model=model, messages=HELLO)


def test_a_body_that_is_too_large_and_a_vendor_that_is_too_late(rig: Rig, client: cohere.ClientV2) -> None:
    rig.break_vendor("cohere", mode="black_hole")
    rig.break_vendor("openai", mode="black_hole")
    with pytest.raises(cohere.GatewayTimeoutError):
        client.chat(model="cohere-first", messages=HELLO)


# ----------------------------------------------------------------------------------------------- other clients of Cohere


@pytest.mark.parametrize("model", ["via-cohere", "via-thinker"])
@BOTH
def test_openai_tool_loop(rig: Rig, openai_client: openai.OpenAI, model: str, streamed: bool) -> None:
    """The plan is reasoning; it goes back as thinking to a model that thinks, and to others not at all."""
    messages: list[Any] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "call get_weather and get_weather"}]

    def ask() -> Any:
        asked: Any = {"model": model, "messages": messages, "tools": openai_tools()}
        if not streamed:
            return openai_client.chat.completions.create(**asked).choices[0]
        with openai_client.chat.completions.stream(**asked) as stream:
            return stream.get_final_completion().choices[0]

    first = ask()
    assert first.finish_reason == "tool_calls"
    assert first.message.reasoning_content.startswith("Water" if model == "via-thinker" else "I will use get_weather.")
    calls = first.message.tool_calls
    assert [(c.function.name, bool(json.loads(c.function.arguments)["city"])) for c in calls] == [("get_weather", True)] * 2
    messages.append(first.message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny {i}"} for i, c in enumerate(calls)]
    assert ask().message.content == f"{SAID[model]} read the tool: sunny 0 | sunny 1"
    replayed = last(rig, "cohere").json()["messages"][2]
    thought = first.message.reasoning_content
    assert "tool_plan" not in replayed
    assert replayed.get("content") == ([{"type": "thinking", "thinking": thought}] if model == "via-thinker" else None)


def test_openai_forced_tool_structured_output_image_and_usage(rig: Rig, openai_client: openai.OpenAI) -> None:
    create = openai_client.chat.completions.create
    other = {"type": "function", "function": {"name": "other", "parameters": TOOL}}
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    done = create(model="via-cohere", messages=HELLO, tools=[other, *openai_tools()], tool_choice=forced)  # type: ignore[list-item]
    assert [c.function.name for c in done.choices[0].message.tool_calls or () if c.type == "function"] == ["get_weather"]
    assert [tool["function"]["name"] for tool in last(rig, "cohere").json()["tools"]] == ["get_weather"]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": TOOL, "strict": True}}
    made = create(model="via-cohere", messages=HELLO, response_format=wanted)
    assert set(json.loads(made.choices[0].message.content or "")) == {"city", "days"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    seen = create(model="via-cohere", messages=[{"role": "user", "content": [{"type": "text", "text": "look"}, image]}])  # type: ignore[list-item, misc]
    assert seen.choices[0].message.content == f"{SAID['via-cohere']} heard and saw 1 image: look"
    assert seen.usage is not None
    assert seen.usage.prompt_tokens > 85
    chunks = list(create(model="via-cohere", messages=HELLO, stream=True, stream_options={"include_usage": True}))
    whole = create(model="via-cohere", messages=HELLO)
    assert chunks[-1].usage == whole.usage
    raw = openai_client.chat.completions.with_raw_response.create(
        model="via-cohere", messages=HELLO, temperature=1.5, top_p=1, user="u", logit_bias={}, reasoning_effort="low"
    )
    assert set(raw.headers["x-headgate-dropped"].split(",")) == {"temperature", "top_p", "user", "logit_bias", "reasoning_effort"}


@pytest.mark.parametrize("model", ["via-cohere", "via-thinker"])
@BOTH
def test_anthropic_tool_loop(claude: anthropic.Anthropic, model: str, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "call get_weather"}]

    def ask() -> Any:
        thinking = {"type": "enabled", "budget_tokens": 1024}
        request: Any = {"model": model, "max_tokens": 5000, "messages": messages, "tools": anthropic_tools(), "thinking": thinking}
        if not streamed:
            return claude.messages.create(**request)
        with claude.messages.stream(**request) as stream:
            return stream.get_final_message()

    first = ask()
    assert first.stop_reason == "tool_use"
    assert [b.type for b in first.content] == ["thinking", "tool_use"]
    messages.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[1].id, "content": "sunny"}]})
    done = ask()
    assert "".join(b.text for b in done.content if b.type == "text") == f"{SAID[model]} read the tool: sunny"
    assert done.usage.output_tokens > 0


@BOTH
def test_responses(openai_client: openai.OpenAI, streamed: bool) -> None:
    asked: Any = {"model": "via-thinker", "input": "hello", "instructions": "be brief", "reasoning": {"effort": "low", "summary": "auto"}}
    if streamed:
        with openai_client.responses.stream(**asked) as stream:
            list(stream)
            done = stream.get_final_response()
    else:
        done = openai_client.responses.create(**asked)
    assert (done.output_text, done.status) == (f"{SAID['via-thinker']} heard: hello", "completed")
    assert done.output[0].type == "reasoning"
    assert done.usage is not None
    assert done.usage.output_tokens_details.reasoning_tokens == 12


def test_the_vendor_sees_its_own_path_and_key_and_nothing_of_the_client(rig: Rig) -> None:
    headers = {"authorization": "Bearer client-canary", "x-api-key": "client-canary"}
    for make in (load.cohere, load.chat, load.messages):
        path, body = make("via-cohere", True)
        answer = post(rig, f"{path}?a=b", body, headers)
        assert load.served(answer) is None
        seen = last(rig, "cohere")
        assert (seen.path, seen.key) == ("/v2/chat", "key-0")
        assert "x-api-key" not in seen.headers
        assert "client-canary" not in str(seen.headers)
    state = rig.specs.parent.parent / "state"
    texts = ["\n".join(rig.lines), *(p.read_text(errors="replace") for p in state.rglob("*.log"))]
    assert not [text for text in texts for secret in COHERE_KEYS.values() if secret in text]


def test_a_request_that_cohere_cannot_serve_goes_to_the_next(rig: Rig, openai_client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": TOOL, "strict": True}}
    asked: Any = {"messages": HELLO, "tools": openai_tools(), "response_format": wanted}
    done = openai_client.chat.completions.with_raw_response.create(model="cohere-first", **asked)
    assert done.headers["x-headgate-target"] == "openai/gpt-5"
    with pytest.raises(openai.BadRequestError, match="response_format"):
        openai_client.chat.completions.create(model="via-cohere", **asked)


# --------------------------------------------------------------------------------------------------------- failover


def post(rig: Rig, path: str, body: bytes, headers: dict[str, str] | None = None) -> load.Answer:
    async def one() -> load.Answer:
        client = load.Client(rig.url)
        try:
            return await client.post(path, body, headers)
        finally:
            client.close()
            await asyncio.sleep(0)  # for the socket to close

    return rig.loop.run(one())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["cohere-first", "openai-first", "cohere-anthropic"])
def test_no_client_sees_a_fault(rig: Rig, name: str, fault: str) -> None:
    """Clients of three dialects, on both lanes in front and behind; every request with a query string."""
    first, second = {"cohere-first": ("cohere", "openai"), "openai-first": ("openai", "cohere")}.get(name, ("cohere", "anthropic"))
    seen = moved(rig, name, (load.cohere, load.chat, load.messages), first, second, FAULTS[fault])
    assert {r.path for r in seen} == {{"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "cohere": "/v2/chat"}[second]}


def test_there_and_back_again(rig: Rig, client: cohere.ClientV2) -> None:
    """Cohere untranslated, then OpenAI, then Cohere untranslated: what the second attempt did to path, length and key is undone."""
    rig.break_vendor("cohere", mode="status", status=503, count=1)
    rig.break_vendor("openai", mode="status", status=503)
    path, body = load.cohere("there-and-back", stream=True)
    answer = post(rig, f"{path}?a=b", body)
    assert load.served(answer) is None
    assert answer.attempts == 3
    first, third = rig.vendors["cohere"].requests
    assert (first.path, first.query, first.size) == (third.path, third.query, third.size) == ("/v2/chat", "a=b", first.size)
    assert first.json() == third.json()


def test_a_break_after_content_is_never_a_clean_end(rig: Rig, client: cohere.ClientV2, openai_client: openai.OpenAI) -> None:
    """Whoever breaks: this dialect's clients see the reason ERROR, or no last event where nobody could write one."""
    for vendor, model in (("cohere", "via-cohere"), ("openai", "via-openai"), ("anthropic", "via-anthropic"), ("gemini", "via-gemini")):
        for fault in ({"mode": "error_event"}, {"mode": "cut", "how": "clean"}, {"mode": "cut", "how": "rst"}):
            rig.break_vendor(vendor, after=2, **fault)
            kinds: list[Any] = []
            try:
                kinds.extend(client.chat_stream(model=model, messages=HELLO))
            except (httpx.TransportError, cohere.core.ApiError):
                continue
            assert kinds[-1].type != "message-end" or kinds[-1].delta.finish_reason == "ERROR", (vendor, fault)
            assert kinds[-1].type == "message-end" or vendor == "cohere", (vendor, fault)
            rig.heal()
    for fault in ({"mode": "error_event"}, {"mode": "cut", "how": "clean"}, {"mode": "cut", "how": "rst"}):
        rig.break_vendor("cohere", after=2, **fault)
        with pytest.raises((openai.APIError, httpx2.TransportError)):
            list(openai_client.chat.completions.create(model="via-cohere", messages=HELLO, stream=True))


def test_a_revoked_key_fails_over_and_is_not_told(rig: Rig, client: cohere.ClientV2, openai_client: openai.OpenAI) -> None:
    async def set_keys(keys: list[str]) -> None:
        rig.vendors["cohere"].set_keys(keys)

    rig.loop.run(set_keys(["another"]))
    try:
        assert Told(client, False, model="cohere-first", messages=HELLO).text == "openai/gpt-5 heard: hello"
        with pytest.raises(cohere.core.ApiError) as refused:
            client.chat(model="via-cohere", messages=HELLO)
        assert refused.value.status_code == 502
        assert "upstream_credentials_exhausted" in str(refused.value.body)
        with pytest.raises(openai.InternalServerError) as caught:
            openai_client.chat.completions.create(model="via-cohere", messages=HELLO)
        assert not [key for key in (*COHERE_KEYS.values(), *KEYS.values()) if key in f"{refused.value}{caught.value}"]
    finally:
        rig.loop.run(set_keys([*COHERE_KEYS.values()]))


# ---------------------------------------------------------------------------------------------------------- metering


def test_both_lanes_are_metered(rig: Rig, client: cohere.ClientV2) -> None:
    told: dict[str, tuple[Any, ...]] = {}
    for model in ("via-cohere", "via-thinker", "via-openai", "via-anthropic"):
        for streamed in (False, True):
            asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "word " * 3000}]}
            if streamed:
                with client.with_raw_response.chat_stream(**asked) as raw:
                    events: list[Any] = list(raw.data)
                    usage: Any = events[-1].delta.usage
                    headers = raw.headers
            else:
                whole = client.with_raw_response.chat(**asked)
                usage, headers = whole.data.usage, whole.headers
            reasoning = getattr(usage.tokens, "reasoning_tokens", None) or 0
            told[headers["x-headgate-request-id"]] = (usage.tokens.input_tokens, usage.tokens.output_tokens, reasoning, streamed)
    assert journalled(rig, set(told)) == told


def journalled(rig: Rig, ids: set[str]) -> dict[str, tuple[Any, ...]]:
    """Tokens and kind of these requests in the journal, once all are there; each complete."""
    deadline = time.monotonic() + 15
    found: dict[str, tuple[Any, ...]] = {}
    while time.monotonic() < deadline and set(found) != ids:
        time.sleep(0.2)
        for text in rig.gateway.places.journal.read_bytes().splitlines():
            line = decode(text)
            if isinstance(line, RequestLine) and line.id in ids:
                meter = line.meter()
                assert (line.dialect, line.operation, meter.complete) == ("cohere-chat", "chat", True)
                assert meter.usage is not None
                found[line.id] = (meter.usage.input, meter.usage.output, meter.usage.reasoning or 0, line.stream)
    return found
