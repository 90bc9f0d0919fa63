"""`GET /v1/models` through the real gateway with the official SDKs: a client sees what it can call, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.live.gateway.rig import Rig, RigFactory, route


def only(name: str, *dialects: str) -> str:
    made = route(name, "openai").replace(f"metadata: {{name: {name}}}", f"metadata: {{name: {name.replace('/', '-')}}}")
    return f"{made.rstrip()}\n  dialects: [{', '.join(dialects)}]\n"


ROUTES = (
    route("everyone", "openai")
    + only("chat/only", "openai-chat")
    + only("responses-only", "openai-responses")
    + only("claude-only", "anthropic-messages")
    + only("gemini-only", "gemini-generate-content")
    + only("cohere-only", "cohere-chat")
    + only("claude-or-gemini", "anthropic-messages", "gemini-generate-content")
)
GPT = {"everyone", "chat/only", "responses-only"}
CLAUDE = {"everyone", "claude-only", "claude-or-gemini"}
GEMINI = {"everyone", "gemini-only", "claude-or-gemini"}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture
def gpt(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_gemini_clients(rig: Rig, version: str) -> None:
    client = genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=rig.url, api_version=version))
    assert {model.name for model in client.models.list()} == {f"models/{name}" for name in GEMINI}
    assert client.models.get(model="gemini-only").name == "models/gemini-only"
    for name in ("claude-only", "nothing"):
        with pytest.raises(errors.ClientError, match="no such model") as caught:
            client.models.get(model=name)
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_openai_clients(gpt: openai.OpenAI) -> None:
    assert {model.id for model in gpt.models.list()} == GPT
    for name in GPT - {"chat/only"}:
        assert gpt.models.retrieve(name).id == name
    for name in ("claude-only", "cohere-only", "nothing"):
        with pytest.raises(openai.NotFoundError, match="no such model") as caught:
            gpt.models.retrieve(name)
        assert caught.value.code == "model_not_found"


def test_a_model_with_a_slash_has_a_page_of_its_own(rig: Rig) -> None:
    assert httpx.get(f"{rig.url}/v1/models/chat/only").json()["id"] == "chat/only"


def test_anthropic_clients(claude: anthropic.Anthropic) -> None:
    assert {model.id for model in claude.models.list()} == CLAUDE
    for name in CLAUDE:
        assert claude.models.retrieve(name).id == name
    for name in GPT - CLAUDE - {"chat/only"}:
        with pytest.raises(anthropic.NotFoundError, match="no such model"):
            claude.models.retrieve(name)


def test_what_is_listed_can_be_called_and_the_rest_cannot(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert gpt.chat.completions.create(model="chat/only", messages=[{"role": "user", "content": "x"}]).choices
    assert gpt.responses.create(model="responses-only", input="x").output_text
    assert claude.messages.create(model="claude-only", max_tokens=9, messages=[{"role": "user", "content": "x"}]).content
    with pytest.raises(openai.NotFoundError, match="does not serve this operation"):
        gpt.chat.completions.create(model="claude-only", messages=[{"role": "user", "content": "x"}])
