"""One lease, and the words of a refusal."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.errors import PoolDraining, PoolNotReady
from pool_lifecycle.lease import Blocker, GateReason, Lease, LeaseState, Serving


class Home:
    """A book of which only the last page is kept."""

    pool_id = "chat"

    def __init__(self) -> None:
        self.released: list[Lease] = []

    def release(self, lease: Lease, /) -> bool:
        self.released.append(lease)
        return len(self.released) == 1


def a_lease(home: Home, ttl: float | None = None) -> Lease:
    return Lease(home, Serving(3, "http://127.0.0.1:80"), "req-1", "request", 17, 100.0, ttl)


def test_a_lease_names_its_pool_its_generation_and_where_it_is_reached() -> None:
    """A holder needs nothing but the lease: S9, it names one generation."""
    lease = a_lease(Home())
    assert (lease.pool_id, lease.generation, lease.url) == ("chat", 3, "http://127.0.0.1:80")
    assert (lease.holder, lease.kind, lease.token, lease.acquired_at) == ("req-1", "request", 17, 100.0)
    assert lease.state is LeaseState.ACTIVE
    assert "req-1" in repr(lease)
    assert "active" in repr(lease)


def test_a_lease_expires_after_its_time_to_live_or_never() -> None:
    """Without a time to live there is no end; with one it counts from when the lease was granted."""
    assert a_lease(Home()).expires_at is None
    assert a_lease(Home(), ttl=2.5).expires_at == 102.5


def test_leaving_the_with_block_releases_also_when_it_raises() -> None:
    """A holder that fails still gives its slot back."""
    home = Home()

    def work() -> None:
        with a_lease(home) as lease:
            raise KeyError(lease.token)

    with pytest.raises(KeyError, match="17"):
        work()
    assert [lease.token for lease in home.released] == [17]


def test_leaving_the_async_with_block_releases_also_when_it_is_cancelled() -> None:
    """A cancelled holder still gives its slot back."""
    home = Home()

    async def hold() -> None:
        async with a_lease(home) as lease:
            assert lease.holder == "req-1"
            await asyncio.Event().wait()

    async def main() -> None:
        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder

    asyncio.run(main())
    assert len(home.released) == 1


def test_a_drain_refuses_in_words_that_say_so() -> None:
    """B-DRAIN-002: pool, state and what would help; a new error each time, as errors keep a traceback."""
    reason = GateReason("draining", draining=True)
    error = reason.error("chat", 0.0)
    assert isinstance(error, PoolDraining)
    assert (error.pool_id, error.state) == ("chat", "draining")
    assert "draining" in error.what
    assert error.remedy
    assert reason.error("chat", 0.0) is not error


def test_a_pool_that_does_not_serve_refuses_in_its_own_words() -> None:
    """What the pool knows better than the default is said instead."""
    plain = GateReason("starting").error("chat", 0.0)
    assert isinstance(plain, PoolNotReady)
    assert plain.state == "starting"
    assert plain.remedy
    told = GateReason("failed", what="has failed: no such binary", remedy="install it").error("chat", 0.0)
    assert (told.what, told.remedy) == ("has failed: no such binary", "install it")
    drained = GateReason("draining", draining=True, what="leaves", remedy="wait").error("chat", 0.0)
    assert (drained.what, drained.remedy) == ("leaves", "wait")


def test_what_will_happen_by_itself_is_told_with_its_time() -> None:
    """As of when somebody asks, not of when the gate was closed."""
    reason = GateReason("backing_off", what="it broke", remedy="it starts again by itself", due=110.0)
    assert reason.error("chat", 106.8).remedy == "it starts again by itself in 3.2 s"
    assert reason.error("chat", 120.0).remedy == "it starts again by itself in 0 ms"


@pytest.mark.parametrize(("ttl", "expires_in"), [(None, None), (15.0, 5.0), (5.0, 0.0)])
def test_a_blocker_says_who_how_old_and_how_long_still(ttl: float | None, expires_in: float | None) -> None:
    """B-REG-x2: a drain lists holder and age; a time that is over counts as 0."""
    blocker = Blocker.of(a_lease(Home(), ttl), 110.0)
    assert blocker == Blocker("req-1", "request", 10.0, 17, expires_in)


def test_a_blocker_can_be_shown() -> None:
    """A holder chooses its own name, but not what a screen does with it."""
    lease = Lease(Home(), Serving(1, "http://h"), "a\x1b[2J", "k" * 100, 1, 0.0, None)
    blocker = Blocker.of(lease, 1.0)
    assert (blocker.holder, blocker.kind) == ("a\\x1b[2J", "k" * 57 + "...")
    assert "\x1b" not in repr(lease)
