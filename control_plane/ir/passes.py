"""The passes of a build, each one idea, in the order of `build.PASSES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import msgspec

from control_plane.catalogue.lookup import Catalogue
from control_plane.dialects.model_path import filled
from control_plane.dialects.told import Speaks, serving
from control_plane.ir.abilities import Abilities, abilities
from control_plane.ir.continuations import continuations
from control_plane.ir.draft import Draft, DraftRoute, PlannedTarget
from control_plane.ir.egress import AUTHORITIES
from control_plane.ir.egress_of import egress_of
from control_plane.ir.model import ANY_MODEL, Auth, Choice, Entry, Lane, Provider, Signing, TargetUse, Timers
from control_plane.ir.operations import OWN_THINKING_ONLY, STREAMED_TEXT, Operation, operations_of
from control_plane.ir.steering import Planned, steered
from control_plane.ir.stored import STORED, Stored
from control_plane.ir.variants import Rules, varied
from control_plane.spec import models as spec
from control_plane.spec.presets import PresetSpec

_Plan = list[list[PlannedTarget]]


SILENCE_FIRST_MS: Final = 500
"""By how much Envoy's idle timer is later than the translator's, which asks every 100 ms."""


def resolve_providers(draft: Draft) -> None:
    """Provider spec + preset → one host with the operations it offers."""
    for document in draft.specs.providers:
        preset = draft.presets[document.spec.preset]
        draft.providers[document.metadata.name] = _provider(document, preset)


def _provider(document: spec.Provider, preset: PresetSpec) -> Provider:
    name, body = document.metadata.name, document.spec
    base = body.base_url or preset.base_url
    assert base is not None, "the loader refuses a provider without a base URL"
    url = urlsplit(base)
    assert url.hostname is not None
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    root = url.path.rstrip("/")
    speaks = []
    # In the preset's order: the first is the one that requests of other dialects are translated to.
    usual = [dialect for dialect, offered in preset.dialects.items() if offered.default]
    for dialect in body.dialects or usual:
        offered = preset.dialects[dialect]
        if offered.path is not None:
            speaks.append(Speaks(dialect, "chat", root + offered.path))
        speaks += [Speaks(dialect, operation, root + path) for operation, path in sorted(offered.operations.items())]
    provider = Provider(
        name=name,
        host=url.hostname,
        port=port,
        tls=tls,
        auth=_auth(document, preset),
        headers=tuple(sorted({**preset.headers, **body.headers}.items())),
        speaks=tuple(speaks),
        options=msgspec.json.encode(dict(sorted(preset.options.items()))).decode(),
        authorities=AUTHORITIES + name if body.tls.ca_file and tls else None,
        server_name=body.tls.server_name,
        errors=_errors(preset),
        lacks=tuple((pattern, lack.features) for lack in preset.lacks for pattern in lack.models),
        rate_limits=preset.rate_limits.model_dump_json(exclude_none=True) if preset.rate_limits else "",
        egress=egress_of(document, port),
    )
    aws = body.credentials[0].aws if body.credentials else None
    if aws is None:
        return provider
    return replace(provider, signing=Signing(aws.service, aws.region, provider.authority, f"provider/{name}"))


def _auth(document: spec.Provider, preset: PresetSpec) -> Auth | None:
    """A key goes where the vendor wants keys, the token of a sign-in where all clouds want it."""
    if not document.spec.credentials:
        return None
    credential, secret = document.spec.credentials[0], f"provider/{document.name}"
    if credential.secret_ref is not None:
        pooled = sum(one.secret_ref is not None for one in document.spec.credentials) > 1
        return Auth(header=preset.auth.header, prefix=preset.auth.prefix, secret=secret, spare=f"{secret}~spare" if pooled else None)
    return None if credential.aws is not None else Auth(header="authorization", prefix="Bearer ", secret=secret, signed_in=True)


def _errors(preset: PresetSpec) -> str:
    rules = [rule.model_dump(exclude_none=True) for rule in preset.errors]
    return msgspec.json.encode(rules).decode() if rules else ""


def resolve_plans(draft: Draft) -> None:
    """Route spec → groups of targets."""
    for document in draft.specs.routes:
        groups = [[PlannedTarget(t.provider, t.model, t.weight) for t in group.targets] for group in document.spec.plan]
        draft.routes[document.metadata.name] = DraftRoute(spec=document, groups=groups)


def leave_out_unready_targets(draft: Draft) -> None:
    """A target whose provider has no key stays out of the plan, unless the route would have none left.

    An attempt without a key is a sure 401, and a plan that names a target before its secret has arrived is a 503.
    The last resort keeps the vendor's own 401 visible instead of an empty plan.
    """
    for route in draft.routes.values():
        ready = [[t for t in group if t.provider not in draft.unready] for group in route.groups]
        ready = [group for group in ready if group]
        if ready:
            route.groups = ready


def steer_plans(draft: Draft) -> None:
    """What breakers and overrides make of the plans. Names that concern no target of a route change nothing."""
    for name, route in draft.routes.items():
        planned = [[Planned(t.key, t.weight) for t in group] for group in route.groups]
        now = steered(name, planned, draft.steering)
        if list(map(list, now)) != planned:
            known = {t.key: t for group in route.groups for t in group}
            route.written = route.groups
            route.groups = [[replace(known[one.target], weight=one.weight) for one in group] for group in now]


def settle_timers(draft: Draft) -> None:
    """Envoy's idle timer runs on across attempts until the first headers, so it must span all of them.

    The loader warns where that raises what the operator wrote. It is later than what watches the answer itself, which can say to
    the client what has happened.
    """
    for route in draft.routes.values():
        asked = route.spec.spec
        # A pool's spare key has an attempt of its own, unless the operator has counted them.
        pooled = any(_pooled(draft.providers[t.provider]) for group in route.groups for t in group)
        spare = pooled and "attempts" not in asked.retry.model_fields_set
        route.attempts = min(asked.retry.attempts + spare, spec.MAX_GROUPS)
        span_ms = asked.idle_floor_ms // asked.retry.attempts * route.attempts
        route.timers = Timers(
            first_token_ms=asked.timeouts.first_token_ms,
            idle_ms=max(asked.timeouts.idle_ms + SILENCE_FIRST_MS, span_ms),
            silence_ms=asked.timeouts.idle_ms,
            total_ms=asked.timeouts.total_ms,
        )


def expand_entries(draft: Draft) -> None:
    """One entry for every operation of every client dialect that some target of the route can serve.

    A steered plan never takes an operation away: where no target is left for it, its entry has no groups and is answered as such.
    """
    offers = _Offers(draft.providers, draft.catalogue)
    for route in draft.routes.values():
        if route.written is None:
            route.entries = _entries(offers, draft, route, route.groups, keeping=route.groups)
            continue
        tried = {t.key for group in route.groups for t in group}
        keeping = [[t for t in group if t.key in tried] for group in route.written]
        left = {(e.dialect, e.operation): e for e in _entries(offers, draft, route, route.groups, keeping)}
        written = _entries(offers, draft, route, route.written, keeping=route.written)
        route.standby = {choice.use for entry in written for plan in entry.plans() for group in plan for choice in group}
        route.entries = [left.get((e.dialect, e.operation)) or _emptied(e) for e in written]


def _emptied(entry: Entry) -> Entry:
    return replace(entry, groups=(), rename=None, variants=(), weighing=None, continuations=())


def _entries(offers: _Offers, draft: Draft, route: DraftRoute, plan: _Plan, keeping: _Plan) -> list[Entry]:
    """`keeping`: the order in which providers are asked for what they store, which no steer changes: it is where it was made."""
    entries: list[Entry] = []
    asked = route.spec.spec
    rules = Rules(
        windows=asked.fallback.context_window == "skip",
        capability=asked.fallback.capability == "skip",
        ceiling=asked.max_cost_per_request,
        attempts=route.attempts,
        context_errors="context_too_long" in asked.retry.on,
    )
    for dialect in route.spec.spec.dialects:
        for operation in operations_of(dialect):
            entry = _entry(offers, draft, route, plan, operation)
            if entry is not None:  # answers that may be gone on with have one plan, whatever the request
                entries.append(entry if entry.continuations else varied(entry, operation.call_path, rules, offers.abilities))
        entries += [entry for stored in STORED if stored.dialect == dialect and (entry := _stored(draft, route, keeping, stored))]
    return entries


def _pooled(provider: Provider) -> bool:
    return provider.auth is not None and provider.auth.spare is not None


_Group = list[tuple[PlannedTarget, Lane, Speaks]]


class _Offers:
    """What providers have for an operation, worked out once for each: routes ask the same again and again."""

    def __init__(self, providers: Mapping[str, Provider], catalogue: Catalogue) -> None:
        self._providers, self._catalogue = providers, catalogue
        self._abilities: dict[tuple[str, str], Abilities] = {}
        self._known: dict[tuple[str, str, str], tuple[Speaks | None, Speaks | None]] = {}
        self._uses: dict[tuple[str, str, Lane, int, bool, bool, bool, bool, bool], TargetUse] = {}

    def use(
        self, target: PlannedTarget, lane: Lane, connect_ms: int, *, hold: bool, rename: bool, restore: bool, spare: bool, within: bool
    ) -> TargetUse:
        """One object for equal uses, of which a route has dozens."""
        key = (target.provider, target.model, lane, connect_ms, hold, rename, restore, spare, within)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = TargetUse(*key)
        return use

    def abilities(self, use: TargetUse) -> Abilities:
        """What is known of a target."""
        key = (use.provider, use.model)
        found = self._abilities.get(key)
        if found is None:
            found = self._abilities[key] = abilities(self._providers[use.provider], use.model, self._catalogue)
        return found

    def group(self, route: DraftRoute, operation: Operation, targets: Sequence[PlannedTarget]) -> _Group:
        """Those of the targets that can serve it, each with the lane and what of the provider's it becomes."""
        found: _Group = []
        for target in targets:
            key = (target.provider, operation.dialect, operation.name)
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = self._of(self._providers[target.provider], operation)
            own, translated = known
            # Where the body repeats the model, the target's own name is written everywhere only by the translator.
            if own is not None and not (operation.repeats_model and set(route.spec.spec.models) != {target.model}):
                found.append((target, Lane.PASSTHROUGH, own))
            elif translated is not None:
                found.append((target, Lane.TRANSLATION, translated))
        return found

    def spare(self, groups: Sequence[_Group]) -> _Group:
        """One more group behind the plan, where a provider has more than one key: its targets with the next key, for what the key in
        use could not serve. Of the first group that has such a provider.
        """
        return next((pooled for group in groups if (pooled := [one for one in group if _pooled(self._providers[one[0].provider])])), [])

    @staticmethod
    def _of(provider: Provider, operation: Operation) -> tuple[Speaks | None, Speaks | None]:
        path = provider.path(operation.dialect, operation.name)
        own = None if path is None else Speaks(operation.dialect, operation.name, path)
        if not operation.translated:
            return own, None
        return own, serving(provider.speaks, operation.dialect, operation.name, operation.served_by)


