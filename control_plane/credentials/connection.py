"""What a connection to a provider signs in with and trusts, below HTTP: the proxy's user and password, the client certificate and its
key, the certificates of authorities.

Nothing raises here, and no text that leaves this module holds a secret.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from control_plane.credentials.resolve import Missing, Resolution, Resolved, resolve_ref
from control_plane.credentials.secret import Secret
from control_plane.spec.load import read_bytes
from control_plane.spec.models import Provider

MAX_CA_BYTES: Final = 4 * 1024**2  # the usual system bundle has 0.2 MB
MAX_PEM_BYTES: Final = 256 * 1024  # a chain of ten certificates has 20 KB
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.+?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.DOTALL)
_FIX: Final = "give a PEM chain, own certificate first, and its unencrypted PEM key"
_CA_FIX: Final = "give a file with PEM certificates, relative to the spec file"


def resolve_proxy(provider: Provider, environ: Mapping[str, str] | None = None) -> Resolution | None:
    """What goes after "Basic " to the provider's proxy. None for a provider without a proxy that asks for it."""
    proxy = provider.spec.egress.proxy
    if proxy is None or proxy.credentials is None:
        return None
    found = resolve_ref(proxy.credentials.secret_ref, provider, environ)
    if isinstance(found, Missing):
        return found
    assert isinstance(found.secret, Secret)
    text = found.secret.reveal()
    if ":" not in text:
        return Missing(f"{_subject(found.source)} is not user:password", "write user and password, with a colon between them", found.source)
    return Resolved(Secret(base64.b64encode(text.encode()).decode()), found.source)


def _subject(source: str) -> str:
    kind, _, name = source.partition(" ")
    return f"{'environment variable' if kind == 'env' else 'secret file'} {name}"


def resolve_certificate(provider: Provider) -> Resolution | None:
    """The client certificate's chain and its key, one text that `split_certificate` takes apart. None for a provider without one."""
    tls = provider.spec.tls
    if tls.cert_file is None or tls.key_file is None:
        return None
    certificate, key = provider.resolve_path(tls.cert_file), provider.resolve_path(tls.key_file)
    source = f"file {certificate}"
    texts = []
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            data = read_bytes(path, MAX_PEM_BYTES)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            return Missing(f"{what} file {path} cannot be read: {(reason or 'not a regular file').lower()}", _FIX, source)
        if len(data) > MAX_PEM_BYTES:
            return Missing(f"{what} file {path} is larger than {MAX_PEM_BYTES // 1024} KiB", _FIX, source)
        texts.append(data.decode("latin-1"))
    chain, keys = _CERTIFICATE.findall(texts[0]), _KEY.findall(texts[1])
    if not chain:
        return Missing(f"certificate file {certificate} holds no PEM certificate", _FIX, source)
    if len(keys) != 1:
        return Missing(f"key file {key} holds {'no' if not keys else 'more than one'} PEM private key", _FIX, source)
    if "ENCRYPTED" in keys[0]:
        return Missing(f"the key in {key} is encrypted", _FIX, source)
    if (problem := _mismatch(certificate, key)) is not None:
        return Missing(problem, _FIX, source)
    return Resolved(Secret("\n".join([*chain, keys[0]]) + "\n"), source)


def _mismatch(certificate: Path, key: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key} is not that of the certificate in {certificate}"
        return f"certificate {certificate} or key {key} cannot be used: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    except OSError as error:
        return f"certificate {certificate} or key {key} cannot be read: {(error.strerror or 'unknown').lower()}"
    return None


def split_certificate(value: Secret) -> tuple[str, Secret]:
    """The chain, which everybody may see, and the key."""
    text = value.reveal()
    return "\n".join(_CERTIFICATE.findall(text)) + "\n", Secret(_KEY.findall(text)[0] + "\n")


def authority_files(provider: Provider) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Every CA file of a provider, and where it is written: its own and its proxy's."""
    proxy, tls = provider.spec.egress.proxy, provider.spec.tls
    if tls.ca_file is not None:
        yield ("spec", "tls", "caFile"), provider.resolve_path(tls.ca_file)
    if proxy is not None and proxy.ca_file is not None:
        yield ("spec", "egress", "proxy", "caFile"), provider.resolve_path(proxy.ca_file)


def resolve_authorities(path: Path) -> Resolution:
    """The text of a CA file. What it holds beside certificates, such as revocation lists, stays in; private keys do not."""
    subject, source = f"CA file {path}", f"file {path}"
    try:
        data = read_bytes(path, MAX_CA_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return Missing(f"{subject} cannot be read: {(reason or 'not a regular file').lower()}", _CA_FIX, source)
    if len(data) > MAX_CA_BYTES:
        return Missing(f"{subject} is larger than {MAX_CA_BYTES // 1024**2} MiB", _CA_FIX, source)
    text = data.decode("latin-1")
    found = _CERTIFICATE.findall(text)
    if not found:
        return Missing(f"{subject} holds no PEM certificate", _CA_FIX, source)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(found))
    except (ssl.SSLError, ValueError):
        return Missing(f"{subject} holds a certificate that cannot be read", _CA_FIX, source)
    return Resolved(Secret(_KEY.sub("", text)), source)
