"""Pools come to be as they are declared, each on its own, the latest declaration only; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.applying import Applied, End, as_it_is, is_so
from pool_lifecycle.causes import Cause
from pool_lifecycle.errors import ConfigError, EngineStuck, ManagerClosed, StartFailed, Superseded
from pool_lifecycle.events import Target
from pool_lifecycle.launching import Launching
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.plan import Way
from pool_lifecycle.records import Moved
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.spec import HealthSpec, Limits, PoolSpec, ReloadSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, StageScript
from tests.worlds import (
    BROKEN,
    HOPELESS,
    INSTANT,
    NEVER_READY,
    NEW,
    OLD,
    SLOW_STAGING,
    STUBBORN,
    UNKILLABLE,
    WORKS,
    World,
    a_spec,
    a_world,
    virtually,
)

S = PoolState
LIMITS = Limits(start=10.0, start_hard=10.0, proving=0.0)


def a_chat(**changes: Any) -> PoolSpec:
    """The pool of the world, declared differently; no new model has to prove itself."""
    return a_spec(**({"limits": LIMITS} | changes))


async def apply(world: World, *specs: PoolSpec) -> tuple[Applied, ...]:
    """What became of every pool."""
    return await world.manager.apply(specs)


def told(outcomes: tuple[Applied, ...]) -> list[tuple[str, Way, End]]:
    """The outcomes without what went wrong."""
    return [(one.pool_id, one.way, one.end) for one in outcomes]


@virtually
async def test_what_is_as_declared_is_not_touched() -> None:
    """Not even while it is on its way: its engine, its state and its history stay."""
    async with a_world(EngineScript(ready_after=5.0), limits=LIMITS) as world:
        world.begin(world.pool.start())
        await asyncio.sleep(1.0)
        outcomes, took = await virtual_time.timed(apply(world, a_chat()))
        assert outcomes == (Applied("chat", Way.UNCHANGED, state="starting"),)
        assert took == 0
        await world.pool.reached("ready")
        before = world.pool.snapshot
        await apply(world, a_chat())
        assert world.pool.snapshot is before
        assert len(world.launcher.engines) == 1


@virtually
async def test_policies_are_gone_by_at_once() -> None:
    """On the same engine, in whatever state: here a start that needs more time."""
    async with a_world(WORKS, limits=LIMITS) as world:
        engine = await world.ready()
        wanted = a_chat(limits=evolve(LIMITS, drain=3.0), health=HealthSpec(probe="memory", interval=1.0))
        assert told(await apply(world, wanted)) == [("chat", Way.ADJUST, End.DONE)]
        assert world.pool.spec == wanted
        assert world.engine is engine
        assert world.pool.snapshot.rules.limits.drain == 3.0


@virtually
async def test_policies_need_not_wait_for_a_start() -> None:
    """It may be these that the start waits for."""
    async with a_world(EngineScript(ready_after=5.0), limits=LIMITS) as world:
        world.begin(world.pool.start())
        await asyncio.sleep(1.0)
        outcomes, took = await virtual_time.timed(apply(world, a_chat(limits=evolve(LIMITS, drain=3.0))))
        assert (outcomes[0].end, took) == (End.DONE, 0)
        await world.pool.reached("ready")


@pytest.mark.parametrize("changes", [{"model": NEW}, {"slots": 7}, {"engine": {"args": ("--new",)}}])
@virtually
async def test_another_engine_comes_by_a_reload(changes: dict[str, Any]) -> None:
    """B-RELOAD-001..006: for the model and for whatever else it is launched with; the other pool stays."""
    async with a_world(WORKS, limits=LIMITS) as world:
        old = await world.ready()
        other = await world.manager.add(a_spec("other"))
        await other.start()
        untouched = other.snapshot
        outcomes = await apply(world, a_chat(**changes), a_spec("other"))
        assert told(outcomes) == [("chat", Way.RELOAD, End.DONE), ("other", Way.UNCHANGED, End.DONE)]
        assert "reloading.starting" in world.way
        assert not old.alive
        assert is_so(world.pool, a_chat(**changes))
        assert other.snapshot is untouched


@virtually
async def test_a_pool_that_is_another_one_is_replaced() -> None:
    """B-RELOAD-009 has its device mask stay within a reload: so it is drained, removed, added, started."""
    async with a_world(WORKS, limits=LIMITS) as world:
        old = await world.ready()
        with world.pool.acquire("me") as lease:
            done = await world.began(apply(world, a_chat(device_mask="1")))
            assert world.pool.state is S.DRAINING
            assert lease.generation == 1
        assert told(await done) == [("chat", Way.REPLACE, End.DONE)]
        pool = world.manager["chat"]
        assert pool is not world.pool
        assert (pool.state, pool.spec.device_mask, old.alive) == (S.READY, "1", False)


@virtually
async def test_pools_come_and_go() -> None:
    """What is new is started, what is declared no more drained and removed, at the same time."""
    async with a_world(WORKS, limits=LIMITS) as world:
        await world.ready()
        lease = world.pool.acquire("me")
        done = await world.began(apply(world, a_spec("new")))
        assert world.manager["new"].state is S.READY
        assert world.pool.state is S.DRAINING
        lease.release()
        outcomes = await done
        assert told(outcomes) == [("new", Way.ADD, End.DONE), ("chat", Way.REMOVE, End.DONE)]
        assert [one.state for one in outcomes] == ["ready", None]
        assert "chat" not in world.manager


@virtually
async def test_a_stopped_pool_stays_stopped() -> None:
    """Somebody has stopped it: its next start is as declared."""
    async with a_world(WORKS, limits=LIMITS) as world:
        for changes in ({"model": NEW}, {"model": NEW, "replica_id": "7"}):
            outcomes = await apply(world, a_chat(**changes))
            assert (outcomes[0].end, outcomes[0].state) == (End.DONE, "stopped")
        await world.manager["chat"].start()
        assert world.stager.requests == [NEW]


# --- one pool's failure ------------------------------------------------------------------------------------


@virtually
async def test_one_pool_that_fails_harms_no_other() -> None:
    """Its outcome says why; all others are as declared."""
    async with a_world(WORKS, limits=LIMITS) as world:
        await world.ready()
        good, bad = a_spec("good"), a_spec("bad", launcher="nowhere")
        outcomes = await apply(world, bad, a_chat(slots=3), good)
        assert [one.end for one in outcomes] == [End.FAILED, End.DONE, End.DONE]
        assert isinstance(outcomes[0].error, ConfigError)
        assert "bad" not in world.manager
        assert world.manager["good"].state is S.READY


@virtually
async def test_a_driver_that_is_not_there_leaves_the_pool_as_it_is() -> None:
    """Found out before anything of the pool is touched."""
    async with a_world(WORKS, limits=LIMITS) as world:
        await world.ready()
        before = world.pool.snapshot
        wanted = a_chat(launcher="nowhere", health=HealthSpec(probe="nowhere"))
        assert told(await apply(world, wanted)) == [("chat", Way.REPLACE, End.FAILED)]
        assert world.pool.snapshot is before
        assert world.manager["chat"] is world.pool


@virtually
async def test_a_failed_reload_leaves_all_as_it_was() -> None:
    """S12, B-RELOAD-007, 011: also the policies; asked for again, it is tried again."""
    async with a_world(WORKS, BROKEN, WORKS, limits=LIMITS) as world:
        await world.ready()
        before = as_it_is(world.pool)
        wanted = a_chat(model=NEW, slots=3, limits=evolve(LIMITS, drain=3.0))
        assert told(await apply(world, wanted)) == [("chat", Way.RELOAD, End.FAILED)]
        assert world.pool.state is S.READY
        assert is_so(world.pool, before)
        assert world.pool.snapshot.rules.limits.drain == LIMITS.drain
        assert told(await apply(world, wanted)) == [("chat", Way.RELOAD, End.DONE)]
        assert is_so(world.pool, wanted)


@virtually
async def test_a_crash_in_the_middle_is_told() -> None:
    """The pool recovers by itself, as ever, and goes by what it was."""
    slow = (INSTANT, SLOW_STAGING, INSTANT)
    async with a_world(WORKS, staging=slow, limits=LIMITS) as world:
        engine = await world.ready()
        done = await world.began(apply(world, a_chat(model=NEW)))
        engine.crash()
        assert told(await done) == [("chat", Way.RELOAD, End.FAILED)]
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD


@virtually
async def test_what_cannot_be_ended_is_told() -> None:
    """V4: nobody waits for it for ever."""
    async with a_world(UNKILLABLE, limits=LIMITS) as world:
        engine = await world.ready()
        with pytest.raises(EngineStuck):
            await world.pool.stop()
        for wanted in ((a_chat(model=NEW),), ()):
            (outcome,) = await apply(world, *wanted)
            assert isinstance(outcome.error, EngineStuck)
        engine.release()
        await world.pool.reached("stopped")
        assert (await apply(world, a_chat(model=NEW)))[0].end is End.DONE


# --- the latest one only -----------------------------------------------------------------------------------


@virtually
async def test_of_a_hundred_only_the_last_is_acted_on() -> None:
    """All of them within a second, while a reload that somebody asked for is under way; V4."""
    async with a_world(WORKS, staging=(INSTANT, StageScript(takes=5.0), INSTANT), limits=LIMITS) as world:
        await world.ready()
        reload = await world.began(world.pool.reload("file:/by-hand.gguf"))
        wishes = []
        for number in range(100):
            wishes.append(await world.began(apply(world, a_chat(model=f"file:/{number}.gguf"))))
            await asyncio.sleep(0.01)
        await reload
        outcomes = [(await wish)[0] for wish in wishes]
        assert [one.end for one in outcomes] == [End.SUPERSEDED] * 99 + [End.DONE]
        assert all(isinstance(one.error, Superseded) for one in outcomes[:99])
        assert "superseded by a later declaration" in str(outcomes[0].error)
        assert world.stager.requests == [OLD, "file:/by-hand.gguf", "file:/99.gguf"]


@virtually
async def test_a_later_one_waits_for_the_one_begun() -> None:
    """Which is not called off; those between are."""
    async with a_world(WORKS, staging=(INSTANT, StageScript(takes=5.0), INSTANT), limits=LIMITS) as world:
        await world.ready()
        models = ("a", "b", "c")
        wishes = [await world.began(apply(world, a_chat(model=f"file:/{model}"))) for model in models]
        assert [(await wish)[0].end for wish in wishes] == [End.DONE, End.SUPERSEDED, End.DONE]
        assert world.stager.requests == [OLD, "file:/a", "file:/c"]


@virtually
async def test_the_same_again_joins() -> None:
    """Whether the first is begun or waits; and it is done once."""
    async with a_world(WORKS, staging=(INSTANT, StageScript(takes=5.0), INSTANT), limits=LIMITS) as world:
        await world.ready()
        wishes = [await world.began(apply(world, a_chat(model=NEW))) for _ in range(3)]
        later = [await world.began(apply(world, a_chat(model=OLD, slots=5))) for _ in range(3)]
        back = await world.began(apply(world, a_chat(model=NEW)))  # what is under way is what is wanted
        assert {(await wish)[0].end for wish in (*wishes, back)} == {End.DONE}
        assert {(await wish)[0].end for wish in later} == {End.SUPERSEDED}
        assert world.stager.requests == [OLD, NEW]


@virtually
async def test_what_is_as_declared_ends_the_wait_for_another() -> None:
    """Back to how it is, before anything was begun."""
    async with a_world(EngineScript(ready_after=5.0), limits=LIMITS) as world:
        world.begin(world.pool.start())
        await asyncio.sleep(1.0)
        waiting = await world.began(apply(world, a_chat(model=NEW)))
        assert (await apply(world, a_chat()))[0].end is End.DONE
        assert (await waiting)[0].end is End.SUPERSEDED
        await world.pool.reached("ready")
        assert world.stager.requests == [OLD]


@virtually
async def test_what_somebody_is_changing_by_hand_is_declared_back() -> None:
    """The pool is as declared, but not for long: this waits, and then has it as declared again."""
    async with a_world(WORKS, staging=(INSTANT, StageScript(takes=5.0), INSTANT), limits=LIMITS) as world:
        await world.ready()
        by_hand = await world.began(world.pool.reload(NEW))
        waiting = await world.began(apply(world, a_chat()))
        assert not waiting.done()
        await by_hand
        assert told(await waiting) == [("chat", Way.RELOAD, End.DONE)]
        assert is_so(world.pool, a_chat())


@virtually
async def test_whoever_was_faster_is_waited_for() -> None:
    """Somebody's change by hand began just between our look at the pool and our wish: ours comes after it."""
    async with a_world(WORKS, staging=(INSTANT, StageScript(takes=5.0), INSTANT), limits=LIMITS) as world:
        await world.ready()
        look = Launching.preflight_beside
        by_hand: list[asyncio.Task[None]] = []

        async def meanwhile(self: Launching, target: Target) -> tuple[Cause, ...]:
            if not by_hand:
                asked = world.pool.reload("file:/by-hand.gguf", strategy="drain_first")
                by_hand.append(world.begin(asked))
                await asyncio.sleep(0.01)
            return await look(self, target)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Launching, "preflight_beside", meanwhile)
            wanted = a_chat(model=NEW, reload=ReloadSpec("surge"))
            outcomes, took = await virtual_time.timed(apply(world, wanted))
        assert (told(outcomes), int(took)) == ([("chat", Way.RELOAD, End.DONE)], 5)
        assert world.stager.requests == [OLD, "file:/by-hand.gguf", NEW]
        assert is_so(world.pool, wanted)
        await by_hand[0]
        await world.pool.reached("ready")


