"""The official OpenAI and Anthropic SDKs on a Gemini provider, and failover between it and the others, through the real gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from control_plane.demo.simulators.gemini_request import signature
from control_plane.demo.simulators.record import Recorded
from tests.live.gateway import load
from tests.live.gateway.drills import moved
from tests.live.gateway.rig import GEMINI_KEYS, KEYS, Rig, RigFactory, route
from tests.live.gateway.test_failover import FAULTS
from tests.live.gateway.test_sdks import TOOL, anthropic_tools, openai_tools

NEW = "gemini-3.5-flash"
ROUTES = (
    route("via-gemini", "gemini")
    + route("via-gemini3", "gemini").replace("gemini-2.5-flash", NEW)
    + route("gemini-first", "gemini", "openai", first_token="1s", hold=True)
    + route("openai-first", "openai", "gemini", first_token="1s", hold=True)
    + route("gemini-anthropic", "gemini", "anthropic", first_token="1s", hold=True)
    + route("anthropic-gemini", "anthropic", "gemini", first_token="1s", hold=True)
    + route("there-and-back", "openai", "gemini", "openai", first_token="1s", hold=True)
)
MODELS = pytest.mark.parametrize("model", ["via-gemini", "via-gemini3"])
SAID = {"via-gemini": "gemini/gemini-2.5-flash", "via-gemini3": f"gemini/{NEW}"}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def openai_client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        yield client


def post(rig: Rig, path: str, body: bytes, headers: dict[str, str] | None = None) -> load.Answer:
    async def one() -> load.Answer:
        client = load.Client(rig.url)
        try:
            return await client.post(path, body, headers)
        finally:
            client.close()
            await asyncio.sleep(0)  # for the socket to close

    return rig.loop.run(one())


def signatures(rig: Rig) -> list[str | None]:
    """What the vendor got back with the calls of the last request."""
    parts = [part for content in last(rig, "gemini").json()["contents"] for part in content["parts"]]
    return [part.get("thoughtSignature") for part in parts if "functionCall" in part]


def last(rig: Rig, vendor: str) -> Recorded:
    return rig.vendors[vendor].requests[-1]


# ---------------------------------------------------------------------------------------------------------- openai


@MODELS
def test_openai_whole(openai_client: openai.OpenAI, model: str) -> None:
    done = openai_client.chat.completions.create(model=model, messages=HELLO)
    assert done.choices[0].message.content == f"{SAID[model]} heard: hello"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.completion_tokens_details is not None
    assert done.usage.completion_tokens > (done.usage.completion_tokens_details.reasoning_tokens or 0) > 0
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


@MODELS
def test_openai_streamed(openai_client: openai.OpenAI, model: str) -> None:
    whole = openai_client.chat.completions.create(model=model, messages=HELLO)
    chunks = list(openai_client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == f"{SAID[model]} heard: hello"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 5


@MODELS
@pytest.mark.parametrize("streamed", [False, True])
def test_openai_tool_loop(rig: Rig, openai_client: openai.OpenAI, model: str, streamed: bool) -> None:
    """The third generation refuses the second request unless its signature comes back with the call."""
    messages: list[Any] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "call get_weather and get_weather"}]

    def ask() -> Any:
        asked: Any = {"model": model, "messages": messages, "tools": openai_tools()}
        if not streamed:
            return openai_client.chat.completions.create(**asked).choices[0]
        with openai_client.chat.completions.stream(**asked) as stream:
            return stream.get_final_completion().choices[0]

    first = ask()
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls
    assert [(c.function.name, bool(json.loads(c.function.arguments)["city"])) for c in calls] == [("get_weather", True)] * 2
    assert len({c.id for c in calls}) == 2
    messages.append(first.message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny {i}"} for i, c in enumerate(calls)]
    assert ask().message.content == f"{SAID[model]} read the tool: sunny 0 | sunny 1"
    assert signatures(rig) == [signature("get_weather"), None]


def test_openai_forced_tool_structured_output_and_image(openai_client: openai.OpenAI) -> None:
    create = openai_client.chat.completions.create
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    done = create(model="via-gemini", messages=HELLO, tools=openai_tools(), tool_choice=forced)
    assert [c.function.name for c in done.choices[0].message.tool_calls or () if c.type == "function"] == ["get_weather"]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": TOOL, "strict": True}}
    made = create(model="via-gemini", messages=HELLO, response_format=wanted)
    assert set(json.loads(made.choices[0].message.content or "")) == {"city", "days"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    parts: Any = [{"type": "text", "text": "look"}, image]
    seen = create(model="via-gemini", messages=[{"role": "user", "content": parts}])
    assert seen.choices[0].message.content == "gemini/gemini-2.5-flash heard and saw 1 image: look"


def test_dropped_parameters_are_named(openai_client: openai.OpenAI) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(model="via-gemini", messages=HELLO, presence_penalty=1, user="u")
    assert raw.headers["x-headgate-dropped"] == "presence_penalty,user"
    assert raw.headers["x-headgate-target"] == "gemini/gemini-2.5-flash"


@pytest.mark.parametrize("names", [["a\nx-evil: 1"], ["größe\x00"], [f"{'x' * 200}{i}" for i in range(600)], ["x" * 90_000]])
def test_names_of_dropped_parameters_cannot_break_an_answer(rig: Rig, names: list[str]) -> None:
    body = {"model": "via-gemini", "messages": HELLO, **dict.fromkeys(names, 1)}
    answer = post(rig, "/v1/chat/completions", json.dumps(body).encode())
    assert load.served(answer) is None
    assert 0 < len(answer.headers["x-headgate-dropped"]) < 4000
    assert "x-evil" not in answer.headers


# ------------------------------------------------------------------------------------------------------- anthropic


@MODELS
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic(anthropic_client: anthropic.Anthropic, model: str, streamed: bool) -> None:
    done: anthropic.types.Message
    if streamed:
        with anthropic_client.messages.stream(model=model, max_tokens=300, messages=HELLO) as stream:
            text = "".join(stream.text_stream)
            done = stream.get_final_message()
    else:
        done = anthropic_client.messages.create(model=model, max_tokens=300, messages=HELLO)
        text = "".join(b.text for b in done.content if b.type == "text")
    assert text == f"{SAID[model]} heard: hello"
    assert [b.type for b in done.content] == ["text"]
    assert done.stop_reason == "end_turn"
    assert done.usage.input_tokens > 0
    assert done.usage.output_tokens > 8


@MODELS
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_tool_loop_with_thinking(rig: Rig, anthropic_client: anthropic.Anthropic, model: str, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]

    def ask() -> Any:
        thinking = {"type": "enabled", "budget_tokens": 1024}
        request: Any = {"model": model, "max_tokens": 5000, "messages": messages, "tools": anthropic_tools(), "thinking": thinking}
        if not streamed:
            return anthropic_client.messages.create(**request)
        with anthropic_client.messages.stream(**request) as stream:
            return stream.get_final_message()

    first = ask()
    assert first.stop_reason == "tool_use"
    assert [b.type for b in first.content] == ["thinking", "thinking", "tool_use", "tool_use"]
    assert first.content[0].thinking.startswith("Water")
    assert first.content[1].signature.startswith("headgate.gemini-generate-content.")
    calls = [b for b in first.content if b.type == "tool_use"]
    assert [(c.name, bool(c.input["city"])) for c in calls] == [("get_weather", True)] * 2
    messages.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]})
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"sunny {i}"} for i, c in enumerate(calls)]
    messages.append({"role": "user", "content": results})
    text = "".join(b.text for b in ask().content if b.type == "text")
    assert text == f"{SAID[model]} read the tool: sunny 0 | sunny 1"
    assert signatures(rig) == [signature("get_weather"), None]


@MODELS
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_tool_loop_without_thinking(rig: Rig, anthropic_client: anthropic.Anthropic, model: str, streamed: bool) -> None:
    """Such clients get no thinking, so no signature either; the third generation is told not to look for one."""
    text = tool_loop(anthropic_client, model, streamed)
    assert text == f"{SAID[model]} read the tool: sunny"
    assert signatures(rig) == ["skip_thought_signature_validator" if model == "via-gemini3" else None]


def test_a_conversation_goes_on_at_another_vendor(rig: Rig, anthropic_client: anthropic.Anthropic, openai_client: openai.OpenAI) -> None:
    """Gemini makes the call while the first vendor is down; then that one, asked without translation, takes the conversation as it is."""
    rig.break_vendor("anthropic", mode="status", status=503, count=1)
    assert tool_loop(anthropic_client, "anthropic-gemini", False) == "anthropic/claude-sonnet-5 read the tool: sunny"
    assert len(rig.vendors["gemini"].requests) == 1
    rig.break_vendor("openai", mode="status", status=503, count=1)
    messages: list[Any] = [{"role": "user", "content": "call get_weather"}]
    first = openai_client.chat.completions.create(model="openai-first", messages=messages, tools=openai_tools()).choices[0].message
    messages.append(first.model_dump(exclude_none=True))
    assert messages[1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"] == signature("get_weather")
    messages.append({"role": "tool", "tool_call_id": messages[1]["tool_calls"][0]["id"], "content": "sunny"})
    last_answer = openai_client.chat.completions.create(model="openai-first", messages=messages, tools=openai_tools())
    assert last_answer.choices[0].message.content == "openai/gpt-5 read the tool: sunny"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_with_thinking_goes_on_at_anthropic(rig: Rig, anthropic_client: anthropic.Anthropic, streamed: bool) -> None:
    """Anthropic refuses thinking that it did not sign, and nobody could take it out of a replay that is not translated."""
    rig.break_vendor("anthropic", mode="status", status=503, count=1)
    text = tool_loop(anthropic_client, "anthropic-gemini", streamed, thinking={"type": "adaptive"})
    assert text == "anthropic/claude-sonnet-5 read the tool: sunny"
    assert last(rig, "gemini").json()["generationConfig"]["thinkingConfig"] == {"thinkingBudget": -1}


def tool_loop(client: anthropic.Anthropic, model: str, streamed: bool, **more: Any) -> str:
    """The text that ends a loop of one call."""
    messages: list[Any] = [{"role": "user", "content": "call get_weather"}]

    def ask() -> Any:
        request: Any = {"model": model, "max_tokens": 2000, "messages": messages, "tools": anthropic_tools(), **more}
        if not streamed:
            return client.messages.create(**request)
        with client.messages.stream(**request) as stream:
            return stream.get_final_message()

    first = ask()
    assert [b.type for b in first.content] == ["tool_use"]
    messages.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[0].id, "content": "sunny"}]})
    return "".join(b.text for b in ask().content if b.type == "text")


def test_a_conversation_that_began_elsewhere(anthropic_client: anthropic.Anthropic) -> None:
    """Calls that another vendor's model made have no signature, and the third generation takes them all the same."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Bern"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVkIGJ5IGFub3RoZXI="}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
    messages: Any = [*HELLO, {"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    done = anthropic_client.messages.create(model="via-gemini3", max_tokens=300, messages=messages, tools=anthropic_tools())
    assert [b.text for b in done.content if b.type == "text"] == [f"gemini/{NEW} read the tool: sunny"]


# ----------------------------------------------------------------------------------------------- what the vendor sees


@pytest.mark.parametrize("make", [load.chat, load.messages])
@pytest.mark.parametrize("stream", [False, True])
def test_the_vendor_sees_its_own_path_and_key_and_nothing_of_the_client(rig: Rig, make: Any, stream: bool) -> None:
    path, body = make("via-gemini", stream)
    headers = {"authorization": "Bearer client-canary", "x-api-key": "client-canary", "x-goog-api-key": "client-canary"}
    answer = post(rig, f"{path}?key=stolen&alt=json&api-version=7", body, headers)
    assert load.served(answer) is None
    seen = last(rig, "gemini")
    method = "streamGenerateContent" if stream else "generateContent"
    assert (seen.path, seen.query) == (f"/v1beta/models/gemini-2.5-flash:{method}", "alt=sse" if stream else "")
    assert seen.key == "key-0"
    assert not {"authorization", "x-api-key"} & seen.headers.keys()
    assert seen.json().keys() <= {"contents", "generationConfig"}


def test_keys_are_in_no_log(rig: Rig, openai_client: openai.OpenAI) -> None:
    openai_client.chat.completions.create(model="via-gemini", messages=HELLO)
    state = rig.specs.parent.parent / "state"
    texts = ["\n".join(rig.lines), *(p.read_text(errors="replace") for p in state.rglob("*.log"))]
    assert any(texts)
    for secret in GEMINI_KEYS.values():
        assert not [text for text in texts if secret in text]


# --------------------------------------------------------------------------------------------------------- failover


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["gemini-first", "openai-first", "gemini-anthropic"])
def test_no_client_sees_a_fault(rig: Rig, name: str, fault: str) -> None:
    """Both lanes behind a Gemini attempt, Gemini behind both lanes; every request with a query string."""
    first, second = {"gemini-first": ("gemini", "openai"), "openai-first": ("openai", "gemini")}.get(name, ("gemini", "anthropic"))
    seen = moved(rig, name, (load.chat, load.messages), first, second, FAULTS[fault])
    native = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}.get(second)
    if native is None:
        assert {(r.path.rpartition(":")[2], r.query) for r in seen} == {("streamGenerateContent", "alt=sse"), ("generateContent", "")}
        return
    assert {r.path for r in seen} == {native}
    # Half of the clients speak the second vendor's own dialect: their bytes and their query come through as they were sent.
    asked = [r for r in seen if r.query]
    assert len(asked) == 30
    assert all(r.query.startswith("beta=true&n=") for r in asked)
    assert not [r for r in seen if {"x-goog-api-key"} & r.headers.keys()]


