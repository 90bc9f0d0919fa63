"""The specs of a scene, as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from control_plane.demo.drills.stage import Vendor

CONNECT_S: Final = 0.5
PRESETS: Final = {"openai": "openai", "anthropic": "anthropic", "local": "openai-compatible"}


def provider(vendor: Vendor, dns_port: int, authority: Path) -> str:
    """A Provider. By DNS its name is asked of the drill's own server; by TLS it is behind its proxy, under a name of its own."""
    port = vendor.simulator.port
    lines = []
    if vendor.link == "tls" and vendor.proxy is not None:
        base = f"https://{vendor.host}"
        lines = [f"tls: {{caFile: {authority}}}", f'egress: {{addresses: ["127.0.0.1:{vendor.proxy.port}"]}}']
    elif vendor.link == "dns":
        base = f"http://{vendor.host}:{port}"
        lines = [f'egress: {{dns: {{respectTtl: true, family: ipv4, failureRefresh: 1s, servers: ["127.0.0.1:{dns_port}"]}}}}']
    else:
        base = f"http://127.0.0.1:{port}"
    keys = ", ".join(f"{{secretRef: {{env: {name}}}}}" for name in vendor.variables)
    more = "".join(f"  {line}\n" for line in lines)
    return f"""---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {vendor.name}}}
spec:
  preset: {PRESETS[vendor.kind]}
  baseUrl: "{base}/v1"
  allowInsecure: true
  credentials: [{keys}]
{more}"""


def route(name: str, plan: Sequence[tuple[str, str]], first_token_s: float) -> str:
    """A ModelRoute; `plan` is (provider, model) in order. The idle timer is above all attempts' timers together."""
    connect, first, idle = (int(s * 1000) for s in (CONNECT_S, first_token_s, len(plan) * (first_token_s + CONNECT_S) + 1))
    groups = ", ".join(f"{{targets: [{{provider: {p}, model: {m}}}]}}" for p, m in plan)
    return f"""---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  dialects: [openai-chat, anthropic-messages]
  plan: [{groups}]
  timeouts: {{connect: {connect}ms, firstToken: {first}ms, idle: {idle}ms, total: 2m}}
  firstEventHold: true
"""
