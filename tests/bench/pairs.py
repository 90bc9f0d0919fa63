"""CPU of the translator alone for every pair of dialects, in this process: no Envoy, no sockets. See README.md beside this file.

A request of 100 KB with 40 tools, and a streamed chunk of text, each through the exchange as a worker runs it: Envoy's messages
in, serialised answers out. The least of the rounds counts: whatever else the machine does only ever adds.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from control_plane.dialects import canon
from control_plane.dialects.api import ClientDialect, ProviderDialect, TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from control_plane.ir.operations import operations_of
from control_plane.kit.headers import CALL_HEADER
from control_plane.pb.ext_proc_pb2 import ProcessingRequest
from tests.bench.payloads import chat_body

REQUEST_BYTES: Final = 100_000
TOOLS: Final = 40
CHUNKS: Final = 400
MOST_REQUEST_MS: Final = 3.0
MOST_CHUNK_US: Final = 60.0
"""Of 120 µs in all: Envoy's share and that of the gRPC stream, which are the same for every pair, take the other half (run.py)."""

WORDS: Final = ("The ", "gate ", "lets ", "water ", "into ", "the ", "channel, ", "and ", "no ", "more.\n")


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}0123456789abcdef"

    def now(self) -> int:
        return 1_700_000_000


def asked(stream: bool) -> canon.Request:
    body = chat_body("m", REQUEST_BYTES, stream=stream, tools=TOOLS)
    return DIALECTS["openai-chat"].read_request(body)


def request_of(dialect: str, stream: bool) -> bytes:
    """The body of the same request as clients of `dialect` send it."""
    return PROVIDERS[dialect].write_request(asked(stream), TargetFacts("m", "/")).body


def answer_of(dialect: str) -> tuple[str, list[bytes]]:
    """A streamed answer of a provider of `dialect`: its content type, and one piece for each event."""
    request = canon.Request(dialect=dialect, model="m", messages=(), stream=True, include_usage=True)
    writer = DIALECTS[dialect].writer(request, Ids())
    events: list[canon.Event] = [canon.Start("r", "m", 1_700_000_000)]
    events += [canon.TextDelta(WORDS[number % len(WORDS)]) for number in range(CHUNKS)]
    events += [canon.UsageUpdate(canon.Usage(100, 50, None, CHUNKS, 0)), canon.Stop("end"), canon.End()]
    pieces = [writer.emit(event) for event in events]
    pieces.append(writer.finish())
    return writer.content_type, [piece for piece in pieces if piece]


def exchange(client: str, provider: str) -> Exchange:
    speaks: tuple[ClientDialect, ProviderDialect] = (DIALECTS[client], PROVIDERS[provider])
    by_path = any(operation.by_path for operation in operations_of(client) if operation.name == "chat")
    return Exchange(Facts(*speaks, "prov/m", TargetFacts("up-model", "/up"), by_path=by_path), Ids(), Tally())


def request_messages(body: bytes) -> list[bytes]:
    head, whole = ProcessingRequest(), ProcessingRequest()
    head.request_headers.headers.headers.add(key=CALL_HEADER, raw_value=b"stream alt=sse m")
    whole.request_body.body, whole.request_body.end_of_stream = body, True
    return [head.SerializeToString(), whole.SerializeToString()]


def answer_messages(content_type: str, pieces: Sequence[bytes]) -> Iterator[bytes]:
    head = ProcessingRequest()
    for name, value in ((":status", "200"), ("content-type", content_type)):
        head.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    yield head.SerializeToString()
    for number, piece in enumerate(pieces, 1):
        message = ProcessingRequest()
        message.response_body.body, message.response_body.end_of_stream = piece, number == len(pieces)
        yield message.SerializeToString()


def told(exchange: Exchange, messages: Sequence[bytes]) -> list[bytes]:
    answers: list[bytes] = []
    for message in messages:
        answers += exchange.on_message(ProcessingRequest.FromString(message))
    return answers


def least(run: Callable[[], object], rounds: int) -> float:
    """Seconds of this process's CPU, the least of the rounds."""
    found = []
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return min(found)


def request_ms(client: str, provider: str, rounds: int) -> float:
    messages = request_messages(request_of(client, stream=True))
    return 1e3 * least(lambda: told(exchange(client, provider), messages), rounds)


def chunk_us(client: str, provider: str, rounds: int) -> float:
    opening, answer = request_messages(request_of(client, stream=True)), list(answer_messages(*answer_of(provider)))

    def run() -> float:
        attempt = exchange(client, provider)
        told(attempt, opening)
        began = time.process_time()
        told(attempt, answer)
        return time.process_time() - began

    return 1e6 * min(run() for _ in range(rounds)) / CHUNKS


def table(title: str, figure: Callable[[str, str, int], float], rounds: int, most: float) -> bool:
    """Prints a row for each client's dialect; False when a figure is above `most`."""
    providers = [name for name in PROVIDERS if name in DIALECTS]
    print(f"{title} (at most {most:g})")
    print(f"{'client':>26} " + " ".join(f"{name:>26}" for name in providers))
    kept = True
    for client in DIALECTS:
        figures = [figure(client, provider, rounds) for provider in providers]
        print(f"{client:>26} " + " ".join(f"{number:26.2f}" for number in figures), flush=True)
        kept = kept and max(figures) <= most
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="exit code 1 when a figure is above what it may be")
    chosen = parser.parse_args()
    kept = table("ms of CPU for a request of 100 KB with 40 tools", request_ms, chosen.rounds, MOST_REQUEST_MS)
    print()
    kept = table("µs of CPU for a streamed chunk", chunk_us, chosen.rounds, MOST_CHUNK_US) and kept
    if chosen.check and not kept:
        sys.exit(1)


if __name__ == "__main__":
    main()
