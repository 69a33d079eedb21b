"""The thread that may wait for a disk."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from pool_lifecycle import sqlite_keeper
from pool_lifecycle.sqlite_keeper import Keeper


def test_it_does_one_thing_after_the_other_and_says_what_came_of_it() -> None:
    """Results and errors go to whoever asked; an error stops nothing."""
    keeper, done = Keeper(lambda: False, lambda: None), list[int]()
    futures = [keeper.submit(done.append, number) for number in range(20)]
    wrong = keeper.submit(int, "x")
    right = keeper.submit(int, "7")
    assert right.result() == 7
    assert isinstance(wrong.exception(), ValueError)
    assert all(future.done() for future in futures)
    assert done == list(range(20))
    assert keeper.end(10.0)


def test_what_was_cancelled_before_its_turn_is_not_done() -> None:
    """Its waiter has gone."""
    keeper, go_on, done = Keeper(lambda: False, lambda: None), threading.Event(), list[int]()
    keeper.submit(go_on.wait)
    future = keeper.submit(done.append, 1)
    assert future.cancel()
    go_on.set()
    assert keeper.end(10.0)
    assert done == []
    with pytest.raises(CancelledError):
        future.result()


def test_while_it_is_restless_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error; and it is quiet when nothing is left (V8)."""
    monkeypatch.setattr(sqlite_keeper, "RETRY", 0.0)
    left, worked = [3, 2, 1], threading.Event()

    def again() -> None:
        left.pop()
        if not left:
            worked.set()
        raise OSError

    keeper = Keeper(lambda: bool(left), again)
    keeper.submit(int).result()
    assert worked.wait(60.0)
    assert keeper.end(10.0)


def test_one_that_was_never_asked_has_no_thread() -> None:
    """And ends at once."""
    keeper = Keeper(lambda: True, lambda: None)
    assert keeper.end(0.0)
    assert "pool-lifecycle store" not in {thread.name for thread in threading.enumerate()}
