"""Steps about models: how they are put in place, how they do, and how one takes the place of another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from attrs import evolve

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle import Cause, ExitStatus, FailureClass, PoolState
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Stage
from pool_lifecycle.errors import IllegalEvent, NoRoomForTwo, ReloadFailed, ReloadRefused, Superseded
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.records import EngineEnded, Moved, Record
from pool_lifecycle.testing.memory import EngineScript, StageScript

OLD, NEW = "file:/models/chat.gguf", "file:/models/better.gguf"
OLD_PATH, NEW_PATH = "/memory/chat.gguf", "/memory/better.gguf"
GB = 2**30

BROKEN = EngineScript(ready_after=None, exits_after=1.0, exit=ExitStatus(code=1))
NOT_EXECUTABLE = Cause(FailureClass.PREFLIGHT, Stage.LAUNCH, "something is not as it should be")
FAILS = {
    "cannot be loaded": BROKEN,
    "is never ready": EngineScript(ready_after=None),
    "needs an engine that cannot be executed": EngineScript(launch_error=NOT_EXECUTABLE),
    "crashes 2 seconds after it was ready": EngineScript(exits_after=2.0, exit=ExitStatus(code=1)),
}


# --- putting a model in place --------------------------------------------------------------------------


@given("a model that cannot be put in place")
@given("the new model cannot be put in place")
def cannot(world: World) -> None:
    error = Cause(FailureClass.STAGING, Stage.STAGING, "the disk is full")
    world.cast.staging = StageScript(error=error)


@given("a model that takes {time:Duration} to be put in place, with progress every {gap:Duration}")
def takes(world: World, time: float, gap: float) -> None:
    world.cast.staging = StageScript(takes=time, steps=round(time / gap))


@given("the new model takes {time:Duration} to be put in place")
def new_takes(world: World, time: float) -> None:
    world.cast.staging = StageScript(takes=time, steps=12)


@given("a model that does not exist")
def does_not_exist(world: World) -> None:
    world.declare(model=f"file:{world.folder / 'nothing.gguf'}")


@then("the new model was put in place")
@then("the new model was put in place once")
def put_in_place(world: World) -> None:
    assert world.cast.stager.requests == [OLD, NEW]


# --- how models do -------------------------------------------------------------------------------------


@given("the new model takes {time:Duration} to load")
def loads_in(world: World, time: float) -> None:
    world.cast.with_model[NEW_PATH] = EngineScript(ready_after=time)


@given("the new model {fails:Failing}")
def new_fails(world: World, fails: str) -> None:
    world.cast.with_model[NEW_PATH] = FAILS[fails]


@given("from now on the old model cannot be loaded")
def old_fails(world: World) -> None:
    world.cast.with_model[OLD_PATH] = BROKEN


@when("the old model works again and {time:Duration} have passed")
async def old_works(world: World, time: float) -> None:
    del world.cast.with_model[OLD_PATH]
    await asyncio.sleep(time)


# --- changing it ---------------------------------------------------------------------------------------


async def change(world: World, model: str = NEW, **how: Any) -> None:
    watch(world)
    await (await world.pool()).reload(model, **how)


def watch(world: World) -> None:
    """From now on the ends of engines, and that the pool is ready, are in the diary, too."""
    diary = world.cast.diary
    world.notes.setdefault("change began", (len(diary.entries), world.loop.time()))

    def note(record: Record) -> None:
        if isinstance(record, EngineEnded):
            diary.note("end the engine")
        elif isinstance(record, Moved) and LIFECYCLE.states[record.notice.target].serving:
            diary.note("say that the pool is ready")

    world.chronicle.listeners = [note]


@given("the pool is changing its model")
def begin_change(world: World) -> None:
    world.begin("reload", change(world))


@given("the pool is changing its model once the new one is there")
def begin_ahead(world: World) -> None:
    world.begin("reload", change(world, strategy="stage_first"))


@given("the pool is changing its model without a gap")
def begin_surge(world: World) -> None:
    world.begin("reload", change(world, strategy="surge"))


@given("the pool has the new model")
@given("the model was to be changed")
@when("the model is changed")
async def is_changed(world: World) -> None:
    await world.attempt(change(world))


@when("the model is changed, with {time:Duration} for the work in flight")
async def is_changed_within(world: World, time: float) -> None:
    await world.attempt(change(world, drain_deadline=time))


@given("the model was changed without a gap")
@when("the model is changed without a gap")
async def is_surged(world: World) -> None:
    await world.attempt(change(world, strategy="surge"))


@given("the model was changed without a gap, with {time:Duration} for the work in flight")
async def is_surged_within(world: World, time: float) -> None:
    await world.attempt(change(world, strategy="surge", drain_deadline=time))


@when("the model is changed without a gap, or else with one")
async def is_surged_or_not(world: World) -> None:
    await world.attempt(change(world, strategy="surge", otherwise="stage_first"))


@when("somebody asks for another model")
async def another(world: World) -> None:
    await world.attempt(change(world, "file:/models/third.gguf"))


@when("the model is changed to a file that is cut short")
async def to_damaged(world: World) -> None:
    await world.attempt(change(world, f"file:{_cut_short(world.spec.model or '')}"))


def _cut_short(model: str) -> Path:
    """A new file with the first half of the model."""
    whole = Path(model.removeprefix("file:"))
    part = whole.with_name("part.gguf")
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return part


@when('the pool is declared with version "{version}" of the engine and the new model')
async def redeclared(world: World, version: str) -> None:
    other = evolve(world.spec, model=NEW, engine=evolve(world.spec.engine, version=version))
    await (await world.pool()).redeclared(other)


@when("somebody tries to resume the pool")
async def tries_to_resume(world: World) -> None:
    await world.attempt((await world.pool()).resume())


# --- how that ends -------------------------------------------------------------------------------------


@then("the change of model succeeds")
def succeeds(world: World) -> None:
    assert world.error is None, repr(world.error)


@then("the change under way succeeds")
async def finished(world: World) -> None:
    await world.finish("reload")
    assert world.error is None, repr(world.error)


@then("the change of model fails")
def fails(world: World) -> None:
    assert isinstance(world.error, ReloadFailed), repr(world.error)


@then('the change of model fails, and says "{words}"')
def fails_saying(world: World, words: str) -> None:
    fails(world)
    assert words in str(world.error), str(world.error)


@then('the change of model fails after {time:Duration}, and says "{words}"')
def fails_after(world: World, time: float, words: str) -> None:
    fails_saying(world, words)
    assert world.elapsed == time, world.elapsed


@then("the change of model fails, and tells of both models")
def fails_twice(world: World) -> None:
    fails_saying(world, "while going back to the old model; the new one: ")
    assert str(world.error).count("exit code 1") == 2, str(world.error)


@then("the change of model was superseded by a {other}")
async def superseded(world: World, other: str) -> None:
    await world.finish("reload")
    assert isinstance(world.error, Superseded), repr(world.error)
    assert other in world.error.by


@then("that is refused, and the model under way is named")
def busy(world: World) -> None:
    assert isinstance(world.error, ReloadRefused), repr(world.error)
    assert NEW in str(world.error)


@then("that is refused, as {missing:d} GB are missing")
def no_room(world: World, missing: int) -> None:
    assert isinstance(world.error, NoRoomForTwo), repr(world.error)
    assert f"({missing * GB} bytes) too few" in str(world.error), str(world.error)


@then("that is not possible")
def impossible(world: World) -> None:
    assert isinstance(world.error, IllegalEvent), repr(world.error)


@then("these things were done for it, in this order:")
def done_in_order(world: World) -> None:
    wanted = [world.table.headings[0], *(row[0] for row in world.table.rows)]
    first, _ = world.notes["change began"]
    done = [what for what, _ in world.cast.diary.entries[first:] if what in wanted]
    assert done[: len(wanted)] == wanted, done


@then("nothing was done to the new model or the old engine in the first {time:Duration}")
def waited(world: World, time: float) -> None:
    first, began = world.notes["change began"]
    done = [(what, at - began) for what, at in world.cast.diary.entries[first:]]
    harm = [at for what, at in done if what in {"put the model in place", "end the engine"}]
    assert harm
    assert min(harm) >= time, done


# --- what serves then ----------------------------------------------------------------------------------


async def serves(world: World, model: str) -> None:
    pool = await world.pool()
    assert (pool.state, pool.status().model) == (PoolState.READY, model), pool.explain()
    assert [one.alive for one in world.cast.engines].count(True) == 1


@then("the pool serves the old model, with one engine")
async def serves_old(world: World) -> None:
    await serves(world, OLD)


@then("the pool serves the new model, with one engine")
async def serves_new(world: World) -> None:
    await serves(world, NEW)


@then("the pool is to serve the old model")
async def is_to_serve_old(world: World) -> None:
    assert (await world.pool()).status().model == OLD


@then("the engine that serves was launched with the new model")
async def launched_with_new(world: World) -> None:
    assert (await world.pool()).status().pid == world.cast.engines[-1].pid
    assert ("REHEARSED_MODEL", NEW_PATH) in world.cast.engines[-1].request.command.env


@then('the engine that serves sees the devices "{mask}"')
def sees(world: World, mask: str) -> None:
    assert ("CUDA_VISIBLE_DEVICES", mask) in world.cast.engines[-1].request.command.env


@then("the first engine goes on serving")
async def same_engine(world: World) -> None:
    status = (await world.pool()).status()
    assert (status.ready, status.pid) == (True, world.cast.engines[0].pid), status


@then("there have been {count:d} engines")
def engines(world: World, count: int) -> None:
    assert len(world.cast.engines) == count


@then("the first engine is gone")
def first_gone(world: World) -> None:
    assert not world.cast.engines[0].alive


@then("the pid file names the engine that serves")
async def pid_file(world: World) -> None:
    assert int(world.pid_file.read_text()) == (await world.pool()).status().pid


@then("no failure of the pool is counted")
async def not_counted(world: World) -> None:
    status = (await world.pool()).status()
    assert (status.crash_count, status.restart_count) == (0, 0)
    assert set(status.circuits.values()) == {BreakerState.CLOSED.shown}
