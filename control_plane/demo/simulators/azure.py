"""Azure OpenAI on the wire: OpenAI's API under Azure's paths, keys, content filters and errors.

Source: learn.microsoft.com/azure/ai-foundry/openai/reference and .../concepts/content-filter, and recorded exchanges.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.openai import OpenAI
from control_plane.demo.simulators.openai_errors import fault_headers
from control_plane.demo.simulators.reply import Event, Reply, VendorError, decode, encode, header_lines

DEPLOYMENT: Final = re.compile(r"/openai/deployments/([^/]+)/(chat/completions|embeddings)")
API_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
FILTERED: Final = b"[[azure filter]]"
"""In a request: its prompt triggers the content filter."""

_SAFE: Final = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_PROMPT: Final = [{"prompt_index": 0, "content_filter_results": {**_SAFE, "jailbreak": {"detected": False, "filtered": False}}}]
_KEY: Final = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription "
    "and use a correct regional API endpoint for your resource."
)
_POLICY: Final = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry. "
    "To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
)
_DEPLOYMENT: Final = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment "
    "and try again."
)


class AzureOpenAI(OpenAI):
    """One resource: the v1 API without a version, and deployments with one. Keys in `api-key`, or Entra's tokens as bearers."""

    def answer(self, request: HttpRequest) -> Reply:
        try:
            inner = self._inner(request)
        except VendorError as error:
            return Reply(error.status, header_lines({"apim-request-id": "simulated"}), encode(error.body))
        reply = super().answer(inner)
        if reply.status == 404 and b"model_not_found" in reply.body:
            body = {"error": {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": _DEPLOYMENT}}
            return Reply(404, reply.headers, encode(body))
        return _with_filters(reply) if reply.status == 200 and inner.path == "/v1/chat/completions" else reply

    def failure(self, fault: Fault) -> Reply:
        if fault.status != 429 or fault.message or fault.error_type:
            return super().failure(fault)
        text = "Your requests to gpt-5 for gpt-5 in westeurope have exceeded rate limit."
        body = {"error": {"code": "RateLimitReached", "message": text, "details": text}}
        return Reply(429, header_lines(fault_headers(fault)), encode(body))

    def _inner(self, request: HttpRequest) -> HttpRequest:
        """The same request as OpenAI would get it."""
        headers = dict(request.headers)
        key = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if not key or not self.keys.accepts(key):
            raise VendorError(401, {"error": {"code": "401", "message": _KEY}})
        headers["authorization"] = f"Bearer {key}"
        body = request.body
        if FILTERED in body:
            raise _filtered()
        if request.path.startswith("/openai/v1/"):
            return replace(request, path=request.path.removeprefix("/openai"), query="", headers=headers)
        found = DEPLOYMENT.fullmatch(request.path)
        versions = [value for name, value in parse_qsl(request.query) if name == "api-version"]
        if found is None or len(versions) != 1 or not API_VERSION.fullmatch(versions[0]):
            raise VendorError(404, {"error": {"code": "404", "message": "Resource not found"}})
        try:
            document = decode(body)
        except ValueError:
            document = None
        if isinstance(document, dict):  # the deployment in the path decides, whatever the body says
            body = encode({**document, "model": unquote(found[1])})
        return replace(request, path=f"/v1/{found[2]}", query="", headers=headers, body=body)


def _filtered() -> VendorError:
    results = {**_SAFE, "jailbreak": {"detected": True, "filtered": True}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results}
    error = {"message": _POLICY, "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": inner}
    return VendorError(400, {"error": error})


def _with_filters(reply: Reply) -> Reply:
    """What the filters say of prompt and answer, where Azure puts it."""
    if reply.events is None:
        document: dict[str, Any] = msgspec.json.decode(reply.body)
        choices = [{"content_filter_results": _SAFE, **choice} for choice in document["choices"]]
        return replace(reply, body=encode({**document, "choices": choices, "prompt_filter_results": _PROMPT}))
    first = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": _PROMPT}
    events: list[Event] = [(b"data: " + encode(first) + b"\n\n", False)]
    results = b'"choices":[{"content_filter_results":' + encode(_SAFE) + b',"index":'
    events += [(event.replace(b'"choices":[{"index":', results, 1), content) for event, content in reply.events]
    return replace(reply, events=events)
