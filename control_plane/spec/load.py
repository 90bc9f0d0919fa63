"""Spec files to documents: every problem of every file is reported at once, each with its place and its fix."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from control_plane.kit.uncollected import uncollected
from control_plane.spec.check import check_document, check_set
from control_plane.spec.findings import Finding, has_errors, in_order, severity_of
from control_plane.spec.models import API_VERSION, KINDS, AnyDocument, SpecSet
from control_plane.spec.nearest import did_you_mean, listed
from control_plane.spec.origin import Origin
from control_plane.spec.validation import findings_of
from control_plane.spec.yaml_tree import Node, TreeError, read_documents

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_FILE_BYTES: Final = 8 * 1024**2  # 1,000 routes are about 0.5 MB
MAX_FILES: Final = 10_000  # of all paths together
MAX_FOLDERS_DEEP: Final = 16


@dataclass(frozen=True, slots=True)
class Loaded:
    """A set and what there is to say about it. Unless `ok`, `specs` is incomplete and must not be put into force."""

    specs: SpecSet
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return not has_errors(self.findings)


@dataclass(frozen=True, slots=True)
class SpecFile:
    """One file, by its name as the operator gave it: a text, because a thousand Path objects cost more than reading one file."""

    name: str

    @property
    def path(self) -> Path:
        return Path(self.name)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The documents of one file and the findings about each by itself.

    `broken` are the names of documents that were refused; with `opaque` there may be more documents than are known.
    `digest` is the SHA-256 of the bytes, b"" if they were not read.
    """

    documents: tuple[AnyDocument, ...] = ()
    findings: tuple[Finding, ...] = ()
    broken: frozenset[str] = frozenset()
    opaque: bool = False
    digest: bytes = b""


def load(paths: Path | str | Sequence[Path | str]) -> Loaded:
    """Read files and directories (recursively *.yaml, *.yml, *.json without hidden ones, sorted). Never raises for what they hold."""
    files, findings = list_files([paths] if isinstance(paths, Path | str) else paths)
    return combine([parse_file(file) for file in files], findings)


def combine(parsed: Sequence[Parsed], findings: Sequence[Finding] = ()) -> Loaded:
    """One set out of the files' documents, checked as a whole."""
    found = [*findings, *(finding for file in parsed for finding in file.findings)]
    documents = [document for file in parsed for document in file.documents]
    opaque = has_errors(findings) or any(file.opaque for file in parsed)
    broken = frozenset[str]().union(*(file.broken for file in parsed))
    found.extend(check_set(documents, broken=broken, opaque=opaque))
    return Loaded(SpecSet.of(documents), in_order(found))


def list_files(paths: Sequence[Path | str]) -> tuple[list[SpecFile], list[Finding]]:
    """The spec files below `paths` in a stable order, and findings about what cannot be listed."""
    files: dict[str, SpecFile] = {}
    findings: list[Finding] = []
    for given in map(Path, paths):
        try:
            is_folder = stat.S_ISDIR(given.stat().st_mode)
            if not is_folder:
                files.setdefault(str(given), SpecFile(str(given)))
                continue
            before = len(files)
            for name in _walk(str(given), 0, set()):
                files.setdefault(name, SpecFile(name))
                if len(files) > MAX_FILES:
                    findings.append(_about(given, "HG1009", f"more than {MAX_FILES} spec files", "put many documents into one file"))
                    return list(files.values()), findings
            if len(files) == before:
                fix = f"put files that end in {', '.join(SUFFIXES)} there"
                findings.append(_about(given, "HG1011", "no spec files in this directory", fix))
        except (OSError, ValueError) as error:
            findings.append(_about(given, "HG1001", f"cannot be read: {_reason(error)}", "check the path and its permissions"))
    return list(files.values()), findings


def _walk(folder: str, depth: int, above: set[tuple[int, int]]) -> Iterator[str]:
    """Spec files of a folder, sorted by name, then those of its folders. Links are followed, loops are not."""
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above or depth > MAX_FOLDERS_DEEP:
        return
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    before = "" if folder == "." else folder.rstrip("/") + "/"
    for entry in visible:
        if entry.name.endswith(SUFFIXES) and not entry.is_dir():
            yield before + entry.name
    for entry in visible:
        if entry.is_dir():
            yield from _walk(before + entry.name, depth + 1, above | {identity})


