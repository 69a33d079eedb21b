"""Simulations of one or two pools, for tests of what they show."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pool_lifecycle.config import Config, ManagerSettings
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.simulation import Action, Run, Timeline, Trace, replay
from pool_lifecycle.simulation.timeline import PoolLife
from pool_lifecycle.simulation.trace import WEEK
from pool_lifecycle.spec import EngineSpec, PoolSpec

STEADY = Backoff(jitter=0.0)
"""The default policy without chance."""

NOTICED = 0.01
"""Seconds after which an engine that is ready at once is seen to be: two looks are at least so far apart."""


def a_pool(pool_id: str = "chat", **changes: Any) -> PoolSpec:
    """A pool with the default policies but for jitter."""
    return PoolSpec(pool_id, EngineSpec("engine"), **({"backoff": STEADY} | changes))


def a_config(*pools: PoolSpec, **settings: Any) -> Config:
    """A configuration of these pools."""
    return Config(Path("pools.toml"), pools or (a_pool(),), ManagerSettings(**settings))


def runs(*uptimes: float, reason: str = "exit", pool_id: str = "chat", **more: Any) -> tuple[Run, ...]:
    """Runs that last so long."""
    return tuple(Run(pool_id, reason, uptime, **more) for uptime in uptimes)


def a_trace(*given: Run, actions: Iterable[Action] = ()) -> Trace:
    """A trace of these runs and actions."""
    pools = dict.fromkeys(run.pool_id for run in given)
    return Trace({name: tuple(run for run in given if run.pool_id == name) for name in pools}, tuple(actions))


def played(
    *given: Run,
    config: Config | None = None,
    actions: Iterable[Action] = (),
    seed: int = 0,
    until: float = WEEK,
) -> Timeline:
    """What becomes of the runs."""
    return replay(config or a_config(), a_trace(*given, actions=actions), seed, until)


def the_pool(timeline: Timeline) -> PoolLife:
    """The only one."""
    (pool,) = timeline.pools
    return pool


def waits(pool: PoolLife) -> list[float]:
    """How long each start but the first was waited for."""
    return [attempt.waited for attempt in pool.attempts[1:]]


def written(file: Path, *lines: object) -> Path:
    """A file of JSON lines; text stays as it is."""
    said = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text("".join(f"{one}\n" for one in said), encoding="utf-8")
    return file
