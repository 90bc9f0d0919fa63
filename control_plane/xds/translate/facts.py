"""What routes and targets say about themselves: to the edge filter, and to the access journal.

One text each, because every value that the filter reads or the journal formats costs a fraction of a microsecond a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from google.protobuf.struct_pb2 import Struct

from control_plane.dialects.told import Asked
from control_plane.ir.model import TargetUse
from control_plane.pb.core_pb2 import Metadata
from control_plane.xds.translate.names import LUA_NAMESPACE, NAMESPACE

SILENCE: Final = "silence_ms"
"""Longest silence of an answer, as the translator is told it of each attempt."""


def route_metadata(
    facts: Mapping[str, str],
    call: str,
    models: Sequence[str] | None = None,
    *,
    at_targets: str = "",
    asked: Asked | None = None,
    silence_ms: int | None = None,
    back_at: int | None = None,
) -> Metadata:
    """Metadata of a route. `facts` is for envoy/lua/edge.lua (its README lists them), `call` for the journal: the operation and,
    where there is one, the ModelRoute. `models` is what the edge filter may suggest for an unknown name. `at_targets` tells
    envoy/lua/rename.lua which of a target's paths is meant, `asked` tells the translator everything about the call, and
    `silence_ms` how long an answer may be silent. `back_at` (seconds since the epoch) is read for errors alone, so
    it is no fact of all requests."""
    told, logged = Struct(), Struct()
    told.fields["facts"].string_value = "\n".join(f"{key}={value}" for key, value in facts.items())
    if models is not None:
        told.fields["models"].list_value.extend(models)
    logged.fields["call"].string_value = call
    if silence_ms is not None:
        logged.fields[SILENCE].string_value = str(silence_ms)
    if back_at is not None:
        told.fields["back_at"].string_value = str(back_at)
    if at_targets:
        told.fields["call"].string_value = at_targets
    if asked is not None:
        logged.fields["asked"].string_value = msgspec.json.encode(asked).decode()
    return Metadata(filter_metadata={LUA_NAMESPACE: told, NAMESPACE: logged})


def target_metadata(use: TargetUse) -> Metadata:
    """Metadata of a target, for the journal: lane, with a star where it takes the spare key and a plus where it goes
    on with another's answer, and name, which begins with the provider's."""
    logged = Struct()
    logged.fields["at"].string_value = f"{use.lane.value}{'*' if use.spare else ''}{'+' if use.resume else ''} {use.target}"
    return Metadata(filter_metadata={NAMESPACE: logged})
