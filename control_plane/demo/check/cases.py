"""What a healthy gateway must do: every client with every vendor, the lists, and clear errors for bad requests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from control_plane.demo.check import beside
from control_plane.demo.check.clients import CLIENTS, Client, Failed, check_ok
from control_plane.demo.simulators.sampling import sample
from control_plane.demo.wire_client import call

ROUTES: Final = {"openai": ("chat", "gpt-5"), "anthropic": ("claude", "claude-sonnet-5"), "gemini": ("gemini", "gemini-2.5-flash")}
"""Vendor → (model name to ask for, upstream model): the demo's route that tries this vendor first."""

Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the check: `work` raises when the gateway does something else."""

    name: str
    work: Work


def cases(base_url: str) -> Iterator[Case]:
    """Everything that needs no fault, in the order in which it is shown."""
    for client in CLIENTS:
        for vendor in ROUTES:
            lane = "passthrough" if client.vendor == vendor else "translated"
            for stream in (False, True):
                how = "streamed" if stream else "whole"
                label = f"{client.name} client → {vendor}, {lane}, {how}"
                yield Case(label, _text(base_url, client, vendor, stream))
                yield Case(f"{label}, parallel tools", _tools(base_url, client, vendor, stream))
    yield Case("weights: fast is shared by openai and local", _shared(base_url))
    yield Case("embeddings", _embeddings(base_url))
    yield Case("count_tokens", _count_tokens(base_url))
    for name, work in beside.works(base_url):
        yield Case(name, work)
    yield Case("models list in OpenAI's and in Anthropic's shape", _models(base_url))
    for client in CLIENTS:
        yield from _bad_requests(base_url, client)


def served_by(text: str, vendor: str, model: str) -> None:
    """Raises Failed unless the answer names that vendor and model."""
    if not text.startswith(f"{vendor}/{model} "):
        raise Failed(f"expected an answer of {vendor}/{model}, got {text[:120]!r}")


def _text(base_url: str, client: Client, vendor: str, stream: bool) -> Work:
    async def work() -> None:
        name, upstream = ROUTES[vendor]
        question = 'what is a headgate? → Zürich, "quoted",' + " and so on" * 12
        answer, _ = await client.ask(base_url, name, question, stream=stream)
        said = client.read(answer, stream=stream)
        if said.text != f"{vendor}/{upstream} heard: {question}":
            raise Failed(f"expected {vendor}/{upstream} to repeat the question, got {said.text[:200]!r}")
        if not said.whole or said.finish not in ("stop", "end_turn", "completed"):
            raise Failed(f"not a complete answer: finish {said.finish}, terminal event {'seen' if said.whole else 'missing'}")
        if said.input_tokens < 1 or said.output_tokens < 40:
            raise Failed(f"usage is missing: input {said.input_tokens}, output {said.output_tokens}")
        leaked = [header for header in answer.headers if header.startswith(("x-headgate-lane", "x-headgate-model"))]
        if leaked:
            raise Failed(f"internal headers reached the client: {leaked}")

    return work


def _tools(base_url: str, client: Client, vendor: str, stream: bool) -> Work:
    async def work() -> None:
        name, upstream = ROUTES[vendor]
        answer, asked = await client.ask(base_url, name, "use get_weather, then get_time", stream=stream, tools=True)
        said = client.read(answer, stream=stream)
        if [made.name for made in said.calls] != ["get_weather", "get_time"] or said.finish not in ("tool_calls", "tool_use", "completed"):
            raise Failed(f"expected two tool calls, got {said.calls}, finish {said.finish}")
        wanted = sample({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}})
        if said.calls[0].arguments != wanted or said.calls[1].arguments != {}:
            raise Failed(f"arguments came out as {[made.arguments for made in said.calls]}")
        answer = await client.give_results(base_url, asked, said, ["sunny → 31 °C", "noon"])
        last = client.read(answer, stream=stream)
        served_by(last.text, vendor, upstream)
        if "sunny → 31 °C | noon" not in last.text:
            raise Failed(f"the results did not arrive: {last.text!r}")

    return work


def _shared(base_url: str) -> Work:
    async def work() -> None:
        client, speakers = CLIENTS[0], set()
        for _ in range(40):
            answer, _ = await client.ask(base_url, "fast", "hello", stream=False)
            speakers.add(client.read(answer, stream=False).text.split(" ")[0])
        if speakers != {"openai/gpt-4o-mini", "local/llama-3.3-70b"}:
            raise Failed(f"40 requests were answered by {sorted(speakers)}")

    return work


def _embeddings(base_url: str) -> Work:
    async def work() -> None:
        body = {"model": "embed", "input": ["one", "two"]}
        answer = await CLIENTS[0].post(base_url, body, path="/v1/embeddings")
        check_ok(answer)
        if len(answer.json()["data"]) != 2 or answer.json()["model"] != "text-embedding-3-small":
            raise Failed(f"unexpected: {answer.body[:200]!r}")

    return work


def _count_tokens(base_url: str) -> Work:
    async def work() -> None:
        body = {"model": "claude", "messages": [{"role": "user", "content": "how many tokens is this?"}]}
        answer = await CLIENTS[1].post(base_url, body, path="/v1/messages/count_tokens")
        check_ok(answer)
        if answer.json()["input_tokens"] < 1:
            raise Failed(f"unexpected: {answer.body[:200]!r}")

    return work


def _models(base_url: str) -> Work:
    async def work() -> None:
        for headers, key in (
            ({"authorization": "Bearer demo"}, "object"),
            ({"x-api-key": "demo", "anthropic-version": "2023-06-01"}, "has_more"),
        ):
            answer = await call(f"{base_url}/v1/models", method="GET", headers=headers)
            check_ok(answer)
            document = answer.json()
            if key not in document or not {"chat", "claude", "gemini", "fast"} <= {model["id"] for model in document["data"]}:
                raise Failed(f"unexpected list: {document}")

    return work


def _bad_requests(base_url: str, client: Client) -> Iterator[Case]:
    """Requests that must get an error in the client's dialect: (what, body, headers, path, method, status, words in the message)."""
    turns = [{"role": "user", "content": "hi"}]
    rest = json.dumps({"max_tokens": 100, "messages": turns})[1:].encode()
    fine = b'{"model":"chat",' + rest
    deep = b'{"model":"chat","max_tokens":9,"messages":' + b"[" * 5000 + b"]" * 5000 + b"}"
    shapes: list[tuple[str, bytes, dict[str, str], tuple[int, ...], tuple[str, ...]]] = [
        ("no model", b"{" + rest, {}, (400,), ("model",)),
        ("unknown model, names the nearest", b'{"model":"chatt",' + rest, {}, (404,), ("chatt", "chat")),
        ("two models (ambiguous)", b'{"model":"chat","model":"claude",' + rest, {}, (400,), ()),
        ("escaped model key (ambiguous)", b'{"\\u006dodel":"chat",' + rest, {}, (400,), ()),
        ("not JSON", b"model=chat", {}, (400,), ()),
        ("JSON that ends in the middle", fine[:-5], {}, (400,), ()),
        ("invalid UTF-8", b'{"model":"chat","user":"\xff\xfe",' + rest, {}, (400,), ()),
        ("too deep", deep, {}, (400,), ()),
        ("wrong content type", fine, {"content-type": "text/plain"}, (415,), ()),
        ("compressed body", gzip.compress(fine), {"content-encoding": "gzip"}, (415,), ()),
        ("no body", b"", {}, (400,), ()),
    ]
    for what, body, headers, statuses, words in shapes:
        yield Case(f"{client.name} client, {what}", _refused(base_url, client, body, headers, statuses, words))
    yield Case(f"{client.name} client, wrong method", _wrong_method(base_url, client))
    yield Case(f"{client.name} client, unknown path", _unknown_path(base_url, client, fine))


