"""Where a gateway's parts live on one machine: addresses, sockets, files."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane.kit.errors import SpecError

SOCKET_PATH_LIMIT: Final = 100
"""Bytes. The kernel takes 107; a little is left for the longest file name."""


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one gateway. `state` outlives restarts, `sockets` does not."""

    state: Path
    sockets: Path

    @property
    def ads(self) -> str:
        """Where the control plane serves xDS."""
        return str(self.sockets / "xds.sock")

    @property
    def standby(self) -> str:
        """Where a stand-in serves xDS while the control plane is away."""
        return str(self.sockets / "standby.sock")

    @property
    def envoy_admin(self) -> str:
        """Where Envoy serves its admin API: a private socket, never a port."""
        return str(self.sockets / "envoy.sock")

    def translator(self, number: int) -> str:
        """Where translator worker `number` listens."""
        return str(self.sockets / f"translator-{number}.sock")

    @property
    def journal(self) -> Path:
        """The access journal Envoy writes."""
        return self.state / "journal.log"

    @property
    def base_id(self) -> Path:
        """The number of Envoy's shared memory, which the process that takes over from it must name."""
        return self.state / "envoy-base-id"

    @property
    def bootstrap(self) -> Path:
        """The bootstrap Envoy was started with."""
        return self.state / "bootstrap.json"


def places(state: Path | None, port: int) -> Places:
    """The directories for the gateway that listens on `port`, made private and ready. Raises SpecError."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    state = state or home / "headgate" / str(port)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    sockets = (Path(runtime) / "headgate" if runtime else Path(tempfile.gettempdir()) / f"headgate-{os.getuid()}") / f"gateway-{port}"
    for folder in (state, sockets):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SpecError(
                f"cannot create {folder}: {error.strerror}; choose another place with --state-dir or XDG_RUNTIME_DIR"
            ) from error
    if sockets.stat().st_uid != os.getuid():
        raise SpecError(f"{sockets} belongs to another user; set XDG_RUNTIME_DIR to a directory of yours")
    if len(str(sockets)) > SOCKET_PATH_LIMIT - len("/translator-00.sock"):
        raise SpecError(f"{sockets} is too long for Unix sockets (limit {SOCKET_PATH_LIMIT} bytes); set XDG_RUNTIME_DIR to a shorter path")
    return Places(state=state.absolute(), sockets=sockets.absolute())


def host_port(text: str, flag: str) -> tuple[str, int]:
    """ "127.0.0.1:10000" → its parts. Raises SpecError naming the flag."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SpecError(f"{flag} {text}: expected HOST:PORT, for example 127.0.0.1:10000")
    return host.strip("[]"), int(port)
