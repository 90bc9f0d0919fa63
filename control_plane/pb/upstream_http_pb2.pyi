from control_plane.pb import config_source_pb2 as _config_source_pb2
from control_plane.pb import http_filter_pb2 as _http_filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HttpProtocolOptions(_message.Message):
    __slots__ = ("explicit_http_config", "http_filters")
    class ExplicitHttpConfig(_message.Message):
        __slots__ = ("http_protocol_options",)
        HTTP_PROTOCOL_OPTIONS_FIELD_NUMBER: _ClassVar[int]
        http_protocol_options: _config_source_pb2.Http1ProtocolOptions
        def __init__(self, http_protocol_options: _Optional[_Union[_config_source_pb2.Http1ProtocolOptions, _Mapping]] = ...) -> None: ...
    EXPLICIT_HTTP_CONFIG_FIELD_NUMBER: _ClassVar[int]
    HTTP_FILTERS_FIELD_NUMBER: _ClassVar[int]
    explicit_http_config: HttpProtocolOptions.ExplicitHttpConfig
    http_filters: _containers.RepeatedCompositeFieldContainer[_http_filter_pb2.HttpFilter]
    def __init__(self, explicit_http_config: _Optional[_Union[HttpProtocolOptions.ExplicitHttpConfig, _Mapping]] = ..., http_filters: _Optional[_Iterable[_Union[_http_filter_pb2.HttpFilter, _Mapping]]] = ...) -> None: ...
