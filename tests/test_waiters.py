"""Who waits for a pool."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.answers import DONE, Answer
from pool_lifecycle.errors import ManagerClosed
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.snapshot import Notify, Snapshot
from pool_lifecycle.waiters import Waiters
from tests.worlds import a_spec, virtually

POOL = Snapshot.new(a_spec(), lineage="x", now=0.0)
NEWS = Notify(PoolEvent.STOP, PoolState.READY, PoolState.STOPPING, "because")


@virtually
async def test_an_answer_reaches_whom_it_concerns() -> None:
    """The others go on waiting; who was answered is asked no more."""
    waiters, asked = Waiters(), []

    def judge(_snapshot: Snapshot, _notice: Notify) -> Answer | None:
        asked.append(1)
        return DONE if len(asked) > 1 else None

    with waiters.one(judge) as mine, waiters.one(lambda *_: None) as other:
        waiters.answer(POOL, NEWS)
        assert not mine.done()
        waiters.answer(POOL, NEWS)
        waiters.answer(POOL, NEWS)
        assert mine.done()
        assert not other.done()
        assert len(asked) == 2


@virtually
async def test_an_error_is_raised_where_somebody_waits() -> None:
    """The very error that the judge gave."""
    waiters, error = Waiters(), ManagerClosed("x")
    with waiters.one(lambda *_: Answer(error)) as mine:
        waiters.answer(POOL, NEWS)
        with pytest.raises(ManagerClosed) as caught:
            await mine
    assert caught.value is error


@virtually
async def test_the_end_of_everything_ends_all_waiting() -> None:
    """V4: each with an error of its own, as exceptions are not to be shared."""
    waiters = Waiters()
    with waiters.one(lambda *_: None) as first, waiters.one(lambda *_: None) as second:
        second.cancel()
        waiters.fail(lambda: ManagerClosed("closed"))
        with pytest.raises(ManagerClosed):
            await first
        assert second.cancelled()


@virtually
async def test_who_went_away_is_forgotten() -> None:
    """S19: nothing is kept of a cancelled caller, and answering him does no harm."""
    waiters = Waiters()

    async def wait() -> None:
        with waiters.one(lambda *_: DONE) as mine:
            await mine

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    waiters.answer(POOL, NEWS)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiters._waiting is None
