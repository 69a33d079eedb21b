"""What was concluded from a failure, how sure that is, and from which evidence: in words. Pure."""

from __future__ import annotations

from typing import Any

from pool_lifecycle.causes import Cause, Confidence, FailureClass
from pool_lifecycle.wording import cut

F = FailureClass

NAMES: dict[FailureClass, str] = {
    F.GRACEFUL: "an end on purpose",
    F.EXIT: "an exit of its own",
    F.SIGNAL: "a death by signal",
    F.OUT_OF_MEMORY: "too little memory of the host",
    F.DEVICE_OUT_OF_MEMORY: "too little memory of a device",
    F.CUDA: "a CUDA failure",
    F.DEVICE_LOST: "a lost device",
    F.HANG: "a hanging engine",
    F.HEALTH: "an unhealthy engine",
    F.PORT_IN_USE: "a port in use",
    F.BAD_CONFIG: "a bad configuration",
    F.START_TIMEOUT: "a start that took too long",
    F.STAGING: "a model that could not be put in place",
    F.PREFLIGHT: "a launch that cannot work here",
    F.KILLED_BY_OPERATOR: "an end by an operator",
    F.MANAGER_EXIT: "a manager that left",
    F.HOST_RESTART: "a host that was restarted",
    F.UNKNOWN: "something unknown",
}
"""The classes of failures for people: what it was."""

_SURE: dict[Confidence, str] = {
    Confidence.CERTAIN: "",
    Confidence.LIKELY: "probably ",
    Confidence.GUESS: "perhaps ",
}

FACTS_SHOWN, FACT_SHOWN = 3, 120
"""How many facts of the evidence are told, and how many characters of each."""


def conclusion(cause: Cause) -> str:
    """`probably a CUDA failure`."""
    return f"{_SURE[cause.confidence]}{NAMES[cause.kind]}"


def facts(cause: Cause) -> str:
    """The weightiest facts of the evidence, one after the other; empty when there are none."""
    told = "; ".join(cut(one, FACT_SHOWN) for one in cause.evidence[:FACTS_SHOWN])
    more = len(cause.evidence) - FACTS_SHOWN
    return f"{told}; and {more} more" if more > 0 else told


def reckoned(cause: Cause) -> str:
    """The failure in one line: what happened, and, unless that says it all, what it is taken for."""
    return str(cause) if cause.confidence is Confidence.CERTAIN else f"{cause} ({conclusion(cause)})"


def failure_fields(cause: Cause) -> dict[str, Any]:
    """A failure for programs: its class, how sure that is, and why."""
    return {
        "last_error": str(cause),
        "reason": str(cause.kind),
        "confidence": str(cause.confidence),
        "evidence": [*cause.evidence],
        "heals": cause.heals,
        "remedy": cause.remedy,
    }
