"""Transition tables as values, and the checks a table must pass when it is defined.

A table lists every state, and for each state the rows that lead out of it. A row names an event, the state
it leads to, the guard it needs (if any) and, in English, why. For one state and event the rows are tried
in order: the first whose guard holds is taken, so the last one must have no guard. A row that leads
nowhere (`STAY`) changes facts without leaving the state: nothing is exited, nothing entered.

A damaged table cannot be defined: `Table` raises a TableError with one sentence per defect.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

from attrs import field, frozen

from pool_lifecycle.errors import TableError


class Kind(enum.StrEnum):
    """A stable state may last; a transient one has work under way that ends it."""

    STABLE = "stable"
    TRANSIENT = "transient"


STAY: Final = None
"""The target of a row that does not leave its state."""


@frozen
class Row:
    """On `event`, if `when` holds, go to `to`. `mark` tells apart rows that mean different things."""

    event: str
    to: str | None
    why: str
    when: str | None = None
    mark: str | None = None


@frozen
class State:
    """One state: what is true while it lasts, and its rows.

    `live`: a serving engine lives. `serving`: leases are granted. `activity`: the work that starts on
    entry and is cancelled on exit. `limit`: names how long it may last; when that is over the event
    `on_deadline` is sent. `launches`: entering it begins a new engine, of the named model.
    """

    name: str
    kind: Kind
    rows: tuple[Row, ...]
    live: bool = False
    serving: bool = False
    activity: str | None = None
    limit: str | None = None
    on_deadline: str | None = None
    launches: str | None = None


@frozen(slots=False)
class Table:
    """A whole machine. `initial` is where it begins, `rest` what it must always be able to reach.

    `failures` are the events by which work may report that it failed. `common` are rows that every state
    has which does not decide the event itself; `same_as` maps an event to the one whose rows it shares.
    """

    name: str
    initial: str
    rest: str
    declared: tuple[State, ...]
    failures: frozenset[str] = frozenset()
    common: tuple[Row, ...] = ()
    same_as: Mapping[str, str] = field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        defects = [defect for check in _CHECKS for defect in check(self)]
        if defects:
            raise TableError(self.name, defects)

    @cached_property
    def states(self) -> dict[str, State]:
        """Every state by name, its common and shared rows written out."""
        return {state.name: self._complete(state) for state in self.declared}

    @cached_property
    def rows(self) -> dict[tuple[str, str], tuple[Row, ...]]:
        """The rows for each (state, event) that has any, in the order in which they are tried."""
        table: dict[tuple[str, str], tuple[Row, ...]] = {}
        for state in self.states.values():
            for row in state.rows:
                key = (state.name, row.event)
                table[key] = (*table.get(key, ()), row)
        return table

    @cached_property
    def _legal(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(sorted({row.event for row in state.rows})) for name, state in self.states.items()}

    def legal(self, state: str) -> tuple[str, ...]:
        """The events that `state` has rows for."""
        return self._legal[state]

    def _complete(self, state: State) -> State:
        decided = {row.event for row in state.rows}
        rows = list(state.rows)
        rows += [row for row in self.common if row.event not in decided]
        for event, model in self.same_as.items():
            rows += [
                Row(event, row.to, row.why, row.when, row.mark) for row in state.rows if row.event == model
            ]
        return State(
            state.name,
            state.kind,
            tuple(rows),
            live=state.live,
            serving=state.serving,
            activity=state.activity,
            limit=state.limit,
            on_deadline=state.on_deadline,
            launches=state.launches,
        )


# --- definition-time checks: each yields one sentence per defect -----------------------------------------


def _duplicate_states(table: Table) -> Iterator[str]:
    for name, count in Counter(state.name for state in table.declared).items():
        if count > 1:
            yield f"state '{name}' is declared {count} times"


def _unknown_targets(table: Table) -> Iterator[str]:
    known = {state.name for state in table.declared}
    for named, role in ((table.initial, "initial"), (table.rest, "rest")):
        if named not in known:
            yield f"the {role} state '{named}' is not declared"
    for row in table.common:
        if row.to is not STAY and row.to not in known:
            yield f"every state on '{row.event}' leads to '{row.to}', which is not declared"
    for state in table.declared:
        for row in state.rows:
            if row.to is not STAY and row.to not in known:
                yield f"'{state.name}' on '{row.event}' leads to '{row.to}', which is not declared"


def _duplicate_rows(table: Table) -> Iterator[str]:
    for state in table.declared:
        for (event, when), count in Counter((row.event, row.when) for row in state.rows).items():
            if count > 1:
                guard = f" when {when}" if when else ""
                yield f"'{state.name}' has {count} rows for '{event}'{guard}"


def _open_guards(table: Table) -> Iterator[str]:
    for (state, event), rows in table.rows.items():
        if rows[-1].when is not None:
            yield f"'{state}' on '{event}' ends with a guarded row, so that no row might match"
        if any(row.when is None for row in rows[:-1]):
            yield f"'{state}' on '{event}' has rows after an unguarded one, which can never be taken"


def _missing_reasons(table: Table) -> Iterator[str]:
    for state in table.declared:
        for row in state.rows:
            if not row.why:
                yield f"'{state.name}' on '{row.event}' gives no reason"


def _unreachable(table: Table) -> Iterator[str]:
    reached = _closure(table.initial, _arrows(table))
    for state in table.declared:
        if state.name not in reached:
            yield f"'{state.name}' cannot be reached from '{table.initial}'"


def _traps(table: Table) -> Iterator[str]:
    for name, ways in _arrows(table).items():
        if not ways:
            yield f"'{name}' is a trap: no row leads out of it"


def _no_rest(table: Table) -> Iterator[str]:
    backwards: dict[str, set[str]] = {state.name: set() for state in table.declared}
    for name, ways in _arrows(table).items():
        for way in ways & backwards.keys():
            backwards[way].add(name)
    home = _closure(table.rest, backwards)
    for state in table.declared:
        if state.name not in home:
            yield f"'{state.name}' has no path to '{table.rest}'"


def _idle_transients(table: Table) -> Iterator[str]:
    for state in table.declared:
        if state.kind is Kind.TRANSIENT and state.activity is None:
            yield f"'{state.name}' is transient but has no activity"


def _silent_transients(table: Table) -> Iterator[str]:
    for state in table.declared:
        if state.kind is Kind.TRANSIENT and not table.failures & {row.event for row in state.rows}:
            yield f"'{state.name}' is transient but has no row by which a failure can be reported"


def _endless_transients(table: Table) -> Iterator[str]:
    for state in table.declared:
        events = {row.event for row in state.rows}
        if state.kind is Kind.TRANSIENT and state.on_deadline is None:
            yield f"'{state.name}' is transient but has no deadline event"
        if state.on_deadline is not None and state.on_deadline not in events:
            yield f"'{state.name}' has no row for its deadline event '{state.on_deadline}'"
        if (state.on_deadline is None) != (state.limit is None):
            yield f"'{state.name}' needs both a limit and a deadline event, or neither"


def _arrows(table: Table) -> dict[str, set[str]]:
    """For each declared state, the other states its rows lead to."""
    return {
        state.name: {row.to for row in state.rows if row.to is not STAY and row.to != state.name}
        for state in table.declared
    }


def _closure(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    reached, ahead = {start}, [start]
    while ahead:
        fresh = arrows.get(ahead.pop(), set()) - reached
        reached |= fresh
        ahead += fresh
    return reached


_CHECKS = (
    _duplicate_states,
    _unknown_targets,
    _duplicate_rows,
    _open_guards,
    _missing_reasons,
    _unreachable,
    _traps,
    _no_rest,
    _idle_transients,
    _silent_transients,
    _endless_transients,
)
