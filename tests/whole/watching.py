"""What must hold at every launch, every signal, every wish, between managers, and whenever somebody looks.

As with the invariants of steps, the simulated host is the judge, and ids are those of FAULTS' list.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pool_lifecycle.activities import HANDING_TAKES
from pool_lifecycle.addressing import url_of
from pool_lifecycle.errors import PoolDraining, PoolLifecycleError, PoolNotReady
from pool_lifecycle.events import Start, Wish
from pool_lifecycle.kept import Kept
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, PoolEvent, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.snapshot import Intent, Snapshot
from tests import laws
from tests.whole.devices import b_gpu_x2_serves_elsewhere, s7_quarantined_device
from tests.whole.drivers import path_of
from tests.whole.invariants import EPSILON, held

if TYPE_CHECKING:
    from pool_lifecycle.pool import Pool
    from tests.whole.life import Life
    from tests.whole.processes import Process
    from tests.whole.world import World

S = PoolState

# --- wishes ---------------------------------------------------------------------------------------------


def s20_authority(world: World, pool_id: str, wish: Wish) -> None:
    """S20: no wish but what somebody asked for, or what a leaving, or a new, manager has to do."""
    life, kind = world.life, str(wish.kind)
    if kind == PoolEvent.HALT:
        loaded = world.ledger.loaded_at.get(pool_id) == world.host.now
        held(life.leaving or loaded, "a halt that nobody wanted")
    elif not (isinstance(wish, Start) and wish.loaded):
        declared = world.wished[pool_id, "redeclared"] if kind == PoolEvent.RELOAD else 0
        held(world.wished[pool_id, kind] or declared, f"{kind} was never asked of {pool_id}")


# --- launches -------------------------------------------------------------------------------------------


def s3_single_live(world: World, process: Process) -> None:
    """S3: one engine to a pool; two only while a new one starts beside the old; never three."""
    pool = world.pool(process.pool_id)
    held(pool is not None, f"{process} belongs to no pool")
    assert pool is not None
    apart = {one.token for one in pool.snapshot.quarantine}
    if process.token in apart:
        return  # a launch that would not be called off came too late
    apart.add(process.token)
    others = [one for one in world.host.of(process.pool_id) if one.token not in apart]
    most = 1 if pool.state in laws.TWO_MAY_RUN else 0
    held(len(others) <= most, f"{process} was launched while {others} live, in {pool.state}")


def s5_intent_before_effect(world: World, process: Process) -> None:
    """S5, S17: a launch is on the disk before it is tried."""
    kept = world.disk.kept.pools.get(process.pool_id)
    known = () if kept is None else (*kept.snapshot.engines, *kept.snapshot.quarantine)
    tokens = {one.token for one in known}
    held(process.token in tokens, f"{process} was launched, but the disk knows nothing of it")


def s7_no_overlap(world: World, process: Process) -> None:
    """S7: no launch on a port that another of our engines holds, or will."""
    port = process.request.port
    others = [one for one in world.host.living if one is not process and one.request.port == port]
    held(not others, f"{process} was launched on port {port}, which {others} have")


def s13_launched(world: World, process: Process) -> None:
    """S13: a restart counts from when it was decided, once it has become a launch."""
    world.restarts.launched(process.pool_id)


OF_LAUNCHES: tuple[Callable[[World, Process], None], ...] = (
    s3_single_live,
    s5_intent_before_effect,
    s7_no_overlap,
    s7_quarantined_device,
    s13_launched,
)

# --- signals --------------------------------------------------------------------------------------------

_ENDS = {Activity.END, Activity.RETIRE, Activity.LINGER, Activity.DRAIN}


def s4_no_stranger(world: World, process: Process) -> None:
    """S4: a signal goes only to an engine that is in the pool's record, under this boot."""
    pool = world.pool(process.pool_id)
    if pool is None or world.faults.touched_by(process.pool_id, "launch"):
        return  # a launch that was cancelled ends what it began
    known = {one.token for one in (*pool.snapshot.engines, *pool.snapshot.quarantine)}
    held(process.token in known, f"{process} was signalled, which is in no record of its pool")
    held(process.boot_id == world.host.boot_id, f"{process} is of another boot")


