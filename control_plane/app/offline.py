"""Specs → IR and Envoy resources as plain data, without a running gateway and without secrets."""

from __future__ import annotations

from typing import Any

from control_plane.ir.build import build
from control_plane.ir.show import plain
from control_plane.spec.models import SpecSet
from control_plane.xds.envoy_schema import EnvoySchema
from control_plane.xds.resource import SDS, short
from control_plane.xds.translate.gateway import translate
from control_plane.xds.translate.settings import EdgeSettings


def ir_of(specs: SpecSet) -> object:
    """The IR as dicts and lists."""
    return plain(build(specs))


def xds_of(specs: SpecSet, listen: tuple[str, int]) -> dict[str, Any]:
    """Every resource by type (CDS, …) and name, in protobuf's JSON form, decoded with the schema inside the Envoy binary."""
    settings = EdgeSettings(listen=listen, translators=("/run/headgate/translator-0.sock",), journal="/var/log/headgate/journal.log")
    schema = EnvoySchema()
    out: dict[str, Any] = {}
    for resource in translate(build(specs), {}, settings):
        if resource.secret:
            what = "genericSecret" if resource.type_url == SDS else "typedConfig"
            body: Any = {"name": resource.name, what: "[redacted]"}
        else:
            body = schema.to_dict(resource.type_url.rpartition("/")[2], resource.body)
        out.setdefault(short(resource.type_url), {})[resource.name] = body
    return {kind: dict(sorted(found.items())) for kind, found in sorted(out.items())}
