"""What the requests of both dialects share: a query, documents, and how many of the best are wanted."""

from __future__ import annotations

from control_plane.dialects import json_body as j


def head(raw: j.Object) -> tuple[str, int | None]:
    """The model, and how many of the best are wanted. Raises ClientProtocolError naming the field at fault."""
    model = j.model_of(raw)
    top_n = j.integer(raw, "top_n", "")
    if top_n is not None and top_n < 1:
        j.reject("top_n", "must be 1 or more")
    return model, top_n


def query(raw: j.Object, features: list[str]) -> str:
    """The text; an object (an image, say) is a feature."""
    value = raw.get("query")
    if type(value) is dict:
        features.append("query")
        return ""
    text = j.required_string(raw, "query", "")
    if not text:
        j.reject("query", "must not be empty")
    return text


def documents(raw: j.Object, features: list[str]) -> tuple[str, ...]:
    """Texts, or objects that hold nothing but `text`; other objects are a feature."""
    texts: list[str] = []
    for index, item in enumerate(j.array(raw, "documents", "")):
        path = f"documents.{index}"
        if type(item) is dict:
            if item.keys() != {"text"}:
                features.append(path)
                continue
            item = j.required_string(item, "text", path)
        if type(item) is not str:
            j.wrong_type(path, "a string", item)
        texts.append(item)
    if not texts and not features:
        j.reject("documents", "must hold a document", "missing_field")
    return tuple(texts)
