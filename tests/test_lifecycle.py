"""Every state and every event of a pool: what the table is to say, written down a second time.

One line per state: its kind, `live`, `serving`, its activity, the event of its deadline. Below it what each
event leads to: `event[guard] > state (mark)`, in the order in which rows are tried; `> .` stays. An event
that is not listed is not possible there. `halt` goes wherever `stop` goes, `reset` stays unless it is listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve, frozen

from pool_lifecycle.causes import LOST, ExitStatus
from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import Strategy
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState, When
from pool_lifecycle.snapshot import Intent, Notify, Plan, Rules, Snapshot
from pool_lifecycle.step import step
from pool_lifecycle.waits import Awaits
from tests.laws import snapshot_is_sound, step_is_sound
from tests.pools import (
    CRASH,
    HOPELESS,
    NEW,
    NOW,
    OLD,
    OPEN,
    OTHER,
    PROVING,
    QUARANTINE,
    SERVER,
    SPARE,
    TRUSTING,
    event,
    pool_in,
)

S, E, W = PoolState, PoolEvent, When

EXPECTED = """
stopped | stable | - | - | - | -
    start[no permit] > failed; start[failed before] > backing_off (in turn); start > staging
    reload > . (configured); stop > . (joined); drain > . (joined)
staging | transient | - | - | stage | failed
    staged[permit] > starting; staged > failed; progressed > .
    failed[cannot heal] > failed; failed[no permit] > failed; failed > backing_off
    stop > stopped; drain > stopped; start > . (joined)
starting | transient | - | - | launch | failed
    healthy > ready; failed > recovering; progressed > .
    stop > stopping; drain > stopping; start > . (joined)
ready | stable | live | serving | watch | -
    reload[same model] > . (unchanged); reload[no permit, or does not fit] > . (refused)
    reload[drain_first] > reloading.draining; reload[stage_first] > staging_ahead; reload > surging.staging
    drain > draining; stop > stopping; start > . (joined); resume > . (joined)
    crashed > recovering; finished > stopping; stable > .
draining | transient | live | - | drain | deadline
    drained > stopping; deadline > stopping (forced)
    resume[unproven beside a spare] > surging.proving; resume[unproven] > reloading.proving
    resume[spare left] > retiring; resume > ready
    start[unproven beside a spare] > surging.proving; start[unproven] > reloading.proving
    start[spare left] > retiring; start > ready
    drain > . (shortened); stop > stopping; crashed[unproven] > stopping
    crashed > recovering; finished > stopping; stable > .
stopping | transient | - | - | end | stuck
    gone[stop wanted] > stopped; gone[no permit] > failed; gone[failed before] > backing_off (in turn)
    gone > staging; stuck > stuck
    start > . (joined); stop > . (joined); drain > . (joined)
recovering | transient | - | - | end | stuck
    gone[stop wanted] > stopped; gone[cannot heal] > failed; gone[no permit] > failed; gone > backing_off
    stuck > stuck; start > . (joined); stop > . (joined); drain > . (joined)
backing_off | transient | - | - | back_off | due
    due[permit] > staging (restart); due > failed; postponed > .
    start[no permit] > failed; start[delayed] > backing_off (in turn); start > . (joined)
    reload > . (configured)
    stop > stopped; drain > stopped
failed | stable | - | - | - | -
    permitted[can heal] > backing_off; permitted > .
    start[permit] > backing_off (in turn); start > . (no permit)
    reset[permit] > backing_off (in turn); reset > . (no permit)
    allow_one[no quarantine] > backing_off (in turn); allow_one > . (refused); reload > . (configured)
    stop > stopped; drain > stopped
stuck | stable | - | - | linger | -
    gone[stop wanted] > stopped; gone[cannot heal] > failed; gone[no permit] > failed; gone > backing_off
    start > . (joined); stop > . (joined); drain > . (joined)
staging_ahead | transient | live | serving | stage | failed
    staged[permit] > reloading.draining; staged > ready (refused); failed > ready (untouched)
    resume > ready (untouched); progressed > .; reload[same target] > . (joined); reload > . (busy)
    drain > draining; stop > stopping; start > . (joined)
    crashed > recovering; finished > stopping; stable > .
reloading.draining | transient | live | - | drain | deadline
    drained[staged ahead] > reloading.stopping; drained > reloading.staging; deadline > ready (aborted)
    resume > ready (untouched); reload[same target] > . (joined); reload > . (busy)
    drain > draining; stop > stopping; start > . (joined)
    crashed > recovering; finished > stopping; stable > .