# --- when it is acted on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["start", "drain", "stop"])
@virtually
async def test_it_is_acted_on_when_the_pool_has_arrived(asked: str) -> None:
    """In a start, a drain or a stop it waits; then it is done, in the state that this led to."""
    script = EngineScript(ready_after=3.0, ignores_term=True)
    async with a_world(script, limits=LIMITS) as world:
        if asked != "start":
            await world.ready()
            world.pool.acquire("me")
        arriving = await world.began(getattr(world.pool, asked)())
        way = len(world.way)
        done = await world.began(apply(world, a_chat(model=NEW)))
        assert not done.done()
        assert world.way[way:] == []
        await arriving
        assert told(await done) == [("chat", Way.RELOAD, End.DONE)]
        assert world.pool.state is (S.READY if asked == "start" else S.STOPPED)
        assert world.pool.snapshot.target.model == NEW


@virtually
async def test_a_pool_in_a_crash_loop_is_healed() -> None:
    """Its delay was for the engine that crashed: the good one is started at once."""
    async with a_world(BROKEN, WORKS, limits=LIMITS, backoff=Backoff(initial=50.0, jitter=0.0)) as world:
        world.begin(world.pool.start())
        await world.pool.reached("backing_off")
        wanted = a_chat(model=NEW, backoff=world.pool.spec.backoff)
        outcomes, took = await virtual_time.timed(apply(world, wanted))
        assert (told(outcomes), took) == ([("chat", Way.RELOAD, End.DONE)], 0)
        assert world.pool.status().model == NEW


