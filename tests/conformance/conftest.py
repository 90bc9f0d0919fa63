"""Recorded traffic, and what the vendors' own SDKs decode from bytes (through a mock transport, so their real code runs)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anthropic
import cohere
import cohere.core
import httpx
import httpx2
import openai
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.exceptions import ClientError, EventStreamError
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from control_plane.dialects import canon
from control_plane.dialects.cohere_chat.vocabulary import FILTERED
from control_plane.dialects.eventstream import CONTENT_TYPE, encode_event
from tests import boto
from tests.conformance.ledger import Ledger, lines

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "recordings"


ELIDED = re.compile(rb"\[elided \d+ chars sha256=\w+\]")
"""What stands for long base64 in the recordings; google-genai decodes base64."""


@dataclass(frozen=True)
class Recording:
    """One exchange. `body` is the answer's body with its SSE framing, `request` the request's body when it was recorded."""

    name: str
    api: str
    provider: str
    status: int
    stream: bool
    body: bytes
    headers: Mapping[str, str]
    request: bytes | None


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: Any


@dataclass(frozen=True)
class Meaning:
    """What an SDK's user sees of an answer. `usage`: input with cached, cached, output, reasoning; None when not reported.

    `coherent`: a stream says in its deltas, its items and its last event the same.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    stop: str | None = None
    usage: tuple[int, int, int, int] | None = None
    signatures: tuple[str, ...] = ()
    error: str | None = None
    error_status: int | None = None
    choices: int = 1
    blocks: tuple[str, ...] = ()
    coherent: bool = True


COHERE_ERRORS = {
    "UnauthorizedError": "AuthenticationError",
    "ForbiddenError": "PermissionDeniedError",
    "TooManyRequestsError": "RateLimitError",
}
"""Its names for what the other SDKs call alike."""


@dataclass
class _Folding:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    stop: str | None = None


