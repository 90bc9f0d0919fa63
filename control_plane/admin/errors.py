"""The one shape of an error: {"error": {"code": ..., "message": ..., "fix": ...}}. `code` is a stable snake_case word."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from control_plane.admin.encoding import json_response


def error_response(status: int, code: str, message: str, fix: str, detail: Mapping[str, object] | None = None) -> Response:
    """An error answer; `fix` says what to do about it, `detail` stands beside them."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return json_response({"error": {"code": code, "message": message, "fix": fix, **(detail or {})}}, status, headers)
