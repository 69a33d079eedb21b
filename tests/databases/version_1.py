"""What is in `version_1.db`, value by value. `python -m tests.databases.version_1` made that file, once."""

from __future__ import annotations

from pathlib import Path

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, Clue, ClueKind, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.interfaces import DeviceFault, EngineHandle, FaultKind
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Moment, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.storm import Crash, Storm
from pool_lifecycle.snapshot import Instance, Intent, Plan, Rules, Snapshot
from pool_lifecycle.sqlite_store import SqliteStore
from pool_lifecycle.waits import Awaits

FILE = Path(__file__).with_name("version_1.db")

NOW = Moment("5f0c7f4e-boot", 4321.125, 1796000000.5)

OUT_OF_MEMORY = Cause(
    FailureClass.OUT_OF_MEMORY,
    Stage.RUN,
    "the kernel killed it: “no memory left”",
    heals=True,
    remedy="give it more memory",
    exit=ExitStatus(signal=9, clues=(Clue(ClueKind.OOM_KILL, "killed by the cgroup", proof=True),)),
    evidence=("oom_kill 1", "9"),
    confidence=Confidence.LIKELY,
)

HANDLE = EngineHandle("local", "x-1", "127.0.0.1", 8080, 4711, "5f0c7f4e-boot", 987654, "session 4711")

ENGINE = Instance(
    3, "x-3", Target("file:/old.gguf", "sha256:ab"), HANDLE, 4000.25, 123, healthy_at=4010.5, kill_at=4400.0
)

WANTED = Target("file:/new.gguf", variant="c0de")

SPARE = Instance(4, "x-4", WANTED, aside=True, exit=ExitStatus(code=1), failure=OUT_OF_MEMORY)

CHAT = Kept(
    Snapshot(
        pool_id="chat",
        target=Target("file:/old.gguf", "sha256:ab"),
        rules=Rules(),
        lineage="x",
        state=PoolState.SURGING_STARTING,
        epoch=17,
        since=4300.0,
        deadline=4420.0,
        not_before=4200.0,
        awaits=Awaits.WINDOW,
        intent=Intent.RUN,
        engines=(ENGINE, SPARE),
        serving=3,
        generation=4,
        plan=Plan(WANTED, Strategy.SURGE, drain_deadline=30.0, cause=OUT_OF_MEMORY),
        circuits=(
            Circuit("general", BreakerState.OPEN, 2, 3, 300.0, 4700.0),
            Circuit("gpu 0", BreakerState.TRIAL, 1, 1, 600.0, None, "chat", shared=True),
        ),
        cause=OUT_OF_MEMORY,
        crash_count=2,
        crashes=(Crash(4100.0, FailureClass.OUT_OF_MEMORY), Crash(4150.0, FailureClass.CUDA)),
        restart_count=5,
        restarts=(4110.0, 4160.0),
        storm=Storm(4160.0, "oom_storm", 10, 600.0, "give it more memory"),
        quarantine=(Instance(1, "x-1", Target(None), HANDLE, 3000.0),),
    ),
    NOW,
    "local",
    declared=Target("file:/old.gguf"),
    next_token=42,
    leases=(
        KeptLease(40, 3, "http://127.0.0.1:8080", "req-17", "request", 4200.0, 4500.0),
        KeptLease(41, 3, "http://127.0.0.1:8080", "ünïcode", "session", 4201.0),
    ),
)

EMBED = Kept(Snapshot("embed", Target(), Rules(), "y"), NOW, "memory")

FAULT = DeviceFault("GPU-0", 79, "it has fallen off the bus", FaultKind.LOST)

PLAIN_HOST = KeptHost(
    NOW,
    4330.0,
    (Circuit("gpu 0", BreakerState.OPEN, shared=True, fault=FAULT),),
    (("gpu 0", "chat", 4150.0),),
    7,
)

PASSAGES = (
    Passage("chat", 1795999990.0, "start", "stopped", "staging", "asked by an operator", None, 3),
    Passage("chat", 1795999999.0, "failed", "starting", "recovering", "it ended", "mark", 4, "no memory"),
)

FORGOTTEN = Passage("gone", 1795999000.0, "stop", "ready", "stopping", "asked")


def main() -> None:
    """Make the file. It is never made again once its version has been released."""
    FILE.unlink(missing_ok=True)
    store = SqliteStore(FILE)
    store.load()
    for passage in PASSAGES:
        store.save(CHAT, passage)
    for lease in CHAT.leases:
        store.save_lease("chat", lease)
    store.save(EMBED)
    store.save(Kept(Snapshot("gone", Target(), Rules(), "z"), NOW, "memory"), FORGOTTEN)
    store.forget("gone")
    store.save_host(PLAIN_HOST)
    store.close()


if __name__ == "__main__":
    main()
