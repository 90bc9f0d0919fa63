"""All vendors of a route are out at once: what clients are told, and how little the vendors see of it, on real Envoy."""

from __future__ import annotations

import time
from typing import Any

import anthropic
import openai
import pytest

from tests.live.gateway.rig import ROUTE, Rig, RigFactory
from tests.live.gateway.test_breakers import PROVIDER, Traffic, until

STORMS: dict[str, dict[str, Any]] = {
    "told": {"mode": "status", "status": 429, "retry_after_s": 20},
    "down": {"mode": "status", "status": 503},
}
POLICIES = ("leastBad", "reject")
SECOND = PROVIDER.replace("preset: openai", "preset: anthropic").replace("{{openai}}/v1", "{{anthropic}}/v1").replace("OPENAI", "ANTHROPIC")


def names() -> list[str]:
    return [f"{storm}-{policy.lower()}" for storm in (*STORMS, "sdk") for policy in POLICIES]


def routed(name: str) -> str:
    policy = next(p for p in POLICIES if name.endswith(p.lower()))
    plan = f"  - {{targets: [{{provider: {name}-a, model: gpt-5}}]}}\n  - {{targets: [{{provider: {name}-b, model: claude-sonnet-5}}]}}"
    return ROUTE.format(name=name, plan=plan, first_token="1s", hold="false") + f"  retry: {{attempts: 3}}\n  onExhausted: {policy}\n"


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    providers = "".join(PROVIDER.format(name=f"{name}-a") + SECOND.format(name=f"{name}-b") for name in names())
    return make_rig("".join(map(routed, names())), providers=providers)


def seen(rig: Rig) -> int:
    return sum(rig.vendors[vendor].stats.requests for vendor in ("openai", "anthropic"))


def break_all(rig: Rig, **fault: Any) -> None:
    for vendor in ("openai", "anthropic"):
        rig.break_vendor(vendor, **fault)


def asked_of_vendors(rig: Rig, traffic: Traffic, seconds: float) -> float:
    """Attempts that vendors see for each request, from now on for so long. What Envoy counts has the refused ones too."""
    before, answered = seen(rig), len(traffic.answers)
    time.sleep(seconds)
    return (seen(rig) - before) / max(1, len(traffic.answers) - answered)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("storm", STORMS)
def test_a_storm_of_all_vendors_is_not_multiplied(rig: Rig, storm: str, policy: str) -> None:
    rig.heal()
    limit = 1.45 if policy == "leastBad" else 0.1
    with Traffic(rig, f"{storm}-{policy.lower()}", rate=40) as traffic:
        time.sleep(2)
        before = seen(rig)
        break_all(rig, **STORMS[storm])
        broken = time.monotonic()
        time.sleep(1)
        until(lambda: asked_of_vendors(rig, traffic, 1.0) <= limit, 15)
        settled, at = seen(rig), time.monotonic()
        time.sleep(6)
        after, late = seen(rig), time.monotonic()
    rig.heal()
    asked = sum(at <= began < late for began, _ in traffic.answers)
    first = sum(broken <= began < at for began, _ in traffic.answers)
    early = (settled - before) / first
    print(f"\n{storm} {policy}: in {at - broken:.1f} s {early:.2f}, then {(after - settled) / asked:.3f} attempts a request")
    assert early <= 3, "the route's attempts"
    assert (after - settled) / asked <= limit
    answers = [answer for began, answer in traffic.answers if at <= began < late]
    assert all(answer.status in (429, 503) for answer in answers), {answer.status for answer in answers}
    waits = {int(answer.headers.get("retry-after", "0")) for answer in answers}
    print(sorted(waits))
    assert 0 not in waits
    if policy == "reject":
        assert {answer.status for answer in answers} == {503}
        assert max(waits) <= 61


@pytest.mark.parametrize("policy", POLICIES)
def test_sdks_get_their_own_error_and_the_time_to_wait(rig: Rig, policy: str) -> None:
    rig.heal()
    name = f"sdk-{policy.lower()}"
    break_all(rig, mode="status", status=429, retry_after_s=30)
    try:
        with Traffic(rig, name, rate=20) as traffic:
            until(lambda: traffic.answers and int(traffic.answers[-1][1].headers.get("retry-after", "0")) > 1, 5)
            time.sleep(2)
        client = openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0)
        other = anthropic.Anthropic(base_url=rig.url, api_key="k", max_retries=0)
        with pytest.raises(openai.APIStatusError) as told:
            client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(anthropic.APIStatusError) as also:
            other.messages.create(model=name, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        client.close()
        other.close()
    finally:
        rig.heal()
    for error in (told.value, also.value):
        assert error.status_code == 503 or (policy == "leastBad" and error.status_code == 429), "refused, or the vendor's own"
        assert 15 <= int(error.response.headers["retry-after"]) <= 31
    if policy == "reject":
        assert isinstance(told.value, openai.InternalServerError)
        assert told.value.code == "no_provider_available"
        assert isinstance(also.value, anthropic.InternalServerError)
        assert also.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_has_recovered_is_found_by_probes(rig: Rig, policy: str) -> None:
    rig.heal()
    name = f"down-{policy.lower()}"
    break_all(rig, mode="status", status=503)
    with Traffic(rig, name, rate=20) as traffic:
        time.sleep(3)
        rig.heal()
        until(lambda: sum(answer.status == 200 for _, answer in traffic.answers[-40:]) == 40, 60)
