"""Claude on Vertex AI and on Bedrock by invoke: the official SDKs, thinking that moves between the clouds, faults and failover."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from control_plane.demo.simulators.record import Recorded
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route
from tests.live.gateway.test_sdks import anthropic_tools, openai_tools

CLOUDS = ("vertex-claude", "bedrock-claude")
VENDOR = {"vertex-claude": "vertex", "bedrock-claude": "bedrock", "anthropic": "anthropic"}
EVERY = pytest.mark.parametrize("provider", CLOUDS)
PLAN = ("anthropic", "bedrock-claude", "vertex-claude")
ROUTES = (
    "".join(route(f"via-{name}", name) for name in CLOUDS)
    + route("everywhere", *PLAN, first_token="1s", hold=True)
    + route("clouds", "bedrock-claude", "vertex-claude", "anthropic", first_token="1s", hold=True)
    + route("unlike", "bedrock-claude", "openai", first_token="1s", hold=True)
)
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
PATHS = {
    ("vertex-claude", False): "/v1/projects/p-1/locations/eu/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
    ("vertex-claude", True): "/v1/projects/p-1/locations/eu/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
    ("bedrock-claude", False): "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
    ("bedrock-claude", True): "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture(scope="module")
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def gpt(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, model: str, messages: Any, streamed: bool, **fields: Any) -> anthropic.types.Message:
    fields = {"max_tokens": 3000, **fields}
    if not streamed:
        whole: anthropic.types.Message = client.messages.create(model=model, messages=messages, **fields)
        return whole
    with client.messages.stream(model=model, messages=messages, **fields) as stream:
        return stream.get_final_message()


def last(rig: Rig, provider: str) -> Recorded:
    return rig.vendors[VENDOR[provider]].requests[-1]


def said(provider: str) -> str:
    return f"{VENDOR[provider]}/{MODELS[provider]} heard: hello"


def words(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def turn(message: anthropic.types.Message) -> dict[str, Any]:
    return {"role": "assistant", "content": [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in message.content]}


STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@EVERY
@STREAMED
def test_a_request_of_anthropics_client_goes_on_as_it_is(rig: Rig, claude: anthropic.Anthropic, provider: str, streamed: bool) -> None:
    fields: Any = {"system": "be brief", "metadata": {"user_id": "u"}, "extra_body": {"service_tier": "auto"}}
    answer = ask(claude, f"via-{provider}", HELLO, streamed, extra_headers={"anthropic-beta": "one-2025-01-01, two-2025-01-01"}, **fields)
    assert (words(answer), answer.stop_reason) == (said(provider), "end_turn")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    sent = last(rig, provider)
    assert sent.path == PATHS[provider, streamed]
    body = sent.json()
    wanted = {"max_tokens": 3000, "messages": HELLO, "system": "be brief", "metadata": {"user_id": "u"}, "service_tier": "auto"}
    if provider == "bedrock-claude":
        wanted |= {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["one-2025-01-01", "two-2025-01-01"]}
    else:
        wanted |= {"anthropic_version": "vertex-2023-10-16", **({"stream": True} if streamed else {})}
        assert sent.headers["anthropic-beta"] == "one-2025-01-01, two-2025-01-01"
    assert body == wanted
    assert sent.key == "key-0"  # the gateway's own
    assert "x-api-key" not in sent.headers


@EVERY
@STREAMED
def test_a_tool_loop_with_thinking(rig: Rig, claude: anthropic.Anthropic, provider: str, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "call get_weather [[sim reasoning=6]]"}]
    fields: Any = {"tools": anthropic_tools(), "thinking": THINKING}
    called = ask(claude, f"via-{provider}", messages, streamed, **fields)
    assert called.content[0].type == "thinking"
    assert called.stop_reason == "tool_use"
    messages.append(turn(called))
    results = [{"type": "tool_result", "tool_use_id": b.id, "content": "sunny"} for b in called.content if b.type == "tool_use"]
    again = ask(claude, f"via-{provider}", [*messages, {"role": "user", "content": results}], streamed, **fields)
    assert "sunny" in words(again)
    replayed = last(rig, provider).json()["messages"][1]["content"][0]
    assert replayed["signature"] == called.content[0].signature
    assert not replayed["signature"].startswith("headgate")


@EVERY
def test_openais_clients_think_and_call(rig: Rig, gpt: openai.OpenAI, provider: str) -> None:
    asked: Any = [{"role": "user", "content": "call get_weather"}]
    done = gpt.chat.completions.create(model=f"via-{provider}", messages=asked, tools=openai_tools(), reasoning_effort="low")
    calls: Any = done.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather"]
    assert last(rig, provider).json()["thinking"]["type"] == "enabled"
    asked += [done.choices[0].message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"}]
    again = gpt.chat.completions.create(model=f"via-{provider}", messages=asked, tools=openai_tools(), reasoning_effort="low")
    assert "sunny" in (again.choices[0].message.content or "")
    assert last(rig, provider).json()["messages"][1]["content"][0]["type"] == "thinking"  # by reasoning_details
    answer = gpt.responses.create(model=f"via-{provider}", input="hello", reasoning={"effort": "low", "summary": "auto"})
    assert answer.output_text == said(provider)


@EVERY
def test_files_that_stand_elsewhere_are_unfit(claude: anthropic.Anthropic, gpt: openai.OpenAI, provider: str) -> None:
    image: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    with pytest.raises(anthropic.BadRequestError, match="base64 only"):
        claude.messages.create(model=f"via-{provider}", max_tokens=9, messages=[{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.BadRequestError, match="mcp_servers"):
        claude.messages.create(
            model=f"via-{provider}",
            max_tokens=9,
            messages=HELLO,
            extra_body={"mcp_servers": [{"name": "m", "url": "https://m", "type": "url"}]},
        )
    content: Any = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    with pytest.raises(openai.BadRequestError, match="base64 only"):
        gpt.chat.completions.create(model=f"via-{provider}", messages=[{"role": "user", "content": content}])


ERRORS: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    401: anthropic.InternalServerError,
    403: anthropic.InternalServerError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.InternalServerError,
}


@EVERY
@STREAMED
@pytest.mark.parametrize("status", ERRORS)
def test_errors(rig: Rig, claude: anthropic.Anthropic, provider: str, streamed: bool, status: int) -> None:
    rig.break_vendor(VENDOR[provider], mode="status", status=status)
    with pytest.raises(ERRORS[status]) as caught:
        ask(claude, f"via-{provider}", HELLO, streamed)
    assert caught.value.status_code == (502 if status in (401, 403) else status)
    assert caught.value.body["type"] == "error"  # type: ignore[index]


@EVERY
def test_errors_inside_a_stream(rig: Rig, claude: anthropic.Anthropic, provider: str) -> None:
    rig.break_vendor(VENDOR[provider], mode="error_event", status=503, after=3)
    with pytest.raises(anthropic.APIStatusError):
        ask(claude, f"via-{provider}", HELLO, True)


@EVERY
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_cut_is_never_a_clean_end(rig: Rig, claude: anthropic.Anthropic, provider: str, how: str) -> None:
    rig.break_vendor(VENDOR[provider], mode="cut", after=3, how=how)
    try:
        answer = ask(claude, f"via-{provider}", HELLO, True)
    except Exception:  # of the SDK or its transport: any but a whole answer
        return
    assert answer.stop_reason is None


# ---------------------------------------------------------------------------------------------------------- failover

FAULTS: dict[str, dict[str, Any]] = {
    "an error": {"mode": "status", "status": 503},
    "a limit": {"mode": "status", "status": 429},
    "a dead key": {"mode": "status", "status": 403},
    "a refused connection": {"mode": "refuse"},
    "garbage": {"mode": "garbage"},
    "an empty answer": {"mode": "empty"},
    "no first event": {"mode": "late_first_event", "delay_ms": 5000},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_client_sees_a_fault(rig: Rig, claude: anthropic.Anthropic, fault: str) -> None:
    for broken, model, answers in (
        (("anthropic",), "everywhere", "bedrock-claude"),
        (("anthropic", "bedrock"), "everywhere", "vertex-claude"),
        (("bedrock", "vertex"), "clouds", "anthropic"),
    ):
        rig.heal()
        for vendor in broken:
            rig.break_vendor(vendor, **FAULTS[fault])
        for streamed in (False, True):
            answer = ask(claude, model, HELLO, streamed)
            assert words(answer) == said(answers)


@STREAMED
def test_a_tool_loop_moves_between_the_clouds_with_its_thinking(rig: Rig, claude: anthropic.Anthropic, streamed: bool) -> None:
    """Each turn is another cloud's, and every one takes back what the others signed, word for word."""
    fields: Any = {"tools": anthropic_tools(), "thinking": THINKING, "max_tokens": 3000}
    adaptive: Any = {**fields, "thinking": {"type": "adaptive"}}  # the newest model at Anthropic itself
    messages: list[Any] = [{"role": "user", "content": "call get_weather [[sim reasoning=6]]"}]
    signatures: list[str] = []
    for number, provider in enumerate(("anthropic", "bedrock-claude", "vertex-claude", "anthropic", "bedrock-claude", "vertex-claude")):
        rig.heal()
        for other in {"anthropic", "bedrock", "vertex"} - {VENDOR[provider]}:
            rig.break_vendor(other, mode="status", status=503)
        answer = ask(claude, "everywhere", messages, streamed, **(adaptive if provider == "anthropic" else fields))
        sent = last(rig, provider).json()["messages"]
        replayed = [b["signature"] for m in sent for b in m["content"] if isinstance(b, dict) and b["type"] == "thinking"]
        assert replayed == signatures, provider
        thinking, *rest = answer.content
        assert thinking.type == "thinking", provider
        assert not thinking.signature.startswith("headgate")
        signatures.append(thinking.signature)
        messages.append(turn(answer))
        if number % 2:
            assert f"sunny {number}" in words(answer), provider
            messages.append({"role": "user", "content": "call get_weather [[sim reasoning=6]]"})
        else:
            ids = [block.id for block in rest if block.type == "tool_use"]
            assert ids, provider
            results: list[Any] = [{"type": "tool_result", "tool_use_id": call, "content": f"sunny {number + 1}"} for call in ids]
            messages.append({"role": "user", "content": [*results, {"type": "text", "text": "[[sim reasoning=6]]"}]})


