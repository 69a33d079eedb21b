"""A program with one pool, made to be killed: `program.py FOLDER KEEP|STOP live|look`.

`live` leads the pool through its life, and says on a line of JSON what it asks for and what it was answered.
`look` takes over what is left, waits until it rests, says what it found, and ends it.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from pool_lifecycle import EngineSpec, Limits, PoolManager, PoolSpec
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.pool import Pool
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.table import Kind

RESTING = tuple(name for name, state in LIFECYCLE.states.items() if state.kind is Kind.STABLE)
OLD, NEW = "old.bin", "new.bin"


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def specification(folder: Path, on_manager_exit: str) -> PoolSpec:
    engine = (str(Path(__file__).with_name("engine.py")), "{port}", f"{folder}/lock", f"{folder}/notes")
    return PoolSpec(
        "chat",
        EngineSpec(sys.executable, args=("-I", "-S", *engine), env={"KILLED": str(folder)}),
        model=f"file:{folder / OLD}",
        limits=Limits(proving=0.2),
        backoff=Backoff(initial=0.05, minimum=0.0, maximum=0.2),
        on_manager_exit=on_manager_exit,
    )


def shown(pool: Pool) -> dict[str, Any]:
    status = pool.status()
    return {"state": status.state, "pid": status.pid, "model": Path(pool.snapshot.target.model or "").name}


async def ask(pool: Pool, name: str, *given: Any, **more: Any) -> Any:
    """Say it before and after: what was answered has to be so for ever."""
    say(asks=name, strategy=more.get("strategy"))
    answer = await getattr(pool, name)(*given, **more)
    leases = [lease.token for lease in pool.book.active()]
    say(answered=name, leases=leases, **shown(pool))
    return answer


async def live(pool: Pool, folder: Path) -> None:
    await ask(pool, "start")
    lease = await ask(pool, "grant", "a client")
    pool.release(lease.token)
    await ask(pool, "reload", f"file:{folder / NEW}", drain_deadline=5.0)
    await ask(pool, "drain", 5.0)
    await ask(pool, "start")
    await ask(pool, "reload", f"file:{folder / OLD}", strategy="surge")
    await pool.reached("ready")
    await ask(pool, "stop")


async def look(pool: Pool) -> None:
    found = shown(pool)
    held = [lease.token for lease in pool.book.active()]
    async with asyncio.timeout(60):
        await pool.reached(*RESTING)
    say(found=found, rests=shown(pool), held=held, intent=pool.snapshot.intent)
    await pool.stop()


async def main(folder: Path, on_manager_exit: str, what: str) -> None:
    async with PoolManager(folder / "state") as manager:
        pool = await manager.add(specification(folder, on_manager_exit))
        await (live(pool, folder) if what == "live" else look(pool))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
