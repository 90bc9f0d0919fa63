"""`headgate demo --check`: every lane and every fault through a running gateway, one line each."""

from control_plane.demo.check.runner import run_checks

__all__ = ["run_checks"]
