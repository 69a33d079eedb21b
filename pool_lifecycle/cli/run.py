"""`pool-lifecycle run`: a manager in the foreground, and what it shows meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from rich.console import Console

from pool_lifecycle.cli.foreground import Foreground
from pool_lifecycle.cli.rereading import Rereading
from pool_lifecycle.cli.screen import INTERVAL, Screen
from pool_lifecycle.cli.terminal import Terminal
from pool_lifecycle.cli.watching import Watch
from pool_lifecycle.cli.words import Lines, Story, console, printable
from pool_lifecycle.config import Config
from pool_lifecycle.logs import LOGGER, JsonFormatter
from pool_lifecycle.manager import PoolManager

FORMATS = ("screen", "lines", "json")
"""A table kept up to date below lines for people; these lines only; JSON lines."""


def fitting_format(to: Console) -> str:
    """What suits whoever reads: a terminal gets the screen, a plain one lines, a pipe JSON."""
    if not to.is_terminal:
        return "json"
    return "lines" if to.is_dumb_terminal else "screen"


def run(config: Config, state_dir: Path, style: str, level: int, watch: Watch | None = None) -> int:
    """Run the pools of a file; return the exit code. Raises StateDirError, and ConfigError for a driver.

    With `watch` the file is read again whenever that sees it change.
    """
    return asyncio.run(_run(config, state_dir, style, level, watch))


async def _run(config: Config, state_dir: Path, style: str, level: int, watch: Watch | None) -> int:
    declared = config.manager
    manager = PoolManager(
        state_dir,
        restarts=declared.restarts,
        blame=declared.blame,
        models=declared.models,
        devices=declared.devices,
    )
    foreground = Foreground(manager, lasting=watch is not None)
    file = Rereading(config, foreground, Terminal())
    to = console()
    widest = max(len(spec.pool_id) for spec in config.pools)
    said = _story(to, widest, foreground, bars=style == "screen") if style != "json" else _json(foreground)
    with foreground.signals(file.hung_up), _logging(said, level):
        async with manager, _rereading(file, watch):
            if style == "json":
                return await foreground.run(config.pools, file.begun)
            where = printable(str(manager.paths.root))
            to.print(f"State in {where}, engines' output in {where}/logs. Ctrl-C stops.", markup=False)
            with _screen(manager, foreground, to) if style == "screen" else contextlib.nullcontext():
                return await foreground.run(config.pools, file.begun)


@contextlib.asynccontextmanager
async def _rereading(file: Rereading, watch: Watch | None) -> AsyncIterator[None]:
    """Within it the file is read again when that is to be; at its end nothing is written down any more."""
    watching = None if watch is None else asyncio.create_task(file.watch(watch))
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
        await file.close()


def _story(to: Console, widest: int, foreground: Foreground, *, bars: bool) -> logging.Handler:
    return Story(to, widest, lambda: _broken(foreground), bars=bars)


def _json(foreground: Foreground) -> logging.Handler:
    handler = Lines(sys.stdout, lambda: _broken(foreground))
    handler.setFormatter(JsonFormatter())
    return handler


def _broken(foreground: Foreground) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # so that nothing fails at the exit
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    foreground.unheard()


@contextlib.contextmanager
def _logging(handler: logging.Handler, level: int) -> Iterator[None]:
    before = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


@contextlib.contextmanager
def _screen(manager: PoolManager, foreground: Foreground, to: Console) -> Iterator[None]:
    async def keep_up(screen: Screen) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                screen.refresh()
            except OSError:  # the terminal is gone
                foreground.unheard()
                return

    with Screen(to, lambda: [pool.status() for pool in manager]) as screen:
        keeping_up = asyncio.create_task(keep_up(screen))
        try:
            yield
        finally:
            keeping_up.cancel()