def load(apis: Collection[str]) -> list[Recording]:
    """The recordings of these APIs."""
    found: list[Recording] = []
    for line in (RECORDINGS / "index.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["api"] not in apis:
            continue
        envelope = json.loads((RECORDINGS / row["file"]).read_text())
        response, request = envelope["response"], envelope.get("request") or {}
        if row["body_file"] is None:
            body = json.dumps(response.get("body")).encode()
        else:
            body = (RECORDINGS / row["body_file"]).read_bytes()
            if row["framing"] == "jsonl":
                body = _framed(body, row["api"])
        asked = request.get("body")
        found.append(
            Recording(
                name=row["file"].removesuffix(".json"),
                api=row["api"],
                provider=row["provider"],
                status=response["status"],
                stream=row["body_file"] is not None,
                body=body,
                headers={k.lower(): str(v) for k, v in (response.get("headers") or {}).items()},
                request=asked.encode() if isinstance(asked, str) else json.dumps(asked).encode() if asked is not None else None,
            )
        )
    return found


def _framed(lines: bytes, api: str) -> bytes:
    """Fixtures keep one payload a line: put the framing back."""
    events = [line for line in lines.splitlines() if line.strip()]
    if api == "bedrock-converse":
        return b"".join(encode_event(name, json.dumps(told).encode()) for e in events for name, told in json.loads(e).items())
    if api in ("anthropic-messages", "openai-responses", "cohere-chat"):
        return b"".join(b"event: %b\ndata: %b\n\n" % (str(json.loads(e).get("type")).encode(), e) for e in events)
    return b"".join(b"data: %b\n\n" % e for e in events) + (b"" if api == "gemini-generate" else b"data: [DONE]\n\n")


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    """Of the dialects that are spoken on both sides."""
    return _there("openai-chat", "openai-responses", "anthropic-messages", "bedrock-converse", "cohere-chat")


@pytest.fixture(scope="session")
def recorded_errors() -> list[Recording]:
    """Of all APIs: answers whose status says that they are one."""
    if not RECORDINGS.is_dir():
        pytest.skip("no recordings beside the repository")
    apis = {json.loads(line)["api"] for line in (RECORDINGS / "index.jsonl").read_text().splitlines()}
    return [recording for recording in load(apis) if recording.status >= 400]


@pytest.fixture(scope="session")
def gemini_recordings() -> list[Recording]:
    return _there("gemini-generate")


@pytest.fixture(scope="session")
def cloud_recordings() -> list[Recording]:
    """Of Claude on Bedrock by invoke and on Vertex AI, under the names of our dialects."""
    found = _there("bedrock-invoke", "anthropic-messages")
    bedrock = [
        r for r in found if r.api == "bedrock-invoke" and b'"messages"' in (r.request or b"") and b"anthropic_version" in (r.request or b"")
    ]
    vertex = [r for r in found if r.api == "anthropic-messages" and r.provider == "vertexai"]
    return [*(replace(r, api="anthropic-bedrock") for r in bedrock), *(replace(r, api="anthropic-vertex") for r in vertex)]


def _there(*apis: str) -> list[Recording]:
    if not (RECORDINGS / "index.jsonl").is_file():
        pytest.skip(f"no recordings: {RECORDINGS} is not there (third-party data, kept outside the project)")
    return load(apis)


def _arguments(text: str) -> Any:
    """Arguments as a value; text that is no JSON stays text, and no arguments mean an empty object."""
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except ValueError:
        return text


_ERROR_OF = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""What the other SDKs call an error with this status; Google's has one class."""


class Sdks:
    """Decodes answers with the official clients, exactly as a user's program would."""

    def __init__(self) -> None:
        self._answer = (200, b"", "application/json")
        transport = httpx2.MockTransport(self._respond)
        client = httpx2.Client(transport=transport)
        self._openai = openai.OpenAI(api_key="k", base_url="http://mock/v1", max_retries=0, http_client=client)
        self._bedrock = boto.bedrock("http://mock")
        self._bedrock.meta.events.register("before-send.bedrock-runtime", self._respond_to_boto)
        self._anthropic = anthropic.Anthropic(
            api_key="k", base_url="http://mock", max_retries=0, http_client=httpx2.Client(transport=transport)
        )
        mocked: Any = {"base_url": "http://mock", "max_retries": 0}
        self._bedrock_claude = anthropic.AnthropicBedrock(
            api_key="k", aws_region="eu-central-1", http_client=httpx2.Client(transport=transport), **mocked
        )
        self._vertex_claude = anthropic.AnthropicVertex(
            access_token="t", region="eu", project_id="p", http_client=httpx2.Client(transport=transport), **mocked
        )

        responding = httpx.MockTransport(self._respond_to_google)
        options = types.HttpOptions(httpx_client=httpx.Client(transport=responding))
        self._gemini = genai.Client(api_key="k", http_options=options)
        self._cohere = cohere.ClientV2(
            "k", base_url="http://mock", httpx_client=httpx.Client(transport=httpx.MockTransport(self._respond_cohere))
        )

    def _respond_to_google(self, _: httpx.Request) -> httpx.Response:
        status, body, content_type = self._answer
        return httpx.Response(status, headers={"content-type": content_type}, content=ELIDED.sub(b"QUJD", body))

    def _respond_cohere(self, _: httpx.Request) -> httpx.Response:
        status, body, content_type = self._answer
        return httpx.Response(status, headers={"content-type": content_type}, content=body)

    def _respond(self, _: httpx2.Request) -> httpx2.Response:
        status, body, content_type = self._answer
        return httpx2.Response(status, headers={"content-type": content_type}, content=body)

    def _respond_to_boto(self, request: Any, **_: Any) -> AWSResponse:
        status, body, content_type = self._answer
        return AWSResponse(request.url, status, HeadersDict({"content-type": content_type}), _Raw(body))

    def decode(self, api: str, body: bytes, stream: bool, status: int = 200) -> Meaning:
        self._answer = (status, body, "text/event-stream" if stream else "application/json")
        runs: dict[str, Callable[[bool], Meaning]] = {
            "openai-chat": self._decode_openai,
            "openai-responses": self._decode_responses,
            "anthropic-messages": lambda stream: self._decode_claude(self._anthropic, stream),
            "anthropic-vertex": lambda stream: self._decode_claude(self._vertex_claude, stream),
            "anthropic-bedrock": self._decode_bedrock_claude,
            "gemini-generate-content": self._decode_gemini,
            "bedrock-converse": self._decode_bedrock,
            "cohere-chat": self._decode_cohere,
        }
        try:
            return runs[api](stream)
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            return Meaning(error=type(error).__name__, error_status=error.status_code)
        except (openai.APIError, anthropic.APIError) as error:
            return Meaning(error=type(error).__name__)
        except genai_errors.APIError as error:
            if stream:
                return Meaning(error="APIError")
            known = "InternalServerError" if error.code >= 500 else "APIStatusError"
            return Meaning(error=_ERROR_OF.get(error.code, known), error_status=error.code)

        except EventStreamError as error:
            return Meaning(error=error.response["Error"]["Code"])
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            name = "AuthenticationError" if status == 401 else AWS_ERRORS[error.response["Error"]["Code"]]  # here a key is dead with 403
            return Meaning(error=name, error_status=status)
        except cohere.core.ApiError as error:
            return Meaning(error=COHERE_ERRORS.get(type(error).__name__, type(error).__name__), error_status=error.status_code)

    # ------------------------------------------------------------------------------------------------ gemini

    def _decode_gemini(self, stream: bool) -> Meaning:
        if stream:
            return gemini_meaning(self._gemini.models.generate_content_stream(model="m", contents="?"))
        return gemini_meaning([self._gemini.models.generate_content(model="m", contents="?")])

    # ------------------------------------------------------------------------------------------------ openai

    def _decode_openai(self, stream: bool) -> Meaning:
        messages: Any = [{"role": "user", "content": "?"}]
        if not stream:
            return _openai_whole(self._openai.chat.completions.create(model="m", messages=messages))
        return _openai_chunks(self._openai.chat.completions.create(model="m", messages=messages, stream=True))

    # --------------------------------------------------------------------------------------------- responses

    def _decode_responses(self, stream: bool) -> Meaning:
        if not stream:
            response = self._openai.responses.create(model="m", input="?")
            if not isinstance(getattr(response, "output", None), list):
                return Meaning(error="no response")  # a chat completion under the wrong name
            return _response_meaning(response, response.output)
        return _response_events(self._openai.responses.create(model="m", input="?", stream=True))

    # ----------------------------------------------------------------------------------------------- bedrock

    def _decode_bedrock(self, stream: bool) -> Meaning:
        if stream:
            self._answer = (self._answer[0], self._answer[1], CONTENT_TYPE)
        said = _converse_said(self._bedrock, stream)
        usage = said.usage
        cached, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
        read = usage.get("inputTokens", 0) + cached + written
        return Meaning(
            text=said.text,
            reasoning=said.reasoning,
            calls=tuple(Call(c["toolUseId"], c["name"], c["input"]) for c in said.calls if c.get("type") != "server_tool_use"),
            stop=said.stop,
            usage=(read, cached, usage.get("outputTokens", 0), 0),
            signatures=(said.signature,) if said.signature else (),
        )

    # --------------------------------------------------------------------------------------------- anthropic

    def _decode_bedrock_claude(self, stream: bool) -> Meaning:
        if stream:
            self._answer = (self._answer[0], self._answer[1], CONTENT_TYPE)
        return self._decode_claude(self._bedrock_claude, stream)

    def _decode_claude(self, client: Any, stream: bool) -> Meaning:
        messages: Any = [{"role": "user", "content": "?"}]
        if not stream:
            message: Any = client.messages.create(model="m", max_tokens=9, messages=messages)
        else:
            with client.messages.stream(model="m", max_tokens=9, messages=messages) as events:
                message = events.get_final_message()
        blocks = message.content
        usage = message.usage
        details = getattr(usage, "output_tokens_details", None)
        read = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Meaning(
            text="".join(b.text for b in blocks if b.type == "text"),
            reasoning="".join(b.thinking for b in blocks if b.type == "thinking"),
            calls=tuple(Call(b.id, b.name, b.input) for b in blocks if b.type == "tool_use"),
            stop=message.stop_reason,
            usage=(read, usage.cache_read_input_tokens or 0, usage.output_tokens, details.thinking_tokens if details else 0),
            signatures=tuple(b.signature for b in blocks if b.type == "thinking" and b.signature),
            blocks=tuple(f"{b.type} {b.input if b.type in ('tool_use', 'server_tool_use') else ''}" for b in blocks),
        )

    # ------------------------------------------------------------------------------------------------ cohere

    def _decode_cohere(self, stream: bool) -> Meaning:
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}], "request_options": {"max_retries": 0}}
        return _cohere_events(self._cohere.chat_stream(**asked)) if stream else _cohere_whole(self._cohere.chat(**asked))


