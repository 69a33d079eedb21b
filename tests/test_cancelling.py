"""Cancellation among strangers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pool_lifecycle.cancelling import heed, is_cancelled
from pool_lifecycle.testing import virtual_time
from tests.worlds import virtually


@virtually
async def test_a_swallowed_cancellation_is_remembered() -> None:
    """Until somebody heeds it."""

    async def work() -> None:
        assert not is_cancelled()
        heed()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        assert is_cancelled()
        heed()
        raise AssertionError("it went on")

    task = asyncio.create_task(work())
    await virtual_time.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtually
async def test_the_cancellation_of_somebody_else_is_not_ours() -> None:
    """What a driver lets escape says nothing about us."""
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert not is_cancelled()
