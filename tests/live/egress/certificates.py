"""Certificates by openssl: an authority, servers and clients."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def _run(folder: Path, *command: str) -> None:
    subprocess.run(("openssl", *command), cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str = "ca") -> None:
    """`name`.pem and `name`.key."""
    _run(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _run(folder, "req", "-x509", "-new", "-key", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj", f"/CN=test {name}")


def certificate(folder: Path, name: str, host: str, ca: str = "ca") -> None:
    """`name`.pem and `name`.key, for the DNS name `host`."""
    _run(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _run(folder, "req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
    (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
    signed = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext")
    _run(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


def server(folder: Path, name: str, clients: str | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A server's context; with `clients` it asks for a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if clients is not None:
        context.load_verify_locations(folder / f"{clients}.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
