"""State-of-the-world ADS: the older variant. Clusters, listeners and scopes are always sent as a whole."""

from __future__ import annotations

from control_plane.pb.discovery_pb2 import DiscoveryRequest
from control_plane.xds.resource import Resource
from control_plane.xds.subscription import FULL_STATE, Ack, AdsStream, Nack, Push, TypeState, encode_head

_WILDCARD = "*"
_ERROR_WITHOUT_TEXT = "the node gave no reason"


class SotwStream(AdsStream):
    """One StreamAggregatedResources stream. Source: envoyproxy.io, "xDS REST and gRPC protocol", basic variant."""

    def on_request(self, request: DiscoveryRequest, now: float) -> Ack | Nack | None:
        """Take one request in; returns the answer it held, if any. Raises PeerError."""
        state, first = self._begin(request.type_url, now)
        answer = None
        if request.response_nonce in state.in_flight:
            # A node that was busy answers only the newest response; that covers the ones before.
            for nonce in [nonce for nonce in state.in_flight if int(nonce) < int(request.response_nonce)]:
                self._answer(request.type_url, state, nonce, None)
            error = (request.error_detail.message or _ERROR_WITHOUT_TEXT) if request.HasField("error_detail") else None
            answer = self._answer(request.type_url, state, request.response_nonce, error)
        # Names that came with the answer to an older response are stale: the answer to the newest one brings them again.
        if first or request.response_nonce in ("", state.last_nonce):
            self._change(request, state, first)
        self._bound(state)
        return answer

    def _change(self, request: DiscoveryRequest, state: TypeState, first: bool) -> None:
        names = set(request.resource_names)
        wildcard = _WILDCARD in names or (not names and request.type_url in FULL_STATE and (first or (state.wildcard and not state.names)))
        names.discard(_WILDCARD)
        if not first and wildcard == state.wildcard and names == state.names:
            return
        for name in state.names - names:
            if not wildcard:
                state.forget(name)
        state.wildcard, state.names = wildcard, names
        state.clean = state.muted = None

    def _build(self, type_url: str, state: TypeState, now: float) -> Push | None:
        target = self._target(type_url)
        if state.muted not in (None, target):
            state.muted = None
        if type_url in FULL_STATE:
            return self._build_whole(type_url, state, now)
        owed, waiting = self._owed(type_url, state)
        if owed:
            return self._send(type_url, state, owed, now)
        if not waiting:
            state.clean = target
        return None

    def _build_whole(self, type_url: str, state: TypeState, now: float) -> Push | None:
        whole, waiting = self._whole(type_url, state)
        if whole is None:
            return None
        unchanged = state.answered and not state.again and {r.name: r.version for r in whole} == state.sent
        if unchanged or state.muted is not None:
            if not waiting:
                state.clean = self._target(type_url)
            return None
        state.sent.clear()
        return self._send(type_url, state, whole, now)

    def _whole(self, type_url: str, state: TypeState) -> tuple[list[Resource] | None, bool]:
        """Everything of the type that the node should have now, and whether some of it has to wait.

        None: nothing of the type can go out yet. What is left out would be deleted, and the node may have it from an
        earlier stream, so a resource that must wait and has no older version here holds the others back, and a rejected
        one without an older version is listed again.
        """
        whole, waiting = [], False
        for resource in self._wanted(type_url, state):
            held = state.held.get(resource.name)
            if state.rejected.get(resource.name) == resource.version:
                whole.append(held or resource)
            elif not self._blocked(resource):
                whole.append(resource)
            elif held is not None:
                whole.append(held)
                waiting = True
            else:
                return None, True
        assert self.snapshot is not None
        current = self.snapshot.of_type(type_url)
        gone = [resource for name, resource in state.held.items() if name not in current and resource is not None and state.wants(name)]
        if gone:
            used = self._in_use()
            kept = [resource for resource in gone if used is None or resource.key in used]
            whole += kept
            waiting = waiting or bool(kept)
        return whole, waiting

    def _send(self, type_url: str, state: TypeState, resources: list[Resource], now: float) -> Push:
        assert self.snapshot is not None
        nonce, version = self._nonce(), self._target(type_url) or "0"
        sent = {resource.name: resource for resource in resources}
        removed = tuple(name for name in state.held if name not in sent) if type_url in FULL_STATE else ()
        head = encode_head([(1, version), (4, type_url), (5, nonce)])
        payload = b"".join([head, *(part for r in resources for part in (r.sotw_head, r.body))])
        return self._record(state, Push(type_url, nonce, version, payload, tuple(sent), removed), sent, now)
