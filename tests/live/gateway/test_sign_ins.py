"""Providers that sign in to a cloud: tokens are renewed under load, nothing but a secret changes in Envoy, and no token is ever shown."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.app.child import Child
from control_plane.kit import probe
from tests.clouds.entra import CLIENT, SECRET, TENANT, EntraTokens
from tests.clouds.google import GoogleTokens
from tests.clouds.server import Answer, make_authority
from tests.clouds.vendor import CloudVendor, bearer_of
from tests.live.gateway import load
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route

MODELS.update({"cloud": "gpt-5", "pool": "gpt-5"})

PROVIDER = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  preset: openai
  breaker: {{enabled: false}}
  baseUrl: "{url}/v1"
  allowInsecure: true
  dialects: [openai-chat]
  credentials: [{credential}]
"""


def provider(name: str, url: str, credential: str) -> str:
    """Goes through `str.format` once more, in the rig."""
    return PROVIDER.format(name=name, url=url, credential=credential).replace("{", "{{").replace("}", "}}")


def get(rig: Rig, what: str) -> list[dict[str, Any]]:
    _, text = rig.loop.run(probe.http("{}:{}".format(*rig.gateway.admin), "GET", f"/api/v1/{what}"))
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return items


def envoy(rig: Rig, path: str) -> str:
    command = ["curl", "-s", "--unix-socket", rig.gateway.places.envoy_admin, f"http://x/{path}"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def stats(rig: Rig, *names: str) -> dict[str, int]:
    found = json.loads(envoy(rig, "stats?format=json"))["stats"]
    return {s["name"]: s["value"] for s in found if "name" in s and s["name"] in names}


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "still not"
        time.sleep(0.05)


def call(rig: Rig, model: str, dialect: str = "chat") -> load.Answer:
    async def once() -> load.Answer:
        client = load.Client(rig.url)
        try:
            return await client.post(*(load.chat(model) if dialect == "chat" else load.messages(model)))
        finally:
            client.close()

    return rig.loop.run(once())


def secrets_in(rig: Rig) -> set[str]:
    """Where a secret shows, of all that the gateway writes or tells. (Envoy itself says "canary" of hosts.)"""
    places = {f"envoy {what}": envoy(rig, what) for what in ("config_dump?include_eds", "stats", "clusters")}
    places |= {what: json.dumps(get(rig, what)) for what in ("credentials", "providers", "findings", "targets")}
    address = "{}:{}".format(*rig.gateway.admin)
    places["dump"] = rig.loop.run(probe.http(address, "GET", "/debug/xds"))[1]
    places["metrics"] = rig.loop.run(probe.http(address, "GET", "/metrics"))[1]
    places["log"] = "\n".join(rig.lines)
    for file in rig.gateway.places.state.rglob("*"):
        if file.is_file():
            places[file.name] = file.read_bytes().decode(errors="replace")
    assert len(places) > 9
    return {name for name, text in places.items() if "-canary" in text or "~client-secret" in text}


# ---------------------------------------------------------------------- Google
@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GoogleTokens, CloudVendor, Path]]:
    with GoogleTokens(lifetime_s=4) as tokens, CloudVendor(bearer_of(tokens)) as vendor:
        yield tokens, vendor, tokens.write_service_account(tmp_path_factory.mktemp("google") / "sa.json")


@pytest.fixture(scope="module")
def google_rig(make_rig: RigFactory, google: tuple[GoogleTokens, CloudVendor, Path]) -> Rig:
    _, vendor, file = google
    cloud = provider("cloud", vendor.url, f"{{google: {{serviceAccountFile: {file}}}}}")
    rig = make_rig(route("cloudy", "cloud"), providers=cloud)
    until(lambda: get(rig, "credentials")[-1]["state"] != "WAITING")
    return rig


