"""What is to happen in one run, as an explicit list that one seed decides, so that parts can be left out.

Every deed has a seed of its own: what it does in detail does not depend on which other deeds there are.
"""

from __future__ import annotations

from random import Random

from attrs import evolve, frozen

from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.window import Window
from pool_lifecycle.spec import STRATEGIES, EngineSpec, HealthSpec, Limits, PoolSpec, ReloadSpec
from tests.whole.drivers import NAME, private

MODELS = "abc"

WISHES = {
    "start": 14, "stop": 6, "drain": 6, "resume": 3, "reload": 9, "surge": 3, "reset": 2, "allow_one": 2,
    "lease": 12, "grant": 4, "release": 3, "remove": 1, "add": 2,
}  # fmt: skip
HARM = {
    "natures": 8, "crash": 5, "finish": 2, "hang": 2, "ill": 2, "oom": 1, "freeze": 1, "lose_leader": 2,
    "cuda": 3, "stranger": 2, "driver": 14, "slow_threads": 1, "disk_full": 2, "disk_slow": 2,
    "fsync_slow": 1, "fsync_broken": 1, "wall": 1,
}  # fmt: skip
CHANGES = {"redeclare": 2, "meddle": 5}
"""Changes of what a pool is declared as, and what comes in the middle of a change of model."""
AILMENTS = {"device_fault": 1}
"""What befalls devices; rare, as a device in quarantine keeps its pools from everything else."""
ENDS = {"kill": 3, "kill_at_point": 6, "kill_in": 9, "close": 2, "reboot": 1, "power_cut": 1}
"""How likely each deed is, by its kind. What ends a manager's life is drawn by itself."""


@frozen
class Deed:
    """Something done `at` so many seconds after the begin to, or by, one pool; `seed` decides the details."""

    at: float
    kind: str
    pool_id: str
    seed: int

    def __str__(self) -> str:
        return f"{self.at:8.2f} s  {self.kind} {self.pool_id} (details: {self.seed})"


@frozen
class Plan:
    """One run. `reads_status`: whether the exit status of an adopted engine can be known on this host."""

    seed: int
    specs: tuple[PoolSpec, ...]
    deeds: tuple[Deed, ...]
    ends: float
    budget: Budget
    blame: Blame
    reads_status: bool = True

    def only(self, deeds: tuple[Deed, ...]) -> Plan:
        """The same with only these deeds."""
        return evolve(self, deeds=deeds)


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    chance = private(seed, "plan")
    names = [f"p{number}" for number in range(chance.choice((1, 1, 2, 2, 3, 4)))]
    lasts = chance.choice((30.0, 90.0, 240.0))
    specs = tuple(_spec(name, private(seed, "spec", name)) for name in names)
    return Plan(
        seed,
        specs,
        tuple(sorted(_all_deeds(seed, chance, names, lasts), key=lambda deed: deed.at)),
        lasts,
        Budget(burst=3, rate=0.5),
        Blame(
            pools=2, period=60.0, breaker=Breaker(threshold=2, timeout=40.0, timeout_max=80.0, stable=15.0)
        ),
        reads_status=chance.random() < 0.5,
    )


def _all_deeds(seed: int, chance: Random, names: list[str], lasts: float) -> list[Deed]:
    changes = private(seed, "changes")
    meddling = _drawn(changes, CHANGES, changes.choice((0, 3, 8)))
    return [
        *_deeds(chance, names, lasts),
        *(_deed(changes, kind, names, lasts) for kind in meddling),
        *_ailments(seed, names, lasts),
    ]


def _ailments(seed: int, names: list[str], lasts: float) -> list[Deed]:
    chance = private(seed, "ailments")
    return [_deed(chance, kind, names, lasts) for kind in _drawn(chance, AILMENTS, _few(chance))]


def _few(chance: Random) -> int:
    return chance.choice((0, 0, 0, 0, 1, 2))


def _deeds(chance: Random, names: list[str], lasts: float) -> list[Deed]:
    harm, ends = chance.choice((0.0, 0.3, 1.0)), chance.choice((0, 1, 2, 4))
    kinds = [*_drawn(chance, WISHES, 6 + chance.randrange(20)), *_drawn(chance, HARM, round(harm * 14))]
    deeds = [Deed(chance.random(), "start", name, chance.randrange(2**32)) for name in names]
    deeds += [_deed(chance, kind, names, lasts) for kind in (*kinds, *_drawn(chance, ENDS, ends))]
    return deeds


def _drawn(chance: Random, weights: dict[str, int], count: int) -> list[str]:
    return chance.choices([*weights], [*weights.values()], k=count)


def _deed(chance: Random, kind: str, names: list[str], lasts: float) -> Deed:
    at = round(chance.random() * lasts, chance.choice((0, 3)))  # some at the same time
    return Deed(at, kind, chance.choice(names), chance.randrange(2**32))


def _spec(name: str, chance: Random) -> PoolSpec:
    """A pool whose every limit is short, so that much happens in little time."""
    mask = chance.choice((None, None, "0", "1"))
    engine = EngineSpec(
        "engine",
        profile=NAME,
        port=chance.choice((None, None, 30000 + int(name[1:]))),
        device_memory=30 if mask else None,
        env={"API_KEY": f"hush-{name}"},
        exit_zero=chance.choice((None, "graceful", "crash")),
    )
    start = chance.choice((5.0, 20.0))
    spec = PoolSpec(
        name,
        engine,
        model=f"file:/{name}/a",
        slots=chance.choice((1, 2, 3)),
        device_mask=mask,
        health=HealthSpec(NAME, timeout=2.0, interval=chance.choice((5.0, 10.0)), failures=2),
        limits=Limits(
            staging=10.0,
            start=start,
            start_hard=40.0,
            stall=5.0,
            drain=chance.choice((3.0, 12.0)),
            stop_grace=chance.choice((0.0, 2.0, 5.0)),
            reclaim=chance.choice((4.0, 10.0)),
            memory_wait=8.0,
        ),
        backoff=Backoff(initial=0.5, maximum=10.0, jitter=0.1, stable=60.0),
        breaker=Breaker(threshold=3, timeout=20.0, timeout_max=60.0, stable=10.0),
        window=Window(
            period=30.0, warning=2, limit=4, storm=4, storm_period=chance.choice((4.0, 15.0)), stable=90.0
        ),
        launcher=NAME,
        stager=NAME,
        gpu_probe=NAME,
        on_manager_exit=chance.choice(("stop", "keep")),
    )
    limits = evolve(spec.limits, proving=chance.choice((0.0, 1.0, 6.0)))
    return evolve(spec, limits=limits, reload=ReloadSpec(chance.choice(STRATEGIES), "drain_first"))
