"""What Envoy writes about a request and about each attempt: the format strings of the access journal, declared once.

The same table configures both ways a line can travel: as one JSON object a line in a file (`json_format` of Envoy's file
access logger, see `journal.py`) and as custom tags of the gRPC access log (see `als.py`). `lines.py` is the reader.
Every string was verified on Envoy 1.40 by `tests/live/journal`. What is not obvious:

- `id`: Envoy's own request id. It is unique only if clients cannot choose it: the listener must regenerate it
  (`use_remote_address: true`, no `preserve_external_request_id`).
- Related values share a text, since each value costs up to half a microsecond a request: `call` is "operation route" (route absent for
  a model that none has), `asked` is "dialect how model" (how: whole, stream, or trim, a stream whose usage the edge asked for), `at`
  is "lane provider/model", `edge` is what the edge's meter says: "complete;input,cached,cache_write,output,reasoning;finish;stream_error".
- On an attempt line the status, flags, details, bytes and times are the attempt's own; on a request line `at` is the last attempt's.
- `n` needs `include_request_attempt_count` on the virtual host; Envoy's own attempt counter is 0 in an attempt's log.
- `limits` is what the vendor says of its rate limits (`rate_limits.py`): the names of OpenAI's headers or Anthropic's. What other vendors
  call otherwise is repeated under OpenAI's names at their targets.
- `fault` is the class of an error, as the target's filter or the translator found it (`x-headgate-fault`).
- `translation` is what the translator says, as an object.
- `head_us` is the first byte of the response (its headers) sent to the client, `ttft_us` the first byte of the body that came from
  the provider; the reader takes the later of the two, because a response may be held back until its first event is judged.
- `sent_us` is the first byte of the (last) attempt's request sent: what came before it, such as a client's slow upload, is no
  provider's doing.
- No header of a request is ever logged, except the two that Envoy itself sets (id, attempt number): after the upstream filters ran,
  the request's headers hold the provider's credential.
"""

from __future__ import annotations

from typing import Final

START: Final = "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%"

_UNIT: Final = "/".join(
    f"%RESP(X-RATELIMIT-{what}-{{0}}?ANTHROPIC-RATELIMIT-{{0}}-{what}):{length}%"
    for what, length in (("REMAINING", 16), ("LIMIT", 16), ("RESET", 32))
)
_LIMITS: Final = f"{_UNIT.format('REQUESTS')};{_UNIT.format('TOKENS')}"

REQUEST_FORMAT: Final[dict[str, str]] = {
    "log": "request",
    "id": "%REQ(X-REQUEST-ID)%",
    "start": START,
    "call": "%METADATA(ROUTE:headgate:call)%",
    "asked": "%DYNAMIC_METADATA(headgate:asked)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "at": "%METADATA(CLUSTER:headgate:at)%",
    "sent_us": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    "head_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:us)%",
    "ttft_us": "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:us)%",
    "duration_ms": "%DURATION%",
    "limits": f";{_LIMITS}",
    "edge": "%DYNAMIC_METADATA(headgate:meter)%",
    "translation": "%DYNAMIC_METADATA(headgate.translation)%",
}
"""The request line: the `access_log` of the HTTP connection manager."""

ATTEMPT_FORMAT: Final[dict[str, str]] = {
    "log": "attempt",
    "id": "%REQ(X-REQUEST-ID)%",
    "start": START,
    "n": "%REQ(X-ENVOY-ATTEMPT-COUNT)%",
    "call": "%METADATA(ROUTE:headgate:call)%",
    "at": "%METADATA(CLUSTER:headgate:at)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "fault": "%RESP(X-HEADGATE-FAULT):32%",
    "limits": f"%RESP(RETRY-AFTER):40%,%RESP(RETRY-AFTER-MS):16%;{_LIMITS}",
    "ttft_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BODY_BEG:us)%",
    "duration_us": "%COMMON_DURATION(US_TX_BEG:US_RX_END:us)%",
    "duration_ms": "%DURATION%",
}
"""The attempt line: the `upstream_log` of the router filter, when an attempt ends. A first attempt that went well has none:
the request line says it all, and a line costs about 10 µs (`attempts.py` makes up for it)."""
