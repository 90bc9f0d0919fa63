"""What the control plane does with a set of specs: takes over good ones, keeps the last good over bad ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from control_plane.app import last_good_specs
from control_plane.app.configure import Configurator, only_weights
from control_plane.ir.build import build
from control_plane.kit.clock import SystemClock
from control_plane.sources.reader import read_specs
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.publisher import Publisher
from control_plane.xds.resource import RDS, SDS
from control_plane.xds.translate.settings import EdgeSettings

SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: a}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:9/v1", allowInsecure: true, credentials: [{secretRef: {file: a.key}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: b}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:10/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: chat}
spec: {models: [chat], plan: [{targets: [{provider: a, model: m, weight: 80}, {provider: b, model: m, weight: 20}]}]}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: other}
spec: {models: [other], plan: [{targets: [{provider: b, model: m}]}]}
"""


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "a.key").write_text("key-one\n")
    (folder / "s.yaml").write_text(SPECS)
    return folder / "s.yaml"


async def configurator(tmp_path: Path) -> tuple[Configurator, Publisher, asyncio.Task[None]]:
    publisher = Publisher(Feed(), NodeRegistry(SystemClock()), validate=None)
    settings = EdgeSettings(listen=("127.0.0.1", 1), translators=("/t.sock",), journal="/j")
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    return Configurator(publisher=publisher, settings=settings, state=state), publisher, asyncio.create_task(publisher.run())


async def settled(publisher: Publisher, published: int) -> None:
    async with asyncio.timeout(5):
        while publisher.report().published < published:
            await asyncio.sleep(0.01)


async def test_a_weight_flip_rewrites_one_route_configuration(tmp_path: Path, specs: Path) -> None:
    conf, publisher, task = await configurator(tmp_path)
    await conf.apply(read_specs([specs]))
    await settled(publisher, 1)
    before = publisher.live
    specs.write_text(SPECS.replace("weight: 80", "weight: 10"))
    await conf.apply(read_specs([specs]))
    await settled(publisher, 2)
    change = before.diff(publisher.live)
    assert (change.added, change.changed, change.removed) == (frozenset(), frozenset({(RDS, "route:chat")}), frozenset())
    task.cancel()


async def test_a_rotated_key_changes_the_secret_alone(tmp_path: Path, specs: Path) -> None:
    conf, publisher, task = await configurator(tmp_path)
    await conf.apply(read_specs([specs]))
    await settled(publisher, 1)
    before = publisher.live
    (specs.parent / "a.key").write_text("key-two\n")
    await conf.apply(read_specs([specs]))
    await settled(publisher, 2)
    assert before.diff(publisher.live).changed == {(SDS, "provider/a")}
    task.cancel()


async def test_broken_specs_leave_what_is_served(tmp_path: Path, specs: Path) -> None:
    conf, publisher, task = await configurator(tmp_path)
    await conf.apply(read_specs([specs]))
    await settled(publisher, 1)
    before = publisher.live
    specs.write_text(SPECS.replace("models: [chat]", "modles: [chat]"))
    await conf.apply(read_specs([specs]))
    assert conf.stale
    assert any(f.code == "HG1003" for f in conf.findings)
    await asyncio.sleep(0.3)
    assert publisher.live == before
    task.cancel()


async def test_a_start_with_broken_specs_goes_on_with_the_last_good_ones(tmp_path: Path, specs: Path) -> None:
    conf, publisher, task = await configurator(tmp_path)
    await conf.apply(read_specs([specs]))
    await settled(publisher, 1)
    task.cancel()
    specs.write_text("{")
    again, publisher, task = await configurator(tmp_path)
    await again.apply(read_specs([specs]))
    await settled(publisher, 1)
    assert again.stale
    assert again.gateway.models() == ("chat", "other")
    assert b"key-one" in publisher.live.of_type(SDS)["provider/a"].body
    task.cancel()


def test_kept_specs_hold_references_and_no_key(tmp_path: Path, specs: Path) -> None:
    last_good_specs.save(tmp_path, read_specs([specs]).specs)
    text = (tmp_path / last_good_specs.NAME).read_text()
    assert str(specs.parent / "a.key") in text
    assert "key-one" not in text
    kept = last_good_specs.restore(tmp_path)
    assert kept is not None
    assert kept.ok
    assert build(kept.specs) == build(read_specs([specs]).specs)


def test_only_weights_is_about_targets_not_shares(tmp_path: Path, specs: Path) -> None:
    before = build(read_specs([specs]).specs)
    specs.write_text(SPECS.replace("weight: 80", "weight: 1"))
    assert only_weights(before, build(read_specs([specs]).specs))
    specs.write_text(SPECS.replace("model: m, weight: 80", "model: new, weight: 80"))
    assert not only_weights(before, build(read_specs([specs]).specs))
