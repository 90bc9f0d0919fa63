"""What the admin API shows, read from the parts of the control plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from control_plane.admin.view import Row
from control_plane.app.breakers import Breakers
from control_plane.app.configure import Configurator
from control_plane.app.key_pools import KeyPools
from control_plane.app.sign_ins import SignIns
from control_plane.credentials.resolve import Missing, resolve_provider
from control_plane.ir.egress import in_force
from control_plane.ir.model import Route
from control_plane.signals.traffic import Traffic
from control_plane.spec.models import Provider
from control_plane.telemetry.metrics import Metrics
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.publisher import Publisher
from control_plane.xds.resource import label


class ControlPlaneView:
    """Implements admin.view.GatewayView; nothing here changes anything."""

    def __init__(
        self,
        *,
        configurator: Configurator,
        breakers: Breakers,
        sign_ins: SignIns,
        pools: KeyPools,
        publisher: Publisher,
        feed: Feed,
        nodes: NodeRegistry,
        traffic: Traffic,
        metrics: Metrics,
        part_rows: Callable[[], Sequence[Row]],
    ) -> None:
        self._sign_ins, self._pools, self._breakers = sign_ins, pools, breakers
        self._configurator, self._publisher, self._feed, self._nodes = configurator, publisher, feed, nodes
        self._traffic, self._metrics, self._part_rows = traffic, metrics, part_rows

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Ready once a configuration is served and an Envoy runs it."""
        reasons = []
        if self._feed.current is None:
            reasons.append("no configuration is served yet")
        elif not any(row.converged_number for row in self._nodes):
            reasons.append("no Envoy has taken the configuration yet")
        return not reasons, reasons

    def parts(self) -> Sequence[Row]:
        report = self._publisher.report()
        own: Row = {
            "part": "publisher",
            "up": True,
            "detail": "; ".join(p.text for p in report.problems) or f"{report.published} published",
            "from_disk": report.from_disk,
            "specs_stale": self._configurator.stale,
        }
        return [own, *self._part_rows()]

    def proxies(self) -> Sequence[Row]:
        return self._nodes.to_dict()

    def routes(self) -> Sequence[Row]:
        return [_route(route) for route in self._configurator.gateway.routes]

    def providers(self) -> Sequence[Row]:
        uses = self._configurator.gateway.uses()
        return [
            {
                "provider": p.name,
                "dialect": ", ".join(sorted({s.dialect for s in p.speaks})),
                "base_url": f"{'https' if p.tls else 'http'}://{p.host}:{p.port}",
                "targets": len({u.target for u in uses if u.provider == p.name}),
                "egress": in_force(p.egress),
            }
            for p in self._configurator.gateway.providers
        ]

    def credentials(self) -> Sequence[Row]:
        signed_in: dict[object, Row] = {row["provider"]: row for row in self._sign_ins.rows()}
        rows: list[Row] = []
        for provider in self._configurator.specs.providers if self._configurator.specs else ():
            if not provider.spec.credentials:
                continue
            row = signed_in.get(provider.name)
            rows += [row] if row is not None else self._pools.rows(provider.name) or [_key(provider)]
        return rows

    def targets(self) -> Sequence[Row]:
        windows = {row["target"]: row for row in self._traffic.targets()}
        planned: dict[str, set[str]] = {}
        for route in self._configurator.gateway.routes:
            for entry in route.entries:
                for group in entry.groups:
                    for choice in group:
                        planned.setdefault(choice.use.target, set()).add(route.name)
        names = sorted({*planned, *(str(name) for name in windows)})
        return [
            {"target": name, "routes": sorted(planned.get(name, ())), "breaker": self._breakers.row(name), **windows.get(name, {})}
            for name in names
        ]

    def findings(self) -> Sequence[Row]:
        return [finding.as_dict() for finding in (*self._configurator.findings, *self._sign_ins.findings())] + [
            {"severity": "error", "code": p.source, "message": p.text, "path": label(p.resource) if p.resource else ""}
            for p in self._publisher.report().problems
        ]

    def snapshot_version(self) -> str:
        return str(self._feed.current.number) if self._feed.current else ""

    def xds_dump(self, node: str | None) -> Sequence[Row] | None:
        rows = [row for row in self._nodes.dump() if node is None or row["node"] == node]
        return rows if rows or node is None else None

    def metrics_text(self) -> bytes:
        return self._metrics.text()


def _key(provider: Provider) -> Row:
    """A key by reference; it has no end that anybody knows."""
    key = resolve_provider(provider)
    missing = isinstance(key, Missing)
    return {
        "provider": provider.name,
        "source": key.source if key is not None else "",
        "state": "MISSING" if missing else "READY",
        "expires_at": None,
        "refreshed_at": None,
        "next_at": None,
        "error": key.reason if isinstance(key, Missing) else "",
    }


def _route(route: Route) -> Row:
    """The plan as operators wrote it, each target with its lane for every client dialect."""
    chat = [entry for entry in route.entries if entry.operation == "chat"]
    plan = []
    for group in range(len(chat[0].groups)) if chat else ():
        row = []
        for index, choice in enumerate(chat[0].groups[group]):
            lanes = {entry.dialect: entry.groups[group][index].use.lane.value for entry in chat}
            row.append({"target": choice.use.target, "weight": choice.weight, "lane": lanes})
        plan.append(row)
    return {"route": route.name, "models": list(route.models), "attempts": route.attempts, "timers": asdict(route.timers), "plan": plan}
