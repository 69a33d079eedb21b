"""What happened in a simulation, as a value. Times in seconds after its begin. Pure."""

from __future__ import annotations

from attrs import field, frozen

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState

SERVING = frozenset(PoolState(name) for name, state in LIFECYCLE.states.items() if state.serving)


@frozen
class Span:
    """A pool was in `state`. `wanted`: it was to run. `why` is the reason why it came there."""

    state: PoolState
    begin: float
    end: float
    wanted: bool
    why: str


@frozen
class Attempt:
    """One start of a pool, and what became of it.

    It waited `waited` seconds since the pool ended or failed, for `because`. It was ready at `ready` (None:
    never) and ended at `end` (None: it lives) as `ended_as`, the class of a failure or what an operator did;
    `told` is the cause in words. `restart`: it came after a failure.
    """

    begin: float
    waited: float
    because: str
    restart: bool
    ready: float | None = None
    end: float | None = None
    ended_as: str = ""
    failed: bool = False
    told: str = ""


@frozen
class Act:
    """An operator's wish. `refused` says why nothing came of it, else it is empty."""

    at: float
    wish: str
    refused: str = ""


@frozen
class StormSeen:
    """A storm of restarts."""

    at: float
    kind: str
    restarts: int
    period: float
    remedy: str


@frozen
class CircuitSpan:
    """A circuit was in `state`, with so many failures in a row when it began."""

    state: BreakerState
    begin: float
    end: float
    failures: int


@frozen
class CircuitLife:
    """A circuit that moved. `pools` are those that it concerns; `shared`: it is a device's."""

    name: str
    pools: tuple[str, ...]
    shared: bool
    spans: tuple[CircuitSpan, ...]

    @property
    def openings(self) -> int:
        """How often it opened."""
        return sum(span.state is BreakerState.OPEN for span in self.spans)


@frozen
class PoolLife:
    """What happened to one pool. `unused` runs of the trace were not reached."""

    pool_id: str
    spans: tuple[Span, ...]
    attempts: tuple[Attempt, ...]
    acts: tuple[Act, ...]
    storms: tuple[StormSeen, ...]
    circuits: tuple[CircuitLife, ...]
    devices: tuple[str, ...] = ()
    unused: int = 0

    @property
    def state(self) -> PoolState:
        """How it is at the end."""
        return self.spans[-1].state

    @property
    def served(self) -> float:
        """How long it served."""
        return sum(span.end - span.begin for span in self.spans if span.state in SERVING)

    @property
    def down(self) -> float:
        """How long it was to run and did not serve, its first start included."""
        return sum(span.end - span.begin for span in self.spans if span.wanted and span.state not in SERVING)

    @property
    def restarts(self) -> int:
        """How often it was started again after a failure."""
        return sum(attempt.restart for attempt in self.attempts)

    @property
    def longest_wait(self) -> float:
        """The longest wait before a start after a failure."""
        return max((attempt.waited for attempt in self.attempts if attempt.restart), default=0.0)


@frozen
class Timeline:
    """A whole simulation. `rested`: at its end nothing was left that could happen."""

    end: float
    rested: bool
    seed: int
    pools: tuple[PoolLife, ...]
    shared: tuple[CircuitLife, ...] = field(default=())
