"""After the end of an engine: what its own words are taken for."""

from __future__ import annotations

import asyncio
import threading

import pytest
from attrs import evolve

from pool_lifecycle import crash_logs
from pool_lifecycle.causes import Cause, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import Command, LaunchRequest, Pattern
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.postmortem import Launch
from pool_lifecycle.records import CrashLogKept, EngineEnded, EngineUnhealthy, Record, Trouble
from pool_lifecycle.restart.storm import Crash
from pool_lifecycle.snapshot import Intent, Snapshot
from pool_lifecycle.spec import Limits
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, MemoryProfile
from pool_lifecycle.verdict import Asker, FailedCheck
from tests.reaching import a_pool_in
from tests.worlds import NEVER_READY, NEW, WORKS, World, a_spec, a_world, virtually

# --- what an ending says --------------------------------------------------------------------------------


class Wordy(MemoryProfile):
    """Knows what its engine means."""

    patterns = (Pattern("unknown argument", FailureClass.BAD_CONFIG, heals=False, remedy="mend the flag"),)


@virtually
async def test_known_last_words_keep_a_start_from_being_tried_again() -> None:
    """B-PRELOAD-x1: a bad flag cannot heal by itself, and the engine's own log says so."""
    async with a_world(NEVER_READY, WORKS, profile=Wordy()) as world:
        starting = await world.began(world.pool.start())
        world.engine.say("error: unknown argument: --fast")
        world.engine.crash(ExitStatus(code=1))
        with pytest.raises(StartFailed, match="it said: 'error: unknown argument: --fast'") as caught:
            await starting
        assert caught.value.remedy == "mend the flag"
        await asyncio.sleep(86400)
        assert len(world.launcher.launched) == 1


# --- who asked for it -----------------------------------------------------------------------------------

CUDA = "CUDA error: an illegal memory access was encountered"
ABORTED = ExitStatus(signal=6)


class Knows(MemoryProfile):
    """Knows CUDA errors."""

    patterns = (Pattern("CUDA error", FailureClass.CUDA),)


def endings(world: World) -> list[Cause]:
    return [record.cause for record in world.of(EngineEnded)]


@virtually
async def test_an_ending_that_somebody_asked_for_is_no_failure() -> None:
    """B-SUPER-x4: stop, a change of model, and whatever the engine does on its way out."""
    async with a_world(WORKS, EngineScript(term_exit=ExitStatus(signal=11)), WORKS) as world:
        await world.ready()
        await world.pool.reload(NEW)
        await world.pool.stop()
        assert [one.kind for one in endings(world)] == [FailureClass.KILLED_BY_OPERATOR] * 2
        assert endings(world)[1].exit == ExitStatus(signal=11)
        assert world.pool.snapshot.cause is None


@virtually
async def test_an_ending_because_the_manager_leaves_says_so() -> None:
    """B-SUPER-x2: the pool is wanted as before."""
    async with a_world() as world:
        await world.ready()
    assert [one.kind for one in endings(world)] == [FailureClass.MANAGER_EXIT]


@virtually
async def test_an_engine_killed_at_the_very_end_was_killed_by_its_manager() -> None:
    """Past the state machine, when the manager itself is cancelled."""
    async with a_world() as world:
        await world.ready()
        await world.pool.launching.kill(within=1.0)
        await virtual_time.settle()
        assert [one.kind for one in endings(world)] == [FailureClass.MANAGER_EXIT]


@virtually
async def test_an_engine_ended_for_its_failure_ended_of_that() -> None:
    """Not of the signal that we sent: of the hang, or of being too slow."""
    async with a_world(WORKS, NEVER_READY, limits=Limits(start=30.0)) as world:
        engine = await world.ready()
        engine.hang()
        await world.pool.reached("recovering")
        await virtual_time.settle()
        hung = endings(world)[-1]
        assert (hung.kind, hung.exit) == (world.of(EngineUnhealthy)[0].cause.kind, engine.exit)
        await world.pool.reached("starting")
        await world.pool.reached("recovering")
        await virtual_time.settle()
        assert endings(world)[-1].kind is FailureClass.START_TIMEOUT
        await world.pool.stop()


@virtually
async def test_an_engine_ended_for_the_failure_of_another_did_not_fail() -> None:
    """B-SUPER-x2, S16: the new one beside an old one that crashes; its own status may be lost on the way."""
    async with a_pool_in(PoolState.SURGING_STARTING) as world:
        old, new = world.launcher.engines
        old.crash(ExitStatus(code=3))
        await world.pool.reached("backing_off")
        told = {cause.exit: cause.kind for cause in endings(world)}
        assert told == {old.exit: FailureClass.EXIT, new.exit: FailureClass.KILLED_BY_OPERATOR}
        assert "another engine of that had failed" in endings(world)[-1].message


@virtually
async def test_a_crash_is_told_once_and_the_same_to_everybody() -> None:
    """B-SUPER-x1: the record, the failed start and the pool have one verdict."""
    async with a_world(NEVER_READY, WORKS) as world:
        starting = await world.began(world.pool.start())
        world.engine.crash(ExitStatus(code=3))
        with pytest.raises(StartFailed) as caught:
            await starting
        assert endings(world) == [caught.value.cause]
        assert str(caught.value.cause).startswith("health check failed: the engine ended")


