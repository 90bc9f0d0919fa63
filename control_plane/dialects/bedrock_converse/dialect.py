"""The `bedrock-converse` dialect: what ties its readers and writers together."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.dialects import aws_errors, canon
from control_plane.dialects.api import ProviderRequest, ResponseReader, TargetFacts
from control_plane.dialects.bedrock_converse.answer_read import AnswerReader
from control_plane.dialects.bedrock_converse.request_write import write_request
from control_plane.dialects.bedrock_converse.vocabulary import NAME


class BedrockConverse:
    """See control_plane.dialects.api.ProviderDialect."""

    name = NAME

    def write_request(self, request: canon.Request, target: TargetFacts) -> ProviderRequest:
        return write_request(request, target)

    def reader(self, request: canon.Request) -> ResponseReader:
        return AnswerReader(request)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> canon.Failure:
        return aws_errors.read_error(status, headers, body)
