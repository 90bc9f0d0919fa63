from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InlineCredentialProvider(_message.Message):
    __slots__ = ("access_key_id", "secret_access_key", "session_token")
    ACCESS_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_ACCESS_KEY_FIELD_NUMBER: _ClassVar[int]
    SESSION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    access_key_id: str
    secret_access_key: str
    session_token: str
    def __init__(self, access_key_id: _Optional[str] = ..., secret_access_key: _Optional[str] = ..., session_token: _Optional[str] = ...) -> None: ...

class AwsCredentialProvider(_message.Message):
    __slots__ = ("inline_credential", "custom_credential_provider_chain")
    INLINE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CREDENTIAL_PROVIDER_CHAIN_FIELD_NUMBER: _ClassVar[int]
    inline_credential: InlineCredentialProvider
    custom_credential_provider_chain: bool
    def __init__(self, inline_credential: _Optional[_Union[InlineCredentialProvider, _Mapping]] = ..., custom_credential_provider_chain: _Optional[bool] = ...) -> None: ...