def test_there_and_back_again(rig: Rig) -> None:
    """OpenAI untranslated, then Gemini, then OpenAI untranslated: what the second attempt did to path, length and key is undone."""
    rig.break_vendor("openai", mode="status", status=503, count=1)
    rig.break_vendor("gemini", mode="status", status=503)
    path, body = load.chat("there-and-back", stream=True)
    answer = post(rig, f"{path}?a=b", body)
    assert load.served(answer) is None
    assert answer.attempts == 3
    first, third = rig.vendors["openai"].requests
    assert (first.path, first.query, first.size) == (third.path, third.query, third.size) == ("/v1/chat/completions", "a=b", first.size)
    assert first.json() == third.json()
    assert (last(rig, "gemini").path, last(rig, "gemini").query) == ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "alt=sse")


def test_a_silent_vendor_costs_the_first_token_timer(rig: Rig) -> None:
    rig.break_vendor("gemini", mode="late_first_event", delay_ms=60_000)
    answers = rig.loop.run(load.run(rig.url, 20, 20, lambda i: load.chat("gemini-first", stream=True)), timeout=60)
    assert not [problem for a in answers if (problem := load.served(a))]
    assert {a.attempts for a in answers} == {2}


def test_a_request_that_gemini_cannot_serve_goes_to_the_next(openai_client: openai.OpenAI, rig: Rig) -> None:
    """Tools together with a response format, which the second generation refuses."""
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": TOOL, "strict": True}}
    done = openai_client.chat.completions.with_raw_response.create(
        model="gemini-first", messages=HELLO, tools=openai_tools(), response_format=wanted
    )
    assert done.headers["x-headgate-target"] == "openai/gpt-5"
    assert not [r for r in rig.vendors["gemini"].requests if r.path != "/"]
    with pytest.raises(openai.BadRequestError, match="response_format"):
        openai_client.chat.completions.create(model="via-gemini", messages=HELLO, tools=openai_tools(), response_format=wanted)


