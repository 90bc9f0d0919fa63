"""The committed matrix is what the probes find, and the documents show it. `make golden` rewrites all three."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control_plane.dialects import canon
from control_plane.dialects import matrix as shown
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.golden.matrix import asked, found

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "control_plane/dialects" / shown.FILE
WRITE = os.environ.get("HEADGATE_GOLDEN") == "write"
TABLES = {"README.md": shown.summary, "control_plane/dialects/README.md": shown.exceptions}
MARKS = re.compile(r"(<!-- matrix: written by make golden -->\n)(.*?)(<!-- /matrix -->)", re.DOTALL)


@pytest.fixture(scope="module")
def matrix() -> dict[str, Any]:
    return found.whole()


def text_of(matrix: dict[str, Any]) -> str:
    """A line for each feature of each pair, so that a diff reads well."""
    cells = matrix["cells"]
    lines = [json.dumps({name: value for name, value in matrix.items() if name != "cells"}, indent=1)[:-2] + ',\n "cells": [']
    for cell in cells:
        head = ", ".join(f"{json.dumps(name)}: {json.dumps(cell[name])}" for name in ("client", "provider", "lane", "sdk"))
        features = ",\n".join(f"   {json.dumps(name)}: {json.dumps(value)}" for name, value in cell["features"].items())
        lines.append(f'  {{{head}, "features": {{\n{features}\n  }}}}' + ("," if cell is not cells[-1] else ""))
    return "\n".join(lines) + "\n ]\n}\n"


def test_the_committed_matrix_is_what_the_tests_find(matrix: dict[str, Any]) -> None:
    text = text_of(matrix)
    assert json.loads(text) == json.loads(json.dumps(matrix))
    if WRITE:
        FILE.write_text(text, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text, "run `make golden` and read the diff"


@pytest.mark.parametrize("page", TABLES)
def test_the_documents_show_the_matrix(page: str) -> None:
    shown.load_matrix.cache_clear()
    text = (ROOT / page).read_text(encoding="utf-8")
    table = shown.markdown(TABLES[page](shown.load_matrix()))
    assert len(MARKS.findall(text)) == 1
    if WRITE:
        text = MARKS.sub(lambda match: match[1] + table + match[3], text)
        (ROOT / page).write_text(text, encoding="utf-8")
    assert MARKS.findall(text)[0][1] == table, "run `make golden`"


def test_every_translated_pair_carries_the_core(matrix: dict[str, Any]) -> None:
    """Text, tools both ways, images, usage and errors are what no pair may lose."""
    core = (
        "text",
        "tools",
        "tool results",
        "parallel tool results",
        "tool call",
        "parallel tool calls",
        "system prompt",
        "images",
        "errors",
    )
    for cell in matrix["cells"]:
        for name in core:
            feature = cell["features"][name]
            assert feature["outcome"] in ("yes", "untested"), (cell["client"], cell["provider"], name)
            assert "streamed" not in feature


def test_a_feature_that_is_lost_without_a_word_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself can fail: a writer that forgets the tools."""
    from control_plane.dialects.api import ProviderRequest

    provider = PROVIDERS["anthropic-messages"]
    write = provider.write_request

    def forgetful(request: Any, target: Any) -> ProviderRequest:
        made = write(request, target)
        body = json.loads(made.body)
        body.pop("tools", None)
        return ProviderRequest(json.dumps(body).encode(), dropped=made.dropped)

    monkeypatch.setattr(type(provider), "write_request", lambda self, request, target: forgetful(request, target))
    (tools,) = (probe for probe in asked.ASKED if probe.name == "tools")
    with pytest.raises(AssertionError, match="lost without a word"):
        asked.outcome("openai-chat", "anthropic-messages", tools, False)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("client", DIALECTS)
def test_what_a_preset_drops_is_named_in_the_clients_words(client: str, provider: str) -> None:
    """`drop_params` speaks of the provider's fields; the client finds every name in its own body."""
    checked = 0
    for probe in asked.ASKED[1:]:  # nobody has a preset drop the system prompt
        request = asked.as_client(client, probe, False)
        if client == provider or request is None or asked.outcome(client, provider, probe, False).word == "no":
            continue
        fields = [name for name in _fields(provider, request) if name not in _fields(provider, _plain(client))]
        options = {"drop_params": fields}
        facts = msgspec.structs.replace(asked.target(provider), options=options)
        named = [request.named(name) for name in PROVIDERS[provider].write_request(request, facts).dropped]
        assert len(named) >= len(set(fields) & {"seed", "temperature"})
        strange = [name for name in named if not asked.is_of(name, request)]
        assert not strange, (probe.name, fields, strange)
        checked += bool(fields)
    assert checked >= 8 or client == provider


def _plain(client: str) -> canon.Request:
    (probe,) = (probe for probe in asked.ASKED if probe.name == "limit of tokens")
    plain = asked.Asked("plain", asked.ask(sampling=canon.Sampling()), probe.seen)
    request = asked.as_client(client, plain, False) or asked.as_client(client, probe, False)
    assert request is not None
    return request


def _fields(provider: str, request: canon.Request) -> list[str]:
    """Top-level fields of the provider's request, and those of objects that hold knobs, as `drop_params` may name them."""
    body = json.loads(PROVIDERS[provider].write_request(request, asked.target(provider)).body)
    return [*body, *(name for value in body.values() if isinstance(value, dict) for name in value)]
