"""What is particular about `transitions` 0.9.3, met once and for all.

Each trap is shown first in `transitions` itself, so that a release that changes it is noticed, and then
not to be there in ours.
"""

from __future__ import annotations

import ast
import enum
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import transitions
from attrs import define
from transitions import Machine

import pool_lifecycle
from pool_lifecycle.errors import TableError
from pool_lifecycle.machine import TableMachine, _Cursor
from pool_lifecycle.table import STAY, Kind, Row, State, Table


class Lamp(enum.StrEnum):
    """The states of a lamp."""

    OFF = "off"
    ON = "on.bright"


OFF_ROWS = (
    Row("switch", Lamp.ON, "dark outside", when="dark"),
    Row("switch", Lamp.ON, "wanted", when="wanted"),
    Row("switch", STAY, "no need", mark="refused"),
)
LAMP = Table(
    name="lamp",
    initial=Lamp.OFF,
    rest=Lamp.OFF,
    declared=(
        State(Lamp.OFF, Kind.STABLE, rows=OFF_ROWS),
        State(Lamp.ON, Kind.STABLE, rows=(Row("switch", Lamp.OFF, "enough"), Row("dim", STAY, "softer"))),
    ),
)

GUARDS = {"dark": lambda dark, _wanted: dark, "wanted": lambda _dark, wanted: wanted}


def machine() -> TableMachine:
    """The lamp, ready to be asked."""
    return TableMachine(LAMP, GUARDS)


def bare(model: object = None, **options: Any) -> Machine:
    """A `transitions` machine of two states, as its documentation would make it."""
    return Machine(model=model, states=["off", "on"], initial="off", **options)


# --- the table is what happens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dark", "wanted", "taken"),
    [(True, True, 0), (True, False, 0), (False, True, 1), (False, False, 2)],
)
def test_the_first_row_whose_guard_holds_is_taken(dark: bool, wanted: bool, taken: int) -> None:
    """Rows are tried in order, and guards are asked with the facts given."""
    assert machine().take(Lamp.OFF, "switch", dark, wanted) is OFF_ROWS[taken]


def test_an_event_without_a_row_takes_none() -> None:
    """Nothing is raised and nothing is guessed."""
    assert machine().take(Lamp.OFF, "dim", True, True) is None
    assert machine().take(Lamp.OFF, "explode", True, True) is None


def test_a_row_that_stays_is_taken_too() -> None:
    """`transitions` calls these internal: they note their row and go nowhere."""
    row = machine().take(Lamp.ON, "dim", False, False)
    assert row is not None
    assert row.to is STAY


def test_a_guard_that_raises_is_not_hidden() -> None:
    """A broken guard is a broken program: nobody is told that the event was impossible."""
    broken = TableMachine(LAMP, {**GUARDS, "dark": lambda _dark, _wanted: 1 / 0 > 0})
    with pytest.raises(ZeroDivisionError):
        broken.take(Lamp.OFF, "switch", True, True)


# --- traps -----------------------------------------------------------------------------------------------


@define(slots=False, eq=False)
class Model:
    """Something for `transitions` to move."""

    state: str = "off"


def test_automatic_triggers_would_bypass_the_table() -> None:
    """`transitions` adds `to_<state>` for every state; ours knows only the events of the table."""
    model: Any = Model()
    bare(model)
    model.to_on()
    assert model.state == "on"
    assert set(machine()._events) == {"switch", "dim"}


def test_unknown_sources_and_targets_are_accepted_silently() -> None:
    """`transitions` notices a missing state only when somebody goes there; our tables cannot have one."""
    bare().add_transition("jump", "off", "nowhere")
    bare().add_transition("jump", "nowhere", "off")
    with pytest.raises(TableError, match="'off' on 'jump' leads to 'nowhere', which is not declared"):
        Table("lamp", "off", "off", (State("off", Kind.STABLE, rows=(Row("jump", "nowhere", "why"),)),))