reloading.staging | transient | live | - | stage | failed
    staged[permit] > reloading.stopping; staged > ready (refused); failed > ready (untouched)
    resume > ready (untouched); progressed > .; reload[same target] > . (joined); reload > . (busy)
    drain > draining; stop > stopping; start > . (joined)
    crashed > recovering; finished > stopping; stable > .
reloading.stopping | transient | - | - | end | stuck
    gone[permit] > reloading.starting; gone > failed; stuck > stuck
    stop > stopping; drain > stopping; start > . (joined)
    reload[same target] > . (joined); reload > . (busy)
reloading.starting | transient | - | - | launch | failed
    healthy[trusted] > ready (committed); healthy > reloading.proving
    failed > reloading.undoing; progressed > .
    stop > stopping; drain > stopping; start > . (joined)
    reload[same target] > . (joined); reload > . (busy)
reloading.undoing | transient | - | - | end | stuck
    gone[permit] > reloading.restoring; gone > failed; stuck > stuck
    stop > stopping; drain > stopping; start > . (joined)
    reload[same target] > . (joined); reload > . (busy)
reloading.proving | transient | live | serving | watch | deadline
    deadline > ready (committed); crashed > reloading.undoing; stable > .
    drain > draining; stop > stopping; start > . (joined)
    reload[same target] > . (joined); reload > . (busy)
reloading.restoring | transient | - | - | launch | failed
    healthy > ready (restored); failed > recovering; progressed > .
    stop > stopping; drain > stopping; start > . (joined)
    reload[same target] > . (joined); reload > . (busy)
surging.staging | transient | live | serving | stage | failed
    staged[permit] > surging.starting; staged > ready (refused); failed > ready (untouched)
    resume > ready (untouched); progressed > .; reload[same target] > . (joined); reload > . (busy)
    drain > draining; stop > stopping; start > . (joined)
    crashed > recovering; finished > stopping; stable > .
surging.starting | transient | live | serving | launch | failed
    healthy[trusted] > retiring (committed); healthy > surging.proving
    failed > retiring (untouched); resume > retiring (untouched); progressed > .
    reload[same target] > . (joined); reload > . (busy)
    drain > draining; stop > stopping; start > . (joined)
    crashed > recovering; finished > stopping; stable > .
surging.proving | transient | live | serving | watch | deadline
    deadline > retiring (committed)
    crashed[spare lives] > retiring (reverted); crashed[the old one crashed] > recovering
    crashed > reloading.undoing; stable > .
    resume[spare lives] > retiring (reverted); resume > . (refused)
    drain > draining; stop > stopping; start > . (joined)
    reload[same target] > . (joined); reload > . (busy)
retiring | transient | live | serving | retire | stuck
    gone > ready; stuck > ready (quarantined); reload[same model] > . (unchanged); reload > . (busy)
    drain > draining; stop > stopping; start > . (joined); resume > . (joined)
    crashed > recovering; finished > stopping; stable > .
