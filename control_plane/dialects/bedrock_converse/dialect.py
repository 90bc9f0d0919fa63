"""The `bedrock-converse` dialect: what ties its readers and writers together."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.dialects import aws_errors, canon
from control_plane.dialects.api import Call, IdSource, ProviderRequest, ReasoningReplay, ResponseReader, ResponseWriter, TargetFacts
from control_plane.dialects.bedrock_converse import errors
from control_plane.dialects.bedrock_converse.answer_read import AnswerReader
from control_plane.dialects.bedrock_converse.answer_write import StreamWriter
from control_plane.dialects.bedrock_converse.request_read import read_request
from control_plane.dialects.bedrock_converse.request_write import write_request
from control_plane.dialects.bedrock_converse.vocabulary import NAME
from control_plane.dialects.bedrock_converse.whole_write import WholeWriter


class BedrockConverse:
    """See control_plane.dialects.api.Dialect."""

    name = NAME

    def read_request(self, body: bytes, call: Call | None = None) -> canon.Request:
        return read_request(body, call.model if call is not None else "", call is not None and call.stream)

    def writer(self, request: canon.Request, ids: IdSource) -> ResponseWriter:
        return StreamWriter(request, ids) if request.stream else WholeWriter(request, ids)

    def write_error(self, error: canon.Failure) -> bytes:
        return errors.write_error(error)

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay(sealed_by=frozenset((self.name,)))

    def write_request(self, request: canon.Request, target: TargetFacts) -> ProviderRequest:
        return write_request(request, target)

    def reader(self, request: canon.Request) -> ResponseReader:
        return AnswerReader(request)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> canon.Failure:
        return aws_errors.read_error(status, headers, body)
