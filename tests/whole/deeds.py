"""How each kind of deed is done: by somebody who asks a pool, to a process, to a driver, to the disk."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.spec import STRATEGIES, ReloadSpec
from tests.whole.devices import device_fault
from tests.whole.drivers import SAYS
from tests.whole.faults import GENTLE, KINDS, VERBS, Armed
from tests.whole.plan import MODELS, Deed
from tests.whole.processes import EXIT_1, KILLED, OOM, SEGFAULT, WORKS, Nature, Process, Stranger

if TYPE_CHECKING:
    from tests.whole.world import World

Doing: TypeAlias = Callable[["World", Deed, Random], None]

_F = FailureClass

NATURES: dict[str, Nature] = {
    "works": WORKS,
    "slow": evolve(WORKS, ready_after=3.0),
    "never ready": evolve(WORKS, ready_after=None),
    "ends at once": evolve(WORKS, ends_after=0.0),
    "ends before it is ready": evolve(WORKS, ready_after=2.0, ends_after=1.0, end=SEGFAULT),
    "ends as it becomes ready": evolve(WORKS, ready_after=1.0, ends_after=1.0),
    "crashes soon": evolve(WORKS, ends_after=3.0),
    "is killed soon": evolve(WORKS, ends_after=2.5, end=ExitStatus(signal=9)),
    "exits 0 soon": evolve(WORKS, ends_after=3.0, end=ExitStatus(code=0)),
    "stubborn": evolve(WORKS, ignores_term=True),
    "stubborn and never ready": evolve(WORKS, ignores_term=True, ready_after=None),
    "slow to end": evolve(WORKS, term_takes=1.5),
    "unkillable": evolve(WORKS, unkillable=True),
    "unkillable and never ready": evolve(WORKS, unkillable=True, ready_after=None),
    "has workers": evolve(WORKS, workers=2, ignores_term=True),
    "keeps memory": evolve(WORKS, keeps_memory=6.0, ends_after=4.0),
    "does not start": evolve(WORKS, launch_error=Cause(_F.EXIT, Stage.LAUNCH, "it does not start")),
    "cannot start": evolve(
        WORKS, launch_error=Cause(_F.BAD_CONFIG, Stage.LAUNCH, "no such flag", heals=False)
    ),
    "bad flag": evolve(WORKS, ready_after=None, ends_after=0.5, last_words=SAYS[_F.BAD_CONFIG]),
    "device full": evolve(WORKS, ends_after=2.0, keeps_memory=6.0, last_words=SAYS[_F.DEVICE_OUT_OF_MEMORY]),
}
"""How engines can be."""

OFTEN = ("is killed soon",) * 4
"""What no back-off and no circuit slows down, so that the window has to."""

# --- wishes ---------------------------------------------------------------------------------------------


def _wish(name: str, draw: Callable[[Random], dict[str, object]] = lambda _: {}) -> Doing:
    def do(world: World, deed: Deed, chance: Random) -> None:
        arguments = draw(chance)
        world.ask(deed.pool_id, name, lambda pool: getattr(pool, name)(**arguments), arguments)

    return do


def _reload(*strategies: str | None) -> Doing:
    def do(world: World, deed: Deed, chance: Random) -> None:
        asked: dict[str, Any] = {
            "model": f"file:/{deed.pool_id}/{chance.choice(MODELS)}",
            "strategy": chance.choice(strategies),
            "drain_deadline": chance.choice((None, 0.0, 4.0)),
            "otherwise": chance.choice((None, None, *STRATEGIES[:2])),
            "digest": chance.choice((None, None, None, f"sha256:{64 * 'a'}")),
        }
        world.ask(deed.pool_id, "reload", lambda pool: pool.reload(**asked), asked)

    return do


def _redeclare(world: World, deed: Deed, chance: Random) -> None:
    """Its declaration changes; the next manager has the new one, whatever has become of it under this one."""
    spec = world.specs[deed.pool_id]
    other = evolve(
        spec,
        model=f"file:/{deed.pool_id}/{chance.choice(MODELS)}",
        slots=chance.choice((1, 2, 3)),
        engine=evolve(spec.engine, args=chance.choice(((), ("--fast",))), version=chance.choice((None, "2"))),
        reload=ReloadSpec(chance.choice(STRATEGIES), chance.choice((None, *STRATEGIES[:2]))),
    )
    if world.pool(deed.pool_id) is not None and deed.pool_id in world.declared and not world.life.leaving:
        world.declare(other)
        asked = {"model": other.model, "spec": (other.slots, other.engine.args, other.reload)}
        world.ask(deed.pool_id, "redeclared", lambda pool: pool.redeclared(other), asked)


def _lease(world: World, deed: Deed, chance: Random) -> None:
    held, ttl, wait = chance.choice((0.0, 1.0, 8.0, 30.0)), chance.choice((None, None, 3.0)), chance.random()
    world.hold_lease(deed.pool_id, held, ttl, 5.0 * wait if chance.random() < 0.5 else 0.0)


def _grant(world: World, deed: Deed, chance: Random) -> None:
    ttl = chance.choice((None, 5.0, 60.0))
    world.ask(deed.pool_id, "grant", lambda pool: world.leases.grant(pool, ttl), {"ttl": ttl})


def _release(world: World, deed: Deed, chance: Random) -> None:
    pool = world.pool(deed.pool_id)
    if pool is not None:
        world.check(world.leases.s9_released_once, pool, chance)


def _remove(world: World, deed: Deed, _chance: Random) -> None:
    world.remove(deed.pool_id)


def _add(world: World, deed: Deed, _chance: Random) -> None:
    world.add(deed.pool_id)


# --- harm to processes ----------------------------------------------------------------------------------


def _natures(world: World, deed: Deed, chance: Random) -> None:
    memory = world.specs[deed.pool_id].engine.device_memory is not None and chance.random() < 0.3
    name = "device full" if memory else chance.choice([*NATURES, *OFTEN])
    world.count(f"engine {name}")
    world.natures[deed.pool_id] = [NATURES[name]] * chance.choice((1, 2, 8))


def _harm(harm: Callable[[Process, Random], None], *, newest: bool = False) -> Doing:
    def do(world: World, deed: Deed, chance: Random) -> None:
        processes = [one for one in world.host.of(deed.pool_id) if one.leads]
        if processes:
            world.count(f"engine {deed.kind}")
            harm(processes[-1 if newest else 0], chance)

    return do


def _freeze(process: Process, chance: Random) -> None:
    process.stopped = True
    process.host.at(process.host.now + chance.uniform(1.0, 20.0), lambda: setattr(process, "stopped", False))


def _lose_leader(process: Process, _chance: Random) -> None:
    process.workers = max(process.workers, 1)
    process.end(ExitStatus(signal=9), tree=False)


def _cuda(process: Process, _chance: Random) -> None:
    process.host.say(process, SAYS[_F.CUDA])
    process.end(ExitStatus(code=1))


def _stranger(world: World, deed: Deed, chance: Random) -> None:
    """Somebody takes the port of the pool's engine, as soon as that does not hold it."""
    process = next(iter(world.host.of(deed.pool_id)), None)
    port = 30000 + int(deed.pool_id[1:]) if process is None else process.request.port
    if process is None or not process.listening:
        world.count("stranger on the port")
        stranger = Stranger(2**22 + 1000 + chance.randrange(1000), port)
        world.host.strangers.append(stranger)
        world.host.at(world.host.now + chance.uniform(1.0, 30.0), lambda: world.host.leave(stranger))


