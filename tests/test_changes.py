"""The change stream: nothing lost silently, nothing twice, nothing without end. B-REG-x3."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from pool_lifecycle.changes import Change, Changes
from pool_lifecycle.errors import ConfigError, EventsLost
from pool_lifecycle.testing import virtual_time


def numbers(changes: tuple[Change, ...]) -> list[int]:
    return [change.number for change in changes]


def filled(count: int, capacity: int = 8) -> Changes:
    stream = Changes(capacity)
    for number in range(count):
        stream.publish("changed", f"pool-{number}")
    return stream


async def take(reader: AsyncIterator[Change], count: int) -> list[int]:
    return [(await anext(reader)).number for _ in range(count)]


def test_changes_are_numbered_from_one_in_the_order_of_publishing() -> None:
    """The number returned is the one readers see."""
    stream = Changes()
    assert stream.last == 0
    assert [stream.publish("changed", "a"), stream.publish("changed", "b", {"live": True})] == [1, 2]
    assert stream.since(0) == (Change(1, "changed", "a", {}), Change(2, "changed", "b", {"live": True}))
    assert stream.last == 2


def test_the_published_data_is_a_copy() -> None:
    """What a publisher does with its mapping later does not change what was said."""
    stream = Changes()
    data = {"live": True}
    stream.publish("changed", "a", data)
    data["live"] = False
    assert stream.since(0)[0].data == {"live": True}


def test_numbers_can_go_on_where_an_earlier_run_ended() -> None:
    """A manager that was started again does not use a number twice."""
    stream = Changes(4, start=41)
    assert (stream.last, stream.oldest) == (41, 42)
    assert stream.publish("changed") == 42
    assert numbers(stream.since(41)) == [42]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 20])
def test_what_is_kept_can_be_resumed_from_any_number(count: int) -> None:
    """Every number of which all later changes are kept gives exactly those."""
    stream = filled(count)
    for after in range(stream.oldest - 1, count + 1):
        assert numbers(stream.since(after)) == list(range(after + 1, count + 1))


def test_a_number_no_longer_kept_is_told() -> None:
    """S19: the stream keeps `capacity` changes, and says from which number on."""
    stream = filled(20)
    with pytest.raises(EventsLost) as caught:
        stream.since(11)
    assert (caught.value.asked, caught.value.oldest) == (11, 13)
    assert numbers(stream.since(12)) == list(range(13, 21))


@pytest.mark.parametrize("asked", [4, 1000, -1])
def test_a_number_never_given_is_told(asked: int) -> None:
    """A reader from an earlier run must not believe that it missed nothing."""
    with pytest.raises(EventsLost):
        filled(3).since(asked)


@pytest.mark.parametrize("capacity", [0, -1, True, 1.5, "8"])
def test_a_wrong_capacity_is_refused(capacity: object) -> None:
    """A stream that keeps nothing could tell nobody anything."""
    with pytest.raises(ConfigError, match="capacity"):
        Changes(capacity)  # type: ignore[arg-type]


def test_a_follower_gets_what_comes_after_the_call() -> None:
    """From the call on, not from the first time it asks: what happens between the two is not lost."""

    async def main() -> list[int]:
        stream = filled(3)
        reader = stream.follow()
        stream.publish("changed")
        return await take(reader, 1)

    assert virtual_time.run(main()) == [4]


def test_a_follower_resumes_and_goes_on_waiting() -> None:
    """First what is kept, then what comes: each once, in order."""

    async def main() -> list[int]:
        stream = filled(3)
        reading = asyncio.create_task(take(stream.follow(after=1), 4))
        await virtual_time.settle()
        stream.publish("changed")
        await virtual_time.settle()
        stream.publish("changed")
        return await reading

    assert virtual_time.run(main()) == [2, 3, 4, 5]


def test_a_slow_follower_is_told_that_it_lost_some() -> None:
    """S19: nobody waits for it and nothing piles up for it."""

    async def main() -> None:
        stream = filled(0, capacity=2)
        reader = stream.follow()
        stream.publish("changed")
        assert await take(reader, 1) == [1]
        for _ in range(4):
            stream.publish("changed")
        with pytest.raises(EventsLost) as caught:
            await anext(reader)
        assert (caught.value.asked, caught.value.oldest) == (1, 4)

    virtual_time.run(main())


def test_every_follower_gets_everything() -> None:
    """Readers do not take from one another."""

    async def main() -> list[list[int]]:
        stream = filled(0)
        readers = [asyncio.create_task(take(stream.follow(), 3)) for _ in range(3)]
        await virtual_time.settle()
        for _ in range(3):
            stream.publish("changed")
        return await asyncio.gather(*readers)

    assert virtual_time.run(main()) == [[1, 2, 3]] * 3


def test_closing_ends_followers_after_the_last_change() -> None:
    """Those that wait and those that have something left to read; the kept changes stay readable."""

    async def main() -> None:
        stream = filled(2)
        waiting = asyncio.create_task(take_all(stream.follow()))
        await virtual_time.settle()
        behind = stream.follow(after=0)
        stream.publish("changed")
        stream.close()
        assert await waiting == [3]
        assert await take_all(behind) == [1, 2, 3]
        assert await take_all(stream.follow()) == []
        assert numbers(stream.since(1)) == [2, 3]

    virtual_time.run(main())


def test_closing_wakes_a_follower_that_waits() -> None:
    """V4: nothing more will come, so nobody goes on waiting for it."""

    async def main() -> None:
        stream = filled(2)
        waiting = asyncio.create_task(take_all(stream.follow()))
        await virtual_time.settle()
        stream.close()
        assert await waiting == []

    virtual_time.run(main())


async def take_all(reader: AsyncIterator[Change]) -> list[int]:
    return [change.number async for change in reader]


def test_a_cancelled_follower_leaves_nothing_behind() -> None:
    """S19: a thousand readers that came and went cost nothing."""

    async def main() -> None:
        stream = filled(0)
        for _ in range(1000):
            reading = asyncio.create_task(take(stream.follow(), 1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert not stream._waiting

    virtual_time.run(main())


def test_a_follower_of_a_closed_loop_does_not_disturb_the_publisher() -> None:
    """The embedding program closed its loop without ending its readers."""
    stream = filled(0)
    loop = asyncio.new_event_loop()
    reading = loop.create_task(take(stream.follow(), 1))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert stream._waiting
    coroutine = reading.get_coro()
    loop.close()
    assert stream.publish("changed") == 1
    assert not stream._waiting
    reading._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine.close()


def test_threads_that_publish_at_once_use_each_number_once() -> None:
    """And a reader on the loop sees them all in order."""
    threads, each = 4, 200
    stream = Changes(threads * each)

    def publish() -> None:
        for _ in range(each):
            stream.publish("changed")

    async def main() -> list[int]:
        reader = stream.follow()
        workers = [threading.Thread(target=publish) for _ in range(threads)]
        for worker in workers:
            worker.start()
        seen = await take(reader, threads * each)
        for worker in workers:
            worker.join()
        return seen

    assert asyncio.run(main()) == list(range(1, threads * each + 1))
