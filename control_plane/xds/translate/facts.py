"""What routes and targets say about themselves: to the edge filter, and to the access journal.

One text each, because every value that the filter reads or the journal formats costs a fraction of a microsecond a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.struct_pb2 import ListValue, Struct

from control_plane.ir.model import TargetUse
from control_plane.pb.core_pb2 import Metadata
from control_plane.xds.translate.names import LUA_NAMESPACE, NAMESPACE

SILENCE: Final = "silence_ms"
"""Longest silence of an answer, as the translator is told it of each attempt."""


def route_metadata(facts: Mapping[str, str], call: str, models: Sequence[str] | None = None, silence_ms: int | None = None) -> Metadata:
    """Metadata of a route. `facts` is for envoy/lua/edge.lua (its README lists them), `call` for the journal: the operation and,
    where there is one, the ModelRoute. `models` is what the edge filter may suggest for an unknown name. `silence_ms` is the
    translator's."""
    told, logged = Struct(), Struct()
    told["facts"] = "\n".join(f"{key}={value}" for key, value in facts.items())
    if models is not None:
        names = ListValue()
        names.extend(models)
        told["models"] = names
    logged["call"] = call
    if silence_ms is not None:
        logged[SILENCE] = str(silence_ms)
    return Metadata(filter_metadata={LUA_NAMESPACE: told, NAMESPACE: logged})


def target_metadata(use: TargetUse) -> Metadata:
    """Metadata of a target, for the journal: lane and name, which begins with the provider's name."""
    logged = Struct()
    logged["at"] = f"{use.lane.value} {use.target}"
    return Metadata(filter_metadata={NAMESPACE: logged})
