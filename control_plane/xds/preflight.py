"""Asks the real Envoy, in `--mode validate`, whether it would take resources, before any node sees them.

The candidates become a static bootstrap in binary protobuf (`.pb`), put together from their own bytes:

    clusters, listeners  as they are (without secrets where Envoy 1.40 crashes on them: in static clusters)
    endpoints            in a static cluster each
    routes               in a listener each, with an HTTP connection manager (`validate_clusters: false`: clusters come by CDS)
    scopes               inline in one listener, each with an empty route table
    extension configs    as HTTP filters of one listener
    secrets              left out by the caller: their values must not be written to a file

Validate mode opens no ports, resolves no names and contacts nobody. Unlike over ADS, unknown fields are errors there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from control_plane.kit.errors import GatewayError
from control_plane.pb.core_pb2 import TypedExtensionConfig
from control_plane.xds import wire
from control_plane.xds.resource import CDS, ECDS, EDS, LDS, RDS, SRDS, Ref, Resource
from control_plane.xds.subscription import names_resource

_T: Final = "type.googleapis.com/"
_HCM: Final = _T + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER: Final = _T + "envoy.extensions.filters.http.router.v3.Router"
CHECKED: Final = frozenset({CDS, EDS, LDS, RDS, SRDS, ECDS})
_PER_SECOND: Final = 1_000  # resources for which each further second is given; Envoy checks some 2,500 in one on an idle core
_MAX_TEXT: Final = 800  # characters of Envoy's error that are kept
_NODE: Final = wire.field(1, wire.field(1, "preflight") + wire.field(2, "preflight"))


class PreflightUnavailable(GatewayError):
    """Envoy could not be asked (it cannot be started, or did not answer in time). Says nothing about the candidates."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Envoy refuses: its text, and the refused resources as far as they could be told apart (else empty)."""

    text: str
    culprits: tuple[tuple[Ref, str], ...] = ()
    """((type, name), Envoy's text for that one)."""


class Validate(Protocol):
    """None: all candidates are fine. Raises PreflightUnavailable."""

    async def __call__(self, candidates: Sequence[Resource]) -> Rejection | None: ...


class Preflight:
    """Runs the binary: about 45 ms for a few resources; one run when all is well, about 2·log2(n) more per culprit.

    A run may take `timeout_s`, and a second more for every thousand resources.
    """

    def __init__(self, envoy: Path, *, timeout_s: float = 15.0, max_runs: int = 64, work_dir: Path | None = None) -> None:
        self._envoy, self._timeout_s, self._max_runs, self._work_dir = envoy, timeout_s, max_runs, work_dir

    async def __call__(self, candidates: Sequence[Resource]) -> Rejection | None:
        """Check `candidates` together, then find the bad ones. Raises PreflightUnavailable."""
        askable = [resource for resource in candidates if resource.type_url in CHECKED]
        if not askable:
            return None
        text = await self.run(askable)
        if text is None:
            return None
        budget = [self._max_runs]
        culprits = await self._accused(askable, text, budget)
        if culprits is None:
            culprits = await self._search(askable, text, budget)
        return Rejection(text, tuple(culprits))

    async def run(self, candidates: Sequence[Resource]) -> str | None:
        """Envoy's error text for these candidates together, or None. Raises PreflightUnavailable."""
        limit_s = self._timeout_s + len(candidates) // _PER_SECOND
        with tempfile.TemporaryDirectory(prefix="preflight-", dir=self._work_dir) as folder:
            path = Path(folder) / "bootstrap.pb"
            path.write_bytes(bootstrap(candidates))
            command = (str(self._envoy), "--mode", "validate", "--config-path", str(path), "--log-level", "error", "--use-dynamic-base-id")
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
                )
            except OSError as error:
                raise PreflightUnavailable(f"cannot start {self._envoy} for pre-flight: {error.strerror}") from error
            try:
                async with asyncio.timeout(limit_s):
                    _, errors = await process.communicate()
            except TimeoutError:
                raise PreflightUnavailable(f"Envoy did not finish its pre-flight within {limit_s:g} s") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
            return None if process.returncode == 0 else _clean(errors.decode(errors="replace"), process.returncode or 0)

    async def _accused(self, candidates: Sequence[Resource], text: str, budget: list[int]) -> list[tuple[Ref, str]] | None:
        """The candidates that the text names, if they are all that is wrong."""
        named = [r for r in candidates if len(candidates) == 1 or names_resource(r.type_url, text, r.name)]
        if not 0 < len(named) <= 4:
            return None
        found = []
        for resource in named:
            budget[0] -= 1
            if (own := await self.run([resource])) is not None:
                found.append((resource.key, own))
        rest = [r for r in candidates if r.key not in {key for key, _ in found}]
        return found if found and (not rest or await self.run(rest) is None) else None

    async def _search(self, candidates: Sequence[Resource], text: str, budget: list[int]) -> list[tuple[Ref, str]]:
        """Halve what is known to fail until single resources fail by themselves."""
        if len(candidates) == 1:
            return [(candidates[0].key, text)]
        found = []
        half = len(candidates) // 2
        for part in (candidates[:half], candidates[half:]):
            if budget[0] <= 0:
                break
            budget[0] -= 1
            if (own := await self.run(part)) is not None:
                found += await self._search(part, own, budget)
        return found


