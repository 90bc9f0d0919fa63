"""X1, X3, X4 and X7 on the state-of-the-world variant, against a scripted node."""

from __future__ import annotations

from control_plane.xds.resource import CDS, EDS, LDS, RDS, SRDS
from control_plane.xds.subscription import Nack
from tests.unit.xds.peer import SotwPeer, edge, res, snap, subscribe_all


def test_x1_clusters_come_as_a_whole_and_routes_as_changes() -> None:
    peer = SotwPeer()
    base = [*edge(), res(SRDS, "n", "1", (RDS, "n")), res(RDS, "n", "1", (CDS, "t"))]
    subscribe_all(peer, snap(*base))
    assert peer.run() == ["CDS+t,p-t", "EDS+p-t", "SDS+key", "LDS+edge", "SRDS+m,n", "RDS+m,n"]
    changed = [res(CDS, "p-t", "2", (EDS, "p-t")) if r.key == (CDS, "p-t") else r for r in base]
    changed = [res(RDS, "n", "2", (CDS, "t")) if r.key == (RDS, "n") else r for r in changed]
    peer.stream.offer(snap(*changed, number=2))
    # X4: the endpoints follow their cluster although they are the same.
    assert peer.run() == ["CDS+t,p-t", "EDS+p-t", "RDS+n"]


def test_x1_what_is_missing_from_clusters_is_gone() -> None:
    peer = SotwPeer()
    peer.stream.offer(snap(res(CDS, "a"), res(CDS, "b")))
    peer.ask(CDS)
    peer.run()
    peer.stream.offer(snap(res(CDS, "a"), number=2))
    assert peer.run() == ["CDS+a-b"]
    peer.stream.offer(snap(number=3))
    assert peer.run() == ["CDS-a"]


def test_x1_names_may_change_with_an_ack() -> None:
    peer = SotwPeer()
    peer.stream.offer(snap(res(EDS, "a"), res(EDS, "b")))
    peer.ask(EDS, "a")
    (response,) = peer.pull()
    peer.names[EDS] = ["a", "b"]
    peer.answer(response)
    assert peer.run() == ["EDS+b"]


def test_x1_names_that_come_with_a_stale_nonce_wait_for_the_next_answer() -> None:
    peer = SotwPeer()
    peer.stream.offer(snap(res(EDS, "a"), res(EDS, "b")))
    peer.ask(EDS, "a")
    (first,) = peer.pull()
    peer.stream.offer(snap(res(EDS, "a", "2"), res(EDS, "b"), number=2))
    peer.now += 2
    (second,) = peer.pull()
    peer.names[EDS] = ["b"]
    peer.answer(first)
    assert peer.pull() == []
    peer.answer(second)
    assert peer.run() == ["EDS+b"]


def test_x1_no_names_at_all_later_means_none() -> None:
    peer = SotwPeer()
    peer.stream.offer(snap(res(CDS, "a"), res(CDS, "b")))
    peer.ask(CDS, "a")
    assert peer.run() == ["CDS+a"]
    peer.ask(CDS)
    peer.stream.offer(snap(res(CDS, "a", "2"), res(CDS, "b"), number=2))
    assert peer.run() == []


def test_x3_on_a_new_stream_listeners_wait_for_the_clusters_they_name_and_are_not_deleted_meanwhile() -> None:
    """A node that reconnects has its listener; a response without it would close it."""
    peer = SotwPeer()
    peer.stream.offer(snap(res(CDS, "log"), res(LDS, "edge", "1", (CDS, "log")), res(LDS, "other")))
    peer.ask(LDS)
    peer.ask(CDS)
    clusters = peer.pull()
    assert [response.type_url for response in clusters] == [CDS]
    peer.answer(clusters[0])
    assert peer.run() == ["LDS+edge,other"]


def test_x3_a_cluster_that_the_node_still_uses_stays_listed() -> None:
    peer = SotwPeer()
    subscribe_all(peer, snap(*edge(targets=("t",))))
    peer.run()
    peer.ask(EDS, "p-t", "p-u")
    peer.stream.offer(snap(*edge("2", targets=("u",)), number=2))
    assert peer.run() == ["CDS+u,p-u,t,p-t", "EDS+p-u", "RDS+m", "CDS+u,p-u-t,p-t"]


def test_x4_after_a_reconnect_everything_is_sent_clusters_before_endpoints() -> None:
    peer = SotwPeer()
    peer.stream.offer(snap(*edge()))
    peer.version[CDS] = peer.version[EDS] = "whatever it was"
    peer.ask(EDS, "p-t")
    peer.ask(CDS)
    assert peer.run() == ["CDS+t,p-t", "EDS+p-t"]


def test_x7_a_nack_is_not_answered_and_the_old_version_stays_listed() -> None:
    peer = SotwPeer()
    peer.stream.offer(snap(res(CDS, "a"), res(CDS, "z")))
    peer.ask(CDS)
    peer.run()
    peer.stream.offer(snap(res(CDS, "a", "2"), res(CDS, "z", "bad"), number=2))
    (response,) = peer.pull()
    answer = peer.answer(response, "Error adding/updating cluster(s) z: malformed")
    assert isinstance(answer, Nack)
    assert [name for name, _ in answer.rejected] == ["z"]
    for _ in range(5):
        peer.now += 10
        assert peer.pull() == []
    peer.stream.offer(snap(res(CDS, "a", "3"), res(CDS, "z", "bad"), number=3))
    (response,) = peer.pull()
    assert [r.value for r in response.resources] == [b"3", b"1"]
    peer.answer(response)
    peer.stream.offer(snap(res(CDS, "a", "3"), res(CDS, "z", "good"), number=4))
    (response,) = peer.pull()
    assert [r.value for r in response.resources] == [b"3", b"good"]
    peer.answer(response)
    assert peer.pull() == []
    assert peer.stream.state_of(CDS) == "SYNCED"
