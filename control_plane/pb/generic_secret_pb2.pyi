from control_plane.pb import secret_pb2 as _secret_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GenericSecret(_message.Message):
    __slots__ = ("secret_configs",)
    class SecretConfigsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _secret_pb2.SdsSecretConfig
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_secret_pb2.SdsSecretConfig, _Mapping]] = ...) -> None: ...
    SECRET_CONFIGS_FIELD_NUMBER: _ClassVar[int]
    secret_configs: _containers.MessageMap[str, _secret_pb2.SdsSecretConfig]
    def __init__(self, secret_configs: _Optional[_Mapping[str, _secret_pb2.SdsSecretConfig]] = ...) -> None: ...
