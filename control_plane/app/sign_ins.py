"""Keeps the tokens of providers that sign in to a cloud: one task a provider, every library call in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from control_plane.credentials.resolve import Missing, Resolution, Resolved
from control_plane.credentials.sign_in.schedule import Chance, until_refresh, until_retry
from control_plane.credentials.sign_in.source import Source, sign_in_of, source_of
from control_plane.credentials.sign_in.token import Fetch, SignInError, Token, failed
from control_plane.kit.clock import Clock, SystemClock
from control_plane.spec.credential import SignIn
from control_plane.spec.findings import Finding
from control_plane.spec.models import Provider, SpecSet
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

DEADLINE_S: Final = 60.0
"""A sign-in that takes longer has failed, whatever its library still waits for; no second one is begun beside it."""

SEE: Final = "see headgate get credentials"


@dataclass(slots=True)
class _Held:
    """What is known of one provider's sign-in. Times are seconds since the epoch."""

    provider: Provider
    sign_in: SignIn
    source: Source | Missing
    token: Token | None = None
    refreshed_at: float | None = None
    next_at: float | None = None
    error: str = ""
    failures: int = 0
    first: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def description(self) -> str:
        return self.source.description if isinstance(self.source, Source) else self.source.source

    def alive(self, now: float) -> Token | None:
        """The token, unless it has ended."""
        token = self.token
        return token if token is not None and (token.expires_at is None or token.expires_at > now) else None


