"""The resumer: an HTTP server beside the translator, to which Envoy sends the requests of routes that resume.

Each attempt goes back into Envoy by the inner listener, where the route's plan, keys, timers and metering are, so nothing of these is
here. A worker that dies takes its requests along, as it does on the translation lane; the edge ends them with an error event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from control_plane.dialects.api import IdSource
from control_plane.dialects.registry import DIALECTS
from control_plane.extproc.resume.http1 import HEAD_BYTES, LAST_CHUNK, Broken, Head, body_of, chunk, head_bytes, read_head, whole_body
from control_plane.extproc.resume.splice import Splice, splice
from control_plane.kit.headers import RESUME_HEADER, TARGET_HEADER

log = logging.getLogger(__name__)

PATHS: Final = {"/v1/chat/completions": "openai-chat", "/v1/messages": "anthropic-messages"}
OK: Final = "200"
_EVENTS: Final = "text/event-stream"
_OURS: Final = ("x-headgate-", "x-envoy-", "x-forwarded-")
_NOT_ON: Final = frozenset({"authorization", "x-api-key", "x-request-id", "content-length"})
"""Of a client's request: its key is for the gateway, and each attempt has an id of its own."""

_UNAVAILABLE: Final = head_bytes("HTTP/1.1 503 Service Unavailable", [("content-length", "0"), ("connection", "close")])

_HEALTHY: Final = head_bytes("HTTP/1.1 200 OK", [("content-length", "0"), ("connection", "close")])


class Resumer:
    """Makes the answers. `inner`: the socket of Envoy's inner listener."""

    def __init__(self, inner: str, ids: IdSource) -> None:
        self._inner = inner
        self._ids = ids
        self.open: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection, on which Envoy sends one request."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await read_head(reader)
            if head.first[1] == "/healthz":
                writer.write(_HEALTHY)
                return
            body = await whole_body(reader, head)
            answering = asyncio.ensure_future(_Exchange(self._inner, self._ids, head, body, writer).run())
            leaving = asyncio.ensure_future(reader.read(1))  # nothing follows: Envoy closes when its client is gone
            try:
                await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (answering, leaving):
                    if not task.done():
                        task.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)
            if not answering.cancelled() and (error := answering.exception()) is not None:
                raise error
        except (Broken, OSError):
            pass
        except Exception:
            log.exception("an answer that may be resumed failed")
        finally:
            with contextlib.suppress(OSError):
                writer.close()


class _Exchange:
    """One request of a client, and its attempts."""

    def __init__(self, inner: str, ids: IdSource, head: Head, body: bytes, client: asyncio.StreamWriter) -> None:
        self._inner = inner
        self._head = head
        self._body = body
        self._client = client
        self._most = int(text) if (text := head.get(RESUME_HEADER)).isdigit() else 1
        dialect = DIALECTS.get(PATHS.get(head.first[1].partition("?")[0], ""))
        self._splice = splice(dialect, body, ids) if dialect is not None else None
        self._begun = False
        self._served_by = ""

    async def run(self) -> None:
        which, body = "first", self._body
        for number in range(1, self._most + 1):
            await self._attempt(number, which, body)
            splice = self._splice
            if splice is None or not splice.broken:
                return
            if not splice.continuable or not self._served_by:
                break
            which, body = f"after:{self._served_by}", splice.continuation()
        if self._splice is not None and self._begun:
            self._send(chunk(self._splice.fail()) + LAST_CHUNK)
            await self._client.drain()

    async def _attempt(self, number: int, which: str, body: bytes) -> None:
        """Asks Envoy and hands on what comes. An answer that breaks off leaves the splice broken."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._inner, limit=HEAD_BYTES)
        except OSError:
            return self._none()
        try:
            writer.write(self._request(number, which, body))
            await writer.drain()
            head = await read_head(reader)
            await self._answer(reader, head)
        except Broken:
            self._none()
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    def _none(self) -> None:
        """The attempt has no answer, or not all of it."""
        if self._splice is not None:
            self._splice.lost()
        if not self._begun:
            self._begun, self._splice = True, None
            self._send(_UNAVAILABLE)

    def _request(self, number: int, which: str, body: bytes) -> bytes:
        kept = [(name, value) for name, value in self._head.end_to_end() if name not in _NOT_ON and not name.startswith(_OURS)]
        identity = f"{self._head.get('x-request-id')}.{number}"
        ours = [("content-length", str(len(body))), ("connection", "close"), ("x-request-id", identity), (RESUME_HEADER, which)]
        method, path, _ = self._head.first
        return head_bytes(f"{method} {path} HTTP/1.1", kept + ours) + body

    async def _answer(self, reader: asyncio.StreamReader, head: Head) -> None:
        _, status, reason = head.first
        streamed = status == OK and head.get("content-type").lower().startswith(_EVENTS)
        if self._begun:
            if not streamed or self._splice is None:
                raise Broken("no stream to go on with")
        else:
            self._begun = True
            if not streamed:
                self._splice = None  # a whole answer, or an error: as it is
            self._send(head_bytes(f"HTTP/1.1 {status} {reason}", [*_told(head), ("transfer-encoding", "chunked"), ("connection", "close")]))
        self._served_by = head.get(TARGET_HEADER)
        splice = self._splice
        if splice is None:
            async for piece in body_of(reader, head, answer=True):
                self._send(chunk(piece))
                await self._client.drain()
            self._send(LAST_CHUNK)
            return
        await self._stream(reader, head, splice)

    async def _stream(self, reader: asyncio.StreamReader, head: Head, splice: Splice) -> None:
        splice.begin(int(head.first[1]), head.get("content-type"))
        async for piece in body_of(reader, head, answer=True):
            if out := splice.feed(piece):
                self._send(chunk(out))
                await self._client.drain()
            if splice.broken or splice.complete:
                break
        else:
            if out := splice.finish():
                self._send(chunk(out))
        if splice.complete:
            self._send(LAST_CHUNK)
            await self._client.drain()

    def _send(self, data: bytes) -> None:
        self._client.write(data)


def _told(head: Head) -> list[tuple[str, str]]:
    """Headers of an attempt's answer that are the client's answer's, too."""
    return [(name, value) for name, value in head.end_to_end() if name not in ("date", "server", "x-headgate-request-id")]