@pytest.mark.parametrize("script", [HOPELESS, BROKEN])
@virtually
async def test_a_pool_that_has_failed_is_healed(script: EngineScript) -> None:
    """Past hope, or with its circuit opened by many failures: these were another engine's."""
    scripts = [script] * (1 if script is HOPELESS else 5)
    async with a_world(*scripts, WORKS, limits=LIMITS) as world:
        world.begin(world.pool.start())
        await world.pool.reached("failed")
        assert told(await apply(world, a_chat(model=NEW))) == [("chat", Way.RELOAD, End.DONE)]
        assert world.pool.state is S.READY
        assert world.pool.status().model == NEW


@virtually
async def test_other_policies_are_a_reason_to_try_again_what_was_past_hope() -> None:
    """Somebody has acted; where a circuit is open, that goes on to wait."""
    async with a_world(HOPELESS, WORKS, limits=LIMITS) as world:
        world.begin(world.pool.start())
        await world.pool.reached("failed")
        outcomes = await apply(world, a_chat(limits=evolve(LIMITS, drain=3.0)))
        assert (outcomes[0].way, outcomes[0].end, outcomes[0].state) == (Way.ADJUST, End.DONE, "ready")


@virtually
async def test_what_starts_in_vain_is_told() -> None:
    """With the cause; it is tried again as ever, and with a good declaration it is healed."""
    async with a_world(WORKS, NEVER_READY, WORKS, limits=LIMITS) as world:
        await world.ready()
        outcomes, took = await virtual_time.timed(apply(world, a_chat(), a_spec("new", limits=LIMITS)))
        assert (outcomes[1].way, outcomes[1].end, took) == (Way.ADD, End.FAILED, 10)
        assert isinstance(outcomes[1].error, StartFailed)
        await world.manager["new"].reached("ready")


