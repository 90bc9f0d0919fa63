"""Claude on other vendors' clouds: the same messages under a path that names the model, with the version in the body.

Only providers speak these dialects: a body must be changed, so clients of `anthropic-messages` reach them through the translator,
where it is written from their own (`Request.raw`). What a cloud signs, the others take: Anthropic's documentation calls
signatures compatible across its API, Bedrock and Vertex AI, so all of them have one origin.

Sources: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import aws_errors, failures
from control_plane.dialects.anthropic_messages import errors
from control_plane.dialects.anthropic_messages.answer_read import AnswerReader
from control_plane.dialects.anthropic_messages.framed_answer import FramedAnswerReader
from control_plane.dialects.anthropic_messages.request_write import write_request
from control_plane.dialects.anthropic_messages.vocabulary import NAME
from control_plane.dialects.api import ProviderRequest, ReasoningReplay, ResponseReader, TargetFacts
from control_plane.dialects.canon import Document, Failure, Image, Part, Request, ToolResult, Unfit
from control_plane.dialects.model_path import filled, streaming

VERTEX_METHODS: Final = (":rawPredict", ":streamRawPredict")
VERTEX_VERSION: Final = "vertex-2023-10-16"
BEDROCK_METHODS: Final = ("/invoke", "/invoke-with-response-stream")
BEDROCK_VERSION: Final = "bedrock-2023-05-31"

_ANTHROPICS_OWN: Final = ("mcp_servers", "container")
"""Fields that only Anthropic's own API takes."""


class AnthropicVertex:
    """Claude on Google's Vertex AI. See control_plane.dialects.api.ProviderDialect; options as those of `anthropic-messages`."""

    name = "anthropic-vertex"

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay(sealed_by=frozenset((NAME,)))

    def write_request(self, request: Request, target: TargetFacts) -> ProviderRequest:
        _refuse_references(request, "Vertex AI")

        def adapt(body: dict[str, Any]) -> None:
            _refuse_fields(body, "Vertex AI")
            del body["model"]
            body["anthropic_version"] = VERTEX_VERSION

        written = write_request(request, target, adapt)
        return msgspec.structs.replace(written, path=_path(request, target, VERTEX_METHODS))

    def reader(self, request: Request) -> ResponseReader:
        return AnswerReader(request)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Anthropic's document, or Google's where the request did not come so far."""
        found = errors.read_error(status, headers, body)
        word = failures.error_document(body)[0].get("status")
        if word == "FAILED_PRECONDITION" and found.kind == "client_fault":  # such as a model that this region does not have
            return msgspec.structs.replace(found, kind="transient")
        return found


class AnthropicBedrock:
    """Claude on Amazon Bedrock by invoke. See control_plane.dialects.api.ProviderDialect; options as those of `anthropic-messages`."""

    name = "anthropic-bedrock"

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay(sealed_by=frozenset((NAME,)))

    def write_request(self, request: Request, target: TargetFacts) -> ProviderRequest:
        _refuse_references(request, "Bedrock")

        def adapt(body: dict[str, Any]) -> None:
            _refuse_fields(body, "Bedrock")
            del body["model"]
            body.pop("stream", None)  # the path says it
            body["anthropic_version"] = BEDROCK_VERSION
            if request.betas:  # no header reaches the model
                body["anthropic_beta"] = list(request.betas)

        written = write_request(request, target, adapt)
        return msgspec.structs.replace(written, path=_path(request, target, BEDROCK_METHODS), headers=(("accept", "application/json"),))

    def reader(self, request: Request) -> ResponseReader:
        return FramedAnswerReader(request)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return aws_errors.read_error(status, headers, body)


def _path(request: Request, target: TargetFacts, methods: tuple[str, str]) -> str:
    path = filled(target.path, target.model)
    return streaming(path, methods) if request.stream else path


def _refuse_fields(body: Mapping[str, Any], cloud: str) -> None:
    for name in _ANTHROPICS_OWN:
        if body.get(name):
            raise Unfit(name, f"Claude on {cloud} does not take it")


def _refuse_references(request: Request, cloud: str) -> None:
    """Raises Unfit for files that stand elsewhere: the clouds take base64 only, and have no files of Anthropic's."""
    for message in request.messages:
        for part in message.parts:
            for inner in (part, *(part.parts if isinstance(part, ToolResult) else ())):
                if _refers(inner):
                    raise Unfit(message.path, f"Claude on {cloud} takes files as base64 only, neither by URL nor by id")


def _refers(part: Part) -> bool:
    return isinstance(part, Image | Document) and (part.url is not None or part.file_id is not None)
