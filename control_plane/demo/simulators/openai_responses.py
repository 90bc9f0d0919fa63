"""OpenAI's Responses on the wire: the response object and the events of a stream."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.compose import Answer
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.openai_responses_request import SAID_IN, Responses, seal
from control_plane.demo.simulators.reply import Event, encode

_PADDING: Final = "aB3dE5gH7jK9mN1pQ"


def output_items(asked: Responses, result: Answer, number: int) -> list[dict[str, Any]]:
    """The items of the answer: reasoning where the model reasons, then a message or calls."""
    items: list[dict[str, Any]] = []
    status = "incomplete" if result.finish == "length" else "completed"
    if result.reasoning:
        identity = f"rs_sim{number:029x}"
        summary = [{"type": "summary_text", "text": "".join(result.reasoning)}] if asked.summary else []
        items.append({"id": identity, "type": "reasoning", "summary": summary})
        if asked.encrypted:
            items[-1]["encrypted_content"] = seal(identity)
    for index, call in enumerate(result.calls):
        items.append({
            "id": f"{'ctc' if call.freeform else 'fc'}_sim{number:026x}{index:03x}",
            "type": "custom_tool_call" if call.freeform else "function_call",
            "status": status,
            "input" if call.freeform else "arguments": call.arguments,
            "call_id": f"call_{number:018x}{index:03x}",
            "name": call.name,
        })  # fmt: skip
    if not result.calls and result.text:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(result.text)}
        items.append({"id": f"msg_sim{number:028x}", "type": "message", "status": status, "content": [part], "role": "assistant"})
    return items


def usage_of(prompt: int, cached: int, result: Answer) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": cached},
        "output_tokens": result.tokens,
        "output_tokens_details": {"reasoning_tokens": len(result.reasoning)},
        "total_tokens": prompt + result.tokens,
    }


def document(asked: Responses, model: str, number: int, status: str, output: Sequence[Mapping[str, Any]], usage: object) -> dict[str, Any]:
    """The response object."""
    body = asked.body
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    now = int(time.time())
    return {
        "id": f"resp_sim{number:027x}",
        "object": "response",
        "created_at": now,
        "status": status,
        "background": False,
        "completed_at": now if status == "completed" else None,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": model,
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": asked.store,
        "temperature": body.get("temperature") or 1.0,
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": body.get("top_p") or 1.0,
        "truncation": body.get("truncation") or "disabled",
        "usage": usage,
        "user": None,
        "metadata": body.get("metadata") or {},
    }


class EventStream:
    """Builds the events of one streamed answer."""

    def __init__(self, number: int) -> None:
        self.events: list[Event] = []
        self._sequence = 0
        self._padding = _PADDING[: 5 + number % 12]

    def lifecycle(self, kind: str, response: Mapping[str, Any]) -> None:
        self._add(kind, {"response": response}, content=False)

    def item(self, index: int, item: Mapping[str, Any], result: Answer) -> None:
        kind = item["type"]
        opened = dict(item)
        if kind == "reasoning":
            opened = {"id": item["id"], "type": kind, "summary": []}
        elif kind == "message":
            opened |= {"status": "in_progress", "content": []}
        else:
            opened |= {"status": "in_progress", SAID_IN[kind]: ""}
        self._add("response.output_item.added", {"output_index": index, "item": opened}, content=kind in SAID_IN)
        place = {"item_id": item["id"], "output_index": index}
        if kind == "reasoning" and item["summary"]:
            self._part(
                {**place, "summary_index": 0}, "response.reasoning_summary_text", "response.reasoning_summary_part", result.reasoning
            )
        elif kind == "message":
            self._part({**place, "content_index": 0}, "response.output_text", "response.content_part", result.text)
        elif kind in SAID_IN:
            field, said = SAID_IN[kind], item[SAID_IN[kind]]
            for fragment in [said[i : i + 5] for i in range(0, len(said), 5)]:
                self._add(f"response.{kind}_{field}.delta", {**place, "delta": fragment, "obfuscation": self._padding})
            self._add(f"response.{kind}_{field}.done", {**place, field: said}, content=False)
        self._add("response.output_item.done", {"output_index": index, "item": item}, content=False)

    def _part(self, place: Mapping[str, Any], text: str, part: str, tokens: Sequence[str]) -> None:
        more: dict[str, Any] = {"logprobs": []} if text == "response.output_text" else {}

        def shape(said: str) -> dict[str, Any]:
            return {"type": "output_text", "annotations": [], **more, "text": said} if more else {"type": "summary_text", "text": said}

        whole = "".join(tokens)
        self._add(f"{part}.added", {**place, "part": shape("")}, content=False)
        for token in tokens:
            self._add(f"{text}.delta", {**place, "delta": token, **more, "obfuscation": self._padding})
        self._add(f"{text}.done", {**place, "text": whole, **more}, content=False)
        self._add(f"{part}.done", {**place, "part": shape(whole)}, content=False)

    def _add(self, kind: str, fields: Mapping[str, Any], *, content: bool = True) -> None:
        self.events.append((_event({"type": kind, "sequence_number": self._sequence, **fields}), content))
        self._sequence += 1


def error_event(fault: Fault) -> bytes:
    """How a stream of this API reports an error."""
    return _event({"type": "error", "sequence_number": 0, **errors.for_fault(fault)})


def _event(payload: Mapping[str, Any]) -> bytes:
    return b"event: " + str(payload["type"]).encode() + b"\ndata: " + encode(payload) + b"\n\n"
