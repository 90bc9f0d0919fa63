"""The simulated vendors' files and batches are good enough for the vendors' own SDKs."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

ASK: list[Any] = [{"role": "user", "content": "hello there"}]


async def test_openais_files(openai_async: openai.AsyncOpenAI) -> None:
    made = [await openai_async.files.create(file=(f"{n}.txt", b"\x00\r\n--x" * n), purpose="user_data") for n in range(1, 4)]
    assert [file.id async for file in openai_async.files.list(limit=2, purpose="user_data")] == [file.id for file in made[::-1]]
    assert [file async for file in openai_async.files.list(purpose="batch")] == []
    assert (await openai_async.files.content(made[2].id)).content == b"\x00\r\n--x" * 3
    assert (await openai_async.files.retrieve(made[0].id)).bytes == 6
    assert (await openai_async.files.delete(made[0].id)).deleted
    for call in (openai_async.files.retrieve, openai_async.files.content, openai_async.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            await call(made[0].id)


async def test_openais_batches(openai_async: openai.AsyncOpenAI) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "good": {"model": "gpt-4o", "input": "hello there"},
        "bad": {"model": "gpt-99", "input": "hello there"},
    }
    lines = [json.dumps({"custom_id": name, "method": "POST", "url": "/v1/responses", "body": body}) for name, body in bodies.items()]
    given = await openai_async.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    made = await openai_async.batches.create(input_file_id=given.id, endpoint="/v1/responses", completion_window="24h")
    assert made.status == "completed"
    assert made.request_counts is not None
    assert (made.request_counts.total, made.request_counts.completed, made.request_counts.failed) == (2, 1, 1)
    assert made.output_file_id is not None
    output = json.loads((await openai_async.files.content(made.output_file_id)).text)
    assert (output["custom_id"], output["response"]["status_code"]) == ("good", 200)
    assert [batch.id async for batch in openai_async.batches.list()] == [made.id]
    with pytest.raises(openai.ConflictError):
        await openai_async.batches.cancel(made.id)
    for wrong in ({"input_file_id": "file-nobody"}, {"endpoint": "/v1/files"}):
        asked: Any = {"input_file_id": given.id, "endpoint": "/v1/responses", "completion_window": "24h", **wrong}
        with pytest.raises(openai.BadRequestError, match="Invalid"):
            await openai_async.batches.create(**asked)
    other = await openai_async.files.create(file=("in.jsonl", b'{"custom_id": 1}'), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="is no request"):
        await openai_async.batches.create(input_file_id=other.id, endpoint="/v1/responses", completion_window="24h")


async def test_anthropics_batches(anthropic_async: anthropic.AsyncAnthropic) -> None:
    params: Any = {"model": "claude-sonnet-5", "max_tokens": 50, "messages": ASK}
    asked: list[Any] = [{"custom_id": "good", "params": params}, {"custom_id": "bad", "params": {**params, "model": "claude-9"}}]
    made = [await anthropic_async.messages.batches.create(requests=asked) for _ in range(3)]
    assert (made[0].processing_status, made[0].request_counts.succeeded, made[0].request_counts.errored) == ("ended", 1, 1)
    assert [batch.id async for batch in anthropic_async.messages.batches.list(limit=2)] == [batch.id for batch in made[::-1]]
    assert made[0].results_url == f"https://api.anthropic.com/v1/messages/batches/{made[0].id}/results"
    raw = await anthropic_async.get(f"/v1/messages/batches/{made[0].id}/results", cast_to=str)
    assert [json.loads(line)["result"]["type"] for line in raw.splitlines()] == ["succeeded", "errored"]
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        await anthropic_async.messages.batches.cancel(made[0].id)
    assert (await anthropic_async.messages.batches.delete(made[0].id)).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        await anthropic_async.messages.batches.retrieve(made[0].id)
    with pytest.raises(anthropic.BadRequestError, match="requests"):
        await anthropic_async.messages.batches.create(requests=[])


async def test_anthropics_files(anthropic_async: anthropic.AsyncAnthropic) -> None:
    files = anthropic_async.beta.files
    made = [await files.upload(file=(f"{n}.txt", b"x" * n)) for n in range(1, 4)]
    assert [file.id async for file in files.list(limit=2)] == [file.id for file in made[::-1]]
    assert (await (await files.download(made[2].id)).read()) == b"xxx"
    assert (await files.retrieve_metadata(made[1].id)).size_bytes == 2
    await files.delete(made[1].id)
    with pytest.raises(anthropic.NotFoundError):
        await files.retrieve_metadata(made[1].id)