def _cohere_whole(answer: Any) -> Meaning:
    message = answer.message
    if message is None or isinstance(message, str):
        return Meaning(error="no message")  # of version 1 of the API, or an error
    blocks = message.content or []
    return Meaning(
        text="".join(b.text for b in blocks if b.type == "text"),
        reasoning="".join(b.thinking for b in blocks if b.type == "thinking") + (message.tool_plan or ""),
        calls=tuple(Call(c.id, c.function.name, _arguments(c.function.arguments)) for c in message.tool_calls or []),
        stop=answer.finish_reason,
        usage=_cohere_usage(answer.usage),
        error=None if answer.finish_reason != "ERROR" or answer.error == FILTERED else "APIError",
    )


def _cohere_events(events: Iterable[Any]) -> Meaning:
    folded, usage = _Folding(), None
    error: str | None = "no last event"
    for event in events:
        if event.type in ("content-start", "content-delta"):
            content = event.delta.message.content
            folded.text += content.text or ""
            folded.reasoning += content.thinking or ""
        elif event.type == "tool-plan-delta":
            folded.reasoning += event.delta.message.tool_plan
        elif event.type == "tool-call-start":
            call = event.delta.message.tool_calls
            folded.calls[event.index] = [call.id, call.function.name, call.function.arguments or ""]
        elif event.type == "tool-call-delta":
            folded.calls[event.index][2] += event.delta.message.tool_calls.function.arguments
        elif event.type == "message-end":
            folded.stop, usage = event.delta.finish_reason, _cohere_usage(event.delta.usage)
            error = "APIError" if folded.stop in ("ERROR", "TIMEOUT") and event.delta.error != FILTERED else None
    calls = tuple(Call(i, n, _arguments(a)) for i, n, a in folded.calls.values())
    return Meaning(folded.text, folded.reasoning, "", calls, folded.stop, usage, error=error)


