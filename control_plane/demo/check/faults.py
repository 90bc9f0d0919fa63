"""What a gateway must do while a vendor is broken: serve from the other vendor, or end honestly once content went out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from control_plane.demo.check.cases import ROUTES, Case, Work, served_by
from control_plane.demo.check.clients import CLIENTS, Client, Failed
from control_plane.demo.control_client import ControlClient
from control_plane.demo.simulators import Fault

OTHER: Final = {"openai": "anthropic", "anthropic": "openai", "gemini": "openai"}
"""Vendor → who serves when it cannot."""
LANES: Final = ("passthrough", "translation")
FAILOVER_LIMIT_S: Final = 6.0  # the demo's connect (0.5 s) and first-token (1.5 s) timers, and room for a slow machine
RECOVERY_LIMIT_S: Final = 45.0  # Envoy may have ejected the vendor for 30 s

_BEFORE_CONTENT: Final[tuple[tuple[str, Fault], ...]] = (
    ("answers 500", Fault(mode="status", status=500)),
    ("answers 503", Fault(mode="status", status=503)),
    ("answers 529", Fault(mode="status", status=529)),
    ("answers 503 before reading the body", Fault(mode="status", status=503, early=True)),
    ("answers 429 with a reset header", Fault(mode="status", status=429, retry_after_s=20)),
    ("answers 401 (dead key)", Fault(mode="status", status=401)),
    ("refuses connections", Fault(mode="refuse")),
    ("resets connections", Fault(mode="reset")),
    ("cannot be connected to", Fault(mode="unconnectable")),
    ("black-holes", Fault(mode="black_hole")),
    ("is too slow to answer", Fault(mode="latency", delay_ms=10_000)),
    ("sends headers and no event", Fault(mode="late_first_event", delay_ms=10_000)),
    ("sends an error inside a 200", Fault(mode="error_event", status=529)),
)

_UNREADABLE: Final[tuple[tuple[str, Fault], ...]] = (
    ("sends garbage", Fault(mode="garbage")),
    ("sends an HTML page", Fault(mode="html")),
    ("sends nothing with a 200", Fault(mode="empty")),
)
"""Only the translation lane reads answers; the other passes them on as they are."""

_AFTER_CONTENT: Final[tuple[tuple[str, Fault], ...]] = (
    ("resets in mid-stream", Fault(mode="cut", after=3, how="rst")),
    ("hangs up in mid-stream", Fault(mode="cut", after=3, how="fin")),
    ("ends early in mid-stream", Fault(mode="cut", after=3, how="clean")),
    ("sends an error in mid-stream", Fault(mode="error_event", status=529, after=3)),
)


def fault_cases(base_url: str, control: ControlClient) -> Iterator[Case]:
    """Every fault at every vendor. Each case breaks, asks over both lanes at once, and heals."""
    for vendor in OTHER:
        for what, fault in _BEFORE_CONTENT:
            yield Case(f"{vendor} {what}", _fails_over(base_url, control, vendor, fault, LANES))
        for what, fault in _UNREADABLE:
            yield Case(f"{vendor} {what}, translated", _fails_over(base_url, control, vendor, fault, ("translation",)))
        for what, fault in _AFTER_CONTENT:
            yield Case(f"{vendor} {what}", _ends_honestly(base_url, control, vendor, fault))
        yield Case(f"{vendor} stalls behind heartbeats, then is healed", _stall(base_url, control, vendor))
    yield Case("model names that differ per target survive a failover", _names(base_url, control))
    for vendor in OTHER:
        yield Case(f"{vendor} is healed and serves again", _recovers(base_url, control, vendor))


def _clients(vendor: str, lanes: tuple[str, ...]) -> list[tuple[str, Client]]:
    """The clients whose requests to `vendor` go over these lanes."""
    return [(lane, client) for client in CLIENTS if (lane := LANES[client.vendor != vendor]) in lanes]


def _straightest(vendor: str) -> tuple[str, Client]:
    """A client of the vendor's own dialect, over the passthrough lane, where there is one."""
    return min(_clients(vendor, LANES), key=lambda found: LANES.index(found[0]))


