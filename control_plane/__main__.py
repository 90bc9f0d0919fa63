"""`python -m control_plane` is `headgate`; the process tree starts its parts this way, whatever PATH says."""

from control_plane.cli.main import run

run()
