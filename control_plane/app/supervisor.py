"""The process tree of `headgate up`: control plane, translator workers and Envoy, each restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from control_plane.admin.server import access_for, read_token
from control_plane.app.child import Child
from control_plane.app.memory import heap_bytes
from control_plane.app.ports import claim
from control_plane.app.settings import Places, places
from control_plane.kit import probe
from control_plane.kit.atomic_file import write_atomic
from control_plane.kit.envoy_binary import find_envoy
from control_plane.kit.errors import GatewayError, SpecError
from control_plane.xds.bootstrap import bootstrap

log = logging.getLogger(__name__)

START_LIMIT_S: Final = 30.0
POLL_S: Final = 0.05
STOP_GRACE_S: Final = 5.0
NOTICED_S: Final = 1.5
"""Until Envoy's health checks have found a new worker: the next one must not go before that."""
STAND_IN_POLL_S: Final = 0.5
STAND_IN_AFTER_S: Final = 5.0
"""A control plane that restarts is back sooner."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `headgate up` was asked for. Ports may be 0 (the system chooses)."""

    specs: tuple[Path, ...]
    listen: tuple[str, int] = ("127.0.0.1", 10000)
    admin: tuple[str, int] = ("127.0.0.1", 8080)
    state: Path | None = None
    translators: int = 0
    concurrency: int = 0
    drain_s: float = 30.0
    max_heap: str = ""
    admin_token_file: Path | None = None
    log_level: str = "info"
    env: dict[str, str] = field(default_factory=dict)


