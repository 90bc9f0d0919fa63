"""Responses that OpenAI keeps: continued by a later one, fetched, listed, cancelled, deleted."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.openai_responses_request import seal
from control_plane.demo.simulators.reply import VendorError

STORED_RESPONSES: Final = 256  # the oldest go first

_CALL: Final = re.compile(r"/v1/responses/([^/]+)(/cancel|/input_items)?")


@dataclass(frozen=True, slots=True)
class _Kept:
    document: Mapping[str, Any]
    given: Sequence[Mapping[str, Any]]
    items: Sequence[Mapping[str, Any]]


class Store:
    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def of(self, identity: object) -> Sequence[Mapping[str, Any]]:
        """The items before the new input. Raises VendorError."""
        if identity is None:
            return ()
        found = self._kept.get(str(identity))
        if found is None:
            message = f"Previous response with id '{identity}' not found."
            raise VendorError(400, errors.document(message, param="previous_response_id", code="previous_response_not_found"))
        return found.items

    def keep(self, document: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
        """`items`: everything the model has read."""
        # the vendor can read its own reasoning again, whoever has asked for it in encrypted form
        again = [{**o, "encrypted_content": seal(str(o["id"]))} if o["type"] == "reasoning" else o for o in document["output"]]
        self._kept[document["id"]] = _Kept(document, items, [*items, *again])
        if len(self._kept) > STORED_RESPONSES:
            self._kept.popitem(last=False)

    def call(self, method: str, path: str) -> Mapping[str, Any] | None:
        """The document that answers a call about a stored response; None when it is no such call. Raises VendorError."""
        named = _CALL.fullmatch(path)
        if named is None:
            return None
        identity, what = named[1], named[2] or ""
        if (method, what) not in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            raise errors.wrong_method("POST" if what == "/cancel" else "GET")
        found = self._kept.get(identity)
        if found is None:
            raise VendorError(404, errors.document(f"Response with id '{identity}' not found."))
        if method == "DELETE":
            del self._kept[identity]
            return {"id": identity, "object": "response", "deleted": True}
        if what == "/cancel":
            raise errors.bad_request("Cannot cancel a synchronous response.")
        return _listed(found.given) if what else found.document


def _listed(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest first, each with an id and a type."""
    data = [_shown(item, number) for number, item in enumerate(items)][::-1]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": False}


def _shown(item: Mapping[str, Any], number: int) -> dict[str, Any]:
    shown = {"id": f"item_sim{number:024x}", "type": "message", **item}
    if isinstance(shown.get("content"), str):
        kind = "output_text" if shown.get("role") == "assistant" else "input_text"
        shown["content"] = [{"type": kind, "text": shown["content"]}]
    return shown