def _fails_over(base_url: str, control: ControlClient, vendor: str, fault: Fault, lanes: tuple[str, ...]) -> Work:
    """Both lanes, whole and streamed, at once: all are answered by the other vendor, completely."""
    name, _ = ROUTES[vendor]
    other = OTHER[vendor]

    async def one(lane: str, client: Client, stream: bool) -> str | None:
        try:
            answer, _ = await client.ask(base_url, name, "who answers?", stream=stream, timeout_s=FAILOVER_LIMIT_S)
            said = client.read(answer, stream=stream)
            served_by(said.text, other, ROUTES[other][1])
            if not said.whole:
                raise Failed("the terminal event is missing")
        except (Failed, ValueError, KeyError) as error:
            return f"{lane}, {'streamed' if stream else 'whole'}: {error}"
        return None

    async def work() -> None:
        await control.break_vendor(vendor, fault)
        try:
            found = await asyncio.gather(
                *(one(lane, client, stream) for lane, client in _clients(vendor, lanes) for stream in (False, True))
            )
        finally:
            await control.heal(vendor)
        if problems := [problem for problem in found if problem]:
            raise Failed("; ".join(problems))

    return work


def _ends_honestly(base_url: str, control: ControlClient, vendor: str, fault: Fault) -> Work:
    """Content went out, so nothing is retried; but the client must be able to see that the answer is not whole."""

    async def work() -> None:
        await control.break_vendor(vendor, fault)
        try:
            for lane, client in _clients(vendor, LANES):
                answer, _ = await client.ask(base_url, ROUTES[vendor][0], "count [[sim tokens=30 delay_ms=5 reasoning=0]]", stream=True)
                if answer.status != 200:
                    raise Failed(f"{lane}: status {answer.status}: {answer.body[:200]!r}")
                ended = b"message_stop" in answer.body or b"event: response.completed" in answer.body
                if ended or (b"[DONE]" in answer.body and b'"error"' not in answer.body):
                    raise Failed(f"{lane}: the answer looks whole: ...{answer.body[-300:]!r}")
                if lane == "translation" and fault.how != "clean" and answer.ended == "complete" and b'"error"' not in answer.body:
                    raise Failed(f"{lane}: ended without an error event: ...{answer.body[-300:]!r}")
        finally:
            await control.heal(vendor)

    return work


def _stall(base_url: str, control: ControlClient, vendor: str) -> Work:
    """A client that loses patience with a stalled stream gets content first, and the vendor sees it go."""

    async def work() -> None:
        await control.break_vendor(vendor, Fault(mode="stall", after=3, heartbeat_ms=100))
        _, client = _straightest(vendor)
        before = (await control.state())[vendor]["stats"]["cancelled"]
        try:
            answer, _ = await client.ask(base_url, ROUTES[vendor][0], "count [[sim tokens=30]]", stream=True, timeout_s=1.0)
            if answer.status != 200 or answer.ended != "timeout" or not answer.body:
                raise Failed(f"expected a stream that stalls, got status {answer.status}, ended {answer.ended}")
            for _ in range(40):
                if (await control.state())[vendor]["stats"]["cancelled"] > before:
                    return
                await asyncio.sleep(0.05)
            raise Failed("the client left and the vendor's stream went on")
        finally:
            await control.heal(vendor)

    return work


def _names(base_url: str, control: ControlClient) -> Work:
    """A translated first attempt, then one of two passthrough targets: each must be asked for its own model."""

    async def work() -> None:
        await control.break_vendor("anthropic", Fault(mode="status", status=503))
        speakers = set()
        try:
            for _ in range(20):
                answer, _ = await CLIENTS[0].ask(base_url, "thrifty", "hello", stream=False)
                speakers.add(CLIENTS[0].read(answer, stream=False).text.split(" ")[0])
        finally:
            await control.heal("anthropic")
        if speakers != {"openai/gpt-4o-mini", "local/llama-3.3-70b"}:
            raise Failed(f"20 requests were answered by {sorted(speakers)}")

    return work


def _recovers(base_url: str, control: ControlClient, vendor: str) -> Work:
    async def work() -> None:
        await control.heal()
        name, upstream = ROUTES[vendor]
        _, client = _straightest(vendor)
        try:
            async with asyncio.timeout(RECOVERY_LIMIT_S):
                while True:
                    answer, _ = await client.ask(base_url, name, "who answers?", stream=False)
                    said = client.read(answer, stream=False)
                    if said.text.startswith(f"{vendor}/{upstream} "):
                        return
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise Failed(f"{RECOVERY_LIMIT_S:.0f} s after healing others still answer") from None

    return work
