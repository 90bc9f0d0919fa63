"""JSON answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

_encoder = msgspec.json.Encoder(enc_hook=str)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON; what JSON does not know (paths, enumerations) is written as its text."""
    return Response(_encoder.encode(body), status, headers, media_type="application/json")
