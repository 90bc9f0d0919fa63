"""Where the parts that belong to a translator worker listen: beside it, by its name."""

from __future__ import annotations

from pathlib import PurePath


def resumer_socket(translator: str) -> str:
    """The resumer in the same process."""
    return str(PurePath(translator).with_suffix(".res"))


def inner_socket(translator: str) -> str:
    """Envoy's listener for what resumers send: one for all workers of a machine."""
    return str(PurePath(translator).with_name("resume.sock"))
