"""X1, X2, X3, X4, X7 and X11 on the incremental variant, against a scripted node."""

from __future__ import annotations

import pytest

from control_plane.xds.resource import CDS, EDS, LDS, RDS, SDS, SRDS
from control_plane.xds.subscription import Nack, PeerError
from tests.unit.xds.peer import DeltaPeer, edge, res, snap, subscribe_all


def test_x1_a_wildcard_subscription_gets_everything_once() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(CDS, "a"), res(CDS, "b")))
    peer.ask(CDS)
    assert peer.run() == ["CDS+a,b"]
    assert peer.stream.settled()
    assert peer.run() == []


@pytest.mark.parametrize("names", [(), ("*",)])
def test_x1_both_ways_to_ask_for_everything(names: tuple[str, ...]) -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(LDS, "edge")))
    peer.ask(LDS, *names)
    assert peer.run() == ["LDS+edge"]


def test_x1_a_type_that_is_asked_for_by_name_has_no_wildcard_by_omission() -> None:
    """Envoy asks for no endpoints at all when it has no such cluster: that must not mean all of them."""
    peer = DeltaPeer()
    peer.stream.offer(snap(res(EDS, "a"), res(EDS, "b")))
    peer.ask(EDS)
    assert peer.run() == []
    peer.ask(EDS, "b")
    assert peer.run() == ["EDS+b"]
    peer.ask(EDS, "a", drop=["b"])
    peer.stream.offer(snap(res(EDS, "a", "2"), res(EDS, "b", "2"), number=2))
    assert peer.run() == ["EDS+a"]


def test_x1_a_node_that_waits_for_clusters_is_told_when_there_are_none() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap())
    peer.ask(CDS)
    peer.ask(RDS, "r")
    assert peer.run() == ["CDS"]


def test_x1_asking_again_for_a_name_sends_it_again() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(RDS, "r")))
    peer.ask(RDS, "r")
    assert peer.run() == ["RDS+r"]
    peer.ask(RDS, "r")
    assert peer.run() == ["RDS+r"]


def test_x2_only_what_changed_is_sent() -> None:
    peer = DeltaPeer()
    before = edge("1")
    subscribe_all(peer, snap(*before))
    peer.run()
    peer.stream.offer(snap(*edge("2"), number=2))
    assert peer.run() == ["RDS+m"]


def test_x2_a_reconnecting_node_with_the_same_versions_gets_nothing() -> None:
    snapshot = snap(*edge())
    peer = DeltaPeer()
    peer.stream.offer(snapshot)
    for type_url in (CDS, LDS, SRDS):
        peer.ask(type_url, have={r.name: r.version for r in snapshot.of_type(type_url).values()})
    for type_url in (EDS, SDS, RDS):
        peer.ask(type_url, *snapshot.of_type(type_url), have={r.name: r.version for r in snapshot.of_type(type_url).values()})
    assert peer.run() == []
    assert peer.stream.settled()


def test_x2_a_reconnecting_node_gets_only_differences_and_removals_last() -> None:
    peer = DeltaPeer()
    subscribe = snap(res(CDS, "same"), res(CDS, "changed", "2"), res(CDS, "new"))
    peer.stream.offer(subscribe)
    peer.ask(CDS, have={"same": subscribe.of_type(CDS)["same"].version, "changed": "old", "gone": "old"})
    assert peer.run() == ["CDS+changed,new"]
    assert peer.stream.retry_in_s(peer.now) == pytest.approx(5.0)
    peer.now += 5.1
    assert peer.run() == ["CDS-gone"]


def test_x3_everything_in_order_and_routes_after_their_clusters_are_acked() -> None:
    peer = DeltaPeer()
    subscribe_all(peer, snap(*edge()))
    first = [response.type_url for response in peer.pull()]
    assert first == [CDS, EDS, SDS, LDS, SRDS]
    by_type = {response.type_url: response for response in peer.got}
    peer.answer(by_type[EDS])
    assert peer.pull() == []
    peer.answer(by_type[CDS])
    assert [response.type_url for response in peer.pull()] == [RDS]


