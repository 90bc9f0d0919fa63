"""Google's Vertex AI on the wire: Gemini, Claude and OpenAI's chat completions under a project's paths, with Google's tokens.

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
from control_plane.demo.simulators.openai import OpenAI
from control_plane.demo.simulators.reply import Keys, Reply, VendorError, encode

PATH: Final = re.compile(r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/(google|anthropic)/models/([^/]+):([A-Za-z]+)")
CLAUDE: Final = ("claude-opus-4-6", "claude-sonnet-4-6", "claude-sonnet-4-5@20250929", "claude-haiku-4-5@20251001")
VERSION: Final = "vertex-2023-10-16"
METHODS: Final = ("generateContent", "streamGenerateContent", "countTokens")


OPEN_PATH: Final = re.compile(r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/endpoints/openapi/chat/completions")
OPEN_MODELS: Final = (*(f"google/{model}" for model in GEMINI_MODELS), "meta/llama-4-maverick-17b-128e-instruct-maas")
"""Of the chat completions that Google calls OpenAI-compatible; the publisher is a part of the name."""


class Vertex:
    """The vendor: request in, reply out. Claude's errors are Anthropic's own; what comes before are Google's."""

    heartbeat = b": keep-alive\n\n"

    def __init__(self, name: str, keys: Keys, models: Sequence[str] | None, minimum_cached_tokens: int, strict: bool) -> None:
        self.keys = keys
        self.models = (*GEMINI_MODELS, *CLAUDE, *OPEN_MODELS) if models is None else tuple(models)
        self._name = name
        self._gemini = Gemini(name, Keys(None), ("*",), minimum_cached_tokens, strict)
        self._anthropic = Anthropic(name, Keys(None), ("*",), minimum_cached_tokens, strict)
        self._open = OpenAI(name, Keys(None), ("*",), minimum_cached_tokens, False, None)
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
        if OPEN_PATH.fullmatch(request.path) and request.method == "POST":
            return self._chat(request)
        found = PATH.fullmatch(request.path)
        if found is None or request.method != "POST":
            raise errors.not_found("Not Found")
        self._authenticate(request)
        publisher, model, method = found[1], unquote(found[2]), found[3]
        if (publisher, model, method) == ("anthropic", "count-tokens", "rawPredict"):
            return self._count(body_of(request))
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

    def _chat(self, request: HttpRequest) -> Reply:
        """OpenAI's chat completions; what is wrong with the call itself is said in Google's words, in a list."""
        self._authenticate(request)
        model = body_of(request).get("model")
        if not isinstance(model, str) or "/" not in model:
            raise errors.invalid(f"Malformed publisher model `{model}`. Expected `publisher/model`.")
        if "*" not in self.models and model not in self.models:
            raise errors.not_found(f"Publisher Model `{model}` was not found or your project does not have access to it.")
        reply = self._open.answer(replace(request, path="/v1/chat/completions"))
        return replace(reply, failing=self._open.error_event)

    def _authenticate(self, request: HttpRequest) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self.keys.accepts(token):
            raise errors.bad_token()

    def _count(self, body: dict[str, Any]) -> Reply:
        """Anthropic's counting under a path of its own; the body says the model."""
        version, model = body.pop("anthropic_version", VERSION), body.get("model")
        if version not in (VERSION, LATEST):
            raise _refused(f"anthropic_version: Input should be '{VERSION}'")
        if not isinstance(model, str) or "messages" not in body:
            raise _refused("model: Field required" if "messages" in body else "messages: Field required")
        if "*" not in self.models and model not in self.models:
            raise errors.not_found(f"Publisher Model `publishers/anthropic/models/{model}` was not found or is not supported.")
        return self._anthropic.count(body, next(self._number), latest=version == LATEST)

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
