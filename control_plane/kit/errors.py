"""The error tree: every error says whose fault it is, because that decides what happens next."""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """Root of all errors that Headgate raises on purpose."""


class SpecError(GatewayError):
    """The operator's fault: a spec, a flag or a file that cannot be used. The text names the place and the fix."""


class ProtocolError(GatewayError):
    """Bytes that do not follow a dialect."""


@dataclass(eq=False)
class ClientProtocolError(ProtocolError):
    """The caller's fault: answered with `status` (4xx) in the caller's dialect and never retried.

    `code` is a stable snake_case word, `param` the field at fault ("messages.3.content") or None.
    """

    status: int
    code: str
    message: str
    param: str | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}" + (f" ({self.param})" if self.param else "")


@dataclass(eq=False)
class ProviderProtocolError(ProtocolError):
    """The provider's fault: an answer that cannot be read. Before content it fails over, after it the client is told."""

    message: str

    def __str__(self) -> str:
        return self.message
