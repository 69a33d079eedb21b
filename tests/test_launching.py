"""Between a pool and its drivers: what is launched, when readiness is seen, and whose answer it is."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path

import pytest

from pool_lifecycle.causes import ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.handoff import Handoff
from pool_lifecycle.interfaces import Command, CommandContext, EngineHandle, Health, Pattern, ProbeTarget
from pool_lifecycle.launching import PROBE_GAP, expected, reachable, url_of
from pool_lifecycle.spec import HealthSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, MemoryProfile, ProbeScript
from tests.worlds import NEVER_READY, NEW, WORKS, a_world, virtually

# --- what is launched -----------------------------------------------------------------------------------


@virtually
async def test_the_engine_is_launched_as_declared() -> None:
    """B-PRELOAD-001, B-PROC-001: binary and arguments in order; log, pid file, token, environment."""
    engine = {
        "args": ["-c", "4096", "--flag"],
        "env": {"TOKEN": "s3cret"},
        "env_passthrough": ["HOME"],
        "cwd": "/somewhere",
        "port": 12345,
    }
    async with a_world(engine=engine, device_mask="1") as world:
        await world.ready()
        (request,) = world.launcher.launched
        assert request.command.argv == ("engine", "-c", "4096", "--flag")
        assert dict(request.command.env) == {
            "CUDA_VISIBLE_DEVICES": "1",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "TOKEN": "s3cret",
        }
        assert (request.env_passthrough, request.cwd, request.port) == (("HOME",), "/somewhere", 12345)
        assert request.log_path == str(world.folder / "logs/chat.log")
        assert request.pid_path == str(world.folder / "run/chat.pid")
        assert request.token.startswith("chat.1.")
        assert (request.pool_id, request.generation, request.host) == ("chat", 1, "127.0.0.1")


class Curious(MemoryProfile):
    """Remembers what it was asked to write a command for."""

    def __init__(self) -> None:
        self.contexts: list[CommandContext] = []

    def command(self, *, context: CommandContext) -> Command:
        self.contexts.append(context)
        return super().command(context=context)


@virtually
async def test_the_profile_gets_the_staged_path_and_the_chosen_port() -> None:
    """The port that preflight looked at is the one that is launched on."""
    profile = Curious()
    async with a_world(profile=profile, slots=3) as world:
        await world.ready()
        before, at = profile.contexts
        assert before.model_path == "file:/old.gguf"  # not in place yet
        assert at.model_path == "/memory/old.gguf"
        assert before.port == at.port == world.launcher.launched[0].port
        assert at.slots == 3


@virtually
async def test_an_engine_without_a_model_needs_no_staging() -> None:
    """`model=None`."""
    async with a_world(model=None) as world:
        await world.ready()
        assert world.stager.requests == []


@virtually
async def test_every_launch_has_its_own_token() -> None:
    """S2: a restart is a new instance, in this manager or the next."""
    tokens = set()
    for _ in range(2):
        async with a_world() as world:
            await world.ready()
            await world.pool.reload(NEW)
            tokens |= {request.token for request in world.launcher.launched}
    assert len(tokens) == 4


@pytest.mark.parametrize(
    ("bound", "reached", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "127.0.0.1", "http://127.0.0.1:80"),
        ("::", "::1", "http://[::1]:80"),
        ("::1", "::1", "http://[::1]:80"),
        ("localhost", "localhost", "http://localhost:80"),
    ],
)
def test_an_engine_is_reached_where_it_listens(bound: str, reached: str, url: str) -> None:
    """Who listens everywhere is reached on this machine; IPv6 addresses get their brackets."""
    assert reachable(bound) == reached
    assert url_of(EngineHandle("d", "t", bound, 80)) == url


# --- when readiness is seen -----------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 2.0, 6.0, 20.0])
@virtually
async def test_readiness_is_seen_within_a_hundredth_of_the_load(load: float) -> None:
    """B-PRELOAD-x2: without any output, at most 1 % late, or 10 ms."""
    async with a_world(EngineScript(ready_after=load)) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert load <= seconds <= load + max(0.0101, 0.0101 * load)


@pytest.mark.parametrize("load", [0.3, 2.0, 30.0, 100.0])
@virtually
async def test_readiness_is_seen_at_once_when_the_engine_logs_it(load: float) -> None:
    """B-PRELOAD-x2: within 10 ms, however old the engine is."""
    moment = load + 0.0057
    async with a_world(EngineScript(ready_after=moment, output=((moment, 20),))) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert moment <= seconds <= moment + 0.010


@virtually
async def test_a_flood_of_output_does_not_cause_a_flood_of_probes() -> None:
    """B-PRELOAD-x2: the rate is capped."""
    flood = EngineScript(ready_after=3.0, output=tuple((at / 1000, 100) for at in range(3000)))
    async with a_world(flood) as world:
        await world.pool.start()
        assert world.probe.checks <= 3.0 / PROBE_GAP + 2


@virtually
async def test_output_long_ago_is_no_reason_to_look_more_often() -> None:
    """B-PRELOAD-x2: one line at the begin, and then the usual pauses."""
    async with a_world(EngineScript(ready_after=50.0, output=((1.0, 20),))) as world:
        await world.pool.start()
        assert world.probe.checks <= 100 + 100 * math.log(10) + 400 + 10


@virtually
async def test_a_slow_probe_is_asked_again_when_it_answered() -> None:
    """One probe at a time; its time-out is the declared one."""
    answers = (ProbeScript(takes=99.0), ProbeScript(Health(ok=True, detail="200"), takes=0.5))
    health = HealthSpec(probe="memory", timeout=2.0)
    async with a_world(answers=answers, health=health) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert seconds == pytest.approx(2.0 + 0.010 + 0.5)  # half the interval, as the look took so long
        assert world.probe.checks == 2


@virtually
async def test_what_is_probed_is_declared_or_the_profiles() -> None:
    """Path and command; the warm-up has a path of its own."""
    seen: list[ProbeTarget] = []

    def answer(target: ProbeTarget) -> Health:
        seen.append(target)
        return Health(ok=True, detail="200")

    async with a_world(answers=answer) as world:
        await world.pool.start()
    health = HealthSpec(probe="memory", path="/live", command=["ask", "it"], warm_up="/warm")
    async with a_world(answers=answer, health=health) as world:
        await world.pool.start()
    assert [one.path for one in seen] == ["/health", "/live", "/warm"]
    assert seen[1].command == ("ask", "it")
    assert seen[1].host == "127.0.0.1"


@virtually
async def test_the_warm_up_must_succeed() -> None:
    """B-PRELOAD-x1: ready comes after it; until then it says what it is doing."""

    def answer(target: ProbeTarget) -> Health:
        warm = target.path == "/health" or asyncio.get_running_loop().time() >= 1005.0
        return Health(ok=warm, detail="cold")

    async with a_world(answers=answer, health=HealthSpec(probe="memory", warm_up="/v1")) as world:
        starting = await world.began(world.pool.start())
        assert "Last seen: /v1: cold." in world.pool.explain()
        _, seconds = await virtual_time.timed(starting)
        assert 5.0 <= seconds <= 5.1


# --- whose answer it is ---------------------------------------------------------------------------------


@virtually
async def test_the_answer_of_somebody_else_is_not_ours() -> None:
    """B-PRELOAD-x3, S8: 200 on a port that our process tree does not hold is an error naming who does."""
    stranger = (Health(ok=True, detail="200"),)
    async with a_world(NEVER_READY, answers=stranger) as world:
        with pytest.raises(StartFailed) as caught:
            await world.pool.start()
        cause = caught.value.cause
        assert (cause.kind, cause.stage) == (FailureClass.PORT_IN_USE, Stage.HEALTH)
        pid = world.launcher.engines[0].pid
        assert f"the healthy answer did not come from our engine: port {20000} is held by pid {pid}" in str(
            cause
        )
        assert "ready" not in world.way


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


def test_a_value_of_the_wrong_kind_names_the_verb() -> None:
    """What fits is passed on."""
    health = Health(ok=True, detail="")
    assert expected(Health, health, "check") is health
    with pytest.raises(TypeError, match="'check' returned None, not a Health"):
        expected(Health, None, "check")


@virtually
async def test_a_handoff_being_written_is_taken_back_by_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-PRELOAD-020: threads cannot be cancelled; the stop comes after the slow disk, not before it."""
    begun, go, real = threading.Event(), threading.Event(), Handoff.write

    def slowly(document: Handoff, path: Path) -> None:
        begun.set()
        go.wait()
        real(document, path)

    monkeypatch.setattr(Handoff, "write", slowly)
    async with a_world() as world:
        world.begin(world.pool.start())
        await asyncio.to_thread(begun.wait)
        stopping = world.begin(world.pool.stop())
        for _ in range(20):
            await asyncio.sleep(0)
        too_early = stopping.done()
        go.set()
        await stopping
        assert not too_early
        assert world.files == {"lock"}
