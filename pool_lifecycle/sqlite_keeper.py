"""A thread for whatever may have to wait for a disk."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

RETRY = 1.0
"""Seconds after which a restless keeper tries again."""


class Keeper(Executor):
    """Does one thing after the other, in a thread that begins with the first.

    A disk that hangs keeps no program from ending: unlike those of other executors, the thread is a daemon.
    While there is nothing else to do and it is `restless`, it does `again` every so often; what that raises
    was told to somebody else.
    """

    def __init__(self, restless: Callable[[], bool], again: Callable[[], object]) -> None:
        self._restless = restless
        self._again = again
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it when all that was asked before is done."""
        future: Future[T] = Future()
        self._jobs.put(lambda: _do(future, lambda: fn(*args, **kwargs)))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pool-lifecycle store", daemon=True)
                self._thread.start()
        return future

    def end(self, within: float) -> bool:
        """End once all that was asked is done; whether that was so `within` seconds."""
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(within)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=RETRY if self._restless() else None)
            except queue.Empty:
                _do(Future(), self._again)
                continue
            if job is None:
                return
            job()


def _do(future: Future[T], work: Callable[[], T]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is for whoever waits for the result
            future.set_exception(error)
