"""What is said, and how."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pool_lifecycle.cli.words import Lines, Story, console, printable


def record(message: str, level: int = logging.INFO, **fields: str) -> logging.LogRecord:
    """A log record of the runtime."""
    made = logging.LogRecord("pool_lifecycle", level, "", 0, message, (), None)
    made.__dict__["pool_lifecycle"] = {"event": "Moved", **fields}
    return made


def terminal(width: int = 40) -> Console:
    """A terminal without colours."""
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(to: Console) -> str:
    """What is on it."""
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@given(st.text())
def test_nothing_that_is_printed_can_steer_a_terminal(text: str) -> None:
    """Escapes, bells and bidirectional marks come out as text; plain text stays as it is."""
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()


def test_a_story_line_says_when_who_and_what() -> None:
    """A long one goes on below its own beginning; brackets are no markup."""
    to = terminal()
    Story(to, 5, print).handle(record("chat: x [bold]y " + "word " * 8, pool_id="chat"))
    first, second, *_ = shown(to).splitlines()
    assert first[8:].startswith(" chat  x [bold]y word")
    assert second.startswith(" " * 15 + "word")


def test_a_story_line_in_a_file_stays_one_line() -> None:
    """So that it can be searched for."""
    to = Console(file=io.StringIO(), width=20)
    Story(to, 4, print).handle(record("chat: " + "word " * 30 + "\x1b[2J", pool_id="chat"))
    assert shown(to).count("\n") == 1
    assert "\x1b" not in shown(to)


def test_the_story_leaves_out_what_was_just_told() -> None:
    """The row that made a pool ready is the news, or the crash; what else is told of it is for machines."""
    to = terminal()
    story = Story(to, 4, print)
    story.handle(record("chat: ready", pool_id="chat", event="PreloadEnded"))
    for event in ("EngineEnded", "EngineUnhealthy", "CrashLogKept"):
        story.handle(record("chat: ended", pool_id="chat", event=event))
    ended = record("chat: start failed", pool_id="chat", event="PreloadEnded")
    ended.__dict__["pool_lifecycle"]["crashed"] = True
    story.handle(ended)
    assert shown(to) == ""
    ended.__dict__["pool_lifecycle"]["crashed"] = False
    story.handle(ended)
    assert "start failed" in shown(to)


def test_beside_a_bar_no_line_says_how_far_a_model_is() -> None:
    """Without a screen, lines do, now and then."""
    on_its_way = record("chat: staging a: 1 of 2", pool_id="chat", event="StagingProgressed")
    to = terminal()
    Story(to, 4, print, bars=True).handle(on_its_way)
    assert shown(to) == ""
    Story(to, 4, print).handle(on_its_way)
    assert "staging a: 1 of 2" in shown(to)


class Broken(io.StringIO):
    """A terminal or a pipe that is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    "made",
    [
        lambda broken: Lines(Broken(), broken),
        lambda broken: Story(console(Broken()), 4, broken),
    ],
)
def test_a_reader_who_went_away_is_noticed(made: Callable[[Callable[[], object]], logging.Handler]) -> None:
    """And nothing is raised into the runtime."""
    noticed: list[str] = []
    handler = made(lambda: noticed.append("yes"))
    handler.handle(record("x"))
    assert noticed == ["yes"]
    handler.close()


def test_an_encoding_that_cannot_show_it_gets_an_escape() -> None:
    """Not an error."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    console(stream).print("modèle")
    stream.flush()
    assert raw.getvalue() == b"mod\\xe8le\n"
