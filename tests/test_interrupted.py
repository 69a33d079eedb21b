"""Programs that embed a manager and are interrupted leave nothing running."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_fixtures import FakeEngine

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio, sys
from pool_lifecycle import EngineSpec, Limits, PoolManager, PoolSpec
from pool_lifecycle.records import Moved

folder, binary, *args = sys.argv[1:]

def tell(record):
    if isinstance(record, Moved):
        print(record.notice.target, flush=True)
        if record.notice.target == "stopping":  # let it get as far as it gets: to waiting for the deaf
            asyncio.get_running_loop().call_later(0.3, lambda: print("asked", flush=True))

async def main():
    async with PoolManager(folder, observers=[tell]) as manager:
        spec = PoolSpec("chat", EngineSpec(binary, args=args), limits=Limits(stop_grace=60.0))
        pool = await manager.add(spec)
        starting = asyncio.ensure_future(pool.start())
        while not pool.launching.engines:
            await asyncio.sleep(0.01)
        print("pid", pool.snapshot.newest.handle.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    """Not gone, and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("flags", [("--never-ready",), ()], ids=["loading", "ready"])
def test_a_second_ctrl_c_kills_the_engine(
    fake_engine: FakeEngine, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """S5: at the second Ctrl-C asyncio.run cancels every task; an engine deaf to SIGTERM still goes."""
    state = tmp_path / "state"
    command = [sys.executable, "-c", PROGRAM, str(state), fake_engine.binary]
    args = fake_engine.args("--ignore-term", "--say", "deaf", *flags)
    with subprocess.Popen([*command, *args], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        lines = iter(program.stdout.readline, "")
        engine = int(next(line for line in lines if line.startswith("pid")).split()[1])
        until_it_says(state / "logs" / "chat.log", "deaf")
        if not flags:
            assert "ready\n" in lines
        program.send_signal(signal.SIGINT)
        assert "asked\n" in lines
        assert is_running(engine)
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
    assert not is_running(engine)
    assert not (state / "lock").exists()


def until_it_says(log: Path, word: str) -> None:
    """The engine ignores SIGTERM from before it says its first word."""
    while not log.exists() or word not in log.read_text():
        pass
