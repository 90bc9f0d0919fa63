"""X5 (references are closed) and the content versions that X2 rests on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.xds.resource import CDS, EDS, LDS, RDS, SDS, SRDS, Ref, Resource
from control_plane.xds.rollout import Older, mass_delete, revert
from control_plane.xds.snapshot import DanglingReferences, DuplicateResource, Snapshot
from tests.unit.xds.peer import edge, res, snap

TYPES = (CDS, EDS, LDS, RDS, SDS, SRDS)
KEYS = st.tuples(st.sampled_from(TYPES), st.sampled_from("abcde"))


@st.composite
def resource_sets(draw: st.DrawFn, bodies: str = "12") -> list[Resource]:
    keys = draw(st.lists(KEYS, unique=True, max_size=12))
    return [
        Resource(kind, name, draw(st.sampled_from(bodies)).encode(), frozenset(draw(st.lists(KEYS, max_size=3)))) for kind, name in keys
    ]


def older(base: Snapshot) -> Older:
    return lambda key: [found] if (found := base.get(key)) is not None else []


def closed(resources: list[Resource]) -> list[Resource]:
    """The same with references that lead nowhere left out."""
    keys = {r.key for r in resources}
    return [Resource(r.type_url, r.name, r.body, r.refs & keys) for r in resources]


@given(resource_sets(), st.frozensets(KEYS, max_size=4))
def test_x5_a_snapshot_is_closed_or_the_error_names_exactly_what_is_missing(resources: list[Resource], provided: frozenset[Ref]) -> None:
    keys = {r.key for r in resources} | provided
    missing = {ref for r in resources for ref in r.refs} - keys
    snapshot = Snapshot.of(resources)
    if missing:
        with pytest.raises(DanglingReferences) as caught:
            snapshot.check_closed(provided)
        assert set(caught.value.missing) == missing
        for ref, users in caught.value.missing.items():
            assert all(ref in r.refs for r in resources if r.key in users)
            assert ref[1] in str(caught.value)
    else:
        snapshot.check_closed(provided)


@given(resource_sets("1"), resource_sets("2"), st.data())
def test_x5_falling_back_keeps_a_snapshot_closed(old: list[Resource], new: list[Resource], data: st.DataObject) -> None:
    """X6, X7: whatever is bad, what is served instead is closed, and no bad version is in it."""
    base, desired = Snapshot.of(closed(old)), Snapshot.of(closed(new))
    bad = data.draw(st.sets(st.sampled_from([r.key for r in desired]), max_size=4)) if len(desired) else set()
    result = revert(desired, bad, older(base))
    result.snapshot.check_closed()
    for key in bad:
        assert result.snapshot.get(key) == (base.get(key) if key not in result.dropped else None)
    assert result.dropped.isdisjoint(r.key for r in result.snapshot)
    if not bad:
        assert not desired.diff(result.snapshot)


def test_x6_falling_back_keeps_unrelated_changes_and_drops_what_cannot_stand() -> None:
    base = snap(*edge("1"), res(SRDS, "n", "1", (RDS, "n")), res(RDS, "n", "1", (CDS, "t")))
    new = [r for r in base if r.key not in ((RDS, "m"), (RDS, "n"))]
    new += [res(RDS, "m", "bad", (CDS, "t")), res(RDS, "n", "2", (CDS, "t"))]
    new += [res(SRDS, "o", "1", (RDS, "o")), res(RDS, "o", "bad", (CDS, "t"))]
    result = revert(Snapshot.of(new), {(RDS, "m"), (RDS, "o")}, older(base))
    assert result.snapshot.of_type(RDS)["m"].body == b"1"
    assert result.snapshot.of_type(RDS)["n"].body == b"2"
    assert result.restored == {(RDS, "m")}
    assert result.dropped == {(RDS, "o"), (SRDS, "o")}


def test_x6_an_older_version_brings_back_what_it_needs() -> None:
    base = snap(*edge("1", targets=("t",)))
    result = revert(snap(*edge("2", targets=("u",))), {(RDS, "m")}, older(base))
    assert {"t", "p-t", "u", "p-u"} == set(result.snapshot.of_type(CDS))


def test_x2_equal_content_has_equal_versions_whatever_the_order() -> None:
    assert res(CDS, "a").version == res(CDS, "a").version
    assert res(CDS, "a").version != res(CDS, "a", "2").version
    assert res(CDS, "a").version != res(CDS, "b").version != res(EDS, "b").version
    one, two = snap(res(CDS, "a"), res(EDS, "b")), snap(res(EDS, "b"), res(CDS, "a"), number=2)
    assert one.content == two.content
    assert one.version != two.version
    assert not one.diff(two)


def test_a_diff_says_what_changed() -> None:
    diff = snap(res(CDS, "a"), res(CDS, "b"), res(CDS, "c")).diff(snap(res(CDS, "b"), res(CDS, "c", "2"), res(CDS, "d")))
    assert [set(part) for part in (diff.added, diff.changed, diff.removed)] == [{(CDS, "d")}, {(CDS, "c")}, {(CDS, "a")}]
    assert str(diff) == "+1 ~1 -1"


def test_two_resources_of_one_name_are_refused() -> None:
    with pytest.raises(DuplicateResource, match="CDS a"):
        snap(res(CDS, "a"), res(CDS, "a", "2"))


def test_a_body_is_never_printed() -> None:
    """X15, S11: a secret's value must not get into logs."""
    assert "sk-canary" not in repr(res(SDS, "key", "sk-canary"))
    assert "sk-canary" not in repr(snap(res(SDS, "key", "sk-canary")))


@pytest.mark.parametrize(
    ("before", "after", "vanishing"),
    [
        ("", "", False),
        ("", "abc", False),
        ("ab", "a", False),
        ("a", "", True),
        ("abc", "a", True),
        ("abcd", "ab", False),
        ("abc", "xyz", True),
    ],
)
def test_x9_a_mass_delete_is_noticed(before: str, after: str, vanishing: bool) -> None:
    assert (mass_delete(list(before), list(after), 0.5) is not None) == vanishing
