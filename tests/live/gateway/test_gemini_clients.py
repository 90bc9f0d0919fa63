"""The official google-genai SDK through the real gateway: on every vendor, with failover between the lanes, both ways."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from control_plane.demo.simulators.gemini_request import signature
from control_plane.demo.simulators.record import Recorded
from tests.live.gateway import load
from tests.live.gateway.rig import ANSWERS, GEMINI_KEYS, Rig, RigFactory, route
from tests.live.gateway.test_failover import FAULTS
from tests.live.gateway.test_sdks import TOOL

NEW = "gemini-3.5-flash"
ROUTES = (
    route("via-openai", "openai")
    + route("via-responses", "answers")
    + route("via-anthropic", "anthropic")
    + route("via-gemini", "gemini")
    + route("via-gemini3", "gemini").replace("gemini-2.5-flash", NEW)
    + route("gemini-first", "gemini", "openai", first_token="1s", hold=True)
    + route("openai-first", "openai", "gemini", first_token="1s", hold=True)
    + route("anthropic-gemini3", "anthropic", "gemini", first_token="1s", hold=True).replace("gemini-2.5-flash", NEW)
    + route("there-and-back", "gemini", "openai", "gemini", first_token="1s", hold=True)
    + route("vendor/name:1", "openai", "gemini").replace("metadata: {name: vendor/name:1}", "metadata: {name: odd}")
)
VIA = {
    "via-openai": "openai/gpt-5",
    "via-responses": "openai/gpt-5",
    "via-anthropic": "anthropic/claude-sonnet-5",
    "via-gemini": "gemini/gemini-2.5-flash",
    "via-gemini3": f"gemini/{NEW}",
}
MODELS = pytest.mark.parametrize("model", VIA)
STREAMED = pytest.mark.parametrize("streamed", [False, True])
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
WEATHER: Any = {"name": "get_weather", "description": "Weather", "parameters_json_schema": TOOL}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def client(rig: Rig) -> Iterator[genai.Client]:
    with genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=rig.url)) as made:
        yield made


def last(rig: Rig, vendor: str) -> Recorded:
    return rig.vendors[vendor].requests[-1]


def ask(client: genai.Client, model: str, contents: Any, streamed: bool, **config: Any) -> types.GenerateContentResponse:
    """The answer; of a stream its chunks joined, with the last chunk's counts and reason."""
    wanted = types.GenerateContentConfig(automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), **config)
    if not streamed:
        return client.models.generate_content(model=model, contents=contents, config=wanted)
    chunks = list(client.models.generate_content_stream(model=model, contents=contents, config=wanted))
    whole = chunks[-1]
    parts = [p for c in chunks for p in (c.candidates[0].content.parts or [] if c.candidates and c.candidates[0].content else [])]
    assert whole.candidates
    whole.candidates[0].content = types.Content(role="model", parts=parts)
    return whole


@MODELS
@STREAMED
def test_text(client: genai.Client, model: str, streamed: bool) -> None:
    done = ask(client, model, "hello", streamed, system_instruction="be brief", max_output_tokens=200)
    assert done.text == f"{VIA[model]} heard: hello"
    assert done.candidates
    assert done.candidates[0].finish_reason == types.FinishReason.STOP
    usage = done.usage_metadata
    assert usage is not None
    assert usage.prompt_token_count
    assert usage.candidates_token_count
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + (usage.thoughts_token_count or 0)


@MODELS
@STREAMED
def test_tool_loop(client: genai.Client, model: str, streamed: bool) -> None:
    tools = [{"function_declarations": [WEATHER]}]
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text="call get_weather and get_weather")])]
    first = ask(client, model, contents, streamed, tools=tools)
    calls = first.function_calls or []
    assert [(c.name, bool((c.args or {})["city"])) for c in calls] == [("get_weather", True)] * 2
    assert first.candidates
    contents.append(first.candidates[0].content)
    results = [
        types.Part(function_response=types.FunctionResponse(id=c.id, name=c.name, response={"output": f"sunny {i}"}))
        for i, c in enumerate(calls)
    ]
    contents.append(types.Content(role="user", parts=results))
    text = ask(client, model, contents, streamed, tools=tools).text or ""
    assert "sunny 0" in text
    assert "sunny 1" in text


