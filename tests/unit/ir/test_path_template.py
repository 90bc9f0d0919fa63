"""Templates of paths: what Envoy matches and what the edge filter takes out are the same; and how providers' paths are filled in."""

from __future__ import annotations

import re

import lupa.luajit21 as lupa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dialects.model_path import filled, streaming
from control_plane.ir.operations import OPERATIONS
from control_plane.ir.path_template import envoy_regex, lua_pattern

TEMPLATES = [
    "/v1beta/models/{model}:generateContent",
    "/v1beta/{model:tunedModels/}:generateContent",
    "/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:streamGenerateContent",
    "/model/{model}/converse-stream",
    *(template for operation in OPERATIONS for template, _ in operation.addresses),
]
LUA = lupa.LuaRuntime(encoding="utf-8")
MATCH = LUA.eval("string.match")


@pytest.mark.parametrize("template", TEMPLATES)
@given(model=st.text(st.sampled_from("ab.:/%-2F_"), min_size=1, max_size=12), tail=st.sampled_from(["", "x", "/"]))
def test_envoy_and_the_filter_agree(template: str, model: str, tail: str) -> None:
    path = re.sub(r"\{model(?::([^}]*))?\}", lambda found: (found[1] or "") + model, template)
    path = path.replace("{project}", "p-1").replace("{location}", "eu") + tail
    matched = re.fullmatch(envoy_regex(template), path)
    captured = MATCH(path, lua_pattern(template))
    assert (matched is None) == (captured is None)
    if not tail:
        assert captured == ("tunedModels/" if "tuned" in template else "") + model


@pytest.mark.parametrize(
    ("path", "model", "expected"),
    [
        ("/v1beta/models/{model}:generateContent", "gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("/v1beta/models/{model}:generateContent", "models/x", "/v1beta/models/x:generateContent"),
        ("/v1beta/models/{model}:generateContent", "tunedModels/x y", "/v1beta/tunedModels/x%20y:generateContent"),
        ("/v1beta/models/{model}:generateContent", "a/../b?c#d", "/v1beta/models/a%2F..%2Fb%3Fc%23d:generateContent"),
        ("/l/publishers/google/models/{model}:x", "publishers/meta/models/llama", "/l/publishers/meta/models/llama:x"),
        ("/l/publishers/google/models/{model}:x", "endpoints/123", "/l/endpoints/123:x"),
        ("/model/{model}/converse", "arn:aws:bedrock:eu:1:p/x", "/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Ap%2Fx/converse"),
        ("/v1/chat/completions", "m", "/v1/chat/completions"),
    ],
)
def test_providers_paths(path: str, model: str, expected: str) -> None:
    assert filled(path, model) == expected


def test_streaming_paths() -> None:
    assert streaming("/m/x:generateContent", (":generateContent", ":streamGenerateContent")) == "/m/x:streamGenerateContent"
    assert streaming("/model/a/converse", ("/converse", "/converse-stream")) == "/model/a/converse-stream"
    assert streaming("/m:embedContent", (":generateContent", ":streamGenerateContent")) == "/m:embedContent"
