"""The `response` object: what every event of the answer's beginning and end carries, and the whole answer is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import Failure, Request, Start, Stop, Usage
from control_plane.dialects.openai_responses.errors import response_error
from control_plane.dialects.openai_responses.usage import write_usage
from control_plane.dialects.openai_responses.vocabulary import INCOMPLETE_TO_CANON, INCOMPLETE_TO_WIRE, NAME


def incomplete_reason(stop: Stop, refused: bool) -> str | None:
    """`incomplete_details.reason`, the provider's own word where it is one of this dialect's; None for a completed answer."""
    if stop.native in INCOMPLETE_TO_CANON:
        return stop.native
    return None if stop.reason == "refusal" and refused else INCOMPLETE_TO_WIRE.get(stop.reason)


class ResponseDocument:
    """Builds the object for one answer. It repeats what the client asked for, as the vendor does; nothing of it is stored."""

    def __init__(self, request: Request, start: Start, ids: IdSource) -> None:
        self._ids = ids
        raw: Mapping[str, Any] = request.raw if request.dialect == NAME and request.raw is not None else {}
        reasoning = raw.get("reasoning") or {}
        self._head: dict[str, Any] = {
            "id": start.id or ids.new("resp_"),
            "object": "response",
            "created_at": start.created if start.created is not None else ids.now(),
        }
        self._echo: dict[str, Any] = {
            "instructions": raw.get("instructions"),
            "max_output_tokens": raw.get("max_output_tokens"),
            "model": start.model or request.model,
            "parallel_tool_calls": _or(raw.get("parallel_tool_calls"), True),
            "previous_response_id": None,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "store": False,
            "temperature": _or(raw.get("temperature"), 1.0),
            "text": {"format": {"type": "text"}, **(raw.get("text") or {})},
            "tool_choice": _or(raw.get("tool_choice"), "auto"),
            "tools": [_tool(tool) for tool in raw.get("tools") or ()],
            "top_p": _or(raw.get("top_p"), 1.0),
            "truncation": "disabled",
            "user": raw.get("user"),
            "metadata": raw.get("metadata") or {},
        }

    def begun(self) -> dict[str, Any]:
        return self._document("in_progress", [], None)

    def ended(self, output: list[dict[str, Any]], reason: str | None, usage: Usage) -> dict[str, Any]:
        """`reason`: why it is incomplete, None when it is not."""
        counts = None if usage == Usage() else write_usage(usage)
        if reason is not None:
            return self._document("incomplete", output, counts, incomplete_details={"reason": reason})
        return self._document("completed", output, counts, completed_at=self._ids.now())

    def failed(self, output: list[dict[str, Any]], failure: Failure) -> dict[str, Any]:
        return self._document("failed", output, None, error=response_error(failure))

    def _document(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None, **said: object) -> dict[str, Any]:
        states: dict[str, object] = {"status": status, "background": False, "error": None, "incomplete_details": None, **said}
        return {**self._head, **states, "output": output, **self._echo, "usage": usage}


def _or(value: object, default: object) -> object:
    return default if value is None else value


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": None, **tool} if tool.get("type") == "function" else dict(tool)
