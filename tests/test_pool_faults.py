"""Drivers, observers and stores that break their promises: reported, contained, and never fatal to a stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import DriverError, EngineStuck, PoolLifecycleError, StartFailed, StoreError
from pool_lifecycle.interfaces import Health
from pool_lifecycle.kept import Kept, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DriverMisbehaved, Moved, Trouble
from pool_lifecycle.spec import HealthSpec, Limits
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript
from pool_lifecycle.working import CANCEL_PATIENCE
from tests.twisted import Call, deaf, hanging, only, raising, really, returning, twisted
from tests.worlds import NEVER_READY, NEW, WORKS, World, a_world, virtually

LIMITS = Limits(staging=100.0, start=20.0, start_hard=20.0)
STARTING_VERBS = ("reserve_port", "preflight", "resolve", "stage", "launch", "check", "inspect")
STAGE_NAMES = {
    "reserve_port": "preflight",
    "preflight": "preflight",
    "resolve": "staging",
    "stage": "staging",
    "launch": "launch",
    "check": "health check",
    "inspect": "health check",
}

at_every_verb = pytest.mark.parametrize("verb", STARTING_VERBS)


async def fails_and_recovers(world: World) -> Cause:
    """The first start fails, the next attempt does not, and a stop works."""
    with pytest.raises(StartFailed) as caught:
        await world.pool.start()
    await world.pool.reached("ready")
    await world.pool.stop()
    return caught.value.cause


@at_every_verb
@virtually
async def test_a_driver_that_raises_anything_fails_the_start_with_its_stage(verb: str) -> None:
    """Whatever is raised becomes a cause that names the stage and the error, and whose fault it is."""
    async with a_world(twist=twisted(only(verb, raising(ValueError("boom")), times=1))) as world:
        cause = await fails_and_recovers(world)
        assert str(cause) == f"{STAGE_NAMES[verb]} failed: a driver raised ValueError: boom"
        assert cause.remedy == "report this to the driver's author"


@at_every_verb
@virtually
async def test_a_driver_error_is_taken_at_its_word(verb: str) -> None:
    """The cause of a DriverError is the cause."""
    cause = Cause(FailureClass.HANG, Stage.RUN, "as I say")
    async with a_world(twist=twisted(only(verb, raising(DriverError("x", cause)), times=1))) as world:
        assert await fails_and_recovers(world) == cause


@at_every_verb
@virtually
async def test_a_driver_that_cancels_itself_fails_the_start(verb: str) -> None:
    """A cancellation that nobody asked for is a failure like any other; nobody waits for the deadline."""
    async with a_world(twist=twisted(only(verb, raising(asyncio.CancelledError()), times=1))) as world:
        began = world.now
        cause = await fails_and_recovers(world)
        assert "CancelledError" in cause.message
        assert world.now - began == 1.0  # the back-off


@pytest.mark.parametrize("verb", ["preflight", "stage", "launch", "check", "inspect"])
@pytest.mark.parametrize("nonsense", [None, 7, ("x",), object()], ids=["None", "7", "tuple", "object"])
@virtually
async def test_nonsense_is_not_taken_for_an_answer(verb: str, nonsense: object) -> None:
    """A value of the wrong kind fails the stage, naming the verb where it can."""
    async with a_world(twist=twisted(only(verb, returning(nonsense), times=1))) as world:
        cause = await fails_and_recovers(world)
        assert cause.kind is FailureClass.UNKNOWN
        assert "a driver raised TypeError" in cause.message


@at_every_verb
@virtually
async def test_a_driver_that_hangs_is_given_up_at_the_deadline(verb: str) -> None:
    """V1: and the next attempt works."""
    ends_in = PoolState.STUCK if verb == "launch" else PoolState.STOPPED
    twist = twisted(only(verb, hanging, times=1))
    async with a_world(twist=twist, limits=LIMITS, ends_in=ends_in) as world:
        began = world.now
        asked = await world.began(world.pool.start())
        await world.pool.reached("backing_off", "stuck")
        limit = LIMITS.staging if STAGE_NAMES[verb] in {"preflight", "staging"} else LIMITS.start
        stuck = LIMITS.stop_grace + LIMITS.reclaim if verb == "launch" else 0.0
        assert world.now - began == limit + stuck
        assert asked.done()


@at_every_verb
@virtually
async def test_a_driver_that_hangs_delays_no_stop(verb: str) -> None:
    """V2: a stop of a start that hangs ends at once, but for a launch, which may yet become a process."""
    if verb == "launch":
        return
    async with a_world(twist=twisted(only(verb, hanging, times=1))) as world:
        await world.began(world.pool.start())
        _, seconds = await virtual_time.timed(world.pool.stop())
        assert seconds == 0


@virtually
async def test_a_launch_that_never_returns_leaves_the_pool_stuck_and_says_so() -> None:
    """V2, S5: nobody can know whether there is a process; the manager can leave all the same."""
    async with a_world(twist=twisted(only("launch", hanging)), ends_in=PoolState.STUCK) as world:
        await world.began(world.pool.start())
        began = world.now
        with pytest.raises(EngineStuck, match=r"generation 1 \(pid unknown\) could not be ended"):
            await world.pool.stop()
        assert world.now - began == 35.0


@pytest.mark.parametrize("script", [WORKS, NEVER_READY], ids=["works", "never ready"])
@pytest.mark.parametrize("verb", ["preflight", "stage", "check", "inspect", "output"])
@virtually
async def test_a_driver_deaf_to_cancellation_is_reported_and_left_behind(
    verb: str, script: EngineScript
) -> None:
    """The next activity waits for it, but not longer than its patience; what it says later has no effect."""
    at_last = returning(7) if verb == "output" else really
    async with a_world(script, twist=twisted(only(verb, deaf(60.0, at_last), times=1))) as world:
        await world.began(world.pool.start())
        await asyncio.sleep(1)
        _, seconds = await virtual_time.timed(world.pool.stop())
        assert seconds <= CANCEL_PATIENCE
        if seconds == 0:  # there was nothing to be begun after it
            await world.began(world.pool.start())
            await asyncio.sleep(CANCEL_PATIENCE + 0.1)
        (what,) = [one.what for one in world.of(DriverMisbehaved)]
        assert "did not end within 5 s of being cancelled" in what
        await world.pool.stop()
        await asyncio.sleep(100)
        assert world.pool.state is PoolState.STOPPED
        assert world.files == {"lock"}


@virtually
async def test_activities_do_not_pile_up_behind_a_deaf_one() -> None:
    """Who waited for the deaf one and is cancelled itself goes on waiting, so that nobody overtakes."""
    at_work = 0
    most = 0

    async def counted(verb: str, call: Call) -> Any:
        nonlocal at_work, most
        if verb != "preflight":
            return await call()
        at_work += 1
        most = max(most, at_work)
        try:
            return await deaf(4.0)(call)
        finally:
            at_work -= 1

    async with a_world(twist=twisted(counted)) as world:
        for _ in range(3):
            await world.began(world.pool.start())
            await world.pool.stop()
        await world.pool.start()
        assert most == 1


# --- engines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("EAGAIN"), asyncio.CancelledError()])
@virtually
async def test_a_stop_that_fails_is_tried_again(error: BaseException) -> None:
    """S5, V2: an engine has to be ended, whatever its driver does; each failure is reported."""
    async with a_world(twist=twisted(only("stop", raising(error), times=2))) as world:
        await world.ready()
        _, seconds = await virtual_time.timed(world.pool.stop())
        assert seconds == 3.0
        told = [one.what for one in world.of(DriverMisbehaved)]
        assert len(told) == 2
        assert all("stopping generation 1 failed" in what and repr(error) in what for what in told)


@virtually
async def test_a_stop_that_always_fails_is_stuck_until_it_works() -> None:
    """V1: `stuck` with a reason; it goes on by itself as soon as the driver does."""
    how: dict[str, Callable[[Call], Awaitable[Any]]] = {"stop": raising(OSError("no"))}

    async def twist(verb: str, call: Call) -> Any:
        return await (how[verb](call) if verb in how else call())

    async with a_world(twist=twisted(twist)) as world:
        await world.ready()
        with pytest.raises(EngineStuck):
            await world.pool.stop()
        how.clear()
        await world.pool.reached("stopped")


@pytest.mark.parametrize(
    "how", [raising(OSError("lost")), raising(asyncio.CancelledError()), returning("gone")]
)
@virtually
async def test_an_ending_that_cannot_be_read_is_unknown_and_never_a_success(
    how: Callable[[Call], Awaitable[Any]],
) -> None:
    """S16: the pool recovers as from a crash, and ends what may still live."""
    async with a_world(twist=twisted(only("wait", how, times=1))) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        await world.pool.reached("backing_off")
        assert world.pool.snapshot.cause is not None
        assert world.pool.snapshot.cause.kind is FailureClass.UNKNOWN
        assert world.living == []
        assert "waiting for generation 1 failed" in world.of(DriverMisbehaved)[0].what


@virtually
async def test_output_that_cannot_be_followed_hinders_nothing() -> None:
    """Readiness is found by probing; the failure is reported."""
    async with a_world(twist=twisted(only("output", raising(OSError("no log"))))) as world:
        await world.pool.start()
        assert [one.what for one in world.of(DriverMisbehaved)] == [
            "following the engine's output failed: OSError('no log')"
        ]


@virtually
async def test_a_deaf_probe_writes_no_handoff_for_a_stopped_pool() -> None:
    """S8: it answers 200 long after the stop; nothing comes of that."""
    async with a_world(twist=twisted(only("check", deaf(60.0)))) as world:
        await world.began(world.pool.start())
        await world.pool.stop()
        await asyncio.sleep(100)
        assert world.files == {"lock"}
        assert world.way[-1] == "stopped"


@virtually
async def test_a_deaf_look_at_the_port_writes_no_handoff_either() -> None:
    """S8: the last driver that is asked before the handoff swallows the stop and then sees no stranger."""
    asked: list[str] = []

    async def second_time(verb: str, call: Call) -> Any:
        asked.append(verb)
        if verb == "preflight" and asked.count(verb) == 2:
            return await deaf(60.0, returning(()))(call)
        return await call()

    healthy = (Health(ok=True, detail="200"),)
    async with a_world(NEVER_READY, answers=healthy, twist=twisted(second_time)) as world:
        await world.began(world.pool.start())
        await world.pool.stop()
        await asyncio.sleep(100)
        assert world.files == {"lock"}


@virtually
async def test_a_failing_warm_up_fails_the_start() -> None:
    """B-PRELOAD-x1: in its own stage."""
    seen = []

    async def second_time(verb: str, call: Call) -> Any:
        seen.append(verb)
        if verb == "check" and seen.count("check") == 2:
            raise ValueError("cold")
        return await call()

    health = HealthSpec(probe="memory", warm_up="/warm")
    async with a_world(twist=twisted(second_time), health=health) as world:
        with pytest.raises(StartFailed, match="warm-up failed: a driver raised ValueError: cold"):
            await world.pool.start()


# --- the rest of the world -------------------------------------------------------------------------------


@virtually
async def test_an_observer_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the other observers and the pool go on."""

    def raises(_record: object) -> None:
        raise ValueError("an observer")

    async with a_world(manager={"observers": [raises]}) as world:
        with caplog.at_level(logging.ERROR):
            await world.pool.start()
            await world.pool.stop()
        assert "an observer" in caplog.text
        complaints = [one for one in caplog.records if "raised at Moved" in one.message]
        assert len(complaints) == len(world.of(Moved))


