"""Names of headers that both the configuration of Envoy and the translator speak of. No client may send one: the listener removes them."""

from __future__ import annotations

from typing import Final

MODEL_HEADER: Final = "x-headgate-model"
"""The model that the request names; "*" as long as none is known. Selects the routes."""

CALL_HEADER: Final = "x-headgate-call"
"""What the client's path said, where it names the model: how, query and model, with blanks between them."""

FAILURE_HEADER: Final = "x-headgate-failure"
"""Why another target may do better: set by the translator, whatever the status. Routes retry such answers; clients never see it."""

SESSION_HEADER: Final = "x-headgate-session"
"""The number by which Envoy chooses targets for the request's session: set by the edge filter, removed before any attempt."""

FAULT_HEADER: Final = "x-headgate-fault"
"""The class of an error, by its body too: from the filter of a passthrough target or from the translator. Routes retry by it."""

RESUME_HEADER: Final = "x-headgate-resume"
"""Between Envoy and the resumer: how many targets may write the answer; back, that it is the `first` one or comes `after:<target>`."""

TARGET_HEADER: Final = "x-headgate-target"
"""The target's name: told to the translator, and named in the answer to the client."""

LONG_HEADER: Final = "x-headgate-long"
"""Tokens of a window that the request takes, by estimate. Set by the edge filter where the route asks, and removed by its routes."""

COST_HEADER: Final = "x-headgate-cost"
"""What it costs, in tokens of input, likewise."""

NEEDS_HEADER: Final = "x-headgate-needs"
"""Abilities that it needs, with commas between them, likewise."""
