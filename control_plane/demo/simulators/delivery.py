"""Puts a reply on the wire at its pace, with a fault in the way if there is one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import LAST_CHUNK, Connection, chunk, head_bytes
from control_plane.demo.simulators.reply import Event, Reply, Vendor

GARBAGE: Final = b"\x00\x9f\x92\x96 upstream connect error or disconnect/reset before headers }{ \xff\xfe\n\n"
HTML: Final = b"<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>\n"
RESET_AFTER_S: Final = 0.03  # an RST throws away what the peer has not read: give it time to read what was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Waits, unless a prompt's directive says otherwise: before a whole answer, before the first content and between events."""

    whole_ms: float = 0.0
    first_ms: float = 0.0
    delay_ms: float = 2.0


class Gone(Exception):
    """The simulator itself ended the connection; nothing may follow on it."""


def immediate(reply: Reply, fault: Fault | None, pace: Pace) -> bool:
    """Whether the answer goes out in one write now, without a task."""
    return fault is None and reply.events is None and not (reply.pace.whole_ms or pace.whole_ms)


def whole_bytes(reply: Reply) -> bytes:
    return head_bytes(reply.status, reply.content_type, reply.headers, len(reply.body)) + reply.body


async def deliver(connection: Connection, reply: Reply, vendor: Vendor, pace: Pace, fault: Fault | None) -> bool:
    """Send `reply`; True when it was sent completely and as meant. Runs in the connection's task, so it ends when the client goes.

    After a fault that breaks the connection this raises Gone.
    """
    if fault is not None and fault.mode == "black_hole":
        await _forever()
    if fault is not None and fault.mode == "latency":
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault is not None and (substitute := _substitute(reply, vendor, fault)) is not None:
        connection.write(whole_bytes(substitute))
        return False
    if reply.events is None:
        return await _whole(connection, reply, vendor, pace, fault)
    return await _Stream(connection, reply, vendor, pace, fault).send()