# --- harm to what is around -----------------------------------------------------------------------------


def _driver(world: World, deed: Deed, chance: Random) -> None:
    verb = chance.choice(VERBS)
    kind, times = chance.choice(GENTLE.get(verb, KINDS)), chance.choice((1, 1, 2, 4))
    pool_id = "" if verb in ("reserve_port", "devices") else deed.pool_id
    world.faults.arm(Armed(verb, pool_id, kind, times, chance.choice((0.01, 0.5, 4.0, 15.0))))


def _slow_threads(world: World, _deed: Deed, chance: Random) -> None:
    world.count("slow threads")
    world.life.loop.threads_take = chance.choice((0.01, 2.0))


def _disk(name: str, value: Callable[[Random], object], rest: object) -> Doing:
    def do(world: World, _deed: Deed, chance: Random) -> None:
        world.count(f"disk {name}")
        setattr(world.disk, name, value(chance))
        end = world.host.now + chance.choice((0.5, 5.0, 20.0))
        world.host.at(end, lambda: setattr(world.disk, name, rest))

    return do


def _wall(world: World, _deed: Deed, chance: Random) -> None:
    world.count("wall clock jumps")
    world.jump(chance.choice((-86400.0, 365 * 86400.0, -5.0, 5.0)))


# --- the ends of managers -------------------------------------------------------------------------------


