"""Proxies' passwords and client certificates: read, checked, taken apart, never shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from control_plane.credentials.connection import resolve_authorities, resolve_certificate, resolve_proxy, split_certificate
from control_plane.credentials.references import fingerprint, referenced_files
from control_plane.credentials.resolve import Missing, Resolved
from control_plane.credentials.secret import Secret
from control_plane.demo.fault_proxy.certificates import authority, certificate
from control_plane.spec.load import load
from control_plane.spec.models import SpecSet

SPEC = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: p}
spec:
  preset: openai-compatible
  baseUrl: https://p.example.com
  tls: {certFile: client.pem, keyFile: client.key}
  egress: {proxy: {url: "http://proxy.example.com:3128", credentials: {secretRef: {file: login}}}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: r}
spec: {models: [m], plan: [{targets: [{provider: p, model: m}]}]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority(tmp_path)
    certificate(tmp_path, "client", "gateway.example")
    certificate(tmp_path, "other", "other.example")
    (tmp_path / "login").write_text("user:p%ss:word\n")
    (tmp_path / "specs.yaml").write_text(SPEC)
    return tmp_path


def specs_of(folder: Path) -> SpecSet:
    return load(folder / "specs.yaml").specs


def test_the_login_is_what_goes_after_basic(folder: Path) -> None:
    found = resolve_proxy(specs_of(folder).providers[0])
    assert isinstance(found, Resolved)
    assert isinstance(found.secret, Secret)
    assert base64.b64decode(found.secret.reveal()) == b"user:p%ss:word"
    assert "p%ss" not in repr(found)
    (folder / "login").write_text("VERYSECRET")
    missing = resolve_proxy(specs_of(folder).providers[0])
    assert isinstance(missing, Missing)
    assert "VERYSECRET" not in repr(missing)


def test_the_key_is_kept_apart_from_the_chain(folder: Path) -> None:
    pieces = [(folder / name).read_text() for name in ("client.key", "client.pem", "ca.pem")]
    (folder / "client.pem").write_text("".join(pieces))
    found = resolve_certificate(specs_of(folder).providers[0])
    assert isinstance(found, Resolved)
    assert isinstance(found.secret, Secret)
    chain, key = split_certificate(found.secret)
    assert chain.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" not in chain
    assert key.reveal().strip() in (folder / "client.key").read_text()
    assert "PRIVATE" not in repr(found)


@pytest.mark.parametrize("trouble", ["mismatch", "no certificate", "no key", "garbage", "gone"])
def test_what_cannot_be_used_is_said(folder: Path, trouble: str) -> None:
    certificate_file, key_file = folder / "client.pem", folder / "client.key"
    if trouble == "mismatch":
        key_file.write_text((folder / "other.key").read_text())
    elif trouble == "no certificate":
        certificate_file.write_text("nothing")
    elif trouble == "no key":
        key_file.write_text((folder / "ca.pem").read_text())
    elif trouble == "garbage":
        certificate_file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    else:
        key_file.unlink()
    found = resolve_certificate(specs_of(folder).providers[0])
    assert isinstance(found, Missing)
    assert found.fix


def test_changes_are_noticed(folder: Path) -> None:
    specs = specs_of(folder)
    assert referenced_files(specs) == {folder / name for name in ("client.pem", "client.key", "login")}
    seen = [fingerprint(specs)]
    (folder / "login").write_text("user:other")
    seen.append(fingerprint(specs))
    for suffix in ("pem", "key"):
        (folder / f"client.{suffix}").write_text((folder / f"other.{suffix}").read_text())
        seen.append(fingerprint(specs))
    assert len(set(seen)) == 4


def test_authorities_leave_this_process_without_private_keys(folder: Path) -> None:
    pieces = [(folder / name).read_text() for name in ("ca.pem", "ca.key", "other.pem")]
    (folder / "bundle.pem").write_bytes(b"# r\xf4le\n" + "".join(pieces).encode())
    found = resolve_authorities(folder / "bundle.pem")
    assert isinstance(found, Resolved)
    assert isinstance(found.secret, Secret)
    assert found.secret.reveal().count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in found.secret.reveal()
    for text in ("", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (folder / "bundle.pem").write_text(text)
        assert isinstance(resolve_authorities(folder / "bundle.pem"), Missing)
