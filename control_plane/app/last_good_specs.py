"""The last specs that were put into force, kept beside the last known good configuration.

A control plane that starts while the spec files are broken goes on with these: the configuration alone would not do, since
secrets are never persisted, only the references to them in the specs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from control_plane.kit.atomic_file import write_atomic
from control_plane.spec.credential import absolute
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

    def resolve(path: str) -> str:
        return str(document.resolve_path(path).absolute())

    for credential in spec.get("credentials", ()):
        absolute(credential, resolve)
    for part in ("tls", "egress"):
        absolute(spec.get(part, {}), resolve)
    return plain
