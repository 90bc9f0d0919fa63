"""Ports, before anything is started on them."""

from __future__ import annotations

import errno
import socket

from control_plane.kit.errors import SpecError


def claim(address: tuple[str, int], flag: str) -> tuple[str, int]:
    """The address with a free port: 0 becomes one the system chose. Raises SpecError when it is taken.

    Checked up front because Envoy shares ports (SO_REUSEPORT): two gateways on one port would both start and each get a
    part of the traffic.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is taken by another process" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise SpecError(f"{flag} {host}:{port} {reason}; choose another with {flag} HOST:PORT") from error
        return host, probe.getsockname()[1]