@MODELS
def test_automatic_function_calling(client: genai.Client, model: str) -> None:
    """The SDK runs the function by itself, and writes its own shapes of results."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Weather."""
        asked.append(city)
        return "sunny"

    done = client.models.generate_content(model=model, contents="call get_weather", config=types.GenerateContentConfig(tools=[get_weather]))
    assert asked
    assert "sunny" in (done.text or "")


@MODELS
@STREAMED
def test_forced_call(client: genai.Client, model: str, streamed: bool) -> None:
    other: Any = {"name": "other", "description": "x", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
    forced: Any = {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_weather"]}}
    done = ask(client, model, "hi", streamed, tools=[{"function_declarations": [other, WEATHER]}], tool_config=forced)
    assert [c.name for c in done.function_calls or ()] == ["get_weather"]
    none: Any = {"function_calling_config": {"mode": "NONE"}}
    done = ask(client, model, "call get_weather", streamed, tools=[{"function_declarations": [WEATHER]}], tool_config=none)
    assert not done.function_calls


@MODELS
def test_structured_output_in_both_kinds_of_schema(client: genai.Client, model: str) -> None:
    made = ask(client, model, "hello", False, response_mime_type="application/json", response_json_schema=TOOL)
    assert "city" in json.loads(made.text or "")
    schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}}, "required": ["city", "days"]}
    made = ask(client, model, "hello", True, response_mime_type="application/json", response_schema=schema)
    assert set(json.loads(made.text or "")) == {"city", "days"}


@MODELS
def test_images(client: genai.Client, model: str) -> None:
    parts: list[Any] = ["hello", types.Part.from_bytes(data=PIXEL, mime_type="image/png")]
    assert "1 image" in (ask(client, model, parts, False).text or "")


@pytest.mark.parametrize("model", ["via-anthropic", "via-gemini", "via-gemini3"])
@STREAMED
def test_thinking_goes_out_and_comes_back_to_the_vendor_that_signed_it(rig: Rig, client: genai.Client, model: str, streamed: bool) -> None:
    thinking = {"include_thoughts": True, **({"thinking_budget": 2000} if model != "via-gemini3" else {"thinking_level": "LOW"})}
    tools = [{"function_declarations": [WEATHER]}]
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text="call get_weather")])]
    config: Any = {"tools": tools, "thinking_config": thinking, "max_output_tokens": 5000}
    first = ask(client, model, contents, streamed, **config)
    assert first.candidates
    assert first.candidates[0].content
    parts = first.candidates[0].content.parts or []
    assert "".join(p.text or "" for p in parts if p.thought)
    call = (first.function_calls or [])[0]
    contents.append(first.candidates[0].content)
    answer = types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
    contents.append(types.Content(role="user", parts=[types.Part(function_response=answer)]))
    assert "sunny" in (ask(client, model, contents, streamed, **config).text or "")
    if model == "via-anthropic":
        blocks = last(rig, "anthropic").json()["messages"][1]["content"]
        assert [b["type"] for b in blocks] == ["thinking", "tool_use"]
        assert blocks[0]["thinking"]
        assert blocks[0]["signature"]


def test_other_vendors_errors(rig: Rig, client: genai.Client) -> None:
    for model, vendor in (("via-openai", "openai"), ("via-anthropic", "anthropic"), ("via-gemini", "gemini")):
        rig.break_vendor(vendor, mode="status", status=429, retry_after_s=7)
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(model=model, contents="hello")
        assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
        rig.break_vendor(vendor, mode="status", status=401)
        with pytest.raises(errors.ServerError) as refused:
            client.models.generate_content(model=model, contents="hello")
        assert refused.value.code == 502
        assert "the gateway" in str(refused.value)
        rig.heal()


@pytest.mark.parametrize("model", ["via-openai", "via-responses", "via-anthropic", "via-gemini", "gemini-first"])
def test_a_break_after_content_is_never_a_clean_end(rig: Rig, client: genai.Client, model: str) -> None:
    vendor = {"via-openai": "openai", "via-responses": "openai", "via-anthropic": "anthropic"}.get(model, "gemini")
    for fault in ({"mode": "error_event"}, {"mode": "cut", "how": "rst"}):
        rig.break_vendor(vendor, after=2, **fault)
        with pytest.raises(Exception) as caught:  # httpx's errors for a cut on the wire, the SDK's own for an error event
            list(client.models.generate_content_stream(model=model, contents="hello there, how are you"))
        assert isinstance(caught.value, errors.APIError) or "peer closed" in str(caught.value)


