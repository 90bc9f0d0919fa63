"""Loading: everything at once, in a stable order, never raising, fast enough for a thousand routes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.spec import load as loading
from control_plane.spec import yaml_tree
from control_plane.spec.findings import Finding
from control_plane.spec.load import SpecFile, load, parse_bytes
from control_plane.spec.models import ModelRoute, Provider, SpecSet

PROVIDER = """\
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec: {{preset: openai-compatible, baseUrl: "https://{name}.example.com/v1"}}
"""
ROUTE = """\
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}, alias-{name}]
  plan:
  - targets: [{{provider: {first}, model: m, weight: 80}}, {{provider: {second}, model: m, weight: 20}}]
  - targets: [{{provider: {third}, model: claude}}]
  timeouts: {{connect: 2s, firstToken: 8s, idle: 40s, total: 10m}}
"""


def test_a_finding_prints_as_the_manual_says() -> None:
    finding = Finding("HG1003", "error", "spec.plan.0.targets.1.wieght", "unknown field", 'did you mean "weight"?', "routes.yaml", 9, 7)
    assert str(finding) == 'routes.yaml:9:7 HG1003 error spec.plan.0.targets.1.wieght: unknown field; did you mean "weight"?'


def test_folders_are_read_recursively_sorted_and_without_hidden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.yaml", "a.yml", "sub/c.json", "sub/deeper/d.yaml", ".hidden.yaml", ".git/e.yaml", "notes.txt", "sub/f.yaml.bak"):
        path = Path("specs", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not: [valid" if "hidden" in name or ".git" in name else PROVIDER.format(name="p-" + path.stem))
    Path("specs/sub/loop").symlink_to("..", target_is_directory=True)
    Path("specs/link.yaml").symlink_to("sub/c.json")
    Path("specs/sub/c.json").unlink()  # a dangling link is a finding, not a crash
    loaded = load("specs")
    assert [provider.name for provider in loaded.specs.providers] == ["p-a", "p-b", "p-d"]
    assert [(f.file, f.code) for f in loaded.findings if f.severity == "error"] == [("specs/link.yaml", "HG1001")]


def test_a_document_knows_where_it_was_written_but_that_is_no_part_of_it(tmp_path: Path) -> None:
    for folder, before in (("a", ""), ("b", "# moved down\n\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text(before + PROVIDER.format(name="p"))
    here, there = (load(tmp_path / folder).specs for folder in "ab")
    assert here == there
    assert here.as_dicts() == there.as_dicts()
    one, other = here.providers[0], there.providers[0]
    assert one.origin is not None
    assert other.origin is not None
    assert (one.origin.line, other.origin.line) == (1, 3)
    assert one.resolve_path("key") == tmp_path / "a" / "key"
    assert one.resolve_path("/abs/key") == Path("/abs/key")
    assert str(other.finding("HG2006", ("spec", "baseUrl"), "bad")).startswith(f"{tmp_path}/b/x.yaml:6:44 HG2006 error spec.baseUrl: bad")


def test_what_is_written_out_is_read_back(tmp_path: Path) -> None:
    files = sorted(Path(__file__).parents[2].glob("golden/findings/none-a-good-set.txt"))
    text = files[0].read_text().split(">>> file routes.yaml\n")[1].split(">>> ")[0]
    (tmp_path / "a.yaml").write_text(text)
    documents = load(tmp_path).specs
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all(documents.as_dicts()))
    assert documents.routes
    assert load(tmp_path).specs == documents


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ROUTE.format(name="r", first="a", second="b", third="c").replace("idle: 40s, ", ""))
    spec = load(tmp_path).specs.routes[0].spec
    assert spec.retry.attempts == 2
    assert spec.retry.on == ("transient", "rate_limited", "unreadable", "credential")
    assert (spec.timeouts.idle_ms, spec.effective_idle_ms) == (60_000, 60_000)
    assert spec.dialects == (
        *("openai-chat", "openai-responses", "anthropic-messages"),
        *("gemini-generate-content", "bedrock-converse", "cohere-chat"),
    )
    assert (spec.max_request_bytes, spec.first_event_hold) == (33_554_432, False)
    assert spec.plan[1].targets[0].weight == 100
    assert spec.plan[0].targets[0].key == "a/m"


def test_the_default_idle_timer_is_raised_without_a_warning(tmp_path: Path) -> None:
    text = PROVIDER.format(name="a") + "---\n" + PROVIDER.format(name="b") + "---\n"
    text += ROUTE.format(name="r", first="a", second="b", third="a").replace("firstToken: 8s, idle: 40s", "firstToken: 40s")
    (tmp_path / "a.yaml").write_text(text)
    loaded = load(tmp_path)
    assert [f.code for f in loaded.findings if f.severity == "warning" and f.code == "HG3005"] == []
    assert loaded.specs.routes[0].spec.effective_idle_ms == 2 * (2_000 + 40_000 + 250)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")  # opening it would wait for a writer for ever
    (tmp_path / "big.yaml").write_bytes(b"# " + b"x" * loading.MAX_FILE_BYTES)
    (tmp_path / "folder.yaml").mkdir()
    found = [(Path(f.file).name, f.code, f.message) for f in load([tmp_path, tmp_path / "nul\0.yaml"]).findings]
    assert ("pipe.yaml", "HG1001", "cannot be read: not a regular file") in found
    assert ("big.yaml", "HG1009", "larger than 8 MiB") in found
    assert any(code == "HG1001" and "nul" in name for name, code, _ in found)


def test_an_empty_folder_is_an_error_since_all_routes_would_vanish(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert not loaded.ok
    assert [f.code for f in loaded.findings] == ["HG1011"]


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PROVIDER.format(name="p"))
    assert load([tmp_path, tmp_path / "a.yaml"]).ok


def test_byte_order_mark_is_no_part_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + PROVIDER.format(name="p").encode())
    assert load(tmp_path).ok


def test_a_flood_of_findings_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PROVIDER.format(name="p") + "".join(f"x{i}: 1\n" for i in range(10_000)))
    assert len(load(tmp_path).findings) == 100


def test_both_parsers_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, first in enumerate(("a", "nobody")):
        (tmp_path / f"{number}.yaml").write_text(ROUTE.format(name=f"r{number}", first=first, second="b", third="a"))
    (tmp_path / "p.yaml").write_text(PROVIDER.format(name="a") + "---\n" + PROVIDER.format(name="b") + "extra: 1\n")
    fast = load(tmp_path)
    monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)
    assert load(tmp_path) == fast
    assert len(fast.findings) == 2


def test_a_thousand_routes_load_in_time(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text("---\n".join(PROVIDER.format(name=f"p{i}") for i in range(20)))
    for i in range(1000):
        names = {"first": f"p{i % 20}", "second": f"p{(i + 1) % 20}", "third": f"p{(i + 2) % 20}"}
        (tmp_path / f"r{i}.yaml").write_text(ROUTE.format(name=f"r{i}", **names))
    before = time.process_time()
    loaded = load(tmp_path)
    spent_s = time.process_time() - before
    assert loaded.ok
    assert loaded.findings == ()
    assert len(loaded.specs.routes) == 1000
    assert spent_s < 1.5 * 2  # 0.4 s where it was written; twice the promise, for slow machines


FILE = SpecFile("a.yaml")
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
_words = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "name",
        "models",
        "plan",
        "targets",
        "provider",
        "model",
        "weight",
        "timeouts",
        "idle",
        "retry",
        "on",
        "preset",
        "baseUrl",
        "credentials",
        "secretRef",
        "env",
        "file",
        "headers",
        "limits",
        "tls",
        "labels",
        "attempts",
        "maxRequestBytes",
        "title",
        "dialects",
        "openai-chat",
        "path",
        "operations",
        "auth",
        "header",
        "options",
        "max_tokens_field",
    ]
)
_values = st.sampled_from(
    [
        "headgate.dev/v1alpha1",
        "Provider",
        "ModelRoute",
        "Preset",
        "groq",
        "openai",
        "openai-compatible",
        "chat",
        "2s",
        "2M",
        80,
        0,
        -1,
        True,
        "https://[::1]/",
        "http://1",
    ]
)
_trees = st.recursive(
    _values | _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | st.text(max_size=5), inner, max_size=5),
    max_leaves=25,
)


def _documents(kind: str) -> st.SearchStrategy[object]:
    return st.fixed_dictionaries(
        {"apiVersion": st.just("headgate.dev/v1alpha1"), "kind": st.just(kind), "metadata": st.just({"name": "x"}) | _trees, "spec": _trees}
    )


def assert_sound(data: bytes) -> None:
    parsed = parse_bytes(FILE, data)
    loaded = loading.combine([parsed])
    lines = data.count(b"\n") + data.count(b"\r") + 2
    for finding in loaded.findings:
        assert 1 <= finding.line <= lines + 10_000 * (b"\xe2\x80" in data or b"\xc2\x85" in data)  # YAML knows other line breaks, too
        assert finding.col >= 1
        assert finding.message
        assert finding.fix
    assert loaded.ok == all(finding.severity == "warning" for finding in loaded.findings)


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    assert_sound(data)


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@`#,?\n \t~<0.\\"), max_size=120))
def test_no_yaml_syntax_raises(text: str) -> None:
    assert_sound(text.encode())


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(st.lists(_trees | _documents("Provider") | _documents("ModelRoute"), min_size=1, max_size=3))
def test_no_document_raises(documents: list[object]) -> None:
    assert_sound(yaml.safe_dump_all(documents, allow_unicode=True).encode("utf-8", "replace"))


def test_specs_are_sorted_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("---\n".join(PROVIDER.format(name=name) for name in ("z", "a", "m")))
    specs = load(tmp_path).specs
    assert [provider.name for provider in specs.providers] == ["a", "m", "z"]
    assert SpecSet.of(list(reversed(specs.providers))) == specs
    assert all(isinstance(doc, Provider) for doc in specs.providers)
    assert not any(isinstance(doc, ModelRoute) for doc in specs.providers)
