from control_plane.pb import core_pb2 as _core_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lua(_message.Message):
    __slots__ = ("default_source_code", "stat_prefix", "clear_route_cache", "filter_context", "shared_vm_id")
    DEFAULT_SOURCE_CODE_FIELD_NUMBER: _ClassVar[int]
    STAT_PREFIX_FIELD_NUMBER: _ClassVar[int]
    CLEAR_ROUTE_CACHE_FIELD_NUMBER: _ClassVar[int]
    FILTER_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SHARED_VM_ID_FIELD_NUMBER: _ClassVar[int]
    default_source_code: _core_pb2.DataSource
    stat_prefix: str
    clear_route_cache: _wrappers_pb2.BoolValue
    filter_context: _struct_pb2.Struct
    shared_vm_id: str
    def __init__(self, default_source_code: _Optional[_Union[_core_pb2.DataSource, _Mapping]] = ..., stat_prefix: _Optional[str] = ..., clear_route_cache: _Optional[_Union[_wrappers_pb2.BoolValue, _Mapping]] = ..., filter_context: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., shared_vm_id: _Optional[str] = ...) -> None: ...
