"""Embeddings: what a client's request means, what each provider is asked and answers, and what the client gets."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.embeddings.canon import EmbedRequest
from control_plane.dialects.embeddings.registry import CLIENTS, EMBEDDERS
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError

OPENAI, COHERE, GEMINI, BEDROCK = "openai-chat", "cohere-chat", "gemini-generate-content", "bedrock-converse"
VOYAGE = "voyage"
TITAN1, TITAN2 = "amazon.titan-embed-text-v1", "eu.amazon.titan-embed-text-v2:0"
PACKED = base64.b64encode(struct.pack("<2f", 0.5, -0.25)).decode()


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1


def read(client: str, **body: Any) -> EmbedRequest:
    named = {} if client == GEMINI else {"model": "m"}
    request = CLIENTS[client].read_request(json.dumps({**named, **body}).encode(), Call("m") if client == GEMINI else None)
    assert isinstance(request, EmbedRequest)
    return request


def ask(client: str, provider: str, model: str = "up", **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = read(client, **body)
    made = EMBEDDERS[provider].write_request(request, TargetFacts(model, "/models/{model}:batchEmbedContents"))
    return json.loads(made.body), tuple(map(request.named, made.dropped))


def answer(client: str, provider: str, document: Any, **body: Any) -> Any:
    """The client's document of a provider's."""
    request = read(client, **body)
    reader, writer = EMBEDDERS[provider].reader(request), CLIENTS[client].writer(request, Ids())
    reader.start(200, "application/json")
    sent = json.dumps(document).encode() if not isinstance(document, bytes) else document
    events = [*reader.feed(sent[:7]), *reader.feed(sent[7:]), *reader.finish()]
    assert [type(event) for event in events] == [canon.Start, canon.Embedded, canon.UsageUpdate, canon.Stop, canon.End]
    return json.loads(b"".join(writer.emit(event) for event in events) + writer.finish())


# ----------------------------------------------------------------------------------------------------------- requests


def test_what_an_openai_client_asks() -> None:
    request = read(OPENAI, input=["a", "b"], dimensions=8, encoding_format="base64", user="u", input_type="passage", odd=1)
    assert (request.texts, request.dimensions, request.encodings, request.purpose) == (("a", "b"), 8, ("base64",), "document")
    assert (request.user, request.unmapped, request.stream, request.count) == ("u", ("odd",), False, 2)
    assert read(OPENAI, input="a").texts == ("a",)
    assert read(OPENAI, input=[1, 2]).tokens == ((1, 2),)
    assert read(OPENAI, input=[[1], [2, 3]]).tokens == ((1,), (2, 3))
    assert read(OPENAI, input="a", input_type="other").unmapped == ("input_type",)


def test_what_a_cohere_client_asks() -> None:
    request = read(
        COHERE,
        texts=["a"],
        input_type="search_query",
        output_dimension=256,
        embedding_types=["float", "base64"],
        truncate="END",
        priority=1,
    )
    assert (request.texts, request.purpose, request.dimensions) == (("a",), "query", 256)
    assert (request.encodings, request.truncate, request.unmapped) == (("float", "base64"), True, ("priority",))
    inputs = [{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert read(COHERE, inputs=inputs, input_type="clustering").texts == ("a\nb",)
    image = [{"content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
    assert read(COHERE, inputs=image, input_type="image").features == ("inputs.0.content", "input_type")
    assert read(COHERE, texts=["a"], input_type="search_query", embedding_types=["int8"]).features == ("embedding_types.0",)


def content(*texts: str) -> dict[str, Any]:
    return {"parts": [{"text": text} for text in texts]}


def batch(*texts: str, **settings: Any) -> list[dict[str, Any]]:
    return [{"model": "models/m", "content": content(text), **settings} for text in texts]


def test_what_a_gemini_client_asks() -> None:
    one = read(GEMINI, content=content("a", "b"), taskType="FACT_VERIFICATION", outputDimensionality=8, title="t")
    assert (one.texts, one.purpose, one.dimensions, one.batch, one.model) == (("a\nb",), "fact", 8, False, "m")
    assert (one.unmapped, one.field) == (("title",), "content")
    many = read(GEMINI, requests=batch("a", "b", task_type="RETRIEVAL_QUERY", output_dimensionality=8, title="t"))
    assert (many.texts, many.purpose, many.dimensions, many.batch) == (("a", "b"), "query", 8, True)
    assert (many.unmapped, many.features) == (("requests.0.title", "requests.1.title"), ())
    config = {"taskType": "CLUSTERING", "outputDimensionality": 4, "autoTruncate": False}
    vertex = read(GEMINI, content=content("a"), embedContentConfig=config)
    assert (vertex.purpose, vertex.dimensions, vertex.truncate, vertex.unmapped) == ("clustering", 4, False, ())
    assert read(GEMINI, content={"parts": {"text": "a"}, "role": "user"}, taskType="TASK_TYPE_UNSPECIFIED").texts == ("a",)


def test_what_a_gemini_client_asks_of_gemini_alone() -> None:
    differing = [*batch("a", taskType="CLUSTERING"), *batch("b")]
    assert read(GEMINI, requests=differing).features == ("requests.1",)
    picture = {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": ""}}]}
    assert read(GEMINI, content=picture).features == ("content.parts.1",)
    assert read(GEMINI, content=content("a"), taskType="NEW").features == ("taskType",)


def test_a_gemini_client_at_gemini_under_another_name() -> None:
    """What passes through cannot be renamed inside a batch."""
    sent = [*batch("a", taskType="CLUSTERING", odd=1), *batch("b")]
    made = EMBEDDERS[GEMINI].write_request(read(GEMINI, requests=sent), TargetFacts("up", "/v1beta/models/{model}:batchEmbedContents"))
    assert json.loads(made.body) == {"requests": [{**item, "model": "models/up"} for item in sent]}
    assert (made.path, made.dropped) == ("/v1beta/models/up:batchEmbedContents", ())


@pytest.mark.parametrize(
    ("client", "body", "param"),
    [
        (GEMINI, {}, "content"),
        (GEMINI, {"requests": []}, "requests"),
        (GEMINI, {"requests": [{"model": "models/m"}]}, "requests.0.content"),
        (GEMINI, {"requests": [5]}, "requests.0"),
        (GEMINI, {"content": {"parts": []}}, "content.parts"),
        (GEMINI, {"content": {"parts": [{"text": 5}]}}, "content.parts.0.text"),
        (GEMINI, {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": "x"}, "outputDimensionality"),
        (GEMINI, {"content": {"parts": [{"text": "a"}]}, "taskType": 1}, "taskType"),
        (OPENAI, {}, "input"),
        (OPENAI, {"input": []}, "input"),
        (OPENAI, {"input": 5}, "input"),
        (OPENAI, {"input": ["a", 1]}, "input.0"),
        (OPENAI, {"input": [[1], []]}, "input.1"),
        (OPENAI, {"input": ["a"] * 2049}, "input"),
        (OPENAI, {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        (OPENAI, {"input": "a", "dimensions": "x"}, "dimensions"),
        (COHERE, {"texts": ["a"]}, "input_type"),
        (COHERE, {"texts": [1], "input_type": "search_query"}, "texts.0"),
        (COHERE, {"input_type": "search_query"}, "texts"),
        (COHERE, {"texts": ["a"], "input_type": "search_query", "truncate": "MIDDLE"}, "truncate"),
        (COHERE, {"texts": ["a"], "input_type": "search_query", "embedding_types": [1]}, "embedding_types.0"),
    ],
)
def test_a_bad_request_names_its_field(client: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        read(client, **body)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_each_provider_is_asked() -> None:
    assert ask(OPENAI, COHERE, input="a", dimensions=256, user="u", encoding_format="base64") == (
        {"model": "up", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 256},
        ("user",),
    )
    assert ask(OPENAI, COHERE, input="a", input_type="query")[0]["input_type"] == "search_query"
    assert ask(COHERE, OPENAI, texts=["a", "b"], input_type="search_query", output_dimension=8, truncate="END", priority=1) == (
        {"model": "up", "input": ["a", "b"], "encoding_format": "float", "dimensions": 8},
        ("priority", "input_type", "truncate"),
    )
    assert ask(COHERE, GEMINI, texts=["a", "b"], input_type="classification", output_dimension=8) == (
        {
            "requests": [
                {"model": "models/up", "taskType": "CLASSIFICATION", "outputDimensionality": 8, "content": {"parts": [{"text": text}]}}
                for text in ("a", "b")
            ]
        },
        (),
    )
    made = EMBEDDERS[GEMINI].write_request(read(OPENAI, input="a"), TargetFacts("models/e 1", "/v1/models/{model}:batchEmbedContents"))
    assert made.path == "/v1/models/e%201:batchEmbedContents"
    assert ask(OPENAI, OPENAI, input=[[1, 2]])[0]["input"] == [[1, 2]]
    assert ask(GEMINI, OPENAI, requests=batch("a", "b", taskType="CLUSTERING", outputDimensionality=8, title="t")) == (
        {"model": "up", "input": ["a", "b"], "encoding_format": "float", "dimensions": 8},
        ("requests.0.title", "requests.1.title", "requests.0.taskType"),
    )
    assert ask(GEMINI, COHERE, content=content("a"), taskType="SEMANTIC_SIMILARITY", embedContentConfig={"autoTruncate": True}) == (
        {"model": "up", "texts": ["a"], "input_type": "clustering", "embedding_types": ["float"], "truncate": "END"},
        (),
    )


def test_what_voyage_is_asked() -> None:
    asked: dict[str, Any] = {"input": ["a", "b"], "dimensions": 256, "user": "u", "encoding_format": "base64", "odd": 1}
    voyages = {"model": "up", "input": ["a", "b"], "output_dimension": 256, "input_type": "query"}
    assert ask(OPENAI, VOYAGE, **asked, input_type="query") == (voyages, ("odd", "user"))
    assert ask(OPENAI, VOYAGE, input="a", input_type="clustering") == ({"model": "up", "input": ["a"]}, ("input_type",))
    with pytest.raises(canon.Unfit) as unfit:
        ask(OPENAI, VOYAGE, input=[1, 2])
    assert unfit.value.field == "input"


def test_what_bedrock_is_asked() -> None:
    assert ask(OPENAI, BEDROCK, TITAN1, input="a", user="u") == ({"inputText": "a"}, ("user",))
    sized = ({"inputText": "a", "dimensions": 256}, ("input_type", "truncate"))
    assert ask(COHERE, BEDROCK, TITAN2, texts=["a"], input_type="search_query", output_dimension=256, truncate="END") == sized
    assert ask(GEMINI, BEDROCK, "cohere.embed-v4:0", requests=batch("a", "b", outputDimensionality=256)) == (
        {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 256},
        (),
    )
    made = EMBEDDERS[BEDROCK].write_request(read(OPENAI, input="a"), TargetFacts(TITAN2, "/model/{model}/invoke"))
    assert made.path is None  # the target's own


@pytest.mark.parametrize(
    ("model", "body", "field", "reason"),
    [
        (TITAN2, {"input": ["a", "b"]}, "input", "embeds one text at once; send a request for each"),
        (TITAN2, {"input": [1, 2]}, "input", "texts only"),
        (TITAN1, {"input": "a", "dimensions": 256}, "dimensions", "one length only"),
        ("cohere.embed-english-v3", {"input": "a", "dimensions": 256}, "dimensions", "one length only"),
        ("cohere.embed-v4:0", {"input": ["a"] * 97}, "input", "96 texts"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", {"input": "a"}, "model", "not with anthropic"),
    ],
)
def test_what_bedrocks_models_cannot_do_is_unfit(model: str, body: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(canon.Unfit, match=reason) as unfit:
        ask(OPENAI, BEDROCK, model, **body)
    assert unfit.value.field == field


@pytest.mark.parametrize(
    ("client", "provider", "body", "field"),
    [
        (OPENAI, COHERE, {"input": [1, 2]}, "input"),
        (OPENAI, GEMINI, {"input": [[1, 2]]}, "input"),
        (OPENAI, COHERE, {"input": ["a"] * 97}, "input"),
        (OPENAI, GEMINI, {"input": ["a"] * 101}, "input"),
        (COHERE, OPENAI, {"images": ["data:"], "input_type": "image"}, "images"),
        (COHERE, GEMINI, {"texts": ["a"], "input_type": "search_query", "embedding_types": ["ubinary"]}, "embedding_types.0"),
        (COHERE, GEMINI, {"texts": ["a"] * 101, "input_type": "search_query"}, "texts"),
        (GEMINI, COHERE, {"requests": batch(*["a"] * 97)}, "requests"),
        (GEMINI, OPENAI, {"requests": [*batch("a"), *batch("b", outputDimensionality=3)]}, "requests.1"),
        (GEMINI, OPENAI, {"content": {"parts": [{"fileData": {"fileUri": "gs://x"}}]}}, "content.parts.0"),
    ],
)
def test_what_a_provider_cannot_do_is_unfit(client: str, provider: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(canon.Unfit) as unfit:
        ask(client, provider, **body)
    assert unfit.value.field == field


# ------------------------------------------------------------------------------------------------------------ answers

FROM_OPENAI = {
    "object": "list",
    "model": "e",
    "data": [{"object": "embedding", "index": 1, "embedding": PACKED}, {"object": "embedding", "index": 0, "embedding": [1e-45, 2]}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
FROM_COHERE = {"id": "i", "embeddings": {"float": [[0.1, 2.5]]}, "texts": ["a"], "meta": {"billed_units": {"input_tokens": 7}}}
FROM_GEMINI = b'{"embeddings":[{"values":[0.10000000000000000001, 2.5]}]}'


def test_what_a_client_gets() -> None:
    cohere = answer(COHERE, OPENAI, FROM_OPENAI, texts=["a", "b"], input_type="search_query", embedding_types=["float", "base64"])
    assert cohere["embeddings"]["float"] == [[1e-45, 2], [0.5, -0.25]]
    assert cohere["embeddings"]["base64"] == [base64.b64encode(struct.pack("<2f", 1e-45, 2)).decode(), PACKED]
    assert (cohere["texts"], cohere["response_type"], cohere["id"]) == (["a", "b"], "embeddings_by_type", "made")
    assert cohere["meta"] == {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}}
    openai = answer(OPENAI, COHERE, FROM_COHERE, input="a")
    assert openai == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 2.5]}],
        "model": "m",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert answer(OPENAI, GEMINI, FROM_GEMINI, input="a")["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    assert answer(COHERE, GEMINI, FROM_GEMINI, texts=["a"], input_type="search_query")["meta"]["billed_units"] == {}


def test_what_a_gemini_client_gets() -> None:
    counted = {"usageMetadata": {"promptTokenCount": 7}}
    assert answer(GEMINI, COHERE, FROM_COHERE, content=content("a")) == {"embedding": {"values": [0.1, 2.5]}, **counted}
    assert answer(GEMINI, OPENAI, FROM_OPENAI, requests=batch("a", "b")) == {
        "embeddings": [{"values": [1e-45, 2]}, {"values": [0.5, -0.25]}],
        **counted,
    }
    assert answer(GEMINI, GEMINI, FROM_GEMINI, requests=batch("a")) == {"embeddings": [{"values": [0.1, 2.5]}]}


def test_what_bedrock_answers() -> None:
    titan = {"embedding": [0.1, 2.5], "inputTextTokenCount": 7, "embeddingsByType": {"float": [0.1, 2.5]}}
    made = answer(OPENAI, BEDROCK, titan, input="a")
    assert (made["data"][0]["embedding"], made["usage"]["prompt_tokens"]) == ([0.1, 2.5], 7)
    typed = {"id": "i", "embeddings": {"float": [[0.1, 2.5]]}, "texts": ["a"], "response_type": "embeddings_by_type"}
    assert answer(GEMINI, BEDROCK, typed, content=content("a")) == {"embedding": {"values": [0.1, 2.5]}}


def test_no_number_changes_on_its_way() -> None:
    request = read(OPENAI, input="a")
    reader, writer = EMBEDDERS[GEMINI].reader(request), CLIENTS[OPENAI].writer(request, Ids())
    reader.start(200, "application/json")
    events = [*reader.feed(FROM_GEMINI), *reader.finish()]
    assert b"0.10000000000000000001, 2.5" in b"".join(writer.emit(event) for event in events) + writer.finish()


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        (OPENAI, b'{"data":[]}'),
        (OPENAI, b'{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}'),
        (OPENAI, b'{"data":[{"index":1,"embedding":[1]}]}'),
        (OPENAI, b'{"data":[{"index":0,"embedding":"!"}]}'),
        (OPENAI, b'{"data":[{"index":0,"embedding":"QUJD"}]}'),
        (OPENAI, b'{"data":[{"index":0,"embedding":[1,"x"]}]}'),
        (OPENAI, b'{"data":[{"index":0,"embedding":{}}]}'),
        (OPENAI, b'{"error":{}}'),
        (COHERE, b'{"embeddings":{"int8":[[1]]}}'),
        (COHERE, b'{"embeddings":{"float":[[1],[2]]}}'),
        (COHERE, b'{"message":"no"}'),
        (GEMINI, b'{"embeddings":[{}]}'),
        (GEMINI, b'{"embedding":{"values":[1]}}'),
        (GEMINI, b"[]"),
        (BEDROCK, b'{"embedding":"x"}'),
        (BEDROCK, b'{"embedding":[1,"x"]}'),
        (BEDROCK, b'{"embeddings":[[1]]}'),
        (BEDROCK, b'{"message":"no"}'),
        (GEMINI, b""),
        (GEMINI, b"[" * 9999),
    ],
)
def test_what_is_no_answer(provider: str, body: bytes) -> None:
    reader = EMBEDDERS[provider].reader(read(OPENAI, input="a"))
    reader.start(200, "application/json")
    reader.feed(body)
    with pytest.raises(ProviderProtocolError):
        reader.finish()


FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50)


@settings(deadline=None)
@given(FLOATS)
def test_vectors_keep_their_numbers_in_both_forms(values: list[float]) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    from_numbers = Vector.of(json.dumps(values).encode())
    assert from_numbers.as_base64() == packed
    assert json.loads(Vector.of(json.dumps(packed).encode()).as_json()) == values


def test_errors_are_those_of_the_dialect() -> None:
    failure = EMBEDDERS[COHERE].read_error(404, {}, b'{"message":"model not found"}')
    assert failure.kind == "transient"
    assert json.loads(CLIENTS[OPENAI].write_error(failure))["error"]["message"] == "model not found"
    assert json.loads(CLIENTS[COHERE].write_error(failure)) == {"message": "model not found"}
    assert json.loads(CLIENTS[GEMINI].write_error(failure))["error"]["status"]
    writer = CLIENTS[COHERE].writer(read(COHERE, texts=["a"], input_type="search_query"), Ids())
    assert json.loads(writer.fail(failure)) == {"message": "model not found"}
