"""Requests and streams that touch every field a reader knows, and the words and junk that hostile ones are made of."""

from __future__ import annotations

import json
from typing import Any

from control_plane.dialects.eventstream import encode_event
from tests.siblings import SIBLINGS

KEY_WORDS = """
id model created choices index delta message content role finish_reason tool_calls function name arguments usage prompt_tokens
completion_tokens prompt_tokens_details cached_tokens error code type text thinking signature content_block partial_json input
stop_reason stop_sequence input_tokens output_tokens messages system tools tool_choice max_tokens source data media_type url tool_use_id
is_error tool_call_id extra_content google thought_signature candidates parts functionCall args finishReason promptFeedback blockReason
usageMetadata promptTokenCount thoughtsTokenCount thought thoughtSignature responseId details citationMetadata citationSources
logprobsResult chosenCandidates topCandidates
toolUse toolUseId toolResult reasoningContent reasoningText redactedContent citationsContent cachePoint inferenceConfig toolConfig
toolSpec inputSchema json format bytes additionalModelRequestFields outputConfig textFormat structure jsonSchema delta start
contentBlockIndex contentBlockDelta contentBlockStart contentBlockStop messageStart messageStop metadata stopReason usage inputTokens
image_url file file_data response_format json_schema schema reasoning reasoning_details output_config format
cache_control ttl metadata user_id stream stop annotations logprobs audio function_call refusal citations title
response output output_index content_index summary_index item call_id summary encrypted_content annotation status incomplete_details
tool_plan token_budget documents document strict_tools stop_sequences json_schema billed_units tokens sources delta k p
custom syntax definition instructions effort include store parallel_tool_calls strict output_text_details input_tokens_details
"""
VALUE_WORDS = """
message_start content_block_start content_block_delta content_block_stop message_delta message_stop ping error message text text_delta
thinking thinking_delta signature_delta tool_use input_json_delta tool_result image document base64 url file function json_schema
json_object user assistant system tool developer auto none required any enabled disabled adaptive stop tool_calls end_turn
redacted_thinking citations_delta image_url input_audio custom data:image/png;base64,QUJD headgate.x.y headgate.x#i.y
response.created response.output_item.added response.output_item.done response.output_text.delta response.output_text.done
response.refusal.delta response.reasoning_summary_text.delta response.function_call_arguments.delta response.completed
response.custom_tool_call_input.delta response.custom_tool_call_input.done custom_tool_call custom_tool_call_output grammar lark
response.incomplete response.failed response.output_text.annotation.added function_call function_call_output reasoning output_text
input_text input_image input_file summary_text completed incomplete max_output_tokens
message-start content-start content-delta content-end tool-plan-delta tool-call-start tool-call-delta tool-call-end citation-start
citation-end message-end COMPLETE ERROR TIMEOUT TOOL_CALL TEXT_CONTENT REQUIRED NONE
STOP MAX_TOKENS SAFETY MALFORMED_FUNCTION_CALL
"""

