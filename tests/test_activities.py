"""The work that lasts as long as a state, in what the tests of the pool do not show."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool_lifecycle import activities
from pool_lifecycle.activities import RUNNERS, STAGE_OF, during, failure
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError, StartFailed, StateDirError
from pool_lifecycle.handoff import Handoff
from pool_lifecycle.interfaces import Health
from pool_lifecycle.launching import Launching
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, PoolEvent, PoolState
from pool_lifecycle.records import Moved, Trouble
from pool_lifecycle.spec import HealthSpec, Limits
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing.memory import EngineScript, StageScript
from pool_lifecycle.transfer import Transfer
from tests.reaching import LIMITS, a_pool_in
from tests.reborn import BOOT, reborn
from tests.twisted import Call, twisted
from tests.worlds import NEVER_READY, NEW, WORKS, World, a_world, virtually


def test_every_activity_but_watching_has_somebody_who_does_it() -> None:
    """And says which part of an engine's life its failure belongs to."""
    invoked = {Activity(state.activity) for state in LIFECYCLE.states.values() if state.activity}
    assert invoked - {Activity.WATCH} == set(RUNNERS) == set(STAGE_OF)


def progress(world: World) -> int:
    return sum(one.notice.event is PoolEvent.PROGRESSED for one in world.of(Moved))


@virtually
async def test_progress_is_told_only_when_it_matters() -> None:
    """V8, S19: a stager that reports every byte causes no step while the deadline is far."""
    async with a_world(staging=(StageScript(takes=50.0, steps=1000),)) as world:
        staging = await world.began(world.pool.start())
        await asyncio.sleep(25)
        assert "staging: 512 KiB of 1.0 MiB, 20.5 KiB/s, 25.0 s left" in world.pool.explain()
        await staging
        assert progress(world) == 0


@virtually
async def test_output_is_told_only_when_it_matters() -> None:
    """As long as the deadline is more than a stall away, an engine that logs costs no step."""
    logs = EngineScript(ready_after=100.0, output=tuple((float(at), 1) for at in range(100)))
    async with a_world(logs) as world:
        await world.pool.start()
        assert progress(world) == 40 - 1


@virtually
async def test_late_progress_is_not_shown() -> None:
    """What a stager reports after its time says nothing about what the pool does now."""
    async with a_world(NEVER_READY) as world:
        await world.began(world.pool.start())
        activities._staging(world.pool, world.pool.snapshot.epoch - 1, Transfer("file:x", 1, 2))
        assert "staging" not in world.pool.status().observed


@virtually
async def test_what_is_being_done_can_be_seen() -> None:
    """In every part of a start and a stop, for people and for the cause of a time-out."""
    slow = EngineScript(ready_after=5.0, term_takes=5.0)
    async with a_world(slow, staging=(StageScript(takes=5.0, steps=2),)) as world:
        starting = await world.began(world.pool.start())
        assert world.pool.status().observed == "staging file:/old.gguf"
        await asyncio.sleep(3)
        assert world.pool.status().observed == "staging: 512 KiB of 1.0 MiB"
        await asyncio.sleep(3)
        assert world.pool.status().observed == "/health: connection refused"
        await starting
        assert world.pool.status().observed == ""
        await world.began(world.pool.stop())
        assert world.pool.status().observed == "ending generation 1"


@virtually
async def test_a_warm_up_that_never_succeeds_fails_as_one() -> None:
    """B-PRELOAD-030: at the deadline, too, and with the path that was asked for."""

    async def cold(verb: str, call: Call) -> Any:
        health = await call()
        if verb == "check" and world.pool.observed.startswith(("warming up", "/warm")):
            return Health(ok=False, detail="status 500")
        return health

    health = HealthSpec(probe="memory", warm_up="/warm")
    async with a_world(twist=twisted(cold), health=health) as world:
        with pytest.raises(StartFailed) as caught:
            await world.pool.start()
        assert str(caught.value.cause).startswith("warm-up failed: healthy, but no successful warm-up within")
        assert caught.value.cause.message.endswith("last seen: /warm: status 500")
        assert str(world.folder / "logs/chat.log") in caught.value.remedy


