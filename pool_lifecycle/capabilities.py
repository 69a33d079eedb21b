"""What is in force of what the library can do, on this host and in this program: for people.

Nothing is launched, waited for or changed. A driver that can say what the host allows it is `Capable`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from attrs import evolve

from pool_lifecycle.boot import Boot
from pool_lifecycle.errors import ConfigError
from pool_lifecycle.interfaces import Capability, Capable
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.promises import expected
from pool_lifecycle.spec import NO_PROBE, PoolSpec
from pool_lifecycle.store import MemoryStore, Store


def of(
    drivers: Drivers,
    specs: Collection[PoolSpec],
    *,
    loop: asyncio.AbstractEventLoop,
    boot: Boot,
    store: Store | None = None,
) -> tuple[Capability, ...]:
    """Those of the drivers that these pools name (the usual ones where there are no pools), then our own.

    `boot` is the one of `loop`; without a `store` nothing is said of one.
    """
    launchers = sorted({one.launcher for one in specs} or {"local"})
    probes = sorted({one.probe for one in specs} or {NO_PROBE})
    found = [
        *_of_each("launcher", launchers, drivers.launcher),
        *_of_each("GPU probe", probes, partial(_gpu_probe, drivers)),
        _clock(boot),
        _forks(loop),
    ]
    return (*found, *([] if store is None else _store(store)))


def _of_each(kind: str, names: list[str], find: Callable[[str], Any]) -> Iterator[Capability]:
    """Named after their driver where there are several."""
    for name in names:
        for one in _of(f"{kind} {name!r}", kind, partial(find, name)):
            yield one if len(names) == 1 else evolve(one, name=f"{name}: {one.name}")


def _of(what: str, kind: str, find: Callable[[], Any]) -> tuple[Capability, ...]:
    """What a driver says. One that cannot be had, or says nonsense, is no reason to say nothing."""
    try:
        driver = find()
        if isinstance(driver, Capability):
            return (driver,)
        if not isinstance(driver, Capable):
            return (Capability(kind, what, "it does not say what this host allows it"),)
        return tuple(expected(Capability, one, "capabilities") for one in driver.capabilities())
    except ConfigError as error:
        return (Capability(kind, "none", f"{error}", what, "correct that"),)
    except Exception as error:  # noqa: BLE001 - a driver's broken promise
        return (Capability(kind, what, f"what it can do could not be asked for: {error!r}"),)


def _gpu_probe(drivers: Drivers, name: str) -> Any:
    probe = drivers.gpu_probe(name)
    if isinstance(probe, Capable):
        return probe
    if name != NO_PROBE:
        return Capability("GPU probe", name)
    others = [one for one in drivers.names(Interface.GPU_PROBE) if one not in _NO_PROBES]
    why = "no pool names one, so that nothing is known of devices' memory and faults"
    remedy = f"set a pool's `gpu_probe` to {' or '.join(map(repr, others))}"
    return Capability("GPU probe", name, why, *((", ".join(others), remedy) if others else ("", "")))


_NO_PROBES = ("none", "memory")
"""Names of probes that look at no real device."""


def _clock(boot: Boot) -> Capability:
    name, best = "clock", "the host's, since it was started"
    if boot.clock == boot.id:
        return Capability(name, best)
    why = "the event loop goes by a clock of its own, which a later manager cannot read"
    in_force = "the loop's own; a later manager goes by the wall clock instead"
    return Capability(name, in_force, why, best, "use a loop whose time() is time.monotonic()")


def _forks(loop: asyncio.AbstractEventLoop) -> Capability:
    name, best = "forks", "a forked child has nothing of ours and does nothing to engines"
    selector = getattr(loop, "_selector", None)
    if isinstance(selector, selectors.EpollSelector | selectors.SelectSelector | selectors.PollSelector):
        return Capability(name, best)
    why = f"of a {type(loop).__name__} nobody knows what a child's copy of it shares with ours"
    remedy = "use asyncio's own loop, or leave a forked child by os._exit or exec"
    return Capability(name, f"{best}; but it must not close its copy of the loop", why, best, remedy)


def _store(store: Store) -> tuple[Capability, ...]:
    if isinstance(store, Capable):
        return _of("store", "store", lambda: store)
    path = getattr(store, "path", None)
    if isinstance(store, MemoryStore):
        why = "the store that was given keeps everything in this program, and nothing for a later one"
        remedy = "give the manager no store, or one in a file"
        return (Capability("store", "memory", why, "a file", remedy),)
    return (Capability("store", type(store).__name__ if path is None else f"{path}"),)
