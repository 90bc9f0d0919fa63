"""Keys from environment and files: usable, or missing with a reason that does not hold them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.credentials.references import check_references, fingerprint, referenced_files
from control_plane.credentials.resolve import MAX_SECRET_BYTES, Missing, Resolved, resolve_all, resolve_provider
from control_plane.credentials.secret import Secret
from control_plane.demo.fault_proxy.certificates import authority
from control_plane.spec.load import load
from control_plane.spec.models import Provider, SpecSet

HEADER = "apiVersion: headgate.dev/v1alpha1\nkind: Provider\nmetadata: {name: p}\n"


def specs_of(tmp_path: Path, spec: str) -> SpecSet:
    (tmp_path / "specs").mkdir(exist_ok=True)
    (tmp_path / "specs" / "p.yaml").write_text(HEADER + "spec: {preset: openai, " + spec + "}\n")
    loaded = load(tmp_path / "specs")
    assert loaded.ok, loaded.findings
    return loaded.specs


def provider_of(tmp_path: Path, ref: str) -> Provider:
    return specs_of(tmp_path, f"credentials: [{{secretRef: {{{ref}}}}}]").providers[0]


@pytest.mark.parametrize("text", ["sk-1", "sk-1\n", "sk-1\r\n", "sk-1\n\n", "a b", "x" * MAX_SECRET_BYTES])
def test_a_key_is_taken_without_its_line_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "key").write_text(text[:MAX_SECRET_BYTES], newline="")
    for provider, environ in ((provider_of(tmp_path, "file: key"), {}), (provider_of(tmp_path, "env: KEY"), {"KEY": text})):
        found = resolve_provider(provider, environ)
        assert isinstance(found, Resolved)
        assert isinstance(found.secret, Secret)
        assert isinstance(found.secret, Secret)
        assert found.secret.reveal() == text.rstrip("\r\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("VERYSECRET\nVERYSECRET", "has more than one line"),
        ("VERYSECRET\r\nx", "has more than one line"),
        ("VERYSECRET\x00", "not printable ASCII"),
        ("VERYSECRET\t", "not printable ASCII"),
        ("VERYSECRETé", "not printable ASCII"),
        (" VERYSECRET", "begins or ends with a space"),
        ("VERYSECRET" * 1000, "is longer than 8192 bytes"),
    ],
)
def test_what_cannot_be_a_header_value_is_missing(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "key").write_text(content, newline="", encoding="utf-8")
    for ref, environ in (("file: ../key", {}), ("env: KEY", {"KEY": content})):
        provider = provider_of(tmp_path, ref)
        found = resolve_provider(provider, environ)
        assert isinstance(found, Missing)
        assert reason in found.reason
        assert "VERYSECRET" not in repr(found)


@given(st.text(max_size=40))
def test_every_value_is_a_clean_key_or_missing(text: str) -> None:
    provider = Provider.model_validate(
        {"metadata": {"name": "p"}, "spec": {"preset": "openai", "credentials": ({"secretRef": {"env": "KEY"}},)}}, by_alias=True
    )
    found = resolve_provider(provider, {"KEY": text})
    if isinstance(found, Resolved):
        assert isinstance(found.secret, Secret)
        key = found.secret.reveal()
        assert key == text.rstrip("\r\n")
        assert all(" " <= char <= "~" for char in key)
    else:
        assert isinstance(found, Missing)


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for ref, reason in (
        ("file: none", "does not exist"),
        (f"file: {tmp_path}/pipe", "not a regular file"),
        (f"file: {tmp_path}", "is a directory"),
    ):
        found = resolve_provider(provider_of(tmp_path, ref), {})
        assert isinstance(found, Missing)
        assert found.reason.endswith(reason)
    assert resolve_provider(provider_of(tmp_path, "env: KEY"), {}) == Missing(
        "environment variable KEY is not set", "export KEY=...", "env KEY"
    )


def test_a_provider_without_credentials_has_no_key(tmp_path: Path) -> None:
    assert resolve_all(specs_of(tmp_path, "headers: {x-team: a}"), {}) == {"p": None}


def test_the_first_of_a_pool_is_used(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, "credentials: [{secretRef: {env: A}}, {secretRef: {env: B}}]")
    found = resolve_all(specs, {"A": "first", "B": "second"})["p"]
    assert isinstance(found, Resolved)
    assert isinstance(found.secret, Secret)
    assert (found.secret.reveal(), found.source) == ("first", "env A")


def test_what_lies_outside_is_known_and_its_changes_are_seen(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, 'credentials: [{secretRef: {file: "../key"}}], tls: {caFile: ca.pem}, baseUrl: "https://a.example.com"')
    base = tmp_path / "specs"
    assert referenced_files(specs) == {base / "../key", base / "ca.pem"}
    assert [finding.code for finding in check_references(specs, {})] == ["HG3001", "HG2011"]
    seen = {fingerprint(specs, {})}
    authority(tmp_path)
    for path, text in ((tmp_path / "key", "one"), (tmp_path / "key", "two"), (base / "ca.pem", (tmp_path / "ca.pem").read_text())):
        path.write_text(text)
        seen.add(fingerprint(specs, {}))
    assert len(seen) == 4
    assert fingerprint(specs, {}) in seen
    assert check_references(specs, {}) == []
