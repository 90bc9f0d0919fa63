"""A DNS server that knows a few names, forgets them or breaks."""

from __future__ import annotations

import asyncio
import struct
from typing import Self


class DnsServer(asyncio.DatagramProtocol):
    """Answers A questions for `names` on 127.0.0.1; `broken` makes it answer SERVFAIL. `asked` counts questions."""

    def __init__(self, names: dict[str, str], ttl_s: int = 1) -> None:
        self.names, self.ttl_s, self.broken = names, ttl_s, False
        self.asked: list[tuple[str, int]] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        question = data[12 : at + 5]
        (kind,) = struct.unpack("!H", data[at + 1 : at + 3])
        name = ".".join(labels).lower()
        self.asked.append((name, kind))
        answers = b""
        if kind == 1 and name in self.names and not self.broken:
            address = bytes(map(int, self.names[name].split(".")))
            answers = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, self.ttl_s, 4) + address
        flags = 0x8182 if self.broken else 0x8180 if name in self.names else 0x8183
        head = data[:2] + struct.pack("!HHHHH", flags, 1, 1 if answers else 0, 0, 0)
        self._transport.sendto(head + question + answers, addr)
