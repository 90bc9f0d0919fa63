"""Operations beside chat through the real gateway with OpenAI's own SDK: completions and FIM, images, speech, moderations."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from control_plane.demo.wire_client import call
from control_plane.kit import probe
from tests.live.gateway.rig import MODELS, ROUTE, Rig, RigFactory

MISTRAL = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: mistral}}
spec: {{preset: mistral, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""
LOCAL = MODELS["local"]


def to(name: str, *targets: tuple[str, str], hold: bool = False) -> str:
    plan = "\n".join(f"    - {{targets: [{{provider: {p}, model: {m}}}]}}" for p, m in targets)
    return ROUTE.format(name=name, plan=plan, first_token="5s", hold=str(hold).lower())


ROUTES = (
    to("tab", ("openai", "gpt-3.5-turbo-instruct"), ("local", LOCAL))
    + to("tab-held", ("openai", "gpt-3.5-turbo-instruct"), ("local", LOCAL), hold=True)
    + to("codestral", ("mistral", LOCAL))
    + to("codestral-held", ("mistral", LOCAL), hold=True)
    + to("draw", ("openai", "gpt-image-1"), ("local", LOCAL))
    + to("draw-2", ("openai", "dall-e-2"))
    + to("say", ("openai", "tts-1"), ("local", LOCAL))
    + to("watch", ("openai", "omni-moderation-latest"), ("local", LOCAL))
    + to("hear", ("openai", "gpt-4o-transcribe"), ("local", LOCAL))
    + to("hear-shared", ("openai", "whisper-1"))
    + to("small", ("openai", "whisper-1")).rstrip()
    + "\n  maxRequestBytes: 64Ki\n"
    + to("answer", ("openai", "gpt-5"), ("local", LOCAL))
    + to("claude", ("anthropic", "claude-sonnet-5"))
)


@pytest.fixture(scope="module")
def started(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=MISTRAL)


@pytest.fixture
def rig(started: Rig) -> Rig:
    started.heal()
    return started


@pytest.fixture
def client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


def asked(rig: Rig, vendor: str) -> dict[str, Any]:
    """The body of the last request that reached that vendor."""
    body = rig.vendors[vendor].requests[-1].body
    assert body is not None
    document = json.loads(body)
    assert isinstance(document, dict)
    return document


async def _counted(rig: Rig, labels: tuple[str, ...], least: float) -> float:
    host, port = rig.gateway.admin
    found = 0.0
    for _ in range(100):
        _, text = await probe.http(f"{host}:{port}", "GET", "/metrics")
        lines = [line for line in text.splitlines() if line.startswith(labels[0]) and all(label in line for label in labels[1:])]
        found = sum(float(line.rsplit(" ", 1)[1]) for line in lines)
        if found >= least:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found} of {labels}")


def counted(rig: Rig, *labels: str, least: float = 1) -> float:
    """The sum of a metric over all lines that hold these labels, once it is as large as that."""
    return rig.loop.run(_counted(rig, labels, least))


# ---------------------------------------------------------------------------------------------------- completions


def test_completions_whole(rig: Rig, client: openai.OpenAI) -> None:
    done = client.completions.create(model="tab", prompt="def add(a, b):", suffix="\n\nadd(1, 2)", max_tokens=100)
    assert done.object == "text_completion"
    assert done.choices[0].text == "openai/gpt-3.5-turbo-instruct heard: def add(a, b): before \n\nadd(1, 2)"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.completion_tokens > 0
    assert asked(rig, "openai") == {
        "model": "gpt-3.5-turbo-instruct",
        "prompt": "def add(a, b):",
        "suffix": "\n\nadd(1, 2)",
        "max_tokens": 100,
    }
    counted(rig, "headgate_requests_total", 'operation="completions"', 'outcome="ok"', 'lane="passthrough"', least=1)


@pytest.mark.parametrize("include_usage", [False, True])
def test_completions_streamed(rig: Rig, client: openai.OpenAI, include_usage: bool) -> None:
    given: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(client.completions.create(model="tab", prompt=["one", "two"], max_tokens=100, stream=True, **given))
    for index, word in enumerate(("one", "two")):
        text = "".join(c.text for chunk in chunks for c in chunk.choices if c.index == index)
        assert text == f"openai/gpt-3.5-turbo-instruct heard: {word}"
    assert len([c for c in chunks if c.usage]) == include_usage
    assert all(c.choices for c in chunks) is not include_usage
    assert asked(rig, "openai")["stream_options"] == {"include_usage": True}, "the gateway asks for what it meters"


def test_completions_fail_over_with_the_other_models_name(rig: Rig, client: openai.OpenAI) -> None:
    rig.break_vendor("openai", mode="status", status=503)
    assert client.completions.create(model="tab", prompt="x", max_tokens=50).choices[0].text == f"local/{LOCAL} heard: x"
    assert asked(rig, "local")["model"] == LOCAL
    chunks = list(client.completions.create(model="tab", prompt="x", max_tokens=50, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == f"local/{LOCAL} heard: x"


def test_an_error_before_the_first_text_of_a_held_completion_fails_over(rig: Rig, client: openai.OpenAI) -> None:
    rig.break_vendor("openai", mode="error_event", after=0)
    chunks = list(client.completions.create(model="tab-held", prompt="x", max_tokens=50, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == f"local/{LOCAL} heard: x"
    with pytest.raises(openai.APIError):
        list(client.completions.create(model="tab", prompt="x", max_tokens=50, stream=True))


def test_errors_of_completions(rig: Rig, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'tabb' does not exist; did you mean 'tab"):
        client.completions.create(model="tabb", prompt="x")
    with pytest.raises(openai.NotFoundError, match="'claude' does not serve this operation"):
        client.completions.create(model="claude", prompt="x")
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument"):
        client.completions.create(model="tab", prompt="x", extra_body={"messages": []})
    with pytest.raises(openai.BadRequestError, match="'model' must be a string"):
        client.completions.create(model=7, prompt="x")  # type: ignore[call-overload]


@pytest.mark.parametrize("model", ["codestral", "codestral-held"])
@pytest.mark.parametrize("stream", [False, True])
def test_fim(rig: Rig, model: str, stream: bool) -> None:
    body = {"model": model, "prompt": "def f(", "suffix": "return a", "stream": stream}
    answer = rig.loop.run(call(f"{rig.url}/v1/fim/completions", body, headers={"authorization": "Bearer x"}))
    assert answer.status == 200
    text = f"local/{LOCAL} heard: def f( before return a"
    if stream:
        events = answer.events()
        assert events[-1] == "[DONE]"
        assert "".join(e["choices"][0]["delta"]["content"] for e in events[:-1]) == text
        assert events[-2]["usage"]["completion_tokens"] > 0
    else:
        assert answer.json()["choices"][0]["message"]["content"] == text
    assert asked(rig, "local") == body | {"model": LOCAL}, "Mistral refuses what it does not know, stream_options too"
    counted(rig, "headgate_tokens_total", f'route="{model}"', 'type="output"')
    counted(rig, "headgate_requests_total", 'operation="fim"', 'outcome="ok"', least=1)


# ---------------------------------------------------------------------------------------------------- images, speech, moderations


def test_images(rig: Rig, client: openai.OpenAI) -> None:
    done = client.images.generate(model="draw", prompt="a gate", n=2)
    assert done.data is not None
    pictures = [base64.b64decode(p.b64_json or "") for p in done.data]
    assert b"openai/gpt-image-1 drew: a gate" in pictures[0]
    assert b"(1)" in pictures[1]
    assert done.usage is not None
    counted(rig, "headgate_tokens_total", 'route="draw"', 'type="output"', least=done.usage.output_tokens)
    linked = client.images.generate(model="draw-2", prompt="a gate").data
    assert linked is not None
    assert (linked[0].url or "").startswith("data:image/png")
    rig.break_vendor("openai", mode="status", status=500)
    other = client.images.generate(model="draw", prompt="a gate").data
    assert other is not None
    assert asked(rig, "local") == {"model": LOCAL, "prompt": "a gate"}


def test_images_streamed(rig: Rig, client: openai.OpenAI) -> None:
    events = list(client.images.generate(model="draw", prompt="a gate", stream=True, partial_images=1))
    assert [e.type for e in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert b"drew: a gate" in base64.b64decode(events[-1].b64_json)
    counted(rig, "headgate_requests_total", 'operation="image_generation"', 'outcome="ok"', least=1)
    rig.break_vendor("openai", mode="error_event", after=1)
    with pytest.raises(openai.APIError):
        list(client.images.generate(model="draw", prompt="a gate", stream=True))
    counted(rig, "headgate_requests_total", 'operation="image_generation"', 'outcome="cut"', least=1)


def test_speech(rig: Rig, client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(model="say", voice="alloy", input="open the gate") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        sound = b"".join(answer.iter_bytes())
    assert sound.startswith(b"\xff\xfb")
    assert b"open" in sound
    assert sound.endswith(b" gate")
    events = rig.loop.run(
        call(f"{rig.url}/v1/audio/speech", {"model": "say", "voice": "alloy", "input": "open the gate", "stream_format": "sse"})
    ).events()
    assert [e["type"] for e in events] == ["speech.audio.delta"] * 3 + ["speech.audio.done"]
    assert counted(rig, "headgate_tokens_total", 'route="say"', 'type="output"') == 3
    rig.break_vendor("openai", mode="status", status=429)
    assert client.audio.speech.create(model="say", voice="alloy", input="again").read().endswith(b"again")
    assert asked(rig, "local")["model"] == LOCAL


def test_speech_that_is_cut_is_seen_as_cut(rig: Rig, client: openai.OpenAI) -> None:
    rig.break_vendor("openai", mode="cut", after=1, how="rst")
    with (
        pytest.raises(Exception, match="incomplete chunked read"),
        client.audio.speech.with_streaming_response.create(model="say", voice="alloy", input="open the gate wide") as answer,
    ):
        b"".join(answer.iter_bytes())
    assert counted(rig, "headgate_requests_total", 'operation="speech"', 'outcome="cut"') == 1


def test_moderations(rig: Rig, client: openai.OpenAI) -> None:
    done = client.moderations.create(model="watch", input=["a quiet garden", "violence"])
    assert [r.flagged for r in done.results] == [False, True]
    assert done.results[1].categories.violence
    assert asked(rig, "openai")["model"] == "omni-moderation-latest"
    with pytest.raises(openai.BadRequestError, match="name the model"):
        client.moderations.create(input="x")
    counted(rig, "headgate_requests_total", 'operation="moderations"', 'outcome="ok"', least=1)


@pytest.mark.parametrize("operation", ["completions", "images", "speech"])
def test_azure_clients(rig: Rig, operation: str) -> None:
    with openai.AzureOpenAI(azure_endpoint=rig.url, api_key="client-key", api_version="2024-10-21", max_retries=0) as client:
        if operation == "completions":
            assert client.completions.create(model="tab", prompt="x", max_tokens=50).choices[0].text
        elif operation == "images":
            assert client.images.generate(model="draw", prompt="x").data
        else:
            assert client.audio.speech.create(model="say", voice="alloy", input="x").read()


# ---------------------------------------------------------------------------------------------------- tokens of Responses


def test_input_tokens_of_responses_are_those_of_the_answer(rig: Rig, client: openai.OpenAI) -> None:
    given: Any = {"model": "answer", "input": "how many tokens are these?", "instructions": "count"}
    counted_first = client.responses.input_tokens.count(**given)
    assert counted_first.object == "response.input_tokens"
    usage = client.responses.create(**given).usage
    assert usage is not None
    assert counted_first.input_tokens == usage.input_tokens > 5
    assert asked(rig, "openai")["model"] == "gpt-5"
    counted(rig, "headgate_requests_total", 'operation="count_tokens"', 'dialect="openai-responses"', 'outcome="ok"')


# ---------------------------------------------------------------------------------------------------- forms

SOUND = b"RIFF\r\n--\x00\xff" * 3000


def heard(speaker: str, sound: bytes, how: str = "heard") -> str:
    return f"{speaker} {how} {len(sound)} bytes of a.wav ({hashlib.sha256(sound).hexdigest()[:16]})"


def test_transcriptions(rig: Rig, client: openai.OpenAI) -> None:
    done = client.audio.transcriptions.create(model="hear", file=("a.wav", SOUND), language="en")
    assert done.text == heard("openai/gpt-4o-transcribe", SOUND)
    assert counted(rig, "headgate_tokens_total", 'route="hear"', 'type="input"') == len(SOUND) // 1000
    assert client.audio.transcriptions.create(model="hear-shared", file=("a.wav", SOUND), response_format="vtt").startswith("WEBVTT")
    full = client.audio.transcriptions.create(
        model="hear-shared", file=("a.wav", SOUND), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert full.text == heard("openai/whisper-1", SOUND)
    counted(rig, "headgate_requests_total", 'operation="transcriptions"', 'outcome="ok"', least=3)


def test_transcriptions_streamed(rig: Rig, client: openai.OpenAI) -> None:
    events = list(client.audio.transcriptions.create(model="hear", file=("a.wav", SOUND), stream=True))
    assert events[-1].type == "transcript.text.done"
    assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == heard("openai/gpt-4o-transcribe", SOUND)


def test_transcriptions_fail_over_with_the_other_models_name_and_the_whole_file(rig: Rig, client: openai.OpenAI) -> None:
    rig.break_vendor("openai", mode="status", status=429)
    done = client.audio.transcriptions.create(model="hear", file=("a.wav", SOUND))
    assert done.text == heard(f"local/{LOCAL}", SOUND)
    rig.break_vendor("openai", mode="refuse")
    assert client.audio.transcriptions.create(model="hear", file=("a.wav", SOUND)).text == heard(f"local/{LOCAL}", SOUND)


def test_translations(rig: Rig, client: openai.OpenAI) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        done = client.audio.translations.create(model="hear-shared", file=("a.wav", SOUND))
    assert done.text == heard("openai/whisper-1", SOUND, "translated")


def test_edits_and_variations_of_images(rig: Rig, client: openai.OpenAI) -> None:
    done = client.images.edit(model="draw", image=[("a.png", b"one"), ("b.png", b"two")], mask=("m.png", b"x"), prompt="wider").data
    assert done is not None
    picture = base64.b64decode(done[0].b64_json or "")
    assert b"openai/gpt-image-1 edited 3 bytes of a.png" in picture
    assert b"3 bytes of b.png" in picture
    assert picture.count(b": wider") == 1
    events = list(client.images.edit(model="draw", image=("a.png", b"one"), prompt="wider", stream=True))
    assert [e.type for e in events] == ["image_edit.partial_image", "image_edit.completed"]
    with pytest.warns(DeprecationWarning, match="deprecated"):
        varied = client.images.create_variation(model="draw-2", image=("a.png", b"one")).data
    assert varied is not None
    assert b"openai/dall-e-2 varied 3 bytes of a.png" in base64.b64decode((varied[0].url or "").split(",")[1])


def test_large_files(rig: Rig, client: openai.OpenAI) -> None:
    """OpenAI takes 25 MB; the routes' default takes that, and a route may take less."""
    sound = os.urandom(25_000_000)
    assert client.audio.transcriptions.create(model="hear", file=("a.wav", sound)).text == heard("openai/gpt-4o-transcribe", sound)
    assert client.audio.transcriptions.create(model="hear-shared", file=("a.wav", sound)).text == heard("openai/whisper-1", sound)
    with pytest.raises(openai.APIStatusError) as told:
        client.audio.transcriptions.create(model="small", file=("a.wav", sound[:70_000]))
    assert told.value.status_code == 413
    assert client.audio.transcriptions.create(model="small", file=("a.wav", sound[:60_000])).text == heard(
        "openai/whisper-1", sound[:60_000]
    )