class FullDisk(MemoryStore):
    def save(self, kept: Kept, passage: Passage | None = None) -> bool:
        raise OSError(28, "No space left on device")

    def note(self, passage: Passage) -> bool:
        raise OSError(28, "No space left on device")


@virtually
async def test_a_store_that_fails_is_reported_and_keeps_nobody_from_stopping() -> None:
    """B-ERROR-001, S17: never a hang; nothing is launched, and nobody is told that it is stored."""
    async with a_world(manager={"store": FullDisk()}) as world:
        with pytest.raises(StartFailed, match="No space left on device"):
            await world.pool.start()
        assert world.launcher.engines == []
        with pytest.raises(StoreError, match="No space left on device"):
            await world.pool.stop()
        assert world.pool.state is PoolState.STOPPED
        assert "its state could not be stored: OSError(28, 'No space left on device')" in {
            one.what for one in world.of(Trouble)
        }


@virtually
async def test_a_handoff_that_cannot_be_written_fails_the_start() -> None:
    """B-PRELOAD-020: ready is never reached without it; the file to look at is named."""
    async with a_world() as world:
        (world.folder / "engines").rmdir()
        with pytest.raises(StartFailed, match=r"chat\.json cannot be written") as caught:
            await world.pool.start()
        assert "writable" in str(caught.value)
        (world.folder / "engines").mkdir()
        await world.pool.reached("ready")


