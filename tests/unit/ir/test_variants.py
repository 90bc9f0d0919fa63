"""Variants of plans: whatever a request measures, the first variant that fits it holds exactly the targets that can take it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dialects.told import Speaks
from control_plane.ir.abilities import NEEDS, Abilities, output_weight
from control_plane.ir.build import build
from control_plane.ir.model import Choice, Entry, Lane, TargetUse, When
from control_plane.ir.steering import Steer, Steering
from control_plane.ir.variants import MAX_STEPS, Rules, varied
from control_plane.spec.load import load
from control_plane.spec.model_catalog import Price, Tier

PATH = "/v1/chat/completions"
SERVES = Speaks("openai-chat", "chat", PATH)
Names = list[list[str]]


def choice(name: str, weight: int = 100, lane: Lane = Lane.PASSTHROUGH) -> Choice:
    return Choice(TargetUse(name, "m", lane, 2_000), weight, SERVES)


def entry(*groups: str, operation: str = "chat") -> Entry:
    return Entry("openai-chat", operation, tuple(tuple(choice(name) for name in group.split()) for group in groups), None)


def rules(**more: object) -> Rules:
    return Rules(**{"windows": True, "capability": True, "ceiling": None, "attempts": 3, "context_errors": False, **more})  # type: ignore[arg-type]


def plan_of(one: Entry, long: int = 0, cost: int = 0, needs: Sequence[str] = ()) -> Names:
    """The plan that Envoy chooses: the first route whose headers match, else the entry's own."""
    for variant in one.variants:
        when: When = variant.when
        if long >= when.long and cost >= when.cost and when.needs in ((), tuple(needs)):
            return names(variant.groups)
    return names(one.groups)


def names(groups: Sequence[Sequence[Choice]]) -> Names:
    return [[one.use.provider for one in group] for group in groups]


def vary(one: Entry, known: dict[str, Abilities], asked: Rules) -> Entry:
    return varied(one, PATH, asked, lambda use: known[use.provider])


def window(tokens: int) -> Abilities:
    return Abilities(window=tokens, max_output=1_000)


SMALL, LARGE, UNKNOWN = window(9_000), window(101_000), Abilities()


def test_a_long_request_passes_by_the_window_that_is_too_small() -> None:
    found = vary(entry("small", "large"), {"small": SMALL, "large": LARGE}, rules())
    assert plan_of(found, long=8_000) == [["small"], ["large"]]
    assert plan_of(found, long=8_001) == [["large"]]
    assert plan_of(found, long=500_000) == [["small"], ["large"]], "nothing fits: the plan as written, the vendor decides"
    assert found.weighing is not None
    assert found.weighing.long == 8_000 * 4


def test_a_target_of_a_group_drops_out_and_the_others_keep_their_weights() -> None:
    found = vary(entry("small large", "unknown"), {"small": SMALL, "large": LARGE, "unknown": UNKNOWN}, rules())
    assert plan_of(found, long=20_000) == [["large"], ["unknown"]]
    assert plan_of(found, long=10**7) == [["unknown"]], "of whom nothing is known may fit"


@pytest.mark.parametrize("known", [{"small": SMALL, "large": SMALL}, {"small": UNKNOWN, "large": UNKNOWN}])
def test_a_route_whose_targets_can_take_the_same_has_no_variants_and_measures_nothing(known: dict[str, Abilities]) -> None:
    one = entry("small", "large")
    assert vary(one, known, rules()) is one


def test_what_is_no_text_is_not_measured_and_a_route_may_say_no() -> None:
    known = {"small": SMALL, "large": LARGE}
    for one, asked in ((entry("small", "large", operation="embeddings"), rules()), (entry("small", "large"), rules(windows=False))):
        assert vary(one, known, asked) is one