def _cohere_usage(usage: Any) -> tuple[int, int, int, int] | None:
    if usage is None:
        return None
    tokens, billed = usage.tokens, usage.billed_units
    if tokens is None or (tokens.input_tokens is None and tokens.output_tokens is None):
        return None
    read = tokens.input_tokens or 0
    images = getattr(tokens, "image_tokens", 0) or 0
    beside = images if billed is not None and (billed.input_tokens or 0) > read else 0
    reasoning = getattr(tokens, "reasoning_tokens", 0) or 0
    return (int(read + beside), int(usage.cached_tokens or 0), int(tokens.output_tokens or 0), int(reasoning))


class _Raw:
    """The body of an answer, as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None: ...


def _converse_said(client: Any, stream: bool) -> boto.Said:
    asked: Any = {"modelId": "m", "messages": boto.user("?")}
    return boto.streamed(client.converse_stream(**asked)) if stream else boto.whole(client.converse(**asked))


AWS_ERRORS = {
    "ValidationException": "BadRequestError",
    "AccessDeniedException": "PermissionDeniedError",
    "ExpiredTokenException": "PermissionDeniedError",
    "ResourceNotFoundException": "NotFoundError",
    "ThrottlingException": "RateLimitError",
    "InternalServerException": "InternalServerError",
    "ServiceUnavailableException": "InternalServerError",
    "400": "BadRequestError",
    "403": "PermissionDeniedError",
}
"""What the other vendors' SDKs call the errors of this one; a number is what boto3 says where nothing names the class."""


