"""Certificates made by openssl: an authority, servers and clients, and what is wrong with some of them."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

from control_plane.kit.errors import SpecError


def _run(folder: Path, *command: str) -> None:
    if shutil.which("openssl") is None:
        raise SpecError("certificates are made by the program openssl, which is not on the path; install the package openssl")
    subprocess.run(("openssl", *command), cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str = "ca") -> None:
    """`name`.pem and `name`.key."""
    _run(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _run(folder, "req", "-x509", "-new", "-key", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj", f"/CN=test {name}")


def certificate(folder: Path, name: str, host: str, ca: str = "ca", *, days: int = 30) -> None:
    """`name`.pem and `name`.key, for the DNS name `host`; with negative `days` it has expired."""
    _run(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _run(folder, "req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
    (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
    signed = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", str(days), "-extfile", f"{name}.ext")
    _run(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


def server(folder: Path, name: str, clients: str | None = None, alpn: tuple[str, ...] = (), *, resumes: bool = True) -> ssl.SSLContext:
    """A server's context; with `clients` it asks for a certificate of that authority. Without `resumes` every handshake is a full one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if clients is not None:
        context.load_verify_locations(folder / f"{clients}.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if not resumes:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def self_signed(folder: Path, name: str, host: str) -> None:
    """`name`.pem and `name`.key, for the DNS name `host`, signed by itself."""
    _run(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    request = ("-x509", "-new", "-key", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj", f"/CN={host}")
    _run(folder, "req", *request, "-addext", f"subjectAltName=DNS:{host}")