def test_where_the_first_group_may_call_a_request_too_long_larger_windows_follow_it() -> None:
    known = {"small": SMALL, "small2": SMALL, "unknown": UNKNOWN, "large": LARGE}
    found = vary(entry("small", "small2", "unknown", "large"), known, rules(context_errors=True))
    assert plan_of(found, long=4_000) == [["small"], ["small2"], ["unknown"], ["large"]]
    assert plan_of(found, long=4_001) == [["small"], ["large"], ["small2"], ["unknown"]]
    assert plan_of(found, long=8_001) == [["unknown"], ["large"]]


def test_attempts_go_with_the_groups() -> None:
    known = {"small": SMALL, "large": LARGE}
    for attempts, expected in ((1, 1), (2, 1), (3, 2)):
        whole, variant = vary(entry("small", "large"), known, rules(attempts=attempts)).variants
        assert (whole.attempts, variant.attempts) == (attempts, expected)


def test_a_passthrough_target_that_follows_a_translated_one_in_a_variant_restores() -> None:
    groups = ((choice("small"),), (choice("middle"),), (choice("large", lane=Lane.TRANSLATION),))
    known = {"small": SMALL, "middle": SMALL, "large": LARGE}
    found = varied(Entry("openai-chat", "chat", groups, None), PATH, rules(context_errors=True), lambda use: known[use.provider])
    moved = next(v for v in found.variants if names(v.groups) == [["small"], ["large"], ["middle"]])
    assert [group[0].use.restore for group in moved.groups] == [False, False, True]


def test_a_ceiling_leaves_out_what_is_too_dear_and_at_last_everything() -> None:
    cheap, dear = Price(input=Decimal(1), output=Decimal(4)), Price(input=Decimal(5), output=Decimal(20))
    known = {"dear": Abilities(price=dear), "cheap": Abilities(price=cheap)}
    found = vary(entry("dear", "cheap"), known, rules(ceiling=Decimal("0.01")))
    assert found.weighing is not None
    assert found.weighing.output_weight == 4
    assert plan_of(found, cost=2_000) == [["dear"], ["cheap"]]
    assert plan_of(found, cost=2_001) == [["cheap"]]
    assert plan_of(found, cost=10_001) == []
    free = vary(entry("dear", "own"), {**known, "own": UNKNOWN}, rules(ceiling=Decimal("0.01")))
    assert plan_of(free, cost=10**9) == [["own"]], "a price that is not known passes no ceiling"


def test_a_ceiling_counts_the_rates_of_long_inputs() -> None:
    tier = Tier(input=Decimal(10), output=Decimal(30), above=1_000)
    price = Price(input=Decimal(1), output=Decimal(3), tiers=(tier,))
    afford = Abilities(price=price).affords
    assert afford(Decimal("0.0005"), 3) == 500
    assert afford(Decimal("0.005"), 3) == 1_000, "one token more would cost 0.01"
    assert afford(Decimal("0.02"), 3) == 2_000
    assert Abilities(price=Price(input=Decimal(0), output=Decimal(0))).affords(Decimal(0), 1) is None


rates = st.decimals(0, 100, places=2)
prices = st.builds(lambda i, o: Price(input=i, output=o), rates, rates)


tokens = st.tuples(st.integers(0, 10**6), st.integers(0, 10**5))


@given(price=prices, others=st.lists(prices, max_size=3), ceiling=st.decimals(0, 10, places=4), asked=tokens)
def test_what_a_target_affords_never_costs_more(price: Price, others: list[Price], ceiling: Decimal, asked: tuple[int, int]) -> None:
    text, out = asked
    weight = output_weight([price, *others])
    most = Abilities(price=price).affords(ceiling, weight)
    if most is None or text + weight * out <= most:
        assert (text * price.input + out * price.output) / 10**6 <= ceiling or most is None


