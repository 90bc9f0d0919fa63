"""What errors mean, as data: rules, of which the first that fits decides. The translator applies them in Python, Envoy in Lua
(envoy/lua/faults.lua).

A vendor's own rules, out of its preset, come first (`error_rules`), then those of its dialect, then those of all: the words of the
dialects' inventors and of servers that anybody runs. Anthropic answers an empty account with 400, Google a wrong key with 400 and
an oversized prompt with 429.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from control_plane.dialects.failure_classes import FailureClass


class Rule(NamedTuple):
    """All conditions that are given must hold.

    `status`: of the answer, "400,413" or "500-599". `code`: one of these is the error's code or type. `words`: one of these, in small
    letters, stands in "code message" of the error, where `*` stands for anything. `body`: the same anywhere in the body, as written there.
    `type`: like `code`, for rules that ask for both.
    """

    kind: FailureClass
    status: str = ""
    code: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


def _each(before: Sequence[str], middle: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{a}{b}{c}" for a in before for b in middle for c in after)


_CONTEXT: Final = (
    *("context length", "context_length", "context window", "max context", "maximum context"),
    *("prompt too long", "prompt is too long", "too many input tokens", "too many prompt tokens", "input too long", "input is too long"),
    *_each(("exceed the ", "exceeds the "), ("", "model's ", "models "), ("max", "token", "context")),
    *("request_too_large", "string_above_max_length", "token limit reached", "input token count"),
)
_KEY: Final = (
    *("invalid_api_key", "authentication_error", "account_deactivated"),
    *_each(("api key ",), ("not valid", "expired", "not found"), ("",)),
)
_QUOTA: Final = (
    *("insufficient_quota", "exceeded your current quota", "credit balance is too low", "billing", "quota_exceeded", "payment required"),
    *_each(("insufficient ",), ("balance", "credits", "funds"), ("",)),
)
_POLICY: Final = (
    *_each(("content_", "content "), ("policy", "filter", "management"), ("",)),
    *("responsibleaipolicy", "safety system", "safety policy", "content violates", "usage polic"),
)

COMMON: Final = (
    Rule("transient", "400", code=("model_not_found",)),  # OpenAI's Responses; the upstream name is the operator's, not the client's
    Rule("content_policy", "401,403", words=_POLICY),
    Rule("credential_dead", "401,403"),
    Rule("quota_spent", "402"),
    Rule("quota_spent", "400,413,422,429", words=_QUOTA),
    Rule("context_too_long", "413"),
    Rule("context_too_long", "400,422,429", words=_CONTEXT),
    Rule("rate_limited", "429"),
    Rule("credential_dead", "400,422", words=_KEY),
    Rule("content_policy", "400,422", words=_POLICY),
    Rule("transient", "404,408,409,425,500-599"),
    Rule("client_fault", "400-499"),
)

_AWS: Final = (
    # The model failed or is not there yet: the statuses would say that the client is at fault, or too fast.
    Rule("transient", code=("ModelErrorException", "ModelStreamErrorException", "ModelTimeoutException", "ModelNotReadyException")),
    Rule("transient", "424"),
    Rule("quota_spent", code=("ServiceQuotaExceededException",)),
    Rule("quota_spent", "429", words=("per day", "daily")),
    # What this model, or this place, cannot do: the operator's choice, and another target may serve the request.
    Rule(
        "transient",
        "400",
        words=(
            *_each(("this model doesn't ", "this model does not ", "this model doesnt "), ("support",), ("",)),
            *("model identifier is invalid", "throughput isn't supported", "throughput isn\u2019t supported", "isn't available"),
            *("not supported by this model", "not supported for this model", "not allowed for this model", "invalid beta flag"),
        ),
    ),
)
_GOOGLE: Final = (
    # The text of a 429 names quota and billing for a limit per minute too; only the violated quota's id tells, or a time to wait.
    Rule("quota_spent", "429", words=_QUOTA, body=("PerDay",)),
    Rule("rate_limited", "429", words=_QUOTA, body=("PerMinute", '"retryDelay"')),
    Rule("transient", "400", code=("FAILED_PRECONDITION",)),
    Rule(
        "transient",
        "400",
        words=_each(("is not ",), ("enabled", "supported"), (" for this model", " for models/")),
    ),
)
_COHERE: Final = (
    Rule("content_policy", "498"),
    Rule("context_too_long", "400-499", words=("too_many_tokens", "too many tokens: size limit exceeded")),
    Rule("quota_spent", "402-499", words=("limited to*api calls / month", "update your payment method")),
)

BY_DIALECT: Final[Mapping[str, tuple[Rule, ...]]] = {
    "bedrock-converse": _AWS,
    "anthropic-bedrock": _AWS,
    "gemini-generate-content": _GOOGLE,
    "cohere-chat": _COHERE,
}
"""Keyed by the provider's dialect."""


def words_of(dialects: Iterable[str]) -> str:
    """The first of a provider's dialects that has rules of its own, "" if none has: an account's errors use one vendor's words."""
    return next((dialect for dialect in dialects if dialect in BY_DIALECT), "")


def rules_of(dialect: str) -> tuple[Rule, ...]:
    """The dialect's own rules, and those of all."""
    return (*BY_DIALECT.get(dialect, ()), *COMMON)


def kind_of(rules: Iterable[Rule], status: int, codes: Iterable[str], message: str, body: str = "") -> FailureClass | None:
    """The class by the first rule that fits; None where none does."""
    known = frozenset(codes)
    words = f"{' '.join(codes)} {message}".lower()
    for rule in rules:
        if (
            (not rule.status or status in statuses(rule.status))
            and (not rule.code or not known.isdisjoint(rule.code))
            and (not rule.type or not known.isdisjoint(rule.type))
            and (not rule.words or any(holds(words, pattern) for pattern in rule.words))
            and (not rule.body or any(part in body for part in rule.body))
        ):
            return rule.kind
    return None


@lru_cache(maxsize=256)
def statuses(text: str) -> frozenset[int]:
    """ "400,500-502" as numbers."""
    ranges = (part.partition("-") for part in text.split(","))
    return frozenset(n for first, _, last in ranges for n in range(int(first), int(last or first) + 1))


def holds(words: str, pattern: str) -> bool:
    """Whether the parts of `pattern` between its stars follow each other in `words`; both in small letters."""
    at = 0
    for part in pattern.split("*"):
        found = words.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def text_of(rules: Iterable[Rule], dialect: str = "") -> str:
    """A line for each rule, as Lua reads them: kind, dialect, status, code, type, words and body with tabs between them, the unit separator
    (31) between alternatives."""
    lines = ("\t".join((rule.kind, dialect, rule.status, *map(_OR.join, rule[2:]))) for rule in rules)
    return "".join(f"{line}\n" for line in lines)


_OR: Final = "\x1f"


def table_text() -> str:
    """All built-in rules; `*` as dialect are those of all."""
    return "".join(text_of(rules, dialect) for dialect, rules in BY_DIALECT.items()) + text_of(COMMON, "*")
