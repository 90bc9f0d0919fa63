"""The last specs that were put into force, kept beside the last known good configuration.

A control plane that starts while the spec files are broken goes on with these: the configuration alone would not do, since
secrets are never persisted, only the references to them in the specs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from control_plane.kit.atomic_file import write_atomic
from control_plane.spec.load import Loaded, load
from control_plane.spec.models import Document, SpecSet

NAME = "last-good-specs.yaml"


def save(state: Path, specs: SpecSet) -> None:
    """Keep `specs`: one JSON document per YAML document, paths made absolute. Raises OSError."""
    documents = [json.dumps(_absolute(document)) for document in specs.documents()]
    write_atomic(state / NAME, "\n---\n".join(documents).encode() + b"\n")


def restore(state: Path) -> Loaded | None:
    """What was kept, or None."""
    path = state / NAME
    return load(path) if path.exists() else None


def _absolute(document: Document) -> dict[str, Any]:
    plain: dict[str, Any] = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    spec = plain["spec"]
    for credential in spec.get("credentials", ()):
        if file := credential["secretRef"].get("file"):
            credential["secretRef"]["file"] = str(document.resolve_path(file).absolute())
    tls = spec.get("tls", {})
    for name in ("caFile", "certFile", "keyFile"):
        if file := tls.get(name):
            tls[name] = str(document.resolve_path(file).absolute())
    proxy = spec.get("egress", {}).get("proxy", {})
    for holder, name in ((proxy, "caFile"), (proxy.get("credentials", {}).get("secretRef", {}), "file")):
        if file := holder.get(name):
            holder[name] = str(document.resolve_path(file).absolute())
    return plain
