"""Programs that embed a manager and are, or do, what few expect: it is degraded as documented, never wrong.

Each is a program of its own, with the real clock and real engines.
"""

from __future__ import annotations

import contextlib
import platform
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.engine_fixtures import FakeEngine
from tests.programs import outcome

pytestmark = pytest.mark.slow

BEGIN = """
import asyncio, ctypes, gc, json, os, signal, sys, threading, time
from attrs import evolve
from pool_lifecycle import EngineSpec, HealthSpec, Limits, PoolManager, PoolSpec
from pool_lifecycle.records import EngineEnded
from pool_lifecycle.restart.backoff import Backoff

folder, binary, *args = sys.argv[1:]
CHAT = PoolSpec("chat", EngineSpec(binary, args=args), backoff=Backoff(initial=1000.0, maximum=1000.0))
told = []

def opened(*observers):
    return PoolManager(folder, observers=[told.append, *observers])

def said(manager, name):
    return next([one.in_force, one.why, one.remedy] for one in manager.capabilities() if one.name == name)

async def ended():
    while not (found := [one for one in told if isinstance(one, EngineEnded)]):
        await asyncio.sleep(0.01)
    return found[0]
"""

OLD_KERNEL = """
from pool_lifecycle_drivers import pidfd_info
pidfd_info.is_told = lambda: False
"""

DIES = """
async def main():
    async with asyncio.timeout(50), opened() as manager:  # the slow look comes after a minute only
        pool = await manager.add(CHAT)
        await pool.start()
        os.kill(pool.status().pid, signal.SIGTERM)  # at which this engine ends with exit code 0
        STEAL
        cause = (await ended()).cause
        await pool.reached("backing_off", "stopped")
        about = [said(manager, "exit notice")[0], *said(manager, "exit status")]
        print(json.dumps([str(cause.exit), cause.kind, pool.state, *about]))
asyncio.run(main())
"""

