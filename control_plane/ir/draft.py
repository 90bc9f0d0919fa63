"""The mutable middle of a build: passes fill it, `freeze` turns it into a Gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.catalogue.lookup import Catalogue
from control_plane.ir.model import Entry, Gateway, Provider, Route, TargetUse, Timers, ordered
from control_plane.ir.steering import WHOLE, Steering
from control_plane.spec.models import ModelRoute, SpecSet
from control_plane.spec.presets import PresetSpec


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """One target of a plan as the operator wrote it."""

    provider: str
    model: str
    weight: int
    admitted: int = WHOLE
    """Of `ir.steering.WHOLE` parts of its requests: those that reach it. The rest is refused."""

    @property
    def key(self) -> str:
        """`provider/model`, the target's name everywhere."""
        return f"{self.provider}/{self.model}"


@dataclass(slots=True)
class DraftRoute:
    """A route on its way: the spec it came from and what the passes have worked out.

    `written` is the plan before it was steered, None when nothing steers it. `back_at`: as in `Route`.
    """

    spec: ModelRoute
    groups: list[list[PlannedTarget]]
    written: list[list[PlannedTarget]] | None = None
    entries: list[Entry] = field(default_factory=list)
    standby: set[TargetUse] = field(default_factory=set)
    timers: Timers | None = None
    attempts: int = 1
    back_at: int | None = None


@dataclass(slots=True)
class Draft:
    """All that passes read and write. `unready` names providers that have no usable key, with the reason."""

    specs: SpecSet
    presets: Mapping[str, PresetSpec]
    unready: Mapping[str, str]
    steering: Steering
    catalogue: Catalogue
    providers: dict[str, Provider] = field(default_factory=dict)
    routes: dict[str, DraftRoute] = field(default_factory=dict)

    def freeze(self) -> Gateway:
        """The finished IR, sorted by name."""
        routes = []
        for name, draft in sorted(self.routes.items()):
            assert draft.timers is not None, "settle_timers has not run"
            spec = draft.spec.spec
            routes.append(
                Route(
                    name=name,
                    models=tuple(sorted(spec.models)),
                    entries=tuple(draft.entries),
                    timers=draft.timers,
                    attempts=draft.attempts,
                    retry_on=tuple(sorted(spec.retry.on)),
                    retry_within_ms=spec.retry.if_failed_within_ms,
                    max_request_bytes=spec.max_request_bytes,
                    unsupported_params=spec.unsupported_params,
                    foreign_reasoning=spec.foreign_reasoning,
                    max_cost=spec.max_cost_per_request,
                    standby=ordered(draft.standby),
                    sessions_by=spec.stickiness.by if spec.stickiness else (),
                    back_at=draft.back_at,
                    resume_attempts=spec.resume.max_attempts if spec.resume else 1,
                )
            )
        return Gateway(providers=tuple(self.providers[n] for n in sorted(self.providers)), routes=tuple(routes))
