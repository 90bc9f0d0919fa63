"""The registry, the names that specs may say, and the operations that clients can call agree on who speaks what."""

from __future__ import annotations

import pytest

from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.ir.operations import OPERATIONS
from control_plane.spec.dialect_names import DIALECT_NAMES, PROVIDER_ONLY_NAMES
from control_plane.spec.presets import load_presets


def test_names_agree() -> None:
    assert set(DIALECT_NAMES) == set(DIALECTS) == {operation.dialect for operation in OPERATIONS}
    assert set(PROVIDER_ONLY_NAMES) == set(PROVIDERS) - set(DIALECTS)
    assert {name for preset in load_presets().values() for name in preset.dialects} == set(PROVIDERS)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_each_has_the_side_that_it_is_registered_for(name: str) -> None:
    assert PROVIDERS[name].name == name
    client_side = [hasattr(PROVIDERS[name], method) for method in ("read_request", "writer", "write_error")]
    assert client_side == [name in DIALECTS] * 3
