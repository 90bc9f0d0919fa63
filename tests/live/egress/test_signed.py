"""Requests that AWS signs name the vendor's host, whatever the connection goes to: a proxy, or addresses of a private endpoint."""

from __future__ import annotations

from pathlib import Path

from tests.clouds.aws import ACCESS_KEY, SECRET_KEY, AwsTokens
from tests.clouds.vendor import CloudVendor
from tests.live.egress.counterparts import ConnectProxy
from tests.live.egress.serving import route, serving
from tests.live.gateway import load
from tests.live.gateway.test_aws import Signed

PROVIDER = """---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  preset: openai-compatible
  baseUrl: "http://bedrock.vendor.example:{port}/v1"
  allowInsecure: true
  credentials:
  - aws: {{region: eu-central-1, accessKey: {{accessKeyId: {{env: AWS_ID}}, secretAccessKey: {{env: AWS_KEY}}}}}}
  egress: {way}
"""


async def test_the_host_that_is_signed_is_the_vendors_on_cold_connections_too(tmp_path: Path) -> None:
    with AwsTokens() as tokens, CloudVendor(Signed(tokens).check) as vendor:
        port = vendor.url.rpartition(":")[2]
        async with ConnectProxy(login="user:password") as proxy:
            through = f'{{proxy: {{url: "http://127.0.0.1:{proxy.port}", credentials: {{secretRef: {{env: LOGIN}}}}}}}}'
            specs = PROVIDER.format(name="proxied", port=port, way=through)
            specs += PROVIDER.format(name="private", port=port, way="{addresses: [127.0.0.1]}")
            specs += route("proxied", "proxied") + route("private", "private")
            env = {"AWS_ID": ACCESS_KEY, "AWS_KEY": SECRET_KEY, "LOGIN": "user:password"}
            async with serving(tmp_path, specs, env) as gateway:
                for closing in (True, False):
                    vendor.closing = closing
                    for model in ("proxied", "private"):
                        answers = await load.run(gateway.url, 4, 1, lambda _, model=model: load.chat(model))  # type: ignore[misc]
                        assert [problem for a in answers if (problem := load.served(a))] == []
                assert (vendor.refused, len(vendor.asked)) == ([], 16)
                assert {asked.headers["host"] for asked in vendor.asked} == {f"bedrock.vendor.example:{port}"}
                assert set(proxy.asked) == {f"bedrock.vendor.example:{port}"}
                dump = await gateway.envoy("/config_dump?include_eds")
                assert SECRET_KEY not in dump
                kept = b"".join(p.read_bytes() for p in (tmp_path / "state").rglob("*") if p.is_file())
                assert kept
                assert SECRET_KEY.encode() not in kept
