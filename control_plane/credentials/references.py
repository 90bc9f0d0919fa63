"""What a set of specs needs from outside itself: keys and CA files. Whether it is there, where to watch, and has it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from control_plane.credentials.resolve import Missing, Resolved, resolve_provider, secret_path
from control_plane.credentials.sign_in.source import digest_of, missing_extra, problems, sign_in_of
from control_plane.spec.findings import Finding
from control_plane.spec.load import read_bytes
from control_plane.spec.models import Provider, SpecSet

MAX_CA_BYTES: Final = 4 * 1024**2  # the usual system bundle has 0.2 MB
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


def check_references(specs: SpecSet, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """HG3001 for every key that is not there and HG3016 for a library that is not (targets stay out), HG2011 for an unusable CA file."""
    findings: list[Finding] = []
    for provider in specs.providers:
        findings.extend(_missing(provider, environ))
        if (problem := _ca_problem(provider)) is not None:
            at = ("spec", "tls", "caFile")
            findings.append(provider.finding("HG2011", at, problem, "give a file with PEM certificates, relative to the spec file"))
    return findings


def _missing(provider: Provider, environ: Mapping[str, str] | None) -> Iterator[Finding]:
    """What keeps the targets of a provider out."""
    out = f'the targets of provider "{provider.name}" are left out until it is'
    at = ("spec", "credentials", 0)
    if (credential := sign_in_of(provider)) is not None:
        if (absent := missing_extra(credential)) is not None:
            kind, why = absent
            yield provider.finding("HG3016", (*at, kind), f"{why.reason}; {out}", why.fix, key=True)
        for path, lacking in problems(provider, environ):
            yield provider.finding("HG3001", (*at, *path), f"{lacking.reason}; {out} there", lacking.fix)
        return
    key = resolve_provider(provider, environ)
    if isinstance(key, Missing) and (ref := provider.spec.credentials[0].secret_ref) is not None:
        where = (*at, "secretRef", "env" if ref.env is not None else "file")
        yield provider.finding("HG3001", where, f"{key.reason}; {out} there", key.fix)


def _ca_problem(provider: Provider) -> str | None:
    ca_file = provider.spec.tls.ca_file
    if ca_file is None:
        return None
    path = provider.resolve_path(ca_file)
    try:
        data = read_bytes(path, MAX_CA_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return f"CA file {path} cannot be read: {(reason or 'not a regular file').lower()}"
    if len(data) > MAX_CA_BYTES:
        return f"CA file {path} is larger than {MAX_CA_BYTES // 1024**2} MiB"
    return None if _PEM in data else f"CA file {path} holds no PEM certificate"


def referenced_files(specs: SpecSet) -> frozenset[Path]:
    """Every file outside the specs whose change changes what they mean."""
    return frozenset(path for provider in specs.providers for path in _files_of(provider))


def _files_of(provider: Provider) -> Iterator[Path]:
    for credential in provider.spec.credentials[:1]:
        for _, ref in credential.secret_refs():
            path = secret_path(provider, ref)
            if path is not None:
                yield path
        for _, written in credential.files():
            yield provider.resolve_path(written)
    if provider.spec.tls.ca_file is not None:
        yield provider.resolve_path(provider.spec.tls.ca_file)


def fingerprint(specs: SpecSet, environ: Mapping[str, str] | None = None) -> bytes:
    """32 bytes that change when a key or CA file does; they tell nothing about the keys outside this process."""
    digest = hashlib.sha256()
    for provider in specs.providers:
        key = resolve_provider(provider, environ)
        digest.update(provider.name.encode() + b"\0" + digest_of(provider, environ))
        digest.update(key.secret.fingerprint() if isinstance(key, Resolved) else repr(key).encode())
        if provider.spec.tls.ca_file is not None:
            try:
                data = read_bytes(provider.resolve_path(provider.spec.tls.ca_file), MAX_CA_BYTES)
            except (OSError, ValueError):
                data = b""
            digest.update(hashlib.sha256(data).digest())
    return digest.digest()
