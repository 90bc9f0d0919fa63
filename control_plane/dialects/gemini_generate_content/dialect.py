"""The `gemini-generate-content` dialect, the provider's side only: what ties its writer and readers together."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.dialects import canon
from control_plane.dialects.api import ProviderRequest, ReasoningReplay, ResponseReader, TargetFacts
from control_plane.dialects.gemini_generate_content import errors
from control_plane.dialects.gemini_generate_content.answer_read import AnswerReader
from control_plane.dialects.gemini_generate_content.request_write import write_request
from control_plane.dialects.gemini_generate_content.vocabulary import NAME


class GeminiGenerateContent:
    """See control_plane.dialects.api.ProviderDialect; the options it knows of a target are listed in request_write."""

    name = NAME

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        own = frozenset((self.name,))
        return ReasoningReplay(sealed_by=own, calls_signed_by=own)

    def write_request(self, request: canon.Request, target: TargetFacts) -> ProviderRequest:
        return write_request(request, target)

    def reader(self, request: canon.Request) -> ResponseReader:
        return AnswerReader(request)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> canon.Failure:
        return errors.read_error(status, headers, body)
