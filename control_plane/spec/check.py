"""Rules that need more than one field or document: references, uniqueness, addresses, timers that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from control_plane.spec.base_url import parse_base_url, why_internal
from control_plane.spec.check_egress import check_egress
from control_plane.spec.check_resume import check_resume
from control_plane.spec.dialect_names import BESIDE_CHAT
from control_plane.spec.findings import Finding
from control_plane.spec.models import BACKOFF_MS, AnyDocument, ModelCatalog, ModelRoute, PresetDocument, Provider
from control_plane.spec.nearest import did_you_mean, listed
from control_plane.spec.presets import PresetSpec, bad_options, load_presets
from control_plane.spec.quantities import format_duration

UNENFORCED_LIMITS: Final = (
    ("concurrency", "concurrency"),
    ("requests_per_minute", "requestsPerMinute"),
    ("tokens_per_minute", "tokensPerMinute"),
)


def check_document(document: AnyDocument) -> list[Finding]:
    """Findings about one document that is valid field by field, whatever else is in the set."""
    if isinstance(document, Provider):
        return list(_check_provider(document))
    if isinstance(document, ModelCatalog):
        return []
    return list(_check_preset(document) if isinstance(document, PresetDocument) else _check_route(document))


def check_set(documents: Sequence[AnyDocument], *, broken: frozenset[str] = frozenset(), opaque: bool = False) -> list[Finding]:
    """Findings about what documents say together.

    `broken` are names of documents that were refused, `opaque` says that there may be others: what could be a mere consequence
    (a reference to them, a provider that only they use) is not reported.
    """
    providers = {doc.name: doc for doc in documents if isinstance(doc, Provider)}
    routes = [doc for doc in documents if isinstance(doc, ModelRoute)]
    findings = [*_duplicate_names(documents), *_shared_models(routes), *_check_presets_of(documents, broken=broken, opaque=opaque)]
    if not opaque:
        findings += _check_catalogs(documents, broken)
    used = {target.provider for route in routes for group in route.spec.plan for target in group.targets}
    unknown = used - providers.keys() - broken
    if unknown and not opaque:
        findings.extend(finding for route in routes for finding in _dangling(route, providers, unknown))
    if not broken and not unknown and not opaque:
        unused = [provider for name, provider in providers.items() if name not in used]
        fix = "name it in a plan, or remove it"
        findings.extend(doc.finding("HG3006", ("metadata", "name"), f'no route uses provider "{doc.name}"', fix) for doc in unused)
    return findings


def _where(document: AnyDocument, path: Sequence[str | int]) -> str:
    if document.origin is None:
        return "another document"
    return f"{document.origin.name}:{document.origin.find(path)[0]}"


def _duplicate_names(documents: Sequence[AnyDocument]) -> Iterator[Finding]:
    first: dict[tuple[str, str], AnyDocument] = {}
    path = ("metadata", "name")
    for document in documents:
        other = first.setdefault((document.kind, document.name), document)
        if other is not document:
            message = f'there is another {document.kind} "{document.name}" at {_where(other, path)}'
            yield document.finding("HG2002", path, message, "rename or remove one of the two")


def _shared_models(routes: Sequence[ModelRoute]) -> Iterator[Finding]:
    first: dict[str, tuple[ModelRoute, int]] = {}
    for route in routes:
        for position, model in enumerate(route.spec.models):
            other, at = first.setdefault(model, (route, position))
            if other is not route:
                place = _where(other, ("spec", "models", at))
                message = f'model "{model}" is already served by route "{other.name}" at {place}'
                yield route.finding("HG2003", ("spec", "models", position), message, "serve each model by one route")


def _dangling(route: ModelRoute, providers: Mapping[str, Provider], unknown: set[str]) -> Iterator[Finding]:
    for g, group in enumerate(route.spec.plan):
        for t, target in enumerate(group.targets):
            if target.provider in unknown:
                others = f", or use one of: {listed(providers)}" if providers else ""
                fix = did_you_mean(target.provider, providers) or f"add a Provider of that name{others}"
                path = ("spec", "plan", g, "targets", t, "provider")
                yield route.finding("HG2001", path, f'no Provider is named "{target.provider}"', fix)


def _check_presets_of(documents: Sequence[AnyDocument], *, broken: frozenset[str], opaque: bool) -> Iterator[Finding]:
    """What Provider and Preset documents say together: names that lead nowhere, presets that nobody names."""
    own = {doc.name: doc for doc in documents if isinstance(doc, PresetDocument)}
    presets: dict[str, PresetSpec] = {**{name: doc.spec for name, doc in own.items()}, **load_presets()}
    providers = [doc for doc in documents if isinstance(doc, Provider)]
    named = {provider.name: provider for provider in providers}
    for route in (doc for doc in documents if isinstance(doc, ModelRoute)):
        yield from _without_use(route, named, presets)
        yield from check_resume(route, named, presets)
    dangling = False
    for provider in providers:
        name = provider.spec.preset
        preset = presets.get(name)
        if preset is not None:
            yield from _check_provider_with(provider, preset)
        elif name not in broken and not opaque:
            dangling = True
            fix = did_you_mean(name, presets) or f"the presets are {listed(presets)}; headgate presets shows them all"
            yield provider.finding("HG2005", ("spec", "preset"), f'no preset is named "{name}"', fix)
    if not dangling and not broken and not opaque:
        used = {provider.spec.preset for provider in providers}
        for document in own.values():
            if document.name not in used and document.name not in load_presets():
                message, fix = f'no provider uses preset "{document.name}"', "name it in a Provider, or remove it"
                yield document.finding("HG3014", ("metadata", "name"), message, fix)


def _check_catalogs(documents: Sequence[AnyDocument], broken: frozenset[str]) -> Iterator[Finding]:
    """Catalogues of nobody, and models that two catalogues describe for the same preset or provider."""
    presets = {*load_presets(), *(doc.name for doc in documents if isinstance(doc, PresetDocument)), *broken}
    providers = {*(doc.name for doc in documents if isinstance(doc, Provider)), *broken}
    first: dict[tuple[str, str], ModelCatalog] = {}
    for catalog in documents:
        if not isinstance(catalog, ModelCatalog):
            continue
        spec = catalog.spec
        if spec.preset is not None and spec.preset not in presets:
            fix = did_you_mean(spec.preset, presets) or "write one of those that headgate presets lists"
            yield catalog.finding("HG2005", ("spec", "preset"), f'no preset is named "{spec.preset}"', fix)
        if spec.provider is not None and spec.provider not in providers:
            fix = did_you_mean(spec.provider, providers) or "add a Provider of that name"
            yield catalog.finding("HG2001", ("spec", "provider"), f'no Provider is named "{spec.provider}"', fix)
        scope = f"provider {spec.provider}" if spec.provider else f"preset {spec.preset}"
        for position, entry in enumerate(spec.models):
            for name in (entry.id, *entry.aliases):
                other = first.setdefault((scope, name), catalog)
                if other is not catalog:
                    message = (
                        f'model "{name}" of {scope} is described by catalogue "{other.name}" too, at {_where(other, ("spec", "models"))}'
                    )
                    yield catalog.finding("HG2017", ("spec", "models", position), message, "keep one of the two")


def _missing_steps(base_url: str, needed: Sequence[str]) -> list[str]:
    """Those of `needed` that the path does not have with a value behind them."""
    steps = parse_base_url(base_url).path.split("/")
    return [step for step in needed if step not in steps[:-1]]


def _check_provider_with(provider: Provider, preset: PresetSpec) -> Iterator[Finding]:
    """Findings about a provider that depend on its preset."""
    spec = provider.spec
    if spec.base_url is None:
        if preset.base_url is None:
            fix = "add baseUrl, for example https://models.example.com/v1"
            yield provider.finding("HG2010", ("spec",), f'preset "{spec.preset}" has no base URL of its own', fix)
        else:
            yield from _check_address(provider, preset.base_url)
    elif missing := _missing_steps(spec.base_url, preset.base_url_needs):
        message = f"its path lacks {listed([f'{step}/…' for step in missing])}, without which the vendor answers 404"
        whole = "".join(f"/{step}/{step.removesuffix('s').upper()}" for step in preset.base_url_needs)
        fix = f"end it with {whole}, with your own names for those in capitals"
        yield provider.finding("HG2018", ("spec", "baseUrl"), message, fix)
    for position, dialect in enumerate(spec.dialects or ()):
        if dialect not in preset.dialects:
            message = f'preset "{spec.preset}" does not have the dialect "{dialect}"'
            yield provider.finding("HG2013", ("spec", "dialects", position), message, f"it has {listed(preset.dialects)}")
    if preset.auth.required and not spec.credentials:
        fix = "add credentials: [{secretRef: {env: NAME}}]"
        yield provider.finding("HG3008", ("spec",), f"no credentials, but {preset.title} asks for a key", fix)


def _without_use(route: ModelRoute, providers: Mapping[str, Provider], presets: Mapping[str, PresetSpec]) -> Iterator[Finding]:
    """A route none of whose targets offers what its clients can call: all would get 404. Nothing is said where something is not known."""
    offered: set[str] = set()
    for name in {target.provider for group in route.spec.plan for target in group.targets}:
        provider = providers.get(name)
        preset = presets.get(provider.spec.preset) if provider is not None else None
        if provider is None or preset is None:
            return
        for dialect, paths in preset.dialects.items():
            if dialect in (provider.spec.dialects or [dialect]):
                offered.update(paths.operations, ["chat"] if paths.path is not None else [])
    dialects = route.spec.dialects
    if offered.isdisjoint(["chat", *(operation for dialect in dialects for operation in BESIDE_CHAT.get(dialect, ()))]):
        message = f"no target offers anything that clients of {listed(dialects)} can call; they offer {listed(offered)}"
        yield route.finding("HG3018", ("spec", "plan"), message, "add targets that do, or allow other dialects in spec.dialects")


def _check_preset(document: PresetDocument) -> Iterator[Finding]:
    """A preset must not change what specs elsewhere mean by a shipped name, and its options must be ones that somebody reads."""
    if document.name in load_presets():
        message = f'Headgate ships a preset "{document.name}"'
        fix = f"choose another name, for example my-{document.name}, and name that in the providers"
        yield document.finding("HG2014", ("metadata", "name"), message, fix)
    for bad in bad_options(document.spec):
        yield document.finding(bad.code, ("spec", "options", bad.name), bad.message, bad.fix, key=bad.code == "HG1019")


def _check_provider(provider: Provider) -> Iterator[Finding]:
    spec = provider.spec
    if spec.base_url is not None:
        yield from _check_address(provider, spec.base_url)
    if len(spec.credentials) > 1 and (odd := [n for n, one in enumerate(spec.credentials) if one.sign_in is not None]):
        message = "a pool is for keys: a sign-in stands alone" + ("; only the first is used" if odd[0] == 0 else "; this one is not used")
        yield provider.finding("HG3002", ("spec", "credentials", odd[0] or 1), message, "define a provider of its own for it")
    for position, credential in enumerate(spec.credentials):
        if credential.entra is not None and not spec.allow_insecure:
            internal = why_internal(parse_base_url(credential.entra.authority_host))
            if internal is not None:
                at = ("spec", "credentials", position, "entra", "authorityHost")
                fix = "use a public host, or set allowInsecure: true if this is meant"
                yield provider.finding("HG2009", at, f"the host {internal}", fix)
    for attribute, name in UNENFORCED_LIMITS:
        if getattr(spec.limits, attribute) is not None:
            message = f"{name} is recorded, but not enforced yet"
            yield provider.finding("HG3004", ("spec", "limits", name), message, "rely on the vendor's own limit for now", key=True)


def _check_address(provider: Provider, base_url: str) -> Iterator[Finding]:
    """`base_url` is the provider's own or its preset's. It is the Provider that must allow an address: its keys go there."""
    spec = provider.spec
    own = spec.base_url is not None
    path = ("spec", "baseUrl" if own else "preset")
    whose = "" if own else f'preset "{spec.preset}", {base_url}: '
    url = parse_base_url(base_url)
    internal = why_internal(url)
    if url.scheme == "http":
        if not spec.allow_insecure:
            message = f"{whose}plain http would send prompts and keys in the clear"
            yield provider.finding("HG2008", path, message, "use https, or set allowInsecure: true")
        if spec.tls.model_fields_set:
            message = "has no effect with a plain http baseUrl"
            yield provider.finding("HG3013", ("spec", "tls"), message, "use https, or remove it", key=True)
    if internal is not None and not spec.allow_insecure:
        fix = "use a public host, or set allowInsecure: true if this is meant"
        yield provider.finding("HG2009", path, f"{whose}the host {internal}", fix)
    elif not url.is_canonical:
        message = f"{whose}the host is an IPv4 address in another notation, which Envoy would look up as a name"
        yield provider.finding("HG2006", path, message, f"write {url.address}")
    yield from check_egress(provider, url)


def _check_route(route: ModelRoute) -> Iterator[Finding]:
    spec = route.spec
    for g, group in enumerate(spec.plan):
        seen: set[str] = set()
        for t, target in enumerate(group.targets):
            if target.key in seen:
                message = f'target "{target.key}" is in this group twice'
                fix = "keep one of the two, with the sum of the weights"
                yield route.finding("HG2012", ("spec", "plan", g, "targets", t), message, fix)
            seen.add(target.key)
    groups, attempts = len(spec.plan), spec.retry.attempts
    used = {target.provider for group in spec.plan for target in group.targets}
    if len(used) == 1:
        message = f"all targets share provider {next(iter(used))}: one outage is user-visible"
        yield route.finding("HG3003", ("spec", "plan"), message, "add a group with another provider", key=True)
    at = ("spec", "retry", "attempts")
    if attempts > groups:
        message = f"{_count(attempts, 'attempt')}, but {_count(groups, 'group')}: the last group is tried again"
        yield route.finding("HG3007", at, message, f"write {groups}, or add a group")
    elif attempts < groups:
        message = f"{_count(attempts, 'attempt')}, but {_count(groups, 'group')}: the groups after number {attempts} never serve"
        yield route.finding("HG3012", at, message, f"write {groups}, or remove the groups")
    if spec.stickiness is not None and all(len(group.targets) == 1 for group in spec.plan):
        message = "has no effect: no group has two targets to choose from"
        fix = "put the targets that share the traffic into one group, or remove it"
        yield route.finding("HG3031", ("spec", "stickiness"), message, fix, key=True)
    yield from _check_timers(route)


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _check_timers(route: ModelRoute) -> Iterator[Finding]:
    spec, timers = route.spec, route.spec.timeouts
    if timers.idle_ms < spec.idle_floor_ms and "idle_ms" in timers.model_fields_set:  # the default is raised in silence
        message = (
            f"shorter than {spec.retry.attempts} x (connect {format_duration(timers.connect_ms)} + firstToken "
            f"{format_duration(timers.first_token_ms)} + backoff {format_duration(BACKOFF_MS)}), over which the idle timer runs on; "
            f"it is raised to {format_duration(spec.idle_floor_ms)}"
        )
        fix = f"write {format_duration(spec.idle_floor_ms)} or more, or lower firstToken"
        yield route.finding("HG3005", ("spec", "timeouts", "idle"), message, fix)
    if timers.connect_ms > timers.first_token_ms:
        message = "longer than firstToken: a host that does not answer holds a request longer than a slow one"
        yield route.finding("HG3009", ("spec", "timeouts", "connect"), message, "lower connect to a few seconds")
    needed_ms = spec.idle_floor_ms
    if timers.total_ms < needed_ms:
        message = (
            f"total {format_duration(timers.total_ms)} may end before the plan is tried: {_count(spec.retry.attempts, 'attempt')} can take "
            f"{format_duration(needed_ms)}"
        )
        fix = f"write at least {format_duration(needed_ms)}, or lower firstToken"
        yield route.finding("HG3010", ("spec", "timeouts", "total"), message, fix)
