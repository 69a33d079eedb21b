"""The life of a circuit, as one table.

A circuit begins `closed`: starts are allowed, and failures in a row are counted. At the threshold it
opens: no start is allowed. When its time-out is over it is `half_open`: one permit is free. Whoever takes
it makes a `trial`; if that runs stably for long enough the circuit closes, if it fails the circuit opens
again for twice as long. People are shown a trial as half-open. A trial that is given up without a verdict
(the operator stopped the pool) gives its permit back. A device on which something runs that cannot be killed
is in quarantine: open without an end, until that is gone; then it is half-open, as it has to prove itself.
"""

from __future__ import annotations

import enum

from pool_lifecycle.table import STAY, Kind, Row, State, Table


class BreakerState(enum.StrEnum):
    """Whether a circuit allows a start."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    TRIAL = "trial"

    @property
    def shown(self) -> str:
        """As people are told: a trial is what a half-open circuit is for."""
        return "half_open" if self is BreakerState.TRIAL else str(self)


class BreakerEvent(enum.StrEnum):
    """What can happen to a circuit."""

    FAILURE = "failure"
    TRIP = "trip"
    STABLE = "stable"
    TIMEOUT = "timeout"
    TAKEN = "taken"
    ALLOW_ONE = "allow_one"
    ABANDONED = "abandoned"
    RESET = "reset"
    QUARANTINE = "quarantine"
    RELEASE = "release"


class BreakerWhen(enum.StrEnum):
    """The guards. What each one asks is in `circuits.py`."""

    BELOW_THRESHOLD = "below threshold"
    HOLDER = "holder"
    QUARANTINED = "quarantined"


class BreakerDo(enum.StrEnum):
    """What a row does to the circuit's numbers."""

    COUNT = "count"
    OPEN = "open"
    OPEN_DOUBLED = "open, time-out doubled"
    CLEAR = "clear"
    GRANT = "grant"
    FREE = "free"
    HOLD = "hold"


CLOSED, OPEN, HALF_OPEN, TRIAL = BreakerState
E, W, D = BreakerEvent, BreakerWhen, BreakerDo

BREAKER = Table(
    name="breaker",
    initial=CLOSED,
    rest=CLOSED,
    common=(Row(E.QUARANTINE, OPEN, "something on it cannot be killed, or it is at fault", mark=D.HOLD),),
    declared=(
        State(CLOSED, Kind.STABLE, rows=(
            Row(E.FAILURE, STAY, "one more in a row", when=W.BELOW_THRESHOLD, mark=D.COUNT),
            Row(E.FAILURE, OPEN, "that was one too many", mark=D.OPEN),
            Row(E.TRIP, OPEN, "opened from outside, for example by a storm", mark=D.OPEN),
            Row(E.STABLE, STAY, "a long run clears the count", mark=D.CLEAR),
            Row(E.TAKEN, STAY, "starts are free"),
            Row(E.ALLOW_ONE, STAY, "starts are free"),
            Row(E.RESET, STAY, "count 0", mark=D.CLEAR),
        )),
        State(OPEN, Kind.STABLE, rows=(
            Row(E.TIMEOUT, STAY, "news of an earlier opening", when=W.QUARANTINED),
            Row(E.TIMEOUT, HALF_OPEN, "one trial is allowed", mark=D.FREE),
            Row(E.QUARANTINE, STAY, "from now on without an end", mark=D.HOLD),
            Row(E.RELEASE, HALF_OPEN, "what could not be killed is gone: one trial is allowed",
                when=W.QUARANTINED, mark=D.FREE),
            Row(E.RELEASE, STAY, "it is open for another reason, too"),
            Row(E.ALLOW_ONE, STAY, "a device in quarantine is not overridden", when=W.QUARANTINED),
            Row(E.ALLOW_ONE, TRIAL, "an operator allows one start", mark=D.GRANT),
            Row(E.FAILURE, STAY, "it is open already"),
            Row(E.STABLE, STAY, "news of an earlier run"),
            Row(E.TRIP, STAY, "it is open already"),
            Row(E.RESET, CLOSED, "closed by an operator", mark=D.CLEAR),
        )),
        State(HALF_OPEN, Kind.STABLE, rows=(
            Row(E.TAKEN, TRIAL, "the one permit is taken", mark=D.GRANT),
            Row(E.ALLOW_ONE, TRIAL, "the one permit is taken", mark=D.GRANT),
            Row(E.FAILURE, OPEN, "a failure outside the trial: the same time-out again", mark=D.OPEN),
            Row(E.TRIP, OPEN, "opened from outside: the same time-out again", mark=D.OPEN),
            Row(E.STABLE, STAY, "news of an earlier run"),
            Row(E.RESET, CLOSED, "closed by an operator", mark=D.CLEAR),
        )),
        State(TRIAL, Kind.STABLE, rows=(
            Row(E.FAILURE, OPEN, "the trial failed", when=W.HOLDER, mark=D.OPEN_DOUBLED),
            Row(E.FAILURE, STAY, "somebody else's result decides nothing"),
            Row(E.STABLE, CLOSED, "the trial ran long enough", when=W.HOLDER, mark=D.CLEAR),
            Row(E.STABLE, STAY, "somebody else's result decides nothing"),
            Row(E.TAKEN, STAY, "the trial's own start goes on"),
            Row(E.ALLOW_ONE, STAY, "one start is allowed already"),
            Row(E.ABANDONED, HALF_OPEN, "given up without a verdict: the permit is free again", mark=D.FREE),
            Row(E.TRIP, OPEN, "opened from outside", mark=D.OPEN),
            Row(E.RESET, CLOSED, "closed by an operator", mark=D.CLEAR),
        )),
    ),
)  # fmt: skip
"""The table of a circuit."""
