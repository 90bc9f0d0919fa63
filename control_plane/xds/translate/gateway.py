"""The whole translation: a Gateway in, every Envoy resource out. Each part is kept per IR node, so that a change of one
route renders one route configuration."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.model import Gateway, Lane
from control_plane.kit.uncollected import uncollected
from control_plane.xds.resource import Resource
from control_plane.xds.translate.edge import default_table
from control_plane.xds.translate.filters.faults import fault_rules
from control_plane.xds.translate.listener import inner_listener, listener
from control_plane.xds.translate.model_lists import LISTED
from control_plane.xds.translate.names import DEFAULT_SCOPE, NO_MODEL
from control_plane.xds.translate.providers import provider_clusters
from control_plane.xds.translate.resumer import resumer_cluster
from control_plane.xds.translate.routes import route, scope_of, scopes
from control_plane.xds.translate.secrets import secret_resources
from control_plane.xds.translate.settings import EdgeSettings
from control_plane.xds.translate.targets import target
from control_plane.xds.translate.translators import translator_cluster
from control_plane.xds.translate.tunnel import proxy

DEFAULT_MAX_REQUEST_BYTES = 32 << 20


@uncollected
def translate(gateway: Gateway, secrets: Mapping[str, Secret | SigningKeys], settings: EdgeSettings) -> list[Resource]:
    """All resources of the gateway. `secrets` maps the names of secrets (see `secrets.secret_resources`) to their values."""
    providers = {p.name: p for p in gateway.providers}
    uses = gateway.uses()
    found = [translator_cluster(settings.translators)]
    found += [provider_clusters(providers[name], ms) for name, ms in sorted({(u.provider, u.connect_ms) for u in uses})]
    found += [target(use, providers[use.provider]) for use in uses]
    native = {u.provider for u in uses if u.lane is Lane.PASSTHROUGH}
    found += {rules.key: rules for name in sorted(native) for rules in [fault_rules(providers[name])]}.values()
    used = [providers[name] for name in sorted({u.provider for u in uses})]
    found += [proxy(p.name, p.egress) for p in used if p.egress.proxy]
    found += secret_resources(used, secrets)
    found.append(listener(settings))
    if any(route.resumes for route in gateway.routes):
        found += [resumer_cluster(settings.resumers), inner_listener(settings)]
    found.append(scope_of(NO_MODEL, DEFAULT_SCOPE, DEFAULT_SCOPE))
    largest = max((r.max_request_bytes for r in gateway.routes), default=DEFAULT_MAX_REQUEST_BYTES)
    found.append(default_table(gateway.models(), largest, *(gateway.models_of(*dialects) for dialects in LISTED)))
    for node in gateway.routes:
        found.append(route(node))
        found += scopes(node)
    return found
