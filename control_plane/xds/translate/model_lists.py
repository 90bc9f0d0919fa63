"""`GET /v1/models`, answered by Envoy: each client sees the models that it can call, in the shape of its vendor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.ir.operations import operations_of
from control_plane.ir.stored import VERSION_HEADER
from control_plane.pb.route_pb2 import HeaderMatcher, Route, RouteMatch
from control_plane.xds.translate.errors import answer, json_answer
from control_plane.xds.translate.stored_match import method_is

LISTED: Final = (("openai-chat", "openai-responses"), ("anthropic-messages",), ("gemini-generate-content",))
"""Whose models the lists in OpenAI's, Anthropic's and Gemini's shape hold."""

CREATED: Final = 1_735_689_600
"""`created` of every listed model (2025-01-01): clients demand the field, and an alias has no birthday."""

Cards = Mapping[str, Mapping[str, object]]


def model_lists(openai: tuple[str, ...], anthropic: tuple[str, ...], google: tuple[str, ...]) -> list[Route]:
    """The lists and each model by itself: Anthropic's shape for clients that say which version they speak, Gemini's under `/v1beta` and
    for clients with its key header, OpenAI's for all others."""
    get = method_is("GET")
    versioned = HeaderMatcher(name=VERSION_HEADER, present_match=True)
    keyed = HeaderMatcher(name="x-goog-api-key", present_match=True)
    cards: Cards = {m: {"id": m, "object": "model", "created": CREATED, "owned_by": "headgate"} for m in openai}
    claude: Cards = {m: {"type": "model", "id": m, "display_name": m, "created_at": "2025-01-01T00:00:00Z"} for m in anthropic}
    gemini: Cards = {m: _google_card(m) for m in google}
    ends = {"first_id": anthropic[0] if anthropic else None, "last_id": anthropic[-1] if anthropic else None}
    shapes = (
        ("/v1/models", [get, versioned], "anthropic-messages", {"data": list(claude.values()), "has_more": False, **ends}, claude),
        ("/v1/models", [get, keyed], "gemini-generate-content", {"models": list(gemini.values())}, gemini),
        ("/v1/models", [get], "openai-chat", {"object": "list", "data": list(cards.values())}, cards),
        ("/v1beta/models", [get], "gemini-generate-content", {"models": list(gemini.values())}, gemini),
    )
    routes = [json_answer(RouteMatch(path=path, headers=headers), 200, listed) for path, headers, _, listed, _ in shapes]
    for path, dialect in (("/v1/models", "openai-chat"), ("/v1beta/models", "gemini-generate-content")):
        routes.append(answer(RouteMatch(path=path), 405, dialect, "method_not_allowed", f"{path} takes GET only"))
    for path, headers, dialect, _, found in shapes:
        routes += [json_answer(RouteMatch(path=f"{path}/{model}", headers=headers), 200, card) for model, card in found.items()]
        text = f"no such model for clients of this API; GET {path} lists what there is"
        routes.append(answer(RouteMatch(prefix=f"{path}/", headers=headers), 404, dialect, "model_not_found", text))
    return routes


def _google_card(model: str) -> dict[str, object]:
    methods = [t.rpartition(":")[2] for o in operations_of("gemini-generate-content") for t, _ in (o.addresses[0], o.addresses[-1])]
    return {
        "name": f"models/{model}",
        "version": "001",
        "displayName": model,
        "supportedGenerationMethods": list(dict.fromkeys(methods)),
    }
