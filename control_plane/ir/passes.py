"""The passes of a build, each one idea, in the order of `build.PASSES`."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from control_plane.dialects.model_path import filled, streaming
from control_plane.ir.draft import Draft, DraftRoute, PlannedTarget
from control_plane.ir.egress import AUTHORITIES
from control_plane.ir.egress_of import egress_of
from control_plane.ir.model import ANY_MODEL, Auth, Choice, Entry, Lane, Provider, Signing, Speaks, TargetUse, Timers
from control_plane.ir.operations import OWN_THINKING_ONLY, STREAMED_TEXT, Operation, operations_of
from control_plane.ir.steering import Planned, steered
from control_plane.ir.stored import STORED, Stored
from control_plane.spec import models as spec
from control_plane.spec.presets import PresetSpec

_Plan = list[list[PlannedTarget]]


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
        return Auth(header=preset.auth.header, prefix=preset.auth.prefix, secret=secret)
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

    The loader warns where that raises what the operator wrote.
    """
    for route in draft.routes.values():
        asked = route.spec.spec
        route.timers = Timers(
            first_token_ms=asked.timeouts.first_token_ms, idle_ms=asked.effective_idle_ms, total_ms=asked.timeouts.total_ms
        )


def expand_entries(draft: Draft) -> None:
    """One entry for every operation of every client dialect that some target of the route can serve.

    A steered plan never takes an operation away: where no target is left for it, its entry has no groups and is answered as such.
    """
    for route in draft.routes.values():
        if route.written is None:
            route.entries = _entries(draft, route, route.groups, keeping=route.groups)
            continue
        tried = {t.key for group in route.groups for t in group}
        keeping = [[t for t in group if t.key in tried] for group in route.written]
        left = {(e.dialect, e.operation): e for e in _entries(draft, route, route.groups, keeping)}
        written = _entries(draft, route, route.written, keeping=route.written)
        route.standby = {choice.use for entry in written for group in entry.groups for choice in group}
        route.entries = [left.get((e.dialect, e.operation)) or replace(e, groups=(), rename=None) for e in written]


def _entries(draft: Draft, route: DraftRoute, plan: _Plan, keeping: _Plan) -> list[Entry]:
    """`keeping`: the order in which providers are asked for what they store, which no steer changes: it is where it was made."""
    entries: list[Entry] = []
    for dialect in route.spec.spec.dialects:
        entries += [entry for operation in operations_of(dialect) if (entry := _entry(draft, route, plan, operation))]
        entries += [entry for stored in STORED if stored.dialect == dialect and (entry := _stored(draft, route, keeping, stored))]
    return entries


def _entry(draft: Draft, route: DraftRoute, plan: _Plan, operation: Operation) -> Entry | None:
    groups = [[(t, use) for t in group if (use := _use(draft, route, operation, t))] for group in plan]
    groups = [group for group in groups if group]
    if not groups:
        return None
    if not operation.by_path:
        groups = _restoring(groups, operation.call_path, repeats=route.spec.spec.retry.attempts > len(groups))
    native = {use.model for group in groups for _, use in group if use.lane is Lane.PASSTHROUGH}
    shared = next(iter(native)) if len(native) == 1 and not operation.by_path else None
    at_target = len(native) > 1 and not operation.by_path
    if native and operation.name == "chat" and (signed := OWN_THINKING_ONLY.get(operation.dialect)):
        groups = [[(t, replace(use, mute=use.provider_dialect not in signed)) for t, use in group] for group in groups]
    return Entry(
        dialect=operation.dialect,
        operation=operation.name,
        groups=tuple(
            tuple(Choice(replace(use, rename=at_target and use.lane is Lane.PASSTHROUGH), t.weight) for t, use in group) for group in groups
        ),
        rename=shared,
    )


def _stored(draft: Draft, route: DraftRoute, plan: _Plan, stored: Stored) -> Entry | None:
    """A group for each provider of the plan that has it: who keeps a response or file is not known, so they are asked in turn.

    The model does not matter to them: one use of a provider for all routes.
    """
    groups: dict[str, tuple[Choice, ...]] = {}
    for target in (target for group in plan for target in group):
        path = draft.providers[target.provider].path(stored.dialect, stored.operation)
        if path is None or target.provider in groups:
            continue
        use = TargetUse(
            provider=target.provider,
            model=ANY_MODEL,
            client_dialect=stored.dialect,
            operation=stored.name,
            lane=Lane.PASSTHROUGH,
            provider_dialect=stored.dialect,
            path=path,
            connect_ms=route.spec.spec.timeouts.connect_ms,
            hold=False,
            restore=True,
        )
        groups[target.provider] = (Choice(use, 1),)
    if not groups:
        return None
    return Entry(dialect=stored.dialect, operation=stored.name, groups=tuple(groups.values())[: spec.MAX_GROUPS], rename=None)


def _use(draft: Draft, route: DraftRoute, operation: Operation, target: PlannedTarget) -> TargetUse | None:
    provider = draft.providers[target.provider]
    lane, dialect = Lane.PASSTHROUGH, operation.dialect
    path = provider.path(dialect, operation.name)
    name = operation.name
    if path is not None and operation.repeats_model and set(route.spec.spec.models) != {target.model}:
        lane = Lane.TRANSLATION  # only so is the target's own name written wherever the body has the client's
    if path is None and operation.translated:
        offered = next((s for s in provider.speaks if s.operation == operation.elsewhere), None)
        if offered is not None:
            lane, dialect, path, name = Lane.TRANSLATION, offered.dialect, offered.path, operation.elsewhere
    if path is None:
        return None
    translated = lane is Lane.TRANSLATION
    named = operation.by_path and lane is Lane.PASSTHROUGH
    if lane is Lane.PASSTHROUGH:  # a client's path names its own model, if any, so every attempt gets the target's
        path = filled(path, target.model)
    return TargetUse(
        provider=target.provider,
        model=target.model,
        client_dialect=operation.dialect,
        operation=name,
        lane=lane,
        provider_dialect=dialect,
        path=path,
        connect_ms=route.spec.spec.timeouts.connect_ms,
        hold=route.spec.spec.first_event_hold and lane is Lane.PASSTHROUGH and operation.name in STREAMED_TEXT,
        unsupported_params=route.spec.spec.unsupported_params if translated else "drop",
        foreign_reasoning=route.spec.spec.foreign_reasoning if translated else "strip",
        restore=named,
        by_path=operation.by_path,
        stream_path=streaming(path, operation.streamed) if named and operation.streamed is not None else "",
    )


_Groups = list[list[tuple[PlannedTarget, TargetUse]]]


def _restoring(groups: _Groups, client_path: str, repeats: bool) -> _Groups:
    """Mark the passthrough uses that must undo what an earlier attempt did to the request's headers.

    Header changes of one attempt persist into the next, so a passthrough target that may follow a translated one, or
    one under another path, sets path and length again. `repeats`: the last group is tried more than once.
    """
    changed = [any(use.lane is Lane.TRANSLATION or use.path != client_path for _, use in group) for group in groups]
    last = len(groups) - 1
    out = []
    for i, group in enumerate(groups):
        undo = any(changed[: i + (repeats and i == last)])
        out.append([(t, _settled(use, undo or use.path != client_path)) for t, use in group])
    return out


def _settled(use: TargetUse, restore: bool) -> TargetUse:
    """Passthrough uses that leave the path alone are the same for every operation of the dialect."""
    if use.lane is Lane.TRANSLATION:
        return use
    return replace(use, restore=True) if restore else replace(use, operation="", path="")
