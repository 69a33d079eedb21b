"""Whether an engine gets on with its work, from the looks at a counter of it. Pure."""

from __future__ import annotations

from attrs import evolve, frozen


@frozen
class Reading:
    """One look at a counter of work; `count` is None when nothing usable was answered.

    `idle`: the engine says that it has nothing to do.
    """

    count: float | None
    idle: bool = False


@frozen
class Progress:
    """What the looks at one engine's counter came to. `count` is the last value read; there has been one.

    `since` is when (seconds) the engine was last seen to get on with its work, or was first seen to have any;
    None while it has none. `looks` in a row have seen it stand still since then.
    """

    count: float
    since: float | None = None
    looks: int = 0

    @classmethod
    def begun(cls, reading: Reading | None) -> Progress | None:
        """None unless the counter was read: without that nobody knows whether there is one."""
        return None if reading is None or reading.count is None else cls(reading.count)

    def grown(self, reading: Reading | None) -> bool:
        """Whether the reading shows that the engine got on since the last one."""
        return reading is not None and reading.count is not None and reading.count != self.count

    def after(self, reading: Reading | None, now: float) -> Progress:
        """With what came of one more check. No reading: nobody waits for work, or nobody could ask."""
        if self.grown(reading):
            assert reading is not None
            assert reading.count is not None
            return Progress(reading.count, now)
        if reading is None or reading.idle:
            return Progress(self.count)
        if self.since is None:
            return Progress(self.count, now)
        return evolve(self, looks=self.looks + 1)

    def stood_still(self, now: float) -> float:
        """For how many seconds no look has seen progress; 0 if the last one has, or there was none to see."""
        return 0.0 if self.since is None or not self.looks else now - self.since
