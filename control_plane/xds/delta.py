"""Delta (incremental) ADS: per-resource versions, and what a reconnecting node still has is not sent again."""

from __future__ import annotations

from control_plane.pb.discovery_pb2 import DeltaDiscoveryRequest
from control_plane.xds.resource import SDS, Resource
from control_plane.xds.subscription import FULL_STATE, ROOTS, Ack, AdsStream, Nack, Push, TypeState, encode_head

_WILDCARD = "*"
_ERROR_WITHOUT_TEXT = "the node gave no reason"


class DeltaStream(AdsStream):
    """One DeltaAggregatedResources stream. Source: envoyproxy.io, "xDS REST and gRPC protocol", incremental variant."""

    def on_request(self, request: DeltaDiscoveryRequest, now: float) -> Ack | Nack | None:
        """Take one request in; returns the answer it held, if any. Raises PeerError."""
        state, first = self._begin(request.type_url, now)
        answer = None
        if request.response_nonce:
            error = (request.error_detail.message or _ERROR_WITHOUT_TEXT) if request.HasField("error_detail") else None
            answer = self._answer(request.type_url, state, request.response_nonce, error)
        if first:
            # No names in the first request of a type that can be had as a whole means all of it (the older way to say "*").
            state.wildcard = not request.resource_names_subscribe and request.type_url in FULL_STATE
            self._resume(request, state)
        self._change(request, state, first)
        self._bound(state)
        return answer

    def _resume(self, request: DeltaDiscoveryRequest, state: TypeState) -> None:
        current = self.snapshot.of_type(request.type_url) if self.snapshot is not None else {}
        for name, version in request.initial_resource_versions.items():
            state.sent[name] = version
            state.held[name] = current[name] if name in current and current[name].version == version else None
        state.answered = state.resumed = bool(request.initial_resource_versions)
        self._follow(request.type_url)

    def _change(self, request: DeltaDiscoveryRequest, state: TypeState, first: bool) -> None:
        if request.resource_names_subscribe or request.resource_names_unsubscribe or first:
            state.clean = None
        for name in request.resource_names_subscribe:
            if name == _WILDCARD:
                state.wildcard = True
                continue
            state.names.add(name)
            if not first:  # asking for what one has means: send it again
                state.sent.pop(name, None)
        for name in request.resource_names_unsubscribe:
            if name == _WILDCARD:
                state.wildcard = False
                for known in [known for known in state.sent if known not in state.names]:
                    state.forget(known)
                continue
            state.names.discard(name)
            if not state.wildcard:
                state.forget(name)

    def _build(self, type_url: str, state: TypeState, now: float) -> Push | None:
        owed, waiting = self._owed(type_url, state)
        removed, deferred = self._removable(type_url, state, now)
        greeting = state.wildcard and not state.answered  # a node waits for its clusters and listeners, even if there are none
        if owed or removed or greeting:
            # Apart from each other, since removals in a NACKed response take effect. Listeners and scopes go together: under
            # a new name they may claim the address or the key of the one that leaves.
            if owed and type_url not in ROOTS:
                removed = ()
            return self._record(state, self._push(type_url, owed, removed), {resource.name: resource for resource in owed}, now)
        if not waiting and not deferred:
            state.clean = self._target(type_url)
        return None

    def _removable(self, type_url: str, state: TypeState, now: float) -> tuple[tuple[str, ...], bool]:
        """Names to take away now, and whether others have to wait."""
        if type_url == SDS or self.snapshot is None:  # a node keeps the last key it was given
            return (), False
        current = self.snapshot.of_type(type_url)
        gone = [name for name in state.sent if name not in current and state.wants(name)]
        if not gone:
            return (), False
        if type_url in ROOTS:
            return tuple(sorted(gone)), False
        # A node that came back may name these in types it has not asked for yet.
        if state.resumed and self.began is not None and now - self.began < self._removal_delay_s:
            return (), True
        used = self._in_use()
        free = () if used is None else tuple(sorted(name for name in gone if (type_url, name) not in used))
        return free, len(free) < len(gone)

    def _push(self, type_url: str, owed: list[Resource], removed: tuple[str, ...]) -> Push:
        assert self.snapshot is not None
        nonce, version = self._nonce(), self.snapshot.version
        head = encode_head([(1, version), (4, type_url), (5, nonce), *((6, name) for name in removed)])
        payload = b"".join([head, *(part for r in owed for part in (r.delta_head, r.body))])
        return Push(type_url, nonce, version, payload, tuple(r.name for r in owed), removed)
