"""A dialect of one line per event, so that tests of the exchange do not depend on any vendor's.

Requests are JSON: {"stream": true, "text": "hi", "bad": "field", "unfit": "field", "bug": true}. Answers are lines:
`start`, `text x`, `usage 3 5`, `stop why`, `withheld why`, `end`, `error overloaded`; anything else is garbage.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import msgspec

from control_plane.dialects import canon
from control_plane.dialects.api import Call, IdSource, ProviderRequest, ReasoningReplay, TargetFacts
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError

STREAM = "text/x-lines"


class Ids:
    def __init__(self) -> None:
        self._count = count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._count)}"

    def now(self) -> int:
        return 1_700_000_000


class LineReader:
    def __init__(self) -> None:
        self._pending = b""
        self._ended = False

    def start(self, status: int, content_type: str) -> None:
        if content_type != STREAM:
            raise ProviderProtocolError(f"unexpected content type {content_type!r}")

    def feed(self, data: bytes) -> list[canon.Event]:
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [self._event(line.decode()) for line in lines if line]

    def finish(self) -> list[canon.Event]:
        if not self._ended:
            raise ProviderProtocolError("cut")
        return []

    def _event(self, line: str) -> canon.Event:
        word, _, rest = line.partition(" ")
        match word:
            case "start":
                return canon.Start(id=rest)
            case "text":
                return canon.TextDelta(rest)
            case "usage":
                given, made = rest.split()
                return canon.UsageUpdate(canon.Usage(input=int(given), output=int(made)))
            case "stop":
                return canon.Stop("end", native=rest)
            case "withheld":
                return canon.Stop("content_filter", native=rest)
            case "end":
                self._ended = True
                return canon.End()
            case "error":
                return canon.InStreamError(canon.Failure("transient", 529, rest, code="overloaded"))
            case "fault":
                return canon.InStreamError(canon.Failure("client_fault", 400, rest, code="tool_use_failed"))
            case "bug":
                raise RuntimeError("a bug in the reader")
        raise ProviderProtocolError(f"garbage: {line}")


class LineWriter:
    def __init__(self, stream: bool) -> None:
        self._stream = stream
        self._text: list[str] = []
        self.content_type = "text/out-lines" if stream else "application/out"

    def emit(self, event: canon.Event) -> bytes:
        if isinstance(event, canon.TextDelta):
            if self._stream:
                return f"[{event.text}]".encode()
            self._text.append(event.text)
        return b""

    def finish(self) -> bytes:
        return b"[done]" if self._stream else "+".join(self._text).encode()

    def fail(self, failure: canon.Failure) -> bytes:
        return f"[failed {failure.code}]".encode()


class LineDialect:
    name = "lines"

    def read_request(self, body: bytes, call: Call | None = None) -> canon.Request:
        try:
            given = msgspec.json.decode(body, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise ClientProtocolError(400, "invalid_json", str(error)) from None
        if "bad" in given:
            raise ClientProtocolError(400, "bad_field", "is wrong", str(given["bad"]))
        return canon.Request("lines", "m", (), stream=bool(given.get("stream")), raw=given)

    def writer(self, request: canon.Request, ids: IdSource) -> LineWriter:
        return LineWriter(request.stream)

    def write_error(self, error: canon.Failure) -> bytes:
        return msgspec.json.encode({"kind": error.kind, "code": error.code, "param": error.param})

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay()

    def write_request(self, request: canon.Request, target: TargetFacts) -> ProviderRequest:
        assert request.raw is not None
        if "unfit" in request.raw:
            raise canon.Unfit(str(request.raw["unfit"]), "cannot do this")
        if "bug" in request.raw:
            raise RuntimeError("a bug in the writer")
        body = msgspec.json.encode({"for": target.model, "said": request.raw.get("text")})
        return ProviderRequest(
            body, headers=(("x-version", "7"),), dropped=tuple(msgspec.convert(request.raw.get("dropped", []), list[str]))
        )

    def reader(self, request: canon.Request) -> LineReader:
        return LineReader()

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> canon.Failure:
        kind: canon.FailureClass = "rate_limited" if status == 429 else "transient" if status >= 500 else "client_fault"
        return canon.Failure(kind, status, body.decode(), code="provider_said_no", retry_after=2.5 if status == 429 else None)
