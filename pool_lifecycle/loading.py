"""How a pool goes on under a new manager: from what was kept of it to what is to be done. Pure.

The state stays what it was, in a new epoch, with what was left of its deadlines; its activity begins anew,
and finds out for itself what of its work is done. Declared things are taken from the new declaration: limits,
policies, which circuits there are. What an operator has changed since stays changed, unless it was declared
differently in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from pool_lifecycle.events import Event, Halt, Start
from pool_lifecycle.kept import Kept, KeptHost, Loaded, Moment
from pool_lifecycle.lifecycle import ENDS, LIFECYCLE, Activity
from pool_lifecycle.rebasing import shift, shifted, shifted_host
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Effect, Intent, Invoke, OpenGate, Plan, Snapshot, evolved
from pool_lifecycle.spec import PoolSpec

INCARNATION = 2**32
"""How many fencing tokens a host has under one manager, at the most."""

PER_MILLISECOND = 2**12
"""How many fencing tokens a host gives out in a millisecond, at the most: four times what a loop can do."""


def rebased(kept: Kept, now: Moment) -> Kept:
    """The same on the clock of `now`."""
    return shifted(kept, shift(kept.moment, now))


def rebased_host(kept: KeptHost, now: Moment) -> KeptHost:
    """The same on the clock of `now`."""
    return shifted_host(kept, shift(kept.moment, now))


def tokens_from(loaded: Loaded, wall: float) -> int:
    """The first fencing token of the next manager, which begins at `wall`: higher than any given out.

    Two things see to that, as each may fail: what was kept, unless the disk was full or the record is lost,
    and the wall clock, unless it was set back. Below 2**53, which every reader of JSON understands.
    """
    given = [one.next_token for one in loaded.pools]
    if loaded.host is not None:
        given.append(loaded.host.tokens_from + INCARNATION)
    fresh = not given and not loaded.troubles
    return 1 if fresh else max((*given, int(wall * 1000) * PER_MILLISECOND))


def goes_on(kept: Kept, spec: PoolSpec, new: Snapshot) -> Snapshot:
    """What is kept of a pool, declared as `spec`. `new` is what it would be if nothing were kept of it."""
    old = kept.snapshot
    return evolved(
        old,
        rules=new.rules,
        epoch=old.epoch + 1,
        circuits=tuple(_known(new.circuits, old.circuits)),
        target=new.target if redeclared(kept, spec) and not old.engines else old.target,
        plan=_as_declared(old, spec),
    )


def is_as_kept(kept: Kept, now: Kept) -> bool:
    """Whether a manager after `now` would go on as after `kept`, so that it need not be stored.

    Epochs and tokens that begin anew with every manager need not be: no two of them are there at a time, and
    how tokens begin is stored for the host. Nor need the moment on the same clock, as nothing has changed.
    """
    before, after = kept.snapshot, now.snapshot
    return (kept.moment.clock, kept.launcher, kept.declared) == (
        now.moment.clock,
        now.launcher,
        now.declared,
    ) and evolved(after, epoch=before.epoch, rules=before.rules) == before


def _as_declared(old: Snapshot, spec: PoolSpec) -> Plan | None:
    """The change of model under way: to the engine as declared now, unless that one is launched already.

    Of how an earlier manager was to launch it only the variant's name is known.
    """
    plan = old.plan
    if plan is None or any(one.target == plan.target for one in old.engines):
        return plan
    return evolve(plan, target=evolve(plan.target, variant=spec.variant))


def redeclared(kept: Kept, spec: PoolSpec) -> bool:
    """Whether something else is declared now than was under the last manager, or than an operator chose."""
    return spec.target not in (kept.declared, kept.snapshot.target)


def _known(declared: Iterable[Circuit], kept: Iterable[Circuit]) -> Iterable[Circuit]:
    """As they were kept. What pools share the host knows better: the pool has that as news, and wakes up."""
    before = {one.name: one for one in kept}
    return (before.get(one.name, one) for one in declared)


def effects(snapshot: Snapshot) -> tuple[Effect, ...]:
    """What a pool that goes on asks for first. It follows from what is kept, and so it is not kept anew."""
    state = LIFECYCLE.states[snapshot.state]
    wanted: list[Effect] = []
    if state.serving and snapshot.serving is not None:
        wanted.append(OpenGate(snapshot.serving))
    if state.activity:
        wanted.append(Invoke(Activity(state.activity), snapshot.epoch))
    return tuple(wanted)


def events(snapshot: Snapshot, spec: PoolSpec) -> tuple[Event, ...]:
    """What the pool is told once it goes on.

    An engine that was to end with its manager is ended now at the latest, and that is no failure. A pool that
    ran until its manager left runs again.
    """
    ends = snapshot.state in ENDS
    outlived = bool(snapshot.engines) and spec.on_manager_exit == "stop" and not ends
    runs = snapshot.intent is Intent.RUN_WHEN_LOADED or (outlived and snapshot.intent is Intent.RUN)
    return (*((Halt(),) if outlived else ()), *((Start(loaded=True),) if runs else ()))
