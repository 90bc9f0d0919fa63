"""The matrix as the probes find it, in the shape of control_plane/dialects/matrix.json."""

from __future__ import annotations

from typing import Any, Final

from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.ir.operations import OPERATIONS
from tests.conformance.conftest import Sdks
from tests.golden.matrix import answered, asked, operated
from tests.golden.matrix.asked import Outcome
from tests.live.gateway.matrix import proven

BESIDE_CHAT = sorted({operation.name for operation in OPERATIONS if operation.elsewhere != "chat"})
"""All but those that chat answers, of which the other rows speak."""

ERRORS: Final = "errors"
ERRORS_IN_STREAMS: Final = "errors inside streams"


def whole() -> dict[str, Any]:
    sdks = Sdks()
    cells = [cell(client, provider, sdks) for client in DIALECTS for provider in PROVIDERS]
    return {
        "clients": sorted(DIALECTS),
        "providers": sorted(PROVIDERS),
        "requests": [probe.name for probe in asked.ASKED],
        "answers": [*(probe.name for probe in answered.ANSWERED), ERRORS, ERRORS_IN_STREAMS],
        "operations": BESIDE_CHAT,
        "cells": sorted(cells, key=lambda found: (found["client"], found["provider"])),
    }


def cell(client: str, provider: str, sdks: Sdks) -> dict[str, Any]:
    features = {probe.name: _both(*(asked.outcome(client, provider, probe, stream) for stream in (False, True))) for probe in asked.ASKED}
    for probe in answered.ANSWERED:
        features[probe.name] = _both(*(answered.outcome(client, provider, probe, stream, sdks) for stream in (False, True)))
    features[ERRORS] = _both(*[answered.errors(client, provider)] * 2)
    features[ERRORS_IN_STREAMS] = _both(*[answered.errors_in_streams(client, provider)] * 2)
    for operation in BESIDE_CHAT:
        features[operation] = _both(*[operated.outcome(client, provider, operation)] * 2)
    return {
        "client": client,
        "provider": provider,
        "lane": "passthrough" if client == provider else "translation",
        "sdk": "proven" if (client, provider) in proven() else "unproven",
        "features": features,
    }


def _both(plain: Outcome, streamed: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = {"outcome": plain.word}
    if streamed.word != plain.word:
        found["streamed"] = streamed.word
    if names := sorted({*plain.named, *streamed.named}):
        found["named"] = names
    return found
