"""Lease books to test with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pool_lifecycle.lease import GateReason, Lease
from pool_lifecycle.leases import LeaseBook

DRAINING = GateReason("draining", draining=True)


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_book(slots: int = 2, clock: Callable[[], float] | None = None) -> LeaseBook:
    book = LeaseBook("chat", slots, clock or Clock())
    book.open(1, "http://127.0.0.1:80")
    return book


def loop_book(slots: int = 1) -> LeaseBook:
    return a_book(slots, asyncio.get_running_loop().time)


def asking(book: LeaseBook, holder: str, **options: Any) -> asyncio.Task[Lease]:
    return asyncio.create_task(book.acquire_within(holder, **options), name=holder)
