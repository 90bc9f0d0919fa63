"""Our HTTP/2 connection against the h2 library as a strict client, and against bytes no library would send."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.extproc import http2
from control_plane.extproc.http2 import Connection, Header, HeaderBlocks, Stream, encoded, frame
from tests.unit.extproc.peer import Peer, Transport

HEAD = encoded([(b":status", b"200")])
DONE = encoded([(b"grpc-status", b"0")])


class Echo:
    """Answers every piece with itself, and the end with trailers."""

    def __init__(self, headers: list[Header], stream: Stream, log: list[str]) -> None:
        self.headers = dict(headers)
        self.stream = stream
        self.log = log
        stream.head(HEAD)

    def received(self, data: bytes) -> None:
        self.log.append(f"{self.stream.number} data {len(data)}")
        self.stream.send(data)

    def half_closed(self) -> None:
        self.log.append(f"{self.stream.number} end")
        self.stream.end(DONE)

    def reset(self) -> None:
        self.log.append(f"{self.stream.number} reset")


class Server:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.calls: list[Echo] = []
        self.living: set[Connection] = set()
        self.blocks = HeaderBlocks()

    def opened(self, headers: list[Header], stream: Stream) -> Echo:
        self.calls.append(Echo(headers, stream, self.log))
        return self.calls[-1]

    def connection(self) -> Connection:
        return Connection(self.opened, self.blocks, self.living)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def peer(server: Server) -> Peer:
    return Peer(server.connection())


def test_whole_exchange(server: Server, peer: Peer) -> None:
    number = peer.open(headers=[(b"x-one", b"1")])
    peer.send(number, b"hello ")
    peer.send(number, b"world", end=True)
    assert peer.head[number] == {b":status": b"200"}
    assert peer.data[number] == b"hello world"
    assert peer.trailers[number] == {b"grpc-status": b"0"}
    assert number in peer.ended
    assert not peer.resets
    assert server.calls[0].headers[b"x-one"] == b"1"
    assert server.calls[0].headers[b":path"] == b"/p"


def test_one_read_is_answered_by_one_write(server: Server, peer: Peer) -> None:
    numbers = [peer.open() for _ in range(20)]
    peer.transport.writes = 0
    for number in numbers:
        peer.client.send_data(number, b"x")
    peer.connection.data_received(peer.client.data_to_send())
    assert peer.transport.writes == 1


def test_headers_of_later_connections_come_from_the_first(server: Server) -> None:
    headers = [(b"x-target", b"a/b"), (b"x-model", b"m")]
    for _ in range(3):
        peer = Peer(server.connection())
        for _ in range(3):
            peer.open(headers=headers)
        peer.open(headers=[(b"x-new", b"1")])
        assert peer.goaway is None
    assert {call.headers.get(b"x-target") for call in server.calls} == {b"a/b", None}
    assert len(server.calls) == 12


def test_known_blocks_are_bounded(server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "CACHED_BLOCKS", 3)
    for number in range(10):
        peer.open(headers=[(b"x-n", str(number).encode())])
    assert len(server.blocks._known) <= 3
    assert [call.headers[b"x-n"] for call in server.calls] == [str(number).encode() for number in range(10)]


@pytest.mark.parametrize("window", [0, 1, 1000, 70_000])
def test_answer_waits_for_the_streams_window(server: Server, window: int) -> None:
    peer = Peer(server.connection(), window=window)
    peer.auto_window = False
    number = peer.open()
    body = bytes(range(256)) * 200
    for at in range(0, len(body), 10_000):
        peer.send(number, body[at : at + 10_000])
    peer.client.end_stream(number)
    peer.pump()
    assert peer.data[number] == body[:window]
    assert number not in peer.ended or window >= len(body)
    while number not in peer.ended:
        peer.client.increment_flow_control_window(7_777, number)
        peer.pump()
    assert peer.data[number] == body
    assert peer.trailers[number] == {b"grpc-status": b"0"}


def test_answers_wait_for_the_connections_window(server: Server) -> None:
    peer = Peer(server.connection(), window=1_000_000)
    peer.auto_window = False
    numbers = [peer.open() for _ in range(4)]
    for number in numbers:
        for _ in range(3):
            peer.send(number, b"x" * 16_000, end=False)
    assert sum(len(data) for data in peer.data.values()) == 65_535
    peer.client.increment_flow_control_window(200_000)
    peer.pump()
    assert {len(peer.data[number]) for number in numbers} == {48_000}


def test_window_that_settings_change_later(server: Server) -> None:
    peer = Peer(server.connection(), window=10)
    peer.auto_window = False
    number = peer.open()
    peer.send(number, b"x" * 100)
    assert len(peer.data[number]) == 10
    peer.client.update_settings({4: 60})
    peer.pump()
    assert len(peer.data[number]) == 60


def test_received_data_gives_its_window_back(server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "WINDOW_BYTES", 100_000)  # of the thresholds only: the peer's windows were set by the real one
    number = peer.open()
    before = peer.client.remote_flow_control_window(number)
    for _ in range(20):
        peer.send(number, b"x" * 16_000)
    assert before - peer.client.remote_flow_control_window(number) <= 50_000 + 16_000


def test_peer_that_resets_is_forgotten(server: Server, peer: Peer) -> None:
    number = peer.open()
    peer.client.reset_stream(number)
    peer.pump()
    assert server.log == [f"{number} reset"]
    server.calls[0].stream.send(b"late")
    peer.pump()
    assert peer.goaway is None


def test_thousands_of_resets_do_not_end_the_connection(server: Server, peer: Peer) -> None:
    kept = peer.open()
    for _ in range(3000):
        number = peer.client.get_next_available_stream_id()
        peer.client.send_headers(number, [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"t"), (b":path", b"/")])
        peer.client.reset_stream(number)
    peer.pump()
    peer.send(kept, b"still", end=True)
    assert peer.data[kept] == b"still"
    assert peer.goaway is None


def test_stream_that_ends_before_its_peer(server: Server, peer: Peer) -> None:
    number = peer.open()
    server.calls[0].stream.end(DONE)
    peer.connection.data_received(b"")
    peer.pump()
    assert number in peer.ended
    assert peer.resets.get(number, 0) == http2.NO_ERROR
    peer.raw(frame(http2.DATA, 0, number, b"late") + frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, number, DONE))
    assert peer.goaway is None


def test_trailers_of_the_peer_end_its_side(server: Server, peer: Peer) -> None:
    number = peer.open()
    peer.client.send_headers(number, [(b"x-end", b"1")], end_stream=True)
    peer.pump()
    assert server.log == [f"{number} end"]
    assert number in peer.ended


def test_request_without_a_body(server: Server, peer: Peer) -> None:
    number = peer.open(end=True)
    assert number in peer.ended


def test_ping_is_answered(peer: Peer) -> None:
    peer.client.ping(b"12345678")
    peer.pump()
    assert peer.pings == [b"12345678"]


def test_lost_connection_resets_its_streams(server: Server, peer: Peer) -> None:
    peer.open()
    peer.open()
    peer.connection.connection_lost(None)
    assert server.log == ["1 reset", "3 reset"]
    assert not server.living


def test_close_says_goodbye(server: Server, peer: Peer) -> None:
    peer.connection.close()
    peer.pump()
    assert peer.goaway == http2.NO_ERROR
    assert peer.transport.closed


def test_peer_that_does_not_read_is_not_read_from(peer: Peer) -> None:
    peer.connection.pause_writing()
    assert not peer.transport.reading
    peer.connection.resume_writing()
    assert peer.transport.reading


def test_padding_and_priority_are_skipped(server: Server, peer: Peer) -> None:
    block = encoded([(b":method", b"POST"), (b":path", b"/x")])
    flags = http2.END_HEADERS | http2.PADDED | http2.WITH_PRIORITY
    peer.connection.data_received(frame(http2.HEADERS, flags, 1, b"\3" + b"\0\0\0\0\x10" + block + b"\0\0\0"))
    peer.connection.data_received(frame(http2.DATA, http2.PADDED, 1, b"\2hello\0\0"))
    peer.connection.data_received(frame(http2.PRIORITY, 0, 1, b"\0\0\0\0\1") + frame(0xBE, 0, 0, b"unknown"))
    assert server.calls[0].headers[b":path"] == b"/x"
    assert server.log == ["1 data 5"]


def test_header_block_in_pieces(server: Server, peer: Peer) -> None:
    block = encoded([(b":method", b"POST"), (b":path", b"/x"), (b"x-long", b"v" * 300)])
    for at, byte in enumerate(block):
        kind = http2.HEADERS if at == 0 else http2.CONTINUATION
        flags = http2.END_HEADERS if at == len(block) - 1 else 0
        peer.connection.data_received(frame(kind, flags, 1, bytes((byte,))))
    assert server.calls[0].headers[b"x-long"] == b"v" * 300


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=50))
def test_any_split_of_the_bytes_is_read_alike(sizes: list[int]) -> None:
    server = Server()
    connection, transport = server.connection(), Transport()
    connection.connection_made(transport)
    block = encoded([(b":method", b"POST"), (b":path", b"/x")])
    wire = http2.PREFACE + frame(http2.SETTINGS, 0, 0) + frame(http2.HEADERS, http2.END_HEADERS, 1, block)
    wire += b"".join(frame(http2.DATA, 0, 1, b"x" * size) for size in (0, 1, 300)) + frame(http2.DATA, http2.END_STREAM, 1)
    at = turn = 0
    while at < len(wire):
        connection.data_received(wire[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    assert server.log == ["1 data 1", "1 data 300", "1 end"]


BLOCK = encoded([(b":method", b"POST")])
FAULTS: dict[str, tuple[bytes, int]] = {
    "frame too long": ((20_000).to_bytes(3, "big") + b"\0\0\0\0\0\1", http2.FRAME_SIZE_ERROR),
    "data on a stream never opened": (frame(http2.DATA, 0, 5, b"x"), http2.PROTOCOL_ERROR),
    "data after the end": (
        frame(http2.HEADERS, http2.END_HEADERS, 1, BLOCK)
        + frame(http2.SETTINGS, 0, 0, b"\0\4\0\0\0\0")
        + frame(http2.DATA, 1, 1, b"x") * 2,
        http2.STREAM_CLOSED,
    ),
    "even stream": (frame(http2.HEADERS, http2.END_HEADERS, 2, BLOCK), http2.PROTOCOL_ERROR),
    "interrupted headers": (frame(http2.HEADERS, 0, 1, BLOCK) + frame(http2.PING, 0, 0, b"x" * 8), http2.PROTOCOL_ERROR),
    "continuation of nothing": (frame(http2.CONTINUATION, 0, 1, BLOCK), http2.PROTOCOL_ERROR),
    "continuation of another stream": (frame(http2.HEADERS, 0, 1, BLOCK) + frame(http2.CONTINUATION, 0, 3, BLOCK), http2.PROTOCOL_ERROR),
    "endless headers": (frame(http2.HEADERS, 0, 1, b"") + frame(http2.CONTINUATION, 0, 1, b"x" * 16_000) * 5, http2.PROTOCOL_ERROR),
    "headers that are not HPACK": (frame(http2.HEADERS, http2.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), http2.COMPRESSION_ERROR),
    "more padding than data": (frame(http2.HEADERS, http2.END_HEADERS | http2.PADDED, 1, b"\x09ab"), http2.PROTOCOL_ERROR),
    "ping of the wrong size": (frame(http2.PING, 0, 0, b"x"), http2.FRAME_SIZE_ERROR),
    "settings of the wrong size": (frame(http2.SETTINGS, 0, 0, b"x"), http2.FRAME_SIZE_ERROR),
    "window setting too large": (frame(http2.SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
    "window too large": (frame(http2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
    "window update of the wrong size": (frame(http2.WINDOW_UPDATE, 0, 0, b"\1"), http2.FRAME_SIZE_ERROR),
    "push": (frame(http2.PUSH_PROMISE, 0, 1, b"\0\0\0\2"), http2.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_protocol_ends_the_connection(peer: Peer, fault: str) -> None:
    data, code = FAULTS[fault]
    peer.connection.data_received(data)
    assert peer.transport.written[-14:-12] == bytes((http2.GOAWAY, 0))
    assert int.from_bytes(peer.transport.written[-4:], "big") == code
    assert peer.transport.closed


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])
def test_other_protocols_are_refused(server: Server, hello: bytes) -> None:
    peer = Peer(server.connection(), start=False)
    peer.connection.data_received(hello)
    assert peer.transport.closed


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 20_000])
def test_literals_of_every_length(size: int) -> None:
    ((_, value),) = hpack.Decoder(max_header_list_size=100_000).decode(encoded([(b"x-name", b"v" * size)]), raw=True)
    assert value == b"v" * size