REQUESTS: dict[str, Any] = {
    "bedrock-converse": {
        "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}],
        "inferenceConfig": {"maxTokens": 5000, "temperature": 0.5, "topP": 0.5, "stopSequences": ["x"]},
        "additionalModelRequestFields": {
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "output_config": {"effort": "low"},
            "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"},
            "top_k": 5,
        },
        "requestMetadata": {"a": "b"},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}", "name": "n"}}}},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}, "strict": True}},
                {"cachePoint": {"ttl": "1h"}},
            ],
            "toolChoice": {"tool": {"name": "f"}},
        },
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "t"},
                    {"image": {"format": "png", "source": {"bytes": "QUJD"}}},
                    {"document": {"format": "txt", "name": "n", "source": {"text": "x"}, "citations": {"enabled": True}}},
                    {"cachePoint": {"type": "default"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "t", "signature": "headgate.x.s"}}},
                    {"reasoningContent": {"redactedContent": "aGVhZGdhdGUueCNpLmQ="}},
                    {"citationsContent": {"content": [{"text": "t"}], "citations": [{}]}},
                    {"toolUse": {"toolUseId": "c", "name": "f", "input": {}}},
                ],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": [{"json": {}}, {"text": "r"}], "status": "error"}}]},
        ],
    },
    "cohere-chat": {
        "model": "m",
        "stream": True,
        "max_tokens": 50,
        "p": 0.5,
        "k": 3,
        "logprobs": True,
        "stop_sequences": ["x"],
        "strict_tools": True,
        "tool_choice": "REQUIRED",
        "thinking": {"type": "enabled", "token_budget": 9},
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
        "documents": ["d", {"id": "i", "data": {"title": "t", "text": "x", "n": 1}}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}}],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "x"}],
                "tool_plan": "p",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "text", "text": "r"}, {"type": "document", "document": {"id": "d", "data": {"a": "b"}}}],
            },
        ],
    },
    "gemini-generate-content": {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "t"},
                    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/a.pdf"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "t", "thought": True, "thoughtSignature": "aGVhZGdhdGUueC5z"},
                    {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "UQ=="},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": "c",
                            "name": "f",
                            "response": {"output": "r"},
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}}],
                        }
                    }
                ],
            },
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 50,
            "temperature": 0.5,
            "topK": 3,
            "stopSequences": ["x"],
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "minLength": 1}}},
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 100},
            "candidateCount": 1,
            "responseLogprobs": True,
            "logprobs": 2,
        },
        "safetySettings": [{"category": "c", "threshold": "t"}],
        "labels": {"a": "b"},
    },
    "openai-responses": {
        "model": "m",
        "stream": True,
        "instructions": "s",
        "max_output_tokens": 50,
        "store": False,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {"minimum": 1}}}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "input": [
            {"role": "developer", "content": "d"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "t"},
                    {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
                    {"type": "input_file", "file_data": "data:text/plain;base64,QUJD", "filename": "f"},
                ],
            },
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "E"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "t"}, {"type": "refusal", "refusal": "r"}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "t"}]},
        ],
    },
    "openai-chat": {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "stop": ["x"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"minimum": 1}}}, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low", "max_tokens": 5},
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    {"type": "file", "file": {"file_data": "data:text/plain;base64,QUJD"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_details": [{"text": "t", "signature": "s"}],
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
    },
    "anthropic-messages": {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t"},
                    {
                        "type": "document",
                        "title": "d",
                        "citations": {"enabled": True},
                        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "is_error": True,
                        "content": [{"type": "image", "source": {"type": "url", "url": "u"}}],
                    }
                ],
            },
        ],
    },
}

