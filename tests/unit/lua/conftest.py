"""The filters, loaded once per module: with and without the JIT compiler, which must not matter."""

from __future__ import annotations

import pytest

from tests.unit.lua.lua_filter import LuaFilter


@pytest.fixture(scope="module", params=[True, False], ids=["jit", "no-jit"])
def edge(request: pytest.FixtureRequest) -> LuaFilter:
    return LuaFilter("edge.lua", jit=request.param)


@pytest.fixture(scope="module")
def target() -> LuaFilter:
    return LuaFilter("rename.lua")
