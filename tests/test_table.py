"""A damaged table cannot be defined: one sentence, and one test, per kind of damage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pool_lifecycle.errors import TableError
from pool_lifecycle.table import STAY, Kind, Row, State, Table

OFF = State("off", Kind.STABLE, rows=(Row("switch", "on", "wanted"),))
ON = State("on", Kind.STABLE, rows=(Row("switch", "off", "not wanted"),))
WARMING = State(
    "warming",
    Kind.TRANSIENT,
    rows=(Row("warm", "on", "done"), Row("failed", "off", "it broke"), Row("late", "off", "too slow")),
    activity="warm",
    limit="warming",
    on_deadline="late",
)
TO_WARMING = State("off", Kind.STABLE, rows=(Row("switch", "warming", "wanted"),))


def table(*states: State, **fields: Any) -> Table:
    """A table that begins and rests at `off`."""
    given: Mapping[str, Any] = {"initial": "off", "rest": "off", "failures": frozenset({"failed"}), **fields}
    return Table(name="lamp", declared=states, **given)


def defects(*states: State, **fields: Any) -> tuple[str, ...]:
    """What is wrong with a table."""
    with pytest.raises(TableError) as raised:
        table(*states, **fields)
    assert raised.value.table == "lamp"
    assert str(raised.value) == "table 'lamp': " + "; ".join(raised.value.defects)
    return raised.value.defects


def on(*rows: Row) -> State:
    """The state `on` with rows beside its way out."""
    return State("on", Kind.STABLE, rows=(*rows, Row("switch", "off", "not wanted")))


def warming(**changes: Any) -> State:
    """The transient state with something changed."""
    fields: dict[str, Any] = {name: getattr(WARMING, name) for name in ("activity", "limit", "on_deadline")}
    rows = changes.pop("rows", WARMING.rows)
    return State("warming", Kind.TRANSIENT, rows=rows, **{**fields, **changes})


def test_a_sound_table_is_accepted() -> None:
    """Nothing is found where nothing is wrong."""
    assert set(table(TO_WARMING, WARMING, ON).states) == {"off", "warming", "on"}


def test_duplicate_state() -> None:
    """A state is declared once."""
    assert defects(OFF, ON, ON) == ("state 'on' is declared 2 times",)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rest": "dark"}, "the rest state 'dark' is not declared"),
        ({"initial": "dark"}, "the initial state 'dark' is not declared"),
        (
            {"common": (Row("reset", "dark", "why not"),)},
            "every state on 'reset' leads to 'dark', which is not declared",
        ),
    ],
)
def test_unknown_initial_rest_and_common_target(fields: dict[str, Any], sentence: str) -> None:
    """Where a table begins, rests, and leads from everywhere has to be declared."""
    assert sentence in defects(OFF, ON, **fields)


def test_unknown_target() -> None:
    """A row leads to a declared state."""
    assert defects(OFF, on(Row("dim", "dimmed", "softer"))) == (
        "'on' on 'dim' leads to 'dimmed', which is not declared",
    )


@pytest.mark.parametrize(("when", "shown"), [(None, ""), ("cold", " when cold")])
def test_duplicate_row(when: str | None, shown: str) -> None:
    """An event with one guard is decided by one row."""
    rows = [Row("dim", STAY, "softer", when=when)] * 2
    assert f"'on' has 2 rows for 'dim'{shown}" in defects(OFF, on(*rows))


def test_no_last_unguarded_row() -> None:
    """Whatever the guards say, some row is taken."""
    assert defects(OFF, on(Row("dim", STAY, "softer", when="cold"))) == (
        "'on' on 'dim' ends with a guarded row, so that no row might match",
    )


def test_row_that_is_never_taken() -> None:
    """Behind an unguarded row no other is ever tried."""
    rows = (
        Row("dim", STAY, "softer"),
        Row("dim", "off", "darker", when="cold"),
        Row("dim", STAY, "x", when="y"),
    )
    assert "'on' on 'dim' has rows after an unguarded one, which can never be taken" in defects(
        OFF, on(*rows)
    )


def test_row_without_a_reason() -> None:
    """Every arrow says why."""
    assert defects(OFF, on(Row("dim", STAY, ""))) == ("'on' on 'dim' gives no reason",)


def test_unreachable_state() -> None:
    """Every state can be reached from the initial one."""
    attic = State("attic", Kind.STABLE, rows=(Row("switch", "off", "down"),))
    assert defects(OFF, ON, attic) == ("'attic' cannot be reached from 'off'",)


def test_trap() -> None:
    """Some row leads out of every state; one that stays, or leads back at once, does not."""
    cellar = State("cellar", Kind.STABLE, rows=(Row("wait", STAY, "dark"), Row("turn", "cellar", "dark")))
    found = defects(OFF, on(Row("fall", "cellar", "oops")), cellar)
    assert "'cellar' is a trap: no row leads out of it" in found


def test_no_path_to_rest() -> None:
    """From everywhere the rest state can be reached, also where something leads out."""
    left = State("left", Kind.STABLE, rows=(Row("turn", "right", "round"),))
    right = State("right", Kind.STABLE, rows=(Row("turn", "left", "and round"),))
    assert defects(OFF, on(Row("fall", "left", "oops")), left, right) == (
        "'left' has no path to 'off'",
        "'right' has no path to 'off'",
    )


def test_transient_without_an_activity() -> None:
    """Work has to be under way in a transient state, or nothing would end it."""
    assert defects(TO_WARMING, warming(activity=None), ON) == ("'warming' is transient but has no activity",)


def test_transient_that_cannot_report_a_failure() -> None:
    """Work that fails needs a row to say so."""
    rows = tuple(row for row in WARMING.rows if row.event != "failed")
    assert defects(TO_WARMING, warming(rows=rows), ON) == (
        "'warming' is transient but has no row by which a failure can be reported",
    )


def test_transient_without_a_deadline() -> None:
    """Work that never ends is ended."""
    assert defects(TO_WARMING, warming(limit=None, on_deadline=None), ON) == (
        "'warming' is transient but has no deadline event",
    )


def test_deadline_without_a_row() -> None:
    """The event a deadline sends is one the state has a row for."""
    assert defects(TO_WARMING, warming(on_deadline="midnight"), ON) == (
        "'warming' has no row for its deadline event 'midnight'",
    )


def test_deadline_without_a_limit() -> None:
    """A deadline event needs a time, and a time an event."""
    sentence = ("'warming' needs both a limit and a deadline event, or neither",)
    assert defects(TO_WARMING, warming(limit=None), ON) == sentence


def test_all_defects_at_once() -> None:
    """Who mends a table learns everything that is wrong with it."""
    found = defects(OFF, on(Row("dim", "dimmed", "")))
    assert len(found) == 2


# --- what a table says -----------------------------------------------------------------------------------


def test_common_rows_are_everywhere_but_where_a_state_decides_itself() -> None:
    """`common` rows stand in every state that does not decide their event."""
    lamp = table(OFF, on(Row("reset", "off", "its own way")), common=(Row("reset", STAY, "nothing"),))
    assert lamp.rows["off", "reset"] == (Row("reset", STAY, "nothing"),)
    assert lamp.rows["on", "reset"] == (Row("reset", "off", "its own way"),)


def test_an_event_can_share_the_rows_of_another() -> None:
    """`same_as` copies each row, with its guard, its reason and its mark."""
    lamp = table(
        OFF,
        on(Row("dim", "off", "softly", when="cold"), Row("dim", STAY, "x", mark="m")),
        same_as={"fade": "dim"},
    )
    assert lamp.rows["on", "fade"] == (
        Row("fade", "off", "softly", "cold"),
        Row("fade", STAY, "x", None, "m"),
    )
    assert ("off", "fade") not in lamp.rows


def test_rows_keep_their_order() -> None:
    """The first row whose guard holds is taken, so the order is part of the table."""
    rows = (Row("dim", "off", "a", when="cold"), Row("dim", STAY, "b", when="warm"), Row("dim", "off", "c"))
    assert table(OFF, on(*rows)).rows["on", "dim"] == rows


def test_legal_events_are_listed() -> None:
    """A state can say which events it has rows for."""
    assert table(OFF, on(Row("dim", STAY, "softer"))).legal("on") == ("dim", "switch")
