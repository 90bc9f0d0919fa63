"""The YAML reader: values by YAML 1.2, a place for everything, bounds on everything, one result from both parsers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from control_plane.spec import yaml_tree
from control_plane.spec.yaml_tree import MAX_DEPTH, TreeError, read_documents


def values(text: str) -> list[Any]:
    return [node.plain() for node in read_documents(text)]


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers, since libyaml is not on every machine."""
    if request.param == "python":
        monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML without libyaml")
    return str(request.param)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: [y, n, yes, no, off]", {"on": ("y", "n", "yes", "no", "off")}),  # YAML 1.1 makes booleans of all of them, the key too
        ("[true, False, null, ~]", (True, False, None, None)),
        ("{a: , b: ''}", {"a": None, "b": ""}),
        ("[1, -2, 0o17, 0x1F, 007, 1.5, 1e3, .5]", (1, -2, 15, 31, 7, 1.5, 1000.0, 0.5)),
        (
            "[12:30:00, 2026-11-20, 1_000, .inf, '5', \"6\", 1.2.3, -, +]",
            ("12:30:00", "2026-11-20", "1_000", ".inf", "5", "6", "1.2.3", "-", "+"),
        ),
        ("[!!str 5, ! 6, !!int 7]", ("5", "6", 7)),
        ("1: one\ntrue: yes\n", {"1": "one", "true": "yes"}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, d: 2}\nc: {<<: *x, b: 3}\n", {"a": {"b": 1, "d": 2}, "c": {"b": 3, "d": 2}}),
        ("c: {<<: [{b: 1}, {b: 2, d: 3}]}\n", {"c": {"b": 1, "d": 3}}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("9" * 5000, "9" * 5000),  # int() refuses texts of that length with ValueError
    ],
)
def test_values(text: str, value: object) -> None:
    assert values(text) == [value]


@pytest.mark.usefixtures("parser")
def test_many_documents_and_empty_ones() -> None:
    assert values("---\na: 1\n---\n---\nb: 2\n...\n---\n") == [{"a": 1}, None, {"b": 2}, None]
    assert values("") == []


@pytest.mark.usefixtures("parser")
def test_places_count_from_one_and_know_keys_and_values() -> None:
    (node,) = read_documents("# first\nspec:\n  plan:\n  - {targets: [{weight: 5}]}\n")
    path = ("spec", "plan", 0, "targets", 0, "weight")
    assert node.find(path) == (4, 25)
    assert node.find(path, key=True) == (4, 17)
    assert node.find(("spec", "plan", 0, "targets", 0, "model")) == (4, 16)  # what is missing: the mapping around it
    assert node.find(("spec", "plan", 7)) == (4, 3)
    assert node.find(()) == (2, 1)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 1\na: 2\n", "HG1008"),
        ("{a: 1, 'a': 2}", "HG1008"),
        ("[" * (MAX_DEPTH + 1), "HG1009"),
        ("a: &a [*a]", "HG1002"),
        ("a: *b", "HG1002"),
        ("a: [1, 2", "HG1002"),
        ("a: \x00", "HG1002"),
        ("? {a: 1}\n: b", "HG1002"),
        ("a: &k b\n*k : c", "HG1002"),
        ("!!binary aGVsbG8=", "HG1002"),
        ("!!set {a, b}", "HG1002"),
        ("%YAML 3.0\n---\na", "HG1002"),
        ("a: {<<: [1]}", "HG1002"),
        ('"\\ud800"', "HG1002"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_a_code(text: str, code: str) -> None:
    with pytest.raises(TreeError) as caught:
        values(text)
    assert caught.value.code == code
    assert caught.value.place >= (1, 1)


def test_alias_expansion_is_bounded() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(TreeError) as caught:
        values(bomb)
    assert caught.value.code == "HG1009"


def test_merging_is_bounded() -> None:
    wide = "{" + ",".join(f"k{i}: 1" for i in range(1000)) + "}"
    with pytest.raises(TreeError) as caught:
        values(f"base: &b {wide}\nmany: [" + ",".join(["{<<: *b}"] * 2000) + "]")
    assert caught.value.code == "HG1009"


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-_.", min_size=1, max_size=6), inner, max_size=4),
    max_leaves=15,
)


def as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_tuples(child) for key, child in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


@given(_json)
def test_json_is_read_as_json(value: object) -> None:
    """Whatever json writes is read back the same, in both layouts."""
    for text in (json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, indent=2)):
        assert values(text) == [as_tuples(value)]
