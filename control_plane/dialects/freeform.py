"""Tools that take free text instead of JSON (OpenAI's custom tools), for vendors that know functions only.

To them such a tool is a function with one string argument, `input`, whose description repeats the grammar. In canon a call of one has
JSON arguments as any other, `{"input": "…"}`, so that only the dialects that have custom tools need to know of them: they turn the
text into the argument and the argument into the text, a fragment of a stream at a time.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.canon import Freeform, Request, Tool, ToolChoice

ARGUMENT: Final = "input"
_SCHEMA: Final = {
    "type": "object",
    "properties": {ARGUMENT: {"type": "string", "description": "The whole text for the tool, exactly as it is to be read"}},
    "required": [ARGUMENT],
    "additionalProperties": False,
}
OPENING: Final = '{"input":"'
CLOSING: Final = '"}'
_OLDER: Final = re.compile(r"(?:^|[/.])(?:gpt-[34]|chatgpt|o[1-4])(?![0-9])")
"""Names of OpenAI's models without custom tools, which came with GPT-5."""
_WAYS: Final = {"lark": "this Lark grammar", "regex": "this regular expression"}
_ESCAPED: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PLAIN: Final = re.compile(r'[^"\\]+')

_encode: Final = msgspec.json.Encoder().encode


def tool(name: str, description: str | None, syntax: str | None, definition: str | None) -> Tool:
    """The tool as other vendors see it, with what the client said of it. `syntax`: "lark", "regex" or None for any text."""
    about = [description] if description else []
    about.append("The tool reads free text. Give it here as the string argument `input`; what is said of its form concerns that string.")
    if definition is not None:
        about.append(f"The string must match {_WAYS.get(syntax or '', f'this {syntax} grammar')}:\n\n{definition}")
    return Tool(name, "\n\n".join(about), _SCHEMA, freeform=Freeform(description, syntax, definition))


def native(target: TargetFacts, default: bool) -> bool:
    """Whether the target itself has such tools: the option `custom_tools`, unless its model is older than they are."""
    return quirks.flag(target.options, "custom_tools", default) and _OLDER.search(target.model) is None


def names(request: Request) -> frozenset[str]:
    """The tools of the request that take free text."""
    return frozenset(tool.name for tool in request.tools if tool.freeform is not None)


def chosen(request: Request, choice: ToolChoice) -> bool:
    """Whether the tool that must be called takes free text."""
    return choice.mode == "named" and choice.name in names(request)


def used(request: Request) -> bool:
    """Whether the request offers such a tool or holds a call of one."""
    return bool(names(request)) or any(getattr(part, "freeform", False) for message in request.messages for part in message.parts)


def arguments(text: str) -> str:
    """The arguments of a call with this text."""
    return OPENING + escaped(text) + CLOSING


def escaped(fragment: str) -> str:
    """A fragment of the text as it stands inside the arguments."""
    return _encode(fragment)[1:-1].decode()


def text_of(given: str) -> str:
    """The text in the arguments of a call."""
    reader = TextReader()
    return reader.feed(given) + reader.finish()


class TextReader:
    """Takes the text out of arguments that come in fragments, as soon as it is there. However they are cut, the text is the same.

    Models err: arguments that do not begin with the one argument are kept until their end. If they turn out to be an object with
    that argument, or a bare string, it is the text; anything else is given on as it stands. Line ends and other control
    characters that a model left unescaped are taken as they are, half a surrogate pair becomes U+FFFD, and a text that ends early is
    what came of it.
    """

    __slots__ = ("_held", "_high", "_others", "_state")

    def __init__(self) -> None:
        self._state = "before"  # before the text, in "text", "after" it, or "other"
        self._held = ""  # what cannot be read yet: the beginning, or an incomplete escape
        self._others: list[str] = []  # arguments that begin otherwise
        self._high = ""  # the first half of a surrogate pair, as hexadecimal digits

    def feed(self, fragment: str) -> str:
        """The text that this fragment adds."""
        if self._state == "after":
            return ""
        if self._state == "other":
            self._others.append(fragment)
            return ""
        held = self._held + fragment
        self._held = ""
        if self._state == "before":
            start = _start_of_text(held)
            if start is None:
                self._state = "other"
                self._others.append(held)
                return ""
            if start < 0:
                self._held = held
                return ""
            self._state, held = "text", held[start:]
        return self._text(held)

    def finish(self) -> str:
        """What is left at the end of the arguments."""
        state, self._state = self._state, "after"
        if state == "other":
            return _other("".join(self._others))
        return self._lone() if state == "text" else ""

    def _text(self, held: str) -> str:
        out: list[str] = []
        i, n = 0, len(held)
        while i < n:
            if plain := _PLAIN.match(held, i):
                out += (self._lone(), plain.group())
                i = plain.end()
                continue
            if held[i] == '"':
                self._state = "after"
                break
            if i + 1 == n or (held[i + 1] == "u" and i + 6 > n):
                self._held = held[i:]
                return "".join(out)
            if held[i + 1] != "u":
                out += (self._lone(), _ESCAPED.get(held[i + 1], held[i : i + 2]))
                i += 2
                continue
            out.append(self._unit(held[i + 2 : i + 6]))
            i += 6
        if self._state == "after":
            out.append(self._lone())
        return "".join(out)

    def _unit(self, digits: str) -> str:
        """One UTF-16 unit: a character, or nothing as long as its other half is to come."""
        try:
            unit = int(digits, 16)
        except ValueError:
            return self._lone() + "\\u" + digits
        if 0xDC00 <= unit < 0xE000 and self._high:
            high, self._high = int(self._high, 16), ""
            return chr(0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00))
        before = self._lone()
        if 0xD800 <= unit < 0xDC00:
            self._high = digits
            return before
        return before + ("\N{REPLACEMENT CHARACTER}" if 0xDC00 <= unit < 0xE000 else chr(unit))

    def _lone(self) -> str:
        """The stand-in for a first half whose other half did not come."""
        if not self._high:
            return ""
        self._high = ""
        return "\N{REPLACEMENT CHARACTER}"


def _start_of_text(held: str) -> int | None:
    """Where the text begins in arguments of which this is the beginning; -1: not known yet, None: they do not begin with it."""
    i = 0
    for wanted in ("{", f'"{ARGUMENT}"', ":", '"'):
        while i < len(held) and held[i] in " \t\r\n":
            i += 1
        there = held[i : i + len(wanted)]
        if there != wanted:
            return -1 if wanted.startswith(there) else None
        i += len(wanted)
    return i


def _other(held: str) -> str:
    try:
        value: Any = msgspec.json.decode(held)
    except (ValueError, RecursionError):
        return held
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(found := value.get(ARGUMENT), str):
        return found
    return "" if value == {} else held
