"""What a forked child takes along without meaning to.

A program that forks (`os.fork`, `multiprocessing` where it forks) goes on as two, with the same objects and
the same open files. Its engines are still the first one's alone. The child must hold nothing of ours, else a
lock or a pipe lasts as long as it lives, and do nothing on account of what it has copies of: end no engine,
remove no file. Whatever holds something open, or would act on the world, registers here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors
from typing import Protocol
from weakref import WeakSet


class Inherited(Protocol):
    """What must not live on in a forked child."""

    def forked(self) -> None:
        """Close what is open without touching what it stands for, and never act again.

        Called in the child before anything else there. It may not wait, not even for a lock: the thread that
        held one is not there to give it back.
        """


_all: WeakSet[Inherited] = WeakSet()


def register(one: Inherited) -> None:
    """Tell `one`, as long as it is there, in every child that this program forks."""
    _all.add(one)


def part(loop: asyncio.AbstractEventLoop) -> None:
    """Give a forked child's copy of a loop a selector of its own, with everything that is in the old one.

    The parent's epoll is shared with the child. A child that ends as programs do closes its copy of the loop,
    and with that takes out of it what wakes the parent's loop for its threads: for good, as asyncio has it.
    """
    selector = getattr(loop, "_selector", None)
    if not isinstance(selector, selectors.EpollSelector):
        return
    with select.epoll() as own:
        for key in selector.get_map().values():
            events = (key.events & selectors.EVENT_READ and select.EPOLLIN) | (
                key.events & selectors.EVENT_WRITE and select.EPOLLOUT
            )
            with contextlib.suppress(OSError):  # closed, here or before
                own.register(key.fd, events)
        os.dup2(own.fileno(), selector.fileno(), inheritable=False)


def _disown() -> None:
    for one in list(_all):
        with contextlib.suppress(OSError):  # who has closed it for us has done no harm
            one.forked()
    _all.clear()


os.register_at_fork(after_in_child=_disown)
