"""Errors that a vendor words in its own way, as data: rules of a preset, applied after a dialect has read an error.

A dialect's own `read_error` knows what its inventor documents. What one vendor of that dialect does otherwise (a wrong key is a 400, a
failure of the model is a fault of the client) is said in its preset; the first rule that fits decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure
from control_plane.dialects.failure_classes import FailureClass
from control_plane.dialects.fault_table import Rule, holds

_STATUS: Final[Mapping[FailureClass, int]] = {
    "credential_dead": 401,
    "rate_limited": 429,
    "quota_spent": 402,
    "context_too_long": 400,
    "content_policy": 400,
    "client_fault": 400,
    "transient": 503,
    "unreadable": 502,
}
"""The status that goes with a class which a rule has changed: clients, the router and the journal judge by it."""


class ErrorRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """All conditions that are given must hold.

    `status`: of the answer; 200 means inside a successful one. `code`, `type`: the vendor's words, exactly. `message`: a part of the text
    in any case of letters, where `*` stands for anything.
    """

    kind: FailureClass
    status: int | None = None
    code: str | None = None
    type: str | None = None
    message: str | None = None


def read_rules(text: str) -> tuple[ErrorRule, ...]:
    """Rules out of the JSON list they travel in. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=tuple[ErrorRule, ...])


def settled(failure: Failure, rules: Sequence[ErrorRule], status: int, error: object) -> Failure:
    """`failure` as the first rule that fits has it.

    `status` is the answer's own, `error` the vendor's: an error document (decoded), its text, or None where there is no more than
    `failure` says.
    """
    if not rules:
        return failure
    document: Mapping[str, Any] = error if isinstance(error, dict) else {}
    text = document.get("error", error)  # {"code": …, "error": "the message"}
    codes = {failure.code, failures.text_of(document.get("code"))} - {None}
    types = {failures.text_of(document.get(key)) for key in ("type", "status", "error_type")} - {None}
    told = failures.message_of(document, text if isinstance(text, str) else "")
    words = (told or failure.message)[: 4 * failures.MESSAGE_LIMIT_CHARS].lower()
    for rule in rules:
        if (
            (rule.status is None or rule.status == status)
            and (rule.code is None or rule.code in codes)
            and (rule.type is None or rule.type in types)
            and (rule.message is None or holds(words, rule.message.lower()))
        ):
            return failure if rule.kind == failure.kind else _changed(failure, rule.kind, told)
    return failure


def as_table(rules: Sequence[ErrorRule]) -> tuple[Rule, ...]:
    """The same in the form of the built-in ones, for Envoy."""
    return tuple(Rule(r.kind, str(r.status or ""), _one(r.code), _one(r.type), _one(r.message and r.message.lower())) for r in rules)


def _one(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


def _changed(failure: Failure, kind: FailureClass, told: str) -> Failure:
    """The message is the vendor's own again where it had been replaced because it might show a key, and replaced where it may now."""
    if kind == "credential_dead":
        message = failures.KEY_REFUSED
    elif failure.kind == "credential_dead":
        message = told[: failures.MESSAGE_LIMIT_CHARS] or f"the provider answered {failure.status}"
    else:
        message = failure.message
    return msgspec.structs.replace(failure, kind=kind, status=_STATUS[kind], message=message)
