"""Reads and checks Converse requests the way the vendor does."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.demo.simulators.bedrock_errors import by_model, invalid, malformed
from control_plane.demo.simulators.compose import Ask, Directive, Tool, read_directive
from control_plane.demo.simulators.tokens import IMAGE_TOKENS, count

_TOP: Final = frozenset(
    (
        *("messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "projectIdentifier", "additionalModelRequestFields"),
        *("promptVariables", "additionalModelResponseFieldPaths", "requestMetadata", "performanceConfig", "serviceTier", "outputConfig"),
    )
)
_BLOCKS: Final = {
    "system": frozenset(("text", "guardContent", "cachePoint")),
    "user": frozenset(("text", "image", "document", "video", "audio", "toolResult", "guardContent", "cachePoint", "searchResult")),
    "assistant": frozenset(("text", "toolUse", "reasoningContent", "citationsContent", "cachePoint", "image")),
    "result": frozenset(("json", "text", "image", "document", "video", "searchResult")),
}
_FORMATS: Final = {
    "image": frozenset(("png", "jpeg", "gif", "webp")),
    "document": frozenset(("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")),
    "audio": frozenset(("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm")),
}
_NUMBERS: Final = {"maxTokens": (1, 1_000_000), "temperature": (0, 1), "topP": (0, 1)}
_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FILE_NAME: Final = re.compile(r"[a-zA-Z0-9()\[\]-]+( [a-zA-Z0-9()\[\]-]+)*")
_EFFORTS: Final = {"low": 16, "medium": 32, "high": 64, "xhigh": 96, "max": 128}
_ALTERNATE: Final = (
    "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant "
    "roles and try again."
)


def signature(text: str) -> str:
    """The signature of reasoning: only what this vendor signed is accepted back."""
    return base64.b64encode(b"simulated-bedrock:" + hashlib.sha256(b"headgate-demo" + text.encode(errors="replace")).digest()).decode()


class Converse:
    """A Converse request that passed the vendor's checks."""

    __slots__ = ("_names", "_used_tools", "ask", "cache_until", "directive", "images", "model", "parts", "sizes")

    def __init__(self, body: Mapping[str, Any], model: str, speaker: str) -> None:
        """Raises VendorError."""
        self.model = model
        self.parts: list[str] = []
        self.sizes: list[int] = []
        self.images = 0
        self.cache_until = 0  # number of parts up to the last cache point
        self._names: set[str] = set()
        self._used_tools = False
        if unknown := sorted(set(body) - _TOP):
            raise malformed(f"Unexpected field type: {unknown[0]}")  # the service's word for a field that it does not know
        config = _object(body, "toolConfig")
        tools = self._tools(config)
        for index, block in enumerate(_list(body, "system")):
            self._block(block, "system", f"system.{index}")
        text, results = self._messages(_list(body, "messages"))
        if self._used_tools and not tools:
            raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        inference, extra = _object(body, "inferenceConfig"), _object(body, "additionalModelRequestFields")
        for name, (least, most) in _NUMBERS.items():
            value = inference.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most):
                raise invalid(f"Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must be between {least} and {most}")
        self.directive: Directive = read_directive("\n".join(self.parts) if any("[[sim " in part for part in self.parts) else "")
        choice = _choice(config, tools)
        self.ask = Ask(
            speaker=speaker,
            text=text,
            images=self.images,
            tools=tools,
            choice=choice,
            tool_results=results,
            schema=_schema(_object(body, "outputConfig")),
            max_tokens=inference.get("maxTokens"),
            stop=tuple(str(item) for item in inference.get("stopSequences") or ()),
            reasoning_tokens=self._thinking(extra, inference, choice),
            answer_tokens=self.directive.tokens,
        )

    def _add(self, text: str, extra: int = 0) -> None:
        self.parts.append(text)
        self.sizes.append(count(text) + extra)

    def _tools(self, config: Mapping[str, Any]) -> tuple[Tool, ...]:
        found: list[Tool] = []
        if config and not config.get("tools"):
            raise invalid("Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal to 1")
        for index, item in enumerate(config.get("tools") or ()):
            where = f"toolConfig.tools.{index}"
            if "cachePoint" in item:
                self.cache_until = len(self.parts)
                continue
            spec = item.get("toolSpec")
            if not isinstance(spec, dict) or not _NAME.fullmatch(str(spec.get("name"))):
                raise invalid(f"Value at '{where}.member.toolSpec.name' failed to satisfy constraint: [a-zA-Z0-9_-]+")
            schema = (spec.get("inputSchema") or {}).get("json")
            if not isinstance(schema, dict) or schema.get("type") != "object":
                raise invalid(f"The value at {where}.toolSpec.inputSchema.json.type must be one of the following: object.")
            if any(tool.name == spec["name"] for tool in found):
                raise invalid(f"The tool name {spec['name']} is already defined. Remove one of them and try again.")
            found.append(Tool(spec["name"], schema))
            self._add(f"{spec['name']}{spec.get('description', '')}{msgspec.json.encode(schema).decode()}")
        return tuple(found)

    def _messages(self, messages: list[Any]) -> tuple[str, tuple[str, ...]]:
        """(text, results) of the last message."""
        if not messages or messages[0].get("role") != "user":
            raise invalid("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
        pending: list[str] = []  # ids of the calls that this message must answer
        text: list[str] = []
        results: list[str] = []
        before = ""
        for number, message in enumerate(messages):
            role, where = message.get("role"), f"messages.{number}"
            if role not in ("user", "assistant"):
                raise invalid(
                    f"Value at '{where}.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]"
                )
            if role == before:
                raise invalid(_ALTERNATE)
            before = role
            content = _list(message, "content")
            if not content:
                raise invalid(f"The content field in the Message object at {where} is empty. Add a ContentBlock object and try again.")
            text, results, answered, called = [], [], [], []
            for index, block in enumerate(content):
                found = self._block(block, role, f"{where}.content.{index}")
                if "text" in block:
                    text.append(found)
                elif "toolResult" in block:
                    answered.append(block["toolResult"]["toolUseId"])
                    results.append(found)
                elif "toolUse" in block:
                    called.append(block["toolUse"]["toolUseId"])
            if missing := [call for call in pending if call not in answered]:
                raise invalid(f"Expected toolResult blocks at {where}.content for the following Ids: {', '.join(missing)}")
            if set(answered) - set(pending):
                raise invalid(f"The number of toolResult blocks at {where}.content exceeds the number of toolUse blocks of previous turn.")
            pending = called
        if pending or before != "user":
            raise by_model("This model does not support assistant message prefill. The conversation must end with a user message.")
        return "\n".join(text), tuple(results)

    def _block(self, block: Any, role: str, where: str) -> str:
        """The text that the block says."""
        if not isinstance(block, dict) or len(block) != 1:
            raise malformed("Unexpected number of fields in a union")
        kind, inner = next(iter(block.items()))
        if kind not in _BLOCKS[role]:
            raise invalid(f"The {kind} content block at {where} is not supported for the role {role}.")
        said = ""
        if kind == "text":
            if not isinstance(inner, str) or not inner.strip():
                raise invalid(f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try again.")
            said = inner
        elif kind == "cachePoint":
            self.cache_until = len(self.parts)
            return ""
        elif kind in _FORMATS:
            said = self._file(kind, inner, where)
        elif kind == "toolUse":
            self._used_tools = True
            if not _ID.fullmatch(str(inner.get("toolUseId"))) or not _NAME.fullmatch(str(inner.get("name"))):
                raise invalid(f"Value at '{where}.toolUse' failed to satisfy constraint: a toolUseId and a name")
            if not isinstance(inner.get("input"), dict):
                raise by_model(f"{where}.tool_use.input: Input should be a valid dictionary")
            said = inner["name"] + msgspec.json.encode(inner["input"]).decode()
        elif kind == "toolResult":
            said = self._result(inner, where)
        elif kind == "reasoningContent":
            _check_reasoning(inner, where)
            return ""
        else:
            said = msgspec.json.encode(inner).decode()
        self._add(said, 3)
        return said

    def _result(self, inner: Mapping[str, Any], where: str) -> str:
        self._used_tools = True
        if inner.get("status") not in (None, "success", "error"):
            raise invalid(f"Value at '{where}.toolResult.status' failed to satisfy constraint: [success, error]")
        said = []
        for index, item in enumerate(_list(inner, "content")):
            if isinstance(item, dict) and "json" in item:
                said.append(msgspec.json.encode(item["json"]).decode())
            elif isinstance(item, dict) and item.get("text") == "":
                continue  # here a text may be empty
            else:
                said.append(self._block(item, "result", f"{where}.toolResult.content.{index}"))
        return " ".join(said)

    def _file(self, kind: str, inner: Mapping[str, Any], where: str) -> str:
        if inner.get("format") not in _FORMATS[kind]:
            raise invalid(f"Value at '{where}.{kind}.format' failed to satisfy constraint: {sorted(_FORMATS[kind])}")
        if kind == "document":
            name = inner.get("name")
            if not isinstance(name, str) or not _FILE_NAME.fullmatch(name) or len(name) > 200:
                raise invalid(
                    "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and "
                    "square brackets. The name can't contain more than one consecutive whitespace character."
                )
            if name in self._names:
                raise invalid(f"The document file name {name} is used more than once. Use another one and try again.")
            self._names.add(name)
        elif kind == "image":
            self.images += 1
            self.sizes.append(IMAGE_TOKENS)
            self.parts.append("image")
        source = inner.get("source") or {}
        if kind == "document" and isinstance(source.get("text"), str):
            return str(source["text"])
        if "s3Location" in source:
            raise invalid("This model doesn't support the s3Uri field. Remove s3Uri and try again.")
        try:
            data = base64.b64decode(source["bytes"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise malformed("Unable to parse a blob") from None
        return f"{kind} {hashlib.sha256(data).hexdigest()}"

    def _thinking(self, extra: Mapping[str, Any], inference: Mapping[str, Any], choice: str) -> int:
        """Tokens of reasoning: none unless the request's model fields ask for it."""
        thinking = extra.get("thinking") or {}
        kind = thinking.get("type")
        nova, effort = extra.get("reasoningConfig") or {}, extra.get("reasoning_effort")
        if kind in ("enabled", "adaptive"):
            if choice == "required" or choice.startswith("="):
                raise by_model("Thinking may not be enabled when tool_choice forces tool use.")
            if inference.get("temperature") not in (None, 1):
                raise by_model("`temperature` may only be set to 1 when thinking is enabled.")
            effort = (extra.get("output_config") or {}).get("effort")
            budget = thinking.get("budget_tokens")
            if kind == "enabled" and (not isinstance(budget, int) or budget < 1024):
                raise by_model("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
            if kind == "enabled" and inference.get("maxTokens", 1 << 30) <= budget:
                raise by_model("`max_tokens` must be greater than `thinking.budget_tokens`.")
        elif nova.get("type") == "enabled":
            effort = nova.get("maxReasoningEffort")
        elif effort is None:
            return 0
        return _EFFORTS.get(str(effort), 32) if self.directive.reasoning is None else self.directive.reasoning


def _check_reasoning(inner: Mapping[str, Any], where: str) -> None:
    if "redactedContent" in inner:
        return
    told = inner.get("reasoningText") or {}
    if told.get("signature") != signature(str(told.get("text"))):
        raise by_model(f"{where}: Invalid `signature` in `thinking` block")


def _object(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if value is not None and not isinstance(value, dict):
        raise malformed(f"Unexpected field type: {name}")
    return value or {}


def _list(parent: Mapping[str, Any], name: str) -> list[Any]:
    value = parent.get(name)
    if value is not None and (not isinstance(value, list) or not all(isinstance(item, dict) for item in value)):
        raise malformed(f"Unexpected field type: {name}")
    return value or []


def _choice(config: Mapping[str, Any], tools: tuple[Tool, ...]) -> str:
    choice = _object(config, "toolChoice")
    if "tool" in choice:
        name = choice["tool"].get("name")
        if not any(tool.name == name for tool in tools):
            raise by_model(f"Tool '{name}' not found in provided tools")
        return f"={name}"
    if choice and not choice.keys() & {"auto", "any"}:
        raise malformed("Unexpected number of fields in a union")
    return "required" if "any" in choice else "auto"


def _schema(config: Mapping[str, Any]) -> object | None:
    wanted = config.get("textFormat")
    if wanted is None:
        return None
    try:
        schema = msgspec.json.decode(wanted["structure"]["jsonSchema"]["schema"])
    except (KeyError, TypeError, ValueError):
        raise invalid("The JSON schema in outputConfig.textFormat is not valid.") from None
    if not isinstance(schema, dict) or (schema.get("type") == "object" and schema.get("additionalProperties") is not False):
        raise by_model("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false")
    return schema
