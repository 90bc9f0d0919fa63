"""Thinking that a client must not be given: what is left of a request and of an answer."""

from __future__ import annotations

import json

from control_plane.dialects import canon as c
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from control_plane.extproc.thinking import WithoutThinking, hidden
from tests.unit.extproc.conftest import Attempt
from tests.unit.extproc.fakes import Ids

EVENTS: list[c.Event] = [
    c.Start("id", "m"),
    c.ReasoningDelta("hm"),
    c.ReasoningSignature("S", "gemini-generate-content"),
    c.RedactedReasoning("R", "openai-responses"),
    c.TextDelta("t"),
    c.ToolCallStart(0, "i", "f", 0, "S", "gemini-generate-content"),
    c.ToolCallEnd(0),
]


class Reader:
    def start(self, status: int, content_type: str) -> None:
        self.started = (status, content_type)

    def feed(self, data: bytes) -> list[c.Event]:
        return list(EVENTS)

    def finish(self) -> list[c.Event]:
        return [c.ReasoningDelta("late"), c.Stop("tool_use"), c.End()]


def test_answers_keep_everything_else() -> None:
    inner = Reader()
    reader = WithoutThinking(inner)
    reader.start(200, "text/event-stream")
    assert inner.started == (200, "text/event-stream")
    assert reader.feed(b"x") == [c.Start("id", "m"), c.TextDelta("t"), c.ToolCallStart(0, "i", "f"), c.ToolCallEnd(0)]
    assert reader.finish() == [c.Stop("tool_use"), c.End()]


def test_a_request_still_asks_to_think() -> None:
    plain = c.Request(dialect="d", model="m", messages=())
    assert hidden(plain) is plain
    asked = c.Request(dialect="d", model="m", messages=(), reasoning=c.Reasoning(enabled=True, budget=2000))
    assert hidden(asked).reasoning == c.Reasoning(enabled=True, budget=2000, visible=False)


def test_a_muted_target_gives_none_and_says_so() -> None:
    client, provider = DIALECTS["anthropic-messages"], PROVIDERS["gemini-generate-content"]
    facts = Facts(client, provider, "gemini/m", TargetFacts("gemini-3-x", "/m/{model}:generateContent"), mute=True)
    tally = Tally()
    attempt = Attempt(Exchange(facts, Ids(), tally), tally)
    body = {"model": "m", "max_tokens": 9, "thinking": {"type": "adaptive"}, "messages": [{"role": "user", "content": "hi"}]}
    sent = b"".join(
        answer.request_body.response.body_mutation.streamed_response.body for answer in attempt.request(json.dumps(body).encode())
    )
    assert json.loads(sent)["generationConfig"] == {"maxOutputTokens": 9}
    attempt.answers.clear()
    attempt.head(content_type="application/json")
    parts = [{"text": "hm", "thought": True}, {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "UQ=="}]
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    attempt.body(json.dumps(answer), end=True)
    assert attempt.client_head is not None
    assert attempt.client_head["x-headgate-dropped"] == "thinking.display"
    assert [block["type"] for block in json.loads(attempt.client_body)["content"]] == ["tool_use"]