# --- what it said ---------------------------------------------------------------------------------------


@virtually
async def test_words_of_an_engine_that_goes_on_answering_are_a_doubt() -> None:
    """B-SUPER-x1: one scary log line alone is not a CUDA failure of a healthy engine."""
    async with a_world(profile=Knows()) as world:
        engine = await world.ready()
        server = world.pool.snapshot.server
        assert server is not None
        assert world.pool.launching.follow(server) is None
        engine.say(CUDA)
        newest = world.pool.launching.follow(server)
        assert newest is not None
        assert str(newest) == f"it said: {CUDA!r}"
        await asyncio.sleep(86400)
        assert world.pool.state == "ready"
        engine.crash(ABORTED)
        await virtual_time.settle()
        assert endings(world)[0].kind is FailureClass.SIGNAL  # it had survived these words for a day
        await world.pool.stop()
        assert world.pool.launching.follow(server) is None


@pytest.mark.parametrize(
    ("line", "kind"), [(CUDA, FailureClass.CUDA), (f"prompt: {CUDA}", FailureClass.SIGNAL)]
)
def test_last_words_tell_a_cuda_failure_if_they_are_its_own(line: str, kind: FailureClass) -> None:
    """B-SUPER-003, x1: the same words echoed from a prompt leave what the kernel says."""

    @virtually
    async def crash() -> None:
        async with a_world(profile=Knows()) as world:
            engine = await world.ready()
            engine.say(line)
            engine.crash(ABORTED)
            await virtual_time.settle()
            assert [one.kind for one in endings(world)] == [kind]
            cause = world.pool.snapshot.cause
            assert cause is not None
            assert cause.kind is kind
            await world.pool.stop()

    crash()


@virtually
async def test_failed_checks_and_own_words_together_blame_the_device() -> None:
    """B-SUPER-x1: two kinds of evidence. Its log is kept at once, and only once."""
    async with a_world(profile=Knows()) as world:
        engine = await world.ready()
        server = world.pool.snapshot.server
        assert server is not None
        engine.say(CUDA)
        cause = world.pool.launching.unhealthy(server, (FailedCheck(1.0, "status 500"),))
        assert (cause.kind, cause.confidence) == (FailureClass.CUDA, Confidence.LIKELY)
        engine.crash(ABORTED)
        await virtual_time.settle()
        await kept_all(world)
        assert len(world.of(CrashLogKept)) == 1
        await world.pool.stop()


@virtually
async def test_last_words_need_no_line_end() -> None:
    """Nothing more can come: half a line is the last one."""
    async with a_world(profile=Knows()) as world:
        engine = await world.ready()
        (world.folder / "logs/chat.log").write_text(CUDA)
        engine.crash(ABORTED)
        await virtual_time.settle()
        assert endings(world)[0].kind is FailureClass.CUDA
        await world.pool.stop()


@virtually
async def test_a_log_is_held_from_the_launch_on() -> None:
    """FAULTS, log rotated while written: also before the first look at an engine that serves."""
    async with a_world(profile=Knows()) as world:
        log = world.folder / "logs/chat.log"
        log.write_text("of yesterday\n")
        engine = await world.ready()
        log.rename(log.with_suffix(".1.log"))
        with log.with_suffix(".1.log").open("a") as file:
            file.write(f"{CUDA}\n")
        engine.crash(ABORTED)
        await virtual_time.settle()
        assert endings(world)[0].kind is FailureClass.CUDA
        await world.pool.stop()


def test_who_asked_first_is_who_did_it() -> None:
    """An operator's stop that the manager's leaving overtakes is still the operator's."""
    request = LaunchRequest(
        "chat", 1, "chat.1.x", Command(("engine",)), "h", 1, "/nowhere.log", "/nowhere.pid"
    )
    launch = Launch.of(request, 0.0, MemoryProfile())
    pool = Snapshot.new(a_spec(), lineage="x", now=0.0)
    leaving = evolve(pool, intent=Intent.RUN_WHEN_LOADED)
    launch.end_for(pool)
    launch.end_for(leaving)
    launch.leave()
    assert launch.asked is Asker.OPERATOR
    failing = evolve(
        leaving, state=PoolState.RECOVERING, cause=Cause(FailureClass.HANG, Stage.RUN, "it hung")
    )
    other = Launch.of(request, 0.0, MemoryProfile())
    other.end_for(failing)
    other.end_for(pool)
    assert (other.asked, other.failure) == (None, failing.cause)


