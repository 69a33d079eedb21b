"""Runs the tables: picks the row for one event. The only module that imports `transitions`.

A `transitions.Machine` is built once from each table and then only ever moves a private cursor, made for
one step and thrown away, so that steps of any number of pools, from any number of threads, share it.
What is particular about `transitions` 0.9.3 is met here:

- it takes enumeration members for something special, so it is given plain strings;
- its automatic triggers would bypass the table, so they are off;
- it accepts unknown targets and missing guards silently, so tables are checked when they are defined, and
  every guard a table names must be given;
- its callbacks run after the state has changed, so ours only note the row taken and cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define
from transitions import EventData, Machine

from pool_lifecycle.errors import TableError
from pool_lifecycle.table import Row, Table


@define(slots=False, eq=False)
class _Cursor:
    """What one step moves. `transitions` wants a `__dict__` and comparison by identity."""

    state: str
    facts: tuple[Any, ...]
    row: Row | None = None


class TableMachine:
    """A table that can be asked which row an event takes.

    `guards` gives for each guard the table names a function of the facts that `take` is called with.
    Raises TableError for a guard that is named but not given, or given but not named.
    """

    def __init__(self, table: Table, guards: Mapping[Any, Callable[..., bool]]) -> None:
        self.table = table
        named = {row.when for rows in table.rows.values() for row in rows if row.when is not None}
        defects = [f"guard '{name}' is named but not given" for name in sorted(named - guards.keys())]
        defects += [f"guard '{name}' is given but not named" for name in sorted(guards.keys() - named)]
        if defects:
            raise TableError(table.name, defects)
        self._names = {name: str(name) for name in table.states}
        self._events = _build(table, guards).events

    def take(self, state: str, event: str, *facts: object) -> Row | None:
        """The row that `event` takes from `state` given the facts, or None if the state has no row for it."""
        if (state, event) not in self.table.rows:
            return None
        cursor = _Cursor(self._names[state], facts)
        self._events[event].trigger(cursor)
        return cursor.row


def _build(table: Table, guards: Mapping[Any, Callable[..., bool]]) -> Machine:
    machine = Machine(
        model=None,
        states=[str(name) for name in table.states],
        initial=str(table.initial),
        auto_transitions=False,
        send_event=True,
    )
    for state in table.states.values():
        for row in state.rows:
            machine.add_transition(
                trigger=str(row.event),
                source=str(state.name),
                dest=None if row.to is None else str(row.to),
                conditions=[_condition(guards[row.when])] if row.when is not None else None,
                before=[_note(row)],
            )
    return machine


def _condition(guard: Callable[..., bool]) -> Callable[[EventData], bool]:
    def condition(data: EventData) -> bool:
        cursor: Any = data.model
        return guard(*cursor.facts)

    return condition


def _note(row: Row) -> Callable[[EventData], None]:
    def note(data: EventData) -> None:
        cursor: Any = data.model
        cursor.row = row

    return note
