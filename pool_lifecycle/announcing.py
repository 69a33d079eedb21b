"""What a pool lets the world know: the registry, for readers, and records, for observers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from itertools import filterfalse
from typing import Protocol

from pool_lifecycle.accounts import Accounts
from pool_lifecycle.errors import StoreError
from pool_lifecycle.events import Target
from pool_lifecycle.host import Host
from pool_lifecycle.kept import Kept, Passage
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import DRAINS, LIFECYCLE
from pool_lifecycle.loading import redeclared
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.records import (
    CircuitMoved,
    EngineCrashed,
    LateOutcome,
    LeasesEnded,
    Moved,
    PoolAdopted,
    PreloadEnded,
    Record,
    ReloadBegan,
    ReloadEnded,
    RestartBegan,
    RestartScheduled,
)
from pool_lifecycle.recovery import Found, Unsure
from pool_lifecycle.registry import EntryFields
from pool_lifecycle.restart_news import Step, restart_news
from pool_lifecycle.snapshot import CircuitChanged, Dropped, Notify, Snapshot
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.store import HISTORY


class Declared(Protocol):
    """What is seen here of the pool."""

    spec: PoolSpec
    host: Host
    book: LeaseBook

    def spec_of(self, target: Target) -> PoolSpec:
        """What an engine for this target is launched from."""


class Announcer:
    """Speaks for one pool. `accounts` knows how its drains went."""

    __slots__ = ("_book", "_host", "_pool", "accounts")

    def __init__(self, pool: Declared) -> None:
        self._pool = pool
        self._host = pool.host
        self._book = pool.book
        self.accounts = Accounts(pool.spec.pool_id)

    @property
    def _spec(self) -> PoolSpec:
        return self._pool.spec

    def go_on(self, snapshot: Snapshot) -> None:
        """The pool goes on as an earlier manager left it: readers are to know how that is."""
        self._publish(None, snapshot)
        self.accounts.go_on(snapshot, self._book.count, self._history(snapshot))

    def _history(self, snapshot: Snapshot) -> tuple[Passage, ...]:
        """As far as it has to be known: a change of model under way began some rows ago."""
        if snapshot.state in CHANGING:
            with contextlib.suppress(StoreError):  # then it counts from when its state began
                return self._host.store.history(snapshot.pool_id, HISTORY)
        return ()

    def adopted(self, kept: Kept, snapshot: Snapshot, found: Mapping[str, Found]) -> Passage | None:
        """What was taken over, and what has become of its engines; for the history, unless it was idle."""
        now = self._host.clock()
        fates = {one.generation: found.get(one.token) for one in snapshot.engines}
        record = PoolAdopted(
            self._spec.pool_id,
            now,
            snapshot.state,
            now - kept.moment.at,
            tuple(one for one, fate in fates.items() if not (fate is None or isinstance(fate, Unsure))),
            tuple(one for one, fate in fates.items() if fate is None),
            tuple(one for one, fate in fates.items() if isinstance(fate, Unsure)),
            self._book.count,
        )
        self._host.observe(record)
        if redeclared(kept, self._spec) and snapshot.target == kept.snapshot.target:
            self._host.trouble(self._spec.pool_id, _differs(snapshot.target.model, self._spec.model))
        if record.idle:
            return None
        return Passage.adopted(snapshot, f"a new manager took over, {record.findings}", self._host.wall())

    def moved(self, notice: Notify, before: Snapshot, after: Snapshot) -> None:
        """A row was taken. Readers know it before observers do, who are told of a failure first."""
        self._publish(before, after)
        now, leases = self._host.clock(), self._book.count
        step = Step(notice, before, after, now, self._host.wall)
        news = (
            *restart_news(step, self._version(before)),
            *self.accounts.follow(notice, leases, before, after, now),
        )
        lasted, told = now - before.since, any(map(_tells, news))
        moved = Moved(self._spec.pool_id, now, lasted, after.generation, leases, notice, told)
        for record in (*filter(_fails, news), moved, *filterfalse(_fails, news)):
            self._host.observe(record)

    def news(self, news: CircuitChanged | Dropped) -> None:
        """Something happened that is no row. Of circuits that pools share the host tells."""
        now = self._host.clock()
        if not isinstance(news, CircuitChanged):
            self._host.observe(LateOutcome(self._spec.pool_id, now, news))
        elif not news.shared:
            self._host.observe(CircuitMoved(self._spec.pool_id, now, news))

    def leases_lost(self, holders: tuple[str, ...]) -> None:
        """The engine that these held leases on is gone."""
        self._host.observe(LeasesEnded(self._spec.pool_id, self._host.clock(), "lost", holders))

    def _version(self, snapshot: Snapshot) -> str | None:
        """That of the engine that serves, or is to."""
        engine = snapshot.server or snapshot.newest
        return self._pool.spec_of(engine.target if engine else snapshot.target).engine.version

    def _publish(self, before: Snapshot | None, after: Snapshot) -> None:
        state = LIFECYCLE.states[after.state]
        fields = EntryFields(
            live=state.live,
            ready=state.serving,
            draining=after.state in DRAINS,
            last_error=str(after.cause) if after.cause else None,
            engine_version=self._version(after) if state.live else None,
        )
        if state.serving and (before is None or after.serving != before.serving):
            fields["heartbeat_ms"] = int(self._host.wall() * 1000)
        self._host.registry.note(self._spec.pool_id, fields)


def _differs(goes_on: str | None, declared: str | None) -> str:
    if goes_on == declared:
        return "it goes on with the engine as it was launched, but another one is declared: reload it"
    return f"it goes on with {goes_on!r}, but {declared!r} is declared: reload it to change that"


def _fails(record: Record) -> bool:
    """Whether it tells of a failure."""
    return isinstance(record, EngineCrashed) or (
        isinstance(record, PreloadEnded | ReloadEnded) and record.cause is not None
    )


def _tells(record: Record) -> bool:
    """Whether it says more about a row than the row does."""
    return _fails(record) or isinstance(record, RestartScheduled | RestartBegan | ReloadBegan | ReloadEnded)
