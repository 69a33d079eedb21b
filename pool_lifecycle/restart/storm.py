"""What kind of storm it is, from the crashes that made it, and what would help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import frozen

from pool_lifecycle.causes import FailureClass

SAME = 5
"""So many crashes of one class, and no fewer than of any other, name the storm (B-SUPER-038)."""

MIXED = "crash_storm"
"""A storm of many classes, or of none that is named."""


@frozen
class Crash:
    """A failure, with its class. `at` is in monotonic seconds."""

    at: float
    kind: FailureClass


@frozen
class Storm:
    """A pool was started again and again: `restarts` times within `period` seconds, until `at`."""

    at: float
    kind: str
    restarts: int
    period: float
    remedy: str


def kind_of(crashes: Iterable[Crash]) -> tuple[str, str]:
    """The storm's name, and a remedy."""
    counts = Counter(crash.kind for crash in crashes)
    for kind, count in counts.most_common(1):
        if count >= SAME:
            return _NAMES.get(kind, f"{kind}_storm"), _REMEDIES.get(kind, _LOOK)
    return MIXED, _LOOK


_LOOK = "look at the logs kept of its last runs"

_NAMES: dict[FailureClass, str] = {FailureClass.OUT_OF_MEMORY: "oom_storm"}

_REMEDIES: dict[FailureClass, str] = {
    FailureClass.OUT_OF_MEMORY: "give it more memory, or a smaller model, context or number of slots",
    FailureClass.DEVICE_OUT_OF_MEMORY: "free memory on the device, or use a smaller model or context",
    FailureClass.CUDA: "look at the device and its driver; another build of the engine may help",
    FailureClass.DEVICE_LOST: "look at the kernel log for Xid lines: the device needs a reset",
    FailureClass.SIGNAL: "look for who sends the signal, or for a defect in the engine (a core dump tells)",
    FailureClass.PORT_IN_USE: "look for the program that takes its ports",
    FailureClass.HEALTH: "look at its health path; a busy engine needs a larger health.timeout",
    FailureClass.HANG: "look at what it hangs on; a busy engine needs a larger health.timeout",
    FailureClass.START_TIMEOUT: "give it a larger limits.start",
    FailureClass.STAGING: "look at where its model comes from",
    FailureClass.PREFLIGHT: "mend what the launch lacks",
}