def test_missing_guards_are_accepted_silently() -> None:
    """`transitions` looks for a guard when it needs it; ours are all given, and all used, from the start."""
    bare(auto_transitions=False).add_transition("switch", "off", "on", conditions=["misspelt"])
    with pytest.raises(TableError, match="guard 'dark' is named but not given"):
        TableMachine(LAMP, {"wanted": GUARDS["wanted"]})
    with pytest.raises(TableError, match="guard 'light' is given but not named"):
        TableMachine(LAMP, {**GUARDS, "light": GUARDS["dark"]})


def test_duplicates_are_accepted_silently() -> None:
    """`transitions` takes the first of two equal rows; our tables refuse the second."""
    twice = bare()
    twice.add_transition("switch", "off", "on")
    twice.add_transition("switch", "off", "off")
    rows = (Row("switch", STAY, "a"), Row("switch", STAY, "b"))
    with pytest.raises(TableError, match="'off' has 2 rows for 'switch'"):
        Table("lamp", "off", "off", (State("off", Kind.STABLE, rows=rows),))


def test_enumerations_are_something_special_to_it() -> None:
    """`transitions` names an enumeration's state by its member name; ours go by value, with dots in it."""
    model: Any = Model()
    Machine(model=model, states=Lamp, initial=Lamp.OFF)
    assert model.is_OFF()
    row = machine().take(Lamp.ON, "switch", False, False)
    assert row is not None
    assert row.to is Lamp.OFF


def test_the_model_needs_a_dict_and_identity() -> None:
    """`transitions` writes to its models and keeps them in lists: slots or `==` would break it."""
    one, other = _Cursor("off", ()), _Cursor("off", ())
    assert vars(one) == vars(other)
    assert one != other
    assert len({one, other}) == 2


def test_the_state_has_changed_when_a_later_callback_raises() -> None:
    """In `transitions` a callback that raises leaves the new state behind; ours has no callbacks at all."""

    def broken() -> None:
        raise RuntimeError("too late")

    model: Any = Model()
    bare(model).add_transition("switch", "off", "on", after=broken)
    with pytest.raises(RuntimeError):
        model.switch()
    assert model.state == "on"
    ours = [
        one for event in machine()._events.values() for rows in event.transitions.values() for one in rows
    ]
    assert len(ours) == sum(map(len, LAMP.rows.values()))
    assert not any(one.prepare or one.before or one.after for one in ours)


def test_a_failed_step_leaves_nothing_behind() -> None:
    """The cursor of one question is not the cursor of the next, also after a guard raised."""
    moody = TableMachine(LAMP, {**GUARDS, "dark": lambda dark, _wanted: 1 / dark > 0})
    with pytest.raises(ZeroDivisionError):
        moody.take(Lamp.OFF, "switch", 0, True)
    assert moody.take(Lamp.OFF, "switch", 1, True) is OFF_ROWS[0]


def test_threads_share_one_machine() -> None:
    """Any number of threads may ask at once: each moves a cursor of its own."""
    shared = machine()

    def ask(number: int) -> bool:
        dark, wanted = bool(number & 1), bool(number & 2)
        expected = OFF_ROWS[0 if dark else 1 if wanted else 2]
        return shared.take(Lamp.OFF, "switch", dark, wanted) is expected

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(2000)))


def test_asking_leaves_the_machine_as_it_was() -> None:
    """No model is registered, so that ten thousand pools cost the machine nothing."""
    lamp = TableMachine(LAMP, GUARDS)
    lamp.take(Lamp.OFF, "switch", True, True)
    assert lamp._events["switch"].machine.models == []


def test_only_one_module_imports_transitions() -> None:
    """Whoever replaces `transitions` has one module to look at; its `AsyncMachine`, which cancels what runs
    or delays what is urgent, is never used."""
    root = Path(pool_lifecycle.__file__).parent
    found = {str(path.relative_to(root)): _imports(path) for path in root.rglob("*.py")}
    users = {name: [one for one in names if one.startswith("transitions")] for name, names in found.items()}
    assert {name: names for name, names in users.items() if names} == {"machine.py": ["transitions"]}
    assert transitions.__version__ >= "0.9.3"


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
