"""The bootstrap an Envoy starts with: who it is, where its control plane is, and nothing that can change at run time."""

from __future__ import annotations

import json
from typing import Any, Final

from control_plane.kit.data_files import data_file

MIN_HEAP_BYTES: Final = 256 << 20
"""Envoy with a thousand targets holds 120 to 250 MiB; a lower limit would refuse requests before there is any."""


def address(text: str) -> dict[str, Any]:
    """An Envoy address from "/path/to/socket" or "host:port"."""
    if text.startswith("/"):
        return {"pipe": {"path": text, "mode": 0o600}}
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


_FAILS_AT_ONCE: Final = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 1,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "interval": "0.25s",
    "base_ejection_time": "0.25s",
    "max_ejection_time": "1s",
    "max_ejection_percent": 100,
}
"""A control plane whose socket refuses is passed over for a moment: the stand-in is asked, where one is."""


def bootstrap(*, node_id: str, cluster: str, control_plane: str, admin: str, max_heap_bytes: int, standby: str = "") -> str:
    """The bootstrap as JSON (never YAML: its reader takes unquoted `n` and `y` for booleans).

    `control_plane` is where ADS is served, `admin` where Envoy shall serve its own admin API; each is a socket path or
    host:port. A host name instead of an address makes the cluster a DNS cluster. At `max_heap_bytes` of heap Envoy resets the
    HTTP/2 streams that hold most and answers new requests with 503. `standby` is asked when nobody answers at `control_plane`.
    """
    config = json.loads(data_file("bootstrap.json").read_text(encoding="utf-8"))
    config["node"] = {"id": node_id, "cluster": cluster}
    config["admin"]["address"] = address(admin)
    config["overload_manager"]["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"] = max_heap_bytes
    upstream = config["static_resources"]["clusters"][0]
    upstream["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = address(control_plane)
    upstream["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"].get("pipe", {}).pop("mode", None)
    if not control_plane.startswith("/") and not control_plane.rpartition(":")[0].replace(".", "").isdigit():
        upstream["type"] = "STRICT_DNS"
    if standby:
        second = address(standby)
        second.get("pipe", {}).pop("mode", None)
        upstream["load_assignment"]["endpoints"].append({"priority": 1, "lb_endpoints": [{"endpoint": {"address": second}}]})
        upstream["outlier_detection"] = _FAILS_AT_ONCE
    return json.dumps(config, indent=1)
