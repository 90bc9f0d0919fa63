"""The snapshot that is being served, and who is woken when it changes."""

from __future__ import annotations

import asyncio

from control_plane.xds.snapshot import Snapshot


class Feed:
    """One writer (the publisher), any number of readers (one per stream). Belongs to one event loop."""

    def __init__(self) -> None:
        self.current: Snapshot | None = None
        """None until there is a configuration: nobody is served before that."""
        self._watchers: set[asyncio.Event] = set()

    def set(self, snapshot: Snapshot) -> None:
        """Serve `snapshot` from now on."""
        self.current = snapshot
        self.wake()

    def wake(self) -> None:
        """Make every reader look again."""
        for event in self._watchers:
            event.set()

    def watch(self, event: asyncio.Event) -> None:
        """Set `event` at every change from now on."""
        self._watchers.add(event)

    def unwatch(self, event: asyncio.Event) -> None:
        """Stop doing so."""
        self._watchers.discard(event)
