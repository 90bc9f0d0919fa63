"""X6: what Envoy would refuse is found before any node sees it, told apart, and does not hold back the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control_plane.xds.preflight import Preflight, PreflightUnavailable
from control_plane.xds.resource import CDS, ECDS, EDS, LDS, RDS, SDS, SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from tests.live.xds.harness import (
    ADS,
    ControlPlane,
    Envoy,
    Vendor,
    address,
    ask,
    extension,
    listener,
    plan,
    preflight,
    provider,
    resource,
    schema,
    scope,
    scoped_routing,
    secret,
    target,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


def lua(code: str) -> dict[str, Any]:
    kind = "envoy.extensions.filters.http.lua.v3.Lua"
    return extension("envoy.filters.http.lua", kind, default_source_code={"inline_string": code})


def routes(name: str, *matches: dict[str, Any], domains: tuple[str, ...] = ("*",)) -> Resource:
    listed = [{"match": match, "route": {"cluster": "t:a"}} for match in matches]
    hosts = [{"name": f"v{i}", "domains": [domain], "routes": listed} for i, domain in enumerate(domains)]
    return resource(RDS, {"name": name, "virtual_hosts": hosts}, [(CDS, "t:a")])


def _host(name: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": name, "port_value": 1}}}}
    return {"cluster_name": "bad", "endpoints": [{"lb_endpoints": [endpoint]}]}


def _without_codec() -> Resource:
    good = target("bad", "p:a", stamped="1")
    value = schema().to_dict("envoy.config.cluster.v3.Cluster", good.body)
    options = value["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    options["http_filters"].pop()
    return resource(CDS, value, good.refs)


BAD: dict[str, Callable[[], Resource]] = {
    "weight 0": lambda: plan("bad", {"t:a": 0}),
    "no groups": lambda: plan("bad"),
    "broken regex": lambda: routes("bad", {"safe_regex": {"regex": "("}}),
    "two wildcard hosts": lambda: routes("bad", {"prefix": "/"}, domains=("*", "*")),
    "not an address": lambda: provider("bad", 1, load_assignment=_host("not-an-ip")),
    "negative timeout": lambda: provider("bad", 1, connect_timeout="-1s"),
    "broken Lua": lambda: target("bad", "p:a", filters=[lua("function (")]),
    "no upstream codec": _without_codec,
    "listener without address": lambda: resource(LDS, {"name": "bad", "filter_chains": []}),
    "scope without key": lambda: resource(SRDS, {"name": "bad", "route_configuration_name": "m"}, [(RDS, "m")]),
    "endpoint that is a name": lambda: resource(EDS, _host("not-an-ip") | {"cluster_name": "bad"}, name="bad"),
    "filter config": lambda: resource(ECDS, lua("function (") | {"name": "bad"}),
}


def good(port: int, weight: int = 1) -> list[Resource]:
    out = [listener(scoped_routing(), [(SRDS, "m")]), scope("m"), provider("p:a", port), target("t:a", "p:a"), plan("m", {"t:a": weight})]
    out += [resource(CDS, {"name": f"c{i}", "connect_timeout": "1s"}) for i in range(20)]
    return [*out, *(routes(f"r{i}", {"prefix": f"/{i}"}) for i in range(20))]


@pytest.mark.parametrize("what", list(BAD))
async def test_x6_each_known_mutation_is_told_apart(folder: Path, what: str) -> None:
    check = preflight(folder)
    bad = BAD[what]()
    everything = good(1)
    rejection = await check([*everything[:20], bad, *everything[20:]])
    assert rejection is not None
    ((culprit, text),) = rejection.culprits
    assert culprit == bad.key
    assert text
    assert str(folder) not in text
    assert await check(everything) is None


async def test_x6_several_culprits_are_all_found(folder: Path) -> None:
    bad = [routes(f"bad{i}", {"safe_regex": {"regex": "("}}) for i in range(3)]
    everything = good(1)
    rejection = await preflight(folder)([bad[0], *everything[:12], bad[1], *everything[12:], bad[2]])
    assert rejection is not None
    assert {key for key, _ in rejection.culprits} == {r.key for r in bad}


async def test_x6_everything_that_the_gateway_uses_passes(folder: Path) -> None:
    """Secrets over ADS crash Envoy when they stand in a bootstrap: not in validate mode."""
    everything = [
        *good(1),
        target("with-secret", "p:a", secret="key"),
        resource(CDS, {"name": "by-eds", "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, "connect_timeout": "1s"}),
        resource(EDS, {"cluster_name": "by-eds", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(1)}}]}]}, name="by-eds"),
        secret("key", "sk-canary"),
        resource(ECDS, lua("function envoy_on_request(h) end") | {"name": "extra"}),
        *(scope(f"s{i}", "m") for i in range(5)),
    ]
    assert await preflight(folder)(everything) is None
    assert await preflight(folder)([r for r in everything if r.type_url == SDS]) is None


async def test_x6_an_envoy_that_cannot_be_asked_is_not_a_rejection(folder: Path) -> None:
    with pytest.raises(PreflightUnavailable, match="cannot start"):
        await Preflight(folder / "nowhere")(good(1))
    slow = folder / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 5\n")
    slow.chmod(0o755)
    with pytest.raises(PreflightUnavailable, match=r"within 0\.2 s"):
        await Preflight(slow, timeout_s=0.2)(good(1))
    crash = folder / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    rejection = await Preflight(crash)(good(1)[:1])
    assert rejection is not None
    assert "crashed" in rejection.text


async def test_x6_the_fleet_never_sees_a_bad_route(folder: Path) -> None:
    async with Vendor("a") as a, ControlPlane(folder, validate=preflight(folder)) as plane:
        await plane.publish(good(a.port))
        async with Envoy(folder, plane.socket) as envoy:
            port = await envoy.ready()
            for what in ("weight 0", "not an address", "broken Lua"):
                bad = BAD[what]()
                wanted = [*good(a.port, weight=len(what)), bad]
                if bad.type_url == RDS:
                    wanted.append(scope("bad"))
                outcome = await plane.publisher.submit(Snapshot.of(wanted), reason="specs", urgent=True)
                assert outcome.accepted
                assert [problem.resource for problem in outcome.problems] == [bad.key]
                assert await plane.publisher.converged(5)
                assert plane.publisher.live.of_type(RDS)["m"].version == plan("m", {"t:a": len(what)}).version
                assert (await ask(port)).status == 200
            assert not plane.nodes.nacks
