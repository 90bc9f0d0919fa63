"""What a simulated model answers: decided by the request alone, the same for both vendors, streamed or whole."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from control_plane.demo.simulators.sampling import sample_json

ANSWER_LIMIT_TOKENS: Final = 200_000  # what a directive may ask for; a token is a few bytes
CALLS_LIMIT: Final = 16  # parallel calls in one answer
QUOTE_LIMIT_CHARS: Final = 400  # how much of the question an answer repeats

Finish = Literal["stop", "length", "tool_calls", "stop_sequence"]

_TOKEN: Final = re.compile(r"\s*\S{1,12}|\s+")
_DIRECTIVE: Final = re.compile(r"\[\[sim ([^\]]{0,400})\]\]")
_ORDER: Final = re.compile(r"\[\[call ([\w-]{1,64}) ([\w=-]{2,8000})\]\]")
_WORDS: Final = (" water", " runs", " through", " the", " gate,", " slow", " and", " clear,", " down", " to", " every", " field.")


@dataclass(frozen=True, slots=True)
class Directive:
    """Orders to the simulator inside a prompt: `[[sim tokens=500 delay_ms=20 first_ms=100 whole_ms=50 reasoning=30]]`.

    tokens: length of the answer; delay_ms between events; first_ms before the first content event; whole_ms before a whole answer;
    reasoning: reasoning tokens. Being text, it passes through any gateway, translated or not.
    """

    tokens: int | None = None
    delay_ms: float | None = None
    first_ms: float | None = None
    whole_ms: float | None = None
    reasoning: int | None = None


NO_DIRECTIVE: Final = Directive()


def read_directive(text: str) -> Directive:
    """The last directive in `text`; unknown or unreadable words in it are ignored."""
    if "[[sim " not in text or not (found := _DIRECTIVE.findall(text)):
        return NO_DIRECTIVE
    numbers: dict[str, float] = {}
    for word in found[-1].split():
        key, _, value = word.partition("=")
        if re.fullmatch(r"\d{1,7}(\.\d{1,3})?", value):
            numbers[key] = float(value)
    tokens, reasoning = numbers.get("tokens"), numbers.get("reasoning")
    return Directive(
        tokens=None if tokens is None else min(int(tokens), ANSWER_LIMIT_TOKENS),
        delay_ms=numbers.get("delay_ms"),
        first_ms=numbers.get("first_ms"),
        whole_ms=numbers.get("whole_ms"),
        reasoning=None if reasoning is None else min(int(reasoning), ANSWER_LIMIT_TOKENS),
    )


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the request offers; `schema` is its JSON schema as sent. `freeform`: it takes text, not JSON."""

    name: str
    schema: object
    freeform: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, read by a vendor's module, reduced to what decides the answer.

    `choice` is "none", "auto", "required" or "=" and the name of a forced tool. `tool_results` is not empty when the last message
    brings results. `begun` is the beginning of the answer, which the request brings to be gone on with. `schema` is the
    schema that the answer must follow ({} for any JSON), None for text.
    """

    speaker: str
    text: str
    images: int = 0
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    parallel: bool = True
    tool_results: tuple[str, ...] = ()
    schema: object | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_tokens: int = 0
    answer_tokens: int | None = None
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; `arguments` is JSON text, or any text where the tool takes that (`freeform`)."""

    name: str
    arguments: str
    freeform: bool = False

    def fragments(self) -> list[str]:
        """The arguments in the pieces in which they are streamed: 5 characters, so that escapes and names are split."""
        return [self.arguments[i : i + 5] for i in range(0, len(self.arguments), 5)]

    @property
    def tokens(self) -> int:
        return -(-(len(self.name) + len(self.arguments)) // 4)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer: tokens of reasoning and of text (joined they are the text), then tool calls."""

    text: tuple[str, ...]
    calls: tuple[Call, ...]
    reasoning: tuple[str, ...]
    finish: Finish
    stop_sequence: str | None = None

    @property
    def tokens(self) -> int:
        """Output tokens as the vendor bills them: reasoning, text and calls."""
        return len(self.text) + len(self.reasoning) + sum(call.tokens for call in self.calls)


def answer(ask: Ask) -> Answer:
    """The answer to `ask`: tool calls if they are asked for, else text; cut at a stop sequence and at the token limit."""
    reasoning = filler(ask.reasoning_tokens)
    calls = _calls(ask)
    if calls:
        kept = Answer((), calls, reasoning, "tool_calls")
        return kept if ask.max_tokens is None or kept.tokens <= ask.max_tokens else Answer((), (), reasoning[: ask.max_tokens], "length")
    text = _after(ask.begun, _text(ask))
    finish: Finish = "stop"
    sequence = None
    if ask.stop:
        joined = "".join(text)
        hits = sorted((joined.find(s), s) for s in ask.stop if s and s in joined)
        if hits:
            position, sequence = hits[0]
            text, finish = tokens_of(joined[:position]), "stop_sequence"
    if ask.max_tokens is not None and len(reasoning) + len(text) > ask.max_tokens:
        reasoning = reasoning[: ask.max_tokens]
        text, finish, sequence = text[: ask.max_tokens - len(reasoning)], "length", None
    return Answer(text, (), reasoning, finish, sequence)


def _after(begun: str, text: tuple[str, ...]) -> tuple[str, ...]:
    """What is left to say. Like a model, it goes on where the beginning ends, whoever wrote it; what is not its own it repeats in full."""
    whole = "".join(text)
    return tokens_of(whole[len(begun) :]) if begun and whole.startswith(begun) else text


def tokens_of(text: str) -> tuple[str, ...]:
    """Text cut into the tokens in which it is streamed and billed: a word with the space before it, at most 12 letters."""
    return tuple(_TOKEN.findall(text))


@lru_cache(maxsize=64)
def filler(tokens: int) -> tuple[str, ...]:
    """That many tokens of sense-free text."""
    return tuple(_WORDS[i % len(_WORDS)] if i else "Water" for i in range(tokens))


def _text(ask: Ask) -> tuple[str, ...]:
    if ask.schema is not None:
        return tokens_of(sample_json(ask.schema or {"type": "object", "properties": {"answer": {"type": "string"}}}))
    if ask.answer_tokens is not None:
        return filler(ask.answer_tokens)
    if ask.tool_results:
        return tokens_of(f"{ask.speaker} read the tool: {' | '.join(ask.tool_results)[:QUOTE_LIMIT_CHARS]}")
    seen = f" and saw {ask.images} image{'s' if ask.images > 1 else ''}" if ask.images else ""
    return tokens_of(f"{ask.speaker} heard{seen}: {ask.text[:QUOTE_LIMIT_CHARS]}")


def order(name: str, arguments: str) -> str:
    """Text that makes the model call a tool with exactly these arguments, in the last user message or in a tool's result.

    The arguments are in base64, so that no quoting on the way changes them.
    """
    return f"[[call {name} {base64.urlsafe_b64encode(arguments.encode()).decode()}]]"


def _ordered(ask: Ask) -> tuple[Call, ...]:
    """The calls that are ordered, of tools that are offered."""
    offered = {tool.name: tool for tool in ask.tools}
    calls = []
    for name, coded in _ORDER.findall("\n".join(ask.tool_results) if ask.tool_results else ask.text):
        try:
            arguments = base64.urlsafe_b64decode(coded).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if name in offered:
            calls.append(_call(offered[name], arguments))
    return tuple(calls[:CALLS_LIMIT])


def _calls(ask: Ask) -> tuple[Call, ...]:
    if not ask.tools or ask.choice == "none":
        return ()
    if ask.choice in ("auto", "required") and (ordered := _ordered(ask)):
        return ordered if ask.parallel else ordered[:1]
    if ask.choice == "auto" and ask.tool_results:
        return ()
    if ask.choice.startswith("="):
        wanted = [tool for tool in ask.tools if tool.name == ask.choice[1:]]
    else:
        wanted = _mentioned(ask) if not ask.tool_results else []
        if not wanted and ask.choice == "required":
            wanted = [ask.tools[0]]
    if not ask.parallel:
        wanted = wanted[:1]
    return tuple(_call(tool, sample_json(tool.schema or {"type": "object"})) for tool in wanted[:CALLS_LIMIT])


def _call(tool: Tool, arguments: str) -> Call:
    """A call of a tool that takes text has what the arguments say of `input`."""
    said = json.loads(arguments) if tool.freeform else None
    return Call(tool.name, str(said.get("input", arguments)), True) if isinstance(said, dict) else Call(tool.name, arguments, tool.freeform)


def _mentioned(ask: Ask) -> list[Tool]:
    """The tools that the last user message names, in its order; a name that stands there twice is called twice."""
    found: list[tuple[int, Tool]] = []
    for tool in ask.tools:
        if tool.name in ask.text:
            found += [(match.start(), tool) for match in re.finditer(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", ask.text)]
    return [tool for _, tool in sorted(found, key=lambda item: item[0])]
