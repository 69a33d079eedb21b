"""`bare_loop.py COUNT ENGINE [ARGUMENT ...]`: asyncio, pidfd and Popen, and nothing but relaunching.

The least that a supervisor on asyncio can do. It says "up" and begins at a line on its standard input.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys


class Relauncher:
    """Keeps one engine running."""

    def __init__(self, loop: asyncio.AbstractEventLoop, command: list[str]) -> None:
        self._loop = loop
        self._command = command

    def launch(self) -> None:
        """Start it, and again as soon as it has ended."""
        self.engine = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._fd = os.pidfd_open(self.engine.pid)
        self._loop.add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self.engine.wait()
        self.launch()


async def main(count: int, command: list[str]) -> None:
    """Relaunch until SIGTERM."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    print("up", flush=True)
    sys.stdin.readline()
    engines = [Relauncher(loop, command) for _ in range(count)]
    try:
        for engine in engines:
            engine.launch()
        await told.wait()
    finally:
        for engine in engines:
            engine.engine.kill()
            engine.engine.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
