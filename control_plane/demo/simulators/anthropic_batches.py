"""Anthropic's message batches and files (docs.anthropic.com/en/api/creating-message-batches, /files-create).

A batch is done as soon as it is made; its results are at an absolute address, as the vendor's are.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from control_plane.demo.simulators import anthropic_errors as errors
from control_plane.demo.simulators.form import read_form
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Reply, VendorError, decode, encode

KEPT: Final = 256  # batches, and files; the oldest go first
BATCHES: Final = "/v1/messages/batches"
FILES: Final = "/v1/files"
HOST: Final = "https://api.anthropic.com"
LINES: Final = "application/x-jsonl"

_BATCH: Final = re.compile(BATCHES + r"/([^/]+)(/results|/cancel)?")
_FILE: Final = re.compile(FILES + r"/([^/]+)(/content)?")

Run = Callable[[Mapping[str, Any]], Reply]
"""Does what a request of a batch asks for. Raises VendorError."""


@dataclass(frozen=True, slots=True)
class _Batch:
    document: Mapping[str, Any]
    results: bytes


@dataclass(frozen=True, slots=True)
class _File:
    document: Mapping[str, Any]
    content: bytes


class Kept:
    """What one account keeps. `answer` raises VendorError."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        self._files: OrderedDict[str, _File] = OrderedDict()

    def answer(self, request: HttpRequest, number: int, headers: bytes) -> Reply:
        path, method = request.path, request.method
        if path == BATCHES and method in ("GET", "POST"):
            if method == "POST":
                return Reply(200, headers, encode(self._make(request.body, number)))
            return Reply(200, headers, encode(_listed([batch.document for batch in self._batches.values()], request.query)))
        if named := _BATCH.fullmatch(path):
            return self._batch(method, named[1], named[2] or "", headers)
        if path == FILES and method in ("GET", "POST"):
            if method == "POST":
                return Reply(200, headers, encode(self._upload(request, number)))
            return Reply(200, headers, encode(_paged([file.document for file in self._files.values()], request.query)))
        if named := _FILE.fullmatch(path):
            return self._file(method, named[1], bool(named[2]), headers)
        raise errors.wrong_method("GET")

    # batches

    def _make(self, body: bytes, number: int) -> Mapping[str, Any]:
        try:
            asked = decode(body)
        except ValueError:
            raise errors.invalid("The request body is not valid JSON") from None
        requests = asked.get("requests") if isinstance(asked, dict) else None
        if not isinstance(requests, list) or not requests:
            raise errors.invalid("requests: Field required")
        outcomes: list[Mapping[str, Any]] = []
        for index, one in enumerate(requests):
            if not isinstance(one, dict) or not isinstance(one.get("custom_id"), str) or not isinstance(one.get("params"), dict):
                raise errors.invalid(f"requests.{index}: Field required")
            outcomes.append({"custom_id": one["custom_id"], "result": self._outcome(one["params"])})
        identity, now = f"msgbatch_01Sim{number:019x}", _now()
        good = sum(outcome["result"]["type"] == "succeeded" for outcome in outcomes)
        document = {
            "id": identity,
            "type": "message_batch",
            "processing_status": "ended",
            "created_at": now,
            "ended_at": now,
            "expires_at": now,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{HOST}{BATCHES}/{identity}/results",
            "request_counts": {"processing": 0, "succeeded": good, "errored": len(outcomes) - good, "canceled": 0, "expired": 0},
        }
        self._batches[identity] = _Batch(document, b"".join(encode(outcome) + b"\n" for outcome in outcomes))
        if len(self._batches) > KEPT:
            self._batches.popitem(last=False)
        return document

    def _outcome(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return {"type": "succeeded", "message": decode(self._run(params).body)}
        except VendorError as error:
            return {"type": "errored", "error": error.body}

    def _batch(self, method: str, identity: str, what: str, headers: bytes) -> Reply:
        if method not in {"": ("GET", "DELETE"), "/results": ("GET",), "/cancel": ("POST",)}[what]:
            raise errors.wrong_method("POST" if what == "/cancel" else "GET")
        found = self._batches.get(identity)
        if found is None:
            raise errors.not_found(f"Batch {identity} not found")
        if what == "/results":
            return Reply(200, headers, found.results, content_type=LINES)
        if what == "/cancel":
            raise errors.invalid(f"Batch {identity} cannot be canceled because it has already ended")
        if method == "DELETE":
            del self._batches[identity]
            return Reply(200, headers, encode({"id": identity, "type": "message_batch_deleted"}))
        return Reply(200, headers, encode(found.document))

    # files

    def _upload(self, request: HttpRequest, number: int) -> Mapping[str, Any]:
        try:
            files = read_form(request.headers.get("content-type", ""), request.body).files("file")
        except ValueError as error:
            raise errors.invalid(f"Could not parse multipart form: {error}") from None
        if not files:
            raise errors.invalid("file: Field required")
        identity = f"file_01Sim{number:017x}"
        document = {
            "id": identity,
            "type": "file",
            "filename": files[0].filename,
            "mime_type": "text/plain",
            "created_at": _now(),
            "size_bytes": len(files[0].value),
            "downloadable": True,
        }
        self._files[identity] = _File(document, files[0].value)
        if len(self._files) > KEPT:
            self._files.popitem(last=False)
        return document

    def _file(self, method: str, identity: str, content: bool, headers: bytes) -> Reply:
        if method not in (("GET",) if content else ("GET", "DELETE")):
            raise errors.wrong_method("GET")
        found = self._files.get(identity)
        if found is None:
            raise errors.not_found(f"File {identity} not found")
        if content:
            return Reply(200, headers, found.content, content_type="text/plain")
        if method == "DELETE":
            del self._files[identity]
            return Reply(200, headers, encode({"id": identity, "type": "file_deleted"}))
        return Reply(200, headers, encode(found.document))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _listed(documents: list[Mapping[str, Any]], query: str) -> Mapping[str, Any]:
    """The newest first, a page of them."""
    options = parse_qs(query)
    newest = documents[::-1]
    place = _behind(newest, options.get("after_id", [""])[0])
    page = newest[place : place + _limit(options)]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"data": page, **ends, "has_more": place + len(page) < len(newest)}


def _paged(documents: list[Mapping[str, Any]], query: str) -> Mapping[str, Any]:
    """The same as files are listed: with an opaque cursor."""
    options = parse_qs(query)
    newest = documents[::-1]
    place = _behind(newest, options.get("page", [""])[0].removeprefix("page_"))
    page = newest[place : place + _limit(options)]
    return {"data": page, "next_page": f"page_{page[-1]['id']}" if place + len(page) < len(newest) else None}


def _behind(newest: list[Mapping[str, Any]], identity: str) -> int:
    return next((index + 1 for index, document in enumerate(newest) if document["id"] == identity), 0)


def _limit(options: Mapping[str, list[str]]) -> int:
    limit = options.get("limit", ["20"])[0]
    if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
        raise errors.invalid("limit: Input should be between 1 and 1000")
    return int(limit)
