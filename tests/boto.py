"""boto3 as users have it, pointed at a server of ours, and what it makes of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def bedrock(url: str, key: str = "AKIDEXAMPLE", timeout: float = 10) -> Any:
    """A client that signs with the access key `key` and made-up secrets, and never tries twice."""
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key="made-up", aws_session_token="made-up", region_name="eu-central-1")
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout, connect_timeout=timeout)
    return session.client("bedrock-runtime", endpoint_url=url, config=config)


@contextmanager
def clients() -> Iterator[Callable[..., Any]]:
    """`bedrock`, with every client closed at the end."""
    made: list[Any] = []

    def make(url: str, key: str = "AKIDEXAMPLE", timeout: float = 10) -> Any:
        made.append(bedrock(url, key, timeout))
        return made[-1]

    try:
        yield make
    finally:
        for client in made:
            client.close()


def user(text: str, *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}, *more]}]


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"toolSpec": {"name": name, "description": f"Use {name}.", "inputSchema": {"json": schema}}}


@dataclass
class Said:
    """An answer as a program that follows the vendor's documentation puts it together."""

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    redacted: bytes = b""
    calls: list[dict[str, Any]] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    stop: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    content: list[dict[str, Any]] = field(default_factory=list)


def whole(answer: Mapping[str, Any]) -> Said:
    said = Said(stop=answer["stopReason"], usage=dict(answer["usage"]), content=answer["output"]["message"]["content"])
    for block in said.content:
        if "text" in block:
            said.text += block["text"]
        elif "toolUse" in block:
            said.calls.append(block["toolUse"])
        elif "citationsContent" in block:
            said.text += "".join(item["text"] for item in block["citationsContent"].get("content", []))
            said.citations += block["citationsContent"]["citations"]
        elif "reasoningContent" in block:
            told = block["reasoningContent"].get("reasoningText", {})
            said.reasoning += told.get("text", "")
            said.signature += told.get("signature", "")
            said.redacted += block["reasoningContent"].get("redactedContent", b"")
    return said


def streamed(answer: Mapping[str, Any]) -> Said:
    """Raises botocore's EventStreamError for an exception inside the stream. Blocks are checked to come one after the other."""
    try:
        return _folded(answer["stream"])
    finally:
        answer["stream"].close()


def _folded(events: Any) -> Said:
    said = Said()
    arguments: list[str] = []
    opened = -1
    for event in events:
        (kind, body), *more = event.items()
        assert not more
        if kind == "contentBlockStart":
            assert body["contentBlockIndex"] == opened + 1
            opened = body["contentBlockIndex"]
            if (use := body["start"].get("toolUse")) is not None:
                said.calls.append(dict(use))
                arguments = []
        elif kind == "contentBlockDelta":
            assert body["contentBlockIndex"] in (opened, opened + 1)
            opened = body["contentBlockIndex"]
            delta = body["delta"]
            said.text += delta.get("text", "")
            if "citation" in delta:
                said.citations.append(delta["citation"])
            if "toolUse" in delta:
                arguments.append(delta["toolUse"]["input"])
            told = delta.get("reasoningContent", {})
            said.reasoning += told.get("text", "")
            said.signature += told.get("signature", "")
            said.redacted += told.get("redactedContent", b"")
        elif kind == "contentBlockStop":
            if said.calls and "input" not in said.calls[-1]:
                said.calls[-1]["input"] = json.loads("".join(arguments) or "{}")
        elif kind == "messageStop":
            said.stop = body["stopReason"]
        elif kind == "metadata":
            said.usage = dict(body["usage"])
    return said
