"""The canonical model: what every dialect reads its wire format into and writes it back from (N + M, never N × M).

All values are immutable. JSON that no dialect needs to understand (tool schemas, tool arguments, foreign parts) stays as
decoded JSON (`object`) or as JSON text. Two rules keep "nothing is silently lost":

* a request field without a place here is named, with its path, in `Request.unmapped` (a tuning knob: a writer of another
  dialect drops it and names it) or in `Request.features` (a feature: a writer of another dialect raises `Unfit`);
* `Request.raw` is the client's decoded body. A writer of the *same* dialect starts from it, so unknown fields survive
  untouched. To change a request, use `edited()`: it forgets `raw`, and keeps the top-level fields without a place in `extras`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import msgspec

from control_plane.dialects.failure_classes import RETRYABLE_ELSEWHERE
from control_plane.dialects.failure_classes import FailureClass as FailureClass
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ClientProtocolError, GatewayError

Role = Literal["system", "developer", "user", "assistant", "tool"]

# ------------------------------------------------------------------------------------------------------------- parts


class CacheMark(msgspec.Struct, frozen=True):
    """A prompt-cache breakpoint after the part that carries it. `ttl` as the vendor writes it ("5m", "1h"), None: its default."""

    ttl: str | None = None


class Text(msgspec.Struct, frozen=True):
    text: str
    cache: CacheMark | None = None


class Image(msgspec.Struct, frozen=True):
    """An image by exactly one of `data` (base64, with `media_type`), `url` or `file_id` (a file at vendor `origin`)."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None


class Document(msgspec.Struct, frozen=True):
    """A document by exactly one of `data` (base64, with `media_type`), `text` (plain), `url` or `file_id`."""

    media_type: str | None = None
    data: str | None = None
    text: str | None = None
    url: str | None = None
    file_id: str | None = None
    title: str | None = None
    context: str | None = None
    citations: bool = False
    cache: CacheMark | None = None


class Audio(msgspec.Struct, frozen=True):
    data: str
    format: str


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is JSON text exactly as sent; "" means none were sent. `signature`: a thought signature bound to the call.

    `freeform`: the client's tool takes text, which `dialects.freeform` has made the argument `input`.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    origin: str | None = None
    cache: CacheMark | None = None
    freeform: bool = False


class ToolResult(msgspec.Struct, frozen=True):
    call_id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False
    name: str | None = None
    cache: CacheMark | None = None


class Thinking(msgspec.Struct, frozen=True):
    """Reasoning text. `signature` may only be replayed to a provider of dialect `origin` (None: unsigned)."""

    text: str
    signature: str | None = None
    origin: str | None = None


class RedactedThinking(msgspec.Struct, frozen=True):
    """Encrypted reasoning, readable by providers of dialect `origin` only. `id` and `summary` as some vendors demand them back."""

    data: str
    origin: str
    id: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    text: str


class ForeignPart(msgspec.Struct, frozen=True):
    """A part only dialect `origin` understands (server tools, search results …). Others are `Unfit`; `path` names it."""

    origin: str
    path: str
    raw: Mapping[str, object]


Part = Text | Image | Document | Audio | ToolCall | ToolResult | Thinking | RedactedThinking | Refusal | ForeignPart


class Message(msgspec.Struct, frozen=True):
    """`path` is where the client wrote it ("messages.3"), so that an `Unfit` can name it."""

    role: Role
    parts: tuple[Part, ...]
    path: str = ""


# ----------------------------------------------------------------------------------------------------------- request