def _openai_usage(usage: Any) -> tuple[int, int, int, int] | None:
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    reasoning = (completion.reasoning_tokens if completion else 0) or 0
    read, output = usage.prompt_tokens, usage.completion_tokens
    if reasoning and usage.total_tokens == read + output + reasoning:
        output += reasoning  # xAI counts reasoning beside the completion; its own total says so
    cached = (prompt.cached_tokens if prompt else 0) or 0
    for name in ("prompt_cache_hit_tokens", "num_cached_tokens"):  # DeepSeek, Mistral: fields that the official type lacks
        cached = cached or getattr(usage, name, 0) or 0
    if cached > read:
        read += cached  # xAI on Azure counts cached tokens beside the prompt
    return (read, cached, output, reasoning)


def _reasoning(part: Any) -> str:
    """Both names that vendors give the field; the same text may be under both."""
    for name in ("reasoning_content", "reasoning"):
        value = getattr(part, name, None)
        if isinstance(value, str) and value:
            return value
    details = getattr(part, "reasoning_details", None) or []
    return "".join(d.get("text") or d.get("summary") or "" for d in details if isinstance(d, dict))


def _signatures(part: Any) -> Iterator[str]:
    for detail in getattr(part, "reasoning_details", None) or []:
        if detail.get("signature"):
            yield detail["signature"]


def _content(value: Any) -> tuple[str, str]:
    """(text, reasoning) of content as a string or as Mistral's list."""
    if not isinstance(value, list):
        return value or "", ""
    parts: list[Any] = [p if isinstance(p, dict) else p.__dict__ for p in value]
    thinking = [t["text"] for p in parts if p["type"] == "thinking" for t in p["thinking"]]
    return "".join(p["text"] for p in parts if p["type"] == "text"), "".join(thinking)


def _openai_whole(answer: Any) -> Meaning:
    if not answer.choices:
        raise openai.APIError(str(getattr(answer, "error", "no choices")), request=httpx2.Request("POST", "http://mock"), body=None)
    choice = answer.choices[0]
    message = choice.message or openai.types.chat.ChatCompletionMessage.construct(content=None)  # Azure's filter leaves it out
    text, thinking = _content(message.content)
    calls: list[Any] = list(message.tool_calls or [])
    return Meaning(
        text=text,
        reasoning=thinking or _reasoning(message),
        refusal=message.refusal or "",
        calls=tuple(
            Call(c.id, c.custom.name, {"input": c.custom.input})
            if c.type == "custom"
            else Call(c.id, c.function.name, _arguments(c.function.arguments))
            for c in calls
        ),
        stop=choice.finish_reason,
        usage=_openai_usage(answer.usage),
        signatures=tuple(_signatures(message)),
        choices=len(answer.choices),
    )