STREAMS: dict[str, list[Any]] = {
    "bedrock-converse": [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "t"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "x"}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"citation": {"title": "t", "location": {"web": {"url": "u"}}}}}},
        {"contentBlockStop": {"contentBlockIndex": 1}},
        {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "c", "name": "f"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{}"}}}},
        {"contentBlockStop": {"contentBlockIndex": 2}},
        {"contentBlockStart": {"contentBlockIndex": 3, "start": {"toolResult": {"toolUseId": "s"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 3, "delta": {"toolResult": [{"text": "x"}]}}},
        {"contentBlockStop": {"contentBlockIndex": 3}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3, "cacheReadInputTokens": 1}}},
    ],
    "cohere-chat": [
        {"id": "c", "type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": "t"}}}},
        {"type": "content-end", "index": 0},
        {"type": "content-start", "index": 1, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {
            "type": "content-delta",
            "index": 1,
            "delta": {"message": {"content": {"text": "x"}}},
            "logprobs": {"text": "x", "token_ids": [1], "logprobs": [-0.5]},
        },
        {"type": "content-end", "index": 1},
        {"type": "content-start", "index": 2, "delta": {"message": {"content": {"type": "sketch", "lines": 1}}}},
        {"type": "content-delta", "index": 2, "delta": {"message": {"content": {"lines": 2}}}},
        {"type": "content-end", "index": 2},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will"}}},
        {
            "type": "tool-call-start",
            "index": 0,
            "delta": {"message": {"tool_calls": {"id": "i", "type": "function", "function": {"name": "f", "arguments": ""}}}},
        },
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
        {"type": "tool-call-end", "index": 0},
        {
            "type": "citation-start",
            "index": 0,
            "delta": {
                "message": {
                    "citations": {
                        "start": 0,
                        "end": 1,
                        "text": "x",
                        "sources": [{"type": "document", "id": "d", "document": {"id": "d", "title": "t", "url": "u"}}],
                        "type": "TEXT_CONTENT",
                    }
                }
            },
        },
        {"type": "citation-end", "index": 0},
        {
            "type": "message-end",
            "delta": {
                "finish_reason": "COMPLETE",
                "error": "e",
                "usage": {
                    "billed_units": {"input_tokens": 5, "output_tokens": 1},
                    "tokens": {"input_tokens": 1, "output_tokens": 2, "reasoning_tokens": 1, "image_tokens": 4},
                    "cached_tokens": 1,
                },
            },
        },
    ],
    "openai-responses": [
        {"type": "response.created", "response": {"id": "r", "model": "m", "created_at": 1, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "rs", "type": "reasoning", "summary": []}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "t"},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "E"},
        },
        {"type": "response.output_item.added", "output_index": 1, "item": {"id": "m", "type": "message", "content": []}},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "x", "logprobs": [{"token": "x"}]},
        {
            "type": "response.output_text.annotation.added",
            "output_index": 1,
            "content_index": 0,
            "annotation": {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1},
        },
        {"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "delta": "no"},
        {"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "call_id": "c", "name": "f"}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
        {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{}"},
        {"type": "response.output_item.added", "output_index": 4, "item": {"type": "custom_tool_call", "call_id": "d", "name": "g"}},
        {"type": "response.custom_tool_call_input.delta", "output_index": 4, "delta": 'a"b'},
        {"type": "response.custom_tool_call_input.done", "output_index": 4, "input": 'a"b'},
        {"type": "response.output_item.added", "output_index": 3, "item": {"type": "web_search_call", "id": "w", "status": "in_progress"}},
        {"type": "response.web_search_call.completed", "output_index": 3, "item_id": "w"},
        {"type": "response.output_item.done", "output_index": 3, "item": {"type": "web_search_call", "id": "w", "status": "completed"}},
        {
            "type": "response.incomplete",
            "response": {
                "id": "r",
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "x", "annotations": [{"type": "file_path"}]}]}],
                "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 2},
            },
        },
    ],
    "openai-chat": [
        {
            "id": "c",
            "model": "m",
            "created": 1,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x", "reasoning_content": "r"}, "finish_reason": None}],
        },
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]},
                }
            ]
        },
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "tool_calls": [{"index": 0, "function": {"arguments": "}"}}],
                        "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
                    },
                }
            ]
        },
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls", "logprobs": {"content": [{"token": "x"}]}}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}},
        },
    ],
    "anthropic-messages": [
        {"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "citations": []}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": "u"}},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "id": "s", "name": "w", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_details": {}}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ],
    "gemini-generate-content": [
        {
            "responseId": "r",
            "modelVersion": "m",
            "candidates": [
                {"index": 0, "content": {"role": "model", "parts": [{"text": "t", "thought": True, "thoughtSignature": "UQ=="}]}}
            ],
            "usageMetadata": {"promptTokenCount": 1, "cachedContentTokenCount": 1, "totalTokenCount": 1},
        },
        {
            "candidates": [
                {
                    "content": {"parts": [{"text": "x"}, {"executableCode": {"code": "1"}}]},
                    "citationMetadata": {"citationSources": [{"startIndex": 1, "endIndex": 2, "uri": "u", "title": "t"}]},
                }
            ]
        },
        {
            "candidates": [
                {
                    "content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}, "id": "i"}, "thoughtSignature": "UQ=="}]},
                    "finishReason": "STOP",
                    "finishMessage": "done",
                    "logprobsResult": {
                        "chosenCandidates": [{"token": "x", "logProbability": -0.5}],
                        "topCandidates": [{"candidates": [{"token": "y", "logProbability": -0.7}]}],
                    },
                }
            ],
            "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"},
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 1},
        },
    ],
}

WHOLE_COHERE: dict[str, Any] = {
    "id": "c",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "x"}, {"type": "sketch", "lines": 1}],
        "tool_plan": "p",
        "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "citations": [{"start": 0, "end": 1, "text": "x", "sources": [{"type": "tool", "id": "d", "tool_output": {"url": "u"}}]}],
    },
    "finish_reason": "COMPLETE",
    "usage": {"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 1, "output_tokens": 2}, "cached_tokens": 1},
    "logprobs": [{"text": "x", "token_ids": [1], "logprobs": [-0.5]}],
}

JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**18,
    "",
    "x",
    [],
    {},
    [[]],
    [{}],
    {"type": "text"},
    {"type": 5},
    "tool_use",
    "\x00",
    [None],
    {"a": {}},
]


def framed(name: str, events: list[Any]) -> bytes:
    """A stream of that dialect's; events of AWS are objects with their name as the only key."""
    if name != "bedrock-converse":
        stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
        return SIBLINGS[name].framed(stream) if name in SIBLINGS else stream
    named = [next(iter(event.items())) if isinstance(event, dict) and event else ("contentBlockDelta", event) for event in events]
    return b"".join(encode_event(str(kind)[:60], json.dumps(told).encode()) for kind, told in named)