def test_what_was_to_end_and_is_stuck_has_not_failed() -> None:
    """S16: the failure that its pool still knows of was that of an engine before it."""
    request = LaunchRequest(
        "chat", 2, "chat.2.x", Command(("engine",)), "h", 1, "/nowhere.log", "/nowhere.pid"
    )
    cause = Cause(FailureClass.SIGNAL, Stage.RUN, "the one before it crashed")
    new = Snapshot.new(a_spec(), lineage="x", now=0.0)
    stuck = evolve(new, state=PoolState.STUCK, cause=cause, crashes=(Crash(5.0, FailureClass.SIGNAL),))
    launch = Launch.of(request, 9.0, MemoryProfile())
    launch.end_for(stuck)
    assert (launch.asked, launch.failure) == (Asker.OPERATOR, None)
    failed = Launch.of(request, 0.0, MemoryProfile())
    failed.end_for(stuck)
    assert (failed.asked, failed.failure) == (None, cause)


# --- what is kept ---------------------------------------------------------------------------------------


async def told(world: World, kind: type[Record], count: int = 1) -> None:
    """Wait for the so-manyth record of a kind: a thread may be at work, on the real clock."""
    news = asyncio.Event()
    world.pool.host.observers.append(lambda _record: news.set())
    while len(world.of(kind)) < count:
        await news.wait()
        news.clear()


async def kept_all(world: World) -> None:
    """Wait for whatever is being kept in the background."""
    await asyncio.gather(*(task for task in world.pool.launching.tasks if "_kept" in repr(task)))


@virtually
async def test_logs_are_kept_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-SUPER-x3: two at once would find the same room, and make too many of it."""
    begun, go, at_work, most = threading.Event(), threading.Event(), [0], []

    def slowly(*_: object, **__: object) -> None:
        at_work[0] += 1
        most.append(at_work[0])
        begun.set()
        go.wait(60)
        at_work[0] -= 1

    monkeypatch.setattr(crash_logs, "keep", slowly)
    async with a_world(profile=Knows()) as world:
        engine = await world.ready()
        server = world.pool.snapshot.server
        assert server is not None
        for _ in range(2):
            launch = Launch.of(engine.request, 0.0, Knows())
            engine.say("it breaks")
            launch.log.look(0.0, final=True)
            world.pool.launching._keep_log(server, launch, BROKE)
        assert await asyncio.to_thread(begun.wait, 60)
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        await kept_all(world)
        assert most == [1, 1]


BROKE = Cause(FailureClass.EXIT, Stage.RUN, "it broke")


@virtually
async def test_the_log_of_a_crashed_run_is_kept() -> None:
    """B-SUPER-x3: what this launch wrote, and a record of where it is."""
    async with a_world() as world:
        for text in ("one", "two"):
            engine = await world.ready()
            engine.say(text)
            engine.crash()
            await told(world, CrashLogKept, len(world.launcher.engines))
            await world.pool.reached("ready")
        folder = world.folder / "crashes/chat"
        assert [path.read_text() for path in sorted(folder.iterdir())] == ["one\n", "two\n"]
        assert [one.path for one in world.of(CrashLogKept)] == [*map(str, sorted(folder.iterdir()))]
        assert [one.generation for one in world.of(CrashLogKept)] == [1, 2]


@virtually
async def test_of_an_ending_that_was_asked_for_nothing_is_kept() -> None:
    """It would push out what tells something. Nor of an engine that finished."""
    async with a_world() as world:
        for ask in ("stop", "finish"):
            engine = await world.ready()
            engine.say("hello")
            if ask == "finish":
                engine.crash(ExitStatus(code=0))
                await world.pool.reached("stopped")
            else:
                await world.pool.stop()
            await kept_all(world)
        assert world.of(CrashLogKept) == []
        assert not (world.folder / "crashes/chat").exists()
    assert endings(world)[-1].kind is FailureClass.GRACEFUL


@virtually
async def test_a_log_that_cannot_be_kept_is_a_trouble_and_no_more() -> None:
    """FAULTS: a full disk. The pool goes on."""
    async with a_world() as world:
        (world.folder / "crashes").rmdir()
        (world.folder / "crashes").symlink_to("nowhere")
        engine = await world.ready()
        engine.say("hello")
        engine.crash()
        await told(world, Trouble)
        assert "generation 1, which crashed, could not be kept: " in world.of(Trouble)[0].what
        await world.pool.reached("ready")


@virtually
async def test_secrets_do_not_get_from_a_log_into_a_cause() -> None:
    """S18: neither from the arguments nor from the environment."""
    engine = {"args": ["--api-key", "hunter2"], "env": {"MY_TOKEN": "t0ken"}}
    async with a_world(engine=engine) as world:
        one = await world.ready()
        one.say("refused hunter2 and t0ken")
        one.crash()
        await virtual_time.settle()
        assert endings(world)[0].message.endswith("its last line: 'refused <hidden> and <hidden>'")
        await world.pool.stop()


@virtually
async def test_a_variable_taken_over_is_hidden_as_it_was_at_the_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S18: the engine has it still when it is not there any more."""
    monkeypatch.setenv("MY_TOKEN", "/t0ken")
    async with a_world(engine={"env_passthrough": ["MY_TOKEN"]}) as world:
        one = await world.ready()
        monkeypatch.delenv("MY_TOKEN")
        one.say("refused /t0ken")
        one.crash()
        await virtual_time.settle()
        assert endings(world)[0].message.endswith("its last line: 'refused <hidden>'")
        await world.pool.stop()
