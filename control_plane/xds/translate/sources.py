"""Lua and WebAssembly that goes into Envoy's configuration, read once from the files under envoy/."""

from __future__ import annotations

from functools import cache

from control_plane.kit.data_files import data_file


@cache
def lua_source(name: str) -> str:
    """The text of envoy/lua/<name>.lua."""
    return data_file(f"lua/{name}.lua").read_text(encoding="utf-8")


@cache
def wasm_module(name: str) -> bytes:
    """The bytes of envoy/wasm/<name>.wasm."""
    return data_file(f"wasm/{name}.wasm").read_bytes()
