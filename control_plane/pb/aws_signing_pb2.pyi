from control_plane.pb import aws_credentials_pb2 as _aws_credentials_pb2
from control_plane.pb import matcher_pb2 as _matcher_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AwsRequestSigning(_message.Message):
    __slots__ = ("service_name", "region", "host_rewrite", "credential_provider", "match_included_headers")
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    HOST_REWRITE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MATCH_INCLUDED_HEADERS_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    region: str
    host_rewrite: str
    credential_provider: _aws_credentials_pb2.AwsCredentialProvider
    match_included_headers: _containers.RepeatedCompositeFieldContainer[_matcher_pb2.StringMatcher]
    def __init__(self, service_name: _Optional[str] = ..., region: _Optional[str] = ..., host_rewrite: _Optional[str] = ..., credential_provider: _Optional[_Union[_aws_credentials_pb2.AwsCredentialProvider, _Mapping]] = ..., match_included_headers: _Optional[_Iterable[_Union[_matcher_pb2.StringMatcher, _Mapping]]] = ...) -> None: ...