def s20_no_needless_signal(world: World, process: Process) -> None:
    """S20: an engine is only signalled where its pool is in a state that ends engines."""
    pool = world.pool(process.pool_id)
    if pool is not None and process.leads and not world.life.leaving:
        doing = LIFECYCLE.states[pool.state].activity
        launching = world.faults.touched_by(process.pool_id, "launch")
        apart = process.token in {one.token for one in pool.snapshot.quarantine}
        held(apart or doing in _ENDS or launching, f"{process} was signalled in {pool.state}")


OF_SIGNALS: tuple[Callable[[World, Process], None], ...] = (s4_no_stranger, s20_no_needless_signal)

# --- leases ---------------------------------------------------------------------------------------------


def granted(world: World, pool_id: str) -> None:
    """S9, S10: leases are granted only in a state that serves, on its generation, and within the slots."""
    pool = world.pool(pool_id)
    if pool is None or world.life.over:
        return
    snapshot, book = pool.snapshot, pool.book
    held(LIFECYCLE.states[pool.state].serving, f"a lease was granted in {pool.state}")
    assert snapshot.server is not None
    there = book.count_on(snapshot.server.generation)
    slots = pool.spec_of(snapshot.server.target).slots
    held(there < slots, f"{there + 1} leases on generation {snapshot.serving}, which has {slots} slots")


def refused(world: World, pool: Pool, error: PoolLifecycleError) -> None:
    """B-RELOAD-x2: while a pool serves, through all of a surge, nobody is refused but for want of a slot."""
    if isinstance(error, PoolNotReady | PoolDraining) and not world.life.leaving:
        held(not LIFECYCLE.states[pool.state].serving, f"refused in {pool.state}: {error}")


# --- whenever somebody looks ----------------------------------------------------------------------------


def glance(world: World) -> None:
    """S11, S9: nothing that is due is late, and leases are within their bounds; looked at very often."""
    manager = world.life.manager
    for pool in manager or ():
        deadline = pool.snapshot.deadline
        stays = world.life.leaving and pool.spec.on_manager_exit == "keep"
        if deadline is not None and not stays:
            due = max(deadline, world.ledger.loaded_at.get(pool.pool_id, deadline))
            held(world.host.now <= due + EPSILON, f"{pool.pool_id} is in {pool.state} past its deadline")
        most = world.most_slots[pool.pool_id]  # it may have fewer by now than when they were granted
        for generation in {one.generation for one in pool.book.active()}:
            there = pool.book.count_on(generation)
            held(there <= most, f"{there} leases on generation {generation}, which never had {most} slots")
        if pool.state in CHANGING or pool.state is S.RETIRING:
            s12_readers(world, pool)


# --- what others read -----------------------------------------------------------------------------------


def s12_readers(world: World, pool: Pool) -> None:
    """S12: whoever reads finds one whole configuration, the old or the new, as long as anything serves."""
    if pool._stepping or world.life.leaving:
        return
    s12_status(pool)
    s12_registry(pool)
    server = pool.snapshot.server
    process = world.host.by_token(server.token) if server is not None else None
    if process is not None and process.leads and not world.faults.touched:
        s12_handoff(world, pool)  # what has just ended is told in the next moment


def s12_status(pool: Pool) -> None:
    """S12: what a status says of the engine that serves is true of that very engine."""
    told, server = pool.status(), pool.snapshot.server
    if told.live and server is not None and server.handle is not None:
        held(told.generation == server.generation, f"generation {told.generation} is told")
        held(told.model == server.target.model, f"{told.model} is told, where {server.target.model} serves")


def s12_registry(pool: Pool) -> None:
    """S12: the same for the registry, which also tells whether anything serves."""
    entry, state = pool.host.registry.get(pool.pool_id), LIFECYCLE.states[pool.state]
    assert entry is not None
    held((entry.live, entry.ready) == (state.live, state.serving), f"{entry} in {pool.state}")
    server = pool.snapshot.server
    if state.serving and server is not None:
        spec = pool.spec_of(server.target)
        held(entry.slots_total == pool.book.slots, f"{entry.slots_total} slots, not {pool.book.slots}")
        held(entry.engine_version == spec.engine.version, f"version {entry.engine_version} is told")


