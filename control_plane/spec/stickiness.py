"""What keeps the requests of one session at one target: `stickiness` of a ModelRoute."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from control_plane.spec.fields import CREDENTIAL_HEADERS, HOP_BY_HOP_HEADERS, MESSAGE_HEADERS, RESERVED_PREFIXES, distinct
from control_plane.spec.shape import Shape

MAX_WAYS: Final = 4
HEADER: Final = "header "
_WAY: Final = re.compile(r"conversation|consumer|header [A-Za-z0-9!#$&'*+.^_`|~-]{1,64}")


def check_way(value: str) -> str:
    """How a session is told, header names in lower case. Raises HG1015, or HG1017 for a header that names no session."""
    if not _WAY.fullmatch(value):
        fix = "write conversation, consumer, or header and a name, for example header x-session-id"
        raise PydanticCustomError("HG1015", "no way to tell sessions", {"fix": fix, "shown": True})
    name = value.removeprefix(HEADER).lower()
    if name == value:
        return value
    if name in CREDENTIAL_HEADERS:
        raise PydanticCustomError("HG1017", "carries a credential", {"fix": "write consumer for the client's key"})
    if name in HOP_BY_HOP_HEADERS or name in MESSAGE_HEADERS or name.startswith(RESERVED_PREFIXES):
        raise PydanticCustomError("HG1017", "says nothing about a session", {"fix": "name a header of the client's own"})
    return HEADER + name


Way = Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(check_way)]


class Stickiness(Shape):
    """Requests of one session go to the same target of each group, by weight, as long as it is in the plan."""

    by: Annotated[tuple[Way, ...], AfterValidator(distinct)] = Field(
        min_length=1,
        max_length=MAX_WAYS,
        json_schema_extra={"uniqueItems": True},
        description="What tells sessions apart; the first that a request has counts. header NAME: its value; consumer: the client's key; "
        "conversation: the client's name for it (prompt_cache_key, conversation, a session in metadata.user_id), else its first user turn",
    )