@virtually
async def test_a_handoff_that_cannot_be_removed_is_reported_and_the_engine_ends() -> None:
    """S5: a stale file is bad, an engine that goes on is worse."""
    async with a_world() as world:
        await world.ready()
        path = world.folder / "engines/chat.json"
        path.unlink()
        path.mkdir()  # what cannot be unlinked
        await world.pool.stop()
        assert not world.living
        assert "engines/chat.json could not be removed" in world.of(Trouble)[0].what
        path.rmdir()


@virtually
async def test_no_thread_is_needed_to_end_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5, V2: on a host that is short of threads, or with all of them hanging on a share, a stop stops."""

    async def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with a_world() as world:
        await world.ready()
        monkeypatch.setattr(asyncio, "to_thread", no_thread)
        await world.pool.stop()
        assert world.pool.state == "stopped"
        assert not world.living
        assert not (world.folder / "engines/chat.json").exists()


@virtually
async def test_a_crash_while_it_stops_changes_nothing() -> None:
    """S2: it was to end, and ended; no back-off, no failure counted."""
    async with a_world(WORKS) as world:
        engine = await world.ready()
        stopping = await world.began(world.pool.stop())
        engine.crash(ExitStatus(signal=11))
        await stopping
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_what_is_known_of_models_stays_bounded() -> None:
    """S19: a hundred changes of model leave nothing behind but what may be needed."""
    async with a_world() as world:
        await world.ready()
        for number in range(100):
            await world.pool.reload(f"file:/{number}.gguf")
        launching = world.pool.launching
        assert len(launching._staged) <= 2
        assert len(launching._launches) == len(launching.engines) == 1
        assert len(launching.tasks) == 1
        with contextlib.suppress(PoolLifecycleError):
            await world.pool.reload(NEW)