@virtually
async def test_a_handoff_that_cannot_be_written_fails_as_one() -> None:
    """B-PRELOAD-030: the stage that failed opens the message; the engine was healthy."""
    async with a_world() as world:
        (world.folder / "engines").rmdir()
        with pytest.raises(StartFailed, match=r"handoff failed: the handoff file .*chat\.json cannot be"):
            await world.pool.start()
        (world.folder / "engines").mkdir()


@virtually
async def test_a_handoff_that_never_ends_fails_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the deadline, too: a state directory on a share that hangs is no unhealthy engine."""

    async def hangs(*_: object) -> None:
        await asyncio.sleep(10_000)

    monkeypatch.setattr(Launching, "hand_off", hangs)
    async with a_world() as world:
        with pytest.raises(StartFailed, match="handoff failed: healthy, but not handed off within 2 min"):
            await world.pool.start()


# --- failures as causes ---------------------------------------------------------------------------------

# --- a spare retires ------------------------------------------------------------------------------------


@virtually
async def test_a_document_that_cannot_be_written_holds_up_no_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """V1: it is told; the old engine serves, and the new one goes."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:

        def full(*_: object) -> None:
            raise StateDirError("the disk is full", remedy="make room")

        monkeypatch.setattr(Handoff, "write", full)
        world.engine.crash()
        await world.pool.reached("ready")
        assert len(world.living) == 1
        assert any("the disk is full" in one.what for one in world.of(Trouble))


@virtually
async def test_a_stager_that_hangs_holds_up_a_spare_for_a_moment_only() -> None:
    """V1: a new manager asks it where the model lies that the old engine has."""
    hangs = asyncio.Event()
    hangs.set()

    async def twist(verb: str, call: Call) -> Any:
        if verb == "stage":
            await hangs.wait()
        return await call()

    keep: dict[str, Any] = {"on_manager_exit": "keep"}
    mortal = {"store": MemoryStore(), "boot": BOOT}
    async with a_pool_in(PoolState.SURGING_PROVING, twist=twisted(twist), manager=mortal, **keep) as world:
        await reborn(world, limits=LIMITS, **keep)
        hangs.clear()
        began = world.now
        world.engine.crash()
        await world.pool.reached("ready")
        assert world.now - began <= activities.HANDING_TAKES
        assert len(world.living) == 1
        hangs.set()


@virtually
async def test_a_document_that_is_right_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches the file is told of a change only when there is one."""
    async with a_world(WORKS, limits=Limits(proving=0.0)) as world:
        await world.ready()
        written, real = list[str](), Handoff.write

        def counted(document: Handoff, path: str) -> None:
            written.append(document.url)
            real(document, path)

        monkeypatch.setattr(Handoff, "write", counted)
        await world.pool.reload(NEW, strategy="surge")
        await world.pool.reached("ready")
        assert written == [world.pool.status().url]


KNOWN = Cause(FailureClass.CUDA, Stage.RUN, "as I say")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DriverError("x", KNOWN), "run failed: as I say"),
        (StateDirError("the disk is full", remedy="make room"), "stop failed: the disk is full"),
        (ValueError("boom"), "stop failed: a driver raised ValueError: boom"),
        (asyncio.CancelledError(), "stop failed: a driver raised CancelledError: "),
    ],
)
def test_whatever_was_raised_is_a_cause(error: BaseException, words: str) -> None:
    """A driver's own cause is kept; our own errors keep their remedy; anything else is the driver's fault."""
    cause = failure(error, Stage.STOP)
    assert str(cause) == words
    if isinstance(error, StateDirError):
        assert cause.remedy == "make room"


def test_within_a_stage_everything_is_a_failure_of_it() -> None:
    """But a DriverError names its own, and a cancellation is none."""
    with pytest.raises(DriverError) as caught, during(Stage.WARM_UP):
        raise KeyError("x")
    assert caught.value.cause.stage is Stage.WARM_UP
    with pytest.raises(DriverError) as caught, during(Stage.WARM_UP):
        raise DriverError("x", KNOWN)
    assert caught.value.cause == KNOWN
    with pytest.raises(asyncio.CancelledError), during(Stage.WARM_UP):
        raise asyncio.CancelledError
