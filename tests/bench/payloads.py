"""Request bodies as a coding agent sends them: about 1 KB, 32 KB and 400 KB of chat completion."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Final

SIZES_BYTES: Final = {"1k": 1024, "32k": 32 * 1024, "400k": 400 * 1024}
_CODE: Final = 'def return self.config if not None: for item in range(len(items)): raise ValueError("bad") import os\n\tx = {\'k\': "v"}'
_WORDS: Final = tuple(_CODE.split(" "))


def _source(rng: random.Random, size: int) -> str:
    """Code-like text of `size` characters; its quotes and newlines are escapes in JSON, which cost parsers time."""
    out: list[str] = []
    length = 0
    while length < size:
        line = "    " * rng.randrange(3) + " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(4, 12))) + "\n"
        out.append(line)
        length += len(line)
    return "".join(out)[:size]


def _tools(count: int) -> list[dict[str, Any]]:
    properties = {"path": {"type": "string", "description": "file path"}, "line": {"type": "integer"}, "text": {"type": "string"}}
    schema = {"type": "object", "required": ["path"], "properties": properties}
    about = 'Edit a file in the workspace; "path" is relative to the root.'
    return [{"type": "function", "function": {"name": f"tool_{i}", "description": about, "parameters": schema}} for i in range(count)]


def chat_body(model: str, size_bytes: int, *, stream: bool, ask_usage: bool = True, tools: int = 12) -> bytes:
    """A chat completion request of about `size_bytes`: system prompt, `tools` tools from 32 KB on, alternating turns of code."""
    rng = random.Random(size_bytes)
    # The driver counts in the place of the zeros: no two requests are equal, as in real traffic.
    messages: list[dict[str, str]] = [{"role": "system", "content": "You are a coding agent. Answer with a patch. #0000000000#"}]
    request: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 1024}
    if stream:
        request["stream"] = True
        if ask_usage:
            request["stream_options"] = {"include_usage": True}
    if size_bytes >= SIZES_BYTES["32k"]:
        request["tools"] = _tools(tools)

    def dump() -> bytes:
        return json.dumps(request, separators=(",", ":")).encode()

    role, turn = "user", max(300, size_bytes // 24)
    while (left := size_bytes - len(dump()) - 40) > 20:
        messages.append({"role": role, "content": _source(rng, max(1, min(turn, int(left * 0.9))))})
        role = "assistant" if role == "user" else "user"
    if messages[-1]["role"] != "user":
        messages.append({"role": "user", "content": "continue"})
    return dump()


def write_payloads(folder: Path, model: str) -> dict[str, Path]:
    """Writes every body that the workloads use; the name of a body -> its file."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies = {name: chat_body(model, size, stream=False) for name, size in SIZES_BYTES.items()}
    bodies["stream"] = chat_body(model, SIZES_BYTES["1k"], stream=True)
    bodies["stream-trim"] = chat_body(model, SIZES_BYTES["1k"], stream=True, ask_usage=False)
    files = {name: folder / f"{name}.json" for name in bodies}
    for name, body in bodies.items():
        files[name].write_bytes(body)
    return files
