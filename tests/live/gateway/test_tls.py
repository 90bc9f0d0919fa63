"""TLS to vendors: the name is sent and verified; a certificate of another name, or an expired one, is a failure that fails over."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from control_plane.app.supervisor import GatewayProcess, Options
from control_plane.demo.simulators import Simulator
from tests.live.gateway import load

PROVIDER = """---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  preset: openai-compatible
  baseUrl: "https://{host}:{port}/v1"
  allowInsecure: true
  credentials: [{{secretRef: {{env: TLS_TEST_KEY}}}}]
  tls: {{caFile: ca.pem}}
"""
ROUTE = """---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  dialects: [openai-chat]
  plan: [{{targets: [{{provider: {first}, model: m}}]}}, {{targets: [{{provider: good, model: m}}]}}]
  timeouts: {{connect: 2s, firstToken: 5s, idle: 20s}}
"""


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """A CA, and a certificate for each name; the one called expired ended yesterday."""
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "30",
        "-subj",
        "/CN=test ca",
        cwd=folder,
    )
    for name, host in (("good", "good.localhost"), ("wrong", "another.localhost"), ("expired", "expired.localhost")):
        run(
            "openssl",
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={host}",
            cwd=folder,
        )
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
        days = "-1" if name == "expired" else "30"
        sign = [
            "openssl",
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            f"{name}.pem",
        ]
        run(*sign, "-days", days, "-extfile", f"{name}.ext", cwd=folder)


def server(folder: Path, name: str, seen: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    context.sni_callback = lambda _socket, host, _context: seen.append(host)
    return context


async def test_names_are_verified_and_failures_fail_over(tmp_path: Path) -> None:
    certificates(tmp_path)
    names: list[str | None] = []
    vendors = {
        n: Simulator("openai", name=n, models=["m"], keys=["k-tls"], tls=server(tmp_path, n, names)) for n in ("good", "wrong", "expired")
    }
    for vendor in vendors.values():
        await vendor.__aenter__()
    try:
        specs = "".join(PROVIDER.format(name=n, host=f"{n}.localhost", port=v.port) for n, v in vendors.items())
        specs += "".join(ROUTE.format(name=f"{n}-first", first=n) for n in vendors)
        (tmp_path / "specs.yaml").write_text(specs)
        options = Options(
            specs=(tmp_path / "specs.yaml",),
            listen=("127.0.0.1", 0),
            admin=("127.0.0.1", 0),
            state=tmp_path / "state",
            translators=1,
            concurrency=1,
            drain_s=1,
            env={"TLS_TEST_KEY": "k-tls"},
        )
        async with GatewayProcess(options, print) as gateway:
            for first, attempts in (("good", 1), ("wrong", 2), ("expired", 2)):
                (answer,) = await load.run(gateway.url, 1, 1, lambda _, first=first: load.chat(f"{first}-first"))  # type: ignore[misc]
                assert load.served(answer) is None, first
                assert answer.attempts == attempts, first
                assert answer.headers["x-headgate-target"] == "good/m"
        assert {"good.localhost", "wrong.localhost", "expired.localhost"} <= set(names)
        assert not vendors["wrong"].requests
        assert not vendors["expired"].requests
    finally:
        for vendor in vendors.values():
            await vendor.__aexit__(None, None, None)
