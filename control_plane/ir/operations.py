"""The operations clients can call: which path means which dialect and operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.dialects.model_path import streaming


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of call. `translated` says whether a target of another dialect can serve it through the translator.

    `path`: the exact path of clients, where the body names the model; None where only the path does.
    `templates`: paths that name the model (`path_template`). With a `path` beside them the model is written into the body, and
    the request goes on as one to `path`; without one the path of each provider names the model too.
    `streamed`: how a path ends that asks for a whole answer and one that asks for a stream, where the path decides.
    `served_by`: the operation that answers it at providers without it, where that has another name.
    `repeats_model`: the body names the model again, deep inside, where the edge filter does not reach.
    `form`: whether the body may be multipart/form-data, as uploads of files are, besides JSON.
    """

    dialect: str
    name: str
    path: str | None
    translated: bool
    templates: tuple[str, ...] = ()
    streamed: tuple[str, str] | None = None
    served_by: str = ""
    repeats_model: bool = False
    form: bool = False

    @property
    def elsewhere(self) -> str:
        """The operation that a provider of another dialect must have."""
        return self.served_by or self.name

    @property
    def by_path(self) -> bool:
        """Whether the model stands in the path, of clients and of providers, and not in the body."""
        return self.path is None

    @property
    def call_path(self) -> str:
        """The path of the request once the edge filter knows the model: what the routes of a model match."""
        return self.path or f"/headgate/{self.dialect}/{self.name}"

    @property
    def addresses(self) -> tuple[tuple[str, bool], ...]:
        """Every template with whether it asks for a stream."""
        found = [(template, False) for template in self.templates]
        if self.streamed is not None:
            found += [(streaming(template, self.streamed), True) for template in self.templates]
        return tuple(found)


def _openai(name: str, path: str, *, form: bool = False, azure: bool = True, served_by: str = "") -> Operation:
    """What OpenAI has beside chat; `azure`: Azure's clients have it under a deployment, too. `served_by`: as there, and translated."""
    templates = (f"/openai/deployments/{{model}}{path}",) if azure else ()
    return Operation("openai-chat", name, f"/v1{path}", translated=bool(served_by), templates=templates, form=form, served_by=served_by)


def _google(method: str) -> tuple[str, ...]:
    """The Gemini API's paths of a method, and Vertex AI's."""
    vertex = "projects/{project}/locations/{location}/publishers/google/models/{model}"
    return tuple(
        f"/{place}:{method}"
        for place in (
            *("v1beta/models/{model}", "v1/models/{model}", "v1beta/{model:tunedModels/}"),
            *(f"v1/{vertex}", f"v1beta1/{vertex}"),
        )
    )


OPERATIONS: Final = (
    Operation("openai-chat", "chat", "/v1/chat/completions", translated=True, templates=("/openai/deployments/{model}/chat/completions",)),
    Operation("openai-chat", "embeddings", "/v1/embeddings", translated=True, templates=("/openai/deployments/{model}/embeddings",)),
    _openai("completions", "/completions", served_by="fim"),
    _openai("fim", "/fim/completions", azure=False, served_by="completions"),
    _openai("image_generation", "/images/generations"),
    _openai("image_edits", "/images/edits", form=True),
    _openai("image_variations", "/images/variations", form=True, azure=False),
    _openai("speech", "/audio/speech"),
    _openai("transcriptions", "/audio/transcriptions", form=True),
    _openai("translations", "/audio/translations", form=True),
    _openai("moderations", "/moderations", azure=False),
    Operation("openai-responses", "chat", "/v1/responses", translated=True),
    Operation("openai-responses", "count_tokens", "/v1/responses/input_tokens", translated=True),
    Operation("anthropic-messages", "chat", "/v1/messages", translated=True),
    Operation(
        "anthropic-messages",
        "raw_predict",
        None,
        translated=True,
        templates=("/v1/projects/{project}/locations/{location}/publishers/anthropic/models/{model}:rawPredict",),
        streamed=(":rawPredict", ":streamRawPredict"),
        served_by="chat",
    ),
    Operation(
        "anthropic-messages",
        "invoke",
        None,
        translated=True,
        templates=("/model/{model}/invoke",),
        streamed=("/invoke", "/invoke-with-response-stream"),
        served_by="chat",
    ),
    Operation("openai-chat", "rerank", "/v1/rerank", translated=True),
    Operation("cohere-chat", "chat", "/v2/chat", translated=True),
    Operation("cohere-chat", "embeddings", "/v2/embed", translated=True),
    Operation("cohere-chat", "rerank", "/v2/rerank", translated=True),
    Operation("anthropic-messages", "count_tokens", "/v1/messages/count_tokens", translated=True),
    Operation(
        "gemini-generate-content",
        "chat",
        None,
        translated=True,
        templates=_google("generateContent"),
        streamed=(":generateContent", ":streamGenerateContent"),
    ),
    Operation("gemini-generate-content", "count_tokens", None, translated=True, templates=_google("countTokens")),
    Operation("gemini-generate-content", "embeddings", None, translated=True, templates=_google("embedContent")),
    Operation(
        "gemini-generate-content",
        "batch_embeddings",
        None,
        translated=True,
        templates=_google("batchEmbedContents"),
        served_by="embeddings",
        repeats_model=True,
    ),
    Operation(
        "bedrock-converse",
        "chat",
        None,
        translated=True,
        templates=("/model/{model}/converse",),
        streamed=("/converse", "/converse-stream"),
    ),
    Operation("bedrock-converse", "count_tokens", None, translated=True, templates=("/model/{model}/count-tokens",)),
)
"""In the order in which paths are matched, exact ones first. All are POST; `GET /v1/models` is answered from the configuration itself.
Dialects that so far only providers speak have no operation here, and routes cannot name them (HG1018)."""

STREAMED_TEXT: Final = frozenset({"chat", "completions", "fim"})
"""Operations whose streams say text bit by bit, so that an error may come before the first of it (the first-event hold)."""

OWN_THINKING_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic-messages": ("anthropic-messages", "anthropic-vertex", "anthropic-bedrock"),
    "openai-responses": ("openai-responses",),
    "gemini-generate-content": ("gemini-generate-content",),
    "bedrock-converse": ("bedrock-converse",),
}
"""Dialects whose vendor refuses a replayed conversation with thinking that it did not sign, and the dialects in which it signs."""


def operations_of(dialect: str) -> tuple[Operation, ...]:
    """The operations a client of that dialect can call."""
    return tuple(o for o in OPERATIONS if o.dialect == dialect)
