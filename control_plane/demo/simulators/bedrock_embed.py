"""Embedding models behind Bedrock's InvokeModel: Titan's and Cohere's bodies, checked the way their servers do.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and model-parameters-embed.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from control_plane.demo.simulators import bedrock_errors as errors
from control_plane.demo.simulators.cohere_errors import Refused
from control_plane.demo.simulators.cohere_request import Embed
from control_plane.demo.simulators.reply import VendorError
from control_plane.demo.simulators.tokens import count
from control_plane.demo.simulators.vectors import vector

SIZES: Final = (256, 512, 1024)
_V1_SIZE: Final = 1536
_COHERE_FIELDS: Final = frozenset(("texts", "images", "inputs", "input_type", "truncate", "embedding_types"))


def embedded(model: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The answer's document, and the tokens read. Raises VendorError."""
    return _cohere(model, body) if "cohere.embed-" in model else _titan(model, body)


def _malformed(reason: str) -> VendorError:
    return errors.invalid(f"Malformed input request: {reason}, please reformat your input and try again.")


def _titan(model: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    newer = "-v2" in model
    for name in body.keys() - ({"inputText", "dimensions", "normalize", "embeddingTypes"} if newer else {"inputText"}):
        raise _malformed(f"#: extraneous key [{name}] is not permitted")
    text = body.get("inputText")
    if not isinstance(text, str) or not text:
        raise _malformed("expected minLength: 1, actual: 0")
    size = body.get("dimensions", SIZES[-1]) if newer else _V1_SIZE
    if newer and size not in SIZES:
        raise _malformed(f"#/dimensions: {size} is not a valid enum value")
    values, read = vector(text, size), count(text)
    document: dict[str, Any] = {"embedding": values, "inputTextTokenCount": read}
    if newer:
        kinds = body.get("embeddingTypes") or ["float"]
        given = {"float": values, "binary": [int(value > 0) for value in values]}
        document["embeddingsByType"] = {kind: given[kind] for kind in kinds}
        if "float" not in kinds:
            del document["embedding"]
    return document, read


def _cohere(model: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    newer = "embed-v4" in model
    for name in body.keys() - (_COHERE_FIELDS | {"output_dimension", "max_tokens"} if newer else _COHERE_FIELDS):
        raise _malformed(f"#: extraneous key [{name}] is not permitted")
    try:
        embed = Embed(body, strict=True)
    except Refused as error:
        raise errors.invalid(error.message) from None
    vectors = [vector(text, embed.size if newer else 1024) for text in embed.texts]
    named = body.get("embedding_types")
    document = {
        "id": f"sim-{len(embed.texts)}",
        "texts": embed.texts,
        "embeddings": {kind: vectors for kind in embed.kinds if kind == "float"} if named else vectors,
        "response_type": "embeddings_by_type" if named else "embeddings_floats",
    }
    return document, embed.tokens