class Freeform(msgspec.Struct, frozen=True):
    """What a client said of a tool that takes free text: `syntax` ("lark", "regex") and `definition` of its grammar, None for any text."""

    description: str | None = None
    syntax: str | None = None
    definition: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A function tool. `schema`: the decoded JSON Schema of its arguments (None: the client sent none).

    `freeform`: the client's tool takes text; the other fields are what it is as a function (see `dialects.freeform`).
    """

    name: str
    description: str | None = None
    schema: Mapping[str, object] | None = None
    strict: bool | None = None
    cache: CacheMark | None = None
    freeform: Freeform | None = None


class ForeignTool(msgspec.Struct, frozen=True):
    """A tool only dialect `origin` understands (web search, computer use). Others are `Unfit`; `path` names it."""

    origin: str
    path: str
    raw: Mapping[str, object]


class ToolChoice(msgspec.Struct, frozen=True):
    """`named` forces the tool `name`; `required` forces any. `parallel` False: at most one call; None: not said."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    parallel: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    kind: Literal["text", "json", "json_schema"]
    schema: Mapping[str, object] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Sampling(msgspec.Struct, frozen=True):
    """Tuning knobs; None: not sent. `max_tokens` counts visible and reasoning output tokens together."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(msgspec.Struct, frozen=True):
    """How much to think. `effort` "none" or `enabled` False: not at all. `budget`: tokens. `adaptive`: the model decides."""

    enabled: bool | None = None
    effort: Effort | None = None
    budget: int | None = None
    adaptive: bool = False
    visible: bool | None = None

    @property
    def named_effort(self) -> Effort | None:
        """The effort, or the one that a budget in tokens comes to, for dialects that know efforts only."""
        if self.effort is not None or self.budget is None:
            return self.effort
        return "low" if self.budget <= 2048 else "medium" if self.budget <= 8192 else "high"


class Request(msgspec.Struct, frozen=True):
    """One chat request. `dialect`: the one it was read from. See the module's docstring for `unmapped`, `features`, `raw`.

    `names`: where the client's dialect calls a field otherwise than writers do, which say OpenAI chat's name: theirs to the client's.
    `framing`: how a streamed answer is sent, as server-sent events or as one JSON array that grows.
    `betas`: previews that the client turned on at its own dialect's vendor, beside the body.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    foreign_tools: tuple[ForeignTool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    sampling: Sampling = Sampling()
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: Mapping[str, str] = {}
    cache: CacheMark | None = None
    stream: bool = False
    include_usage: bool = False
    unmapped: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    raw: Mapping[str, object] | None = None
    extras: Mapping[str, object] = {}
    names: Mapping[str, str] = {}
    framing: Literal["sse", "array"] = "sse"
    betas: tuple[str, ...] = ()

    def named(self, path: str) -> str:
        """The client's own path of a field that a writer has named."""
        if path in (self.raw or ()):
            return path
        for name, own in self.names.items():
            if path == name or path.startswith(f"{name}."):
                return own + path[len(name) :]
        return path

    def edited(self, **changes: object) -> Request:
        """A changed copy. It no longer has `raw`, so every writer writes the changed meaning."""
        extras = dict(self.extras)
        if self.raw is not None:
            extras.update({name: self.raw[name] for name in (*self.unmapped, *self.features) if name in self.raw})
        return msgspec.structs.replace(self, raw=None, extras=extras, **changes)

    def lost_to(self, dialect: str) -> tuple[str, ...]:
        """Paths of what a writer of `dialect` must drop and name. Raises Unfit for a feature that it cannot carry."""
        if dialect == self.dialect:
            return tuple(path for path in self.unmapped if path not in self.extras)
        for path in (*self.features, *(tool.path for tool in self.foreign_tools)):
            raise Unfit(path, f"cannot be expressed in {dialect}")
        return self.unmapped


# ------------------------------------------------------------------------------------------------------------ answer


class Usage(msgspec.Struct, frozen=True):
    """Token counts; None: not reported, never invented. `input` is all input, with `cached` and `cache_write` inside it.

    `output` includes `reasoning`.
    """

    input: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None

    def updated(self, later: Usage) -> Usage:
        """What is known after `later` arrived: its values win where it has them (vendors report cumulative counts)."""
        return Usage(
            self.input if later.input is None else later.input,
            self.cached if later.cached is None else later.cached,
            self.cache_write if later.cache_write is None else later.cache_write,
            self.output if later.output is None else later.output,
            self.reasoning if later.reasoning is None else later.reasoning,
        )


StopReason = Literal["end", "max_tokens", "stop_sequence", "tool_use", "refusal", "content_filter", "pause", "context_window", "other"]


