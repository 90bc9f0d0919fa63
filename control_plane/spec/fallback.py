"""`spec.fallback` of a route: which targets a request passes by before it is sent, because they cannot serve it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from control_plane.spec.shape import Shape

Unsuited = Literal["skip", "send"]


class Fallback(Shape):
    """What becomes of targets that cannot serve a request, by what the catalogue and the preset say of them."""

    context_window: Unsuited = Field(
        default="skip",
        description="Targets whose context window is too small for the request, by estimate. skip: they are left out of its plan, unless "
        "none is left; send: the vendor decides",
    )
    capability: Unsuited = Field(
        default="send",
        description="Targets that lack images, tools or a JSON schema which the request needs. skip: they are left out of its plan, unless "
        "none is left, at the cost of a search of every body; send: the vendor decides (translated targets pass it on all the same)",
    )