def test_unfit_and_dropped_fields_have_the_clients_names(client: genai.Client, rig: Rig) -> None:
    with pytest.raises(errors.ClientError, match=r"tools\.0\.googleSearch"):
        ask(client, "via-openai", "hello", False, tools=[{"google_search": {}}])
    with pytest.raises(errors.ClientError, match="cachedContent"):
        ask(client, "via-openai", "hello", False, cached_content="cachedContents/x")
    answer = post(rig, "/v1beta/models/via-anthropic:generateContent", {"safetySettings": [], "generationConfig": {"seed": 1}})
    assert answer.headers["x-headgate-dropped"] == "safetySettings,generationConfig.seed"


def test_models_and_counting(client: genai.Client, rig: Rig) -> None:
    names = [m.name for m in client.models.list()]
    assert {f"models/{name}" for name in VIA} <= set(names)
    assert client.models.get(model="via-openai").name == "models/via-openai"
    counted = client.models.count_tokens(model="via-gemini", contents="hello")
    assert counted.total_tokens
    assert last(rig, "gemini").path == "/v1beta/models/gemini-2.5-flash:countTokens"
    with pytest.raises(errors.ClientError, match="did you mean 'via-gemini'") as caught:
        client.models.generate_content(model="via-gemin", contents="x")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_models_with_slashes_and_colons(client: genai.Client, rig: Rig) -> None:
    assert client.models.generate_content(model="vendor/name:1", contents="hello").text == "openai/gpt-5 heard: hello"
    answer = post(rig, "/v1beta/models/vendor%2Fname%3A1:generateContent")
    assert load.served(answer) is None


def test_vertex_clients_find_the_model_in_their_path(rig: Rig) -> None:
    path = "/v1beta1/projects/p-1/locations/europe-west4/publishers/google/models/via-gemini:generateContent"
    assert load.served(post(rig, path)) is None
    assert last(rig, "gemini").path == "/v1beta/models/gemini-2.5-flash:generateContent"


def post(rig: Rig, path: str, more: dict[str, Any] | None = None, **headers: str) -> load.Answer:
    async def one() -> load.Answer:
        client = load.Client(rig.url)
        try:
            body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}], **(more or {})}
            return await client.post(path, json.dumps(body).encode(), headers)
        finally:
            client.close()
            await asyncio.sleep(0)

    return rig.loop.run(one())


@STREAMED
def test_a_key_in_the_query_reaches_nobody(rig: Rig, streamed: bool) -> None:
    for model, vendor in (("via-gemini", "gemini"), ("via-openai", "openai")):
        path, _ = load.generate(model, streamed)
        mark = "&" if "?" in path else "?"
        answer = post(rig, f"{path}{mark}key=query-canary&prettyPrint=false", authorization="Bearer client-canary")
        assert load.served(answer) is None
        seen = last(rig, vendor)
        assert "canary" not in seen.path + seen.query + json.dumps(dict(seen.headers))
        assert seen.query == (("alt=sse&" if streamed else "") + "prettyPrint=false" if vendor == "gemini" else "")
        assert not [name for name in seen.headers if name.startswith("x-headgate")]
    state = rig.specs.parent.parent / "state"
    texts = ["\n".join(rig.lines), *(p.read_text(errors="replace") for p in state.rglob("*.log*"))]
    assert any(texts)
    for secret in ("query-canary", *GEMINI_KEYS.values()):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("model", ["via-openai", "via-gemini"])
def test_a_stream_without_events_is_an_array(rig: Rig, model: str) -> None:
    answer = post(rig, f"/v1beta/models/{model}:streamGenerateContent")
    assert answer.headers["content-type"].startswith("application/json")
    chunks = json.loads(answer.body)
    assert len(chunks) > 2
    text = "".join(p["text"] for c in chunks for p in c["candidates"][0]["content"]["parts"] if not p.get("thought"))
    assert text == f"{VIA[model]} heard: hello"


