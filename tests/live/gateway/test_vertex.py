"""Gemini on Vertex AI: Google's clients pass through, others are translated, and the Gemini API and Vertex stand in for each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from control_plane.demo.simulators.record import Recorded
from control_plane.demo.simulators.vectors import vector
from tests.clouds.google import GoogleTokens
from tests.live.gateway.rig import MODELS, VERTEX_KEYS, Rig, RigFactory, route
from tests.live.gateway.test_sign_ins import get, until

EMBEDDING = "gemini-embedding-001"
OPEN_MODEL = "meta/llama-4-maverick-17b-128e-instruct-maas"
ROUTES = (
    route("via-vertex", "vertex")
    + route("vertex-first", "vertex", "gemini", first_token="1s", hold=True)
    + route("gemini-first", "gemini", "vertex", first_token="1s", hold=True)
    + route("embedding", "gemini").replace(f"model: {MODELS['gemini']}", f"model: {EMBEDDING}")
    + route(EMBEDDING, "gemini").replace(f"model: {MODELS['gemini']}", f"model: {EMBEDDING}")
    + route("signed-in", "vertex").replace("provider: vertex", "provider: signed-in")
    + route("open", "vertex").replace("provider: vertex", "provider: vertex-open").replace(MODELS["vertex"], OPEN_MODEL)
    + route("open-first", "vertex", "local", first_token="1s")
    .replace("provider: vertex", "provider: vertex-open")
    .replace(MODELS["vertex"], OPEN_MODEL)
)
PATH = "/v1/projects/p-1/locations/eu/publishers/google/models/gemini-2.5-flash"
OPEN = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{{{name: vertex-open}}}}
spec:
  preset: vertex
  baseUrl: "{{vertex}}/v1/projects/p-1/locations/eu"
  allowInsecure: true
  dialects: [openai-chat]
  credentials: [{{{{secretRef: {{{{env: SIM_VERTEX_KEY}}}}}}}}]
"""
SIGNED_IN = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{{{name: signed-in}}}}
spec:
  preset: vertex
  baseUrl: "{{vertex}}/v1/projects/p-1/locations/eu"
  allowInsecure: true
  credentials: [{{{{google: {{{{serviceAccountFile: {file}}}}}}}}}]