def test_thinking_of_another_vendor_reaches_no_cloud(rig: Rig, claude: anthropic.Anthropic) -> None:
    sealed = {"type": "thinking", "thinking": "mine", "signature": "headgate.gemini-generate-content.c2VhbA=="}
    turns = [*HELLO, {"role": "assistant", "content": [sealed, {"type": "text", "text": "hi"}]}, *HELLO]
    for provider in CLOUDS:
        raw = claude.messages.with_raw_response.create(model=f"via-{provider}", max_tokens=99, messages=turns)
        assert raw.headers["x-headgate-dropped"] == "messages.1.reasoning"
        assert last(rig, provider).json()["messages"][1]["content"] == [{"type": "text", "text": "hi"}]


def test_another_dialect_behind_a_cloud(rig: Rig, claude: anthropic.Anthropic, gpt: openai.OpenAI) -> None:
    rig.break_vendor("bedrock", mode="status", status=503)
    assert words(ask(claude, "unlike", HELLO, True)) == "openai/gpt-5 heard: hello"
    raw = gpt.chat.completions.with_raw_response.create(model="unlike", messages=HELLO)
    assert raw.headers["x-headgate-target"] == "openai/gpt-5"
    assert "anthropic_version" not in rig.vendors["openai"].requests[-1].json()


def test_googles_client_reaches_claude(rig: Rig) -> None:
    with genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=rig.url)) as client:
        for provider in CLOUDS:
            assert client.models.generate_content(model=f"via-{provider}", contents="hello").text == said(provider)
            chunks = list(client.models.generate_content_stream(model=f"via-{provider}", contents="hello"))
            assert "".join(chunk.text or "" for chunk in chunks) == said(provider)
