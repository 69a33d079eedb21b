"""How far a transfer is, how fast it gets on, and how long it takes yet, from looks at it. Pure.

Nothing here knows the time: whoever looks says when, in seconds on a clock that never goes back.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field, frozen

from pool_lifecycle.wording import part, seconds, size

WINDOW = 5.0
"""The rate is the mean of about so many seconds: steady enough to be read, and soon true again."""

APART = 0.25
"""Looks that are closer together than so many seconds count as one, so that a window has at most some 20."""

SILENCE = 1.0
"""For so many seconds without a look the rate stays; then it falls, as nothing may be moving any more."""

OFTEN, SELDOM, PARTS = 5.0, 30.0, 10
"""A milestone comes with each of so many parts of the whole, or after SELDOM seconds; never within OFTEN."""

EVERY = 1.0
"""Seconds between two pieces of news."""


@frozen
class Transfer:
    """How far the model `reference` is, in bytes; `total` None: nobody knows how many there are.

    `rate` is in bytes a second, None until there were two looks. `left` is how many seconds it takes yet at
    that rate, None where that cannot be said.
    """

    reference: str
    done: int = 0
    total: int | None = None
    rate: float | None = None
    left: float | None = None

    @property
    def share(self) -> float | None:
        """How much of the whole is there, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else None

    def __str__(self) -> str:
        done = size(self.done) if self.total is None else part(self.done, self.total)
        rate = None if self.rate is None else f"{size(self.rate)}/s"
        left = None if self.left is None else f"{seconds(self.left)} left"
        return ", ".join(filter(None, (done, rate, left)))


@define
class Meter:
    """Measures one transfer. Where that begins anew, so does this.

    Only what is seen to come counts for the rate: one that goes on from where an earlier one stopped is no
    faster for that.
    """

    reference: str
    began: float
    _total: int | None = field(default=None, init=False)
    _looks: deque[tuple[float, int]] = field(factory=deque, init=False)
    _told: float = field(init=False)
    _milestone: tuple[float, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._told, self._milestone = self.began, (self.began, 0)

    def look(self, now: float, done: int, total: int | None) -> None:
        """It is so far now."""
        looks, self._total = self._looks, total
        if looks and done < looks[-1][1]:
            looks.clear()
        if len(looks) > 1 and looks[-1][0] - looks[-2][0] < APART:
            looks.pop()
        looks.append((now, done))
        while len(looks) > 2 and now - looks[1][0] >= WINDOW:
            looks.popleft()

    @property
    def looked(self) -> bool:
        """Whether there was anything to be seen."""
        return bool(self._looks)

    def at(self, now: float) -> Transfer:
        """As it was last seen, at the rate that it has by now."""
        done = self._looks[-1][1] if self._looks else 0
        rate = self._rate(now)
        left = None if not rate or self._total is None else max(0, self._total - done) / rate
        return Transfer(self.reference, done, self._total, rate, left)

    def _rate(self, now: float) -> float | None:
        if len(self._looks) < 2:
            return None
        (since, first), (until, last) = self._looks[0], self._looks[-1]
        lasted = max(until, now - SILENCE) - since
        return (last - first) / lasted if lasted > 0 else None

    def news(self, now: float) -> bool:
        """Whether it is time to tell programs how far it is; if so, it is not for a while."""
        if now - self._told < EVERY:
            return False
        self._told = now
        return True

    def milestone(self, now: float) -> bool:
        """Whether it is time to tell people, where every line is kept; if so, it is not for a while."""
        at, reached = self._milestone
        parts = int(PARTS * (self.at(now).share or 0.0))
        if now - at < OFTEN or (now - at < SELDOM and parts == reached):
            return False
        self._milestone = (now, parts)
        return True
