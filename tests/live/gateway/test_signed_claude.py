"""Claude on Bedrock behind AWS's signature: what the translator wrote is what was signed, as botocore's own signer finds at the vendor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from botocore.credentials import Credentials

from control_plane.demo.simulators.bedrock import Bedrock
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Keys
from tests.clouds.aws import ACCESS_KEY, SECRET_KEY, check_signature
from tests.clouds.server import Answer, Asked
from tests.clouds.vendor import CloudVendor
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route
from tests.live.gateway.test_sign_ins import get, until

PROVIDER = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: signed}
spec:
  preset: bedrock
  baseUrl: "URL"
  allowInsecure: true
  dialects: [anthropic-bedrock]
  credentials: [{aws: {region: eu-central-1, accessKey: {accessKeyId: {env: AWS_ID}, secretAccessKey: {env: AWS_KEY}}}}]
"""
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
SAID = f"bedrock/{MODELS['bedrock-claude']} heard: hello"


class SignedBedrock(CloudVendor):
    """The simulated Bedrock's answers, for requests with a good signature only."""

    def __init__(self) -> None:
        super().__init__(self._signed_by)
        self._wire = Bedrock("bedrock", Keys([ACCESS_KEY]), None, 1024, strict=True)

    def _signed_by(self, asked: Asked) -> str:
        keys = Credentials(ACCESS_KEY, SECRET_KEY)
        return ",".join(check_signature(asked, asked.target, asked.headers["host"], keys, "bedrock", "eu-central-1"))

    def answer(self, asked: Asked) -> Answer:
        first = super().answer(asked)
        if first.status != 200:
            return first
        path, _, query = asked.target.partition("?")
        reply = self._wire.answer(HttpRequest(asked.method, path, query, dict(asked.headers), asked.body))
        body = reply.body if reply.events is None else b"".join(event for event, _ in reply.events)
        return Answer(reply.status, body, (("content-type", reply.content_type),))


@pytest.fixture(scope="module")
def vendor() -> Iterator[SignedBedrock]:
    with SignedBedrock() as made:
        yield made


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory, vendor: SignedBedrock) -> Rig:
    provider = PROVIDER.replace("{", "{{").replace("}", "}}").replace("URL", vendor.url)
    plain, after = route("signed", "bedrock-claude"), route("after", "anthropic", "bedrock-claude")
    routes = (plain + after).replace("provider: bedrock-claude", "provider: signed")
    rig = make_rig(routes, providers=provider, env={"AWS_ID": ACCESS_KEY, "AWS_KEY": SECRET_KEY})
    until(lambda: next(row for row in get(rig, "credentials") if row["provider"] == "signed")["state"] == "READY")
    return rig


def test_every_clients_request_is_signed_as_it_was_translated(rig: Rig, vendor: SignedBedrock) -> None:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as claude:
        ask: Any = {"model": "signed", "max_tokens": 99, "messages": HELLO, "extra_headers": {"anthropic-beta": "one-2025-01-01"}}
        until(lambda: _served(claude, ask))
        vendor.callers.clear()
        vendor.refused.clear()
        whole = claude.messages.create(**ask)
        with claude.messages.stream(**ask) as stream:
            streamed = stream.get_final_message()
        rig.break_vendor("anthropic", mode="status", status=503)
        after = claude.messages.create(**{**ask, "model": "after"})
    answers: list[Any] = [whole, streamed, after]
    texts = [block.text for answer in answers for block in answer.content if block.type == "text"]
    assert texts == [SAID] * 3
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as gpt:
        assert gpt.chat.completions.create(model="signed", messages=HELLO).choices[0].message.content == SAID
    assert not vendor.refused
    assert len(vendor.callers) == 4
    assert {asked.target.rpartition("/")[2] for asked in vendor.asked} == {"invoke", "invoke-with-response-stream"}
    assert not any(SECRET_KEY in str(asked.headers) for asked in vendor.asked)


def _served(claude: anthropic.Anthropic, ask: Any) -> bool:
    try:
        claude.messages.create(**ask)
    except anthropic.APIStatusError:
        return False
    return True
