"""The keeper of tokens: refreshes ahead, keeps the last good one, backs off, tells once, and leaves nothing running."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from control_plane.app import sign_ins as module
from control_plane.app.sign_ins import SignIns
from control_plane.credentials.resolve import Missing, Resolved
from control_plane.credentials.secret import Secret
from control_plane.credentials.sign_in.schedule import LONGEST_LEAD_S, LONGEST_RETRY_S, until_refresh, until_retry
from control_plane.credentials.sign_in.source import Source
from control_plane.credentials.sign_in.token import Fetch, SignInError, Token
from control_plane.spec.load import load
from control_plane.spec.models import Provider, SpecSet
from control_plane.telemetry.metrics import Metrics

SPEC = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec: {{preset: openai, credentials: [{{google: {{scopes: [{scope}]}}}}]}}
"""


class Service:
    """A sign-in that does what it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.lifetime_s: float | None = 3600.0
        self.error = ""
        self.gate: threading.Event | None = None
        self.inside = 0
        self.most_inside = 0

    def __call__(self) -> Token:
        self.calls += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            if self.gate is not None:
                self.gate.wait(10)
            if self.error:
                raise SignInError(self.error)
            return Token(Secret(f"token-canary-{self.calls}"), None if self.lifetime_s is None else time.time() + self.lifetime_s)
        finally:
            self.inside -= 1


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()

    def source(provider: Provider, environ: object = None) -> Source:
        credential = provider.spec.credentials[0].google
        assert credential is not None
        fetch: Fetch = service
        return Source("google test", repr(credential.scopes).encode(), fetch)

    monkeypatch.setattr(module, "source_of", source)
    return service


def specs(folder: Path, *names: str, scope: str = "one") -> SpecSet:
    (folder / "s.yaml").write_text("---".join(SPEC.format(name=name, scope=scope) for name in names))
    return load(folder / "s.yaml").specs


@pytest.fixture
async def kept() -> AsyncIterator[SignIns]:
    kept = SignIns(Metrics(), chance=lambda: 0.0, deadline_s=0.3)
    yield kept
    await kept.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not condition():
            await asyncio.sleep(0.01)


def token(kept: SignIns, name: str = "a") -> str:
    found = kept.tokens()[name]
    assert isinstance(found, Resolved), found
    assert isinstance(found.secret, Secret)
    return found.secret.reveal()


def test_a_refresh_is_due_well_before_the_end_and_spread_out() -> None:
    assert until_refresh(0, 3600, lambda: 0) == 3600 - LONGEST_LEAD_S
    assert until_refresh(0, 3600, lambda: 1) == 3600 - 0.8 * LONGEST_LEAD_S
    assert until_refresh(0, 86400, lambda: 0) == 86400 - LONGEST_LEAD_S
    assert until_refresh(0, 100, lambda: 0) == 75
    assert until_refresh(100, 50, lambda: 0) == 1


def test_retries_slow_down_and_stay_bounded() -> None:
    pauses = [until_retry(failures, lambda: 0) for failures in range(1, 40)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == LONGEST_RETRY_S
    assert until_retry(1, lambda: 1) == 0.5


async def test_tokens_arrive_and_are_renewed(tmp_path: Path, service: Service, kept: SignIns) -> None:
    service.lifetime_s = 1.4  # due again after the shortest pause
    await kept.follow(specs(tmp_path, "a"))
    assert isinstance(kept.tokens()["a"], Missing)
    await kept.follow(specs(tmp_path, "a", "b"))
    assert await kept.settled(5)
    first = token(kept)
    assert token(kept, "b") != first
    await until(lambda: token(kept) != first)
    assert {row["state"] for row in kept.rows()} == {"READY"}


async def test_the_last_good_token_serves_until_it_ends(
    tmp_path: Path, service: Service, kept: SignIns, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service.lifetime_s = 2.2
    news = 0

    async def count() -> None:
        nonlocal news
        async for _ in kept.changes():
            news += 1

    counting = asyncio.create_task(count())
    await kept.follow(specs(tmp_path, "a"))
    await kept.settled(5)
    service.error = "the service is down"
    await until(lambda: bool(kept.findings()))
    assert token(kept) == "token-canary-1"
    assert kept.rows()[0]["state"] == "FAILING"
    (finding,) = kept.findings()
    assert (finding.code, finding.path) == ("HG3015", "spec.credentials.0.google")
    assert "the last token serves until it expires" in finding.message
    told = news
    await until(lambda: isinstance(kept.tokens()["a"], Missing))
    await until(lambda: news > told)  # whoever makes plans is woken when the token ends
    assert kept.rows()[0]["state"] == "FAILED"
    assert "left out" in kept.findings()[0].message
    await until(lambda: service.calls >= 4)
    assert sum("cannot sign in" in record.message for record in caplog.records) == 1  # once, not at every try
    service.error, service.lifetime_s = "", 3600
    await until(lambda: isinstance(kept.tokens()["a"], Resolved))
    assert not kept.findings()
    counting.cancel()


async def test_nothing_that_is_shown_holds_a_token(
    tmp_path: Path, service: Service, kept: SignIns, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await kept.follow(specs(tmp_path, "a"))
    await kept.settled(5)
    shown = repr((kept.rows(), kept.findings(), kept.tokens(), kept.__dict__, caplog.text))
    assert "canary" not in shown


async def test_a_hanging_library_has_one_thread_however_long_it_hangs(tmp_path: Path, service: Service, kept: SignIns) -> None:
    service.gate = threading.Event()
    await kept.follow(specs(tmp_path, "a"))
    assert await kept.settled(5)  # the deadline has passed
    assert "no answer within 0.3 s" in str(kept.rows()[0]["error"])
    await asyncio.sleep(0.8)
    assert service.calls == 1
    service.gate.set()
    await until(lambda: isinstance(kept.tokens()["a"], Resolved))  # late, but good
    assert service.most_inside == 1


async def test_the_loop_is_never_held(tmp_path: Path, service: Service, kept: SignIns) -> None:
    service.gate = threading.Event()
    await kept.follow(specs(tmp_path, "a"))
    began = time.monotonic()
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert time.monotonic() - began < 0.5
    service.gate.set()


async def test_unchanged_sign_ins_go_on_changed_ones_begin_anew_and_others_end(tmp_path: Path, service: Service, kept: SignIns) -> None:
    await kept.follow(specs(tmp_path, "a", "b"))
    await kept.settled(5)
    assert service.calls == 2
    await kept.follow(specs(tmp_path, "a", "b"))
    assert service.calls == 2
    await kept.follow(specs(tmp_path, "a", scope="two"))
    assert set(kept.tokens()) == {"a"}
    assert isinstance(kept.tokens()["a"], Missing)  # another identity's token is not kept
    await until(lambda: service.calls == 3)
    await kept.settled(5)
    await kept.follow(SpecSet())
    assert not kept.tokens()


async def test_stopping_leaves_no_task_and_soon_no_thread(tmp_path: Path, service: Service) -> None:
    kept = SignIns(Metrics())
    before = asyncio.all_tasks()
    await kept.follow(specs(tmp_path, "a", "b", "c"))
    await kept.stop()
    assert asyncio.all_tasks() == before
    await until(lambda: not any(thread.name.startswith("sign-in") for thread in threading.enumerate()))


async def test_a_token_that_has_ended_already_is_none(tmp_path: Path, service: Service, kept: SignIns) -> None:
    service.lifetime_s = -5
    await kept.follow(specs(tmp_path, "a"))
    await kept.settled(5)
    assert isinstance(kept.tokens()["a"], Missing)
    assert "clock" in str(kept.rows()[0]["error"])


async def test_a_librarys_own_mistake_is_a_failure_like_others(tmp_path: Path, service: Service, kept: SignIns) -> None:
    def broken() -> Token:
        raise RuntimeError("Bearer sk-canary-0123456789abcdef")

    future = module._in_thread(broken, "sign-in x")
    with pytest.raises(SignInError) as caught:
        await future
    assert "canary" not in str(caught.value)
