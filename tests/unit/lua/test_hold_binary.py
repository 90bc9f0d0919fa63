"""The committed hold.wasm is what hold.c compiles to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

WASM = Path(__file__).parents[3] / "envoy" / "wasm"
COMPILER = "14.0.6"  # another clang makes other bytes of the same source


def test_binary_is_reproducible(tmp_path: Path) -> None:
    if not shutil.which("clang") or not shutil.which("wasm-ld"):
        pytest.skip("needs clang and lld (apt-get install clang lld)")
    if f"version {COMPILER}" not in subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip(f"clang is not {COMPILER}")
    for name in ("hold.c", "Makefile"):
        shutil.copy(WASM / name, tmp_path / name)
    subprocess.run(["make", "-C", str(tmp_path), "hold.wasm"], check=True, capture_output=True)
    assert (tmp_path / "hold.wasm").read_bytes() == (WASM / "hold.wasm").read_bytes()


def test_binary_asks_for_nothing_but_envoy(tmp_path: Path) -> None:
    """Freestanding: the three host calls that hold.c names, no WASI."""
    data = (WASM / "hold.wasm").read_bytes()
    assert data.startswith(b"\0asm\x01\0\0\0")
    for name in (b"proxy_get_buffer_bytes", b"proxy_get_header_map_value", b"proxy_replace_header_map_value", b"proxy_on_response_body"):
        assert name in data
    assert b"wasi" not in data
