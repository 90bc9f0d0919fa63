"""The control endpoint: breaks and heals simulators from other processes. Loopback only, JSON in and out.

GET /state · GET /requests/{name}?last=20 · PUT /fault/{name} (a Fault) · DELETE /fault[/{name}] · POST /clear
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import parse_qs

import msgspec

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import Connection, HttpRequest, head_bytes
from control_plane.demo.simulators.listening import Port
from control_plane.demo.simulators.record import Recorded
from control_plane.demo.simulators.simulator import Simulator

REQUESTS_SHOWN: Final = 20  # unless ?last= asks for another number
_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")  # what a browser on another site's behalf would not send


class Refused(Exception):
    """A control request that cannot be done; the text says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def describe(simulator: Simulator) -> dict[str, Any]:
    """State of one simulator: address, fault, counters."""
    return {
        "vendor": simulator.vendor,
        "url": simulator.url,
        "port": simulator.port,
        "models": simulator.models,
        "fault": None if simulator.fault is None else msgspec.to_builtins(simulator.fault),
        "stats": simulator.stats.as_dict(),
    }


class ControlServer:
    """`async with ControlServer({"openai": sim}) as control:` → `control.url`."""

    def __init__(self, simulators: Mapping[str, Simulator], host: str = "127.0.0.1", port: int = 0) -> None:
        self._simulators = dict(simulators)
        self._connections: set[Connection] = set()
        self._port = Port(host, port, lambda: Connection(self), None)
        self._host = host

    async def __aenter__(self) -> Self:
        await self._port.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._port.close()
        for connection in list(self._connections):
            connection.stop()

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    # what connections call

    def connected(self, connection: Connection) -> bool:
        self._connections.add(connection)
        return True

    def disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def head(self, connection: Connection, request: HttpRequest) -> bool:
        return False

    def request(self, connection: Connection, request: HttpRequest) -> None:
        connection.spawn(self._answer(connection, request))

    async def _answer(self, connection: Connection, request: HttpRequest) -> None:
        try:
            status, document = 200, await self._do(request)
        except Refused as error:
            status, document = error.status, {"error": str(error)}
        body = msgspec.json.encode(document)
        connection.write(head_bytes(status, "application/json", b"", len(body)) + body)

    async def _do(self, request: HttpRequest) -> Any:
        if request.headers.get("host", "").rsplit(":", 1)[0] not in _HOSTS:
            raise Refused(403, "the control endpoint answers to loopback names only")
        action, _, name = request.path.strip("/").partition("/")
        match request.method, action:
            case "GET", "state":
                return {name: describe(simulator) for name, simulator in self._simulators.items()}
            case "GET", "requests":
                last = parse_qs(request.query).get("last", [str(REQUESTS_SHOWN)])[0]
                count = int(last) if last.isdecimal() else REQUESTS_SHOWN
                return [_show(recorded) for recorded in list(self._named(name).requests)[-count:]]
            case "PUT", "fault":
                simulator = self._named(name)
                simulator.fault = _fault(request.body)
                return describe(simulator)
            case "DELETE", "fault":
                for simulator in [self._named(name)] if name else self._simulators.values():
                    await simulator.heal()
                return {name: describe(simulator) for name, simulator in self._simulators.items()}
            case "POST", "clear":
                for simulator in self._simulators.values():
                    simulator.clear()
                return {}
        raise Refused(
            404, f"no {request.method} {request.path}; there are GET /state, GET /requests/NAME, PUT|DELETE /fault/NAME, POST /clear"
        )

    def _named(self, name: str) -> Simulator:
        try:
            return self._simulators[name]
        except KeyError:
            raise Refused(404, f"no vendor {name!r}; there are {', '.join(self._simulators)}") from None


def _fault(body: bytes) -> Fault:
    try:
        return msgspec.json.decode(body, type=Fault)
    except ValueError as error:  # msgspec's errors name the field
        raise Refused(400, f"not a fault: {error}") from None


def _show(recorded: Recorded) -> dict[str, Any]:
    return {
        "number": recorded.number,
        "method": recorded.method,
        "path": recorded.path,
        "key": recorded.key,
        "model": recorded.model,
        "stream": recorded.stream,
        "size": recorded.size,
        "body_hash": recorded.body_hash,
        "status": recorded.status,
        "fault": recorded.fault,
        "outcome": recorded.outcome,
        "headers": recorded.headers,
    }
