"""Runs the cases one after the other and says how each went."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Final

from control_plane.demo.check.cases import Case, cases
from control_plane.demo.check.clients import Failed
from control_plane.demo.check.faults import fault_cases
from control_plane.demo.control_client import ControlClient
from control_plane.kit.errors import SpecError

REASON_LIMIT_CHARS: Final = 600  # of a failure's explanation; bodies can be long


async def run_checks(base_url: str, control: ControlClient | str, emit: Callable[[str], None]) -> bool:
    """Check the gateway at `base_url` in front of the demo's vendors, which `control` (a client or its URL) breaks and heals.

    One line per case to `emit`; True when all held. All vendors are healed at the end, whatever happens.
    """
    client = ControlClient(control) if isinstance(control, str) else control
    await client.heal()
    failed, number, start = 0, 0, time.monotonic()
    try:
        for case in itertools.chain(cases(base_url), fault_cases(base_url, client)):
            number += 1
            failed += not await _run(case, emit)
    finally:
        await client.heal()
    took = time.monotonic() - start
    emit(f"{number - failed} of {number} checks passed in {took:.1f} s" + (f", {failed} FAILED" if failed else ""))
    return failed == 0


async def _run(case: Case, emit: Callable[[str], None]) -> bool:
    start = time.monotonic()
    reason = ""
    try:
        await case.work()
    except (Failed, SpecError) as error:
        reason = str(error)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:  # an answer of another shape than its dialect's
        reason = f"the answer cannot be read: {error!r}"
    took = time.monotonic() - start
    emit(
        f"{'FAIL' if reason else 'ok  '} {took:6.2f} s  {case.name}" + (f"\n              {reason[:REASON_LIMIT_CHARS]}" if reason else "")
    )
    return not reason
