"""Plays drills: calm traffic, the outage under traffic, its end, and traffic until the first vendor serves again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from control_plane.demo.drills.answers import Verdict
from control_plane.demo.drills.client import Client, Sample
from control_plane.demo.drills.drill import Drill
from control_plane.demo.drills.envoys import beside
from control_plane.demo.drills.figures import Figures, figures
from control_plane.demo.drills.stage import Scene, Stage
from control_plane.demo.drills.traffic import Traffic

RETURNED = 20  # requests in a row that the first vendor answers, at once
AFTER_PER_S = 50.0
NO_RETURN_S = 1.0  # watched where no return is promised


@dataclass(frozen=True, slots=True)
class Settings:
    """How much: requests in the outage, how many a second, how many at once at most, and how long to wait for the way back (seconds).

    Without `judge_return` a first vendor that is not back by then is not a miss.
    """

    requests: int = 10_000
    per_s: float = 200.0
    concurrency: int = 1000
    return_limit_s: float = 60.0
    judge_return: bool = True

    @property
    def calm_requests(self) -> int:
        return min(max(self.requests // 10, 24), 1000)


async def run_drills(drills: Sequence[Drill], settings: Settings, say: Callable[[str], None], emit: Callable[[Figures], None]) -> None:
    """Play each on one gateway; figures come as each is done. Raises GatewayError when the gateway cannot start."""
    async with Stage(drills, say) as stage:
        for drill in drills:
            emit(await play(stage.scene(drill), settings))


async def play(scene: Scene, settings: Settings) -> Figures:
    """One drill, on a stage that runs. Raises GatewayError when the scene cannot be set."""
    async with beside(scene.stage.gateway, scene.stage.folder, scene.drill.envoys - 1):
        return await _play(scene, settings)


async def _play(scene: Scene, settings: Settings) -> Figures:
    drill, loop = scene.drill, asyncio.get_running_loop()
    await scene.serves()
    client = Client(scene.stage.gateway.url)
    traffic = Traffic(client, scene.question, settings.concurrency)
    rate = settings.per_s if not drill.spread_s else min(settings.per_s, 10_000 / drill.spread_s)
    calm = await traffic.ask(settings.calm_requests, rate)
    took_s = settings.requests / rate
    first = [act for share, act in drill.acts if share == 0]
    for act in first:
        await act.do(scene)
    began = loop.time()
    acting = asyncio.create_task(_act(scene, [(share, act) for share, act in drill.acts if share > 0], began, took_s))
    try:
        samples = await traffic.ask(settings.requests, rate)
        await acting
    finally:
        acting.cancel()
        for act in drill.heals:
            await act.do(scene)
    healed = loop.time()
    back: list[Sample] = []

    def is_back() -> bool:
        back[:] = _run_of_first(scene, traffic.samples, healed)
        return len(back) >= RETURNED

    patience_s = settings.return_limit_s if drill.promise.returns else NO_RETURN_S
    later = await traffic.ask(int(patience_s * AFTER_PER_S), AFTER_PER_S, is_back)
    client.close()
    return_s = max(back[0].began - healed, 0.0) if is_back() else None
    return figures(
        drill,
        calm,
        samples,
        later,
        began=began,
        took_s=took_s,
        return_s=return_s,
        returned_in_time=return_s is not None or not settings.judge_return,
        struck_at=scene.struck_at,
        acks=scene.acks,
        is_first=scene.is_first,
        translated=scene.translated,
    )


async def _act(scene: Scene, acts: Sequence[tuple[float, object]], began: float, took_s: float) -> None:
    for share, act in acts:
        await asyncio.sleep(max(began + share * took_s - asyncio.get_running_loop().time(), 0))
        await act.do(scene)  # type: ignore[attr-defined]


def _run_of_first(scene: Scene, samples: Sequence[Sample], since: float) -> list[Sample]:
    """The last answers that the first vendor gave at once, without one between them that it did not."""
    run: list[Sample] = []
    for sample in reversed(samples):
        if sample.began < since or sample.verdict is not Verdict.OK or sample.attempts > 1:
            break
        if not scene.is_first(sample.question, sample.target):
            break
        run.append(sample)
    return run[::-1]