def _refused(
    base_url: str, client: Client, body: bytes, headers: dict[str, str], statuses: tuple[int, ...], words: tuple[str, ...]
) -> Work:
    async def work() -> None:
        answer = await client.post(base_url, body, headers)
        if answer.status not in statuses or answer.ended != "complete":
            raise Failed(f"expected {statuses}, got {answer.status} ({answer.ended}): {answer.body[:200]!r}")
        message = client.error(answer)
        if missing := [word for word in words if word not in message]:
            raise Failed(f"the message does not name {missing}: {message!r}")

    return work


def _wrong_method(base_url: str, client: Client) -> Work:
    async def work() -> None:
        headers = {"anthropic-version": "2023-06-01"} if client.vendor == "anthropic" else {}
        answer = await call(base_url + client.path, method="GET", headers=headers)
        if answer.status != 405:
            raise Failed(f"expected 405, got {answer.status}: {answer.body[:200]!r}")
        client.error(answer)

    return work


def _unknown_path(base_url: str, client: Client, body: bytes) -> Work:
    async def work() -> None:
        answer = await client.post(base_url, body, path="/v1/nonsense")
        if answer.status != 404:
            raise Failed(f"expected 404, got {answer.status}: {answer.body[:200]!r}")
        if not isinstance(answer.json().get("error"), dict):
            raise Failed(f"not an error document: {answer.body[:200]!r}")

    return work
