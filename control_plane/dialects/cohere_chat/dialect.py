"""The `cohere-chat` dialect: what ties its readers and writers together."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.dialects import canon
from control_plane.dialects.api import Call, IdSource, ProviderRequest, ReasoningReplay, ResponseReader, ResponseWriter, TargetFacts
from control_plane.dialects.cohere_chat import errors
from control_plane.dialects.cohere_chat.answer_read import AnswerReader
from control_plane.dialects.cohere_chat.answer_write import StreamWriter, WholeWriter
from control_plane.dialects.cohere_chat.request_read import read_request
from control_plane.dialects.cohere_chat.request_write import told_to_think, write_request
from control_plane.dialects.cohere_chat.vocabulary import NAME


class CohereChat:
    """See control_plane.dialects.api.Dialect; the options it knows of a target are listed in request_write."""

    name = NAME

    def read_request(self, body: bytes, call: Call | None = None) -> canon.Request:
        return read_request(body)

    def writer(self, request: canon.Request, ids: IdSource) -> ResponseWriter:
        return StreamWriter(request, ids) if request.stream else WholeWriter(request, ids)

    def write_error(self, error: canon.Failure) -> bytes:
        return errors.write_error(error)

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay(plain=told_to_think(target))

    def write_request(self, request: canon.Request, target: TargetFacts) -> ProviderRequest:
        return write_request(request, target)

    def reader(self, request: canon.Request) -> ResponseReader:
        return AnswerReader(request)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> canon.Failure:
        return errors.read_error(status, headers, body)
