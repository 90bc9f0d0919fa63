"""Google's Vertex AI on the wire: Gemini and Claude under a project's paths, with Google's tokens.

Source: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest, and
https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from control_plane.demo.simulators import gemini_errors as errors
from control_plane.demo.simulators.anthropic import LATEST, Anthropic
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.gemini import MODELS as GEMINI_MODELS
from control_plane.demo.simulators.gemini import Gemini, body_of
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Keys, Reply, VendorError, encode

PATH: Final = re.compile(r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/(google|anthropic)/models/([^/]+):([A-Za-z]+)")
CLAUDE: Final = ("claude-opus-4-6", "claude-sonnet-4-6", "claude-sonnet-4-5@20250929", "claude-haiku-4-5@20251001")
VERSION: Final = "vertex-2023-10-16"
METHODS: Final = ("generateContent", "streamGenerateContent", "countTokens")


class Vertex:
    """The vendor: request in, reply out. Claude's errors are Anthropic's own; what comes before are Google's."""

    heartbeat = b": keep-alive\n\n"

    def __init__(self, name: str, keys: Keys, models: Sequence[str] | None, minimum_cached_tokens: int, strict: bool) -> None:
        self.keys = keys
        self.models = (*GEMINI_MODELS, *CLAUDE) if models is None else tuple(models)
        self._name = name
        self._gemini = Gemini(name, Keys(None), ("*",), minimum_cached_tokens, strict)
        self._anthropic = Anthropic(name, Keys(None), ("*",), minimum_cached_tokens, strict)
        self._number = itertools.count(1)

    # the vendor protocol

    def answer(self, request: HttpRequest) -> Reply:
        try:
            return self._route(request)
        except VendorError as error:
            return Reply(error.status, error.headers, encode(error.body))

    def failure(self, fault: Fault) -> Reply:
        return self._gemini.failure(fault)

    def error_event(self, fault: Fault) -> bytes:
        return self._gemini.error_event(fault)

    # routing

    def _route(self, request: HttpRequest) -> Reply:
        found = PATH.fullmatch(request.path)
        if found is None or request.method != "POST":
            raise errors.not_found("Not Found")
        self._authenticate(request)
        publisher, model, method = found[1], unquote(found[2]), found[3]
        if "*" not in self.models and model not in self.models:
            raise errors.not_found(f"Publisher Model `publishers/{publisher}/models/{model}` was not found or is not supported.")
        body = body_of(request)
        if publisher == "anthropic":
            return self._claude(body, model, method)
        if method not in METHODS:
            raise errors.not_found("Not Found")
        contents = body.get("contents")
        if isinstance(contents, list) and not all(isinstance(c, dict) and c.get("role") in ("user", "model", "function") for c in contents):
            raise errors.invalid("Please use a valid role: user, model.")  # what the Gemini API takes for the user's
        inner = replace(request, path=f"/v1beta/models/{found[2]}:{method}", headers={**request.headers, "x-goog-api-key": "token"})
        return self._gemini.answer(inner)

    def _authenticate(self, request: HttpRequest) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self.keys.accepts(token):
            raise errors.bad_token()

    def _claude(self, body: dict[str, Any], model: str, method: str) -> Reply:
        """Anthropic's messages; the path says the model, and whether the answer is a stream as the body does."""
        version = body.pop("anthropic_version", None)
        if version not in (VERSION, LATEST):  # the latter since version 2 of the vendor's SDKs
            raise _refused(f"anthropic_version: Input should be '{VERSION}'")
        if "model" in body:
            raise _refused("model: Extra inputs are not permitted")
        if method not in ("rawPredict", "streamRawPredict") or bool(body.get("stream")) != (method == "streamRawPredict"):
            raise errors.not_found("Not Found")
        try:
            reply = self._anthropic.message({**body, "model": model}, f"{self._name}/{model}", next(self._number), latest=version == LATEST)
        except VendorError as error:
            return Reply(error.status, b"", encode(error.body), model=model)
        return replace(reply, failing=self._anthropic.error_event)


def _refused(message: str) -> VendorError:
    return VendorError(400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}})
