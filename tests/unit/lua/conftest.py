"""The filters, loaded once per module: with and without the JIT compiler, and reading bodies in small pieces, which must not matter."""

from __future__ import annotations

import pytest

from tests.unit.lua.lua_filter import LuaFilter


@pytest.fixture(scope="module", params=[{}, {"jit": False}, {"window": 96}], ids=["jit", "no-jit", "windows"])
def edge(request: pytest.FixtureRequest) -> LuaFilter:
    return LuaFilter("edge.lua", **request.param)


@pytest.fixture(scope="module")
def target() -> LuaFilter:
    return LuaFilter("rename.lua")
