"""Gemini's embeddings (https://ai.google.dev/api/embeddings): embedContent for one content, batchEmbedContents for several.

The model stands in the path, and again in each request of a batch. Vertex AI has the settings in `embedContentConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects import quirks
from control_plane.dialects.api import Call, ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Unfit, Usage
from control_plane.dialects.document_reader import count
from control_plane.dialects.embeddings.answer import EmbeddingsReader, EmbeddingsWriter
from control_plane.dialects.embeddings.canon import EmbedRequest, Purpose
from control_plane.dialects.gemini_generate_content.names import camel, inner, items
from control_plane.dialects.model_path import filled
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ProviderProtocolError

NAME: Final = "gemini-generate-content"
TEXTS_LIMIT: Final = 100
"""Contents of one request."""

_TASKS: Final[Mapping[Purpose, str]] = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "similarity": "SEMANTIC_SIMILARITY",
    "question": "QUESTION_ANSWERING",
    "fact": "FACT_VERIFICATION",
    "code_query": "CODE_RETRIEVAL_QUERY",
}
_PURPOSES: Final = {task: purpose for purpose, task in _TASKS.items()}
_UNSAID: Final = "TASK_TYPE_UNSPECIFIED"
_MAPPED: Final = frozenset(("model", "content", "taskType", "outputDimensionality", "embedContentConfig"))
_CONFIG: Final = frozenset(("taskType", "outputDimensionality", "autoTruncate"))
_CONTENT: Final = frozenset(("parts", "role"))
_ONE, _MANY = ":embedContent", ":batchEmbedContents"  # a preset names the method for one text, which clients call untranslated
_encode: Final = msgspec.json.Encoder().encode


class _Asked(msgspec.Struct, frozen=True):
    """One text of a request with its settings; `path` is where the client wrote it."""

    text: str
    path: str
    task: str | None
    dimensions: int | None
    truncate: bool | None

    @property
    def settings(self) -> tuple[str | None, int | None, bool | None]:
        return self.task, self.dimensions, self.truncate


def read_request(body: bytes, call: Call | None) -> EmbedRequest:
    """A request for one content, or a batch: whose `requests` the body has. Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    top = camel(raw, "")
    features: list[str] = []
    unmapped: list[str] = []
    if "requests" in top:
        unmapped += j.unknown_fields(top, frozenset(("requests",)), "")
        given = items(top, "requests", "")
        if not given:
            j.reject("requests", "must not be empty")
        asked = [_asked(camel(item, f"requests.{i}"), f"requests.{i}", unmapped, features) for i, item in enumerate(given)]
    else:
        asked = [_asked(top, "", unmapped, features)]
    first = asked[0]
    # For other vendors, the vectors of one request are all of one kind.
    features += [item.path for item in asked if item.settings != first.settings]
    purpose = _PURPOSES.get(first.task or "")
    if purpose is None and first.task not in (None, _UNSAID):
        features.append(j.at(first.path, "taskType"))
    return EmbedRequest(
        dialect=NAME,
        model="" if call is None else call.model,
        messages=(),
        texts=tuple(item.text for item in asked),
        dimensions=first.dimensions,
        purpose=purpose,
        truncate=first.truncate,
        batch="requests" in top,
        field=f"{first.path}.content" if first.path and len(asked) == 1 else "requests" if first.path else "content",
        unmapped=tuple(unmapped),
        features=tuple(features),
        raw=raw,
        names={
            "input": "requests" if first.path else "content",
            "dimensions": j.at(first.path, "outputDimensionality"),
            "input_type": j.at(first.path, "taskType"),
            "truncate": j.at(first.path, "embedContentConfig.autoTruncate"),
        },
    )


def _asked(item: j.Object, path: str, unmapped: list[str], features: list[str]) -> _Asked:
    config: j.Object = inner(item, "embedContentConfig", path) or {}
    unmapped += j.unknown_fields(item, _MAPPED, path)
    unmapped += j.unknown_fields(config, _CONFIG, j.at(path, "embedContentConfig"))
    place = j.at(path, "content")
    content = inner(item, "content", path)
    if content is None:
        j.reject(place, "is required", "missing_field")
    unmapped += j.unknown_fields(content, _CONTENT, place)
    texts = []
    for index, given in enumerate(items(content, "parts", place)):
        part = camel(given, f"{place}.parts.{index}")
        if "text" in part:
            texts.append(j.required_string(part, "text", f"{place}.parts.{index}"))
        if part.keys() - {"text"}:
            features.append(f"{place}.parts.{index}")
    if not texts and not features:
        j.reject(f"{place}.parts", "holds no text")
    settings: j.Object = {**config, **{name: item[name] for name in ("taskType", "outputDimensionality") if name in item}}
    return _Asked(
        text="\n".join(texts),
        path=path,
        task=j.string(settings, "taskType", path),
        dimensions=j.integer(settings, "outputDimensionality", path),
        truncate=j.boolean(config, "autoTruncate", j.at(path, "embedContentConfig")),
    )


def write_request(request: EmbedRequest, target: TargetFacts) -> ProviderRequest:
    """Always a batch. Raises Unfit when a feature cannot be expressed in this dialect."""
    own = request.raw if request.dialect == NAME else None
    dropped = list(request.lost_to(NAME)) if own is None else []
    if request.tokens:
        raise Unfit(request.field, f"{NAME} embeds texts only, not numbers of another vendor's tokens")
    if request.count > TEXTS_LIMIT:
        raise Unfit(request.field, f"{NAME} embeds {TEXTS_LIMIT} texts at once at most")
    model = f"models/{target.model.removeprefix('models/')}"
    if own is not None:
        body = _own(own, model)
    else:
        common: dict[str, Any] = {"model": model}
        if request.purpose is not None:
            common["taskType"] = _TASKS[request.purpose]
        if request.dimensions is not None:
            common["outputDimensionality"] = request.dimensions
        if request.truncate is not None:
            dropped.append("truncate")
        if request.user is not None:
            dropped.append("user")
        body = {"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in request.texts]}
    dropped.extend(quirks.apply(body, target.options))
    path = filled(target.path, target.model.removeprefix("models/"))
    if path.endswith(_ONE):
        path = path.removesuffix(_ONE) + _MANY
    return ProviderRequest(body=_encode(body), path=path, dropped=quirks.unique(dropped))


def _own(raw: Mapping[str, object], model: str) -> dict[str, Any]:
    """The client's own body as a batch, each request with the target's name of the model."""
    if "requests" not in raw:
        return {"requests": [{**raw, "model": model}]}
    return {**raw, "requests": [{**j.as_obj(item, "requests"), "model": model} for item in items(dict(raw), "requests", "")]}


class _Embedding(msgspec.Struct):
    values: msgspec.Raw


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: int | float | None = None


class _Answer(msgspec.Struct, rename="camel"):
    embeddings: list[_Embedding] | None = None
    usage_metadata: _Counts | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(EmbeddingsReader):
    def _vectors(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if answer.embeddings is None:
            raise ProviderProtocolError("the answer has no embeddings")
        counts = answer.usage_metadata or _Counts()
        return Start(), [Vector.of(bytes(item.values)) for item in answer.embeddings], Usage(input=count(counts.prompt_token_count))


class AnswerWriter(EmbeddingsWriter):
    def _document(self) -> bytes:
        made = [{"values": msgspec.Raw(vector.as_json())} for vector in self._vectors]
        document: dict[str, Any] = {"embeddings": made} if self._request.batch else {"embedding": made[0]}
        if self._usage.input is not None:
            document["usageMetadata"] = {"promptTokenCount": self._usage.input}
        return _encode(document)
