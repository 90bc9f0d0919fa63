"""A vendor added as data while the gateway runs: its path, its header, its key and its habits are those of the Preset document."""

from __future__ import annotations

import time

import anthropic
import openai
import pytest

from tests.live.gateway.rig import Rig, RigFactory, route

VENDOR = """
---
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {{name: acme}}
spec:
  title: Acme
  dialects: {{openai-chat: {{path: /v1/chat/completions}}}}
  auth: {{header: authorization, prefix: "Bearer "}}
  headers: {{x-acme-version: "7"}}
  options: {{max_tokens_field: max_tokens, stream_usage: false, drop_params: [temperature], rename_params: {{top_p: temperature}}}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: acme}}
spec: {{preset: acme, baseUrl: "{url}", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: acme}}
spec: {{models: [acme], plan: [{{targets: [{{provider: acme, model: llama-3.3-70b}}]}}]}}
"""


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("steady", "openai"))


def ask(rig: Rig) -> str:
    """The text of a streamed answer to a client of the other dialect, once the route is there."""
    deadline = time.monotonic() + 20
    with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as client:
        while True:
            try:
                with client.messages.stream(
                    model="acme",
                    max_tokens=50,
                    messages=[{"role": "user", "content": "hello"}],
                    extra_body={"temperature": 0.9, "top_p": 0.4},
                ) as stream:
                    return stream.get_final_text()
            except anthropic.NotFoundError:  # the route is not there yet
                assert time.monotonic() < deadline, rig.lines
                time.sleep(0.1)


def test_a_vendor_added_as_data_is_served_with_its_habits(rig: Rig) -> None:
    rig.specs.write_text(rig.specs.read_text() + VENDOR.format(url=rig.vendors["local"].url))
    assert ask(rig).endswith("heard: hello")
    seen = rig.vendors["local"].requests[-1]
    assert (seen.path, seen.key, seen.headers["x-acme-version"]) == ("/v1/chat/completions", "key-0", "7")
    body = seen.json()
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("llama-3.3-70b", 50, 0.4)
    assert not {"max_completion_tokens", "top_p", "stream_options"} & set(body)


def test_its_own_dialect_passes_through_untouched(rig: Rig) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(model="acme", messages=[{"role": "user", "content": "hello"}], temperature=0.9, top_p=0.4)
    assert str(answer.choices[0].message.content).endswith("heard: hello")
    body = rig.vendors["local"].requests[-1].json()
    assert (body["model"], body["temperature"], body["top_p"]) == ("llama-3.3-70b", 0.9, 0.4)
