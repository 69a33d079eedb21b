"""The leading process of a launch of which nothing but the token is known."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers import adoption
from pool_lifecycle_drivers.adoption import find, leading
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.environment import Note
from pool_lifecycle_drivers.offload import Batch
from pool_lifecycle_drivers.procfs import Entry, Identity, Table, read_entry
from tests.drivers.real_processes import is_living

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NOTE = Note("127.0.0.1", 8080, "details", at=1000)


def row(pid: int, *, session: int, began: int = 1000, token: str | None = None) -> Entry:
    return Entry(Identity(pid, began), parent=1, session=session, gone=False, token=token)


def leader(oldest: Entry, *others: Entry, note: Note | None = NOTE) -> Identity:
    return leading(oldest, note, Table([oldest, *others]))


def test_the_leader_of_the_session_leads() -> None:
    """Itself, or seen from a worker that began in the same instant."""
    engine, worker = row(10, session=10, token="t"), row(11, session=10, token="t")
    assert leader(engine, worker) == leader(worker, engine) == engine.who


def test_a_leader_that_wiped_its_environment_is_known_by_when_it_began() -> None:
    """Only its workers still carry the token; without a note nobody knows when it was launched."""
    worker, wiped = row(11, session=10, began=1500, token="t"), row(10, session=10, began=1001)
    assert leader(worker, wiped) == wiped.who
    assert leader(worker, wiped, note=None) == worker.who


@pytest.mark.parametrize("began", [999, 1101])
def test_a_stranger_in_whose_session_somebody_carries_the_token_is_left_alone(began: int) -> None:
    """Somebody's shell, in which he has copied the environment of an engine (S4)."""
    copy, shell = row(11, session=10, began=1500, token="t"), row(10, session=10, began=began)
    assert leader(copy, shell) == copy.who


def test_of_a_leader_that_is_gone_the_number_is_known() -> None:
    """As long as somebody is in its session nobody else gets it."""
    worker = row(11, session=10, began=1500, token="t")
    assert leader(worker) == Identity(10, 1500)
    assert leader(row(11, session=0, token="t")) == Identity(11, 1000)


HESITATES = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
sys.stdin.read()
environment = {"POOL_LIFECYCLE_TOKEN": sys.argv[1], "POOL_LIFECYCLE_LAUNCH": sys.argv[2]}
os.execve("/bin/sleep", ["sleep", "1000"], environment)
"""


@contextmanager
def hesitating(token: str, note: Note) -> Iterator[tuple[int, Callable[[], None]]]:
    """A child of a program that is gone, which executes its own when told to: its pid, and the telling."""
    command = [sys.executable, "-c", HESITATES, token, note.dump()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.wait()
        try:
            yield pid, parent.stdin.close
        finally:
            os.kill(pid, 9)


def find_by_token(token: str) -> Coroutine[Any, Any, EngineHandle | None]:
    return find(EngineHandle("", token, "unknown", 0), Census(), Batch())


@pytest.mark.slow
def test_a_child_that_has_yet_to_execute_the_engine_is_waited_for(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manager was killed between fork and exec: whoever looks in that instant sees no token (S5)."""
    token = f"hesitates-{os.getpid()}"
    monkeypatch.setattr(adoption, "PAUSES", (0.01,) * 2000)
    real, seen = adoption._unexecuted, []

    def looked(found: Iterable[Identity]) -> list[Identity]:
        seen.append(real(found))
        go_on()
        return seen[-1]

    monkeypatch.setattr(adoption, "_unexecuted", looked)
    with hesitating(token, NOTE) as (pid, go_on):
        found = run_real(find_by_token(token))
        entry = read_entry(pid)
        assert entry is not None
        assert entry.who in seen[0]
        assert found is not None
        assert (found.driver, found.pid, found.start_ticks) == ("local", pid, entry.who.start_ticks)
        assert (found.host, found.port, found.details) == (NOTE.host, NOTE.port, NOTE.details)


@pytest.mark.slow
def test_one_that_never_executes_anything_is_not_waited_for_for_ever(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many a program forks and goes on."""
    monkeypatch.setattr(adoption, "PAUSES", (0.001,) * 3)
    looks = []
    real = adoption._unexecuted

    def looked(found: Iterable[Identity]) -> list[Identity]:
        looks.append(found)
        return real(found)

    monkeypatch.setattr(adoption, "_unexecuted", looked)
    token = f"stays-{os.getpid()}"
    with hesitating(token, NOTE) as (pid, _):
        assert run_real(find_by_token(token)) is None
        assert len(looks) == 4
        assert is_living(pid)


def test_nobody_is_waited_for_who_was_not_there_before(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host that forks all the time a search comes to an end; nor is anybody who is old, or another's."""
    looked: list[list[Identity]] = []
    tables = [
        Table([row(2**22 + 1, session=1, began=2**60)]),
        Table([row(2**22 + 2, session=1, began=2**60)]),
    ]

    class Host:
        async def processes(self, _: Identity) -> Table:
            return tables.pop(0)

    def unexecuted(found: Iterable[Identity]) -> list[Identity]:
        looked.append(list(found))
        return looked[0] if len(looked) == 1 else []

    monkeypatch.setattr(adoption, "_unexecuted", unexecuted)
    assert run_real(find(EngineHandle("", "t", "h", 0), Host(), Batch())) is None  # type: ignore[arg-type]
    assert looked == [[Identity(2**22 + 1, 2**60)]] * 2


@pytest.mark.slow
def test_what_may_not_have_executed_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not: another user's, somebody who is gone, or whose number is another's now."""
    with hesitating("t", NOTE) as (pid, _):
        entry = read_entry(pid)
        assert entry is not None
        who = entry.who
        assert adoption._may_be_born(entry)
        assert adoption._unexecuted([who, Identity(pid, 1), Identity(2**22 + 1, 1)]) == [who]
        us = read_entry(os.getpid())
        assert us is not None
        monkeypatch.setattr(adoption, "read_entry", lambda _: us)
        monkeypatch.setattr(adoption, "read_environment", lambda _: b"")
        assert adoption._unexecuted([us.who]) == [us.who], "it is about to execute"
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert adoption._unexecuted([us.who]) == []
    assert not adoption._may_be_born(row(1, session=1, began=0))


def test_a_host_that_cannot_be_looked_at_proves_nothing(run_real: Run) -> None:
    """An error is an error, and not that nobody is there."""

    class Host:
        async def processes(self, _: Identity) -> Table:
            await asyncio.sleep(0)
            raise OSError("no descriptors")

    with pytest.raises(OSError, match="no descriptors"):
        run_real(find(EngineHandle("", "t", "h", 0), Host(), Batch()))  # type: ignore[arg-type]
