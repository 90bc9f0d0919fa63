"""Reads and checks generateContent requests the way the vendor does: protobuf's JSON, so both camelCase and snake_case names are taken
and unknown ones are refused."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from control_plane.demo.simulators.compose import Ask, Directive, Tool, read_directive
from control_plane.demo.simulators.gemini_errors import invalid, unknown_name
from control_plane.demo.simulators.tokens import IMAGE_TOKENS, count

UNCHECKED: Final = "skip_thought_signature_validator"
THOUGHTS: Final = 8  # tokens that a thinking model spends when nobody says how many
_LEVELS: Final = {"minimal": 8, "low": 16, "medium": 32, "high": 64}
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_VERSION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_SNAKE: Final = re.compile(r"_([a-z])")

# message → its fields; a field is another message, a list of one, or None for anything
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "": {
        "model": None, "contents": ["content"], "systemInstruction": "content", "tools": ["tool"], "toolConfig": "toolConfig",
        "safetySettings": ["safety"], "generationConfig": "generation", "cachedContent": None, "store": None, "serviceTier": None,
    },
    "content": {"role": None, "parts": ["part"]},
    "part": {
        "text": None, "thought": None, "thoughtSignature": None, "inlineData": "blob", "fileData": "file", "functionCall": "call",
        "functionResponse": "response", "executableCode": None, "codeExecutionResult": None, "videoMetadata": None, "mediaResolution": None,
    },
    "blob": {"mimeType": None, "data": None, "displayName": None},
    "file": {"mimeType": None, "fileUri": None, "displayName": None},
    "call": {"id": None, "name": None, "args": None},
    "response": {"id": None, "name": None, "response": None, "willContinue": None, "scheduling": None, "parts": None},
    "tool": {"functionDeclarations": ["declaration"], "googleSearch": None, "codeExecution": None, "urlContext": None},
    "declaration": {
        "name": None, "description": None, "parameters": None, "parametersJsonSchema": None, "response": None, "responseJsonSchema": None,
        "behavior": None,
    },
    "toolConfig": {"functionCallingConfig": "calling", "retrievalConfig": None},
    "calling": {"mode": None, "allowedFunctionNames": None},
    "safety": {"category": None, "threshold": None},
    "generation": {
        "stopSequences": None, "responseMimeType": None, "responseSchema": None, "responseJsonSchema": None, "responseModalities": None,
        "candidateCount": None, "maxOutputTokens": None, "temperature": None, "topP": None, "topK": None, "seed": None,
        "presencePenalty": None, "frequencyPenalty": None, "responseLogprobs": None, "logprobs": None, "thinkingConfig": "thinking",
        "mediaResolution": None, "speechConfig": None, "imageConfig": None, "enableEnhancedCivicAnswers": None,
    },
    "thinking": {"includeThoughts": None, "thinkingBudget": None, "thinkingLevel": None},
}  # fmt: skip
_NUMBERS: Final = {"temperature": (0, 2), "topP": (0, 1), "topK": (1, 1000), "candidateCount": (1, 8), "maxOutputTokens": (1, 1_000_000)}


def signature(name: str) -> str:
    """The signature of a call of `name`, or of a text (""): only what this vendor signed is accepted back."""
    return base64.b64encode(b"simulated:" + hashlib.sha256(b"headgate-demo" + name.encode(errors="replace")).digest()).decode()


def version(model: str) -> tuple[int, int]:
    found = _VERSION.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


class Generate:
    """A generateContent request that passed the vendor's checks."""

    __slots__ = ("_strict", "ask", "candidates", "directive", "include_thoughts", "model", "parts", "sizes", "version")

    def __init__(self, body: Mapping[str, Any], model: str, speaker: str, *, strict: bool) -> None:
        """Raises VendorError. `strict`: refuse also what single models refuse."""
        self.model = model
        self.version = version(model)
        self._strict = strict
        self.parts: list[str] = []
        self.sizes: list[int] = []
        request = _camel(body, "", "")
        config: dict[str, Any] = request.get("generationConfig") or {}
        if (system := request.get("systemInstruction")) is not None:
            for part in system.get("parts") or ():
                self._add(str(part.get("text", "")), 3)
        tools = self._tools(request)
        text, images, results = self._contents(request.get("contents"))
        self.directive: Directive = read_directive("\n".join(self.parts) if any("[[sim " in part for part in self.parts) else "")
        schema = self._format(config, tools)
        self._numbers(config)
        thoughts = self._thoughts(config.get("thinkingConfig") or {})
        self.candidates: int = config.get("candidateCount") or 1
        self.ask = Ask(
            speaker=speaker,
            text=text,
            images=images,
            tools=tools,
            choice=_choice(request, tools),
            tool_results=results,
            schema=schema,
            max_tokens=config.get("maxOutputTokens"),
            stop=_stop(config),
            reasoning_tokens=thoughts,
            answer_tokens=self.directive.tokens,
        )

    def _add(self, text: str, extra: int) -> None:
        self.parts.append(text)
        self.sizes.append(count(text) + extra)

    # tools

    def _tools(self, request: Mapping[str, Any]) -> tuple[Tool, ...]:
        found: list[Tool] = []
        for i, tool in enumerate(request.get("tools") or ()):
            for j, declared in enumerate(tool.get("functionDeclarations") or ()):
                where = f"tools[{i}].function_declarations[{j}]"
                name = declared.get("name")
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    raise invalid(
                        f"* GenerateContentRequest.{where}.name: Invalid function name. Must start with a letter or an underscore."
                    )
                if any(other.name == name for other in found):
                    raise invalid(f"Duplicate function declaration found: {name}")
                if declared.get("parameters") is not None and declared.get("parametersJsonSchema") is not None:
                    raise invalid(f"* GenerateContentRequest.{where}: parameters and parameters_json_schema are mutually exclusive.")
                schema = declared.get("parametersJsonSchema") or _plain(declared.get("parameters"))
                found.append(Tool(name, schema))
                self._add(f"{name}{declared.get('description', '')}{schema}", 0)
        return tuple(found)

    # contents

    def _contents(self, contents: Any) -> tuple[str, int, tuple[str, ...]]:
        """(text, images, results) of the last content of the user."""
        if not contents:
            raise invalid("* GenerateContentRequest.contents: contents is not specified\n", "contents")
        last: tuple[str, int, tuple[str, ...]] = ("", 0, ())
        pending: list[str] = []  # names of the calls that the next content must answer
        turn = max((i for i, c in enumerate(contents) if c.get("role", "user") == "user" and not _responses(c)), default=-1)
        for number, content in enumerate(contents):
            role = content.get("role", "user")
            if role not in ("user", "model"):
                raise invalid("Please use a valid role: user, model.")
            parts = content.get("parts") or []
            if not parts:
                raise invalid(f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.\n")
            answered = [response.get("name") for response in _responses(content)]
            if len(answered) != len(pending):
                raise invalid(
                    "Please ensure that the number of function response parts is equal to the number of function call parts of the "
                    "function call turn."
                    if answered and pending
                    else "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
                    if pending
                    else "Please ensure that function response turn comes immediately after a function call turn."
                )
            if sorted(map(str, answered)) != sorted(pending):
                raise invalid("Please ensure that function response names match the function calls of the function call turn.")
            texts, images, results = self._parts(parts, number)
            pending = [str(part["functionCall"].get("name")) for part in parts if "functionCall" in part]
            if role == "user":
                last = ("\n".join(texts), images, tuple(results))
            elif pending:
                self._check_signatures(parts, number, current=number > turn)
        if pending:
            raise invalid("Please ensure that single turn requests end with a user role or the role field is empty.")
        return last

    def _parts(self, parts: list[dict[str, Any]], number: int) -> tuple[list[str], int, list[str]]:
        texts: list[str] = []
        results: list[str] = []
        images = 0
        for index, part in enumerate(parts):
            where = f"contents[{number}].parts[{index}]"
            kinds = part.keys() - {"thought", "thoughtSignature", "videoMetadata", "mediaResolution"}
            if len(kinds) != 1:
                raise invalid(f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field\n")
            kind = kinds.pop()
            value = part[kind]
            if kind == "text":
                if not isinstance(value, str):
                    raise invalid(f"Invalid value at '{where}' (text), expected a string", where)
                if not part.get("thought"):
                    texts.append(value)
                self._add(value, 3)
            elif kind in ("inlineData", "fileData"):
                _check_file(value, kind, where)
                images += str(value.get("mimeType", "image/")).startswith("image/")
                self._add("", IMAGE_TOKENS)
            elif kind == "functionResponse":
                if not value.get("name"):
                    raise invalid(f"* GenerateContentRequest.{where}.function_response.name: Name cannot be empty.\n")
                response = value.get("response")
                if not isinstance(response, dict):
                    raise invalid(
                        f"Invalid value at '{where}.function_response.response' (type.googleapis.com/google.protobuf.Struct)", where
                    )
                said = response.get("output", response.get("error", response))
                results.append(said if isinstance(said, str) else str(said))
                self._add(results[-1], 3)
            elif kind == "functionCall":
                if not isinstance(value.get("args", {}), dict):
                    raise invalid(f"Invalid value at '{where}.function_call.args' (type.googleapis.com/google.protobuf.Struct)", where)
                self._add(f"{value.get('name')}{value.get('args')}", 3)
        return texts, images, results

    def _check_signatures(self, parts: list[dict[str, Any]], number: int, *, current: bool) -> None:
        calls = [part for part in parts if "functionCall" in part]
        for position, part in enumerate(calls):
            name, signed = str(part["functionCall"].get("name")), part.get("thoughtSignature")
            if signed is None:
                if current and position == 0 and self.version >= (3, 0):
                    raise invalid(
                        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, "
                        f"and missing thought_signature may lead to degraded model performance. Function call `{name}`, position {number}."
                    )
            elif signed != UNCHECKED and _standard(signed) != signature(name):
                raise invalid("Thought signature is not valid.")

    # settings

    def _format(self, config: Mapping[str, Any], tools: tuple[Tool, ...]) -> object | None:
        kind, schema = config.get("responseMimeType"), config.get("responseJsonSchema") or _plain(config.get("responseSchema"))
        if kind not in (None, "text/plain", "application/json", "text/x.enum"):
            raise invalid(
                "* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are text/plain, application/json\n"
            )
        if kind != "application/json":
            if schema is not None:
                raise invalid("* GenerateContentRequest.generation_config.response_schema: only allowed with application/json\n")
            return None
        if tools and self._strict and self.version < (3, 0):
            raise invalid("Function calling with a response mime type: 'application/json' is unsupported")
        return schema or {}

    def _numbers(self, config: Mapping[str, Any]) -> None:
        for name, (least, most) in _NUMBERS.items():
            value = config.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most):
                raise invalid(f"* GenerateContentRequest.generation_config.{name}: {name} must be in the range [{least}, {most}].\n")
        if self._strict and self.version >= (2, 5) and (config.get("presencePenalty") or config.get("frequencyPenalty")):
            raise invalid(f"Penalty is not enabled for models/{self.model}")

    def _thoughts(self, wanted: Mapping[str, Any]) -> int:
        level, budget = wanted.get("thinkingLevel"), wanted.get("thinkingBudget")
        self.include_thoughts = wanted.get("includeThoughts") is True
        if self.version < (2, 5):
            if self._strict and wanted:
                raise invalid(f"Thinking is not enabled for models/{self.model}")
            return 0
        if level is not None and budget is not None:
            raise invalid("You can only set only one of thinking budget and thinking level.")
        if level is not None:
            if self._strict and (self.version < (3, 0) or str(level).lower() not in _LEVELS):
                raise invalid("Thinking level is not supported for this model.")
            tokens = _LEVELS.get(str(level).lower(), THOUGHTS)
        elif budget is None or budget == -1:
            tokens = THOUGHTS
        elif isinstance(budget, bool) or not isinstance(budget, int) or not 0 <= budget <= 32768:
            raise invalid("The thinking budget is invalid. Please choose a value between 0 and 24576.")
        elif budget == 0 and self._strict and "pro" in self.model:
            raise invalid("Budget 0 is invalid. This model only works in thinking mode.")
        else:
            tokens = min(budget, 32)
        return tokens if self.directive.reasoning is None else self.directive.reasoning


def _camel(value: Any, message: str, where: str) -> Any:
    """The message with camelCase names. Raises VendorError for unknown ones and for values of the wrong kind."""
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{where}' (type.googleapis.com/google.ai.generativelanguage.v1beta.{message.title()})", where)
    fields, made = _FIELDS[message], {}
    for written, inner in value.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), written)
        if name not in fields:
            raise unknown_name(written, where)
        at = f"{where}.{written}" if where else written
        kind = fields[name]
        if kind is None or inner is None:
            made[name] = inner
        elif isinstance(kind, list):
            items = inner if isinstance(inner, list) else [inner]
            made[name] = [_camel(item, kind[0], f"{at}[{i}]") for i, item in enumerate(items)]
        else:
            made[name] = _camel(inner, kind, at)
    return {name: inner for name, inner in made.items() if inner is not None}