known_abilities = st.builds(
    Abilities,
    window=st.none() | st.sampled_from([8_000, 32_000, 128_000]),
    max_output=st.none() | st.sampled_from([1_000, 60_000]),
    lacks=st.frozensets(st.sampled_from(NEEDS)),
    price=st.none() | prices,
)
wanted = st.lists(st.sampled_from(NEEDS), unique=True).map(lambda found: tuple(need for need in NEEDS if need in found))


plans = st.tuples(st.lists(known_abilities, min_size=1, max_size=4), st.integers(1, 4))


@given(plan=plans, ceiling=st.none() | st.decimals(0, 1, places=3), data=st.data())
def test_every_request_gets_the_targets_that_can_take_it(
    plan: tuple[list[Abilities], int], ceiling: Decimal | None, data: st.DataObject
) -> None:
    known, split = plan
    every = {f"t{i}": one for i, one in enumerate(known)}
    labels = list(every)
    one = entry(*(" ".join(part) for part in (labels[:split], labels[split:]) if part))
    found = vary(one, every, rules(ceiling=ceiling))
    long, cost, needs = data.draw(st.integers(0, 150_000)), data.draw(st.integers(0, 10**6)), data.draw(wanted)
    # The edge looks only for needs that some variant is about; then the others make no difference.
    looked = tuple(need for need in needs if found.weighing is not None and need in found.weighing.needs)
    weight = output_weight([a.price for a in known if a.price is not None]) if ceiling is not None else 0
    left = [n for n in labels if ceiling is None or (most := every[n].affords(ceiling, weight)) is None or cost <= most]
    left = [n for n in left if (fits := every[n].fits) is None or long <= fits] or left
    for need in needs:
        left = [n for n in left if need not in every[n].lacks] or left
    expected = [kept for group in names(one.groups) if (kept := [n for n in group if n in left])]
    assert plan_of(found, long, cost, looked) == expected
    assert vary(one, every, rules(ceiling=ceiling)) == found


def test_the_number_of_variants_is_bounded() -> None:
    every = {f"t{i}": Abilities(window=10_000 * (i + 1), price=Price(input=Decimal(i + 1), output=Decimal(1))) for i in range(30)}
    found = vary(entry(*every), every, rules(ceiling=Decimal(1), attempts=10))
    assert len(found.variants) < (MAX_STEPS + 1) ** 2
    assert plan_of(found, long=300_000) == [["t29"]] or plan_of(found, long=300_000) == names(found.groups)


SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: small}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:8000/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: large}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:8001/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: larger}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:8002/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelCatalog
metadata: {name: own}
spec:
  preset: openai-compatible
  checked: "2026-11-01"
  source: https://models.example/list
  models: [{id: a, contextWindow: 8192}, {id: b, contextWindow: 200000}]
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: r}
spec:
  models: [m]
  dialects: [openai-chat]
  plan:
  - {targets: [{provider: small, model: a}]}
  - {targets: [{provider: large, model: b}, {provider: larger, model: b}]}
"""


def test_variants_are_made_from_the_steered_plan(tmp_path: Path) -> None:
    file = tmp_path / "specs.yaml"
    file.write_text(SPECS, encoding="utf-8")
    loaded = load(file)
    assert loaded.ok, loaded.findings

    def long(**steers: Steer) -> tuple[Names, set[str]]:
        steering = Steering(targets={f"{name}/b": steer for name, steer in steers.items()})
        (route,) = build(loaded.specs, None, steering).routes
        chat = next(e for e in route.entries if e.operation == "chat")
        return plan_of(chat, long=50_000), {use.provider for use in route.uses()}

    every = {"small", "large", "larger"}
    assert long() == ([["large", "larger"]], every)
    assert long(large=Steer(0, "drained", out=True)) == ([["larger"]], every)
    assert long(large=Steer(0, "breaker open")) == ([["larger"], ["large"]], every)
    out = Steer(0, "drained", out=True)
    assert long(large=out, larger=out) == ([["small"]], every), "nobody is left who could take it: the vendor decides"