TAKEN = {
    "ignored": ("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "pass", "this program ignores SIGCHLD"),
    "stolen": ("", "os.waitpid(-1, 0)", "something in this program waits for any child (`waitpid(-1)`)"),
}


@pytest.mark.parametrize("how", TAKEN)
def test_a_status_that_is_taken_from_us_is_unknown_and_no_success(
    tmp_path: Path, fake_engine: FakeEngine, how: str
) -> None:
    """S16, V3, FAULTS: the end is noticed at once, but counts as a crash; the program is told why."""
    setting, steal, expected = TAKEN[how]
    source = BEGIN + OLD_KERNEL + setting + DIES.replace("STEAL", steal)
    status, _, state, notice, in_force, why, remedy = outcome(
        source, tmp_path, fake_engine.binary, *fake_engine.args()
    )
    assert (status, state) == ("exit status unknown", "backing_off")
    assert (notice, in_force) == ("pidfd, at once", "lost")
    assert why.startswith(expected)
    assert remedy


@pytest.mark.parametrize("how", TAKEN)
def test_a_newer_kernel_tells_a_status_that_was_taken_from_us(
    tmp_path: Path, fake_engine: FakeEngine, how: str
) -> None:
    """S16: `PIDFD_GET_INFO`, where there is one; else it is as on an old kernel."""
    setting, steal, _ = TAKEN[how]
    source = BEGIN + setting + DIES.replace("STEAL", steal)
    status, *_, in_force, _, _ = outcome(source, tmp_path, fake_engine.binary, *fake_engine.args())
    assert (status, in_force) in {
        ("exit code 0", "told by the kernel"),
        ("exit status unknown", "lost"),
    }


def test_a_thread_that_steals_all_along_makes_no_crash_a_success(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """S16, FAULTS: whoever is faster, the engine's exit code 3 is that or unknown; and it ends, and stops."""
    source = """
def steal():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)

async def main():
    async with asyncio.timeout(50), opened() as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        threading.Thread(target=steal, daemon=True).start()
        os.kill(pool.status().pid, signal.SIGTERM)
        cause = (await ended()).cause
        await pool.reached("backing_off")
        await pool.stop()
        print(json.dumps([str(cause.exit), pool.state]))
asyncio.run(main())
"""
    engine = fake_engine.args("--term-code", "3")
    status, state = outcome(BEGIN + OLD_KERNEL + source, tmp_path, fake_engine.binary, *engine)
    assert status in {"exit code 3", "exit status unknown"}
    assert state == "stopped"


def test_it_runs_in_another_thread_than_the_main_one(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """FAULTS, threads: nothing needs signal handlers, which only the main thread could install."""
    source = """
async def main():
    async with opened() as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        ready = pool.state
        await pool.stop()
        print(json.dumps([ready, pool.state]))
thread = threading.Thread(target=lambda: asyncio.run(main()))
thread.start()
thread.join()
"""
    assert outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args()) == ["ready", "stopped"]


def test_an_engine_does_not_die_with_the_thread_that_launched_it(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """FAULTS, threads: as it would with the parent-death signal, which goes by threads."""
    source = """
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers.process import LocalLauncher

launched = []

async def launch():
    files = f"{folder}/log", f"{folder}/pid"
    command = Command(("/bin/sh", "-c", "echo up; exec sleep 1000"))
    request = LaunchRequest("p", 1, f"threads-{os.getpid()}", command, "127.0.0.1", 1, *files)
    engine = await LocalLauncher().launch(request=request)
    await engine.output(after=0)
    launched.append(engine.handle)

async def find():
    engine = await LocalLauncher().recover(handle=launched[0])
    report = await engine.stop(kill_after=50)
    print(json.dumps([report.exit.signal, report.killed]))

thread = threading.Thread(target=lambda: asyncio.run(launch()))
thread.start()
thread.join()
asyncio.run(find())
"""
    found = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    assert found == [signal.SIGTERM, False]


def test_no_signal_handler_is_installed_and_no_signal_blocked(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """We install none unless asked: Python's view and the kernel's are the same before, during and after."""
    source = """
def look():
    lines = open("/proc/thread-self/status").read().splitlines()
    own = ~(1 << 31 | 1 << 32)  # these two are the C library's, and nobody else's
    masks = [line.split()[1] for line in lines if line[:6] in ("SigBlk", "SigIgn", "SigCgt")]
    kernel = [int(mask, 16) & own for mask in masks]
    return [kernel, [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())]]

async def main():
    async with opened() as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        during = look()
        os.kill(pool.status().pid, signal.SIGKILL)
        await ended()
        return during

before = look()
loop = asyncio.new_event_loop()  # asyncio.run installs one for Ctrl-C itself
during = loop.run_until_complete(main())
loop.close()
wakeup = signal.set_wakeup_fd(-1)
print(json.dumps([before == during, before == look(), wakeup]))
"""
    found = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    assert found == [True, True, -1]


NO_PIDFD = """
def refuse(*_):
    raise OSError(38, "Function not implemented")
os.pidfd_open = refuse
"""

SECCOMP = """
class Instruction(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ubyte) for name in ("jt", "jf")]
    _fields_ = [("code", ctypes.c_ushort), *_fields_, ("k", ctypes.c_uint)]

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]

libc = ctypes.CDLL(None, use_errno=True)

def refuse(error, *calls):
    steps = [Instruction(0x20, 0, 0, 0)]  # load the number of the system call
    for number in calls:  # refuse it, or skip that if it is another one
        steps += [Instruction(0x15, 0, 1, number), Instruction(0x06, 0, 0, 0x00050000 | error)]
    steps.append(Instruction(0x06, 0, 0, 0x7FFF0000))  # allow it
    program = Program(len(steps), (Instruction * len(steps))(*steps))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program)):
        print(json.dumps("no seccomp here"), flush=True)
        os._exit(0)
"""

PIDFD_OPEN = 434
MAKING_PROCESSES = (56, 57, 58, 435)
"""The numbers of clone, fork, vfork and clone3 on x86-64; threads are made by them, too."""


@pytest.mark.parametrize(
    "hiding", [NO_PIDFD, f"{SECCOMP}refuse(38, {PIDFD_OPEN})\n"], ids=["patched", "seccomp"]
)
def test_without_pidfd_a_pool_lives_its_life(tmp_path: Path, fake_engine: FakeEngine, hiding: str) -> None:
    """FAULTS, `pidfd_open` not available: crashes are found by looking, engines end when asked to."""
    source = """
async def main():
    async with asyncio.timeout(50), opened() as manager:
        about = said(manager, "exit notice")
        pool = await manager.add(CHAT)
        await pool.start()
        os.kill(pool.status().pid, signal.SIGSEGV)
        crash = (await ended()).cause.exit
        await pool.reached("backing_off")
        await pool.start()
        await pool.stop()
        ends = [one.cause for one in told if isinstance(one, EngineEnded)]
        print(json.dumps([about, crash.signal, len(ends), str(ends[-1].exit), pool.state]))
asyncio.run(main())
"""
    found = outcome(BEGIN + hiding + source, tmp_path, fake_engine.binary, *fake_engine.args())
    if found == "no seccomp here":
        pytest.skip("seccomp filters cannot be installed")
    about, *rest = found
    assert about[:2] == ["looked for every 0.1 s", "pidfd_open is not available: Function not implemented"]
    assert rest == [signal.SIGSEGV, 2, "exit code 0", "stopped"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are x86-64's")
def test_without_room_for_a_process_or_a_thread_the_manager_goes_on(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """FAULTS, EAGAIN on fork: a start fails with what to raise and heals; an engine that serves is let alone.

    It can be seen to crash, and stopped; nothing leaks.
    """
    source = f"""
def used():
    links = [os.path.realpath(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")]
    return len([link for link in links if "pidfd" in link])

async def main():
    async with asyncio.timeout(80), opened() as manager:
        serving, other, last = [await manager.add(evolve(CHAT, pool_id=name)) for name in ("a", "b", "c")]
        await serving.start()
        await last.start()
        before = used()
        refuse(11, *{MAKING_PROCESSES})
        try:
            await other.start()
        except Exception as error:
            refused = [str(error.cause), error.cause.heals, error.cause.remedy]
        here = [serving.state, serving.explain() != "", used() - before]
        os.kill(serving.status().pid, signal.SIGSEGV)
        crash = (await ended()).cause.exit.signal
        await last.stop()
        print(json.dumps([refused, here, crash, last.state]), flush=True)
    os._exit(0)  # asyncio.run would need a thread to end
asyncio.run(main())
"""
    found = outcome(BEGIN + SECCOMP + source, tmp_path, fake_engine.binary, *fake_engine.args())
    if found == "no seccomp here":
        pytest.skip("seccomp filters cannot be installed")
    (said, heals, remedy), here, crash, last = found
    assert "start new thread" in said or "temporarily unavailable" in said
    assert (heals, here) == (True, ["ready", True, 0])
    assert "raise the limit on processes" in remedy
    assert (crash, last) == (signal.SIGSEGV, "stopped")


def test_running_out_of_descriptors_is_told_and_passes(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """FAULTS, EMFILE, at whatever is opened first: each start works or fails with what to raise; it goes on.

    With fewer and fewer left, from plenty to none; the manager answers, and in the end nothing has leaked.
    """
    source = """
import resource
from collections import Counter
SOFT, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)

def used():
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    named = (os.readlink(link).partition(":[")[0] for link in links if os.path.lexists(link))
    return Counter(name for name in named if "/state.db" not in name)

async def attempt(pool, spare):
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, HARD))
    try:
        await pool.start()
        outcome = "ready"
        pool.explain(), pool.status()
        os.kill(pool.status().pid, signal.SIGKILL)  # noticed although nothing can be opened
        await pool.reached("backing_off", "failed")
    except Exception as error:
        outcome = [f"{error.cause}: {error.cause.remedy}", error.cause.heals]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
    await pool.stop()
    return outcome

async def main():
    async with opened() as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        await pool.stop()
        before, outcomes = used(), []
        for spare in (20, 7, 6, 5, 4, 2, 1, 0):
            await pool.reset()
            outcomes.append(await attempt(pool, spare))
        await pool.reset()
        await pool.start()
        ready = pool.state
        await pool.stop()
        for _ in range(1000):
            gc.collect()  # a log is closed by whoever lets go of it last
            if not used() - before:
                break
            await asyncio.sleep(0.01)
        print(json.dumps([outcomes, ready, used() - before]))
asyncio.run(main())
"""
    outcomes, ready, leaked = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    assert outcomes[0] == "ready"
    failures = [one for one in outcomes if one != "ready"]
    assert failures
    for said, heals in failures:
        assert heals
        assert "Too many open files" in said, said
    assert all("raise the" in said and "open files" in said.partition("raise the")[2] for said, _ in failures)
    assert (ready, leaked) == ("ready", {})


def test_without_descriptors_a_serving_engine_is_let_alone(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """FAULTS, EMFILE: to be unable to ask it is no news; a manager that cannot open leaks nothing."""
    source = """
import resource
from collections import Counter
from pool_lifecycle.errors import DriverError, StateDirError, StoreError
from pool_lifecycle.records import Trouble
SOFT, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)

def used():
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    named = (os.readlink(link).partition(":[")[0] for link in links if os.path.lexists(link))
    return Counter(name for name in named if f"{folder}/state.db" not in name)

def limit(spare):
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, HARD))

async def refusal(asking):
    try:
        await asking
    except (DriverError, StateDirError, StoreError) as error:
        return f"{error}"

async def later(spare):
    before = used()
    limit(spare)
    other = PoolManager(f"{folder}/other-{spare}")
    why = await refusal(other.__aenter__())
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
    if why is None:
        await other.close()
    for _ in range(1000):  # a thread closes the last of it
        if not used() - before:
            break
        await asyncio.sleep(0.01)
    return [why, used() - before]

async def main():
    health = HealthSpec(interval=0.25, failures=1)
    async with asyncio.timeout(80), opened() as manager:
        pool = await manager.add(evolve(CHAT, health=health))
        await pool.start()
        engine = pool.launching.engines[pool.snapshot.server.token]
        later_ones = [await later(spare) for spare in range(12)]
        told.clear()
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, HARD))  # with 0 nothing can be polled
        try:
            looked = await refusal(engine.inspect())
            while not [one for one in told if isinstance(one, Trouble)]:
                await asyncio.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
        trouble = next(one.what for one in told if isinstance(one, Trouble))
        alive = (await engine.inspect()).alive
        print(json.dumps([looked, trouble, alive, pool.state, len(pool.snapshot.engines), later_ones]))
asyncio.run(main())
"""
    found = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    looked, trouble, *rest, later = found
    assert "Too many open files" in looked
    assert "Too many open files" in trouble
    assert rest == [True, "ready", 1]
    whys = [why for why, leaked in later if why is not None]
    assert whys
    assert all(why.count(";") for why in whys), "no remedy is told"
    assert [leaked for _, leaked in later] == [{}] * len(later)


CLOSED = """
import logging
loop = asyncio.new_event_loop()

async def begin():
    manager = opened()
    await manager.__aenter__()
    for name, fate in (("kept", "keep"), ("chat", "stop")):
        pool = await manager.add(evolve(CHAT, pool_id=name, on_manager_exit=fate))
        await pool.start()
        print(name, pool.status().pid, flush=True)
    return manager

manager = loop.run_until_complete(begin())
"""


@pytest.mark.parametrize("how", ["loop.close()", "", "del manager; gc.collect(); loop.close(); gc.collect()"])
def test_a_loop_that_is_closed_without_stopping_us_is_survived(
    tmp_path: Path, fake_engine: FakeEngine, how: str
) -> None:
    """FAULTS: no word of a traceback; what is to be kept lives on, what is to stop ends after the program."""
    source = f"{BEGIN}{CLOSED}{how}\n"
    engine = (fake_engine.binary, *fake_engine.args())
    command = [sys.executable, "-X", "dev", "-c", source, str(tmp_path), *engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    kept, chat = (int(line.split()[1]) for line in done.stdout.splitlines())
    keeper = psutil.Process(kept)
    try:
        assert "Traceback" not in done.stderr
        assert done.returncode == 0
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(chat).wait(timeout=50)
        assert keeper.status() != psutil.STATUS_ZOMBIE
    finally:
        keeper.kill()
        keeper.wait(timeout=50)
