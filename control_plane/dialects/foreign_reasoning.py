"""Reasoning of earlier turns for a target that did not write it: one place for all dialects, between reader and writer.

A client gives back what an earlier answer held. Signed or encrypted reasoning is readable for the vendor that made it alone, and
others refuse the conversation; some targets take reasoning without a seal, others none. What a target takes back is its dialect's
data (`api.ReasoningReplay`); the rest is foreign, and the route says what becomes of it:

* `strip`: seals and encrypted reasoning are left out. Readable reasoning stays where the target takes it without a seal, and is
  left out elsewhere.
* `text`: as `strip`, but readable reasoning that the target has no place for becomes text between <thinking> marks.
* `refuse`: the target is unfit for the request.

Tool calls, results and all other parts stay as they are; a call only loses a signature that another vendor made.
"""

from __future__ import annotations

from typing import Final

import msgspec

from control_plane.dialects.api import ReasoningReplay
from control_plane.dialects.canon import Message, Part, RedactedThinking, Request, Text, Thinking, ToolCall, Unfit
from control_plane.dialects.policies import ForeignReasoning

MARKED: Final = "<thinking>\n{}\n</thinking>"


def settled(request: Request, takes: ReasoningReplay, policy: ForeignReasoning) -> tuple[Request, tuple[str, ...]]:
    """(the request with nothing but reasoning that the target takes, paths of what it does not get).

    Raises Unfit naming the first message with foreign reasoning when the policy is to refuse it.
    """
    named: list[str] = []
    messages = tuple([_settled(message, takes, policy, named) for message in request.messages])
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request, ()
    return request.edited(messages=messages), tuple(named)


def _settled(message: Message, takes: ReasoningReplay, policy: ForeignReasoning, named: list[str]) -> Message:
    if not any(_is_foreign(message.parts, place, takes) for place in range(len(message.parts))):
        return message
    if policy == "refuse":
        raise Unfit(f"{message.path}.reasoning", "the target cannot take back this reasoning, which it did not write")
    parts: list[Part] = []
    for place, part in enumerate(message.parts):
        if not _is_foreign(message.parts, place, takes):
            parts.append(part)
        elif isinstance(part, ToolCall):
            parts.append(msgspec.structs.replace(part, signature=None, origin=None))
            named.append(f"{message.path}.tool_calls.signature")
        elif isinstance(part, Thinking) and part.text and (takes.plain or policy == "text"):
            parts.append(Thinking(part.text) if takes.plain else Text(MARKED.format(part.text)))
            if part.signature:
                named.append(f"{message.path}.reasoning.signature")
        else:
            named.append(f"{message.path}.reasoning")
    return msgspec.structs.replace(message, parts=tuple(parts))


def _is_foreign(parts: tuple[Part, ...], place: int, takes: ReasoningReplay) -> bool:
    part = parts[place]
    match part:
        case Text():
            return False
        case ToolCall():
            return part.signature is not None and part.origin not in takes.calls_signed_by
        case RedactedThinking():
            return part.origin not in takes.sealed_by
        case Thinking() if part.signature:
            return part.origin not in takes.sealed_by
        case Thinking():
            return not takes.plain and not (takes.summaries and _is_summary(parts, place, takes))
        case _:
            return False


def _is_summary(parts: tuple[Part, ...], place: int, takes: ReasoningReplay) -> bool:
    """Whether readable reasoning stands in front of encrypted reasoning that the target takes back, and so belongs to it."""
    for part in parts[place + 1 :]:
        if not isinstance(part, Thinking) or part.signature:
            return isinstance(part, RedactedThinking) and part.origin in takes.sealed_by
    return False
