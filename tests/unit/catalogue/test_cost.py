"""What a usage costs: exact, additive, never less with more tokens, and right by hand for each vendor's way to count."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.catalogue.cost import cost, rates_at
from control_plane.dialects.canon import Usage
from control_plane.spec.model_catalog import Price, Tier

RATE = st.decimals(min_value=0, max_value=1000, places=6, allow_nan=False, allow_infinity=False)
TOKENS = st.integers(min_value=0, max_value=10**12)


def priced(**rates: object) -> Price:
    return Price.model_validate(rates, by_alias=True)


PRICES = st.builds(
    lambda i, c, w, h, o, b: priced(input=i, cachedInput=c, cacheWrite=w, cacheWrite1h=h, output=o, batch=b),
    RATE,
    st.none() | RATE,
    st.none() | RATE,
    st.none() | RATE,
    RATE,
    st.none() | st.decimals(min_value=0, max_value=1, places=3),
)


@given(PRICES, TOKENS, TOKENS, TOKENS, TOKENS, st.booleans())
def test_it_is_the_sum_of_its_parts_to_the_last_digit(
    price: Price, plain: int, cached: int, written: int, output: int, batch: bool
) -> None:
    """Against fractions, which round nothing."""
    long = written // 3
    usage = Usage(input=plain + cached + written, cached=cached, cache_write=written, output=output, reasoning=output)
    read = price.input if price.cached_input is None else price.cached_input
    write = price.input if price.cache_write is None else price.cache_write
    write_1h = write if price.cache_write_1h is None else price.cache_write_1h
    parts = ((plain, price.input), (cached, read), (written - long, write), (long, write_1h), (output, price.output))
    expected = sum((count * Fraction(rate) for count, rate in parts), Fraction(0)) / 1_000_000
    if batch and price.batch is not None:
        expected *= Fraction(price.batch)
    assert Fraction(cost(usage, price, long_cache_write=long, batch=batch)) == expected


@given(PRICES, TOKENS, TOKENS, st.integers(min_value=1, max_value=10**9))
def test_more_tokens_never_cost_less_without_tiers(price: Price, tokens: int, output: int, more: int) -> None:
    before = cost(Usage(input=tokens, output=output), price)
    assert cost(Usage(input=tokens + more, output=output), price) >= before
    assert cost(Usage(input=tokens, output=output + more), price) >= before


@given(PRICES)
def test_what_was_not_reported_costs_nothing(price: Price) -> None:
    assert cost(Usage(), price) == 0
    assert cost(Usage(input=None, output=1_000_000), price) == price.output


def test_a_request_of_anthropic_by_hand() -> None:
    """12,000 of input: 1,000 fresh, 8,000 from the cache, 3,000 written of which 1,000 for an hour."""
    price = priced(input=3, cachedInput=0.3, cacheWrite=3.75, cacheWrite1h=6, output=15, batch=0.5)
    usage = Usage(input=12_000, cached=8_000, cache_write=3_000, output=500)
    assert cost(usage, price, long_cache_write=1_000) == Decimal("0.0264")
    assert cost(usage, price, long_cache_write=1_000, batch=True) == Decimal("0.0132")


def test_rates_that_are_no_binary_fractions_stay_what_was_written() -> None:
    assert priced(input=0.1, output=0.7).input == Decimal("0.1")
    assert cost(Usage(input=3, output=0), priced(input=0.1, output=0)) == Decimal("0.0000003")
    assert cost(Usage(input=1, output=1), priced(input="0.075", output=0.3)) == Decimal("0.000000375")


@pytest.mark.parametrize(("tokens", "dollars"), [(200_000, "0.25"), (200_001, "0.5000025"), (1_000_000, "2.5"), (1_000_001, "4.000004")])
def test_a_long_input_costs_the_rates_of_its_tier(tokens: int, dollars: str) -> None:
    price = priced(input=1.25, output=10, tiers=({"above": 200_000, "input": 2.5, "output": 15}, {"above": "1M", "input": 4, "output": 20}))
    assert cost(Usage(input=tokens, output=0), price) == Decimal(dollars)
    assert isinstance(rates_at(price, 200_001), Tier)


@pytest.mark.parametrize(
    ("usage", "long"),
    [
        (Usage(input=-1), 0),
        (Usage(input=10, cached=8, cache_write=3), 0),
        (Usage(input=10, cache_write=3), 4),
    ],
)
def test_counts_that_contradict_each_other_are_refused(usage: Usage, long: int) -> None:
    with pytest.raises(ValueError, match="token"):
        cost(usage, priced(input=1, output=1), long_cache_write=long)
