"""The lists of the host, read for all who ask at the same time."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from pool_lifecycle_drivers import census as census_module
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.procfs import Entry

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_one_reading_serves_the_oldest_of_those_who_ask(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are read from the earliest start time asked for, and no wish is kept for the next reading."""
    asked: list[int] = []

    def table(since: int) -> list[Entry]:
        asked.append(since)
        return []

    monkeypatch.setattr(census_module, "process_table", table)

    async def main() -> None:
        census = Census()
        await asyncio.gather(*(census.processes(since=since) for since in (30, 10, 20)))
        await census.processes(since=40)

    run_real(main())
    assert asked == [10, 40]


def test_it_lists_this_process_and_who_listens(run_real: Run) -> None:
    """With the real host."""

    async def main() -> tuple[set[int], set[int]]:
        census = Census()
        processes = await census.processes(since=0)
        return {one.who.pid for one in processes}, {one.port for one in await census.listeners()}

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        pids, ports = run_real(main())
        assert os.getpid() in pids
        assert server.getsockname()[1] in ports