def _kill(world: World, _deed: Deed, chance: Random) -> None:
    world.downtime = chance.choice((0.0, 0.5, 5.0, 40.0))
    world.life.die("killed")


def _kill_at_point(world: World, _deed: Deed, chance: Random) -> None:
    world.downtime = chance.choice((0.0, 0.5, 5.0, 40.0))
    world.kill_at = world.life.points + chance.choice((1, 2, 3, 5, 8, 13, 21))


def _kill_in(world: World, deed: Deed, chance: Random) -> None:
    """The next time that the pool enters a certain state, there or a little later."""
    state, how = (
        chance.choice([*PoolState]),
        chance.choice((_kill, _kill, _kill_at_point, _reboot, _power_cut)),
    )
    _do_in(world, deed, chance, state, how)


def _meddle(world: World, deed: Deed, chance: Random) -> None:
    """An engine is hurt, or something else is asked for, in a certain state of a change of model."""
    state, what = chance.choice(_CHANGES), chance.choice([*MEDDLING])
    world.count(f"{what} in a change of model")
    _do_in(world, deed, chance, state, MEDDLING[what])


_CHANGES = (*sorted(CHANGING), PoolState.RETIRING)


def _do_in(world: World, deed: Deed, chance: Random, state: PoolState, how: Doing) -> None:
    delay, until = chance.choice((0.0, 0.0, 0.01, 0.3, 2.0)), world.host.now + 60.0

    def unless_calm() -> None:
        if not world.life.calm.is_set():
            how(world, deed, chance)

    def entered(now: PoolState) -> bool:
        if now is state and world.host.now <= until:
            world.life.loop.call_later(delay, unless_calm)
        return now is state

    world.on_entry[deed.pool_id] = entered
    _lead_towards(world, deed, state)


_UNDONE = ("stubborn and never ready", "slow")
_TOWARDS: dict[PoolState, tuple[str, tuple[str, ...]]] = {
    PoolState.STAGING_AHEAD: ("stage_first", ()),
    PoolState.RELOADING_DRAINING: ("drain_first", ()),
    PoolState.RELOADING_STAGING: ("drain_first", ()),
    PoolState.RELOADING_STOPPING: ("stage_first", ()),
    PoolState.RELOADING_STARTING: ("drain_first", ("slow",)),
    PoolState.RELOADING_UNDOING: ("drain_first", _UNDONE),
    PoolState.RELOADING_RESTORING: ("drain_first", _UNDONE),
    PoolState.RELOADING_PROVING: ("stage_first", ()),
    PoolState.SURGING_STAGING: ("surge", ()),
    PoolState.SURGING_STARTING: ("surge", ("slow",)),
    PoolState.SURGING_PROVING: ("surge", ()),
    PoolState.RETIRING: ("surge", ()),
}
"""Which change of model, with which engines, leads through a state that is seldom met by chance."""


def _lead_towards(world: World, deed: Deed, state: PoolState) -> None:
    pool = world.pool(deed.pool_id)
    if state not in _TOWARDS or pool is None or pool.state is not PoolState.READY:
        return
    strategy, natures = _TOWARDS[state]
    world.natures[deed.pool_id] = [NATURES[name] for name in natures]
    model = f"file:/{deed.pool_id}/d{deed.seed}"  # one that is not staged yet
    if state in (PoolState.RELOADING_DRAINING, PoolState.RETIRING):
        world.hold_lease(deed.pool_id, 1.5, None, 0.0)
    asked: dict[str, Any] = {"model": model, "strategy": strategy, "drain_deadline": 2.0}
    world.ask(deed.pool_id, "reload", lambda pool: pool.reload(**asked), asked)


