"""Our trimmed protos, and what is encoded by hand, against the schema inside the Envoy binary."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto

import control_plane.pb
from control_plane.xds.delta import DeltaStream
from control_plane.xds.envoy_schema import EnvoySchema
from control_plane.xds.preflight import bootstrap
from control_plane.xds.resource import CDS, ECDS, EDS, LDS, RDS, SDS, SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.sotw import SotwStream

TWINS = {"headgate.rpc.Status": "google.rpc.Status"}
"""Ours → Envoy's, where the real name would clash with another package of the same process."""
AS_BYTES = {("envoy.data.accesslog.v3.AccessLogCommon.CustomTagsEntry", "value")}
"""Strings of Envoy's that ours reads as bytes (the same on the wire), since they hold what clients send and may not be UTF-8."""
FIELD = FieldDescriptorProto


@cache
def schema() -> EnvoySchema:
    return EnvoySchema()


def walk(prefix: str, message: DescriptorProto) -> Iterator[tuple[str, DescriptorProto | EnumDescriptorProto]]:
    name = f"{prefix}.{message.name}"
    yield name, message
    for enum in message.enum_type:
        yield f"{name}.{enum.name}", enum
    for nested in message.nested_type:
        yield from walk(name, nested)


@cache
def envoys() -> dict[str, DescriptorProto | EnumDescriptorProto]:
    """Every message and enum of the binary by full name."""
    found: dict[str, DescriptorProto | EnumDescriptorProto] = {}
    for file in schema().files.values():
        for message in file.message_type:
            found.update(walk(file.package, message))
        found.update({f"{file.package}.{enum.name}": enum for enum in file.enum_type})
    return found


def ours() -> Iterator[tuple[str, str, DescriptorProto | EnumDescriptorProto]]:
    """(module, full name, descriptor) of everything in control_plane.pb that claims to be Envoy's."""
    for module in pkgutil.iter_modules(control_plane.pb.__path__):
        if not module.name.endswith("_pb2"):
            continue
        file = FileDescriptorProto()
        importlib.import_module(f"control_plane.pb.{module.name}").DESCRIPTOR.CopyToProto(file)
        everything: dict[str, DescriptorProto | EnumDescriptorProto] = {f"{file.package}.{enum.name}": enum for enum in file.enum_type}
        for message in file.message_type:
            everything.update(walk(file.package, message))
        for name, descriptor in everything.items():
            if name.startswith(("envoy.", "google.rpc")) or name in TWINS:
                yield module.name, TWINS.get(name, name), descriptor


OURS = list(ours())


def type_of(field: FieldDescriptorProto) -> str:
    name = field.type_name.lstrip(".")
    return TWINS.get(name, name) or FIELD.Type.Name(field.type)


def compare_message(name: str, mine: DescriptorProto, theirs: DescriptorProto) -> list[str]:
    real = {field.name: field for field in theirs.field}
    problems = []
    for field in mine.field:
        other = real.get(field.name)
        if other is None:
            problems.append(f"{field.name}: Envoy has no such field")
            continue
        for what, one, two in (
            ("number", field.number, other.number),
            ("type", type_of(field), "TYPE_BYTES" if (name, field.name) in AS_BYTES else type_of(other)),
            ("label", FIELD.Label.Name(field.label), FIELD.Label.Name(other.label)),
        ):
            if one != two:
                problems.append(f"{field.name}: {what} is {one}, Envoy's is {two}")
    return problems


def compare_enum(mine: EnumDescriptorProto, theirs: EnumDescriptorProto) -> list[str]:
    real = {value.name: value.number for value in theirs.value}
    return [f"{v.name} = {v.number}, Envoy's is {real.get(v.name)}" for v in mine.value if real.get(v.name) != v.number]


@pytest.mark.parametrize(("module", "name", "mine"), OURS, ids=[f"{module}:{name.rpartition('.')[2]}" for module, name, _ in OURS])
def test_a_trimmed_message_has_envoys_names_numbers_and_types(module: str, name: str, mine: Any) -> None:
    theirs = envoys().get(name)
    assert theirs is not None, f"Envoy has no {name}"
    problems = compare_message(name, mine, theirs) if isinstance(theirs, DescriptorProto) else compare_enum(mine, theirs)
    assert not problems, f"{module}: {name}: {problems}"


def test_there_is_something_to_compare() -> None:
    names = {name for _, name, _ in OURS}
    assert {"envoy.service.discovery.v3.DeltaDiscoveryRequest", "envoy.config.core.v3.Node", "google.rpc.Status"} <= names