class SignIns:
    """Belongs to the event loop in which it is used. Nothing here ever shows a token."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        chance: Chance = random.random,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._clock, self._environ, self._chance, self._deadline_s = clock or SystemClock(), environ, chance, deadline_s
        self._refreshes = metrics.counter(names.SIGN_INS)
        self._expiry = metrics.gauge(names.TOKEN_EXPIRY)
        self._held: dict[str, _Held] = {}
        self._news = asyncio.Event()

    async def follow(self, specs: SpecSet) -> None:
        """Sign in for exactly the providers of `specs` that ask for it. Goes on with those whose sign-in is still the same."""
        wanted = {provider.name: provider for provider in specs.providers if sign_in_of(provider) is not None}
        for name in self._held.keys() - wanted.keys():
            await self._drop(name)
        for name, provider in wanted.items():
            source = await asyncio.to_thread(source_of, provider, self._environ)
            credential = sign_in_of(provider)
            assert source is not None
            assert credential is not None
            assert credential.sign_in is not None
            held = self._held.get(name)
            if held is not None and _same(held.source, source):
                held.provider = provider
                continue
            # A rotated secret is no reason to give up a good token; another identity is.
            kept = held.token if held is not None and held.sign_in == credential.sign_in else None
            if held is not None:
                await self._drop(name)
            self._start(name, _Held(provider, credential.sign_in, source, kept))

    def tokens(self) -> Mapping[str, Resolution]:
        """What there is now, by provider."""
        now = self._clock.now()
        return {name: self._resolution(held, now) for name, held in self._held.items()}

    async def settled(self, timeout_s: float) -> bool:
        """Wait until every sign-in has worked or failed once; false when the time is over."""
        waits = [asyncio.ensure_future(held.first.wait()) for held in self._held.values()]
        if not waits:
            return True
        try:
            _, late = await asyncio.wait(waits, timeout=timeout_s)
            return not late
        finally:
            for wait in waits:
                wait.cancel()

    async def changes(self) -> AsyncIterator[None]:
        """Endless: once for every time (or several times close together) that `tokens` says something else."""
        while True:
            await self._news.wait()
            self._news.clear()
            yield

    def rows(self) -> list[dict[str, object]]:
        """One a provider, for operators."""
        now = self._clock.now()
        return [
            {
                "provider": name,
                "source": held.description,
                "state": self._state(held, now),
                "expires_at": held.token.expires_at if held.token else None,
                "refreshed_at": held.refreshed_at,
                "next_at": held.next_at,
                "error": held.error,
            }
            for name, held in sorted(self._held.items())
        ]

    def findings(self) -> list[Finding]:
        """HG3015 for every sign-in whose last try failed. What is not there at all is in the specs' own findings."""
        now = self._clock.now()
        found = []
        for _, held in sorted(self._held.items()):
            if isinstance(held.source, Source) and held.failures:
                kind = next(k for k in ("google", "entra", "aws") if getattr(sign_in_of(held.provider), k) is not None)
                path = ("spec", "credentials", 0, kind)
                out = "the last token serves until it expires" if held.alive(now) else f'targets of "{held.provider.name}" are left out'
                found.append(held.provider.finding("HG3015", path, f"{held.description}: {held.error}; {out}", SEE))
        return found

    async def stop(self) -> None:
        """End every task. A call that is under way ends in its own time, in a thread that holds up nothing."""
        for name in list(self._held):
            await self._drop(name)

    # ------------------------------------------------------------------
    def _start(self, name: str, held: _Held) -> None:
        self._held[name] = held
        self._news.set()
        if isinstance(held.source, Missing):
            held.error, held.failures = held.source.reason, 1
            held.first.set()
            if held.token is not None:
                held.task = asyncio.create_task(self._outlive(held), name=f"sign-in {name}")
            return
        held.task = asyncio.create_task(self._keep(name, held, held.source.fetch), name=f"sign-in {name}")

    async def _drop(self, name: str) -> None:
        held = self._held.pop(name)
        self._news.set()
        if held.task is not None:
            held.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await held.task

    async def _keep(self, name: str, held: _Held, fetch: Fetch) -> None:
        while True:
            call = _in_thread(fetch, f"sign-in {name}")
            try:
                done, _ = await asyncio.wait({call}, timeout=self._deadline_s)
                if not done:
                    self._failed(name, held, f"no answer within {self._deadline_s:g} s")
                    held.first.set()
                    await self._wait_or_end(held, call)
                self._took(name, held, await call)
                pause = until_refresh(self._clock.now(), held.token.expires_at if held.token else None, self._chance)
            except SignInError as error:
                self._failed(name, held, str(error))
                pause = until_retry(held.failures, self._chance)
            except asyncio.CancelledError:
                call.cancel()  # what its thread still brings is nobody's
                raise
            held.first.set()
            held.next_at = self._clock.now() + pause
            await self._sleep(held, pause)

    async def _wait_or_end(self, held: _Held, call: asyncio.Future[Token]) -> None:
        """Wait for a late call, and tell when the old token ends meanwhile."""
        ends = asyncio.ensure_future(self._outlive(held))
        try:
            await asyncio.wait({call})
        finally:
            ends.cancel()

    async def _sleep(self, held: _Held, pause: float) -> None:
        """Sleep, and tell when the token ends meanwhile."""
        ends = asyncio.ensure_future(self._outlive(held))
        try:
            await asyncio.sleep(pause)
        finally:
            ends.cancel()

    async def _outlive(self, held: _Held) -> None:
        token = held.token
        if token is None or token.expires_at is None or token.expires_at <= self._clock.now():
            return
        await asyncio.sleep(token.expires_at - self._clock.now())
        log.error("the last token has expired; the provider is left out", extra=fields(Field.PROVIDER, held.provider.name))
        self._news.set()

    def _took(self, name: str, held: _Held, token: Token) -> None:
        now = self._clock.now()
        if token.expires_at is not None and token.expires_at <= now:
            raise SignInError("the token that was given has expired already; is this machine's clock right?")
        if held.failures:
            log.info("signed in again", extra=fields(Field.PROVIDER, name))
        if held.token is None or held.token.value != token.value:
            self._news.set()
        held.token, held.refreshed_at, held.error, held.failures = token, now, "", 0
        self._refreshes.add(name, "ok")
        if token.expires_at is not None:
            self._expiry.set(name, to=token.expires_at)

    def _failed(self, name: str, held: _Held, why: str) -> None:
        held.failures += 1
        self._refreshes.add(name, "failed")
        if why != held.error:  # once for each reason: the next tries would only say it again
            log.error("cannot sign in", extra=fields(Field.PROVIDER, name, Field.ERROR, why, Field.CODE, "HG3015"))
        held.error = why

    def _resolution(self, held: _Held, now: float) -> Resolution:
        token = held.alive(now)
        if token is not None:
            return Resolved(token.value, held.description)
        if isinstance(held.source, Missing):
            return held.source
        reason = held.error or ("the last token has expired" if held.token else "no token has arrived yet")
        return Missing(f"{held.description}: {reason}", SEE, held.description)

    def _state(self, held: _Held, now: float) -> str:
        if held.alive(now) is not None:
            return "FAILING" if held.failures else "READY"
        if held.failures:
            return "FAILED"
        return "EXPIRED" if held.token else "WAITING"


def _same(one: Source | Missing, other: Source | Missing) -> bool:
    if isinstance(one, Source) and isinstance(other, Source):
        return one.digest == other.digest
    return one == other


def _in_thread(fetch: Fetch, name: str) -> asyncio.Future[Token]:
    """Call `fetch` in a daemon thread: neither the loop nor the end of the process ever waits for a library."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Token] = loop.create_future()

    def settle(token: Token | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif token is not None:
            future.set_result(token)

    def work() -> None:
        token: Token | None = None
        error: Exception | None = None
        try:
            token = fetch()
        except SignInError as problem:
            error = problem
        except Exception as problem:  # a library's own mistake must not end the control plane
            error = failed(problem)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, token, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
