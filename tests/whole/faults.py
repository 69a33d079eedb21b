"""What can be wrong with drivers: each fault waits for the next calls of a verb, and says what they do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from attrs import define, field

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError

Call: TypeAlias = Callable[[], Awaitable[Any]]

VERBS = (
    *("reserve_port", "preflight", "launch", "recover", "wait", "stop", "inspect", "output", "check"),
    *("resolve", "stage", "devices"),
)

KINDS = ("raise", "foreign", "hang", "deaf", "slow", "nonsense")
"""A DriverError; some other error; never returns; does not heed being cancelled; late; another type."""

GENTLE = {
    "stop": ("raise", "foreign", "hang", "deaf", "slow"),  # what it returns is only told once all is gone
    "output": ("raise", "foreign", "hang", "slow"),
}
"""The verbs whose faults are not of every kind."""

DEAF = 12.0
"""Seconds that a deaf call takes, whoever cancels it."""


class Nonsense:
    """A driver's answer that is of no type anybody expects."""

    def __repr__(self) -> str:
        return "nonsense"


@define(eq=False)
class Armed:
    """The next `left` calls of `verb` for `pool_id` go wrong in this way; `takes` seconds if it is late."""

    verb: str
    pool_id: str
    kind: str
    left: int
    takes: float


@define(eq=False)
class Faults:
    """Those that wait for their call. `count` is told of every one that has come about."""

    count: Callable[[str], None]
    armed: list[Armed] = field(factory=list)
    touched: set[tuple[str, str]] = field(factory=set)

    def arm(self, fault: Armed) -> None:
        """Let it wait for its calls."""
        self.armed.append(fault)

    def calm(self) -> None:
        """No fault any more."""
        self.armed.clear()

    def touched_by(self, pool_id: str, *verbs: str) -> bool:
        """Whether the pool has met a fault of one of these verbs; of any, if none is named."""
        return any(pool_id == whose and (not verbs or verb in verbs) for verb, whose in self.touched)

    def take(self, verb: str, pool_id: str) -> Armed | None:
        """The fault of this very call."""
        for one in self.armed:
            if one.verb == verb and one.pool_id == pool_id:
                one.left -= 1
                if not one.left:
                    self.armed.remove(one)
                self.count(f"driver {verb}: {one.kind}")
                self.touched.add((verb, pool_id))
                return one
        return None


async def afflicted(fault: Armed, real: Call, calm: asyncio.Event) -> Any:
    """What happens instead of the real call. What hangs ends when the simulation calms down."""
    match fault.kind:
        case "raise":
            raise _driver_error(f"{fault.verb} failed, as was planned")
        case "foreign":
            raise RuntimeError("a driver's own error, as was planned")
        case "hang":
            await calm.wait()
            raise _driver_error(f"{fault.verb} hung, as was planned")
        case "deaf":
            await _deaf(DEAF)
        case "slow":
            await asyncio.sleep(fault.takes)
        case "nonsense":
            return Nonsense()
    return await real()


def _driver_error(message: str) -> DriverError:
    return DriverError("simulation", Cause(FailureClass.UNKNOWN, Stage.RUN, message))


async def _deaf(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(end - loop.time())
