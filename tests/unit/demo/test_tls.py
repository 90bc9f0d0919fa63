"""A simulator behind TLS, as the gateway meets real vendors."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from control_plane.demo.simulators import Fault, Simulator


@pytest.fixture
async def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for vendor.test, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=vendor.test"]
    words += ["-addext", "subjectAltName=DNS:vendor.test", "-keyout", str(key), "-out", str(certificate)]
    made = await asyncio.create_subprocess_exec(openssl, *words, stderr=asyncio.subprocess.DEVNULL)
    assert await made.wait() == 0
    return certificate, key


async def test_tls_answers_and_faults(certificate: tuple[Path, Path]) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with Simulator("openai", tls=serving) as simulator:
        assert simulator.url.startswith("https://")

        async def status() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port, ssl=trusting, server_hostname="vendor.test")
            writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer any\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer.split(b"\r\n")[0]

        assert await status() == b"HTTP/1.1 200 OK"
        simulator.fault = Fault(mode="status", status=529)
        assert await status() == b"HTTP/1.1 529 Overloaded"
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", simulator.port, ssl=trusting, server_hostname="other.test")
        simulator.fault = Fault(mode="refuse")
        with pytest.raises(ConnectionRefusedError):
            await status()
        await simulator.heal()
        assert await status() == b"HTTP/1.1 200 OK"
