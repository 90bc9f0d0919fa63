"""A whole gateway (`headgate up`'s process tree) on simulated vendors, driven from blocking test code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from control_plane.app.supervisor import GatewayProcess
from control_plane.demo.fault_proxy import FaultProxy
from control_plane.demo.simulators import Fault, Simulator

T = TypeVar("T")

# Breakers are off: these tests break vendors to see what one request does then; test_breakers.py has what comes after a second.
SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: openai}}
spec:
  {{preset: openai, baseUrl: "{openai}/v1", allowInsecure: true, breaker: {{enabled: false}},
  credentials: [{{secretRef: {{env: SIM_OPENAI_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: anthropic}}
spec:
  {{preset: anthropic, baseUrl: "{anthropic}/v1", allowInsecure: true, breaker: {{enabled: false}},
  credentials: [{{secretRef: {{env: SIM_ANTHROPIC_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: local}}
spec:
  {{preset: openai-compatible, baseUrl: "{local}/v1", allowInsecure: true, breaker: {{enabled: false}},
  credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""

ANSWERS = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: answers}}
spec:
  preset: openai
  baseUrl: "{openai}/v1"
  allowInsecure: true
  breaker: {{enabled: false}}
  dialects: [openai-responses]
  credentials: [{{secretRef: {{env: SIM_OPENAI_KEY}}}}]
"""
"""The first vendor again, as a provider that speaks Responses only."""

GEMINI = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: gemini}}
spec:
  {{preset: gemini, baseUrl: "{gemini}/v1beta", allowInsecure: true, breaker: {{enabled: false}},
  credentials: [{{secretRef: {{env: SIM_GEMINI_KEY}}}}]}}
"""
"""Only where a route names it."""

BEDROCK = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: bedrock}}
spec:
  {{preset: bedrock, baseUrl: "{bedrock}", allowInsecure: true, breaker: {{enabled: false}},
  credentials: [{{secretRef: {{env: SIM_BEDROCK_KEY}}}}]}}
"""
"""Only where a route names it."""

BEDROCK_CLAUDE = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: bedrock-claude}}
spec:
  preset: bedrock
  baseUrl: "{bedrock}"
  allowInsecure: true
  breaker: {{enabled: false}}
  dialects: [anthropic-bedrock]
  credentials: [{{secretRef: {{env: SIM_BEDROCK_KEY}}}}]
"""
"""The same vendor, as a provider of Claude in Anthropic's own words."""

VERTEX = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: vertex}}
spec:
  preset: vertex
  baseUrl: "{vertex}/v1/projects/p-1/locations/eu"
  allowInsecure: true
  breaker: {{enabled: false}}
  credentials: [{{secretRef: {{env: SIM_VERTEX_KEY}}}}]
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: vertex-claude}}
spec:
  preset: vertex
  baseUrl: "{vertex}/v1/projects/p-1/locations/eu"
  allowInsecure: true
  breaker: {{enabled: false}}
  dialects: [anthropic-vertex]
  credentials: [{{secretRef: {{env: SIM_VERTEX_KEY}}}}]
"""
"""Only where a route names one of them."""

COHERE = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: cohere}}
spec:
  {{preset: cohere, baseUrl: "{cohere}/v2", allowInsecure: true, breaker: {{enabled: false}},
  credentials: [{{secretRef: {{env: SIM_COHERE_KEY}}}}]}}
"""
"""Only where a route names it."""

_RANKER = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: NAME}}
spec: {{preset: PRESET, baseUrl: "BASE", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_RANKER_KEY}}}}]}}
"""


def _ranker(name: str, preset: str, path: str) -> str:
    return _RANKER.replace("NAME", name).replace("PRESET", preset).replace("BASE", f"{{{name}}}{path}")


RANKERS: dict[Literal["voyage", "tei", "sglang", "nvidia"], str] = {
    "voyage": _ranker("voyage", "voyage", "/v1"),
    "tei": _ranker("tei", "tei", ""),
    "sglang": _ranker("sglang", "sglang", "/v1"),
    "nvidia": _ranker("nvidia", "nim-rerank", "/v1"),
}
"""Only where a route names them."""

ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan:
{plan}
  timeouts: {{connect: 500ms, firstToken: {first_token}, idle: 20s, total: 2m}}
  firstEventHold: {hold}
"""

KEYS = {"SIM_OPENAI_KEY": "sk-canary-openai-4711", "SIM_ANTHROPIC_KEY": "sk-ant-canary-4712", "SIM_LOCAL_KEY": "canary-local-4713"}
GEMINI_KEYS = {"SIM_GEMINI_KEY": "AIza-canary-gemini-4714"}
BEDROCK_KEYS = {"SIM_BEDROCK_KEY": "bedrock-api-key-canary-4715"}
VERTEX_KEYS = {"SIM_VERTEX_KEY": "ya29.canary-vertex-4716"}
RANKER_KEYS = {"SIM_RANKER_KEY": "canary-ranker-4717"}
COHERE_KEYS = {"SIM_COHERE_KEY": "canary-cohere-4715"}
MODELS = {
    "openai": "gpt-5",
    "anthropic": "claude-sonnet-5",
    "local": "llama-3.3-70b",
    "gemini": "gemini-2.5-flash",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "bedrock-claude": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "vertex": "gemini-2.5-flash",
    "vertex-claude": "claude-sonnet-4-5@20250929",
    "answers": "gpt-5",
    "cohere": "command-a-03-2025",
}


def route(name: str, *groups: str, first_token: str = "5s", hold: bool = False) -> str:
    """A ModelRoute. Each group is "provider" or "provider:weight,provider:weight"."""
    lines = []
    for group in groups:
        targets = []
        for part in group.split(","):
            provider, _, weight = part.partition(":")
            targets.append(f"{{provider: {provider}, model: {MODELS[provider]}, weight: {weight or 100}}}")
        lines.append(f"    - {{targets: [{', '.join(targets)}]}}")
    return ROUTE.format(name=name, plan="\n".join(lines), first_token=first_token, hold=str(hold).lower())


class Loop:
    """An event loop in a thread of its own, so that blocking SDKs and the gateway can be used side by side."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 60) -> T:
        return self.start(work).result(timeout)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@dataclass
class Rig:
    """The running gateway, its vendors, its spec file, and the proxies between them where it was made with some."""

    loop: Loop
    gateway: GatewayProcess
    vendors: dict[str, Simulator]
    specs: Path
    lines: list[str] = field(default_factory=list)
    proxies: dict[str, FaultProxy] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.gateway.url

    def break_vendor(self, name: str, **fault: Any) -> None:
        """Break a vendor; returns when the fault is in force."""

        async def set_fault() -> None:
            self.vendors[name].fault = Fault(**fault)

        self.loop.run(set_fault())

    def heal(self) -> None:
        """Heal every vendor and forget what they saw."""

        async def heal() -> None:
            for vendor in self.vendors.values():
                await vendor.heal()
                vendor.clear()

        self.loop.run(heal())


RigFactory = Callable[..., Rig]
