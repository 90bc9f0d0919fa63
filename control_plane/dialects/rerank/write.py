"""What all writers of rerank requests end with."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.rerank.canon import RerankRequest

_encode: Final = msgspec.json.Encoder().encode


def written(request: RerankRequest, target: TargetFacts, name: str, body: dict[str, Any]) -> ProviderRequest:
    """The request of dialect `name` with `body`, which names everything dropped that is not in it. Raises Unfit for features.

    How many are wanted is never lost: `RankedReader` cuts the answer.
    """
    dropped = list(request.lost_to(name))
    if request.document_tokens is not None and "max_tokens_per_doc" not in body:
        dropped.append("max_tokens_per_doc")
    if request.user is not None and "user" not in body:
        dropped.append("user")
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))
