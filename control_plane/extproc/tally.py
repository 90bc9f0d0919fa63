"""What a translator process counts. Plain integers: one process, one thread."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Tally:
    """Counts since the process began, except `open`, which is now. One stream is one attempt."""

    open: int = 0
    streams: int = 0
    translated: int = 0  # requests written for a provider
    refused: int = 0  # client errors answered at once
    declined: int = 0  # requests the target cannot serve, handed to the next target
    complete: int = 0  # answers that reached their terminal event
    provider_errors: int = 0  # non-2xx answers and errors inside a 2xx one
    unreadable: int = 0  # answers that could not be read: garbage, wrong content type, cut
    cancelled: int = 0  # streams that Envoy reset before the attempt was over
    protocol_errors: int = 0  # frames or messages that could not be read
    faults: int = 0  # exceptions in our own code

    def as_dict(self) -> dict[str, int]:
        return asdict(self)