def _openai_chunks(chunks: Iterable[Any]) -> Meaning:
    folded, usage, numbers = _Folding(), None, set()
    signatures: list[str] = []
    texts: dict[int, str] = {}  # of custom tools
    for chunk in chunks:
        groq = getattr(chunk, "x_groq", None)
        if chunk.usage is not None:
            usage = _openai_usage(chunk.usage)
        elif isinstance(groq, dict) and groq.get("usage"):
            usage = _openai_usage(openai.types.CompletionUsage.construct(**groq["usage"]))
        for choice in chunk.choices or []:
            numbers.add(choice.index)
            if choice.index != 0:
                continue
            folded.stop = choice.finish_reason or folded.stop
            delta = choice.delta
            if delta is None:
                continue
            text, thinking = _content(delta.content)
            folded.text += text
            folded.reasoning += thinking or _reasoning(delta)
            folded.refusal += delta.refusal or ""
            signatures.extend(_signatures(delta))
            for call in delta.tool_calls or []:
                parts = folded.calls.setdefault(call.index, ["", "", ""])
                parts[0] = parts[0] or call.id or ""
                if (custom := getattr(call, "custom", None)) is not None:  # the SDK has no type for it in streams
                    parts[1] = parts[1] or custom.get("name") or ""
                    texts[call.index] = texts.get(call.index, "") + (custom.get("input") or "")
                    continue
                parts[1] = parts[1] or (call.function.name if call.function else None) or ""
                parts[2] += (call.function.arguments if call.function else None) or ""
    calls = tuple(Call(i, n, {"input": texts[index]} if index in texts else _arguments(a)) for index, (i, n, a) in folded.calls.items())
    return Meaning(
        folded.text, folded.reasoning, folded.refusal, calls, folded.stop, usage, tuple(signatures), choices=max(1, len(numbers))
    )


def _response_events(events: Iterable[Any]) -> Meaning:
    """The items as they are done: the last event repeats them, with reasoning encrypted anew."""
    items: dict[int, Any] = {}
    arguments: dict[int, str] = {}
    final, text = None, ""
    for event in events:
        if event.type == "response.output_item.done":
            items[event.output_index] = event.item
        elif event.type == "response.output_text.delta":
            text += event.delta
        elif event.type in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            arguments[event.output_index] = arguments.get(event.output_index, "") + event.delta
        elif event.type in ("response.completed", "response.incomplete", "response.failed"):
            final = event.response
    if final is None:
        return Meaning(error="no terminal event")
    done = [items[place] for place in sorted(items)]
    meaning = _response_meaning(final, done or final.output)
    custom = {place for place, item in items.items() if item.type == "custom_tool_call"}
    calls = [{"input": arguments[i]} if i in custom else _arguments(arguments[i]) for i in sorted(arguments)]
    last = _response_meaning(final, final.output or [])
    return replace(meaning, coherent=last == meaning and text == meaning.text and calls == [c.arguments for c in meaning.calls])


def _response_meaning(response: Any, items: Iterable[Any]) -> Meaning:
    if response.status == "failed":
        return Meaning(error="failed")
    items = list(items)
    parts = [p for item in items if item.type == "message" for p in item.content]
    thoughts = [t for item in items if item.type == "reasoning" for t in [*(item.summary or []), *(getattr(item, "content", None) or [])]]
    usage = response.usage
    read, written = getattr(usage, "input_tokens_details", None), getattr(usage, "output_tokens_details", None)
    incomplete = response.status == "incomplete"
    return Meaning(
        text="".join(p.text for p in parts if p.type == "output_text"),
        reasoning="".join(t.text for t in thoughts),
        refusal="".join(p.refusal for p in parts if p.type == "refusal"),
        calls=tuple(
            Call(i.call_id, i.name, _arguments(i.arguments) if i.type == "function_call" else {"input": i.input})
            for i in items
            if i.type in ("function_call", "custom_tool_call")
        ),
        stop=response.incomplete_details.reason if incomplete and response.incomplete_details else response.status,
        usage=None
        if usage is None
        else (
            usage.input_tokens,
            getattr(read, "cached_tokens", 0) or 0,
            usage.output_tokens,
            getattr(written, "reasoning_tokens", 0) or 0,
        ),
        signatures=tuple(seal for item in items if item.type == "reasoning" and (seal := _seal(item))),
        blocks=tuple(item.type for item in items if not _says_nothing(item)),
    )


