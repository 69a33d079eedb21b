"""Finds the engines of an earlier manager again, all at once and in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeAlias

from attrs import frozen

from pool_lifecycle.cancelling import only_ours
from pool_lifecycle.interfaces import Engine, EngineHandle
from pool_lifecycle.kept import Kept
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.promises import expected
from pool_lifecycle.snapshot import Instance

PATIENCE = 5.0
"""Seconds that launchers are given to find all their engines; what they have not found by then is unsure."""


@frozen
class Unsure:
    """Nobody can say whether the engine still lives; `why`."""

    why: str


Found: TypeAlias = Engine | Unsure | None
"""An engine that lives, one that may live, or none: it is proven gone."""


def handle_of(instance: Instance, host: str) -> EngineHandle:
    """What is known of a launch. One that nobody saw succeed can only be told by its token."""
    return instance.handle or EngineHandle(driver="", token=instance.token, host=host, port=0)


async def find(drivers: Drivers, launcher: str, handle: EngineHandle) -> Found:
    """What has become of one engine. Never raises but when cancelled; takes as long as its driver takes."""
    try:
        with only_ours():
            found = await drivers.launcher(launcher).recover(handle=handle)
        return None if found is None else expected(Engine, found, "recover")  # type: ignore[type-abstract]
    except Exception as error:  # noqa: BLE001 - a driver that fails has not proven anything
        return Unsure(f"it could not be looked for: {error}")


async def find_all(drivers: Drivers, records: Iterable[Kept], patience: float = PATIENCE) -> dict[str, Found]:
    """What has become of every engine in these records, by launch token."""
    looks = {
        one.token: asyncio.ensure_future(find(drivers, kept.launcher, handle_of(one, "localhost")))
        for kept in records
        for one in (*kept.snapshot.engines, *kept.snapshot.quarantine)
        if one.exit is None or one.handle is not None
    }
    if looks:
        await asyncio.wait(looks.values(), timeout=patience)
    found: dict[str, Found] = {}
    for token, look in looks.items():
        late = not look.done()
        found[token] = (
            Unsure(f"its launcher has not found it within {patience:g} s") if late else look.result()
        )
        look.cancel()
    return found