def s12_handoff(world: World, pool: Pool) -> None:
    """S12: while anything serves there is a handoff document, and all of it is about one engine on record."""
    path, serves = pool.host.paths.handoff(pool.pool_id), LIFECYCLE.states[pool.state].serving
    try:
        document = json.loads(Path(path).read_text())
    except FileNotFoundError:
        held(not serves, f"nothing is handed off in {pool.state}")
        return
    known = {url_of(one.handle): one for one in pool.snapshot.engines if one.handle is not None}
    engine = known.get(document["url"])
    if not serves:
        return  # it is about to be withdrawn
    held(engine is not None, f"{document['url']} is handed off, where there are {[*known]}")
    assert engine is not None
    model = path_of(engine.target.model or "")
    held(document["model"]["path"] == model, f"{document['model']} is handed off, but {model} serves there")
    spec = pool.spec_of(engine.target)
    if spec.variant == engine.target.variant:
        told = (document["slots"], tuple(document["flags"]))
        held(told == (spec.slots, spec.engine.args), f"{told} is handed off, but {spec.slots} slots serve")
    if pool.state not in _MOVING:
        held(engine is pool.snapshot.server, f"what is handed off does not serve in {pool.state}")


_MOVING = {S.SURGING_STARTING, S.RETIRING}
"""Where the handoff document is about to change."""


TASKS, TASKS_A_POOL = 10, 40


def sweep(world: World) -> None:
    """S3, S5, S11, S19, V3: what takes a little longer to look at, after every deed."""
    life, manager = world.life, world.life.manager
    if life.over or manager is None or life.leaving:
        return
    if life.opened_after is not None:
        _s5_no_forgotten(world)
        _s11_killed_in_time(world)
        _v3_no_lost_exit(world)
        b_gpu_x2_serves_elsewhere(world)
        for pool in manager:
            s12_readers(world, pool)
    asking = len(life.asking) + len(life.holding)
    tasks = len(asyncio.all_tasks(life.loop)) - asking
    held(tasks <= TASKS + TASKS_A_POOL * len(manager), f"{tasks} tasks for {len(manager)} pools")


def _s5_no_forgotten(world: World) -> None:
    for process in world.host.living:
        pool = world.pool(process.pool_id)
        if pool is not None and process.term_at is None:
            known = {one.token for one in (*pool.snapshot.engines, *pool.snapshot.quarantine)}
            held(process.token in known, f"{process} lives, but its pool does not know of it")


def _s11_killed_in_time(world: World) -> None:
    for pool in world.life.manager or ():
        if world.faults.touched_by(pool.pool_id) or world.life.born + 10.0 > world.host.now:
            continue
        for one in pool.snapshot.engines:
            process = world.host.by_token(one.token)
            if process is None or not process.lives or one.kill_at is None:
                continue
            late = world.host.now - one.kill_at
            slow = (
                world.life.loop.threads_take and pool.state is S.RETIRING
            )  # its successor is handed off first
            allowed = 0.2 + (HANDING_TAKES if slow else 0.0)
            held(
                late < allowed or process.kill_at is not None, f"{process} is to be killed since {late:.3f} s"
            )


def _v3_no_lost_exit(world: World) -> None:
    for pool in world.life.manager or ():
        server = pool.snapshot.server
        if server is None or not LIFECYCLE.states[pool.state].live or world.faults.touched_by(pool.pool_id):
            continue
        process = world.host.by_token(server.token)
        ended = None if process is None else process.ended_at
        if ended is not None:
            since = world.host.now - max(ended, world.life.born + OPENS)
            held(since < 0.2, f"{process} ended {since:.3f} s ago, but serves")


def answered_in_time(name: str, took: float) -> None:
    """V2, V4: a stop ends, one way or the other, within a bound that the configuration gives."""
    if name == "stop":
        held(took <= 45.0, f"a stop took {took:.1f} s")


