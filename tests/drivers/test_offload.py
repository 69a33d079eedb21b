"""Looks in a thread: outcomes come back, a hanging one holds nobody else up, and many askers share one."""

from __future__ import annotations

import _thread
import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from pool_lifecycle_drivers import offload
from pool_lifecycle_drivers.offload import SPARE, Batch, Shared, in_thread
from tests.drivers.real_processes import until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

MAIN = threading.get_ident()


def test_what_the_work_returns_or_raises_comes_back(run_real: Run) -> None:
    """From a thread that is not the loop's."""

    async def main() -> None:
        assert await in_thread(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)

    run_real(main())


def test_a_hanging_look_holds_up_neither_the_loop_nor_its_end(run_real: Run) -> None:
    """Whoever asked can give up; the loop is closed while the thread still hangs."""
    release, ended = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait()
        ended.set()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_thread(hang), 0.01)
        assert await in_thread(lambda: "another") == "another"

    run_real(main())
    release.set()
    assert ended.wait(10)


def test_news_for_somebody_who_gave_up_is_dropped(run_real: Run) -> None:
    """The loop goes on, and nothing is logged as an error."""
    release = threading.Event()

    async def main() -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        task = asyncio.ensure_future(in_thread(release.wait))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        release.set()
        await in_thread(lambda: None)
        await in_thread(lambda: None)
        assert errors == []

    run_real(main())


def test_a_host_short_of_threads_is_an_ordinary_error(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError, as for any other shortage of the host."""

    _refuse_threads(monkeypatch)
    with pytest.raises(OSError, match="can't start new thread"):
        run_real(in_thread(lambda: None))


def _refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(offload._Worker, "idle", [])
    monkeypatch.setattr(_thread, "start_new_thread", refuse)


def test_a_thread_that_is_done_does_the_next_thing(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make another takes ten times as long as to wake it; what it has done is not kept alive by it."""
    monkeypatch.setattr(offload._Worker, "idle", [])

    async def main() -> None:
        first = await in_thread(threading.get_ident)
        await until(lambda: offload._Worker.idle)
        thing = set[int]()
        alive = weakref.ref(thing)
        assert await in_thread(partial(lambda _: threading.get_ident(), thing)) == first
        del thing
        await until(lambda: alive() is None and len(offload._Worker.idle) == 1)

    run_real(main())


def test_few_threads_stay_with_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is done while enough others wait for something to do ends."""
    waiting = [offload._Worker(lambda: None) for _ in range(SPARE)]
    monkeypatch.setattr(offload._Worker, "idle", [*waiting])
    done: list[int] = []
    offload._Worker(lambda: done.append(1)).run()
    assert done == [1]
    assert offload._Worker.idle == waiting


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(run_real: Run) -> None:
    """Those of its parent are not there: whatever is given to one of them would never be done."""

    async def main() -> None:
        await in_thread(lambda: None)
        await until(lambda: offload._Worker.idle)

    run_real(main())
    child = os.fork()
    if child == 0:
        os._exit(len(offload._Worker.idle))
    assert os.waitpid(child, 0)[1] == 0


class Counted:
    """A look that tells how many there have been, and can be held."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = threading.Event()

    async def look(self) -> int:
        self.begun += 1
        number = self.begun
        return await in_thread(lambda: (self.gate.wait(), number)[1])


def test_askers_share_a_look_but_never_get_one_begun_before_they_asked(run_real: Run) -> None:
    """However many ask during one look, one more is taken for all of them."""

    async def main() -> None:
        looks = Counted()
        shared = Shared(looks.look)
        first = [asyncio.ensure_future(shared.get()) for _ in range(3)]
        await until(lambda: looks.begun)
        later = [asyncio.ensure_future(shared.get()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert looks.begun == 1
        looks.gate.set()
        assert await asyncio.gather(*first, *later) == [1, 1, 1, 2, 2, 2]
        assert await shared.get() == 3

    run_real(main())


def test_one_who_gives_up_does_not_take_the_look_from_the_others(run_real: Run) -> None:
    """And a look that fails fails for all who shared it, not for the next."""

    async def main() -> None:
        looks = Counted()
        shared = Shared(looks.look)
        one, other = (asyncio.ensure_future(shared.get()) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        looks.gate.set()
        assert await other == 1
        results: list[Callable[[], int]] = [lambda: 5, lambda: 1 // 0]
        failing = Shared(lambda: in_thread(results.pop()))
        with pytest.raises(ZeroDivisionError):
            await failing.get()
        assert await failing.get() == 5

    run_real(main())


def test_it_can_be_used_by_one_loop_after_another(run_real: Run) -> None:
    """Also when the first was closed in the middle of a look."""
    looks = Counted()
    shared = Shared(looks.look)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shared.get(), 0.01)

    asyncio.run(give_up())
    looks.gate.set()
    assert run_real(shared.get()) == 2


def test_a_look_that_was_cancelled_before_it_began_is_taken_anew(run_real: Run) -> None:
    """A program that cancels all its tasks at the end still has to see whether its engines are gone."""

    async def main() -> None:
        shared = Shared(lambda: in_thread(lambda: "seen"))
        asked = asyncio.ensure_future(shared.get())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await shared.get() == "seen"

    run_real(main())


def test_a_batch_is_done_in_one_thread_that_is_not_the_loops(run_real: Run) -> None:
    """Each gets its own outcome, whatever becomes of the others."""

    async def main() -> None:
        batch = Batch()
        threads, failed = [batch.do(threading.get_ident) for _ in range(5)], batch.do(lambda: 1 // 0)
        *idents, error = await asyncio.gather(*threads, failed, return_exceptions=True)
        assert len(set(idents)) == 1
        assert idents[0] != threading.get_ident()
        assert isinstance(error, ZeroDivisionError)
        assert await batch.do(lambda: "later") == "later"

    run_real(main())


def test_what_hangs_does_not_hold_up_the_rest_of_its_batch(run_real: Run) -> None:
    """One before it and two after it, of which one hangs as well, all get what is theirs."""
    release = threading.Event()

    async def main() -> None:
        batch = Batch()
        first, last = batch.do(lambda: "first"), batch.do(lambda: "last")
        tasks = [
            asyncio.ensure_future(one)
            for one in (first, batch.do(release.wait), batch.do(release.wait), last)
        ]
        assert await tasks[0] == "first"
        assert await tasks[3] == "last"
        assert not tasks[1].done()
        assert not tasks[2].done()
        release.set()
        assert await asyncio.gather(*tasks[1:3]) == [True, True]

    run_real(main())


def test_a_batch_on_a_host_short_of_threads_is_an_ordinary_error(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError for everybody in it."""

    async def main() -> None:
        batch = Batch()
        errors = await asyncio.gather(*(batch.do(lambda: None) for _ in range(2)), return_exceptions=True)
        assert [type(error) for error in errors] == [BlockingIOError] * 2

    _refuse_threads(monkeypatch)
    run_real(main())


def test_a_batch_can_be_used_by_one_loop_after_another(run_real: Run) -> None:
    """Also when the first was closed before it began."""
    batch = Batch()

    async def give_up() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
        await batch.do(lambda: None)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(give_up())
    assert run_real(batch.do(lambda: "seen")) == "seen"