"""


@pytest.fixture(scope="module")
def tokens() -> Iterator[GoogleTokens]:
    with GoogleTokens() as service:
        yield service


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory, tokens: GoogleTokens, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    file = tokens.write_service_account(tmp_path_factory.mktemp("google") / "sa.json")
    return make_rig(ROUTES, providers=(SIGNED_IN + OPEN).format(file=file))


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture(scope="module")
def client(rig: Rig) -> Iterator[genai.Client]:
    with genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=rig.url)) as made:
        yield made


@pytest.fixture(scope="module")
def vertex_client(rig: Rig) -> Iterator[genai.Client]:
    """Google's client in its Vertex mode: another project, place and token than the gateway's."""
    credentials: Any = Credentials("ya29.the-clients-own")  # type: ignore[no-untyped-call]
    options = types.HttpOptions(base_url=rig.url)
    with genai.Client(vertexai=True, project="theirs", location="global", credentials=credentials, http_options=options) as made:
        yield made


def text(client: genai.Client, model: str, streamed: bool) -> str:
    if not streamed:
        return client.models.generate_content(model=model, contents="hello").text or ""
    return "".join(chunk.text or "" for chunk in client.models.generate_content_stream(model=model, contents="hello"))


def last(rig: Rig, vendor: str) -> Recorded:
    return rig.vendors[vendor].requests[-1]


STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@STREAMED
def test_both_kinds_of_googles_clients_pass_through(rig: Rig, client: genai.Client, vertex_client: genai.Client, streamed: bool) -> None:
    for made in (client, vertex_client):
        assert text(made, "via-vertex", streamed) == "vertex/gemini-2.5-flash heard: hello"
        seen = last(rig, "vertex")
        assert seen.path == f"{PATH}:{'streamGenerateContent' if streamed else 'generateContent'}"
        assert (seen.query, seen.key) == ("alt=sse" if streamed else "", "key-0")
        assert "x-goog-api-key" not in seen.headers
    assert client.models.count_tokens(model="via-vertex", contents="hello").total_tokens
    assert last(rig, "vertex").path == f"{PATH}:countTokens"


@STREAMED
@pytest.mark.parametrize(
    "fault", [{"mode": "status", "status": 503}, {"mode": "status", "status": 403}, {"mode": "refuse"}, {"mode": "garbage"}]
)
def test_the_gemini_api_and_vertex_stand_in_for_each_other(
    rig: Rig, client: genai.Client, vertex_client: genai.Client, streamed: bool, fault: dict[str, Any]
) -> None:
    if fault["mode"] == "garbage" and not streamed:
        pytest.skip("only the hold of a stream looks into what passes through")
    for first, second in (("vertex", "gemini"), ("gemini", "vertex")):
        rig.heal()
        rig.break_vendor(first, **fault)
        for made in (client, vertex_client):
            assert text(made, f"{first}-first", streamed) == f"{second}/gemini-2.5-flash heard: hello"
            seen = last(rig, second)
            assert seen.key == "key-0"  # the gateway's own
            assert ("x-goog-api-key" in seen.headers) == (second == "gemini")
            assert ("authorization" in seen.headers) == (second == "vertex")


@STREAMED
def test_other_clients_are_translated(rig: Rig, streamed: bool) -> None:
    said = "vertex/gemini-2.5-flash heard: hello"
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as gpt:
        if streamed:
            chunks = list(gpt.chat.completions.create(model="via-vertex", messages=[{"role": "user", "content": "hello"}], stream=True))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said
        else:
            done = gpt.chat.completions.create(model="via-vertex", messages=[{"role": "user", "content": "hello"}])
            assert done.choices[0].message.content == said
    assert last(rig, "vertex").path == f"{PATH}:{'streamGenerateContent' if streamed else 'generateContent'}"
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as claude:
        answer = claude.messages.create(model="via-vertex", max_tokens=300, messages=[{"role": "user", "content": "hello"}])
        assert answer.content[0].type == "text"
        assert answer.content[0].text == said


def test_errors(rig: Rig, vertex_client: genai.Client) -> None:
    for status, word in ((400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")):
        rig.break_vendor("vertex", mode="status", status=status)
        with pytest.raises(errors.APIError) as caught:
            vertex_client.models.generate_content(model="via-vertex", contents="hello")
        assert (caught.value.code, caught.value.status) == (status, word)
    with pytest.raises(errors.ClientError) as unknown:
        vertex_client.models.generate_content(model="via-vertx", contents="hello")
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")


def test_the_gateway_signs_in_by_itself(rig: Rig, client: genai.Client, tokens: GoogleTokens) -> None:
    until(lambda: next(row for row in get(rig, "credentials") if row["provider"] == "signed-in")["state"] == "READY")
    rig.loop.run(accept(rig, [*tokens.ends]))  # the vendor takes what Google gave out, and nothing else
    try:
        until(lambda: _answers(client))
        assert last(rig, "vertex").key.startswith("key-")
        with pytest.raises(errors.ServerError):
            text(client, "via-vertex", False)
    finally:
        rig.loop.run(accept(rig, [*VERTEX_KEYS.values()]))


def _answers(client: genai.Client) -> bool:
    try:
        return text(client, "signed-in", False) == "vertex/gemini-2.5-flash heard: hello"
    except errors.APIError:
        return False


async def accept(rig: Rig, keys: list[str]) -> None:
    rig.vendors["vertex"].set_keys(keys)


def test_embeddings_of_googles_clients_pass_through(rig: Rig, client: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=256, task_type="RETRIEVAL_QUERY")
    made = client.models.embed_content(model=EMBEDDING, contents=["one", "two"], config=config)
    assert [embedding.values for embedding in made.embeddings or ()] == [vector(text, 256) for text in ("one", "two")]
    seen = last(rig, "gemini")
    assert seen.path == f"/v1beta/models/{EMBEDDING}:batchEmbedContents"
    assert seen.key == "key-0"
    body = {"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 256}
    one = httpx.post(f"{rig.url}/v1beta/models/embedding:embedContent", json=body)
    assert one.status_code == 200
    assert one.headers["x-headgate-target"] == f"gemini/{EMBEDDING}"
    assert one.json()["embedding"]["values"] == vector("one", 256)
    assert json.loads(last(rig, "gemini").body or b"") == body
    assert last(rig, "gemini").path == f"/v1beta/models/{EMBEDDING}:embedContent"


def test_open_models_at_the_openai_compatible_path(rig: Rig) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    wanted = f"vertex/{OPEN_MODEL} heard: hello"
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as gpt:
        assert gpt.chat.completions.create(model="open", messages=hello).choices[0].message.content == wanted
        chunks = list(gpt.chat.completions.create(model="open", messages=hello, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == wanted
        seen = rig.vendors["vertex"].requests[-1]
        assert (seen.path, seen.key) == ("/v1/projects/p-1/locations/eu/endpoints/openapi/chat/completions", "key-0")
        assert seen.json()["model"] == OPEN_MODEL
        rig.break_vendor("vertex", mode="status", status=503)
        assert (
            gpt.chat.completions.create(model="open-first", messages=hello).choices[0].message.content
            == f"local/{MODELS['local']} heard: hello"
        )
        rig.heal()
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as claude:
        said = claude.messages.create(model="open", max_tokens=99, messages=hello)
        assert [block.text for block in said.content if block.type == "text"] == [wanted]
        rig.break_vendor("vertex", mode="status", status=429)
        with pytest.raises(anthropic.RateLimitError):
            claude.messages.create(model="open", max_tokens=99, messages=hello)
