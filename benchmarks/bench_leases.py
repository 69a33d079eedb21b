"""A lease taken and given back, against a counter under a lock: what anybody would write first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.rows import Row, each_in_turn
from pool_lifecycle.leases import LeaseBook

NUMBER = 20_000
THREADS = 2


class Counter:
    """The peer: plus one and minus one under a lock."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def up(self) -> int:
        """One more."""
        with self.lock:
            self.count += 1
            return self.count

    def down(self) -> int:
        """One less."""
        with self.lock:
            self.count -= 1
            return self.count


def run() -> Iterator[Row]:
    """On one thread, then on two at once."""
    book, counter = _open_book(), Counter()

    def lease() -> None:
        book.acquire("bench").release()

    def count() -> None:
        counter.up()
        counter.down()

    alone = each_in_turn({"lease": lease, "count": count}, number=NUMBER)
    yield Row.against(
        "lease acquire+release", alone["lease"] * 1e9, "ns", "locked +1 -1", alone["count"] * 1e9, most=3
    )
    shared = each_in_turn(
        {"lease": lambda: _together(lease), "count": lambda: _together(count)}, number=1, rounds=7
    )
    per_pair = {name: taken / (NUMBER * THREADS) * 1e9 for name, taken in shared.items()}
    yield Row.against(
        f"the same, {THREADS} threads", per_pair["lease"], "ns", "locked +1 -1", per_pair["count"], most=8
    )


def _open_book() -> LeaseBook:
    book = LeaseBook("bench", 64, time.monotonic)
    book.open(1, "http://127.0.0.1:1")
    return book


def _together(call: Callable[[], None]) -> None:
    def loop() -> None:
        for _ in range(NUMBER):
            call()

    threads = [threading.Thread(target=loop) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
