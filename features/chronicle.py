"""What the manager told its observers in a scenario, and what can be read from it about times."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pool_lifecycle import PoolState
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.records import CircuitMoved, EngineEnded, Moved, Record, RestartBegan


class Chronicle:
    """Keeps every record. All times are on the loop's clock, in seconds."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.listeners: list[Callable[[Record], None]] = []

    def __call__(self, record: Record) -> None:
        """The observer."""
        self.records.append(record)
        for listener in self.listeners:
            listener(record)

    def of(self, pool_id: str) -> Iterator[Record]:
        """The records about one pool."""
        return (one for one in self.records if one.pool_id == pool_id)

    def restarts(self) -> list[float]:
        """When any pool at all was started again."""
        return [one.at for one in self.records if isinstance(one, RestartBegan)]

    def launches(self, pool_id: str) -> list[float]:
        """When its engine was launched."""
        return [one.at for one in self.of(pool_id) if is_launch(one)]

    def launched_since_end(self, pool_id: str) -> bool:
        """Whether its engine was launched after the last one ended."""
        told = [is_launch(one) for one in self.of(pool_id) if is_launch(one) or is_end(one)]
        return told[-1]

    def waits(self, pool_id: str) -> list[float]:
        """How long it took from each end of an engine to the next launch, where there was one."""
        return self._until_launch(pool_id, is_end)

    def endings(self, pool_id: str) -> list[float]:
        """How long it took from each stop to the end of the engine, where there was one."""
        stops = [one.at for one in self.of(pool_id) if is_stop(one)]
        ends = [one.at for one in self.of(pool_id) if is_end(one)]
        return [round(end - stop, 6) for stop, end in zip(stops, ends, strict=True)]

    def trials(self, pool_id: str) -> list[float]:
        """How long it took from each opening of a circuit to the next launch, where there was one."""
        return self._until_launch(pool_id, is_opening)

    def _until_launch(self, pool_id: str, begins: Callable[[Record], bool]) -> list[float]:
        """Several things may happen at the same time, so it is their order that counts."""
        waits, since = [], None
        for one in self.of(pool_id):
            if begins(one):
                since = one.at
            elif is_launch(one) and since is not None:
                waits.append(round(one.at - since, 6))
                since = None
        return waits


def is_launch(record: Record) -> bool:
    """An engine is launched."""
    return isinstance(record, Moved) and record.notice.target is PoolState.STARTING != record.notice.source


def is_stop(record: Record) -> bool:
    """An engine is being stopped."""
    return isinstance(record, Moved) and record.notice.target is PoolState.STOPPING != record.notice.source


def is_end(record: Record) -> bool:
    """An engine has ended."""
    return isinstance(record, EngineEnded)


def is_opening(record: Record) -> bool:
    """A circuit opens."""
    return isinstance(record, CircuitMoved) and record.change.new is BreakerState.OPEN
