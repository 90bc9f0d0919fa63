"""Paths of providers that name the model in the path: `{model}` or `{base_model}` in a preset's path, filled in."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

PLACE: Final = "{model}"
BASE_PLACE: Final = "{base_model}"
_PROFILE: Final = re.compile(r"^(?:[a-z]{2,6}|us-gov)\.(?=[a-z0-9-]+\.)")
"""What an id of Bedrock's has in front where it names an inference profile across regions: us., eu., apac., global."""

COLLECTIONS: Final = {
    "models/": ("models/",),
    "tunedModels/": ("models/",),
    "endpoints/": ("publishers/google/models/",),
    "publishers/": ("publishers/google/models/",),
}
"""Google's resource names: an upstream model that begins so names its collection itself, which takes the place of the path's own."""


def filled(path: str, model: str) -> str:
    """`path` with the model in it, percent-encoded; "tunedModels/x" in "/models/{model}:generateContent" is "/tunedModels/x:…".

    "{base_model}" is the model behind an inference profile of Bedrock's, whose token counting knows only models.
    """
    path = path.replace(BASE_PLACE, quote(_PROFILE.sub("", model), safe=""))
    if PLACE not in path:
        return path
    for collection, replaced in COLLECTIONS.items():
        if model.startswith(collection):
            for usual in replaced:
                if f"/{usual}{PLACE}" in path:
                    return path.replace(f"{usual}{PLACE}", quote(model))
    return path.replace(PLACE, quote(model, safe="@"))  # Vertex AI's clients write versions plainly


def streaming(path: str, methods: tuple[str, str]) -> str:
    """`path` as a stream is asked for: its end, which is the first of `methods`, replaced by the second."""
    whole, stream = methods
    return path.removesuffix(whole) + stream if path.endswith(whole) else path
