"""Providers behind AWS's signature: every attempt of both lanes is signed anew, which botocore's own signer confirms at the vendor."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.credentials import Credentials

from tests.clouds.aws import ACCESS_KEY, ROLE, SECRET_KEY, AwsTokens, check_signature
from tests.clouds.server import Asked
from tests.clouds.vendor import CloudVendor
from tests.live.gateway import load
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route
from tests.live.gateway.test_sign_ins import call, clusters, get, secrets_in, until

ID = "anthropic.claude-sonnet-5-20260101-v1:0"
ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.claude"
SECOND = ("AKIACANARY0000000002", "aws+second/canary000000000000000000000002")
MODELS.update({"signed": ID, "profiled": ARN, "second": ID, "rotating": ID})

PRESET = """
---
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {name: runtime}
spec:
  title: A runtime with the model in its path
  dialects: {openai-chat: {path: "/model/{model}/invoke"}}
  auth: {header: authorization}
---
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {name: runtime-with-query}
spec:
  title: The same with a query
  dialects: {openai-chat: {path: "/model/{model}/invoke?b=2&a=1"}}
  auth: {header: authorization}
"""
PROVIDER = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  preset: {preset}
  breaker: {{enabled: false}}
  baseUrl: "{url}"
  allowInsecure: true
  credentials: [{{aws: {{region: {region}, {how}}}}}]
"""
KEYS = "accessKey: {{accessKeyId: {{env: {0}_ID}}, secretAccessKey: {{env: {0}_KEY}}}}"


@dataclass
class Signed:
    """The vendor's view: whose signature it takes, and what it saw signed."""

    tokens: AwsTokens
    headers: set[tuple[str, ...]] = field(default_factory=set)

    def check(self, asked: Asked) -> str:
        key = asked.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        if key == ACCESS_KEY:
            who, credentials, region = "first", Credentials(ACCESS_KEY, SECRET_KEY), "eu-central-1"
        elif key == SECOND[0]:
            who, credentials, region = "second", Credentials(*SECOND), "us-west-2"
        else:
            secret, token = self.tokens.temporary[key]
            self.tokens.check_token(token)
            who, credentials, region = key, Credentials(key, secret, token), "eu-central-1"
        self.headers.add(check_signature(asked, asked.target, asked.headers["host"], credentials, "bedrock", region))
        return who


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[AwsTokens, Signed, CloudVendor]]:
    with AwsTokens(lifetime_s=4) as tokens:
        signed = Signed(tokens)
        with CloudVendor(signed.check) as vendor:
            yield tokens, signed, vendor


