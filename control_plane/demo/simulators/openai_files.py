"""OpenAI's files and batches (platform.openai.com/docs/api-reference/files, /batch). A batch is done as soon as it is made."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.form import read_form
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import JSON, Reply, VendorError, decode, encode

KEPT: Final = 256  # files, and batches; the oldest go first
PURPOSES: Final = frozenset({"assistants", "batch", "fine-tune", "vision", "user_data", "evals"})
ENDPOINTS: Final = frozenset({"/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"})
BYTES: Final = "application/octet-stream"

_FILE: Final = re.compile(r"/v1/files/([^/]+)(/content)?")
_BATCH: Final = re.compile(r"/v1/batches/([^/]+)(/cancel)?")

Run = Callable[[str, Mapping[str, Any]], Reply]
"""Does what a line of a batch asks for (path, body). Raises VendorError."""


@dataclass(frozen=True, slots=True)
class _File:
    document: Mapping[str, Any]
    content: bytes


class Files:
    """What one account keeps. `answer` raises VendorError."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._batches: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def answer(self, request: HttpRequest, number: int, headers: bytes) -> Reply:
        path, method = request.path, request.method
        if path in ("/v1/files", "/v1/batches"):
            if method not in ("GET", "POST"):
                raise errors.wrong_method("GET")
            if method == "GET":
                kept = [file.document for file in self._files.values()] if path == "/v1/files" else list(self._batches.values())
                return Reply(200, headers, encode(_listed(kept, request.query)))
            made = self._upload(request, number) if path == "/v1/files" else self._batch(request, number)
            return Reply(200, headers, encode(made))
        if named := _FILE.fullmatch(path):
            return self._file(method, named[1], bool(named[2]), headers)
        if named := _BATCH.fullmatch(path):
            return Reply(200, headers, encode(self._one_batch(method, named[1], bool(named[2]))))
        raise errors.unknown_url(method, path)

    # files

    def _upload(self, request: HttpRequest, number: int) -> Mapping[str, Any]:
        try:
            form = read_form(request.headers.get("content-type", ""), request.body)
        except ValueError as error:
            raise errors.bad_request(f"Could not parse multipart form: {error}") from None
        if "purpose" not in form:
            raise errors.missing("purpose")
        if form["purpose"] not in PURPOSES:
            raise errors.bad_request(f"'{form['purpose']}' is not one of {sorted(PURPOSES)} - 'purpose'")
        files = form.files("file")
        if not files:
            raise errors.missing("file")
        return self._keep(f"file-Sim{number:020x}", files[0].filename or "upload", form["purpose"], files[0].value)

    def _keep(self, identity: str, name: str, purpose: str, content: bytes) -> Mapping[str, Any]:
        document = {
            "object": "file",
            "id": identity,
            "purpose": purpose,
            "filename": name,
            "bytes": len(content),
            "created_at": int(time.time()),
            "expires_at": None,
            "status": "processed",
            "status_details": None,
        }
        self._files[identity] = _File(document, content)
        if len(self._files) > KEPT:
            self._files.popitem(last=False)
        return document

    def _file(self, method: str, identity: str, content: bool, headers: bytes) -> Reply:
        if method != "GET" and (content or method != "DELETE"):
            raise errors.wrong_method("GET")
        found = self._files.get(identity)
        if found is None:
            raise VendorError(404, errors.document(f"No such File object: {identity}", param="id"))
        if content:
            return Reply(200, headers, found.content, content_type=BYTES)
        if method == "DELETE":
            del self._files[identity]
            return Reply(200, headers, encode({"object": "file", "deleted": True, "id": identity}))
        return Reply(200, headers, encode(found.document))

    # batches

    def _batch(self, request: HttpRequest, number: int) -> Mapping[str, Any]:
        if JSON not in request.headers.get("content-type", "").lower():
            raise errors.not_json()
        try:
            body = decode(request.body)
        except ValueError:
            raise errors.not_json() from None
        if not isinstance(body, dict):
            raise errors.not_json()
        for name in ("input_file_id", "endpoint", "completion_window"):
            if name not in body:
                raise errors.missing(name)
        if body["endpoint"] not in ENDPOINTS:
            raise errors.bad_request(f"Invalid value: '{body['endpoint']}'.", "endpoint", "invalid_value")
        given = self._files.get(str(body["input_file_id"]))
        if given is None or given.document["purpose"] != "batch":
            raise errors.bad_request(f"Invalid input_file_id '{body['input_file_id']}'.", "input_file_id", "invalid_value")
        outcomes = [self._outcome(line, body["endpoint"]) for line in given.content.splitlines() if line.strip()]
        written = {
            kind: b"".join(encode(line) + b"\n" for line, good in outcomes if good == wanted)
            for kind, wanted in (("output", True), ("error", False))
        }
        files = {
            f"{kind}_file_id": self._keep(f"file-Sim{number:019x}{kind[0]}", f"batch_{kind}.jsonl", "batch_output", content)["id"]
            if content
            else None
            for kind, content in written.items()
        }
        now, good = int(time.time()), sum(good for _, good in outcomes)
        document: dict[str, Any] = {
            "id": f"batch_sim{number:021x}",
            "object": "batch",
            "endpoint": body["endpoint"],
            "errors": None,
            "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"],
            "status": "completed",
            **files,
            "created_at": now,
            "in_progress_at": now,
            "expires_at": now + 86_400,
            "finalizing_at": now,
            "completed_at": now,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "metadata": body.get("metadata"),
            "request_counts": {"total": len(outcomes), "completed": good, "failed": len(outcomes) - good},
        }
        self._batches[document["id"]] = document
        if len(self._batches) > KEPT:
            self._batches.popitem(last=False)
        return document

    def _outcome(self, line: bytes, endpoint: str) -> tuple[Mapping[str, Any], bool]:
        """A line of the output, and whether it is no error. Raises VendorError for a line that is no request."""
        try:
            asked = decode(line)
            identity, path, body = asked["custom_id"], asked["url"], asked["body"]
        except (ValueError, TypeError, KeyError):
            raise errors.bad_request("A line of the input file is no request.", "input_file_id", "invalid_json_line") from None
        if path != endpoint or not isinstance(body, dict):
            raise errors.bad_request("The url of a line is not the endpoint of the batch.", "input_file_id", "mismatched_endpoint")
        try:
            reply = self._run(path, {**body, "stream": False} if "stream" in body else body)
            status, answer = reply.status, decode(reply.body)
        except VendorError as error:
            status, answer = error.status, error.body
        response = {"status_code": status, "request_id": f"req_{identity}", "body": answer}
        return {"id": f"batch_req_{identity}", "custom_id": identity, "response": response, "error": None}, status == 200

    def _one_batch(self, method: str, identity: str, cancel: bool) -> Mapping[str, Any]:
        if method != ("POST" if cancel else "GET"):
            raise errors.wrong_method("POST" if cancel else "GET")
        found = self._batches.get(identity)
        if found is None:
            raise VendorError(404, errors.document(f"No batch found with id '{identity}'."))
        if cancel:
            raise VendorError(409, errors.document(f"Cannot cancel a batch with status '{found['status']}'."))
        return found


def _listed(documents: list[Mapping[str, Any]] | list[dict[str, Any]], query: str) -> Mapping[str, Any]:
    """The newest first, a page of them."""
    options = parse_qs(query)
    newest = list(documents)[::-1]
    if purpose := options.get("purpose"):
        newest = [document for document in newest if document.get("purpose") == purpose[0]]
    after = options.get("after", [""])[0]
    place = next((index + 1 for index, document in enumerate(newest) if document["id"] == after), 0)
    limit = options.get("limit", ["20"])[0]
    if not limit.isdecimal() or not 1 <= int(limit) <= 10_000:
        raise errors.bad_request("Invalid 'limit': integer out of bounds.", "limit", "integer_out_of_bounds")
    page = newest[place : place + int(limit)]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"object": "list", "data": page, **ends, "has_more": place + len(page) < len(newest)}
