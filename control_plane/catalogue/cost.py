"""What a usage costs at a price: exact, and without a clock or a file."""

from __future__ import annotations

from decimal import Decimal, localcontext

from control_plane.dialects.canon import Usage
from control_plane.spec.model_catalog import Price, Rates

_PER_MILLION = -6  # the exponent of ten


def cost(usage: Usage, price: Price, *, long_cache_write: int = 0, batch: bool = False) -> Decimal:
    """US dollars. Counts that the vendor did not report cost nothing, so with them it is a lower bound.

    `long_cache_write` of the `cache_write` tokens were written for an hour. `batch`: the request went through the batch API; a price
    without one charges in full. Raises ValueError for negative counts, and for parts that exceed the input they belong to.
    """
    total, cached, written = usage.input or 0, usage.cached or 0, usage.cache_write or 0
    output = usage.output or 0
    if min(total, cached, written, output, long_cache_write) < 0:
        raise ValueError("a negative count of tokens")
    if usage.input is not None and cached + written > total:
        raise ValueError("more cached and written tokens than input")
    if long_cache_write > written:
        raise ValueError("more tokens written for an hour than written")
    rates = rates_at(price, total)
    cached_rate = rates.input if rates.cached_input is None else rates.cached_input
    write_rate = rates.input if rates.cache_write is None else rates.cache_write
    long_rate = write_rate if rates.cache_write_1h is None else rates.cache_write_1h
    plain = max(0, total - cached - written)
    with localcontext() as exact:
        exact.prec = 60  # nothing is rounded: twelve digits of tokens, fifteen of a rate, nine of a share
        dollars = (
            plain * rates.input
            + cached * cached_rate
            + (written - long_cache_write) * write_rate
            + long_cache_write * long_rate
            + output * rates.output
        )
        if batch and price.batch is not None:
            dollars *= price.batch
        return dollars.scaleb(_PER_MILLION)


def rates_at(price: Price, input_tokens: int) -> Rates:
    """The rates of a request with that much input: of the highest tier that it is above."""
    return next((tier for tier in reversed(price.tiers) if input_tokens > tier.above), price)