@pytest.fixture(scope="module")
def made(make_rig: RigFactory, cloud: tuple[AwsTokens, Signed, CloudVendor], tmp_path_factory: pytest.TempPathFactory) -> Rig:
    tokens, _, vendor = cloud
    web = tmp_path_factory.mktemp("web") / "token"
    web.write_text(tokens.web_token)
    first, second = KEYS.format("FIRST"), KEYS.format("SECOND")
    pod = f"webIdentity: {{roleArn: '{ROLE}', tokenFile: {web}}}"
    eu = {"url": vendor.url, "region": "eu-central-1"}
    text = PRESET
    text += PROVIDER.format(name="signed", preset="runtime", how=first, **eu)
    text += PROVIDER.format(name="profiled", preset="runtime-with-query", how=first, **eu)
    text += PROVIDER.format(name="second", preset="runtime", url=vendor.url, region="us-west-2", how=second)
    text += PROVIDER.format(name="rotating", preset="runtime", how=pod, **eu)
    environ = {"FIRST_ID": ACCESS_KEY, "FIRST_KEY": SECRET_KEY, "SECOND_ID": SECOND[0], "SECOND_KEY": SECOND[1]}
    environ |= {"AWS_ENDPOINT_URL_STS": tokens.url, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    routes = route("signed", "signed", first_token="30s") + route("profiled", "profiled") + route("rotating", "rotating")
    routes += route("failing", "signed", "second") + route("mixed", "openai", "signed")
    rig = make_rig(routes, providers=text.replace("{", "{{").replace("}", "}}"), env=environ)
    until(lambda: all(row["state"] == "READY" for row in get(rig, "credentials")))
    until(lambda: call(rig, "signed").status == 200)
    return rig


@pytest.fixture
def rig(made: Rig, cloud: tuple[AwsTokens, Signed, CloudVendor]) -> Rig:
    made.heal()
    _, signed, vendor = cloud
    for seen in (vendor.callers, vendor.refused, vendor.asked, signed.headers):
        seen.clear()
    vendor.fail_next = 0
    return made


@pytest.fixture
def vendor(rig: Rig, cloud: tuple[AwsTokens, Signed, CloudVendor]) -> CloudVendor:
    return cloud[2]


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_both_lanes_are_signed_with_a_colon_in_the_path(rig: Rig, vendor: CloudVendor, cloud: Any, dialect: str) -> None:
    answer = call(rig, "signed", dialect)
    assert (answer.status, vendor.refused) == (200, [])
    assert vendor.callers == ["first"]
    assert vendor.asked[-1].target == "/model/anthropic.claude-sonnet-5-20260101-v1%3A0/invoke"
    assert cloud[1].headers == {("content-type", "host", "x-amz-content-sha256", "x-amz-date")}


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_an_arn_with_slashes_and_a_query_out_of_order(rig: Rig, vendor: CloudVendor, dialect: str) -> None:
    answer = call(rig, "profiled", dialect)
    assert (answer.status, vendor.refused) == (200, [])
    path = "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.claude/invoke"
    assert vendor.asked[-1].target == f"{path}?b=2&a=1"


@pytest.mark.parametrize("size", [100, 70_000, 1_100_000, 20_000_000])
@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_bodies_of_every_size(rig: Rig, vendor: CloudVendor, size: int, dialect: str) -> None:
    path, body = (load.chat if dialect == "chat" else load.messages)("signed", text="x" * size)
    answer = httpx.post(f"{rig.url}{path}", content=body, headers={"content-type": "application/json"}, timeout=60)
    assert (answer.status_code, vendor.refused) == (200, [])
    assert len(vendor.asked[-1].body) >= size


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_a_connection_that_must_be_opened_first(rig: Rig, vendor: CloudVendor, dialect: str) -> None:
    """Then an attempt's filters run before the router has set the vendor's host, which is part of the signature."""
    vendor.closing = True
    try:
        answers = [call(rig, "signed", dialect).status for _ in range(12)]
    finally:
        vendor.closing = False
    assert (set(answers), vendor.refused) == ({200}, [])


def test_a_chunked_body_from_the_client(rig: Rig, vendor: CloudVendor) -> None:
    path, body = load.chat("signed", text="x" * 100_000)
    pieces = (body[at : at + 9000] for at in range(0, len(body), 9000))
    answer = httpx.post(f"{rig.url}{path}", content=pieces, headers={"content-type": "application/json"}, timeout=60)
    assert (answer.status_code, vendor.refused) == (200, [])


def test_each_attempt_is_signed_anew_for_its_own_region(rig: Rig, vendor: CloudVendor) -> None:
    for dialect in ("chat", "messages"):
        vendor.callers.clear()
        vendor.fail_next = 1
        answer = call(rig, "failing", dialect)
        assert (answer.status, answer.attempts, vendor.refused) == (200, 2, [])
        assert vendor.callers == ["first", "second"]


def test_after_a_vendor_with_a_key_and_another_path(rig: Rig, vendor: CloudVendor) -> None:
    rig.break_vendor("openai", mode="status", status=503)
    for dialect in ("chat", "messages"):
        answer = call(rig, "mixed", dialect)
        assert (answer.status, answer.attempts, vendor.refused) == (200, 2, [])


def test_nothing_of_a_signed_attempt_reaches_the_next_vendor(rig: Rig, vendor: CloudVendor) -> None:
    """The order is turned round by failing the signed one; what OpenAI sees is its own key alone."""
    text = rig.specs.read_text()
    rig.specs.write_text(text + route("turned", "signed", "openai"))
    until(lambda: call(rig, "turned").status == 200)
    vendor.fail_next = 1
    answer = call(rig, "turned")
    assert (answer.status, answer.attempts) == (200, 2)
    seen = rig.vendors["openai"].requests[-1]
    assert not [name for name in seen.headers if name.startswith(("x-amz-", "amz-sdk-"))]
    assert seen.key == "key-0"


def test_a_clients_own_signature_is_wiped(rig: Rig, vendor: CloudVendor) -> None:
    """As botocore signs for a client that believes to speak to AWS, down to the headers of its retries."""
    headers = {
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIACLIENT/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00",
        "x-amz-date": "20260101T000000Z",
        "x-amz-security-token": "client-token",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        "amz-sdk-invocation-id": "1-2-3",
        "amz-sdk-request": "attempt=1",
        "content-type": "application/json",
    }
    for path, body in (load.chat("signed"), load.messages("signed")):
        answer = httpx.post(f"{rig.url}{path}", content=body, headers=headers, timeout=30)
        assert (answer.status_code, vendor.refused) == (200, [])
        seen = vendor.asked[-1].headers
        assert not [name for name in seen if name.startswith("amz-sdk-") or (seen[name] in headers.values() and name.startswith("x-amz-"))]


@pytest.mark.long
def test_temporary_keys_are_renewed_under_load(rig: Rig, vendor: CloudVendor) -> None:
    until(lambda: call(rig, "rotating").status == 200)
    vendor.callers.clear()
    vendor.refused.clear()
    config = clusters(rig)

    async def steady() -> list[load.Answer]:
        client = load.Client(rig.url)
        answers: list[load.Answer] = []
        end = time.monotonic() + 11
        while time.monotonic() < end:
            paths = (load.chat("rotating"), load.messages("rotating"))
            answers.append(await client.post(*paths[len(answers) % 2]))
            await asyncio.sleep(0.01)
        client.close()
        return answers

    answers = rig.loop.run(steady())
    wrong = [problem for answer in answers if (problem := load.served(answer))]
    assert not wrong, (len(wrong), wrong[:3], vendor.refused[:3])
    assert not vendor.refused
    assert len(set(vendor.callers)) >= 3
    assert clusters(rig) == config
    assert secrets_in(rig) == set()
    text = json.dumps(get(rig, "credentials")) + "\n".join(rig.lines)
    assert "ASIACANARY" not in text


def test_the_vendors_check_takes_what_botocore_signs(cloud: tuple[AwsTokens, Signed, CloudVendor]) -> None:
    """The check is one of signatures, not of Envoy's way to make them: boto3's own client passes, a changed body does not."""
    _, _, vendor = cloud
    vendor.refused.clear()
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=vendor.url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.invoke_model(modelId=ID, body=b'{"model": "m"}', contentType="application/json")
    assert not vendor.refused
    good = vendor.asked[-1]
    with pytest.raises(Exception, match="POST"):
        vendor.check(Asked(good.method, good.path, good.query, good.headers, good.body + b" ", good.target))
    client.close()