def test_x3_a_new_target_holds_its_route_back_but_not_the_others() -> None:
    """Envoy withholds the ACK of clusters until they are warm; a weight flip of another route does not wait for that."""
    peer = DeltaPeer()
    base = [*edge(), res(SRDS, "n", "1", (RDS, "n")), res(RDS, "n", "1", (CDS, "t"))]
    subscribe_all(peer, snap(*base))
    peer.run()
    slow = [res(CDS, "slow", "1", (CDS, "p-slow")), res(CDS, "p-slow")]
    moved = [r for r in base if r.key not in ((RDS, "m"), (RDS, "n"))]
    peer.stream.offer(snap(*moved, *slow, res(RDS, "m", "2", (CDS, "slow")), res(RDS, "n", "2", (CDS, "t")), number=2))
    pushed = peer.pull()
    assert [(p.type_url, [r.name for r in p.resources]) for p in pushed] == [(CDS, ["slow", "p-slow"]), (RDS, ["n"])]
    assert peer.stream.state_of(RDS) == "STALE"
    peer.answer(pushed[1])
    assert peer.pull() == []
    peer.answer(pushed[0])
    assert peer.run() == ["RDS+m"]


def test_x3_nothing_is_removed_while_the_node_still_uses_it() -> None:
    peer = DeltaPeer()
    subscribe_all(peer, snap(*edge(targets=("t",))))
    peer.run()
    peer.ask(EDS, "p-u")
    peer.stream.offer(snap(*edge("2", targets=("u",)), number=2))
    pushed = peer.pull()
    assert [(p.type_url, list(p.removed_resources)) for p in pushed] == [(CDS, []), (EDS, [])]
    for response in pushed:
        peer.answer(response)
    assert peer.run() == ["RDS+m", "CDS-p-t,t", "EDS-p-t"]


def test_x3_a_refused_route_keeps_the_clusters_of_the_old_one() -> None:
    peer = DeltaPeer()
    subscribe_all(peer, snap(*edge(targets=("t",))))
    peer.run()
    peer.stream.offer(snap(*edge("2", targets=("u",)), number=2))
    for response in peer.pull():
        peer.answer(response)
    for response in peer.pull():
        peer.answer(response, "no" if response.type_url == RDS else None)
    assert peer.run() == []
    assert "t" in peer.stream.types[CDS].held
    peer.stream.offer(snap(*edge("3", targets=("u",)), number=3))
    assert peer.run() == ["RDS+m", "CDS-p-t,t", "EDS-p-t"]


def test_x3_a_secret_is_never_taken_away() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(SDS, "key")))
    peer.ask(SDS, "key")
    peer.run()
    peer.stream.offer(snap(number=2))
    assert peer.run() == []


def test_x3_listeners_and_scopes_are_replaced_in_one_response() -> None:
    """A new scope may have the key of the one that leaves."""
    peer = DeltaPeer()
    peer.stream.offer(snap(res(SRDS, "old")))
    peer.ask(SRDS)
    peer.run()
    peer.stream.offer(snap(res(SRDS, "new"), number=2))
    assert peer.run() == ["SRDS+new-old"]


def test_x4_endpoints_follow_a_cluster_that_is_sent_again() -> None:
    """envoyproxy/envoy#33607: a cluster that changes waits for endpoints, although Envoy has them."""
    peer = DeltaPeer()
    subscribe_all(peer, snap(*edge()))
    peer.run()
    changed = [res(CDS, "p-t", "2", (EDS, "p-t")) if r.key == (CDS, "p-t") else r for r in edge()]
    peer.stream.offer(snap(*changed, number=2))
    assert peer.run() == ["CDS+p-t", "EDS+p-t"]


@pytest.mark.parametrize("endpoints_first", [True, False])
def test_x4_endpoints_follow_on_reconnect_too(endpoints_first: bool) -> None:
    """The node says that it has them, before or after its changed cluster went out."""
    snapshot = snap(*edge())
    peer = DeltaPeer()
    peer.stream.offer(snapshot)
    if endpoints_first:
        peer.ask(EDS, "p-t", have={"p-t": snapshot.of_type(EDS)["p-t"].version})
    peer.ask(CDS, have={"t": snapshot.of_type(CDS)["t"].version, "p-t": "old"})
    if not endpoints_first:
        assert [response.type_url for response in peer.pull()] == [CDS]
        peer.ask(EDS, "p-t", have={"p-t": snapshot.of_type(EDS)["p-t"].version})
        assert peer.run() == ["EDS+p-t"]
    else:
        assert peer.run() == ["CDS+p-t", "EDS+p-t"]