@virtually
async def test_a_removal_does_not_wait() -> None:
    """Nobody needs the start that it would wait for; so with a change of model."""
    async with a_world(NEVER_READY, limits=LIMITS) as world:
        world.begin(world.pool.start())
        await asyncio.sleep(1.0)
        waiting = await world.began(apply(world, a_chat(model=NEW)))
        (outcome,), took = await virtual_time.timed(apply(world))
        assert (outcome.way, outcome.end, took) == (Way.REMOVE, End.DONE, 0)
        assert (await waiting)[0].end is End.SUPERSEDED


@virtually
async def test_a_pool_that_is_added_meanwhile_is_removed_too() -> None:
    """A declaration without it is later than the one that it came by."""
    async with a_world(WORKS, NEVER_READY, limits=LIMITS) as world:
        await world.ready()
        adding = await world.began(apply(world, a_chat(), a_spec("new", limits=LIMITS)))
        outcomes = await apply(world, a_chat())
        assert told(outcomes) == [("chat", Way.UNCHANGED, End.DONE), ("new", Way.REMOVE, End.DONE)]
        assert (await adding)[1].end is End.FAILED
        assert "new" not in world.manager


@virtually
async def test_a_pool_that_is_removed_meanwhile() -> None:
    """Somebody's later word: what was declared before it is superseded, not carried out all the same."""
    async with a_world(STUBBORN, limits=LIMITS) as world:
        await world.ready()
        stopping = await world.began(world.pool.stop())
        waiting = await world.began(apply(world, a_chat(device_mask="1")))

        def remove(record: object) -> None:
            if isinstance(record, Moved) and world.pool.state is S.STOPPED:
                world.begin(world.manager.remove("chat"))

        world.manager.observe(remove)
        await stopping
        (outcome,) = await waiting
        assert outcome.end is End.SUPERSEDED
        assert "superseded by its removal" in str(outcome.error)
        assert "chat" not in world.manager
        assert told(await apply(world, a_chat())) == [("chat", Way.ADD, End.DONE)]


