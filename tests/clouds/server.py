"""What the simulated token services share: a threaded HTTP server on loopback that keeps what it was asked and fails on demand."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str = ""
    """Path and query as they came."""

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json; charset=utf-8"),)


def as_json(value: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    return Answer(status, json.dumps(value).encode(), (("content-type", "application/json; charset=utf-8"), *headers))


class TokenService:
    """Subclasses answer in `answer`. `broken` replaces every answer; `stall_s` delays it; `lifetime_s` is that of new tokens;
    `closing` ends the connection after each answer."""

    def __init__(self, *, lifetime_s: int = 3600, tls: ssl.SSLContext | None = None) -> None:
        self.lifetime_s = lifetime_s
        self.broken: Answer | None = None
        self.stall_s = 0.0
        self.closing = False
        self.asked: list[Asked] = []
        self.issued = 0
        self.ends: dict[str, float] = {}
        self._released = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body, self.path)
                service.asked.append(asked)
                if service.stall_s:
                    service._released.wait(service.stall_s)
                answer = service.broken or service.answer(asked)
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                if service.closing:
                    self.send_header("connection", "close")
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815 - names that the base class looks for

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that give up

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def token(self, kind: str) -> str:
        """A new token, that tells itself apart from every other."""
        self.issued += 1
        token = f"{kind}-canary-{self.issued}-{time.time_ns():x}"
        self.ends[token] = time.time() + self.lifetime_s
        return token

    def check_token(self, token: str) -> None:
        """Raises PermissionError for one that was not given out here, or has ended."""
        if token not in self.ends:
            raise PermissionError("not a token of this service")
        if time.time() > self.ends[token]:
            raise PermissionError(f"token ended {time.time() - self.ends[token]:.2f} s ago")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def make_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that signs itself, to be trusted by name, and a server's context with it."""
    key, cert = folder / "authority.key", folder / "authority.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    usage = ["-addext", "basicConstraints=critical,CA:TRUE"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *subject, *usage], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context
