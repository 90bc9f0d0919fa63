"""Property tests here have no deadline for an example: machines that share their cores are slow now and then."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("headgate-specs", deadline=None)
settings.load_profile("headgate-specs")