def _substitute(reply: Reply, vendor: Vendor, fault: Fault) -> Reply | None:
    """The whole answer that a fault puts in place of the real one, if it does."""
    streamed = reply.events is not None
    if fault.mode == "status":
        return vendor.failure(fault)
    if fault.mode == "html":
        return Reply(fault.status if fault.status != 503 else 200, b"", HTML, "text/html; charset=UTF-8")
    if fault.mode == "empty":
        return Reply(200, reply.headers, b"", reply.content_type)
    if fault.mode == "garbage" and not (streamed and fault.after):
        return Reply(200, reply.headers, GARBAGE, reply.content_type)
    if fault.mode == "truncated" and not streamed:
        return Reply(200, reply.headers, reply.body[: len(reply.body) // 2], reply.content_type)
    if fault.mode == "error_event" and not streamed:
        return Reply(200, reply.headers, vendor.failure(fault).body, reply.content_type)
    return None


async def _whole(connection: Connection, reply: Reply, vendor: Vendor, pace: Pace, fault: Fault | None) -> bool:
    wait_ms = pace.whole_ms if reply.pace.whole_ms is None else reply.pace.whole_ms
    if wait_ms:
        await asyncio.sleep(wait_ms / 1000)
    head = head_bytes(reply.status, reply.content_type, reply.headers, len(reply.body))
    if fault is None or fault.mode == "latency":
        connection.write(head + reply.body)
        return True
    if fault.mode in ("slow_first_token", "late_first_event"):
        connection.write(head)
        await asyncio.sleep(fault.delay_ms / 1000)
        connection.write(reply.body)
        return True
    half = len(reply.body) // 2
    if fault.mode == "cut" and fault.how == "closed":
        connection.write(_unframed(reply) + reply.body[:half])
        await _break(connection, fault)
    if fault.mode == "stall":
        connection.write(head + reply.body[:half])
        await _forever()
    if fault.mode == "cut":
        if fault.how == "clean":  # an early end that looks proper: chunked framing, complete, half of the JSON
            connection.write(head_bytes(reply.status, reply.content_type, reply.headers, None) + chunk(reply.body[:half]) + LAST_CHUNK)
            return False
        connection.write(head + reply.body[:half])
        await _break(connection, fault)
    connection.write(head + reply.body)
    return True


def _unframed(reply: Reply) -> bytes:
    """The head of an answer that ends when its connection does, as HTTP/1.0's do."""
    head = head_bytes(reply.status, reply.content_type, reply.headers, None)
    return head.replace(b"transfer-encoding: chunked\r\n", b"connection: close\r\n")


_TEXTS: Final = re.compile(rb'("(?:content|delta|text|partial_json|arguments)":\s*)"(?:[^"\\]|\\.)*"')


def _emptied(event: bytes) -> bytes | None:
    """The event with nothing in its texts; None where it is no text itself (AWS's frames)."""
    return _TEXTS.sub(rb'\1""', event) if event.startswith((b"data:", b"event:")) else None


class _Stream:
    """One streamed answer under way."""

    def __init__(self, connection: Connection, reply: Reply, vendor: Vendor, pace: Pace, fault: Fault | None) -> None:
        self._connection = connection
        self._reply = reply
        self._events = reply.events or ()
        self._vendor = vendor
        self._fault = fault
        self._framed: Callable[[bytes], bytes] = chunk
        self._heartbeat = vendor.heartbeat
        self._delay_s = (pace.delay_ms if reply.pace.delay_ms is None else reply.pace.delay_ms) / 1000
        self._first_s = (pace.first_ms if reply.pace.first_ms is None else reply.pace.first_ms) / 1000

    async def send(self) -> bool:
        connection, fault = self._connection, self._fault
        if fault is not None and fault.mode == "cut" and fault.how == "closed":
            self._framed = bytes
            connection.write(_unframed(self._reply))
        else:
            connection.write(head_bytes(self._reply.status, self._reply.content_type, self._reply.headers, None))
        mode = None if fault is None else fault.mode
        if fault is not None and mode == "late_first_event":
            await self._wait(fault)
        if fault is not None and mode in ("stall", "cut", "error_event", "garbage", "truncated"):
            await self._until(fault)
            return False
        if mode == "slow_first_token" and fault is not None:
            first = next((i for i, (_, content) in enumerate(self._events) if content), 0)
            await self._write(self._events[:first], first_s=0)
            await self._wait(fault)
            await self._write(self._events[first:], first_s=0)
        else:
            await self._write(self._events, first_s=self._first_s)
        connection.write(LAST_CHUNK)
        return True

    async def _write(self, events: Sequence[Event], first_s: float) -> None:
        """Send events one by one at the pace; without a pace all in one write, each in its own HTTP chunk."""
        connection = self._connection
        if not self._delay_s and not first_s:
            connection.write(b"".join(self._framed(data) for data, _ in events))
            await connection.drain()
            return
        for data, content in events:
            if content and first_s:
                await asyncio.sleep(first_s)
                first_s = 0
            connection.write(self._framed(data))
            await connection.drain()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)

    async def _wait(self, fault: Fault) -> None:
        """The fault's delay, with heartbeats if it has them."""
        if not fault.heartbeat_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
            return
        left = fault.delay_ms
        while left > 0:
            self._connection.write(chunk(self._heartbeat))
            await asyncio.sleep(min(left, fault.heartbeat_ms) / 1000)
            left -= fault.heartbeat_ms

    async def _until(self, fault: Fault) -> None:
        """Send up to the fault's content event, then let it happen."""
        connection = self._connection
        position = seen = 0
        while position < len(self._events) and seen < fault.after:
            seen += self._events[position][1]
            position += 1
        opening = next((i for i, (_, content) in enumerate(self._events) if content), 0)
        if fault.after == 0 and fault.mode in ("stall", "truncated"):
            position = opening
        await self._write(self._events[:position], first_s=self._first_s if fault.after else 0)
        if fault.mode == "stall":
            if fault.heartbeat == "empty_delta":
                told = next((data for data, content in reversed(self._events[:position]) if content), b"")
                self._heartbeat = _emptied(told) or self._heartbeat
            await self._stall(fault)
        elif fault.mode == "error_event":
            connection.write(chunk((self._reply.failing or self._vendor.error_event)(fault)) + LAST_CHUNK)
        elif fault.mode == "garbage":
            connection.write(chunk(GARBAGE) + LAST_CHUNK)
        elif fault.mode == "truncated":
            data = self._events[min(position, len(self._events) - 1)][0]
            connection.write(chunk(data[: len(data) // 2]) + LAST_CHUNK)
        elif fault.how == "clean":
            connection.write(LAST_CHUNK)
        else:
            await _break(connection, fault)

    async def _stall(self, fault: Fault) -> None:
        if not fault.heartbeat_ms:
            await _forever()
        while True:
            await asyncio.sleep(fault.heartbeat_ms / 1000)
            self._connection.write(chunk(self._heartbeat))


async def _break(connection: Connection, fault: Fault) -> None:
    """End the connection in the middle of the answer."""
    await asyncio.sleep(RESET_AFTER_S)
    if fault.how == "rst":
        connection.reset()
    else:
        connection.close()
    raise Gone


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()
