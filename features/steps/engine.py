"""Steps about engines: how they behave, what they were given, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request

import psutil

from features.vocabulary import given, then, when
from features.world import FAKE_ENGINE, World
from pool_lifecycle import Cause, ExitStatus, FailureClass
from pool_lifecycle.causes import Stage

FAMILY = ("--spawn-child", "--spawn-setsid-child")
ODD_ANSWERS = {"a redirect to a good page": "redirect", "nonsense": "garbage"}

SAYS_AND_EXECUTES = 'echo "$1"; echo "$2" >&2; shift 2; exec "$@"'


def give(world: World, *arguments: str) -> None:
    world.declare_engine(args=(*world.spec.engine.args, *arguments))


# --- engines that load ---------------------------------------------------------------------------------


@given("an engine that takes {time:Duration} to load")
def takes_time(world: World, time: float) -> None:
    world.imagine(ready_after=time)


@given("an engine that never becomes ready")
def never_ready(world: World) -> None:
    world.imagine(ready_after=None)


@given("it says so at that moment")
def says_ready(world: World) -> None:
    world.imagine(output=((world.cast.engine.ready_after, 1),))


@given("it says something after {time:Duration}")
def says_something(world: World, time: float) -> None:
    world.imagine(output=((time, 1),))


@given("it says something every {gap:Duration}")
def says_something_every(world: World, gap: float) -> None:
    world.imagine(output=tuple((gap * n, 1) for n in range(1, 60)))


@given('an engine of version "{version}" that takes {time:Duration} to load')
def of_version(world: World, version: str, time: float) -> None:
    world.declare_engine(version=version)
    world.imagine(ready_after=time)


@given('an engine of version "{version}" with the arguments "{arguments}"')
def of_version_with(world: World, version: str, arguments: str) -> None:
    world.declare_engine(version=version, args=tuple(arguments.split()))


@given('a llama.cpp engine with the arguments "{arguments}"')
def llama_cpp(world: World, arguments: str) -> None:
    world.declare_engine(profile="llama.cpp", args=tuple(arguments.split()))


# --- engines in trouble --------------------------------------------------------------------------------


def _cause(stage: Stage, *, heals: bool = True) -> Cause:
    return Cause(FailureClass.PREFLIGHT, stage, "something is not as it should be", heals=heals)


@given("an engine whose check finds a problem")
def problem(world: World) -> None:
    world.imagine(preflight=(_cause(Stage.PREFLIGHT),))


@given("an engine whose check finds a problem that stays")
def lasting_problem(world: World) -> None:
    world.imagine(preflight=(_cause(Stage.PREFLIGHT, heals=False),))


@when("the problem goes away and {time:Duration} have passed")
async def problem_goes(world: World, time: float) -> None:
    world.imagine(preflight=())
    await asyncio.sleep(time)


@given("an engine that cannot be executed")
def not_executable(world: World) -> None:
    world.imagine(launch_error=_cause(Stage.LAUNCH))


@given("an engine that does not know its arguments")
def bad_arguments(world: World) -> None:
    world.cast.launcher.first_words = "error: unrecognized arguments: --wings"
    world.imagine(ready_after=None, exits_after=1.0, exit=ExitStatus(code=2))


@given("an engine that ends while it is loading")
def ends_early(world: World) -> None:
    world.imagine(ready_after=None, exits_after=1.0, exit=ExitStatus(code=1))


@when("the engine is mended and the pool is started")
async def mended(world: World) -> None:
    world.cast.launcher.first_words = ""
    world.imagine(ready_after=0.0, exits_after=None)
    await (await world.pool()).start()


@given("an engine that takes its time to end")
def slow_to_end(world: World) -> None:
    world.imagine(term_takes=600.0)


@given("an engine that nothing can end")
def unkillable(world: World) -> None:
    world.imagine(unkillable=True)


@when("the engine goes at last")
def goes(world: World) -> None:
    world.cast.newest().release()


# --- real engines --------------------------------------------------------------------------------------


@given('an engine that is given the words "{one}" and "{other}"')
def given_words(world: World, one: str, other: str) -> None:
    give(world, "--say", one, "--say", other)


@given('an engine that says "{said}" and complains "{complained}"')
def says_and_complains(world: World, said: str, complained: str) -> None:
    engine = world.spec.engine
    words = ("-c", SAYS_AND_EXECUTES, "sh", said, complained)
    world.declare_engine(binary="/bin/sh", args=(*words, engine.binary, *engine.args))


@given("an engine that answers {answer} when asked how it is")
def answers(world: World, answer: str) -> None:
    give(world, "--health", ODD_ANSWERS.get(answer, answer))


@given("an engine that answers under another path only")
def answers_elsewhere(world: World) -> None:
    give(world, "--health", "404")
    world.declare_health(path="/completion")


@given("an engine that speaks HTTP 1.0")
def speaks_old_http(world: World) -> None:
    server = ("-I", "-m", "http.server", "{port}", "--bind", "{host}", "--protocol", "HTTP/1.0")
    world.declare_engine(binary=sys.executable, args=server, cwd=str(world.folder))
    world.declare_health(path="/")


@given("an engine that ignores being asked to end")
def stubborn(world: World) -> None:
    give(world, "--ignore-term")


@given("an engine with a family of processes, that never becomes ready")
def family_never_ready(world: World) -> None:
    give(world, *FAMILY, "--never-ready")


@given("an engine with a family of processes, that hold its port")
def family_with_port(world: World) -> None:
    give(world, *FAMILY, "--leak-port")


@given("an engine whose program does not exist")
def no_program(world: World) -> None:
    world.declare_engine(binary=str(world.folder / "nothing"))


@given("an engine whose program may not be executed")
def not_allowed(world: World) -> None:
    program = world.folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o600)
    world.declare_engine(binary=str(program))


@given("an engine whose folder does not exist")
def no_folder(world: World) -> None:
    world.declare_engine(cwd=str(world.folder / "nowhere"))


@given("llama.cpp's own server with a tiny model")
def real_server(world: World) -> None:
    from engine_kit.command import make_llama_server  # noqa: PLC0415 - NumPy is slow to import
    from engine_kit.tiny_model import make_tiny_model  # noqa: PLC0415

    server, model = make_llama_server(world.folder / "llama-server"), make_tiny_model(world.folder / "t.gguf")
    world.declare_engine(binary=str(server), profile="llama.cpp", args=())
    world.declare(model=f"file:{model}")


@then("whoever takes a lease gets words from the model")
async def gets_words(world: World) -> None:
    def complete(url: str) -> str:
        body = json.dumps({"prompt": "hi", "n_predict": 8}).encode()
        with urllib.request.urlopen(f"{url}/completion", body, timeout=20) as answer:
            return str(json.load(answer)["content"])

    async with (await world.pool()).lease("ana") as lease:
        assert re.search(r"[a-z]+ [a-z]+", await asyncio.to_thread(complete, lease.url))


# --- what an engine was given --------------------------------------------------------------------------


async def leader(world: World) -> psutil.Process:
    pid = (await world.pool()).status().pid
    assert pid is not None, "no engine runs"
    return psutil.Process(pid)


@then("the engine got exactly the arguments that were declared")
async def got_arguments(world: World) -> None:
    url = (await world.pool()).status().url or ""
    values = {"{host}": "127.0.0.1", "{port}": url.rpartition(":")[2]}
    engine = world.spec.engine
    declared = [engine.binary, *(values.get(one, one) for one in engine.args)]
    assert (await leader(world)).cmdline() == declared


@then("the engine is launched with these arguments, in this order:")
def launched_with(world: World) -> None:
    request = world.cast.launcher.launched[-1]
    values = {"the pool's port": str(request.port), "the model in place": "/memory/chat.gguf"}
    rows = [world.table.headings, *(row.cells for row in world.table.rows)]
    wanted = [values.get(cell, cell) for row in rows for cell in row]
    assert list(request.command.argv) == [world.spec.engine.binary, *wanted], request.command.argv


@then('its log has the lines "{one}" and "{other}"')
def log_has(world: World, one: str, other: str) -> None:
    assert {one, other} <= set(world.engine_log.splitlines()), world.engine_log


@then('its log has the line "{line}" {times:Times}')
def log_has_times(world: World, line: str, times: int) -> None:
    assert world.engine_log.splitlines().count(line) == times, world.engine_log


@then("the log is kept under the manager's own folder")
def log_under(world: World) -> None:
    logs = list((world.folder / "state").rglob("chat.log"))
    assert [log.read_text() for log in logs] == [world.engine_log]


@then("whenever the engine was asked, its pid file was there")
def had_pid_file(world: World) -> None:
    assert world.cast.probe.had_pid_file
    assert all(world.cast.probe.had_pid_file)


@then("the pid file holds the number of the engine's process and nothing else")
async def pid_file_holds(world: World) -> None:
    text = world.pid_file.read_text()
    assert re.fullmatch(r"[1-9][0-9]*", text), repr(text)
    assert str(FAKE_ENGINE) in psutil.Process(int(text)).cmdline()
    assert [one.pid for one in world.family()] == [int(text)]


# --- how readiness was found out -----------------------------------------------------------------------


@then("it is ready at most {later:Duration} after its engine")
def ready_soon(world: World, later: float) -> None:
    assert world.error is None, repr(world.error)
    late = world.elapsed - (world.cast.engine.ready_after or 0.0)
    assert 0 <= round(late, 6) <= later, late


@then("at most {count:d} questions were asked")
def asked(world: World, count: int) -> None:
    assert 0 < len(world.cast.diary.when("ask for health")) <= count


@then("these things were done, in this order:")
def done_in_order(world: World) -> None:
    wanted = [world.table.headings[0], *(row[0] for row in world.table.rows)]
    assert world.cast.diary.order() == wanted, world.cast.diary.order()


@then("it was tried once")
def tried_once(world: World) -> None:
    assert len(world.cast.diary.when("check")) == 1


# --- how an engine ended -------------------------------------------------------------------------------


def status_at_end(world: World) -> str:
    _, fields = world.log.about("EngineEnded")[-1]
    return str(fields["status"])


@then("the engine ended when it was asked to")
def ended_politely(world: World) -> None:
    asked = "exit code 0" if world.real else "killed by SIGTERM"
    assert status_at_end(world) == asked
    assert not world.real or "SIGTERM" in world.engine_log.splitlines()


@then("the engine was ended by force")
def ended_by_force(world: World) -> None:
    assert status_at_end(world) == "killed by SIGKILL"


@then("the engine is gone, and so is its pid file")
def gone(world: World) -> None:
    assert world.log.about("EngineEnded"), "no engine ever ran"
    assert not world.family()
    assert not world.pid_file.exists()


@then("nothing of its family is left")
def family_gone(world: World) -> None:
    children = re.findall(r"^child (\d+)$", world.engine_log, re.MULTILINE)
    assert len(children) == len(FAMILY), world.engine_log
    assert not world.family()


@then("no engine lives")
def none_lives(world: World) -> None:
    assert world.cast.engines
    assert not any(one.alive for one in world.cast.engines)


@then("no process of it is left")
def nothing_left(world: World) -> None:
    assert not world.family()


@then("no engine was launched")
def not_launched(world: World) -> None:
    assert not world.family()
    assert not world.log.about("EngineEnded")