# --------------------------------------------------------------------------------------------------------- failover


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["gemini-first", "openai-first"])
def test_no_client_sees_a_fault(rig: Rig, name: str, fault: str) -> None:
    """From the untranslated lane into the translator, and back."""
    first, second = ("gemini", "openai") if name == "gemini-first" else ("openai", "gemini")
    rig.break_vendor(first, **FAULTS[fault])
    answers = rig.loop.run(load.run(rig.url, 60, 10, lambda i: load.generate(name, stream=i % 2 == 0)), timeout=100)
    wrong = [problem for a in answers if (problem := load.served(a))]
    assert not wrong, f"{len(wrong)} of {len(answers)}: {wrong[:3]}"
    assert {a.attempts for a in answers} == {2}
    seen = list(rig.vendors[second].requests)
    assert len(seen) == 60
    assert {r.outcome for r in seen} == {"answered"}
    assert {r.key for r in seen} == {"key-0"}
    assert not [h for r in seen for h in r.headers if h.startswith("x-headgate")]
    if second == "openai":
        assert {(r.path, r.query) for r in seen} == {("/v1/chat/completions", "")}
        return
    assert {(r.path.rpartition(":")[2], r.query) for r in seen} == {("streamGenerateContent", "alt=sse"), ("generateContent", "")}
    assert all(r.headers["content-length"] == str(r.size) for r in seen)


@pytest.mark.parametrize("mode", ["black_hole", "late_first_event"])
@pytest.mark.parametrize("name", ["gemini-first", "openai-first"])
def test_a_silent_vendor_costs_the_first_token_timer(rig: Rig, name: str, mode: str) -> None:
    rig.break_vendor(name.partition("-")[0], mode=mode, **({"delay_ms": 60_000} if mode == "late_first_event" else {}))
    answers = rig.loop.run(load.run(rig.url, 20, 20, lambda i: load.generate(name, stream=i % 2 == 0)), timeout=60)
    assert not [problem for a in answers if (problem := load.served(a))]
    assert {a.attempts for a in answers} == {2}


@STREAMED
def test_there_and_back_again(rig: Rig, streamed: bool) -> None:
    """Gemini untranslated, then OpenAI, then Gemini untranslated: path, length, key and the client's header are its own again."""
    rig.break_vendor("gemini", mode="status", status=503, count=1)
    rig.break_vendor("openai", mode="status", status=503)
    path, _ = load.generate("there-and-back", streamed)
    answer = post(rig, path)
    assert load.served(answer) is None
    assert answer.attempts == 3
    first, third = rig.vendors["gemini"].requests
    assert (first.path, first.query, first.size) == (third.path, third.query, third.size)
    assert first.json() == third.json()
    assert last(rig, "openai").path == "/v1/chat/completions"


@STREAMED
def test_a_tool_loop_goes_on_at_gemini_itself(rig: Rig, client: genai.Client, streamed: bool) -> None:
    """Another vendor makes the call; Gemini 3, asked without translation, refuses calls and thoughts that it cannot check."""
    tools = [{"function_declarations": [WEATHER]}]
    config: Any = {"tools": tools, "thinking_config": {"include_thoughts": True, "thinking_budget": 2000}, "max_output_tokens": 5000}
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text="call get_weather")])]
    first = ask(client, "anthropic-gemini3", contents, streamed, **config)
    assert first.candidates
    assert first.candidates[0].content
    assert not [p for p in first.candidates[0].content.parts or () if p.thought]
    contents.append(first.candidates[0].content)
    call = (first.function_calls or [])[0]
    answer = types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
    contents.append(types.Content(role="user", parts=[types.Part(function_response=answer)]))
    rig.break_vendor("anthropic", mode="status", status=503)
    config["thinking_config"] = {"include_thoughts": True}
    done = ask(client, "anthropic-gemini3", contents, streamed, **config)
    assert done.text == f"gemini/{NEW} read the tool: sunny"
    parts = [p for c in last(rig, "gemini").json()["contents"] for p in c["parts"]]
    assert [p["thoughtSignature"] for p in parts if "functionCall" in p] == ["skip_thought_signature_validator"]
    assert signature("get_weather") not in json.dumps(parts)