class GatewayProcess:
    """A running gateway. `async with` starts it and returns when it serves traffic; leaving drains and stops it."""

    def __init__(self, options: Options, say: Callable[[str], None] | None = None) -> None:
        self.options = options
        self.say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.listen = options.listen
        self.admin = options.admin
        self.children: dict[str, Child] = {}
        self._leaving: list[Child] = []
        self._epoch = 0
        self._watching: asyncio.Task[None] | None = None
        self._places: Places | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://{_text(self.listen)}"

    @property
    def places(self) -> Places:
        """Files and sockets of this gateway."""
        assert self._places is not None, "not started"
        return self._places

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop(drain=False)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start every part, in the order in which they need each other. Raises SpecError or GatewayError."""
        envoy = find_envoy()
        max_heap_bytes = heap_bytes(self.options.max_heap, "--max-heap")
        self.listen = claim(self.options.listen, "--listen")
        self.admin = claim(self.options.admin, "--admin")
        access_for(self.admin[0], read_token(self.options.admin_token_file) if self.options.admin_token_file else None)
        self._places = places(self.options.state, self.listen[1])
        self._take_lock()
        workers = self.options.translators or min(os.cpu_count() or 1, 4)
        self.say(f"starting control plane, {workers} translator worker{'s' * (workers > 1)} and Envoy")
        for number in range(workers):
            self._start(f"translator-{number}", self._translator(number))
        self._start("control-plane", self._control_plane(workers, self.places.ads))
        await self._until("the control plane", lambda: probe.answers(_text(self.admin), "/healthz"))
        self.say(f"control plane answers on http://{_text(self.admin)}")
        config = bootstrap(
            node_id=f"edge-{self.listen[1]}",
            cluster="headgate",
            control_plane=self.places.ads,
            admin=self.places.envoy_admin,
            max_heap_bytes=max_heap_bytes,
            standby=self.places.standby,
        )
        write_atomic(self.places.bootstrap, config.encode())
        self._start("envoy", self._envoy(envoy, *self._fresh))
        await self._until("Envoy", lambda: probe.answers(_text(self.listen), "/v1/models"))
        self.say(f"Envoy serves on {self.url}")
        self._watching = asyncio.create_task(self._stand_in(workers), name="stand-in")

    async def restart(self, name: str) -> None:
        """Replace one part by a new process without an error for a client; returns when the new one serves. Raises GatewayError.

        A worker finishes its streams first and Envoy asks another one meanwhile; without the control plane Envoy serves what it has; a
        new Envoy takes over the listening sockets, and the old one ends after the drain time.
        """
        if name == "envoy":
            await self._replace_envoy()
            return
        child = self.children[name]
        before = child.started
        child.signal(signal.SIGTERM)
        await self._until(f"the end of {name}", lambda: _now(child.started > before), self.options.drain_s + START_LIMIT_S)
        await self._until(name, lambda: self._serves(name))
        if name.startswith("translator"):
            await asyncio.sleep(NOTICED_S)

    async def restart_all(self) -> None:
        """Replace every part, one after the other, without an error for a client. Raises GatewayError for what does not come back."""
        for name in (*(n for n in self.children if n.startswith("translator")), "control-plane", "envoy"):
            await self.restart(name)
            self.say(f"{name} is a new process")

    async def pause(self, name: str) -> None:
        """Stop one part and leave it stopped, until `resume`."""
        await self.children[name].stop(STOP_GRACE_S)

    async def resume(self, name: str) -> None:
        """Start a paused part again; returns when it serves. Raises GatewayError."""
        self.children[name].start()
        await self._until(name, lambda: self._serves(name))

    async def _stand_in(self, workers: int) -> None:
        """While the control plane does not come back, another process serves what was last known good, for an Envoy that has to start."""
        control_plane, seen, away_since = self.children["control-plane"], self.children["control-plane"].started, None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(STAND_IN_POLL_S)
            if control_plane.pid is not None and (control_plane.started == seen or await probe.answers(_text(self.admin), "/healthz")):
                seen, away_since = control_plane.started, None
                if standby := self.children.pop("standby", None):
                    await standby.stop(STOP_GRACE_S)
                continue
            away_since = away_since or loop.time()
            if loop.time() - away_since > STAND_IN_AFTER_S and "standby" not in self.children:
                self.say("the control plane is away; a stand-in serves the last good configuration")
                self._start("standby", [*self._control_plane(workers, self.places.standby), "--standby"])

    async def _serves(self, name: str) -> bool:
        if name == "control-plane":
            return await probe.answers(_text(self.admin), "/readyz")
        try:
            _, writer = await asyncio.open_unix_connection(self.places.translator(int(name.rpartition("-")[2])))
        except OSError:
            return False
        writer.close()
        return True

    async def _replace_envoy(self) -> None:
        old, binary = self.children["envoy"], find_envoy()
        # Envoy hands over from one process to one other: an earlier one that still drains would be cut.
        await self._until("the end of an earlier Envoy", self._alone, self._drain_whole_s + START_LIMIT_S)
        base = self.places.base_id.read_text().strip()
        self._epoch += 1
        takes_over = ("--base-id", base, "--restart-epoch", str(self._epoch), "--parent-shutdown-time-s", str(self._drain_whole_s))
        new = Child("envoy", self._envoy(binary, *takes_over), old.say, self.options.env, again=self._envoy(binary, *self._fresh))
        new.start()
        try:
            await self._until("the new Envoy", lambda: self._leads(self._epoch, new))
        except BaseException:  # also when the gateway is stopped meanwhile
            new.leave()
            new.signal(signal.SIGTERM)
            raise
        old.leave()
        self._leaving = [old]
        self.children["envoy"] = new

    async def _alone(self) -> bool:
        return not any(child.pid for child in self._leaving)

    async def _leads(self, epoch: int, child: Child) -> bool:
        if child.started > 1:
            raise GatewayError("the new Envoy ended before it served; its messages are above. The old one goes on")
        try:
            _, text = await probe.http(self.places.envoy_admin, "GET", "/server_info")
            info = json.loads(text)
        except (OSError, TimeoutError, ValueError):
            return False
        return bool(info["state"] == "LIVE" and info["command_line_options"]["restart_epoch"] == epoch)

    async def stop(self, *, drain: bool = True) -> None:
        """Let running requests finish (up to the drain time), then stop every part."""
        if drain and (envoy := self.children.get("envoy")) and envoy.pid:
            await self._drain()
            with contextlib.suppress(GatewayError):  # one that was replaced ends by itself, after the same time
                await self._until("the end of an earlier Envoy", self._alone, self.options.drain_s)
        for gone in self._leaving:
            await gone.stop(STOP_GRACE_S)
        if self._watching is not None:
            self._watching.cancel()
        for name in ("envoy", *(n for n in self.children if n.startswith("translator")), "standby", "control-plane"):
            if child := self.children.pop(name, None):
                await child.stop(STOP_GRACE_S)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            shutil.rmtree(self.places.sockets, ignore_errors=True)

    def _take_lock(self) -> None:
        """One gateway per state directory: two would share a journal and its offset."""
        path = self.places.state / "lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise SpecError(f"{self.places.state} is in use by another gateway; choose another with --state-dir") from None
        self._lock = handle

    def _start(self, name: str, command: Sequence[str]) -> None:
        child = Child(name, command, lambda line: self.say(f"[{name}] {line}"), self.options.env)
        self.children[name] = child
        child.start()

    def _translator(self, number: int) -> list[str]:
        return [*_HEADGATE, "translator", "--socket", self.places.translator(number), "--drain-seconds", str(self.options.drain_s)]

    def _control_plane(self, workers: int, xds: str) -> list[str]:
        command = [*_HEADGATE, "control-plane", "--listen", _text(self.listen), "--admin", _text(self.admin)]
        command += ["--xds", xds, "--state-dir", str(self.places.state), "--journal", str(self.places.journal)]
        command += ["--envoy-admin", self.places.envoy_admin, "--log-level", self.options.log_level]
        if self.options.admin_token_file:
            command += ["--admin-token-file", str(self.options.admin_token_file)]
        for number in range(workers):
            command += ["--translator", self.places.translator(number)]
        for path in self.options.specs:
            command += ["-f", str(path)]
        return command

    @property
    def _fresh(self) -> tuple[str, ...]:
        """An Envoy that takes over from nobody. Its shared memory gets a number of its own, which a successor needs."""
        return ("--use-dynamic-base-id", "--base-id-path", str(self.places.base_id))

    @property
    def _drain_whole_s(self) -> int:
        return max(int(self.options.drain_s), 1)

    def _envoy(self, binary: Path, *more: str) -> list[str]:
        """Flush flag: the journal is written when 64 KB are there (Envoy's default), at the latest after 0.1 s: what a killed Envoy
        takes with it is bounded by both. Flushing every 1 KB costs 10 µs a request more, every 16 KB 2 µs."""
        command = [str(binary), "-c", str(self.places.bootstrap), "-l", "warning", *more]
        command += ["--drain-time-s", str(self._drain_whole_s), "--drain-strategy", "immediate", "--file-flush-interval-msec", "100"]
        if self.options.concurrency:
            command += ["--concurrency", str(self.options.concurrency)]
        return command

    async def _until(self, what: str, ready: Callable[[], Awaitable[bool]], limit_s: float = START_LIMIT_S) -> None:
        deadline = asyncio.get_running_loop().time() + limit_s
        while not await ready():
            if asyncio.get_running_loop().time() > deadline:
                raise GatewayError(f"{what} did not become ready within {limit_s:.0f} s; its messages are above")
            await asyncio.sleep(POLL_S)

    async def _drain(self) -> None:
        """No new connections; wait until nothing is in flight."""
        admin = self.places.envoy_admin
        deadline = asyncio.get_running_loop().time() + self.options.drain_s
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            await probe.http(admin, "POST", "/drain_listeners")
            while asyncio.get_running_loop().time() < deadline:
                _, text = await probe.http(admin, "GET", "/stats?format=json&filter=^http.edge.downstream_rq_active$")
                if all(s.get("value", 0) == 0 for s in json.loads(text)["stats"]):
                    return
                await asyncio.sleep(POLL_S)
            self.say(f"still busy after {self.options.drain_s:.0f} s of draining; stopping now")


class Renewal:
    """Restarts every part when it is asked; asked again meanwhile, it does so once more. Failures are said, and serving goes on."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway, self._again = gateway, False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """From a signal handler."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._gateway.restart_all()
            except GatewayError as error:
                self._gateway.say(f"not every part was replaced: {error}")


async def _now(value: bool) -> bool:
    return value


_HEADGATE: Final = (sys.executable, "-m", "control_plane")


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
