"""Forms: the model that the edge filter reads is the one that every server's parser reads; what they could read differently is refused."""

from __future__ import annotations

import email.parser
import email.policy
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.demo.simulators.form import read_form
from tests.unit.lua.lua_filter import LuaFilter, Outcome, facts

STAR = facts([], dialect="openai-chat", operation="transcriptions", form="1")
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KIND = "multipart/form-data; boundary=XbX"


def ask(edge: LuaFilter, body: bytes, kind: str = KIND, name: str | None = None, **told: str) -> Outcome:
    routes = {} if name is None else {name: facts(route=name, dialect="openai-chat", operation="transcriptions", **told)}
    return edge.request(body, STAR, routes, {"content-type": kind})


def asked(out: Outcome) -> str | None:
    return None if out.status else str(out.dynamic["headgate"]["asked"])


def part(name: str, value: bytes, more: str = "", head: str = "") -> bytes:
    return f'--XbX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{head}\r\n'.encode() + value + b"\r\n"


END = b"--XbX--\r\n"
FILE = part("file", b"\x00\xff\r\nRIFF--Xb\r\n", '; filename="a.wav"', "Content-Type: audio/wav\r\n")
MODEL = part("model", b"m")
PLAIN = FILE + MODEL + part("language", b"en") + END


def sdk(maker: str) -> tuple[str, bytes]:
    """A form as a client library writes it."""
    files, data = {"file": ("a.wav", b"RIFF\r\n\x00", "audio/wav")}, {"model": "m", "stream": "true"}
    if maker == "httpx":
        sent: Any = httpx.Request("POST", "http://h/", files=files, data=data)
        return sent.headers["content-type"], sent.read()
    if maker == "requests":
        prepared = requests.Request("POST", "http://h/", files=files, data=data).prepare()
        assert isinstance(prepared.body, bytes)
        return prepared.headers["content-type"], prepared.body
    if maker == "curl":
        b, file = "------------------------d74496d66958873e", "Content-Type: audio/x-wav"
        names = ['name="file"; filename="a.wav"', 'name="model"', 'name="stream"']
        return f"multipart/form-data; boundary={b}", written(b, names, file, "\r\n")
    if maker == "undici":
        b, file = "----formdata-undici-032549875221", "Content-Type: audio/wav"
        names = ['name="model"', 'name="stream"', 'name="file"; filename="a.wav"']
        return f"multipart/form-data; boundary={b}", written(b, names, file, "")
    b, text = "4d0b9c6a-6f2b-4d8a-9f38-3f2f1e5a3c10", "Content-Type: text/plain; charset=utf-8"
    names = ["name=model", "name=stream", "name=file; filename=a.wav; filename*=utf-8''a.wav"]
    return f'multipart/form-data; boundary="{b}"', written(b, names, "Content-Type: audio/wav", "\r\n", text)


def written(boundary: str, names: list[str], file: str, end: str, text: str = "") -> bytes:
    """A form with these dispositions. `text`: a header in front of the disposition of a field."""
    made = ""
    for name in names:
        head = file if "file" in name else text
        lines = [f"Content-Disposition: form-data; {name}", head]
        lines = [line for line in (reversed(lines) if text else lines) if line]
        value = "RIFF" if "file" in name else "m" if "model" in name else "true"
        made += f"--{boundary}\r\n" + "\r\n".join(lines) + f"\r\n\r\n{value}\r\n"
    return (made + f"--{boundary}--{end}").encode()


@pytest.mark.parametrize("maker", ["httpx", "requests", "curl", "undici", ".net"])
def test_what_client_libraries_send(edge: LuaFilter, maker: str) -> None:
    kind, body = sdk(maker)
    out = ask(edge, body, kind, "m")
    assert (out.status, asked(out), out.body) == (None, "openai-chat stream m", body)
    assert not out.changed
    renamed = ask(edge, body, kind, "m", rename="whisper-1")
    assert renamed.body is not None
    form = read_form(kind, renamed.body)
    assert form["model"] == "whisper-1"
    assert [(p.name, p.value) for p in form.parts if p.name != "model"] == [
        (p.name, p.value) for p in read_form(kind, body).parts if p.name != "model"
    ]


