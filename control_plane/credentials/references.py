"""What a set of specs needs from outside itself: keys, certificates and CA files. Is it there, where to watch, has it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from control_plane.credentials.connection import MAX_CA_BYTES, authority_files, resolve_authorities, resolve_certificate, resolve_proxy
from control_plane.credentials.resolve import Missing, Resolved, resolve_pool, secret_path
from control_plane.credentials.sign_in.source import digest_of, missing_extra, problems, sign_in_of
from control_plane.spec.findings import Finding
from control_plane.spec.load import read_bytes
from control_plane.spec.models import Provider, SpecSet


def check_references(specs: SpecSet, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """HG3001 for every key that is not there and HG3016 for a library that is not (targets stay out), HG2011 or HG2015 for an unusable
    CA or certificate."""
    findings: list[Finding] = []
    for provider in specs.providers:
        findings.extend(_missing(provider, environ))
        certificate = resolve_certificate(provider)
        if isinstance(certificate, Missing):
            findings.append(provider.finding("HG2015", ("spec", "tls", "certFile"), certificate.reason, certificate.fix))
        for place, path in authority_files(provider):
            if isinstance(trusted := resolve_authorities(path), Missing):
                findings.append(provider.finding("HG2011", place, trusted.reason, trusted.fix))
    return findings


def _missing(provider: Provider, environ: Mapping[str, str] | None) -> Iterator[Finding]:
    """What keeps the targets of a provider out."""
    out = f'the targets of provider "{provider.name}" are left out until it is'
    at = ("spec", "credentials", 0)
    proxy = resolve_proxy(provider, environ)
    if isinstance(proxy, Missing):
        at_proxy = ("spec", "egress", "proxy", "credentials", "secretRef")
        yield provider.finding("HG3001", at_proxy, f"{proxy.reason}; {out} there", proxy.fix)
    if (credential := sign_in_of(provider)) is not None:
        if (absent := missing_extra(credential)) is not None:
            kind, why = absent
            yield provider.finding("HG3016", (*at, kind), f"{why.reason}; {out}", why.fix, key=True)
        for path, lacking in problems(provider, environ):
            yield provider.finding("HG3001", (*at, *path), f"{lacking.reason}; {out} there", lacking.fix)
        return
    keys = resolve_pool(provider, environ)
    out = out if all(isinstance(key, Missing) for key in keys) else "the others of the pool are used until it is"
    places = [n for n, credential in enumerate(provider.spec.credentials) if credential.secret_ref is not None]
    for place, key in zip(places, keys, strict=False):
        if isinstance(key, Missing) and (ref := provider.spec.credentials[place].secret_ref) is not None:
            where = ("spec", "credentials", place, "secretRef", "env" if ref.env is not None else "file")
            yield provider.finding("HG3001", where, f"{key.reason}; {out} there", key.fix)


def referenced_files(specs: SpecSet) -> frozenset[Path]:
    """Every file outside the specs whose change changes what they mean."""
    return frozenset(path for provider in specs.providers for path in _files_of(provider))


def _files_of(provider: Provider) -> Iterator[Path]:
    for credential in provider.spec.credentials:
        for _, ref in credential.secret_refs():
            path = secret_path(provider, ref)
            if path is not None:
                yield path
        for _, written in credential.files():
            yield provider.resolve_path(written)
    proxy, tls = provider.spec.egress.proxy, provider.spec.tls
    if proxy is not None and proxy.credentials is not None and (path := secret_path(provider, proxy.credentials.secret_ref)) is not None:
        yield path
    yield from (path for _, path in authority_files(provider))
    for file in (tls.cert_file, tls.key_file):
        if file is not None:
            yield provider.resolve_path(file)


def fingerprint(specs: SpecSet, environ: Mapping[str, str] | None = None) -> bytes:
    """32 bytes that change when a key, a certificate or a CA file does; they tell nothing about the keys outside this process."""
    digest = hashlib.sha256()
    for provider in specs.providers:
        digest.update(provider.name.encode() + b"\0" + digest_of(provider, environ))
        for key in (*resolve_pool(provider, environ), resolve_proxy(provider, environ), resolve_certificate(provider)):
            digest.update(key.secret.fingerprint() if isinstance(key, Resolved) else repr(key).encode())
        for _, path in authority_files(provider):
            try:
                data = read_bytes(path, MAX_CA_BYTES)
            except (OSError, ValueError):
                data = b""
            digest.update(hashlib.sha256(data).digest())
    return digest.digest()
