"""Who served the requests of a route lately."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.signals.shares import MAX_ROUTES, RouteShares

NOW = 1_700_000_000.0


def test_shares_success_and_first_tokens() -> None:
    shares = RouteShares()
    for n in range(10):
        shares.add("chat", "a/m" if n < 4 else "b/m", n == 0, 0.1 * (n + 1), NOW - n, NOW)
    shares.add("other", "a/m", False, None, NOW, NOW)
    seen = shares.read(["chat"], 60, NOW).to_dict()
    assert (seen["requests"], seen["shares"], seen["success"]) == (10, {"a/m": 0.4, "b/m": 0.6}, 0.9)
    assert shares.read(["chat", "other"], 60, NOW).requests == 11
    assert shares.read(["nothing"], 60, NOW).to_dict()["success"] is None
    assert shares.rates(NOW) == {"chat": 10 / 60, "other": 1 / 60}


def test_requests_count_when_they_began() -> None:
    """A stream that began before a drain and ends after it belongs to the plan of its beginning."""
    shares = RouteShares()
    shares.add("chat", "old/m", False, None, NOW - 30, NOW)
    shares.add("chat", "new/m", False, None, NOW - 1, NOW)
    assert shares.read(["chat"], 10, NOW).served == {"new/m": 1}
    assert shares.read(["chat"], 60, NOW).served == {"new/m": 1, "old/m": 1}
    shares.add("chat", "ancient/m", False, None, NOW - 300, NOW)
    shares.add("chat", "ahead/m", False, None, NOW + 300, NOW)
    assert shares.read(["chat"], 60, NOW).served == {"new/m": 1, "old/m": 1, "ahead/m": 1}
    assert shares.read(["chat"], 60, NOW + 120).requests == 0


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 200)), max_size=200), st.integers(1, 60))
def test_a_window_holds_what_began_in_it(made: list[tuple[int, int]], over_s: int) -> None:
    shares, latest = RouteShares(), NOW + 200
    for began, took in sorted(made, key=sum):
        if began + took <= 200:
            shares.add("chat", "a/m", False, None, NOW + began, NOW + began + took)
    kept = [began for began, took in made if began + took <= 200 and took < 58]
    seen = shares.read(["chat"], over_s, latest).requests
    assert sum(200 - began < over_s - 4 for began in kept) <= seen
    assert seen <= sum(200 - began <= over_s + 4 for began, took in made if began + took <= 200)


def test_routes_are_bounded() -> None:
    shares = RouteShares()
    for n in range(MAX_ROUTES + 50):
        shares.add(f"r{n}", "a/m", False, None, NOW, NOW)
    assert len(shares.rates(NOW)) == MAX_ROUTES
