"""The two lists of the host that every engine is looked up in: its processes, and who listens."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pool_lifecycle_drivers.offload import Shared
from pool_lifecycle_drivers.ports import Listener, listeners
from pool_lifecycle_drivers.procfs import Entry, process_table


class Census:
    """Reads each list once for all engines of a launcher that ask at about the same time."""

    def __init__(self) -> None:
        self._since: list[int] = []
        self._processes = Shared(self._prepare)
        self._listeners = Shared(lambda: listeners)

    async def processes(self, *, since: int) -> list[Entry]:
        """Every process; with tokens for those started at `since` (ticks after boot) or later.

        Raises OSError when the host cannot be looked at.
        """
        self._since.append(since)
        return await self._processes.get()

    async def listeners(self) -> list[Listener]:
        """Every listening TCP socket. Raises OSError when the host cannot be looked at."""
        return await self._listeners.get()

    def _prepare(self) -> Callable[[], list[Entry]]:
        oldest, self._since = min(self._since), []
        return functools.partial(process_table, oldest)