def _entry(offers: _Offers, draft: Draft, route: DraftRoute, plan: _Plan, operation: Operation) -> Entry | None:
    asked = route.spec.spec
    groups = [group for targets in plan if (group := offers.group(route, operation, targets))]
    if not groups:
        return None
    spare = offers.spare(groups) if len(groups) < spec.MAX_GROUPS else []
    groups += [spare] if spare else []
    native = {target.model for group in groups for target, lane, _ in group if lane is Lane.PASSTHROUGH}
    at_target = len(native) > 1 and not operation.by_path
    hold = asked.first_event_hold and operation.name in STREAMED_TEXT
    repeats = route.attempts > len(groups)
    # A client's path names its own model, if any, so every attempt gets the target's.
    restored = [True] * len(groups) if operation.by_path else _restored(groups, operation.call_path, repeats=repeats)
    connect_ms, within = asked.timeouts.connect_ms, asked.retry.if_failed_within_ms is not None

    def chosen(target: PlannedTarget, lane: Lane, serves: Speaks, undo: bool, spared: bool) -> Choice:
        native = lane is Lane.PASSTHROUGH
        restore = native and (undo or filled(serves.path, target.model) != operation.call_path)
        rename = native and at_target
        use = offers.use(target, lane, connect_ms, hold=native and hold, rename=rename, restore=restore, spare=spared, within=within)
        return Choice(use, target.weight, serves, target.admitted)

    return Entry(
        dialect=operation.dialect,
        operation=operation.name,
        groups=tuple([tuple([chosen(*one, undo, group is spare) for one in group]) for group, undo in zip(groups, restored, strict=True)]),
        rename=next(iter(native)) if len(native) == 1 and not operation.by_path else None,
        thinking_of=OWN_THINKING_ONLY.get(operation.dialect, ()) if native and operation.name == "chat" else (),
        continuations=continuations(draft.providers, asked, operation, plan) if asked.resume else (),
    )


