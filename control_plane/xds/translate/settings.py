"""What the translation must know beside the IR: the addresses this installation uses."""

from __future__ import annotations

from dataclasses import dataclass


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
