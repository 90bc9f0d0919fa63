"""A supervised child process: started, watched, restarted with backoff when it dies, stopped by its own id."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from control_plane.telemetry.logs import fields
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
STEADY_S: Final = 10.0
"""A child that lived this long starts again without a pause."""

PR_SET_PDEATHSIG: Final = 1
LINE_LIMIT: Final = 1 << 20


def _die_with_parent() -> None:
    """In the child, before exec: be told to stop when the supervisor is gone, so that nothing is left behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One process of the tree. `say` receives its output lines; `started` counts its starts. `again` is the command of later starts,
    where the first one takes over from another process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        say: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        again: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.started = 0
        self._command = list(command)
        self._again = list(again or command)
        self.say = say
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None while it is not running."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        """Start it and keep it running until `stop`; also after one."""
        self._stopping.clear()
        self._task = asyncio.create_task(self._keep_running(), name=f"child {self.name}")

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def leave(self) -> None:
        """Let it run on, and do not start it again when it ends."""
        self._stopping.set()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s`."""
        self.leave()
        self.signal(signal.SIGTERM)
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=grace_s)
            if not done:
                self.signal(signal.SIGKILL)
                await asyncio.wait({self._task}, timeout=5)
            self._task.cancel()

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            code = await self._run_once()
            pause = FIRST_PAUSE_S if loop.time() - began > STEADY_S else min(pause * 2, LONGEST_PAUSE_S)
            if not self._stopping.is_set():
                log.warning(
                    "a part of the gateway ended; starting it again",
                    extra=fields(Field.PART, self.name, Field.EXIT_CODE, code, Field.DELAY_S, round(pause, 2)),
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_once(self) -> int:
        command = self._again if self.started else self._command
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
            process_group=0,  # Ctrl-C in a terminal signals the whole group; the supervisor alone decides when a part ends
            preexec_fn=_die_with_parent,
        )
        self.started += 1
        await self._relay(self._process)
        return await self._process.wait()

    async def _relay(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.say(line.decode(errors="replace"))
            rest = rest[-LINE_LIMIT:]
