"""The registry, the names that specs may say, and the operations that clients can call agree on who speaks what."""

from __future__ import annotations

import pytest

from control_plane.dialects.beside_chat import BESIDE_CHAT
from control_plane.dialects.operations import SIDES
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.ir.operations import OPERATIONS
from control_plane.spec.dialect_names import BESIDE_CHAT as CALLED_BESIDE_CHAT
from control_plane.spec.dialect_names import DIALECT_NAMES, PROVIDER_ONLY_NAMES, WITHOUT_CHAT
from control_plane.spec.presets import load_presets


def test_names_agree() -> None:
    assert set(DIALECT_NAMES) == set(DIALECTS) == {operation.dialect for operation in OPERATIONS}
    assert set(PROVIDER_ONLY_NAMES) == (set(PROVIDERS) - set(DIALECTS)) | set(WITHOUT_CHAT)
    assert {name for preset in load_presets().values() for name in preset.dialects} == {*PROVIDERS, *WITHOUT_CHAT}


def test_who_has_what_beside_chat() -> None:
    assert set(WITHOUT_CHAT) == set(BESIDE_CHAT)
    for name, operations in WITHOUT_CHAT.items():
        assert {operation for operation, sides in SIDES.items() if name in sides.providers} - {"batch_embeddings"} == set(operations)
    for dialect in DIALECT_NAMES:
        called = [operation.name for operation in OPERATIONS if operation.dialect == dialect and operation.name != "chat"]
        assert sorted(CALLED_BESIDE_CHAT.get(dialect, ())) == sorted(called)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_each_has_the_side_that_it_is_registered_for(name: str) -> None:
    assert PROVIDERS[name].name == name
    client_side = [hasattr(PROVIDERS[name], method) for method in ("read_request", "writer", "write_error")]
    assert client_side == [name in DIALECTS] * 3