# --- the end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [True, False])
@virtually
async def test_nobody_waits_for_a_manager_that_closes(begun: bool) -> None:
    """V4: whether it was begun or not; nothing is started any more."""
    async with a_world(
        EngineScript(ready_after=3.0), staging=(INSTANT, SLOW_STAGING), limits=LIMITS
    ) as world:
        if begun:
            await world.ready()
        else:
            world.begin(world.pool.start())
            await asyncio.sleep(1.0)
        waiting = await world.began(apply(world, a_chat(model=NEW), a_spec("new")))
        await world.manager.close()
        outcomes = await waiting
        assert {one.end for one in outcomes} == {End.SUPERSEDED}
        assert "the end of the manager" in str(outcomes[0].error)
        assert len(world.launcher.engines) <= 2
        with pytest.raises(ManagerClosed):
            await apply(world, a_chat())


@virtually
async def test_it_is_withdrawn_before_its_first_step() -> None:
    """And can be declared again."""
    async with a_world(WORKS, limits=LIMITS) as world:
        await world.ready()
        waiting = world.begin(apply(world, a_chat(model=NEW)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await world.manager.withdraw()
        assert (await waiting)[0].end is End.SUPERSEDED
        assert world.pool.status().model == OLD
        assert (await apply(world, a_chat(model=NEW)))[0].end is End.DONE


@virtually
async def test_whoever_is_cancelled_cancels_only_the_wait() -> None:
    """The change goes on; who waits for it as well is answered."""
    async with a_world(WORKS, staging=(INSTANT, StageScript(takes=5.0)), limits=LIMITS) as world:
        await world.ready()
        gone = await world.began(apply(world, a_chat(model=NEW)))
        stays = await world.began(apply(world, a_chat(model=NEW)))
        gone.cancel()
        assert (await stays)[0].end is End.DONE
        assert world.pool.status().model == NEW


@virtually
async def test_a_defect_is_raised_and_the_next_one_has_its_turn() -> None:
    """Nothing is said to have been done that was not."""

    def broken(_: PoolSpec) -> None:
        raise RuntimeError("a defect")

    async with a_world(WORKS, limits=LIMITS) as world:
        await world.ready()
        world.manager.check = broken  # type: ignore[method-assign,assignment]
        with pytest.raises(RuntimeError, match="a defect"):
            await apply(world, a_chat(model=NEW))
        del world.manager.check
        assert (await apply(world, a_chat(model=NEW)))[0].end is End.DONE


@virtually
async def test_every_outcome_is_told_as_it_comes() -> None:
    """Not only when the slowest pool is done."""
    slow = a_spec("slow", limits=LIMITS)
    async with a_world(WORKS, EngineScript(ready_after=4.0), limits=LIMITS) as world:
        await world.ready()
        outcomes: list[tuple[str, float]] = []
        begin = world.now
        await world.manager.apply(
            [a_chat(limits=evolve(LIMITS, drain=3.0)), slow],
            each=lambda one: outcomes.append((one.pool_id, world.now - begin)),
        )
        assert [(name, int(at)) for name, at in outcomes] == [("chat", 0), ("slow", 4)]


@virtually
async def test_a_plan_touches_nothing() -> None:
    """It says what `apply` would do."""
    async with a_world(WORKS, limits=LIMITS) as world:
        await world.ready()
        before = world.pool.snapshot
        plan = world.manager.plan([a_chat(model=NEW), a_spec("new")])
        assert [(one.pool_id, one.way) for one in plan.changes] == [("chat", Way.RELOAD), ("new", Way.ADD)]
        assert world.manager.plan([a_chat()]).pending == ()
        assert world.pool.snapshot is before