def test_targets_rename_at_the_place_they_are_told(edge: LuaFilter, target: LuaFilter) -> None:
    out = ask(edge, PLAIN, name="m", mark="1")
    assert out.body == PLAIN
    done = target.request(PLAIN, {"model": "whisper-1"}, dynamic=out.dynamic)
    assert done.body == PLAIN.replace(b"\r\nm\r\n", b"\r\nwhisper-1\r\n")


JSON_TOO = b'{"model":"m","images":[{"image_url":"https://x"}]}'


def test_json_is_read_where_forms_are(edge: LuaFilter) -> None:
    assert asked(ask(edge, JSON_TOO, "application/json", "m")) == "openai-chat whole m"
    assert ask(edge, JSON_TOO, "text/plain", "m").status == 415
    assert edge.request(PLAIN, facts([], dialect="openai-chat", operation="image_generation"), {}, {"content-type": KIND}).status == 415


REFUSED: dict[str, tuple[bytes, str]] = {
    "a second model": (MODEL + PLAIN, "duplicate_key"),
    "a second model behind the file": (MODEL + FILE + part("model", b"other") + END, "duplicate_key"),
    "two streams": (MODEL + part("stream", b"true") * 2 + END, "duplicate_key"),
    "capitals": (FILE + part("Model", b"m") + END, "ambiguous_key"),
    "capitals beside it": (PLAIN.replace(b'"language"', b'"MODEL"'), "ambiguous_key"),
    "a list": (FILE + part("model[]", b"m") + END, "ambiguous_key"),
    "a map": (MODEL + part("model[x]", b"m") + END, "ambiguous_key"),
    "no model": (FILE + END, "missing_model"),
    "no part": (END, "missing_model"),
    "empty model": (FILE + part("model", b"") + END, "invalid_model"),
    "long model": (FILE + part("model", b"m" * 201) + END, "invalid_model"),
    "model of two lines": (FILE + part("model", b"m\r\nn") + END, "invalid_model"),
    "model with a zero": (FILE + part("model", b"m\x00") + END, "invalid_model"),
    "model with a quote": (FILE + part("model", b'm"') + END, "invalid_model"),
    "model as a file": (FILE + part("model", b"m", '; filename="m"') + END, "invalid_model"),
    "model as a file, encoded": (part("model", b"m", "; filename*=utf-8''m") + END, "invalid_model"),
    "model as JSON": (FILE + part("model", b'"m"', "", "Content-Type: application/json\r\n") + END, "invalid_model"),
    "model in another charset": (part("model", b"m", "", "Content-Type: text/plain; charset=utf-16\r\n") + END, "invalid_model"),
    "a blank before the model": (FILE + part("model", b" m") + END, "invalid_model"),
    "a charset for all": (part("_charset_", b"utf-7") + PLAIN, "invalid_form"),
    "nested": (part("x", b"--y\r\n", "", "Content-Type: multipart/mixed; boundary=y\r\n") + PLAIN, "invalid_form"),
    "base64": (part("model", b"bQ==", "", "Content-Transfer-Encoding: base64\r\n") + END, "invalid_form"),
    "an unknown header": (part("x", b"y", "", "X-Name: model\r\n") + PLAIN, "invalid_form"),
    "two dispositions": (part("x", b"y", "", 'Content-Disposition: form-data; name="model"\r\n') + PLAIN, "invalid_form"),
    "two names": (part("x", b"m", '; name="model"') + PLAIN, "invalid_form"),
    "an encoded name": (part("x", b"m", "; name*=utf-8''model") + PLAIN, "invalid_form"),
    "an escaped quote": (part("x", b"m", '; filename="a\\"; name=model; y="') + PLAIN, "invalid_form"),
    "a percent in a name": (part("mod%65l", b"m") + END, "invalid_form"),
    "a blank in a name": (part("model ", b"m") + END, "invalid_form"),
    "an attachment": (PLAIN.replace(b"form-data; name", b"attachment; name"), "invalid_form"),
    "a folded header": (part("x", b"y", ";\r\n name=model") + PLAIN, "invalid_form"),
    "a bare carriage return in headers": (part("x", b"y", "\r") + PLAIN, "invalid_form"),
    "a bare line feed in headers": (part("x", b"y", '\nContent-Disposition: form-data; name="model"') + PLAIN, "invalid_form"),
    "headers that do not end": (b'--XbX\r\nContent-Disposition: form-data; name="x"\r\n' + PLAIN, "invalid_form"),
    "the boundary in a header": (part("x", b"y", '; filename="--XbX"') + PLAIN, "invalid_form"),
    "a part without headers": (b"--XbX\r\n\r\nm\r\n" + PLAIN, "invalid_form"),
    "long headers": (part("x", b"y", "", f"Content-Type: {'a' * 5000}\r\n") + PLAIN, "invalid_form"),
    "a wrong length": (part("x", b"y", "", "Content-Length: 500\r\n") + PLAIN, "invalid_form"),
    "text before": (b"preamble\r\n" + PLAIN, "invalid_form"),
    "a line before": (b"\r\n" + PLAIN, "invalid_form"),
    "text behind": (PLAIN + b"x", "invalid_form"),
    "a second form behind": (PLAIN + PLAIN, "invalid_form"),
    "no end": (PLAIN.removesuffix(END), "invalid_form"),
    "half an end": (PLAIN.removesuffix(b"--\r\n"), "invalid_form"),
    "a blank behind the boundary": (PLAIN.replace(b"--XbX\r\n", b"--XbX \r\n", 1), "invalid_form"),
    "line feeds only": (PLAIN.replace(b"\r\n", b"\n"), "invalid_form"),
    "a delimiter behind a line feed": (part("file", b"a\n--XbX\r\n", '; filename="f"') + PLAIN, "invalid_form"),
    "a delimiter inside a line": (part("file", b"a--XbX", '; filename="f"') + PLAIN, "invalid_form"),
    "a longer delimiter": (part("file", b"a\r\n--XbXY\r\n", '; filename="f"') + PLAIN, "invalid_form"),
    "many parts": (part("x", b"") * 256 + PLAIN, "invalid_form"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(edge: LuaFilter, case: str) -> None:
    body, code = REFUSED[case]
    out = ask(edge, body)
    assert (out.status, out.error["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""', "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=XbX; boundary=XbX", "multipart/form-data; boundary=XbX, multipart/form-data; boundary=YY",
        "multipart/form-data; boundary=XbX; charset=utf-16",
        "multipart/form-data; boundary=XbX; x=y", 'multipart/form-data; boundary="X,b"',
        f"multipart/form-data; boundary={'x' * 71}", 'multipart/form-data; boundary="XbX', "multipart/form-data boundary=XbX",
        'multipart/form-data; boundary="Xb\\X"', "multipart/form-data; boundary*=utf-8''XbX", "multipart/form-data; boundary=XbX;",
    ],
)  # fmt: skip
def test_boundaries_that_are_refused(edge: LuaFilter, kind: str) -> None:
    out = ask(edge, PLAIN, kind)
    assert (out.status, out.error["error"]["code"]) == (400, "invalid_form")


@pytest.mark.parametrize("kind", ['Multipart/Form-Data;boundary="XbX"', "multipart/form-data; charset=UTF-8; Boundary=XbX", KIND + " "])
def test_boundaries_that_are_read(edge: LuaFilter, kind: str) -> None:
    assert asked(ask(edge, PLAIN, kind)) == "openai-chat whole m"


def test_compressed_forms_are_refused(edge: LuaFilter) -> None:
    assert edge.request(PLAIN, STAR, {}, {"content-type": KIND, "content-encoding": "gzip"}).status == 415


def test_azures_deployments_take_forms(edge: LuaFilter) -> None:
    star = facts(
        [],
        dialect="openai-chat",
        form="1",
        address="^/d/([^/]*)/t$",
        to="/v1/audio/transcriptions",
        into="body",
        operation="transcriptions",
    )
    for body in (PLAIN, FILE + END):
        out = edge.request(body, star, {"dep": facts(route="r", dialect="openai-chat")}, {"content-type": KIND, ":path": "/d/dep/t?v=1"})
        assert (out.status, out.headers[":path"], out.headers["x-headgate-model"]) == (None, "/v1/audio/transcriptions", "dep")
        assert out.body is not None
        form = read_form(KIND, out.body)
        assert form["model"] == "dep"
        assert form.files("file")[0].value == read_form(KIND, body).files("file")[0].value
    assert edge.request(PLAIN + b"x", star, {}, {"content-type": KIND, ":path": "/d/dep/t"}).status == 400


# ---------------------------------------------------------------------------------------------------- other parsers

Parser = Callable[[bytes], list[tuple[str, bytes]]]


def by_email(body: bytes) -> list[tuple[str, bytes]]:
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(f"Content-Type: {KIND}\r\n\r\n".encode() + body)
    found = []
    for piece in message.iter_parts() if message.is_multipart() else ():
        value = piece.get_payload(decode=True)
        found.append((str(piece.get_param("name", header="content-disposition")), value if isinstance(value, bytes) else b""))
    return found


def by_split(body: bytes) -> list[tuple[str, bytes]]:
    try:
        return [(p.name, p.value) for p in read_form(KIND, body).parts]
    except ValueError:
        return []


def leniently(body: bytes) -> list[tuple[str, bytes]]:
    """A parser that forgives everything: bare line feeds, blanks, folded headers, escapes, percent signs, other cases."""
    found = []
    for piece in re.split(rb"(?:^|\r?\n)--XbX[ \t]*(?=\r?\n|--)", body)[1:]:
        head, _, value = re.sub(rb"\r?\n[ \t]+", b" ", piece.lstrip(b"\r\n")).replace(b"\r\n", b"\n").partition(b"\n\n")
        said = b"\n".join(re.findall(rb"^\s*content-disposition[ \t]*:.*", head, re.IGNORECASE | re.MULTILINE))
        for name in re.findall(rb'[; ]name\*?=(?:utf-8\'\')?"?((?:[^"\\;\n]|\\.)*)', said, re.IGNORECASE):
            text = re.sub(rb"%([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), name, flags=re.IGNORECASE).replace(b"\\", b"").strip()
            found.append((re.sub(r"\[.*", "", text.decode("latin1").lower()), value))
    return found


SECOND = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nother'
PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"--XbX", b"--XbX\r\n", b"--XbX--", b"--", b"model", b'name="model"', b"; name=model", b"\r\n\r\n", b" ", b'"',
     b"\\", b"Content-Disposition: form-data; ", SECOND, b"x", b"\t", b"[", b"%6d"]
)  # fmt: skip


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 12), PIECES), max_size=3))
def test_what_is_accepted_is_read_alike(edge: LuaFilter, edits: list[tuple[int, int, bytes]]) -> None:
    body = PLAIN
    for at, gone, piece in edits:
        at %= len(body) + 1
        body = body[:at] + piece + body[at + gone :]
    said = asked(ask(edge, body))
    if said is None:
        return
    model = said.split(" ", 2)[2].encode("latin1")
    for parse in (by_email, by_split, leniently):
        named = [value for name, value in parse(body) if re.fullmatch(r"\W*model(\W.*)?", name, re.IGNORECASE | re.DOTALL)]
        values = {value.removesuffix(b"\n").removesuffix(b"\r") for value in named}
        assert values == {model}, parse.__name__


@SETTINGS
@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(0, 3))
def test_files_of_any_bytes_pass_as_they_are(edge: LuaFilter, first: bytes, second: bytes, place: int) -> None:
    parts = [part("a", first, '; filename="f"'), part("b", second, '; filename="g"'), part("prompt", b"p")]
    parts.insert(place, MODEL)
    body = b"".join(parts) + END
    if b"--XbX" in first + second:
        return
    out = ask(edge, body, name="m", rename="other")
    assert out.body == body.replace(MODEL, part("model", b"other"))


def test_large_files_cost_little(edge: LuaFilter) -> None:
    """Shapes that make a search slow: 4 MB in far under a second."""
    dashes = "multipart/form-data; boundary=" + "-" * 69 + "x"
    for filler in (b"-" * 4_000_000, b"\r\n--" * 1_000_000, b"\0" * 4_000_000):
        body = PLAIN.replace(b"XbX", b"-" * 69 + b"x").replace(b"RIFF", filler)
        began = time.process_time()
        assert asked(ask(edge, body, dashes)) == "openai-chat whole m"
        assert time.process_time() - began < 1.0
