"""All secrets of a set of specs: found in one place, and one rule for those that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.app.keys import Keys
from control_plane.credentials.resolve import Missing, Resolution, Resolved
from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.demo.fault_proxy.certificates import authority, certificate
from control_plane.ir.build import build
from control_plane.spec.load import load
from control_plane.spec.models import SpecSet
from control_plane.xds.resource import ECDS, SDS
from control_plane.xds.translate.secrets import absent_secrets, known_secrets, secret_resources

PROVIDER = """---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  preset: openai-compatible
  baseUrl: https://p.example.com
  credentials: [{{{credential}}}]
  tls: {{caFile: ca.pem, certFile: client.pem, keyFile: client.key}}
  egress: {{proxy: {{url: "https://proxy.example.com:3128", caFile: ca.pem, credentials: {{secretRef: {{file: login}}}}}}}}
"""
TOKENS: dict[str, Resolution] = {
    "google": Resolved(Secret("token-canary"), "google"),
    "aws": Resolved(SigningKeys("AKIACANARY", Secret("aws-canary")), "aws"),
}
KEYS = {(SDS, "provider/key"), (SDS, "provider/google"), (ECDS, "signer:provider/aws")}
LOGINS = {(SDS, f"proxy/{name}") for name in ("key", "google", "aws")}
CERTIFICATES = {
    (SDS, f"{kind}/{name}") for kind in ("client-certificate", "authorities", "proxy-authorities") for name in ("key", "google", "aws")
}


@pytest.fixture
def specs(tmp_path: Path) -> SpecSet:
    authority(tmp_path)
    certificate(tmp_path, "client", "gateway.example")
    (tmp_path / "key").write_text("key-canary\n")
    (tmp_path / "login").write_text("user:login-canary\n")
    credentials = {"key": "secretRef: {file: key}", "google": "google: {}", "aws": "aws: {region: eu-central-1}"}
    text = "".join(PROVIDER.format(name=name, credential=credential) for name, credential in credentials.items())
    (tmp_path / "specs.yaml").write_text(text)
    loaded = load(tmp_path / "specs.yaml")
    assert loaded.ok, loaded.findings
    return loaded.specs


def test_what_is_there_is_known_and_nothing_is_absent(specs: SpecSet) -> None:
    gateway, keys = build(specs), Keys.of(specs, TOKENS)
    values = keys.values(gateway)
    known = known_secrets(gateway.providers, values)
    assert {resource.key for resource in known} == KEYS | LOGINS | CERTIFICATES
    assert secret_resources(gateway.providers, values) == known
    assert (keys.unready(), absent_secrets(gateway, values)) == ({}, frozenset())
    assert all(resource.secret for resource in known)
    assert "canary" not in repr((known, keys, values)).lower()


def test_what_is_missing_is_absent_unless_it_is_a_static_key(specs: SpecSet, tmp_path: Path) -> None:
    before = Keys.of(specs, TOKENS).values(build(specs))
    for name in ("key", "login", "client.pem", "ca.pem"):
        (tmp_path / name).write_text("")
    missing = Missing("no token has arrived yet", "wait", "sign-in")
    keys = Keys.of(specs, {"google": missing, "aws": missing})
    gateway = build(specs, keys.unready())
    assert set(keys.unready()) == {"key", "google", "aws"}
    values = keys.values(gateway)
    assert values == {}
    assert known_secrets(gateway.providers, values) == []
    assert {resource.key for resource in secret_resources(gateway.providers, values)} == {(SDS, "provider/key"), *LOGINS}
    assert absent_secrets(gateway, values) == (KEYS | CERTIFICATES) - {(SDS, "provider/key")}
    kept = keys.values(gateway, kept=before)  # certificates that are just being replaced, and no keys or tokens
    assert {resource.key for resource in known_secrets(gateway.providers, kept)} == CERTIFICATES
