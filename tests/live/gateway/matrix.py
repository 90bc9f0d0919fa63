"""Who takes part in the live matrix: the official SDK of each client dialect, and a simulated vendor of each provider dialect.

A dialect is added in one line of `CLIENTS` (a function that asks and says what the SDK's user saw) and one of `VENDORS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import cohere
import google.genai
import httpx
import openai
from google.genai import types as genai

from tests import boto
from tests.live.gateway.rig import ANSWERS

CITY: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
NAME: Final = "get_weather"
ABOUT: Final = "Weather of a city"


@dataclass(frozen=True, slots=True)
class Said:
    """What the user of an SDK sees: the text, (name, arguments) of calls, tokens read and written."""

    text: str
    calls: tuple[tuple[str, Any], ...]
    tokens: tuple[int, int]


Asks = Callable[[str, str, str, bool], Said]
"""(the gateway's URL, model, question, streamed) → what was said. The tool is always offered."""


def chat(url: str, model: str, question: str, stream: bool) -> Said:
    tools: Any = [{"type": "function", "function": {"name": NAME, "description": ABOUT, "parameters": CITY}}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="client-key", max_retries=0) as client:
        if stream:
            with client.chat.completions.stream(
                model=model, messages=[{"role": "user", "content": question}], tools=tools, stream_options={"include_usage": True}
            ) as events:
                done: Any = events.get_final_completion()
        else:
            done = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}], tools=tools)
    message = done.choices[0].message
    calls = tuple((call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ())
    return Said(message.content or "", calls, (done.usage.prompt_tokens, done.usage.completion_tokens))


def responses(url: str, model: str, question: str, stream: bool) -> Said:
    tools: Any = [{"type": "function", "name": NAME, "description": ABOUT, "parameters": CITY, "strict": True}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="client-key", max_retries=0) as client:
        if stream:
            with client.responses.stream(model=model, input=question, tools=tools) as events:
                done: Any = events.get_final_response()
        else:
            done = client.responses.create(model=model, input=question, tools=tools)
    calls = tuple((item.name, json.loads(item.arguments)) for item in done.output if item.type == "function_call")
    return Said(done.output_text, calls, (done.usage.input_tokens, done.usage.output_tokens))


def messages(url: str, model: str, question: str, stream: bool) -> Said:
    tools: Any = [{"name": NAME, "description": ABOUT, "input_schema": CITY}]
    asked: Any = {"model": model, "max_tokens": 500, "tools": tools, "messages": [{"role": "user", "content": question}]}
    with anthropic.Anthropic(base_url=url, api_key="client-key", max_retries=0) as client:
        if stream:
            with client.messages.stream(**asked) as events:
                done: Any = events.get_final_message()
        else:
            done = client.messages.create(**asked)
    text = "".join(block.text for block in done.content if block.type == "text")
    calls = tuple((block.name, block.input) for block in done.content if block.type == "tool_use")
    return Said(text, calls, (done.usage.input_tokens, done.usage.output_tokens))


def generate_content(url: str, model: str, question: str, stream: bool) -> Said:
    declared = genai.FunctionDeclaration(name=NAME, description=ABOUT, parameters_json_schema=CITY)
    config = genai.GenerateContentConfig(tools=[genai.Tool(function_declarations=[declared])])
    with google.genai.Client(api_key="client-key", http_options=genai.HttpOptions(base_url=url)) as client:
        if stream:
            answers = list(client.models.generate_content_stream(model=model, contents=question, config=config))
        else:
            answers = [client.models.generate_content(model=model, contents=question, config=config)]
    parts = [part for answer in answers for part in answer.parts or ()]
    calls = tuple((part.function_call.name or "", part.function_call.args) for part in parts if part.function_call)
    usage: Any = answers[-1].usage_metadata
    return Said("".join(part.text or "" for part in parts), calls, (usage.prompt_token_count, usage.candidates_token_count))


def converse(url: str, model: str, question: str, stream: bool) -> Said:
    tools: Any = {"tools": [{"toolSpec": {"name": NAME, "description": ABOUT, "inputSchema": {"json": CITY}}}]}
    with boto.clients() as make:
        asked: Any = {"modelId": model, "messages": boto.user(question), "toolConfig": tools}
        done = boto.streamed(make(url).converse_stream(**asked)) if stream else boto.whole(make(url).converse(**asked))
    calls = tuple((call["name"], call["input"]) for call in done.calls)
    return Said(done.text, calls, (done.usage["inputTokens"], done.usage["outputTokens"]))


def cohere_chat(url: str, model: str, question: str, stream: bool) -> Said:
    tools: Any = [{"type": "function", "function": {"name": NAME, "description": ABOUT, "parameters": CITY}}]
    asked: Any = {"model": model, "messages": [{"role": "user", "content": question}], "tools": tools}
    text, fragments = "", dict[int, list[str]]()
    with httpx.Client(timeout=20) as transport:
        client = cohere.ClientV2("client-key", base_url=url, httpx_client=transport, max_retries=0)
        if not stream:
            done: Any = client.chat(**asked)
            text = "".join(block.text for block in done.message.content or () if block.type == "text")
            fragments = {i: [c.function.name, c.function.arguments] for i, c in enumerate(done.message.tool_calls or ())}
            usage = done.usage
        else:
            events: list[Any] = list(client.chat_stream(**asked))
            text = "".join(e.delta.message.content.text or "" for e in events if e.type == "content-delta")
            for event in events:
                if event.type == "tool-call-start":
                    fragments[event.index] = [event.delta.message.tool_calls.function.name, ""]
                elif event.type == "tool-call-delta":
                    fragments[event.index][1] += event.delta.message.tool_calls.function.arguments
            usage = events[-1].delta.usage
    calls = tuple((name, json.loads(arguments)) for name, arguments in fragments.values())
    return Said(text, calls, (int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)))


CLIENTS: Final[Mapping[str, Asks]] = {
    "openai-chat": chat,
    "openai-responses": responses,
    "anthropic-messages": messages,
    "gemini-generate-content": generate_content,
    "bedrock-converse": converse,
    "cohere-chat": cohere_chat,
}

VENDORS: Final[Mapping[str, str]] = {
    "openai-chat": "local",
    "openai-responses": "answers",
    "anthropic-messages": "anthropic",
    "gemini-generate-content": "gemini",
    "bedrock-converse": "bedrock",
    "anthropic-vertex": "vertex-claude",
    "anthropic-bedrock": "bedrock-claude",
    "cohere-chat": "cohere",
}
"""Provider dialect to the rig's provider that speaks it and no other."""

MORE_PROVIDERS: Final = ANSWERS


def proven() -> set[tuple[str, str]]:
    """The cells that tests/live/gateway/test_matrix.py runs through the real Envoy."""
    return {(client, provider) for client in CLIENTS for provider in VENDORS}