def test_x7_a_nack_is_never_answered() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(CDS, "good"), res(CDS, "bad")))
    peer.ask(CDS)
    (response,) = peer.pull()
    answer = peer.answer(response, "Error adding/updating cluster(s) bad: no such thing")
    assert isinstance(answer, Nack)
    assert answer.certain
    assert [name for name, _ in answer.rejected] == ["bad"]
    for _ in range(5):
        peer.now += 10
        assert peer.pull() == []
    assert peer.stream.state_of(CDS) == "NACK"
    # Another cluster changes: only that one is sent.
    peer.stream.offer(snap(res(CDS, "good", "2"), res(CDS, "bad"), number=2))
    assert peer.run() == ["CDS+good"]
    # A new version of the refused one is sent.
    peer.stream.offer(snap(res(CDS, "good", "2"), res(CDS, "bad", "2"), number=3))
    assert peer.run() == ["CDS+bad"]
    assert peer.stream.state_of(CDS) == "SYNCED"
    # And after that the first version may be tried again.
    peer.stream.offer(snap(res(CDS, "good", "2"), res(CDS, "bad"), number=4))
    assert peer.run() == ["CDS+bad"]


def test_x7_the_innocent_of_a_refused_route_push_are_sent_without_the_culprit() -> None:
    """Envoy stops at the first bad route configuration of a response: whether the others were taken is not known."""
    peer = DeltaPeer()
    peer.stream.offer(snap(res(RDS, "ok"), res(RDS, "broken"), res(RDS, "fine")))
    peer.ask(RDS, "ok", "broken", "fine")
    (response,) = peer.pull()
    peer.answer(response, "Only unique names for routes are allowed: broken")
    assert peer.run() == ["RDS+fine,ok"]
    assert peer.run() == []


def test_x7_without_a_name_in_the_text_every_new_resource_is_suspect() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(RDS, "a"), res(RDS, "b")))
    peer.ask(RDS, "a", "b")
    (response,) = peer.pull()
    answer = peer.answer(response, "something is wrong")
    assert isinstance(answer, Nack)
    assert not answer.certain
    assert {name for name, _ in answer.rejected} == {"a", "b"}
    assert peer.run() == []
    # Going back to what the node ran before is a new version and is sent, since it is not certain what the node runs.
    peer.stream.offer(snap(res(RDS, "a", "0"), res(RDS, "b", "0"), number=2))
    assert peer.run() == ["RDS+a,b"]


def test_x7_a_nack_without_text_counts() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(CDS, "a")))
    peer.ask(CDS)
    (response,) = peer.pull()
    assert isinstance(peer.answer(response, ""), Nack)


def test_x11_while_a_response_is_unanswered_newer_snapshots_merge_into_one() -> None:
    peer = DeltaPeer()
    subscribe_all(peer, snap(*edge("1")))
    peer.run()
    peer.stream.offer(snap(*edge("2"), number=2))
    (pending,) = peer.pull()
    for number in range(3, 50):
        peer.stream.offer(snap(*edge(str(number)), number=number))
        assert peer.pull() == []
    peer.answer(pending)
    (merged,) = peer.pull()
    assert merged.resources[0].resource.value == b"49"


def test_x11_a_withheld_answer_delays_the_type_only_for_the_patience() -> None:
    peer = DeltaPeer()
    peer.stream.offer(snap(res(CDS, "a")))
    peer.ask(CDS)
    assert len(peer.pull()) == 1
    peer.stream.offer(snap(res(CDS, "a", "2"), number=2))
    assert peer.pull() == []
    assert peer.stream.retry_in_s(peer.now) == pytest.approx(1.0)
    peer.now += 1.0
    assert len(peer.pull()) == 1


def test_x11_unanswered_responses_are_bounded() -> None:
    peer = DeltaPeer()
    peer.ask(CDS)
    sent = 0
    for number in range(100):
        peer.now += 2
        peer.stream.offer(snap(res(CDS, "a", str(number)), number=number + 1))
        sent += len(peer.pull())
    assert sent == 16


def test_a_node_cannot_make_the_server_remember_without_end() -> None:
    peer = DeltaPeer()
    for number in range(32):
        peer.ask(f"type.googleapis.com/x{number}")
    with pytest.raises(PeerError, match="resource types"):
        peer.ask("type.googleapis.com/one-more")
    with pytest.raises(PeerError, match="type URL"):
        DeltaPeer().ask("")
