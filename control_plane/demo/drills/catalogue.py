"""The drills, in the order in which `headgate drill all` runs them."""

from __future__ import annotations

import signal
from typing import Final

from control_plane.credentials.pool import SETTLE_S
from control_plane.demo.drills.acts import Break, Certificate, Drain, Forget, Heal, Pause, Restart, Resume, Revoke, Signal
from control_plane.demo.drills.drill import QUICK, SLOW, Drill, Promise
from control_plane.demo.simulators import Fault

ALL_LONG_MS: Final = 60_000.0
HEALED: Final = (Heal(),)
UNSEEN: Final = Promise()
STALLS: Final = Promise(None, breaks="event where translated")
CUTS: Final = Promise(None, breaks="event or cut")
KEYS: Final = 3
KEYS_KNOWN_S: Final = (KEYS - 1) * SETTLE_S
"""What is heard of a key counts once the next has been in use for a while; the last one of a pool is known to be dead after this."""
DRAIN_SPREAD_S: Final = 400.0
"""A drain and its steps are over before the next, also with 300 requests."""
KEYS_SPREAD_S: Final = 200.0
"""... which 10,000 and 300 requests outlast."""
TOKENS: Final = 20
DELAY_MS: Final = 15.0
"""Answers that take 0.3 s, so that many are under way when something happens in the middle ..."""
LONG_SPREAD_S: Final = 200.0
"""... and 50 of them a second: each is 20 events to pass on."""


def _vendor(name: str, outage: str, fault: Fault, promise: Promise, how_many: int = 1) -> Drill:
    """The vendors that plans ask first have a fault from the beginning to the end."""
    return Drill(name, outage, ((0, Break(fault, how_many)),), promise, HEALED, plan="pair" if how_many == 1 else "trio")


def _deploy(part: str, outage: str) -> Drill:
    restarts = tuple((share, Restart(part)) for share in (0.1, 0.5))
    return Drill(f"restart-{part}", outage, restarts, UNSEEN, tokens=TOKENS, delay_ms=DELAY_MS, spread_s=LONG_SPREAD_S)


def _flapping(cycles: int) -> tuple[tuple[float, Break | Heal], ...]:
    down = Break(Fault(mode="status", status=503))
    return tuple((half / (2 * cycles), Heal() if half % 2 else down) for half in range(2 * cycles))


DRILLS: Final[tuple[Drill, ...]] = (
    _vendor("vendor-5xx", "every answer is 503", Fault(mode="status", status=503), QUICK),
    _vendor("rate-limited", "429 with the vendor's headers", Fault(mode="status", status=429, retry_after_s=30), QUICK),
    _vendor("rate-limited-bare", "429 without headers", Fault(mode="status", status=429), QUICK),
    _vendor("refused", "connections are refused", Fault(mode="refuse"), QUICK),
    _vendor("reset", "connections are reset", Fault(mode="reset"), QUICK),
    Drill("tls-expired", "the certificate has expired", ((0, Certificate("expired")),), QUICK, HEALED, link="tls"),
    Drill("dns-gone", "the name is not known any more", ((0, Forget()),), UNSEEN, HEALED, link="dns"),
    _vendor("black-hole", "requests are read and never answered", Fault(mode="black_hole"), SLOW),
    _vendor("unconnectable", "connects hang", Fault(mode="unconnectable"), SLOW),
    _vendor("first-token-late", "content after 60 s", Fault(mode="slow_first_token", delay_ms=ALL_LONG_MS), SLOW),
    _vendor("first-event-late", "headers at once, nothing for 60 s", Fault(mode="late_first_event", delay_ms=ALL_LONG_MS), SLOW),
    _vendor("slow", "every answer begins after twice the timer", Fault(mode="latency", delay_ms=2000), SLOW),
    _vendor("error-in-200", "an error event in a 200", Fault(mode="error_event"), QUICK),
    _vendor("garbage", "bytes that are nothing", Fault(mode="garbage"), QUICK),
    _vendor("truncated-json", "JSON that ends in the middle", Fault(mode="truncated"), QUICK),
    _vendor("wrong-content-type", "an HTML page with status 200", Fault(mode="html", status=200), QUICK),
    _vendor("stall-after-content", "streams stop after content", Fault(mode="stall", after=3, only="stream"), STALLS),
    _vendor(
        "stall-behind-heartbeats",
        "streams stop after content, heartbeats go on",
        Fault(mode="stall", after=3, heartbeat_ms=200, only="stream"),
        Promise(None, breaks="event"),
    ),
    _vendor("cut-after-content", "streams are reset after content", Fault(mode="cut", after=3, only="stream"), CUTS),
    _vendor(
        "early-end-after-content",
        "streams end properly in the middle",
        Fault(mode="cut", after=3, how="clean", only="stream"),
        Promise(None, breaks="event"),
    ),
    Drill("one-key-revoked", "one of three keys is refused", ((0, Revoke(1)),), UNSEEN, HEALED, keys=KEYS),
    Drill(
        "all-keys-revoked",
        "all keys are refused",
        ((0, Revoke()),),
        Promise(seen_after_s=KEYS_KNOWN_S, amplification=1.02, returns=False),  # keys are out for the pool's keyQuarantine, 30 min
        HEALED,
        keys=KEYS,
        spread_s=KEYS_SPREAD_S,
    ),
    Drill(
        "all-keys-revoked-alone",
        "all keys, and no other provider",
        ((0, Revoke()),),
        Promise(None, answer="upstream_credentials_exhausted", returns=False),
        HEALED,
        plan="alone",
        keys=KEYS,
    ),
    _vendor("two-of-three", "the first two vendors at once", Fault(mode="status", status=503), QUICK, how_many=2),
    Drill("flapping", "down and up every 5 s", _flapping(8), Promise(diversions_a_minute=3), HEALED, spread_s=80),
    Drill(
        "control-plane-down",
        "no control plane for 5 min, and a vendor fails in it",
        ((0, Pause("control-plane")), (0.25, Break(Fault(mode="status", status=503))), (0.75, Heal())),
        UNSEEN,
        (Resume("control-plane"),),
        spread_s=300,
    ),
    Drill(
        "worker-killed",
        "a translator worker is killed",
        ((0.3, Signal("translator-0", signal.SIGKILL)),),
        Promise(None, recovery_s=2),
        tokens=TOKENS,
        delay_ms=DELAY_MS,
        spread_s=LONG_SPREAD_S,
    ),
    Drill(
        "worker-stopped",
        "a translator worker hangs (SIGSTOP)",
        ((0.3, Signal("translator-0", signal.SIGSTOP)),),
        Promise(None, recovery_s=2),
        (Signal("translator-0", signal.SIGCONT),),
        tokens=TOKENS,
        delay_ms=DELAY_MS,
        spread_s=LONG_SPREAD_S,
    ),
    _deploy("control-plane", "the control plane is deployed anew, twice"),
    _deploy("translators", "all workers are deployed anew, twice"),
    _deploy("envoy", "Envoy is deployed anew, twice"),
    Drill(
        "drain",
        "`headgate drain` of the first vendor, three times, with three Envoys",
        tuple((share, Drain(for_s=1, step_s=1)) for share in (0.05, 0.4, 0.75)),
        Promise(acked_s=1),
        tokens=TOKENS,
        delay_ms=DELAY_MS,
        spread_s=DRAIN_SPREAD_S,
        envoys=3,
    ),
)


def named(name: str) -> tuple[Drill, ...]:
    """The drill of that name, or all of them. Raises KeyError."""
    if name == "all":
        return DRILLS
    return ({drill.name: drill for drill in DRILLS}[name],)
