"""A program that saves, and says so as soon as it has: for tests that end it, trace it or fill its disk.

`python -m tests.saving TASK DIRECTORY`: see the functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from itertools import count
from pathlib import Path

from pool_lifecycle import sqlite_store
from pool_lifecycle.errors import StoreError
from pool_lifecycle.sqlite_store import SqliteStore
from tests.stored import a_lease, a_passage, numbered

POOLS = 5


def say(*words: object) -> None:
    """At once, whatever becomes of this program."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def endless(store: SqliteStore) -> None:
    """Save without end, with a new log every few commits; say what is kept, leases too."""

    async def save() -> None:
        for number in count(1):
            pool_id = f"pool-{number % POOLS}"
            if not store.save(numbered(number, pool_id), a_passage(number, pool_id)):
                await store.kept(pool_id)
            say("kept", pool_id, number)
            with contextlib.suppress(StoreError):  # on a loop it does not wait for a slow disk
                store.save_lease(pool_id, a_lease(number))
                say("leased", pool_id, number)

    store.load()
    asyncio.run(save())


def traced(store: SqliteStore) -> None:
    """Save on the main thread, open on another one, and have everything made durable now and then."""

    async def save() -> None:
        await asyncio.to_thread(store.load)
        for number in range(400):
            store.save(numbered(number), a_passage(number))
            if number % 50 == 0:
                await store.durable()

    asyncio.run(save())
    store.close()
    say("done")


def full(store: SqliteStore) -> None:
    """Save on a disk that is full, then has room again."""
    store.load()
    store.save(numbered(1))
    ballast = Path(store.path).with_name("ballast")
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    for number in range(1, 500):
        pool_id = f"pool-{number}"
        if not store.save(numbered(number, pool_id), a_passage(number, pool_id)):
            break
    try:
        asyncio.run(store.kept(pool_id))
    except StoreError as error:
        say("told", error)
    ballast.unlink()
    while store._disk.pending:
        time.sleep(0.01)
    asyncio.run(store.durable())
    say("kept", pool_id, number)
    store.close()
    with_all = SqliteStore(store.path)
    say("pools", len(with_all.load().pools) - number)
    with_all.close()


def forking(store: SqliteStore) -> None:
    """Fork while the keeper is at work; the children end as programs do, and this one goes on."""
    store.load()
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            store._disk.turn()

    assert store._keeper is not None
    store._keeper.submit(busy)
    for number in range(20):
        store.save(numbered(number))
        child = os.fork()
        if not child:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    over.set()
    asyncio.run(store.kept("chat"))
    say("kept", os.path.exists(store.path + "-wal"))
    store.close()


if __name__ == "__main__":
    sqlite_store.TURN, sqlite_store.CLOSE = 20, 100.0
    {"endless": endless, "traced": traced, "full": full, "forking": forking}[sys.argv[1]](
        SqliteStore(Path(sys.argv[2]) / "state.db")
    )