"""

_ROW = re.compile(r"(\w+)(?:\[([^]]+)\])? > (\S+)(?: \(([\w ]+)\))?")


@frozen
class Way:
    """One expected row."""

    when: str | None
    to: str | None
    mark: str | None


def _read() -> tuple[dict[str, list[str]], dict[tuple[str, str], list[Way]]]:
    heads: dict[str, list[str]] = {}
    ways: dict[tuple[str, str], list[Way]] = {}
    for line in EXPECTED.strip().splitlines():
        if not line.startswith(" "):
            state, *columns = line.split(" | ")
            heads[state] = columns
            continue
        for text in line.strip().split("; "):
            match = _ROW.fullmatch(text)
            assert match, text
            kind, when, to, mark = match.groups()
            ways.setdefault((state, kind), []).append(Way(when, None if to == "." else to, mark))
    for state in heads:
        ways[state, "halt"] = ways[state, "stop"]
        ways.setdefault((state, "reset"), [Way(None, None, None)])
    return heads, ways


HEADS, WAYS = _read()
PAIRS = [(state, kind) for state in PoolState for kind in PoolEvent]


def test_all_states_are_expected() -> None:
    """The second table has the same states as the first, and each has every event decided."""
    assert set(HEADS) == set(PoolState) == set(LIFECYCLE.states)
    assert len(PAIRS) == 22 * 22


@pytest.mark.parametrize("state", PoolState)
def test_columns(state: PoolState) -> None:
    """Kind, live, serving, activity and deadline event of each state are the expected ones."""
    one = LIFECYCLE.states[state]
    flags = ["live" if one.live else "-", "serving" if one.serving else "-"]
    assert HEADS[state] == [one.kind, *flags, one.activity or "-", one.on_deadline or "-"]


@pytest.mark.parametrize(("state", "kind"), PAIRS)
def test_rows(state: PoolState, kind: PoolEvent) -> None:
    """For each of the 484 pairs the rows are the expected ones, in the expected order."""
    rows = LIFECYCLE.rows.get((state, kind), ())
    assert [Way(row.when, row.to, row.mark) for row in rows] == WAYS.get((state, kind), [])


# --- and the step takes them -----------------------------------------------------------------------------

READ_FROM_FACTS = {E.STUCK, E.DEADLINE, E.CRASHED, E.FINISHED, E.STABLE, E.PERMITTED}
"""Nobody can send these: `step` reads them from facts and time, only where the table has a row."""

ILLEGAL = [pair for pair in PAIRS if pair not in WAYS and pair[1] not in READ_FROM_FACTS]


WISHES = ("start", "stop", "drain", "resume", "reload", "reset", "allow_one")


@pytest.mark.parametrize(("state", "kind"), ILLEGAL)
def test_illegal_events_change_nothing(state: PoolState, kind: PoolEvent) -> None:
    """An event without a row raises, naming pool, state, event and what people could ask for instead."""
    pool = pool_in(state)
    untouched = evolve(pool)
    with pytest.raises(IllegalEvent) as raised:
        step(pool, event(kind, pool), NOW)
    error = raised.value
    assert pool == untouched
    assert (error.pool_id, error.state, error.event, error.legal) == (
        "chat",
        state,
        kind,
        tuple(one for one in LIFECYCLE.legal(state) if one in WISHES),
    )
    assert str(error).startswith(
        f"pool 'chat' ({state}): event '{kind}' is not possible here, nothing changed"
    )
    assert f"possible here: {', '.join(error.legal)}" in str(error)


UNREADABLE = [pair for pair in PAIRS if pair not in WAYS and pair[1] in READ_FROM_FACTS]

READ_AS_A_CRASH = [pair for pair in UNREADABLE if pair[1] is E.FINISHED and LIFECYCLE.states[pair[0]].live]
"""Where the engine is not free to end."""


@pytest.mark.parametrize(("state", "kind"), [pair for pair in UNREADABLE if pair not in READ_AS_A_CRASH])
def test_facts_without_a_row_move_nothing(state: PoolState, kind: PoolEvent) -> None:
    """News of an engine, a circuit or time is taken note of, and never illegal."""
    pool = pool_in(state, deadline=None)
    after, _ = step(pool, event(kind, pool), NOW)
    assert (after.state, after.epoch, after.intent) == (pool.state, pool.epoch, pool.intent)


def test_only_a_new_model_is_not_free_to_end() -> None:
    """B-SUPER-006: until it has proven itself."""
    assert READ_AS_A_CRASH == [(S.RELOADING_PROVING, E.FINISHED), (S.SURGING_PROVING, E.FINISHED)]


@pytest.mark.parametrize(("state", "kind"), READ_AS_A_CRASH)
def test_an_end_on_purpose_that_no_row_knows_is_a_crash(state: PoolState, kind: PoolEvent) -> None:
    """B-RELOAD-007: it takes the row of one, and nobody has asked the pool to stop."""
    pool = pool_in(state)
    after, effects = step(pool, event(kind, pool), NOW)
    assert after == step(pool, event(E.CRASHED, pool, status=ExitStatus(code=0)), NOW)[0]
    assert after.intent is Intent.RUN
    step_is_sound(pool, event(kind, pool), after, effects)


def _circuits(pool: Snapshot, opened: bool) -> Snapshot:
    """A device's, as a reset would close the pool's own before the guard is asked."""
    return evolve(pool, circuits=(evolve(OPEN, name="device 0", shared=True),)) if opened else pool


def _with_a_dead_spare(pool: Snapshot) -> Snapshot:
    (spare,) = pool.spares
    return pool.with_engine(evolve(spare, exit=LOST))


def _with_a_failed_spare(pool: Snapshot) -> Snapshot:
    (spare,) = pool.spares
    return pool.with_engine(evolve(spare, failure=CRASH))


POOLS: dict[str, Callable[[Snapshot, bool], Snapshot]] = {
    W.PERMIT: lambda pool, holds: _circuits(pool, not holds),
    W.NO_PERMIT: _circuits,
    W.REFUSED: _circuits,
    W.NO_QUARANTINE: lambda pool, holds: evolve(pool, circuits=(OPEN,) if holds else (OPEN, QUARANTINE)),
    W.STOP_WANTED: lambda pool, holds: evolve(pool, intent=Intent.STOPPED if holds else Intent.RUN),
    W.CANNOT_HEAL: lambda pool, holds: evolve(pool, cause=HOPELESS if holds else CRASH),
    W.CAN_HEAL: lambda pool, holds: evolve(pool, cause=CRASH if holds else HOPELESS),
    W.FAILED_BEFORE: lambda pool, holds: evolve(pool, cause=CRASH if holds else None),
    W.DELAYED: lambda pool, holds: evolve(pool, awaits=Awaits.DELAY if holds else Awaits.WINDOW),
    W.STAGED_AHEAD: lambda pool, holds: evolve(
        pool, plan=Plan(NEW, Strategy.STAGE_FIRST if holds else Strategy.DRAIN_FIRST)
    ),
    W.SPARE_LEFT: lambda pool, holds: evolve(pool, engines=(*pool.engines, SPARE)) if holds else pool,
    W.SPARE_LIVES: lambda pool, holds: pool if holds else _with_a_dead_spare(pool),
    W.OLD_CRASHED: lambda pool, holds: _with_a_failed_spare(pool) if holds else pool,
    W.UNPROVEN: lambda pool, holds: evolve(pool, engines=(PROVING,), serving=2) if holds else pool,
    W.UNPROVEN_BESIDE: lambda pool, holds: (
        evolve(pool, engines=(SERVER, PROVING), serving=2) if holds else pool
    ),
    W.TRUSTED: lambda pool, holds: evolve(pool, rules=TRUSTING if holds else Rules()),
}
"""What makes each guard hold, or not: the pool it is asked of."""

EVENTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    W.CANNOT_HEAL: lambda holds: {"cause": HOPELESS} if holds else {},
    W.SAME_MODEL: lambda holds: {"target": OLD if holds else NEW},
    W.SAME_TARGET: lambda holds: {"target": NEW if holds else OTHER},
    W.DRAIN_FIRST: lambda holds: {"strategy": Strategy.DRAIN_FIRST if holds else Strategy.SURGE},
    W.STAGE_FIRST: lambda holds: {"strategy": Strategy.STAGE_FIRST if holds else Strategy.SURGE},
}
"""What makes each guard hold, or not: the event it is asked of."""


def _prepared(state: PoolState, kind: PoolEvent, row: int) -> tuple[Snapshot, Any]:
    """A pool and an event for which the row with that number is the first whose guard holds."""
    holds = {way.when: place == row for place, way in enumerate(WAYS[state, kind][: row + 1]) if way.when}
    pool = evolve(pool_in(state), circuits=(OPEN,)) if kind == E.PERMITTED else pool_in(state)
    changes: dict[str, Any] = {}
    for guard, value in holds.items():
        pool = POOLS[guard](pool, value) if guard in POOLS else pool
        changes |= EVENTS[guard](value) if guard in EVENTS else {}
    if kind != E.FAILED:
        changes.pop("cause", None)
    return pool, event(kind, pool, **changes)


ROWS = [(state, kind, row) for state, kind in PAIRS for row in range(len(WAYS.get((state, kind), ())))]


@pytest.mark.parametrize(("state", "kind", "row"), ROWS)
def test_step_takes_the_row(state: PoolState, kind: PoolEvent, row: int) -> None:
    """In a situation made for a row, the step takes it, tells it, and keeps every law."""
    pool, sent = _prepared(state, kind, row)
    way = WAYS[state, kind][row]
    after, effects = step(pool, sent, NOW)
    told = [one for one in effects if isinstance(one, Notify)]
    assert after.state == (way.to or state)
    assert [(one.event, one.source, one.target, one.mark) for one in told] == [
        (kind, state, after.state, way.mark)
    ]
    step_is_sound(pool, sent, after, effects)


@pytest.mark.parametrize("state", PoolState)
def test_the_exemplars_are_sound(state: PoolState) -> None:
    """The pools these tests begin with could exist."""
    snapshot_is_sound(pool_in(state))
