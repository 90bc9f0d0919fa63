"""Which requests are calls about what providers keep: the same in the default scope and in the routes of models."""

from __future__ import annotations

from control_plane.ir.stored import VERSION_HEADER, Stored
from control_plane.pb.matcher_pb2 import StringMatcher
from control_plane.pb.route_pb2 import HeaderMatcher, RouteMatch


def method_is(name: str) -> HeaderMatcher:
    return HeaderMatcher(name=":method", string_match=StringMatcher(exact=name))


def version(stored: Stored) -> list[HeaderMatcher]:
    """What tells whose files are meant, where two dialects have the same path."""
    return [] if stored.versioned is None else [HeaderMatcher(name=VERSION_HEADER, present_match=stored.versioned)]


def of_collection(stored: Stored, method: str) -> RouteMatch:
    """A call of the path without an id."""
    return RouteMatch(path=stored.path, headers=[method_is(method), *version(stored)])


def of_one(stored: Stored) -> RouteMatch:
    """Every call about one of them; the default scope has looked at the path."""
    return RouteMatch(prefix=f"{stored.path}/", headers=version(stored))
