"""The protobuf schema that is compiled into the Envoy binary itself: the truth about message names and field numbers.

Published Python packages of Envoy's API lag behind the binary; the binary carries every FileDescriptorProto it was built
with. Reading them takes about a second, so this serves offline commands and tests, never the running control plane.
"""

from __future__ import annotations

import mmap
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError, Message

from control_plane.kit.envoy_binary import find_envoy

_WELL_KNOWN: Final = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2, descriptor_pb2)
_START: Final = re.compile(rb"\x0a([\x08-\x7f])((?:envoy|xds|udpa|validate|google|cel|opentelemetry)/[A-Za-z0-9_/]+\.proto)\x12")
_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15})
_SYNTAX: Final = 12
"""Always the last field of a compiled-in FileDescriptorProto."""


class EnvoySchema:
    """Messages of Envoy's API, in a descriptor pool of their own (our trimmed protos share their names)."""

    def __init__(self, binary: Path | None = None) -> None:
        self._binary = binary or find_envoy()
        self._pool = descriptor_pool.DescriptorPool()
        self._loaded: set[str] = set()
        for module in _WELL_KNOWN:
            file = FileDescriptorProto()
            module.DESCRIPTOR.CopyToProto(file)
            self._pool.Add(file)
            self._loaded.add(file.name)

    @cached_property
    def files(self) -> dict[str, FileDescriptorProto]:
        """Every file in the binary, by its proto path."""
        found: dict[str, FileDescriptorProto] = {}
        with self._binary.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for match in _START.finditer(data):
                if match.group(1)[0] == len(match.group(2)) and (file := _file_at(data, match.start())):
                    found[file.name] = file
        return found

    @cached_property
    def _by_message(self) -> dict[str, str]:
        return {f"{file.package}.{message.name}": name for name, file in self.files.items() for message in file.message_type}

    def message(self, full_name: str) -> type[Message]:
        """The message class of that full name. Raises KeyError for a name the binary does not have."""
        outer = full_name
        while outer not in self._by_message:
            outer, _, inner = outer.rpartition(".")
            if not inner:
                raise KeyError(full_name)
        self._load(self._by_message[outer])
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full_name))

    def to_dict(self, full_name: str, body: bytes) -> dict[str, Any]:
        """A serialised message in protobuf's JSON form, nested Any included."""
        message = self.message(full_name).FromString(body)
        self._load_any(message)
        return json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=self._pool)

    def from_dict(self, full_name: str, value: dict[str, Any]) -> bytes:
        """The serialised message for its JSON form. Raises json_format.ParseError for what does not fit the schema."""
        self._load_named(value)
        return json_format.ParseDict(value, self.message(full_name)(), descriptor_pool=self._pool).SerializeToString()

    def _load(self, name: str) -> None:
        if name in self._loaded or name not in self.files:
            return
        self._loaded.add(name)
        file = FileDescriptorProto()
        file.CopyFrom(self.files[name])
        known = []
        for dependency in file.dependency:  # annotation-only imports are not in the binary and carry no fields
            self._load(dependency)
            if dependency in self._loaded:
                known.append(dependency)
        del file.dependency[:], file.public_dependency[:], file.weak_dependency[:]
        file.dependency.extend(known)
        self._pool.Add(file)

    def _load_any(self, message: Message) -> None:
        """Load the types of every Any inside, since printing resolves them."""
        if message.DESCRIPTOR.full_name == "google.protobuf.Any":
            name = message.type_url.rpartition("/")[2]  # type: ignore[attr-defined]
            self._load_any(self.message(name).FromString(message.value))  # type: ignore[attr-defined]
            return
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                values = [v for v in value.values() if isinstance(v, Message)]
            else:
                values = list(value) if field.is_repeated else [value]
            for item in values:
                self._load_any(item)

    def _load_named(self, value: object) -> None:
        if isinstance(value, dict):
            if isinstance(url := value.get("@type"), str):
                self.message(url.rpartition("/")[2])
            for item in value.values():
                self._load_named(item)
        elif isinstance(value, list):
            for item in value:
                self._load_named(item)


def _varint(data: mmap.mmap, i: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[i]
        value |= (byte & 0x7F) << shift
        i, shift = i + 1, shift + 7
        if not byte & 0x80:
            return value, i


def _file_at(data: mmap.mmap, start: int) -> FileDescriptorProto | None:
    """The FileDescriptorProto that begins at `start`: walk its fields until one cannot belong to it."""
    i = start
    try:
        while True:
            tag, j = _varint(data, i)
            number, wire = tag >> 3, tag & 7
            if number not in _FIELDS or (number == 1 and i != start):
                break
            if wire == 2:
                length, j = _varint(data, j)
                j += length
            elif wire == 0:
                _, j = _varint(data, j)
            else:
                break
            i = j
            if number == _SYNTAX:
                break
    except IndexError:
        pass
    file = FileDescriptorProto()
    try:
        file.ParseFromString(data[start:i])
    except DecodeError:
        return None
    return file if file.package else None