# --- across managers ------------------------------------------------------------------------------------

OPENS = 12.0
"""Seconds within which a manager has looked for everything, however its drivers hang."""


def opened(world: World, life: Life) -> None:
    """V7: a new manager has all its pools in bounded time. S17: and each goes on where it was."""
    held((life.opened_after or 0.0) <= OPENS, f"a manager took {life.opened_after} s to open")


def s17_goes_on(world: World, kept: Kept, now: Snapshot) -> None:
    """S17, S11: a pool goes on as it was kept, and none of its times is later than it was."""
    old = kept.snapshot
    same = (
        "state",
        "intent",
        "engines",
        "generation",
        "serving",
        "crash_count",
        "restart_count",
        "quarantine",
    )
    for name in same:
        there, here = getattr(old, name), getattr(now, name)
        held(here == there, f"{name} of {now.pool_id} was kept as {there}, and is {here}")
    raw = world.disk.kept.pools[now.pool_id]
    left = _left(raw.snapshot, raw.moment.at)
    for name, seconds in _left(now, world.host.now).items():
        if name in left and raw.moment.clock == world.host.boot_id:
            late = seconds + world.host.now - (left[name] + raw.moment.at)
            held(late <= EPSILON, f"{name} of {now.pool_id} is {late:.3f} s later than it was")
        elif name in left:
            held(seconds <= left[name] + EPSILON, f"{name} of {now.pool_id} lasts longer than it did")


def _left(pool: Snapshot, at: float) -> dict[str, float]:
    """The seconds that are left of everything that has an end."""
    times = {"deadline": pool.deadline, "back-off": pool.not_before}
    times |= {f"the kill of {one.token}": one.kill_at for one in (*pool.engines, *pool.quarantine)}
    times |= {f"circuit {one.name}": one.until for one in pool.circuits if not one.shared}
    return {name: when - at for name, when in times.items() if when is not None}


_AFTER: dict[str, Callable[[Snapshot, Any], bool]] = {
    "start": lambda pool, _: LIFECYCLE.states[pool.state].serving,
    "stop": lambda pool, _: pool.state is S.STOPPED,
    "drain": lambda pool, _: pool.intent is Intent.STOPPED or LIFECYCLE.states[pool.state].live,
    "reload": lambda pool, asked: pool.target.model == asked["model"],
    "redeclared": lambda pool, asked: pool.target.model == asked["model"],
    "resume": lambda pool, _: pool.intent is Intent.RUN,
    "reset": lambda _pool, _: True,
    "allow_one": lambda _pool, _: True,
}
"""What a pool has been, at the latest, when somebody has been told that what they asked for is done."""


def s17_acknowledged(world: World, pool_id: str, name: str, since: int, arguments: Any) -> None:
    """S17: what somebody is told is durable by then."""
    so = _AFTER.get(name)
    if so is None or world.life.over or pool_id in world.ledger.leaving:
        return
    place = world.ledger.first(pool_id, max(0, since - 1), lambda pool: so(pool, arguments))
    if place is None:
        return  # nothing of this was ever to be stored
    kept = world.disk.durable.pools.get(pool_id)
    there = -1 if kept is None else world.ledger.place(pool_id, kept.snapshot)
    held(there is not None, f"what is durable of {pool_id} never was so")
    assert there is not None
    held(there >= place, f"{name} was answered, but is not durable ({there} < {place})")
    world.ledger.acknowledged[pool_id] = max(place, world.ledger.acknowledged[pool_id])


def s17_prefix(world: World) -> None:
    """S17: what a manager finds is what was after some step, and no earlier than what was acknowledged."""
    for pool_id in world.declared:
        kept, acknowledged = world.disk.kept.pools.get(pool_id), world.ledger.acknowledged[pool_id]
        place = -1 if kept is None else world.ledger.place(pool_id, kept.snapshot)
        held(place is not None, f"what is kept of {pool_id} never was so")
        assert place is not None
        held(place >= acknowledged, f"what was acknowledged of {pool_id} is lost ({place} < {acknowledged})")
        world.ledger.cut(pool_id, place)
