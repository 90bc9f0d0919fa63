"""Requests at a steady rate, whatever becomes of the earlier ones, up to a number that are under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from control_plane.demo.drills.client import Client, Question, Sample


class Traffic:
    """`await traffic.ask(count, rate)`; `samples` are the answers so far, `waited_s` how long requests had to wait for a free place."""

    def __init__(self, client: Client, question: Callable[[int], Question], concurrency: int) -> None:
        self.samples: list[Sample] = []
        self._client, self._question = client, question
        self._places = asyncio.Semaphore(concurrency)
        self._number = 0

    async def ask(self, count: int, per_s: float, until: Callable[[], bool] = lambda: False) -> list[Sample]:
        """Ask `count` times, or until told to stop, and wait for all answers."""
        loop, own, tasks = asyncio.get_running_loop(), list[Sample](), set[asyncio.Task[None]]()
        began = loop.time()

        async def one(question: Question) -> None:
            try:
                sample = await self._client.ask(question)
            finally:
                self._places.release()
            own.append(sample)
            self.samples.append(sample)

        for number in range(count):
            if (wait := began + number / per_s - loop.time()) > 0:
                await asyncio.sleep(wait)
            await self._places.acquire()
            if until():
                self._places.release()
                break
            task = asyncio.create_task(one(self._question(self._number)))
            self._number += 1
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.gather(*tasks)
        return own
