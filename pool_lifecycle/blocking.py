"""Pools for programs without asyncio: the same names and the same errors, calls that wait.

    with BlockingManager(state_dir) as manager:
        pool = manager.add(PoolSpec("chat", EngineSpec("llama-server", profile="llama.cpp"), model=...))
        pool.start()
        with pool.lease("req-17", wait=2) as lease:
            ...                                   # lease.url, lease.generation
        outcome = pool.drain(deadline=5)

The manager has an event loop of its own, in a thread of its own. Everything may be called from any thread
but that of a running event loop, which it would block: there it raises PoolLifecycleError. Ctrl-C ends the
call that waits, then the `with` block, and so stops every pool; a second Ctrl-C kills what still runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent import futures
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from pool_lifecycle.applying import Applied
from pool_lifecycle.changes import Change
from pool_lifecycle.checks import optional, seconds
from pool_lifecycle.errors import ConfigError, ManagerClosed, PoolLifecycleError, Problem
from pool_lifecycle.events import Strategy
from pool_lifecycle.host import FORKED
from pool_lifecycle.interfaces import Capability
from pool_lifecycle.lease import Lease
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.plan import Plan
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import DrainOutcome, Observer
from pool_lifecycle.registry import Registry
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.spec import Models, PoolSpec
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.store import Store

T = TypeVar("T")

_check_wait = optional(seconds())


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._home = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool-lifecycle")
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            loop = self._loop = runner.get_loop()
            loop.call_soon(self._started.set)
            loop.run_forever()

    @property
    def is_here(self) -> bool:
        """False in a forked child, which has no such thread: who waits for it waits for ever."""
        return os.getpid() == self._home

    def submit(self, work: Coroutine[Any, Any, T]) -> futures.Future[T]:
        """Begin `work`. Raises ManagerClosed once the loop is to end, and in a forked child."""
        if not self.is_here:
            work.close()
            raise ManagerClosed(FORKED, remedy="use it there")
        with self._lock:
            if self._loop is None:
                work.close()
                raise ManagerClosed("the manager has been closed")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """What `work` returns or raises. Interrupted, or after `timeout` seconds, `work` is cancelled."""
        _refuse_to_block(work)
        future = self.submit(work)
        try:
            return future.result(timeout)
        except futures.CancelledError:
            raise ManagerClosed("the manager was closed meanwhile") from None
        finally:
            future.cancel()

    def finish(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the last work. Interrupted, cancel it, but wait for its end all the same."""
        over = threading.Event()
        task: asyncio.Task[None] | None = None

        async def last() -> None:
            nonlocal task
            task = asyncio.create_task(work())
            await asyncio.wait((task,))
            over.set()

        ended = self.submit(last())
        interrupted: KeyboardInterrupt | None = None
        while not over.is_set():
            try:
                over.wait()
            except KeyboardInterrupt as error:
                interrupted = error
                if task is not None:
                    self._cancel(task)
        ended.result()
        self._end()
        if interrupted is not None:
            raise interrupted
        if task is not None:
            task.result()

    def _cancel(self, task: asyncio.Task[None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def _end(self) -> None:
        # Whatever was submitted before is a task by the time the loop stops, and cancelled by the runner.
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None
        self._thread.join()


def _refuse_to_block(work: Coroutine[Any, Any, Any] | None = None) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if work is not None:
        work.close()
    raise PoolLifecycleError(
        "this call would block the running event loop",
        remedy="use PoolManager there, or call it by asyncio.to_thread",
    )


class BlockingManager:
    """A PoolManager whose calls wait. Use it as `with BlockingManager(state_dir) as manager:`.

    The arguments are those of PoolManager. Observers are called on the manager's own thread.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        drivers: Drivers | None = None,
        observers: Iterable[Observer] = (),
        store: Store | None = None,
        models: Models | None = None,
        devices: DevicePolicy | None = None,
        seed: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._manager = PoolManager(
            state_dir,
            drivers=drivers,
            observers=observers,
            store=store,
            models=models,
            devices=devices,
            seed=seed,
            wall=wall,
        )
        self._loop: _Loop | None = None
        self._closing = threading.Lock()

    def __enter__(self) -> BlockingManager:
        _refuse_to_block()
        if self._loop is not None:
            raise PoolLifecycleError("the manager is already open", remedy="make another one")
        self._loop = _Loop()
        try:
            self._loop.call(self._manager.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every pool, end the thread. Called again, or in a forked child, it does nothing."""
        if self._loop is not None:
            if not self._loop.is_here:
                return
            _refuse_to_block()
        with self._closing:
            loop = self._loop
            if loop is not None:
                try:
                    loop.finish(self._manager.close)
                finally:
                    self._loop = None

    @property
    def registry(self) -> Registry:
        """What is known of every pool; safe from any thread."""
        return self._manager.registry

    def add(self, spec: PoolSpec) -> BlockingPool:
        """A new pool, or one as an earlier manager left it. Raises what PoolManager's does."""
        return BlockingPool(self._call(self._manager.add(spec)), self._call)

    def remove(self, pool_id: str) -> None:
        """Forget a stopped pool. Raises PoolNotFound, and PoolLifecycleError while it is not stopped."""
        self._call(self._manager.remove(pool_id))

    def check(self, spec: PoolSpec) -> None:
        """Raise ConfigError when it names a driver there is not."""
        self._manager.check(spec)

    def plan(self, specs: Iterable[PoolSpec]) -> Plan:
        """What `apply` would do by how the pools are now; nothing of it is done."""
        return self._call(_returning(partial(self._manager.plan, specs)))

    def apply(
        self, specs: Iterable[PoolSpec], *, each: Callable[[Applied], None] | None = None
    ) -> tuple[Applied, ...]:
        """Make the pools be as declared, and return what became of each, as PoolManager's.

        `each` is called on the manager's own thread.
        """
        return self._call(self._manager.apply(specs, each=each))

    def withdraw(self) -> None:
        """Give up what was to be applied and is not yet."""
        self._call(self._manager.withdraw())

    @property
    def unclaimed(self) -> tuple[str, ...]:
        """The pools that an earlier manager has left and that were not added to this one, by id."""
        return self._manager.unclaimed

    def end_unclaimed(self) -> None:
        """End what is left of them, and forget them."""
        self._call(self._manager.end_unclaimed())

    def release_device(self, name: str, *, by: str = "an operator") -> tuple[str, ...]:
        """Let pools try a device in quarantine. Raises DeviceNotQuarantined when it is in none."""

        async def release() -> tuple[str, ...]:
            return self._manager.release_device(name, by=by)

        return self._call(release())

    def get(self, pool_id: str) -> BlockingPool | None:
        """The pool of that name, if there is one."""
        pool = self._manager.get(pool_id)
        return None if pool is None else BlockingPool(pool, self._call)

    def __getitem__(self, pool_id: str) -> BlockingPool:
        return BlockingPool(self._manager[pool_id], self._call)

    def __contains__(self, pool_id: object) -> bool:
        return pool_id in self._manager

    def __iter__(self) -> Iterator[BlockingPool]:
        return (BlockingPool(pool, self._call) for pool in self._manager)

    def __len__(self) -> int:
        return len(self._manager)

    def status(self) -> tuple[PoolStatus, ...]:
        """Every pool's status, by pool id."""
        return self._call(_returning(self._manager.status))

    def capabilities(self) -> tuple[Capability, ...]:
        """What is in force on this host and in this program, why nothing better, and what would help."""
        return self._call(_returning(self._manager.capabilities))

    def observe(self, observer: Observer) -> None:
        """Tell `observer` every record from now on, on the manager's own thread."""
        self._manager.observe(observer)

    def events(self, after: int | None = None) -> Iterator[Change]:
        """The changes of the registry as they come, as PoolManager's; ends when the manager closes."""
        changes = self._manager.events(after)
        while True:
            try:
                yield self._call(_next(changes))
            except (StopAsyncIteration, ManagerClosed):
                return

    def _call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        loop = self._loop
        if loop is None:
            work.close()
            raise ManagerClosed(
                "the manager is not open", remedy="use it within `with BlockingManager(...) as manager:`"
            )
        return loop.call(work, timeout)


class BlockingPool:
    """A pool of a BlockingManager: the methods of Pool, which wait."""

    __slots__ = ("_call", "_pool")

    def __init__(self, pool: Pool, call: Callable[..., Any]) -> None:
        self._pool = pool
        self._call = call

    @property
    def pool_id(self) -> str:
        """Its name."""
        return self._pool.pool_id

    @property
    def snapshot(self) -> Snapshot:
        """Everything the state machine knows, as a frozen value."""
        return self._pool.snapshot

    @property
    def state(self) -> PoolState:
        """Where it is in its life."""
        return self._pool.state

    @property
    def observed(self) -> str:
        """What was last seen of the work under way; empty when nothing was."""
        return self._pool.observed

    def start(self) -> None:
        """Bring it up; return when it is ready. Raises as Pool.start does; so do the others."""
        self._call(self._pool.start())

    def stop(self, *, grace: float | None = None) -> None:
        """End it now; return when nothing is left. `grace`: seconds from SIGTERM to SIGKILL."""
        self._call(self._pool.stop(grace=grace))

    def drain(self, deadline: float | None = None) -> DrainOutcome:
        """Let the leases in flight finish for at most `deadline` seconds, then stop; return how it ended."""
        outcome: DrainOutcome = self._call(self._pool.drain(deadline))
        return outcome

    def resume(self) -> None:
        """Call off a drain or a change of model."""
        self._call(self._pool.resume())

    def reload(
        self,
        model: str,
        *,
        digest: str | None = None,
        strategy: Strategy | str | None = None,
        otherwise: Strategy | str | None = None,
        drain_deadline: float | None = None,
    ) -> None:
        """Change the model; return when the new one has proven itself, or is configured. See Pool.reload."""
        change = self._pool.reload(
            model, digest=digest, strategy=strategy, otherwise=otherwise, drain_deadline=drain_deadline
        )
        self._call(change)

    def redeclared(
        self,
        spec: PoolSpec,
        *,
        strategy: Strategy | str | None = None,
        otherwise: Strategy | str | None = None,
        drain_deadline: float | None = None,
    ) -> None:
        """Go by another declaration: its policies at once, its model and engine as by `reload`."""
        change = self._pool.redeclared(
            spec, strategy=strategy, otherwise=otherwise, drain_deadline=drain_deadline
        )
        self._call(change)

    def reset(self) -> None:
        """Close its circuits and forget their counts."""
        self._call(self._pool.reset())

    def allow_one(self) -> None:
        """Allow one start past an open circuit."""
        self._call(self._pool.allow_one())

    def acquire(self, holder: str, *, kind: str = "request", ttl: float | None = None) -> Lease:
        """A lease at once. Raises PoolNotReady, PoolDraining or NoFreeSlot."""
        return self._pool.acquire(holder, kind=kind, ttl=ttl)

    def grant(
        self, holder: str, *, kind: str = "request", ttl: float | None = None, wait: float | None = 0.0
    ) -> Lease:
        """A lease for somebody outside this program, which goes on under a later manager; see Pool.grant."""
        lease: Lease = self._call(self._pool.grant(holder, kind=kind, ttl=ttl, wait=wait))
        return lease

    def release(self, token: int) -> bool:
        """End the lease with this token; False when there is none any more."""
        return self._pool.release(token)

    @contextlib.contextmanager
    def lease(
        self, holder: str, *, kind: str = "request", ttl: float | None = None, wait: float | None = 0.0
    ) -> Iterator[Lease]:
        """`with pool.lease("req-17") as lease:` holds a lease as long as the block lasts.

        `wait`: how long to wait for a free slot, in seconds; None: as long as it takes.
        """
        if sentence := _check_wait(wait):
            raise ConfigError([Problem("wait", wait, sentence)])
        if wait == 0:
            lease = self.acquire(holder, kind=kind, ttl=ttl)
        else:
            _refuse_to_block()
            lease = self._pool.book.acquire_blocking(holder, kind, ttl, timeout=wait)
        with lease:
            yield lease

    def reached(self, *states: PoolState | str, timeout: float | None = None) -> None:
        """Wait until it is in one of the states. Raises TimeoutError after `timeout` seconds."""
        self._call(self._pool.reached(*states), timeout)

    def status(self) -> PoolStatus:
        """Everything about it that people ask for, as a value."""
        status: PoolStatus = self._call(_returning(self._pool.status))
        return status

    def explain(self) -> str:
        """Why it is in this state, what blocks it, what comes next and when, and what would help."""
        return str(self._call(_returning(self._pool.explain)))


async def _returning(function: Callable[[], T]) -> T:
    return function()


async def _next(changes: Any) -> Change:
    change: Change = await anext(changes)
    return change
