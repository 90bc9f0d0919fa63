"""`retryIfFailedWithin`: an old request gets no further attempt, whatever failed; the answer is an error of the client's dialect."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route


def limited(name: str, *groups: str) -> str:
    return route(name, *groups, first_token="600ms") + "  retry: {retryIfFailedWithin: 300ms}\n"


ROUTES = limited("native", "openai", "local") + limited("mixed", "openai", "anthropic") + limited("back", "anthropic", "openai")


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


def ask(rig: Rig, name: str, dialect: str) -> Any:
    async def one() -> Any:
        (answer,) = await load.run(rig.url, 1, 1, lambda _: getattr(load, dialect)(name, False, "hello"))
        return answer

    return rig.loop.run(one())


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize(
    ("name", "first", "second"), [("native", "openai", "local"), ("mixed", "openai", "anthropic"), ("back", "anthropic", "openai")]
)
def test_only_what_fails_in_time_is_tried_again(rig: Rig, name: str, first: str, second: str, dialect: str) -> None:
    rig.heal()
    rig.break_vendor(first, mode="status", status=503)
    assert ask(rig, name, dialect).status == 200
    assert rig.vendors[second].stats.requests == 1
    for fault in ({"mode": "black_hole"}, {"mode": "latency", "delay_ms": 450, "status": 503}):
        rig.heal()
        rig.break_vendor(first, **fault)
        answer = ask(rig, name, dialect)
        if fault["mode"] == "latency":
            assert answer.status == 200, "an answer may take longer"
            continue
        assert (answer.status, answer.headers.get("retry-after")) == (504, "1"), answer
        assert b"in the time for trying" in answer.body
        assert (b'"type":"error"' in answer.body.replace(b" ", b"")) is (dialect == "messages")
        assert rig.vendors[second].stats.requests == 0
