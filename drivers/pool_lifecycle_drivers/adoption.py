"""Finds the leading process of a launch of which nothing but the token is known.

A manager may be killed at any instant of a launch. Before the fork there is nothing to be found. After the
engine was executed it carries its token. In between, the child still shows the environment of the manager:
the death of the manager does not keep it from executing the engine, so whoever looks then has to wait for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial

import attrs

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers.census import ANYBODY, EXECUTED, Census
from pool_lifecycle_drivers.engine import NAME
from pool_lifecycle_drivers.environment import Note
from pool_lifecycle_drivers.offload import Batch
from pool_lifecycle_drivers.procfs import (
    TICKS_PER_SECOND,
    Entry,
    Identity,
    Table,
    boot_id,
    read_entry,
    read_environment,
)

PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.3)
"""Seconds between two looks at children that have yet to execute their programs.

One second in all. A program on a disk that takes longer to give it is started by a child that nobody finds.
"""


async def find(handle: EngineHandle, census: Census, looks: Batch) -> EngineHandle | None:
    """The handle completed by what the processes say that carry its token; None when there are none.

    Who had just been forked when this began is waited for, should it be the child of a killed manager. Raises
    OSError when the host cannot be looked at.
    """
    unsure: Sequence[Identity] | None = None
    for pause in (*PAUSES, 0.0):
        table = await census.processes(ANYBODY)
        carriers = [one for one in table.by_token.get(handle.token, ()) if one.who.pid != os.getpid()]
        if carriers:
            return await _complete(handle, carriers, table, looks)
        found = [one.who for one in table.rows if _may_be_born(one)] if unsure is None else unsure
        unsure = await looks.do(partial(_unexecuted, found))
        if not unsure:
            break
        await asyncio.sleep(pause)
    return None


async def _complete(
    handle: EngineHandle, carriers: Iterable[Entry], table: Table, looks: Batch
) -> EngineHandle:
    oldest = min(carriers, key=lambda one: (one.who.start_ticks, one.who.pid != one.session))
    note = Note.load(await looks.do(lambda: read_environment(oldest.who.pid)))
    if note is not None:
        handle = attrs.evolve(handle, host=note.host, port=note.port, details=note.details)
    leader = leading(oldest, note, table)
    return attrs.evolve(
        handle, driver=NAME, pid=leader.pid, boot_id=boot_id(), start_ticks=leader.start_ticks
    )


def leading(oldest: Entry, note: Note | None, table: Table) -> Identity:
    """Who leads the launch that `oldest` is the oldest carrier of.

    Its session's leader, if that carries the token as well, or began when the launch did and shows no
    environment any more. The number of one that is gone is nobody else's as long as the session lasts; when
    it began is not known then, only that it did before the others.
    """
    leader = table.by_pid.get(oldest.session)
    if leader is None:
        return Identity(oldest.session, oldest.who.start_ticks) if oldest.session else oldest.who
    began = note is not None and 0 <= leader.who.start_ticks - note.at <= TICKS_PER_SECOND
    return leader.who if began or leader.token == oldest.token else oldest.who


def _may_be_born(entry: Entry) -> bool:
    """Whether it is so young that it may not have executed its program yet."""
    since = (time.clock_gettime(time.CLOCK_BOOTTIME) - EXECUTED) * TICKS_PER_SECOND
    return not entry.gone and entry.token is None and entry.who.start_ticks >= since


def _unexecuted(found: Iterable[Identity]) -> list[Identity]:
    """Those of our own user that still show another program, or, about to become one, no environment."""
    return [who for who in found if _is_ours(who.pid) and _is_unexecuted(who)]


def _is_ours(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False


def _is_unexecuted(who: Identity) -> bool:
    entry = read_entry(who.pid)
    if entry is None or entry.who != who or entry.gone:
        return False
    return not entry.executed or not read_environment(who.pid)
