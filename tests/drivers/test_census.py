"""The lists of the host, read for all who ask at the same time, and no more of them than can matter."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from pool_lifecycle_drivers import census as census_module
from pool_lifecycle_drivers.census import ANYBODY, EXECUTED, Census
from pool_lifecycle_drivers.procfs import TICKS_PER_SECOND, Entry, Identity, Instance, Table

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NOW = 1_000_000
OLD, YOUNG = NOW - 2 * int(EXECUTED * TICKS_PER_SECOND), NOW


class FakeHost:
    """A process table by pid: start time and environment. `read` and `tokens` are the pids that were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes: dict[int, tuple[int, str]] = {}
        self.inodes: dict[int, int] = {}
        self.read: list[int] = []
        self.tokens: list[int] = []
        monkeypatch.setattr(census_module, "instances", self.instances)
        monkeypatch.setattr(census_module, "read_entry", self.read_entry)
        monkeypatch.setattr(census_module, "read_environment", self.read_environment)
        monkeypatch.setattr(time, "clock_gettime", lambda _: NOW / TICKS_PER_SECOND)

    def add(self, pid: int, start: int, environment: str = "A=1") -> Identity:
        self.processes[pid] = start, environment
        self.inodes[pid] = self.inodes.get(pid, 1000 * pid) + 1
        return Identity(pid, start)

    def instances(self) -> list[Instance]:
        return [Instance(pid, self.inodes[pid]) for pid in self.processes]

    def read_entry(self, pid: int) -> Entry | None:
        self.read.append(pid)
        found = self.processes.get(pid)
        return found and Entry(Identity(pid, found[0]), parent=1, session=1, gone=found[1] == "gone")

    def read_environment(self, pid: int) -> bytes:
        self.tokens.append(pid)
        return self.processes[pid][1].encode()

    def looked(self) -> tuple[list[int], list[int]]:
        """What was read since the last call."""
        seen = sorted(self.read), sorted(self.tokens)
        self.read.clear()
        self.tokens.clear()
        return seen


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(monkeypatch)


def look(run_real: Run, census: Census, *leaders: Identity) -> Table:
    async def main() -> list[Table]:
        return list(await asyncio.gather(*map(census.processes, leaders)))

    tables: list[Table] = run_real(main())
    assert all(one is tables[0] for one in tables)
    return tables[0]


def test_who_is_older_than_the_leader_is_read_once(run_real: Run, host: FakeHost) -> None:
    """An older process cannot belong to a launch made later; the oldest of those who ask decides."""
    census = Census()
    host.add(1, OLD)
    leaders = [host.add(pid, YOUNG + pid, "POOL_LIFECYCLE_TOKEN=t") for pid in (20, 10, 30)]
    assert set(look(run_real, census, *leaders).by_pid) == {10, 20, 30}
    assert host.looked() == ([1, 10, 20, 30], [10, 20, 30])
    assert set(look(run_real, census, leaders[2]).by_pid) == {30}
    assert host.looked() == ([30], [])
    assert set(look(run_real, census, ANYBODY).by_pid) == {1, 10, 20, 30}


def test_no_leader_is_read_for_the_tree_of_another(run_real: Run, host: FakeHost) -> None:
    """With five hundred engines that is most of the host; one whose tree is gone is nobody any more."""
    census = Census()
    one, other = host.add(10, YOUNG), host.add(11, YOUNG)
    for leader in (one, other):
        census.leads(leader, str(leader.pid))
    assert set(look(run_real, census, one).by_pid) == {10}
    assert set(look(run_real, census, one, other).by_pid) == {10, 11}
    host.looked()
    look(run_real, census, one)
    assert host.looked() == ([10], [])
    census.gone(other)
    assert set(look(run_real, census, one).by_pid) == {10, 11}


def test_the_same_number_is_not_the_same_process(run_real: Run, host: FakeHost) -> None:
    """A pid that was an old process's is read again when a young one has got it (S4)."""
    census = Census()
    leader = host.add(10, YOUNG)
    host.add(11, OLD)
    assert set(look(run_real, census, leader).by_pid) == {10}
    host.add(11, YOUNG, "POOL_LIFECYCLE_TOKEN=ours")
    assert [row.who.pid for row in look(run_real, census, leader).by_token["ours"]] == [11]


def test_a_token_is_read_once_and_its_absence_only_believed_of_the_settled(
    run_real: Run, host: FakeHost
) -> None:
    """A process that is about to execute its program shows another environment, or an empty one."""
    census = Census()
    leader = Identity(10, OLD)
    host.add(11, YOUNG, "POOL_LIFECYCLE_TOKEN=ours")
    host.add(12, OLD)
    host.add(13, OLD, "")
    host.add(14, YOUNG)
    host.add(15, OLD, "gone")
    assert set(look(run_real, census, leader).by_token) == {"ours"}
    assert host.looked() == ([11, 12, 13, 14, 15], [11, 12, 13, 14])
    host.processes[14] = YOUNG, "POOL_LIFECYCLE_TOKEN=late"
    assert set(look(run_real, census, leader).by_token) == {"ours", "late"}
    assert host.looked() == ([11, 12, 13, 14, 15], [13, 14])


def test_many_rows_are_read_in_a_thread(
    run_real: Run, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop has something else to do; what is read is the same."""
    monkeypatch.setattr(census_module, "MANY", 1)
    leader = host.add(10, YOUNG)
    host.add(11, YOUNG)
    assert set(look(run_real, Census(), leader).by_pid) == {10, 11}


def test_it_lists_this_process_and_who_listens(run_real: Run) -> None:
    """With the real host."""

    async def main() -> tuple[set[int], set[int]]:
        census = Census()
        table = await census.processes(ANYBODY)
        return set(table.by_pid), {one.port for one in await census.listeners()}

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        pids, ports = run_real(main())
        assert os.getpid() in pids
        assert server.getsockname()[1] in ports
