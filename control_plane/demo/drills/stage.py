"""Where drills are played: one real gateway in front of simulated vendors. Every drill has vendors, routes and keys of its own, so that
what the gateway has learnt about a vendor in one drill is not known in the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from control_plane.app.supervisor import GatewayProcess, Options
from control_plane.demo.drills.answers import Verdict
from control_plane.demo.drills.client import Client, Question
from control_plane.demo.drills.drill import FIRST_TOKEN_S, PLANS, Drill, Link
from control_plane.demo.drills.specs import provider, route
from control_plane.demo.fault_proxy import FaultProxy
from control_plane.demo.fault_proxy.certificates import authority, certificate, self_signed, server
from control_plane.demo.fault_proxy.dns import DnsServer
from control_plane.demo.simulators import Pace, Simulator
from control_plane.kit.errors import GatewayError

HOST: Final = "vendor.drill"
MODELS: Final = {"openai": "gpt-5", "anthropic": "claude-sonnet-5", "local": "llama-3.3-70b"}
DIALECTS: Final = {"openai": "openai", "anthropic": "anthropic", "local": "openai"}
TRANSLATORS: Final = 2
DRAIN_S: Final = 8.0  # the longest answer takes less, also on a machine that is busy with other things
SERVES_WITHIN_S: Final = 20.0
PACE: Final = Pace(delay_ms=0)


@dataclass(slots=True)
class Vendor:
    """One simulated vendor of a scene. `host` is its name in DNS."""

    name: str
    kind: str
    host: str
    keys: list[str]
    simulator: Simulator
    link: Link = "direct"
    proxy: FaultProxy | None = None

    @property
    def variables(self) -> list[str]:
        """The environment variables that hold its keys."""
        return [f"{self.name.upper().replace('-', '_')}_KEY_{number}" for number in range(len(self.keys))]


class Scene:
    """The vendors and routes of one drill. `routes` are the models that clients name; `plans` their vendors in order."""

    def __init__(self, stage: Stage, drill: Drill) -> None:
        self.stage, self.drill = stage, drill
        self.struck_at: float | None = None
        self.acks: list[tuple[int, int, float]] = []  # of an operator's changes: Envoys that have it, Envoys, seconds
        self.plans: list[list[Vendor]] = []
        for side, kinds in enumerate(PLANS[drill.plan]):
            links: list[Link] = [drill.link if place == 0 else "direct" for place in range(len(kinds))]
            self.plans.append([self._vendor(f"{drill.name}-{side}-{kind}", kind, link) for kind, link in zip(kinds, links, strict=True)])
        self.routes = [f"{drill.name}-{side}" for side in range(len(self.plans))]

    def _vendor(self, name: str, kind: str, link: Link) -> Vendor:
        keys = [f"drill-{name}-{number}" for number in range(self.drill.keys)]
        simulator = Simulator(
            "anthropic" if kind == "anthropic" else "openai", name=kind, keys=keys, models=[MODELS[kind]], pace=PACE, keep_body_bytes=0
        )
        host = HOST if link == "tls" else f"{name}.drill"
        return Vendor(name, kind, host, keys, simulator, link)

    @property
    def vendors(self) -> list[Vendor]:
        return [vendor for plan in self.plans for vendor in plan]

    def leading(self, how_many: int) -> list[Vendor]:
        """The vendors that the plans ask first."""
        return [vendor for plan in self.plans for vendor in plan[:how_many]]

    def question(self, number: int) -> Question:
        """The nth of endless questions: both dialects, half streamed, both routes."""
        dialect = "anthropic" if number % 2 else "openai"
        word = f"drill {self.drill.name} {number}."
        return Question(dialect, self.routes[number // 4 % 2], number // 2 % 2 == 0, word, self.drill.tokens, self.drill.delay_ms)

    def translated(self, question: Question) -> bool:
        """Whether the first vendor of its plan speaks another dialect."""
        return DIALECTS[self.plans[self.routes.index(question.model)][0].kind] != question.dialect

    def is_first(self, question: Question, target: str) -> bool:
        """Whether a target (provider/model) is the plan's first."""
        return target.partition("/")[0] == self.plans[self.routes.index(question.model)][0].name

    def struck(self, part: str) -> None:
        """One of the gateway's processes is hit right now."""
        self.struck_at = asyncio.get_running_loop().time()

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Start the vendors."""
        for vendor in self.vendors:
            await stack.enter_async_context(vendor.simulator)
            self.stage.dns.names[vendor.host] = "127.0.0.1"
            if vendor.link == "tls":
                context = server(self.stage.folder, "valid", resumes=False)
                vendor.proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", vendor.simulator.port, tls=context))

    def specs(self) -> str:
        """Its providers and routes."""
        documents = [provider(vendor, self.stage.dns.port, self.stage.folder / "ca.pem") for vendor in self.vendors]
        documents += [
            route(name, [(vendor.name, MODELS[vendor.kind]) for vendor in plan], self.stage.first_token_s)
            for name, plan in zip(self.routes, self.plans, strict=True)
        ]
        return "".join(documents)

    async def serves(self) -> None:
        """Returns when every lane is served by its first vendor. Raises GatewayError after a while."""
        client, loop = Client(self.stage.gateway.url), asyncio.get_running_loop()
        limit = loop.time() + SERVES_WITHIN_S
        for number in range(8):
            question = self.question(number)
            while True:
                sample = await client.ask(question, 5)
                if sample.verdict is Verdict.OK and self.is_first(question, sample.target):
                    break
                if loop.time() > limit:
                    raise GatewayError(f"{question.model} is not served: {sample.verdict}: {sample.detail}")
                await asyncio.sleep(0.1)
        client.close()


class Stage:
    """`async with Stage(drills, say) as stage:` → `stage.gateway`, `stage.scene(drill)`. Raises GatewayError when it cannot start."""

    def __init__(self, drills: Sequence[Drill], say: Callable[[str], None], first_token_s: float = FIRST_TOKEN_S) -> None:
        self.first_token_s = first_token_s
        self.dns = DnsServer({})
        self.folder = Path()
        self._drills, self._say = drills, say
        self._scenes: dict[str, Scene] = {}
        self._stack = contextlib.AsyncExitStack()
        self._gateway: GatewayProcess | None = None

    @property
    def gateway(self) -> GatewayProcess:
        assert self._gateway is not None, "not started"
        return self._gateway

    def scene(self, drill: Drill) -> Scene:
        return self._scenes[drill.name]

    def certificate(self, name: str) -> tuple[str, str]:
        """Paths of a chain and its key."""
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-drill-")))
            await stack.enter_async_context(self.dns)
            if any(drill.link == "tls" for drill in self._drills):
                await asyncio.to_thread(self._certificates)
            self._scenes = {drill.name: Scene(self, drill) for drill in self._drills}
            for scene in self._scenes.values():
                await scene.open(stack)
            specs = self.folder / "specs"
            specs.mkdir()
            (specs / "drills.yaml").write_text("".join(scene.specs() for scene in self._scenes.values()), encoding="utf-8")
            options = Options(
                specs=(specs,),
                listen=("127.0.0.1", 0),
                admin=("127.0.0.1", 0),
                state=self.folder / "state",
                translators=TRANSLATORS,
                drain_s=DRAIN_S,
                log_level="warning",
                env={n: k for s in self._scenes.values() for v in s.vendors for n, k in zip(v.variables, v.keys, strict=True)},
            )
            self._gateway = await stack.enter_async_context(GatewayProcess(options, self._say))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _certificates(self) -> None:
        authority(self.folder)
        certificate(self.folder, "valid", HOST)
        certificate(self.folder, "expired", HOST, days=-1)
        certificate(self.folder, "wrong-name", "another.drill")
        self_signed(self.folder, "self-signed", HOST)
