"""The command that says what a pool has been through."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import asdict, evolve
from click.testing import CliRunner, Result

from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.kept import Passage
from pool_lifecycle.sqlite_store import SqliteStore
from tests.stored import a_passage, a_store, numbered


def invoke(*args: object) -> Result:
    """The command, as if typed."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["history", *map(str, args)])


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is the same wherever this runs."""
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[SqliteStore]:
    """The store of a manager that runs."""
    with a_store(tmp_path) as store:
        for number in range(1, 4):
            store.save(numbered(number), a_passage(number))
        store.save(numbered(4), evolve(a_passage(4), cause="\x1b[2J no memory"))
        store.save(numbered(1, "embed"), a_passage(1, "embed"))
        yield store


def test_it_is_told_while_a_manager_runs(running: SqliteStore, tmp_path: Path) -> None:
    """A line for each change, the oldest first; nothing that could steer a terminal."""
    result = invoke("chat", "--state-dir", tmp_path)
    assert result.exit_code == Exit.OK
    first, *_, last = result.stdout.splitlines()
    assert first == "2027-01-15 08:00:01  stopped → staging  start: reason 1"
    assert last == "2027-01-15 08:00:04  stopped → staging  start: reason 4 (\\x1b[2J no memory)"
    assert running.save(numbered(5), a_passage(5))


def test_what_left_a_pool_as_it_was_is_told_as_such(running: SqliteStore, tmp_path: Path) -> None:
    """A new manager that took over, a request that was refused: no arrow from a state to itself."""
    running.save(numbered(5), Passage.adopted(numbered(5).snapshot, "a new manager took over", 1_800_000_005))
    last = invoke("chat", "--state-dir", tmp_path).stdout.splitlines()[-1]
    assert last == "2027-01-15 08:00:05  stopped  adopted: a new manager took over"


def test_it_is_told_afterwards(running: SqliteStore, tmp_path: Path) -> None:
    """As many as asked for; the database stays as it is."""
    running.close()
    before = (tmp_path / "state.db").read_bytes()
    lines = invoke("chat", "--state-dir", tmp_path, "--limit", 2).stdout.splitlines()
    assert [line.split("reason ")[1][0] for line in lines] == ["3", "4"]
    assert (tmp_path / "state.db").read_bytes() == before


@pytest.mark.usefixtures("running")
def test_it_speaks_json(tmp_path: Path) -> None:
    """One document with every field."""
    found = json.loads(invoke("embed", "--state-dir", tmp_path, "--format", "json").stdout)
    assert found == {"pool_id": "embed", "passages": [asdict(a_passage(1, "embed"))]}


@pytest.mark.usefixtures("running")
def test_a_pool_that_is_not_known_is_a_usage_error(tmp_path: Path) -> None:
    """Which ones there are is said."""
    result = invoke("chta", "--state-dir", tmp_path)
    assert result.exit_code == Exit.USAGE
    assert "nothing is known of 'chta'; there is a history of chat, embed" in " ".join(result.stderr.split())


def test_a_folder_without_a_database_is_told(tmp_path: Path) -> None:
    """Nothing is made there."""
    result = invoke("chat", "--state-dir", tmp_path)
    assert result.exit_code == Exit.STATE_DIR
    assert "it is not there; name the state directory of a manager (--state-dir)" in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    """And left to the manager."""
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    result = invoke("chat", "--state-dir", tmp_path)
    assert result.exit_code == Exit.STATE_DIR
    assert "it is damaged" in result.stderr
