"""The `anthropic-messages` dialect: what ties its readers and writers together."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.dialects import canon
from control_plane.dialects.anthropic_messages import errors
from control_plane.dialects.anthropic_messages.answer_read import AnswerReader
from control_plane.dialects.anthropic_messages.answer_write import StreamWriter
from control_plane.dialects.anthropic_messages.request_read import read_request
from control_plane.dialects.anthropic_messages.request_write import write_request
from control_plane.dialects.anthropic_messages.whole_write import WholeWriter
from control_plane.dialects.api import Call, IdSource, ProviderRequest, ReasoningReplay, ResponseReader, ResponseWriter, TargetFacts


class AnthropicMessages:
    """See control_plane.dialects.api.Dialect; the options it knows of a target are listed in request_write."""

    name = "anthropic-messages"

    def read_request(self, body: bytes, call: Call | None = None) -> canon.Request:
        return read_request(body, call)

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
        return errors.read_error(status, headers, body)