@pytest.mark.long
def test_tokens_are_renewed_under_load_without_a_failure_or_a_change_of_clusters(
    google_rig: Rig, google: tuple[GoogleTokens, CloudVendor, Path]
) -> None:
    rig, (_, vendor, _) = google_rig, google
    until(lambda: call(rig, "cloudy").status == 200)
    vendor.callers.clear()
    vendor.refused.clear()
    watched = ("cluster_manager.cluster_modified", "cluster_manager.cluster_added", "cluster.provider:cloud.upstream_cx_destroy_local")
    before, config = stats(rig, *watched), clusters(rig)

    async def steady() -> list[load.Answer]:
        client = load.Client(rig.url)
        answers: list[load.Answer] = []
        end = time.monotonic() + 11
        while time.monotonic() < end:
            paths = (load.chat("cloudy"), load.messages("cloudy"))
            answers.append(await client.post(*paths[len(answers) % 2]))
            await asyncio.sleep(0.01)
        client.close()
        return answers

    answers = rig.loop.run(steady())
    wrong = [problem for answer in answers if (problem := load.served(answer))]
    assert not wrong, (len(wrong), wrong[:3])
    assert len(answers) > 100
    assert not vendor.refused
    assert len(set(vendor.callers)) >= 3  # both lanes, several tokens, each while it was good
    assert stats(rig, *watched) == before
    assert clusters(rig) == config


def clusters(rig: Rig) -> list[tuple[str, str]]:
    """Name and version of every dynamic cluster, as Envoy runs them."""
    dumped = json.loads(envoy(rig, "config_dump?resource=dynamic_active_clusters"))
    return sorted((c["cluster"]["name"], c["version_info"] + c["last_updated"]) for c in dumped["configs"])


def test_no_token_is_shown_anywhere(google_rig: Rig) -> None:
    until(lambda: call(google_rig, "cloudy").status == 200)
    assert secrets_in(google_rig) == set()
    row = next(row for row in get(google_rig, "credentials") if row["provider"] == "cloud")
    assert row["source"].startswith("google service account file ")
    assert row["state"] == "READY"
    assert row["expires_at"] > row["refreshed_at"]


# ---------------------------------------------------------------------- Entra
@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EntraTokens, CloudVendor, Path]]:
    authority, tls = make_authority(tmp_path_factory.mktemp("entra"))
    with EntraTokens(tls, lifetime_s=3600) as tokens, CloudVendor(bearer_of(tokens)) as vendor:
        tokens.broken = Answer(503, b"down")
        yield tokens, vendor, authority


def test_targets_wait_for_their_token_and_restarts_keep_them(make_rig: RigFactory, entra: tuple[EntraTokens, CloudVendor, Path]) -> None:
    tokens, vendor, authority = entra
    how = f"tenantId: {TENANT}, clientId: {CLIENT}, clientSecret: {{env: ENTRA}}, authorityHost: '{tokens.url}'"
    cloud = provider("cloud", vendor.url, f"{{entra: {{{how}}}}}")
    environ = {"ENTRA": SECRET, "REQUESTS_CA_BUNDLE": str(authority)}
    rig = make_rig(route("both", "cloud", "local") + route("alone", "cloud"), providers=cloud, env=environ)

    def row() -> dict[str, Any]:
        return next((row for row in get(rig, "credentials") if row["provider"] == "cloud"), {"state": "UNKNOWN"})

    # No token: left out, the next target serves at the first attempt, and operators are told why.
    answer = call(rig, "both")
    assert (answer.status, answer.attempts) == (200, 1)
    assert not vendor.asked
    assert (row()["state"], "503" in row()["error"] or "down" in row()["error"]) == ("FAILED", True)
    assert ("HG3015", "warning") in [(f["code"], f["severity"]) for f in get(rig, "findings")]
    # The token comes by itself, and so does the target.
    tokens.broken = None
    until(lambda: row()["state"] == "READY")
    until(lambda: call(rig, "both").headers.get("x-headgate-target", "").startswith("cloud/"))
    assert call(rig, "alone").status == 200
    assert not [f for f in get(rig, "findings") if f["code"] == "HG3015"]
    # The control plane dies while the token service is down. Envoy goes on, before and after it is back, with the token that it holds.
    tokens.broken = Answer(503, b"down")
    vendor.refused.clear()
    child = rig.gateway.children["control-plane"]
    starts = child.started
    rig.loop.run(_kill(child))
    assert call(rig, "alone").status == 200
    until(lambda: child.started > starts)
    until(lambda: _answers(rig) and row()["state"] == "FAILED", 30)
    for _ in range(5):
        assert call(rig, "alone").status == 200
        time.sleep(0.2)
    assert not vendor.refused
    tokens.broken = None
    until(lambda: row()["state"] == "READY", 30)
    assert call(rig, "both").status == 200
    assert secrets_in(rig) == set()


async def _kill(child: Child) -> None:
    child.signal(signal.SIGKILL)


def _answers(rig: Rig) -> bool:
    try:
        get(rig, "credentials")
    except (OSError, ValueError, KeyError, StopIteration):
        return False
    return True
