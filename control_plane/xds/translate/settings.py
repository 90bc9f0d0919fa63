"""What the translation must know beside the IR: the addresses this installation uses."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.kit.sockets import inner_socket, resumer_socket


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """`listen`: address and port of the edge. `translators`: a socket path (starting with "/") or host:port each.

    `journal`: path of the access journal on Envoy's machine, or "" for none. `remote`: Envoy sends the journal to the
    control plane over gRPC instead, for fleets whose files it cannot read.
    """

    listen: tuple[str, int]
    translators: tuple[str, ...]
    journal: str
    remote: bool = False

    @property
    def inner(self) -> str:
        """Socket of the listener for the resumer's attempts; "" where the translators are not on Envoy's machine."""
        first = self.translators[0] if self.translators else ""
        return inner_socket(first) if first.startswith("/") else ""

    @property
    def resumers(self) -> tuple[str, ...]:
        """Sockets of the resumers: one beside each translator that is on Envoy's machine."""
        return tuple(resumer_socket(path) for path in self.translators if path.startswith("/"))