def _restored(groups: Sequence[_Group], client_path: str, *, repeats: bool) -> list[bool]:
    """For each group: must its passthrough targets undo what an earlier attempt did to the request's headers?

    Header changes of one attempt persist into the next, so a passthrough target that may follow a translated one, or
    one under another path, sets path and length again. `repeats`: the last group is tried more than once.
    """
    changed = [
        any(lane is Lane.TRANSLATION or filled(serves.path, target.model) != client_path for target, lane, serves in group)
        for group in groups
    ]
    last = len(groups) - 1
    return [any(changed[: i + (repeats and i == last)]) for i in range(len(groups))]


def _stored(draft: Draft, route: DraftRoute, plan: _Plan, stored: Stored) -> Entry | None:
    """A group for each provider of the plan that has it: who keeps a response or file is not known, so they are asked in turn.

    The model does not matter to them: one use of a provider for all routes.
    """
    groups: dict[str, tuple[Choice, ...]] = {}
    for target in (target for group in plan for target in group):
        path = draft.providers[target.provider].path(stored.dialect, stored.operation)
        if path is None or target.provider in groups:
            continue
        use = TargetUse(target.provider, ANY_MODEL, Lane.PASSTHROUGH, route.spec.spec.timeouts.connect_ms, restore=True)
        groups[target.provider] = (Choice(use, 1, Speaks(stored.dialect, stored.operation, path)),)
    if not groups:
        return None
    return Entry(dialect=stored.dialect, operation=stored.name, groups=tuple(groups.values())[: spec.MAX_GROUPS], rename=None)