class Failure(msgspec.Struct, frozen=True):
    """An error in no dialect. `status`: the HTTP status a client gets. `code`: a stable word or the vendor's. `retry_after` seconds."""

    kind: FailureClass
    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None

    @property
    def retryable_elsewhere(self) -> bool:
        """Whether another target may well answer the same request."""
        return self.kind in RETRYABLE_ELSEWHERE

    @classmethod
    def of_client_error(cls, error: ClientProtocolError) -> Failure:
        return cls(kind="client_fault", status=error.status, message=error.message, code=error.code, param=error.param)


class Unfit(GatewayError):
    """The target cannot do a feature that the request asks for: try the next target, else answer 400 naming `field`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field
        self.message = message

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"

    @property
    def failure(self) -> Failure:
        return Failure(kind="client_fault", status=400, message=str(self), code="unsupported_feature", param=self.field)


# ------------------------------------------------------------------------------------------------------------ events
# `choice` counts from 0 and is above 0 only for requests with n > 1. `index` counts the tool calls of a choice from 0.
# Deltas are never empty. `is_content`: the client would see something of the answer, so that it can no longer be retried.


class Start(msgspec.Struct, frozen=True, gc=False):
    """The answer begins. `id` and `model` as the provider named them, `created` in Unix seconds."""

    is_content: ClassVar[bool] = False
    id: str | None = None
    model: str | None = None
    created: int | None = None


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    is_content: ClassVar[bool] = True
    text: str
    choice: int = 0


class PartBreak(msgspec.Struct, frozen=True, gc=False):
    """The next delta begins a new part although the last part was of the same kind (two text blocks in a row)."""

    is_content: ClassVar[bool] = False
    choice: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    is_content: ClassVar[bool] = True
    text: str
    choice: int = 0


class ReasoningSignature(msgspec.Struct, frozen=True, gc=False):
    """Signs the reasoning part just sent. Only providers of dialect `origin` accept it back."""

    is_content: ClassVar[bool] = True
    signature: str
    origin: str
    choice: int = 0


class RedactedReasoning(msgspec.Struct, frozen=True, gc=False):
    """Encrypted, so nobody has seen anything of the answer yet."""

    is_content: ClassVar[bool] = False
    data: str
    origin: str
    id: str | None = None
    choice: int = 0


class ToolCallStart(msgspec.Struct, frozen=True, gc=False):
    """`id` None: the provider gave none, the writer makes one. `freeform`: the vendor itself calls it a tool that takes text."""

    is_content: ClassVar[bool] = True
    index: int
    id: str | None
    name: str
    choice: int = 0
    signature: str | None = None
    origin: str | None = None
    freeform: bool = False


class ToolArgumentsDelta(msgspec.Struct, frozen=True, gc=False):
    """A fragment of the JSON text of the arguments; fragments of one `index` join to the whole text."""

    is_content: ClassVar[bool] = True
    index: int
    text: str
    choice: int = 0


class ToolCallEnd(msgspec.Struct, frozen=True, gc=False):
    """No more fragments for `index`. Sent by readers that know it; `Stop` ends all calls of the choice anyway."""

    is_content: ClassVar[bool] = False
    index: int
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, gc=False):
    is_content: ClassVar[bool] = True
    text: str
    choice: int = 0


class Citation(msgspec.Struct, frozen=True):
    """A source of the text just sent. `raw`: as dialect `origin` writes it. `start`, `end`: characters of the whole text."""

    is_content: ClassVar[bool] = True
    origin: str
    raw: Mapping[str, object]
    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    choice: int = 0


class Logprobs(msgspec.Struct, frozen=True):
    """Token log probabilities in the shape of OpenAI chat's `logprobs.content` and `logprobs.refusal` lists."""

    is_content: ClassVar[bool] = False
    content: tuple[object, ...] = ()
    refusal: tuple[object, ...] = ()
    choice: int = 0


class ForeignEvent(msgspec.Struct, frozen=True):
    """Something only dialect `origin` can express (server tool blocks, audio). Writers of other dialects leave it out: it can
    only appear when the request asked for a feature of that dialect, which is `Unfit` elsewhere."""

    is_content: ClassVar[bool] = True
    origin: str
    raw: Mapping[str, object]
    choice: int = 0