def test_forms_that_could_be_read_in_two_ways_reach_no_vendor(rig: Rig, client: openai.OpenAI) -> None:
    field = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'.format
    kind = {"content-type": "multipart/form-data; boundary=b"}
    for body, word in (
        (field("model", "hear") + field("model", "claude") + "--b--\r\n", "occurs more than once"),
        (field("model", "hear").replace("\r\n", "\n") + "--b--\n", "multipart/form-data"),
        (field("Model", "hear") + "--b--\r\n", "capitals"),
    ):
        answer = rig.loop.run(call(f"{rig.url}/v1/audio/transcriptions", body.encode(), headers=kind))
        assert answer.status == 400
        assert word in answer.json()["error"]["message"]
    assert not any(v.requests for v in rig.vendors.values())
    with pytest.raises(openai.NotFoundError, match="did you mean 'hear'"):
        client.audio.transcriptions.create(model="heer", file=("a.wav", SOUND))
    with pytest.raises(openai.NotFoundError, match="does not serve this operation"):
        client.audio.transcriptions.create(model="claude", file=("a.wav", SOUND))


def test_azure_clients_upload(rig: Rig) -> None:
    with openai.AzureOpenAI(azure_endpoint=rig.url, api_key="client-key", api_version="2024-10-21", max_retries=0) as client:
        assert client.audio.transcriptions.create(model="hear", file=("a.wav", SOUND)).text == heard("openai/gpt-4o-transcribe", SOUND)