def _close(world: World, _deed: Deed, chance: Random) -> None:
    world.downtime = chance.choice((0.0, 5.0))
    world.life.leaving = True


def _reboot(world: World, _deed: Deed, chance: Random) -> None:
    world.reboots, world.downtime = "reboot", chance.choice((2.0, 60.0))
    world.life.die("rebooted")


def _power_cut(world: World, _deed: Deed, chance: Random) -> None:
    world.reboots, world.downtime = "power cut", chance.choice((2.0, 60.0))
    world.life.die("power cut")


DOING: dict[str, Doing] = {
    "start": _wish("start"),
    "stop": _wish("stop", lambda chance: {"grace": chance.choice((None, 0.0, 1.0, 8.0))}),
    "drain": _wish("drain", lambda chance: {"deadline": chance.choice((None, 0.0, 2.0, 15.0))}),
    "resume": _wish("resume"),
    "reset": _wish("reset"),
    "allow_one": _wish("allow_one"),
    "reload": _reload(None, *STRATEGIES),
    "surge": _reload("surge"),
    "redeclare": _redeclare,
    "lease": _lease,
    "grant": _grant,
    "release": _release,
    "remove": _remove,
    "add": _add,
    "natures": _natures,
    "crash": _harm(lambda process, chance: process.end(chance.choice((SEGFAULT, EXIT_1, KILLED)))),
    "finish": _harm(lambda process, _: process.end(ExitStatus(code=0))),
    "hang": _harm(lambda process, _: setattr(process, "hanging", True)),
    "ill": _harm(lambda process, _: setattr(process, "ill", True)),
    "oom": _harm(lambda process, _: process.end(OOM)),
    "freeze": _harm(_freeze),
    "lose_leader": _harm(_lose_leader),
    "cuda": _harm(_cuda),
    "stranger": _stranger,
    "driver": _driver,
    "device_fault": device_fault,
    "slow_threads": _slow_threads,
    "disk_full": _disk("full", lambda _: True, rest=False),
    "disk_slow": _disk("lag", lambda chance: chance.choice((0.01, 0.5)), 0.0),
    "fsync_slow": _disk("fsync_takes", lambda chance: chance.choice((0.05, 1.0)), 0.0),
    "fsync_broken": _disk("broken", lambda _: True, rest=False),
    "wall": _wall,
    "kill": _kill,
    "kill_at_point": _kill_at_point,
    "kill_in": _kill_in,
    "meddle": _meddle,
    "close": _close,
    "reboot": _reboot,
    "power_cut": _power_cut,
}

MEDDLING: dict[str, Doing] = {
    "a crash of the oldest": _harm(lambda process, _: process.end(SEGFAULT)),
    "a crash of the newest": _harm(lambda process, _: process.end(EXIT_1), newest=True),
    "an end of the newest": _harm(lambda process, _: process.end(ExitStatus(code=0)), newest=True),
    "a hang of the oldest": _harm(lambda process, _: setattr(process, "hanging", True)),
    "a hang of the newest": _harm(lambda process, _: setattr(process, "hanging", True), newest=True),
    "an unkillable oldest": _harm(lambda process, _: setattr(process, "held", True)),
    **{name: DOING[name] for name in ("start", "stop", "drain", "resume", "reload", "redeclare")},
}
"""What may come in the middle of a change of model."""

NEEDS_MANAGER = frozenset(
    {"start", "stop", "drain", "resume", "reset", "allow_one", "reload", "surge", "lease", "grant", "release"}
    | {"remove", "add", "redeclare", "meddle"}
    | {"slow_threads", "kill", "kill_at_point", "kill_in", "close", "reboot", "power_cut"}
)
"""What cannot be done while no manager lives."""