def test_a_break_after_content_is_never_a_clean_end(rig: Rig, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    for fault in ({"mode": "error_event"}, {"mode": "cut", "how": "clean"}, {"mode": "cut", "how": "rst"}):
        rig.break_vendor("gemini", after=2, **fault)
        with pytest.raises((openai.APIError, httpx2.TransportError)):
            list(openai_client.chat.completions.create(model="gemini-first", messages=HELLO, stream=True))
        with (
            pytest.raises((anthropic.APIError, httpx2.TransportError)),
            anthropic_client.messages.stream(model="gemini-first", max_tokens=300, messages=HELLO) as stream,
        ):
            stream.until_done()


def test_errors_keep_their_class_and_their_wait(rig: Rig, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    """This vendor says how long to wait in the document only."""
    rig.break_vendor("gemini", mode="status", status=429, retry_after_s=7)
    with pytest.raises(openai.RateLimitError) as limited:
        openai_client.chat.completions.create(model="via-gemini", messages=HELLO)
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(anthropic.RateLimitError):
        anthropic_client.messages.create(model="via-gemini", max_tokens=300, messages=HELLO)
    rig.heal()
    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(model="via-gemini", messages=HELLO, temperature=5)


def test_a_revoked_key_fails_over_and_is_not_told(rig: Rig, openai_client: openai.OpenAI) -> None:
    """It answers a wrong key with 400."""

    async def set_keys(keys: list[str]) -> None:
        rig.vendors["gemini"].set_keys(keys)

    rig.loop.run(set_keys(["another"]))
    try:
        done = openai_client.chat.completions.create(model="gemini-first", messages=HELLO)
        assert done.choices[0].message.content == "openai/gpt-5 heard: hello"
        with pytest.raises(openai.APIStatusError) as caught:
            openai_client.chat.completions.create(model="via-gemini", messages=HELLO)
        assert not [key for key in (*GEMINI_KEYS.values(), *KEYS.values()) if key in str(caught.value)]
    finally:
        rig.loop.run(set_keys([*GEMINI_KEYS.values()]))
