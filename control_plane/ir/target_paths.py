"""The paths of a passthrough target: one for each operation that a client of its provider's own dialects can call."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.dialects.model_path import filled, streaming
from control_plane.ir.model import ANY_MODEL, Provider
from control_plane.ir.operations import OPERATIONS
from control_plane.ir.stored import STORED


def call(dialect: str, operation: str) -> str:
    """How a route says which of them is meant."""
    return f"{dialect}/{operation}"


def paths_of(provider: Provider, model: str) -> Iterator[tuple[str, str]]:
    """(call, path): the model is filled in. "<call>/stream" is the path of streams, where the client's path asks for them."""
    if model == ANY_MODEL:
        for stored in STORED:
            if (path := provider.path(stored.dialect, stored.operation)) is not None:
                yield call(stored.dialect, stored.name), path
        return
    for operation in OPERATIONS:
        if (path := provider.path(operation.dialect, operation.name)) is not None:
            path, name = filled(path, model), call(operation.dialect, operation.name)
            yield name, path
            if operation.by_path and operation.streamed is not None:
                yield f"{name}/stream", streaming(path, operation.streamed)
