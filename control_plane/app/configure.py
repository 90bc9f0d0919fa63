"""From specs to a submitted snapshot: what the control plane does at every change of the files."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from control_plane.app import last_good_specs
from control_plane.app.key_pools import KeyPools
from control_plane.app.keys import NONE_CHOSEN, Keys, Secrets
from control_plane.app.sign_ins import SignIns
from control_plane.credentials.resolve import NO_TOKENS
from control_plane.ir.build import build, resteered
from control_plane.ir.model import Gateway
from control_plane.ir.show import diff
from control_plane.ir.steering import NO_STEERING, Steer, Steering
from control_plane.spec.findings import Finding
from control_plane.spec.load import Loaded
from control_plane.spec.models import SpecSet
from control_plane.telemetry.logs import fields
from control_plane.telemetry.names import Field
from control_plane.xds.publisher import Outcome, Publisher
from control_plane.xds.resource import CDS, RDS, Resource
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.translate.gateway import translate
from control_plane.xds.translate.names import is_proxy, route_table
from control_plane.xds.translate.secrets import absent_secrets
from control_plane.xds.translate.settings import EdgeSettings

log = logging.getLogger(__name__)

PROXY_WAIT_S: Final = 3.0
"""How long providers wait for a new proxy: a lookup of its name takes milliseconds; what takes longer will not be ready soon."""

AT_ONCE: Final = frozenset({"steering", "key rotation"})
"""Reasons that wait for no other change: each moment costs attempts."""

EMPTY = Gateway(providers=(), routes=())

FIRST_TOKENS_S: Final = 5.0
"""How long the first configuration waits for sign-ins. A token service answers in well under a second, or is in trouble."""


@dataclass(frozen=True, slots=True)
class _Last:
    """The last build, and of what it was one."""

    specs: SpecSet
    unready: Mapping[str, str]
    steering: Steering
    gateway: Gateway


@dataclass(slots=True)
class Configurator:
    """Keeps the set in force, and refuses whatever has an error."""

    publisher: Publisher
    settings: EdgeSettings
    state: Path
    gateway: Gateway = EMPTY
    findings: tuple[Finding, ...] = ()
    specs: SpecSet | None = None
    stale: bool = False
    sign_ins: SignIns | None = None
    pools: KeyPools | None = None
    steering: Callable[[SpecSet], Steering] = lambda _: NO_STEERING
    """What overrides and breakers ask for at this moment; whoever changes it calls `steer` afterwards."""
    _secrets: Secrets = field(default_factory=dict)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last: _Last | None = None

    async def apply(self, loaded: Loaded) -> None:
        """Take over `loaded`, or keep what is in force and say why."""
        self.findings = loaded.findings
        for finding in loaded.findings:
            log.log(logging.ERROR if finding.severity == "error" else logging.WARNING, "%s", finding)
        async with self._one:
            if loaded.ok:
                self.stale = False
                await self._submit(loaded.specs)
                return
            self.stale = True
            log.error("the specs have errors: the last good ones stay in force")
            if self.specs is None and (kept := last_good_specs.restore(self.state)) is not None and kept.ok:
                await self._submit(kept.specs)
            elif self.specs is not None:
                await self._submit(self.specs)  # a key may have changed

    async def renew(self) -> None:
        """Publish the specs in force again: a token has come or ended."""
        async with self._one:
            if self.specs is not None:
                await self._submit(self.specs)

    async def rotate(self) -> None:
        """The same at once: another key of a pool is to be used, or none is left, or one again."""
        async with self._one:
            if self.specs is not None:
                await self._submit(self.specs, reason="key rotation")

    async def steer(self) -> asyncio.Future[Outcome] | None:
        """Publish the specs in force with the steering as it is now, at once. None when the plans stay as they are."""
        async with self._one:
            return await self._submit(self.specs, reason="steering") if self.specs is not None else None

    def unready(self, specs: SpecSet) -> Mapping[str, str]:
        """Providers without a usable key, with the reason. Reads files: call it in a thread."""
        return self._keys(specs).unready()

    async def _submit(self, specs: SpecSet, reason: str = "specs") -> asyncio.Future[Outcome] | None:
        if self.sign_ins is not None:
            await self.sign_ins.follow(specs)
            if self.specs is None:  # what Envoys run already shall not lose its targets for the moment until the tokens come
                await self.sign_ins.settled(FIRST_TOKENS_S)
        if self.pools is not None:
            self.pools.follow(specs)
        began = time.monotonic()
        gateway, secrets, resources = await asyncio.to_thread(self._translate, specs)
        changes = diff(self.gateway, gateway)
        if self.specs is not None and not changes and secrets == self._secrets:
            self.specs = specs
            return None
        urgent = reason in AT_ONCE or (self.specs is not None and only_weights(self.gateway, gateway) and secrets == self._secrets)
        routes = [route_table(r) for r in gateway.routes]
        snapshot = Snapshot.of(resources, routes=routes, absent=absent_secrets(gateway, secrets))
        await self._prepare(snapshot)
        outcome = self.publisher.submit(snapshot, reason=reason, urgent=urgent)
        rewritten = sum(key[0] == RDS for key in self.publisher.live.diff(snapshot).changed)
        took = round((time.monotonic() - began) * 1000, 1)
        shown = "; ".join(changes[:5]) or "keys"
        log.info("%s taken over", reason, extra=fields(Field.REASON, shown, Field.COUNT, rewritten, Field.TOOK_MS, took))
        same = self.specs is specs
        self.gateway, self.specs, self._secrets = gateway, specs, secrets
        if not same:
            last_good_specs.save(self.state, specs)
        outcome.add_done_callback(_report)
        return outcome

    async def _prepare(self, snapshot: Snapshot) -> None:
        """Proxies before the providers that go through them: a provider's own cluster may be ready before its proxy's name is known."""
        live = self.publisher.live
        proxies = [r for r in snapshot if r.type_url == CDS and is_proxy(r.name) and r.key not in live]
        if not proxies or not len(live):
            return
        needed = {ref for proxy in proxies for ref in proxy.refs}
        early = [*proxies, *(r for r in snapshot if r.key in needed and r.key not in live)]
        absent = {ref for resource in live for ref in resource.refs if ref not in live}  # what is served may lack a token already
        await self.publisher.submit(Snapshot.of([*live, *early], routes=live.routes, absent=absent), reason="proxies", urgent=True)
        if not await self.publisher.converged(PROXY_WAIT_S):
            log.warning("a new proxy's name was not known to every Envoy within %g s; going on", PROXY_WAIT_S)

    def _keys(self, specs: SpecSet) -> Keys:
        tokens = self.sign_ins.tokens() if self.sign_ins is not None else NO_TOKENS
        return Keys.of(specs, tokens=tokens, chosen=self.pools.chosen() if self.pools is not None else NONE_CHOSEN)

    def _translate(self, specs: SpecSet) -> tuple[Gateway, Secrets, list[Resource]]:
        keys = self._keys(specs)
        spent = self.pools.exhausted() if self.pools is not None else {}
        gateway = self._built(specs, keys.unready(), last_resorts(self.steering(specs), specs, spent))
        secrets = keys.values(gateway, kept=self._secrets)
        return gateway, secrets, translate(gateway, secrets, self.settings)

    def _built(self, specs: SpecSet, unready: Mapping[str, str], steering: Steering) -> Gateway:
        """The gateway; where nothing but the steering has changed since the last one, most of that is kept."""
        last, self._last = self._last, None
        if last is not None and last.specs is specs and last.unready == unready:
            gateway = resteered(last.gateway, specs, unready, last.steering, steering)
        else:
            gateway = build(specs, unready, steering)
        self._last = _Last(specs, dict(unready), steering, gateway)
        return gateway


def last_resorts(steering: Steering, specs: SpecSet, providers: Mapping[str, str]) -> Steering:
    """`steering`, and the targets of these providers (with the reason) behind every plan: to be asked when all others have failed."""
    if not providers:
        return steering
    named = {t.key: t.provider for route in specs.routes for group in route.spec.plan for t in group.targets}
    spent = {key: Steer(0, providers[provider]) for key, provider in named.items() if provider in providers}
    return replace(steering, targets={**spent, **{k: s for k, s in steering.targets.items() if s.percent == 0 or k not in spent}})


def only_weights(before: Gateway, after: Gateway) -> bool:
    """Whether nothing but plans changed, over the same targets: then no cluster is new and no debounce is needed."""
    return before.providers == after.providers and before.models() == after.models() and before.uses() == after.uses()


def _report(outcome: asyncio.Future[Outcome]) -> None:
    if outcome.cancelled():
        return
    if error := outcome.exception():
        log.error("the change was not published", exc_info=error)
        return
    for problem in outcome.result().problems:
        log.error("not served as asked: %s", problem.text)