def _plain(schema: Any) -> Any:
    """Google's own kind of schema, whose types are in capitals, as JSON Schema."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: value.lower() if key == "type" and isinstance(value, str) else _plain(value) for key, value in schema.items()}


def _responses(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [part["functionResponse"] for part in content.get("parts") or () if "functionResponse" in part]


def _check_file(value: Mapping[str, Any], kind: str, where: str) -> None:
    if kind == "fileData":
        if not isinstance(uri := value.get("fileUri"), str) or not uri.startswith(("https://", "gs://")):
            raise invalid(f"Invalid or unsupported file uri: {value.get('fileUri')}", where)
        return
    if not isinstance(value.get("mimeType"), str) or "/" not in value["mimeType"]:
        raise invalid(f"* GenerateContentRequest.{where}.inline_data.mime_type: mime type is not specified\n", where)
    try:
        base64.b64decode(_standard(value.get("data") or "!"), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"Invalid value at '{where}.inline_data.data' (TYPE_BYTES), Base64 decoding failed", where) from None


def _standard(data: object) -> str:
    """Base64 in its standard alphabet; protobuf's JSON takes the one for URLs too, and the vendor's SDK writes that."""
    return str(data).replace("-", "+").replace("_", "/")


def _choice(request: Mapping[str, Any], tools: tuple[Tool, ...]) -> str:
    config = (request.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode, names = config.get("mode", "AUTO"), config.get("allowedFunctionNames") or []
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise invalid(f"Invalid value at 'tool_config.function_calling_config.mode' (TYPE_ENUM), \"{mode}\"")
    if names and mode not in ("ANY", "VALIDATED"):
        raise invalid("Please set function_calling_config mode to ANY or VALIDATED in order to set allowed_function_names")
    if mode == "ANY" and not tools:
        raise invalid("Function calling config is set without function_declarations.")
    for name in names:
        if all(tool.name != name for tool in tools):
            raise invalid(f"The allowed function `{name}` is not in the function declarations.")
    if mode == "ANY":
        return f"={names[0]}" if names else "required"
    return "none" if mode == "NONE" else "auto"


def _stop(config: Mapping[str, Any]) -> tuple[str, ...]:
    stop = config.get("stopSequences") or ()
    if not isinstance(stop, (list, tuple)) or not all(isinstance(s, str) and s for s in stop):
        raise invalid("Invalid value at 'generation_config.stop_sequences' (TYPE_STRING)")
    if len(stop) > 5:
        raise invalid("* GenerateContentRequest.generation_config.stop_sequences: up to 5 stop sequences are supported\n")
    return tuple(stop)