def test_the_comparison_finds_differences() -> None:
    mine = DescriptorProto(name="Node")
    mine.field.add(name="id", number=2, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    mine.field.add(name="cluster", number=2, type=FIELD.TYPE_BYTES, label=FIELD.LABEL_REPEATED)
    mine.field.add(name="nonsense", number=9, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    theirs = envoys()["envoy.config.core.v3.Node"]
    assert isinstance(theirs, DescriptorProto)
    assert len(compare_message("Node", mine, theirs)) == 4


# ---------------------------------------------------------------------------------------------- encoded by hand
SAMPLES: dict[str, dict[str, Any]] = {
    CDS: {"name": "cluster", "connect_timeout": "1s"},
    EDS: {"cluster_name": "endpoints"},
    LDS: {"name": "listener", "stat_prefix": "x"},
    RDS: {"name": "routes", "virtual_hosts": [{"name": "v", "domains": ["*"]}], "validate_clusters": True},
    SRDS: {"name": "scope", "route_configuration_name": "routes", "key": {"fragments": [{"string_key": "m"}]}},
    SDS: {"name": "secret", "generic_secret": {"secret": {"inline_string": "sk-canary"}}},
    ECDS: {
        "name": "extension",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "start_child_span": True},
    },
}


def samples() -> list[Resource]:
    return [
        Resource(kind, str(value.get("name", "endpoints")), schema().from_dict(kind.rpartition("/")[2], value))
        for kind, value in SAMPLES.items()
    ]


@pytest.mark.parametrize("type_url", list(SAMPLES))
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_a_response_reads_as_envoys_own_message(type_url: str, delta: bool) -> None:
    full_name = f"envoy.service.discovery.v3.{'DeltaDiscoveryResponse' if delta else 'DiscoveryResponse'}"
    snapshot = Snapshot.of(samples(), number=3)
    (resource,) = snapshot.of_type(type_url).values()
    stream = DeltaStream() if delta else SotwStream()
    stream.offer(snapshot)
    request: Any = schema().message(f"envoy.service.discovery.v3.{'DeltaDiscoveryRequest' if delta else 'DiscoveryRequest'}")()
    request.type_url = type_url
    getattr(request, "resource_names_subscribe" if delta else "resource_names").append(resource.name)
    stream.on_request(request, 0.0)
    push = stream.next_push(0.0)
    assert push is not None
    said = schema().to_dict(full_name, push.payload)
    (item,) = said["resources"]
    body = item["resource"] if delta else item
    assert body.pop("@type") == type_url
    assert body == SAMPLES[type_url]
    assert (said["type_url"], said["nonce"]) == (type_url, "1")
    if delta:
        assert (item["name"], item["version"], said["system_version_info"]) == (resource.name, resource.version, snapshot.version)
        stream.offer(Snapshot.of([r for r in snapshot if r.type_url != type_url], number=4))
        stream.on_request(_ack(type_url), 0.0)
        removal = stream.next_push(0.0)
        if type_url == SDS:
            assert removal is None
        else:
            assert removal is not None
            assert schema().to_dict(full_name, removal.payload)["removed_resources"] == [resource.name]


def _ack(type_url: str) -> Any:
    request: Any = schema().message("envoy.service.discovery.v3.DeltaDiscoveryRequest")()
    request.type_url, request.response_nonce = type_url, "1"
    return request


def test_the_preflight_bootstrap_reads_as_envoys_own_message() -> None:
    said = schema().to_dict("envoy.config.bootstrap.v3.Bootstrap", bootstrap(samples()))
    static = said["static_resources"]
    assert said["node"] == {"id": "preflight", "cluster": "preflight"}
    assert static["clusters"][0] == SAMPLES[CDS]
    assert static["clusters"][1]["load_assignment"] == SAMPLES[EDS]
    assert "secrets" not in static
    assert "sk-canary" not in str(said)
    listeners = {each["name"]: each for each in static["listeners"]}
    assert listeners.pop("listener") == SAMPLES[LDS]
    managers = [each["filter_chains"][0]["filters"][0]["typed_config"] for each in listeners.values()]
    routes, filters, scopes = managers
    assert routes["route_config"] == {**SAMPLES[RDS], "validate_clusters": False}
    assert filters["http_filters"][0] == {"name": "extension", "typed_config": SAMPLES[ECDS]["typed_config"]}
    (scope,) = scopes["scoped_routes"]["scoped_route_configurations_list"]["scoped_route_configurations"]
    assert scope["key"] == SAMPLES[SRDS]["key"]
    assert "route_configuration_name" not in scope
    for manager in managers:
        assert manager["http_filters"][-1]["name"] == "envoy.filters.http.router"
    addresses = [each["address"]["socket_address"]["address"] for each in listeners.values()]
    assert len(set(addresses)) == len(addresses)
