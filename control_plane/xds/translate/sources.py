"""Lua and WebAssembly that goes into Envoy's configuration, read once from the files under envoy/."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

from control_plane.kit.data_files import data_file

EDGE: Final = (
    *("base", "clock", "json", "errors", "refusals", "facts", "body", "session", "weigh", "forms", "address", "stored"),
    *("meter", "guard", "broken", "whole", "stream", "meter_openai_chat", "meter_openai_responses", "meter_anthropic_messages"),
    *("meter_gemini_generate_content", "meter_cohere_chat", "meter_bedrock_converse", "media", "trim", "unknown"),
)
"""The parts of the edge filter under envoy/lua/edge, in the order in which one uses those before it."""
BEFORE: Final = {"edge": ("form", *(f"edge/{part}" for part in EDGE)), "rename": ("edge/clock",)}
"""Files that are put before another one, in one script with it: a Lua filter of Envoy is one text and loads no modules."""


@cache
def lua_source(name: str) -> str:
    """The script `name`: the text of envoy/lua/<name>.lua, after what belongs before it."""
    return "".join(data_file(f"lua/{part}.lua").read_text(encoding="utf-8") for part in (*BEFORE.get(name, ()), name))


@cache
def wasm_module(name: str) -> bytes:
    """The bytes of envoy/wasm/<name>.wasm."""
    return data_file(f"wasm/{name}.wasm").read_bytes()


def vm_id(name: str, script: str) -> str:
    """Of the VM that all filters with `script` share. Another script has another: Envoys may hold a former version for a while."""
    return f"headgate-{name}-{hashlib.blake2b(script.encode(), digest_size=4).hexdigest()}"
