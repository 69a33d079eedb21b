"""The last thing an ended engine gives back: its port."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable

from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.offload import in_thread
from pool_lifecycle_drivers.ports import WILDCARDS, Listener, addresses, holders, owner, try_bind

FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25
"""Seconds between looks at a port that is still held: nothing tells when it is given up."""


Addresses = list[tuple[socket.AddressFamily, str]]

EVERYWHERE: Addresses = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - bound for a moment


async def until_released(census: Census, host: str, port: int, ours: frozenset[int]) -> None:
    """Wait until nothing of a launch whose processes are all gone listens on its port any more.

    `ours` are the sockets its processes were seen to hold: one of them may live on in a program it was
    passed to. A socket that was never ours and is held by a living process, or made by another user, is a
    stranger's: waiting for it would keep a pool from moving to another port. Connections in TIME_WAIT
    listen to nobody and are not waited for.
    """
    found = await _addresses(host)
    if is_free(found, port):
        return
    pause, names = FIRST_PAUSE, [address for _, address in found] or list(WILDCARDS)
    while await _is_held(census, names, port, ours):
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST_PAUSE)


async def _addresses(host: str) -> Addresses:
    try:
        return await addresses(host)
    except OSError:  # a name that means nothing any more: whatever listens on the port may be ours
        return []


def is_free(found: Addresses, port: int) -> bool:
    """Whether the kernel lets us have the port on all these addresses: then nobody listens there.

    It takes microseconds, where a list of all that listen takes milliseconds. False where that is not known.
    """
    everywhere = any(address in WILDCARDS for _, address in found)
    try:
        for family, address in EVERYWHERE if everywhere else found:
            try_bind(family, address, port)
    except OSError:
        return False
    return bool(found)


async def _is_held(census: Census, names: list[str], port: int, ours: frozenset[int]) -> bool:
    try:
        held = holders(await census.listeners(), names, port)
        return bool(held) and await in_thread(lambda: _any_of_ours(held, ours))
    except OSError:  # nothing can be seen, so nothing says that it is free
        return True


def _any_of_ours(held: Iterable[Listener], ours: frozenset[int]) -> bool:
    return any(one.inode in ours or not _is_strangers(one) for one in held)


def _is_strangers(listener: Listener) -> bool:
    return listener.uid != os.geteuid() or owner(listener.inode) is not None