def _says_nothing(item: Any) -> bool:
    """Reasoning that is neither shown nor sealed, a message without content: canon has no place for them."""
    if item.type == "message":
        return not any(getattr(part, "text", "") or getattr(part, "refusal", "") for part in item.content)
    return item.type == "reasoning" and not (item.summary or getattr(item, "content", None) or getattr(item, "encrypted_content", None))


def _seal(item: Any) -> str | None:
    """What seals reasoning, without the name that we give to another vendor's."""
    value = getattr(item, "encrypted_content", None) or ""
    redacted = canon.unseal_redacted(value, "openai-responses")
    return redacted.data if redacted is not None else canon.unseal_signature(value, "openai-responses")[0]


def check_gemini(raw: bytes) -> None:
    """A request by google-genai's types, which refuse unknown fields."""
    body: dict[str, Any] = json.loads(ELIDED.sub(b"QUJD", raw))
    fields = dict(body)
    config = dict(fields.pop("generationConfig", {}))
    assert fields.pop("contents"), raw
    for content in body["contents"]:
        for part in content["parts"]:
            part.pop("thoughtSignature", None)  # bytes for the SDK, which takes other base64 than the service
        types.Content.model_validate(content)
    if (system := fields.pop("systemInstruction", None)) is not None:
        types.Content.model_validate(system)
    for tool in fields.pop("tools", []):
        types.Tool.model_validate(tool)
    if (choice := fields.pop("toolConfig", None)) is not None:
        types.ToolConfig.model_validate(choice)
    assert not fields.keys() - {"labels"}
    level = config.get("thinkingConfig", {}).get("thinkingLevel")
    assert level is None or level.upper() in types.ThinkingLevel.__members__
    types.GenerationConfig.model_validate(config)


def gemini_meaning(answers: Iterable[types.GenerateContentResponse]) -> Meaning:
    meaning = Meaning()
    counts = [0, 0, 0, 0, 0]
    stop = None
    for answer in answers:
        for part in answer.parts or [] if answer.candidates else []:
            call = part.function_call
            if call is not None:
                signed = part.thought_signature
                meaning = replace(
                    meaning,
                    calls=(*meaning.calls, Call(call.id or "", call.name or "", call.args or {})),
                    signatures=meaning.signatures if signed is None else (*meaning.signatures, signed.hex()),
                )
            elif part.thought:
                seal = (part.thought_signature or b"").decode(errors="replace")
                found = canon.unseal_signature(seal, "gemini-generate-content")[0] if seal.startswith("headgate.") else None
                signatures = meaning.signatures if found is None else (*meaning.signatures, found)
                meaning = replace(meaning, reasoning=meaning.reasoning + (part.text or ""), signatures=signatures)
            else:
                meaning = replace(meaning, text=meaning.text + (part.text or ""))
        if answer.candidates and answer.candidates[0].finish_reason is not None:
            stop = answer.candidates[0].finish_reason.value
        if answer.prompt_feedback is not None and answer.prompt_feedback.block_reason is not None:
            stop = answer.prompt_feedback.block_reason.value
        if (usage := answer.usage_metadata) is not None:
            seen = (
                usage.prompt_token_count,
                usage.tool_use_prompt_token_count,
                usage.cached_content_token_count,
                usage.candidates_token_count,
                usage.thoughts_token_count,
            )
            counts = [old if new is None else new for old, new in zip(counts, seen, strict=True)]
    prompt, tools, cached, visible, thoughts = counts
    return replace(meaning, stop=stop, usage=(prompt + tools, cached, visible + thoughts, thoughts))


@pytest.fixture(scope="session")
def sdks() -> Sdks:
    return Sdks()


@pytest.fixture
def ledger(record_property: Callable[[str, object], None]) -> Ledger:
    return Ledger(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if found := lines(report for reports in terminalreporter.stats.values() for report in reports):
        terminalreporter.section("conformance")
        for line in found:
            terminalreporter.write_line(line)
