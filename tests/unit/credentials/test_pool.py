"""Which key of a pool is used, under a virtual clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.credentials.pool import DOUBTS, QUARANTINE_S, SETTLE_S, Pool, Role

NOW = 1_700_000_000.0


def pool(keys: int = 2, usable: list[bool] | None = None) -> Pool:
    return Pool.of(usable or [True] * keys, NOW)


def refused(before: Pool, at: float, role: Role = "active", status: int = 401) -> Pool:
    return before.failed(role, "credential_dead", status, at, at + 0.1)


def test_the_first_key_is_used_and_the_second_is_the_spare() -> None:
    assert (pool().active, pool().spare) == (0, 1)
    assert (pool(1).active, pool(1).spare) == (0, None)
    assert (pool(usable=[False, True, True]).active, pool(usable=[False, True, True]).spare) == (1, 2)


def test_a_refused_key_is_out_at_once_and_back_in_half_an_hour() -> None:
    after = refused(pool(3), NOW)
    assert (after.active, after.spare) == (1, 2)
    assert after.keys[0].reason == "credential_dead: the vendor answered 401"
    back = NOW + 0.1 + QUARANTINE_S
    assert after.returned(back - 1) is after
    assert (after.returned(back).active, after.returned(back).spare) == (0, 1)


def test_attempts_that_began_before_the_change_say_nothing_about_the_key_after_it() -> None:
    after = refused(pool(), NOW)
    late = refused(after, after.since + SETTLE_S - 0.01)
    assert late is after, "it may have had the dead key still"
    assert refused(after, after.since + SETTLE_S).exhausted(NOW + 60)


def test_a_spent_quota_is_certain_as_429_and_402() -> None:
    for status in (402, 429):
        assert pool().failed("active", "quota_spent", status, NOW, NOW).active == 1
    assert pool().failed("active", "quota_spent", 400, NOW, NOW).active == 0


def test_a_status_that_may_mean_something_else_needs_more_than_one_fault_in_a_row() -> None:
    doubted = pool()
    for n in range(DOUBTS - 1):
        doubted = refused(doubted, NOW + n, status=403)
    assert doubted.active == 0
    assert refused(doubted, NOW + 9, status=403).active == 1
    cleared = doubted.served("active", NOW + 8, NOW + 8)
    assert refused(cleared, NOW + 9, status=403).active == 0


def test_the_spares_faults_and_successes_are_its_own() -> None:
    after = refused(pool(3), NOW, "spare")
    assert (after.active, after.spare) == (0, 2)
    doubted = refused(pool(), NOW, status=403)
    assert doubted.served("spare", NOW, NOW) is doubted


def test_when_all_are_out_the_one_that_is_back_first_is_asked_and_its_success_counts() -> None:
    after = refused(refused(pool(), NOW), NOW + 10)
    assert after.exhausted(NOW + 11)
    assert (after.active, after.spare) == (0, None)
    served = after.served("active", NOW + 20, NOW + 20)
    assert not served.exhausted(NOW + 20)
    assert served.active == 0
    assert after.next_return(NOW + 11) == NOW + 0.1 + QUARANTINE_S


def test_another_value_is_another_key() -> None:
    after = refused(pool(), NOW)
    assert after.renewed([True, True], [False, False], NOW + 1) is after
    assert after.renewed([True, True], [True, False], NOW + 1).active == 0
    assert after.renewed([True, False], [False, True], NOW + 1).exhausted(NOW + 1), "the other one lost its value"


def test_a_pool_without_any_value_is_not_exhausted() -> None:
    assert not pool(usable=[False, False]).exhausted(NOW)


@given(
    st.lists(st.tuples(st.sampled_from(["active", "spare"]), st.sampled_from([200, 400, 401, 403, 429]), st.floats(0, 4000)), max_size=40)
)
def test_never_a_key_that_is_out_while_another_is_not(steps: list[tuple[Role, int, float]]) -> None:
    now, held = NOW, pool(3)
    for role, status, pause in steps:
        now += pause
        held = held.returned(now)
        held = held.served(role, now, now) if status == 200 else held.failed(role, "credential_dead", status, now, now)
        good = [n for n, key in enumerate(held.keys) if not key.out(now)]
        assert held.exhausted(now) == (not good)
        assert not good or held.active == good[0]
        assert held.spare == (good[1] if len(good) > 1 else None)
