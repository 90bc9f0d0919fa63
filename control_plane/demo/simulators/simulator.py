"""A simulated vendor on a port of its own, for tests, drills and the demo."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal, Self

from control_plane.demo.simulators.anthropic import Anthropic
from control_plane.demo.simulators.azure import AzureOpenAI
from control_plane.demo.simulators.bedrock import Bedrock
from control_plane.demo.simulators.cohere import Cohere
from control_plane.demo.simulators.delivery import Gone, Pace, deliver, immediate, whole_bytes
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.gemini import Gemini
from control_plane.demo.simulators.http1 import Connection, HttpRequest
from control_plane.demo.simulators.listening import Port
from control_plane.demo.simulators.openai import OpenAI
from control_plane.demo.simulators.rankers import Ranker
from control_plane.demo.simulators.record import Recorded, Stats, fingerprint
from control_plane.demo.simulators.reply import Keys, Reply
from control_plane.demo.simulators.vertex import Vertex

RECORDS_LIMIT: Final = 2048  # requests kept for tests
BODY_LIMIT_BYTES: Final = 65_536  # of each body; 128 MiB in all at worst
CACHED_TOKENS_MINIMUM: Final = 1024  # both vendors cache prompts from here on


class Simulator:
    """`async with Simulator(vendor="openai") as sim:` → `sim.url`, `sim.fault = Fault(mode="status")`, `sim.stats`, `sim.requests`.

    vendor: whose wire. name: what it calls itself in answers; any other name than the vendor's makes it a compatible server
    (accepts unknown parameters, no vendor habits). keys: accepted API keys, None accepts any. models: listed and accepted models,
    None = the vendor's, ("*",) accepts any. strict: refuse what the vendor refuses (unknown parameters, max_tokens and temperature on
    OpenAI's reasoning models, sampling parameters on Anthropic's newest, formats with tools on Gemini's older, thinking on Cohere's that
    do not); by default only under the vendor's own name. pace: how fast answers come. tls: serve TLS with this context.
    """

    def __init__(
        self,
        vendor: Literal[
            "openai", "azure", "anthropic", "gemini", "vertex", "bedrock", "cohere", "voyage", "tei", "sglang", "nvidia"
        ] = "openai",
        *,
        name: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        pace: Pace | None = None,
        strict: bool | None = None,
        reasoning_field: str | None = None,
        minimum_cached_tokens: int = CACHED_TOKENS_MINIMUM,
        keep_body_bytes: int = BODY_LIMIT_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.vendor = vendor
        self.name = name or vendor
        self.host = host
        self.pace = pace or Pace()
        self.stats = Stats()
        self.requests: deque[Recorded] = deque(maxlen=RECORDS_LIMIT)
        self._keep = keep_body_bytes
        self._tls = tls
        self._scheme = "https" if tls else "http"
        self._wire: OpenAI | Anthropic | Gemini | Vertex | Bedrock | Cohere | Ranker
        refuses = self.name == vendor if strict is None else strict
        if vendor == "openai":
            self._wire = OpenAI(self.name, Keys(keys), models, minimum_cached_tokens, refuses, reasoning_field)
        elif vendor == "azure":
            self._wire = AzureOpenAI(self.name, Keys(keys), models, minimum_cached_tokens, refuses, reasoning_field)
        elif vendor == "gemini":
            self._wire = Gemini(self.name, Keys(keys), models, minimum_cached_tokens, refuses)
        elif vendor == "vertex":
            self._wire = Vertex(self.name, Keys(keys), models, minimum_cached_tokens, refuses)
        elif vendor == "bedrock":
            self._wire = Bedrock(self.name, Keys(keys), models, minimum_cached_tokens, refuses)
        elif vendor == "cohere":
            self._wire = Cohere(self.name, Keys(keys), models, minimum_cached_tokens, refuses)
        elif vendor in ("voyage", "tei", "sglang", "nvidia"):
            self._wire = Ranker(vendor, Keys(keys), models)
        else:
            self._wire = Anthropic(self.name, Keys(keys), models, minimum_cached_tokens, refuses)
        self._fault: Fault | None = None
        self._hits = 0
        self._considered = 0
        self._number = 0
        self._connections: dict[Connection, Recorded | None] = {}
        self._opening: asyncio.Task[None] | None = None
        self._port = Port(host, port, lambda: Connection(self), tls)

    # life

    async def __aenter__(self) -> Self:
        await self._port.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        self._port.close()
        tasks = [task for connection in list(self._connections) if (task := connection.stop())]
        if tasks:
            await asyncio.wait(tasks)
        for _ in range(3):  # let the transports close
            await asyncio.sleep(0)

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        """Scheme, host and port; the vendor's paths begin with /v1 (Gemini: /v1beta, Bedrock: /model, Cohere: /v2)."""
        return f"{self._scheme}://{self.host}:{self.port}"

    @property
    def models(self) -> tuple[str, ...]:
        return self._wire.models

    # knobs

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        """Break or heal, from now on; calls under way go on as they are. Healing a closed port takes one turn of the loop."""
        self._fault = fault
        self._hits = self._considered = 0
        mode = None if fault is None else fault.mode
        if mode == "refuse":
            self._port.refuse()
        elif mode == "unconnectable":
            self._port.fill()
        elif self._port.state in ("refusing", "full"):
            self._opening = asyncio.get_running_loop().create_task(self._port.open())
        rate = fault.bytes_per_s if fault is not None and mode == "slow_reader" else 0
        for connection in list(self._connections):
            connection.read_rate = rate
            if mode in ("refuse", "unconnectable", "reset"):
                connection.close_when_idle()

    async def heal(self) -> None:
        """No fault, and the port accepts when this returns."""
        self.fault = None
        if self._opening is not None:
            await self._opening

    def set_keys(self, keys: Sequence[str] | None) -> None:
        """Replace the accepted API keys; revoked ones get the vendor's 401 from the next request on."""
        self._wire.keys = Keys(keys)

    def close_connections(self) -> None:
        """Close every connection, those in use after their answer; new ones are accepted."""
        for connection in list(self._connections):
            connection.close_when_idle()

    def clear(self) -> None:
        """Forget counters and recorded requests; what is in flight stays counted as that."""
        self.stats = Stats(in_flight=self.stats.in_flight, requests=self.stats.in_flight)
        self.requests.clear()

    # what connections call

    def connected(self, connection: Connection) -> bool:
        self._connections[connection] = None
        self.stats.connections += 1
        fault = self._fault
        if fault is not None and fault.mode == "reset":
            connection.reset()
            return False
        if fault is not None and fault.mode == "slow_reader":
            connection.read_rate = fault.bytes_per_s
        return True

    def disconnected(self, connection: Connection) -> None:
        recorded = self._connections.pop(connection, None)
        if recorded is not None:
            self._settle(connection, recorded, "cancelled")

    def head(self, connection: Connection, request: HttpRequest) -> bool:
        """Answers before the body is there, where the fault asks for it."""
        fault = self._fault
        if fault is None or fault.mode != "status" or not fault.early or not self._hit(fault, request, None):
            return False
        recorded = self._record(connection, request, b"")
        self._send_whole(connection, recorded, self._wire.failure(fault), fault)
        return True

    def request(self, connection: Connection, request: HttpRequest) -> None:
        reply = self._wire.answer(request)
        fault = self._fault
        if fault is not None and not self._hit(fault, request, reply):
            fault = None
        recorded = self._record(connection, request, request.body)
        recorded.model, recorded.stream = reply.model, reply.events is not None
        if reply.model is not None:
            self.stats.by_model[reply.model] += 1
        if recorded.stream:
            self.stats.streams += 1
        if fault is not None and fault.mode == "status":
            self._send_whole(connection, recorded, self._wire.failure(fault), fault)
            connection.finish()
        elif immediate(reply, fault, self.pace):
            self._send_whole(connection, recorded, reply, None)
            connection.finish()
        else:
            connection.spawn(self._deliver(connection, recorded, reply, fault))

    # inside

    async def _deliver(self, connection: Connection, recorded: Recorded, reply: Reply, fault: Fault | None) -> None:
        recorded.status = reply.status
        recorded.fault = None if fault is None else fault.mode
        try:
            proper = await deliver(connection, reply, self._wire, self.pace, fault)
        except Gone:
            self._settle(connection, recorded, "broken")
            return
        self._settle(connection, recorded, "answered" if proper else "fault")

    def _send_whole(self, connection: Connection, recorded: Recorded, reply: Reply, fault: Fault | None) -> None:
        recorded.status = reply.status
        recorded.fault = None if fault is None else fault.mode
        connection.write(whole_bytes(reply))
        self._settle(connection, recorded, "answered" if fault is None else "fault")

    def _hit(self, fault: Fault, request: HttpRequest, reply: Reply | None) -> bool:
        """Whether this request is one of those that the fault is meant for; counts it and heals when the count is reached."""
        if fault.path is not None and not request.path.endswith(fault.path):
            return False
        if fault.only is not None and (reply is None or (reply.events is not None) != (fault.only == "stream")):
            return False
        if fault.model is not None and (reply is None or reply.model != fault.model):
            return False
        self._considered += 1
        if int(self._considered * fault.probability) == int((self._considered - 1) * fault.probability):
            return False
        self._hits += 1
        if fault.count is not None and self._hits >= fault.count:
            self._fault = None
        return True

    def _record(self, connection: Connection, request: HttpRequest, body: bytes) -> Recorded:
        headers = request.headers
        key = (
            headers.get("x-api-key")
            or headers.get("api-key")
            or headers.get("x-goog-api-key")
            or headers.get("authorization", "").partition(" ")[2]
        )
        index = self._wire.keys.index(key)
        kept = len(body) <= self._keep
        self._number += 1
        recorded = Recorded(
            number=self._number,
            time_s=time.time(),
            method=request.method,
            path=request.path,
            query=request.query,
            key=f"key-{index}" if index is not None else fingerprint(key) if key else "-",
            size=len(body),
            body=body if kept else None,
            _headers=headers,
            _hash=None if kept else fingerprint(body),
        )
        self.requests.append(recorded)
        self._connections[connection] = recorded
        self.stats.requests += 1
        self.stats.in_flight += 1
        self.stats.by_key[recorded.key] += 1
        return recorded

    def _settle(self, connection: Connection, recorded: Recorded, outcome: str) -> None:
        """Count how a request ended; only the first end counts."""
        if recorded.outcome != "open":
            return
        recorded.outcome = outcome
        self.stats.in_flight -= 1
        if outcome == "answered":
            self.stats.answered += 1
        elif outcome == "cancelled":
            self.stats.cancelled += 1
        else:
            self.stats.faulted += 1
        if recorded.status:
            self.stats.by_status[recorded.status] += 1
        if connection in self._connections:
            self._connections[connection] = None
