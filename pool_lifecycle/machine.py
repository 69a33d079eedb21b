"""Runs the tables: picks the row for one event. The only module that imports `transitions`.

A `transitions.Machine` is built once from each table and is only ever asked, with a private cursor made for
one question and thrown away, so that steps of any number of pools, from any number of threads, share it.
What is particular about `transitions` 0.9.3 is met here:

- it takes enumeration members for something special, so it is given plain strings;
- its automatic triggers would bypass the table, so they are off;
- it accepts unknown targets and missing guards silently, so tables are checked when they are defined, and
  every guard a table names must be given;
- its callbacks run after the state has changed and cost more than all the rest, so there are none: its
  transitions are extended to note the row they stand for;
- its events prepare for callbacks before they look at a transition, which takes four times as long as to
  look, so they are extended to ask one transition after the other and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define
from transitions import Event, Machine, Transition

from pool_lifecycle.errors import TableError
from pool_lifecycle.table import Row, Table

_Guard = Callable[..., bool]


@define(slots=False, eq=False)
class _Cursor:
    """One question and its answer. `transitions` wants a `__dict__` and comparison by identity."""

    state: str
    facts: tuple[Any, ...]
    row: Row | None = None


class TableMachine:
    """A table that can be asked which row an event takes.

    `guards` gives for each guard the table names a function of the facts that `take` is called with.
    Raises TableError for a guard that is named but not given, or given but not named.
    """

    def __init__(self, table: Table, guards: Mapping[Any, _Guard]) -> None:
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


class _RowTransition(Transition):
    """Stands for a row. Nobody looks at where the cursor is afterwards, so it is not moved."""

    def __init__(self, *given: Any, row: Row, guard: _Guard | None) -> None:
        super().__init__(*given)
        self._row = row
        self._guard = guard

    def takes(self, cursor: _Cursor) -> bool:
        """Whether this is the row, which the cursor is told then."""
        if self._guard is not None and not self._guard(*cursor.facts):
            return False
        cursor.row = self._row
        return True


class _RowEvent(Event):
    def trigger(self, model: Any, *_args: Any, **_kwargs: Any) -> bool:
        """Ask the state's transitions, in the order of their rows, until one is the row."""
        row: Any
        for row in self.transitions[model.state]:  # noqa: SIM110 - a generator takes as long as all the rest
            if row.takes(model):
                return True
        return False


class _RowMachine(Machine):
    transition_cls = _RowTransition
    event_cls = _RowEvent


def _build(table: Table, guards: Mapping[Any, _Guard]) -> Machine:
    machine = _RowMachine(
        model=None,
        states=[str(name) for name in table.states],
        initial=str(table.initial),
        auto_transitions=False,
    )
    for state in table.states.values():
        for row in state.rows:
            machine.add_transition(
                trigger=str(row.event),
                source=str(state.name),
                dest=None if row.to is None else str(row.to),
                row=row,
                guard=None if row.when is None else guards[row.when],
            )
    return machine