@uncollected
def parse_file(file: SpecFile, known: Parsed | None = None) -> Parsed:
    """Read and parse one file; `known`, an earlier result for it, is returned again if the bytes are the same."""
    try:
        data = read_bytes(file.path)
    except (OSError, ValueError) as error:
        return _refused(_about(file.path, "HG1001", f"cannot be read: {_reason(error)}", "check the path and its permissions"))
    if len(data) > MAX_FILE_BYTES:
        return _refused(_about(file.path, "HG1009", f"larger than {MAX_FILE_BYTES // 1024**2} MiB", "split the file"))
    if known is not None and known.digest == hashlib.sha256(data).digest():
        return known
    return parse_bytes(file, data)


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """At most `limit` + 1 bytes of a regular file. Raises OSError; a FIFO or device does not block."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
        return opened.read(limit + 1)


def parse_bytes(file: SpecFile, data: bytes) -> Parsed:
    """Parse the content of one file."""
    digest = hashlib.sha256(data).digest()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].rsplit(b"\n", 1)[-1]
        place = (data.count(b"\n", 0, error.start) + 1, len(before.decode("utf-8", "replace")) + 1)
        return _refused(_at(file, "HG1010", place, "not UTF-8", "save the file as UTF-8"), digest)
    if file.path.suffix == ".json":
        text = text.replace("\t", " ")  # JSON permits tabs between values, YAML does not; inside strings JSON forbids them
    documents: list[AnyDocument] = []
    findings: list[Finding] = []
    broken: set[str] = set()
    empty, opaque = True, False
    try:
        for tree in read_documents(text):
            if tree.value is None:
                continue  # `---` at the end of a file
            empty = False
            document, found = _read_document(file, tree)
            findings.extend(found)
            if document is not None:
                documents.append(document)
            elif (name := _name_of(tree)) is not None:
                broken.add(name)
            else:
                opaque = True
    except TreeError as error:
        findings.append(_at(file, error.code, error.place, error.message, error.fix))
        empty, opaque = False, True
    if empty:
        findings.append(_at(file, "HG1011", (1, 1), "holds no document", "write one, or remove the file"))
        opaque = True
    return Parsed(tuple(documents), tuple(findings), frozenset(broken), opaque, digest)


def _refused(finding: Finding, digest: bytes = b"") -> Parsed:
    return Parsed(findings=(finding,), opaque=True, digest=digest)


def _name_of(tree: Node) -> str | None:
    """metadata.name of a document, whatever else is wrong with it."""
    node: Node | None = tree
    for step in ("metadata", "name"):
        node = node.value[step][1] if node is not None and isinstance(node.value, dict) and step in node.value else None
    return node.value if node is not None and isinstance(node.value, str) else None


def _read_document(file: SpecFile, tree: Node) -> tuple[AnyDocument | None, list[Finding]]:
    """One document, or None with at least one error."""
    if not isinstance(tree.value, dict):
        fix = "begin with apiVersion, kind, metadata, spec"
        return None, [_at(file, "HG1004", tree.place, "a document must be a mapping", fix)]
    origin = Origin(file.name, file.path, tree)
    plain: dict[str, Any] = tree.plain()
    findings = _check_header(origin, plain)
    model = KINDS.get(plain["kind"]) if isinstance(plain.get("kind"), str) else None
    if model is None:
        return None, findings
    plain.pop("apiVersion", None)
    try:
        document = model.model_validate(plain, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, [*findings, *findings_of(error, origin, model)]
    if has_errors(findings):  # of another version: its fields may mean something else
        return None, findings
    findings.extend(check_document(document.written_at(origin)))
    return document, findings


def _check_header(origin: Origin, plain: dict[str, Any]) -> list[Finding]:
    """apiVersion and kind, which decide how the rest is read."""
    findings: list[Finding] = []

    def report(code: str, field: str, message: str, fix: str) -> None:
        line, col = origin.find((field,))
        findings.append(Finding(code, severity_of(code), field, message, fix, origin.name, line, col))

    version = plain.get("apiVersion")
    if version is None:
        report("HG3011", "apiVersion", f"missing, read as {API_VERSION}", f"add apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        report("HG1012", "apiVersion", "unknown version" + _quoted(version), f'write "{API_VERSION}"')
    kind = plain.get("kind")
    if kind is None:
        report("HG1005", "kind", "missing field", f"add kind: one of {listed(KINDS)}")
    elif not isinstance(kind, str) or kind not in KINDS:
        meant = did_you_mean(kind, KINDS) if isinstance(kind, str) else None
        report("HG1013", "kind", "unknown kind" + _quoted(kind), meant or f"the kinds are {listed(KINDS)}")
    return findings


def _quoted(value: object) -> str:
    return f' "{value:.60}"' if isinstance(value, str) and value.isprintable() else ""


def _about(path: Path, code: str, message: str, fix: str) -> Finding:
    return Finding(code, severity_of(code), "", message, fix, str(path), 1, 1)


def _at(file: SpecFile, code: str, place: tuple[int, int], message: str, fix: str) -> Finding:
    return Finding(code, severity_of(code), "", message, fix, file.name, *place)


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
