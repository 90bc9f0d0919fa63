"""The admin API as the CLI asks it: over HTTP or a Unix socket, with the token, and with words for what can go wrong."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

DEFAULT_ADMIN: Final = "127.0.0.1:8080"
TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

Admin = Annotated[
    str, typer.Option("--admin", metavar="HOST:PORT", envvar="HEADGATE_ADMIN", help="Admin API of the control plane, or unix:/path.")
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", envvar="HEADGATE_TOKEN_FILE", help="File with the admin token, if one is set.")
]


class AdminError(Exception):
    """The admin API cannot be asked, or refuses; the text says what to do. `status` and `error` are its answer, if it gave one."""

    def __init__(self, text: str, status: int | None = None, error: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status, self.error = status, error or {}


def ask(admin: str, method: str, path: str, token: str | None = None, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Ask the admin API at `admin` (`host:port` or `unix:/path`); `body` goes as JSON. Raises AdminError."""
    headers = {"accept": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    sent = None if body is None else json.dumps(body).encode()
    if sent is not None:
        headers["content-type"] = "application/json"
    connection = _connection(admin)
    try:
        connection.request(method, path, sent, headers)
        response = connection.getresponse()
        read = response.read(MAX_ANSWER_BYTES)
    except (ConnectionRefusedError, FileNotFoundError):
        raise AdminError(f"no control plane at {admin}; start one with `headgate up -f DIR` or pass --admin HOST:PORT") from None
    except (OSError, http.client.HTTPException) as error:
        why = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise AdminError(f"cannot ask the control plane at {admin}: {why}; pass --admin HOST:PORT if it is elsewhere") from None
    finally:
        connection.close()
    try:
        answer = json.loads(read)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AdminError(f"what listens at {admin} is not a Headgate control plane; pass --admin HOST:PORT")
    if response.status not in (200, 201):
        refusal = answer.get("error")
        told = refusal if isinstance(refusal, dict) else None
        raise AdminError(f"the control plane at {admin} answered {response.status}: {said(answer)}", response.status, told)
    return answer


def _connection(admin: str) -> http.client.HTTPConnection:
    if admin.startswith("unix:"):
        return _UnixConnection(admin.removeprefix("unix:"))
    host, colon, port = admin.removeprefix("http://").rstrip("/").rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise AdminError(f"--admin {admin}: needs HOST:PORT, such as {DEFAULT_ADMIN}, or unix:/path")
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def said(answer: Mapping[str, object]) -> str:
    """The message and the fix of an error answer."""
    error = answer.get("error")
    parts = [str(error[key]) for key in ("message", "fix") if error.get(key)] if isinstance(error, dict) else []
    return "; ".join(parts) or "no reason given"


def token_from(path: Path | None) -> str | None:
    """The token in that file, else in HEADGATE_TOKEN, if there is one. Raises AdminError."""
    if path is None:
        return os.environ.get("HEADGATE_TOKEN") or None
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AdminError(f"--token-file {path}: cannot be read ({error}); give a file with the token in it") from None