def bootstrap(candidates: Iterable[Resource]) -> bytes:
    """The serialised Bootstrap that holds `candidates`. Field numbers: see the contract test, which reads the result back."""
    static: list[bytes] = []
    filters: list[bytes] = []
    scopes: list[bytes] = []
    for number, resource in enumerate(candidates, 1):
        if resource.type_url == CDS:
            static.append(wire.field(2, resource.body if resource.checked_as is None else resource.checked_as))
        elif resource.type_url == LDS:
            static.append(wire.field(1, resource.body))
        elif resource.type_url == EDS:
            static.append(_endpoints(resource, number))
        elif resource.type_url == RDS:
            static.append(_routes(resource, number))
        elif resource.type_url == SRDS:
            scopes.append(_scope(resource, number))
        elif resource.type_url == ECDS:
            filters.append(_http_filter(resource))
    if filters:
        static.append(_listener(0, wire.field(4, wire.field(1, "preflight")), b"".join(filters)))
    if scopes:
        key = wire.field(1, wire.field(1, wire.field(1, "x-scope") + wire.field(4, wire.field(1, ";") + wire.field(2, "x"))))
        scoped = wire.field(1, "preflight") + wire.field(2, key) + wire.field(4, b"".join(wire.field(1, scope) for scope in scopes))
        static.append(_listener(0xFFFF, wire.field(31, scoped), b""))
    return _NODE + wire.field(2, b"".join(static))


def _any(type_url: str, body: bytes) -> bytes:
    return wire.any_opening(type_url, len(body)) + body


def _listener(number: int, routing: bytes, filters: bytes) -> bytes:
    """A static listener on an address of its own whose HTTP connection manager has `routing` and `filters`."""
    router = wire.field(5, wire.field(1, "envoy.filters.http.router") + wire.field(4, _any(_ROUTER, b"")))
    manager = wire.field(2, "preflight") + routing + filters + router
    chain = wire.field(3, wire.field(1, "envoy.filters.network.http_connection_manager") + wire.field(4, _any(_HCM, manager)))
    # Not 127.0.0.1: a listener among the candidates may have any address that listeners are given.
    host, port = f"127.255.{number >> 8 & 255}.{number & 255}", wire.varint(3 << 3) + wire.varint(1 + (number >> 16))
    address = wire.field(2, wire.field(1, wire.field(2, host) + port))
    return wire.field(1, wire.field(1, f"preflight-{number}") + address + wire.field(3, chain))


def _endpoints(resource: Resource, number: int) -> bytes:
    one_second = wire.field(4, wire.varint(1 << 3) + wire.varint(1))
    return wire.field(2, wire.field(1, f"preflight-{number}") + one_second + wire.field(33, resource.body))


def _routes(resource: Resource, number: int) -> bytes:
    clusters_come_later = wire.field(7, wire.varint(1 << 3) + wire.varint(0))  # validate_clusters: false
    return _listener(number, wire.field(4, resource.body + clusters_come_later), b"")


def _scope(resource: Resource, number: int) -> bytes:
    by_value = wire.field(2, "") + wire.field(5, wire.field(1, f"preflight-{number}"))  # a table of its own instead of a name
    return resource.body + by_value


def _http_filter(resource: Resource) -> bytes:
    config = TypedExtensionConfig.FromString(resource.body)
    return wire.field(5, wire.field(1, config.name) + wire.field(4, config.typed_config.SerializeToString()))


def _clean(text: str, code: int) -> str:
    """Envoy's reason without its log prefix and the name of our temporary file."""
    text = re.sub(r"^\[[^\n]*?\] error initializing configuration '[^']*': ", "", text.strip())
    text = re.sub(r"\s+", " ", re.sub(r"goo\.gle/debug\w*", "", text)).strip()
    if code < 0:
        text = f"Envoy crashed on this configuration (signal {-code}) {text}".strip()
    return text[:_MAX_TEXT] or f"Envoy refused it without a reason (exit code {code})"
