"""Routes that ask for `resume` and have nobody to go on with an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from control_plane.dialects import prefill
from control_plane.spec.findings import Finding
from control_plane.spec.models import ModelRoute, Provider
from control_plane.spec.nearest import listed
from control_plane.spec.presets import PresetSpec


def check_resume(route: ModelRoute, providers: Mapping[str, Provider], presets: Mapping[str, PresetSpec]) -> Iterator[Finding]:
    """Nothing is said where a provider or a preset is not known."""
    if route.spec.resume is None:
        return
    path, dialects = ("spec", "resume"), [dialect for dialect in route.spec.dialects if dialect in prefill.RESUMABLE]
    targets = {target.key: target for group in route.spec.plan for target in group.targets}
    if not dialects:
        message, fix = (
            "resume has no effect: no dialect of the route has it",
            f"add {listed(prefill.RESUMABLE)} to spec.dialects, or remove it",
        )
        yield route.finding("HG3019", path, message, fix, key=True)
        return
    able: set[str] = set()
    for key, target in targets.items():
        provider = providers.get(target.provider)
        preset = presets.get(provider.spec.preset) if provider is not None else None
        if provider is None or preset is None:
            return
        usual = [name for name, offered in preset.dialects.items() if offered.default]
        chats = [name for name in provider.spec.dialects or usual if name in preset.dialects and preset.dialects[name].path is not None]
        for dialect in dialects if chats else ():
            if prefill.continues(dialect if dialect in chats else chats[0], target.model, preset.options):
                able.add(key)
    if any(key != other for key in able for other in targets):
        return
    if able:
        message = f"resume has no effect: only {listed(able)} can go on with an answer, and it is the only target"
    else:
        message = "resume has no effect: no target can go on with the beginning of an answer"
    fix = "add a target that can: a Claude model before 4.6, a provider whose preset has the option prefill (mistral, vllm); or remove it"
    yield route.finding("HG3019", path, message, fix, key=True)