class Embedded(msgspec.Struct, frozen=True):
    """The vectors of an embeddings answer, one for each input, in their order."""

    is_content: ClassVar[bool] = True
    vectors: tuple[Vector, ...]


class Counted(msgspec.Struct, frozen=True, gc=False):
    """How many tokens the request has, where it was to be counted and not answered. No usage: nothing was used."""

    is_content: ClassVar[bool] = True
    tokens: int


class Rank(msgspec.Struct, frozen=True, gc=False):
    """The place of a document in the request, and its score as the JSON number that came."""

    index: int
    score: bytes


class Ranked(msgspec.Struct, frozen=True):
    """The documents of a rerank answer, best first."""

    is_content: ClassVar[bool] = True
    ranks: tuple[Rank, ...]


class UsageUpdate(msgspec.Struct, frozen=True, gc=False):
    """Counts known so far, cumulative; merge with `Usage.updated`."""

    is_content: ClassVar[bool] = False
    usage: Usage


class Stop(msgspec.Struct, frozen=True):
    """Why a choice ended. An answer may be empty, so this is content too. `native`: the provider's own word, `detail` its own object."""

    is_content: ClassVar[bool] = True
    reason: StopReason
    native: str | None = None
    sequence: str | None = None
    choice: int = 0
    detail: Mapping[str, object] | None = None


class End(msgspec.Struct, frozen=True, gc=False):
    """The provider's terminal event was seen: the answer is complete."""

    is_content: ClassVar[bool] = False


class InStreamError(msgspec.Struct, frozen=True):
    """The provider reported an error inside a 200 answer. Nothing follows. `error`: as the provider wrote it, for `error_rules`."""

    is_content: ClassVar[bool] = False
    failure: Failure
    error: object = None

    def __repr__(self) -> str:  # vendors echo parts of keys
        return f"InStreamError(failure={self.failure!r})"


Event = (
    Start
    | TextDelta
    | PartBreak
    | ReasoningDelta
    | ReasoningSignature
    | RedactedReasoning
    | ToolCallStart
    | ToolArgumentsDelta
    | ToolCallEnd
    | RefusalDelta
    | Citation
    | Logprobs
    | ForeignEvent
    | Embedded
    | Counted
    | Ranked
    | UsageUpdate
    | Stop
    | End
    | InStreamError
)

# -------------------------------------------------------------------------------------- signatures between the vendors

_SIGNATURE_MARK: Final = "headgate."
_ID_MARK: Final = "#"


def seal_signature(signature: str | None, origin: str | None) -> str:
    """A signature field for a client whose dialect demands one, naming the dialect that made it ("headgate.<origin>.<signature>")."""
    return f"{_SIGNATURE_MARK}{origin or ''}.{signature or ''}"


def seal_redacted(data: str, origin: str, identity: str | None) -> str:
    """As `seal_signature`, for encrypted reasoning, with the id that its vendor wants back ("headgate.<origin>#<id>.<data>").

    The `#` also tells it from a signature where one field carries both. An id with a character of this format is left out.
    """
    kept = identity if identity and not set(identity) & {".", _ID_MARK} else ""
    return f"{_SIGNATURE_MARK}{origin}{_ID_MARK}{kept}.{data}"


def unseal_signature(value: str, native: str) -> tuple[str | None, str | None]:
    """(signature, origin) of a replayed signature field of dialect `native`; (None, None) when it is unsigned."""
    if value.startswith(_SIGNATURE_MARK):
        origin, _, signature = value[len(_SIGNATURE_MARK) :].partition(".")
        return (signature, origin.partition(_ID_MARK)[0]) if signature and origin else (None, None)
    return (value, native) if value else (None, None)


def unseal_redacted(value: str, native: str) -> RedactedThinking | None:
    """The encrypted reasoning in a replayed field of dialect `native`, without an id where it is native; None when it holds a
    signature that another dialect made, or nothing."""
    if not value.startswith(_SIGNATURE_MARK):
        return RedactedThinking(value, native) if value else None
    head, _, data = value[len(_SIGNATURE_MARK) :].partition(".")
    origin, marked, identity = head.partition(_ID_MARK)
    return RedactedThinking(data, origin, identity or None) if marked and origin and data else None
