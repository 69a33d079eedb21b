"""Why something ended or failed, as values: exit statuses, failure classes, causes."""

from __future__ import annotations

import enum
import signal

from attrs import frozen


class FailureClass(enum.StrEnum):
    """What kind of failure a cause is. Policies, circuits and metrics are keyed by it."""

    GRACEFUL = "graceful"
    EXIT = "exit"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    DEVICE_OUT_OF_MEMORY = "device_out_of_memory"
    CUDA = "cuda"
    DEVICE_LOST = "device_lost"
    HANG = "hang"
    HEALTH = "health"
    PORT_IN_USE = "port_in_use"
    BAD_CONFIG = "bad_config"
    START_TIMEOUT = "start_timeout"
    STAGING = "staging"
    PREFLIGHT = "preflight"
    KILLED_BY_OPERATOR = "killed_by_operator"
    MANAGER_EXIT = "manager_exit"
    HOST_RESTART = "host_restart"
    UNKNOWN = "unknown"


class Stage(enum.StrEnum):
    """The part of an engine's life in which a cause arose; it opens the `last_error` message."""

    PREFLIGHT = "preflight"
    STAGING = "staging"
    LAUNCH = "launch"
    HEALTH = "health check"
    WARM_UP = "warm-up"
    HANDOFF = "handoff"
    RUN = "run"
    DRAIN = "drain"
    STOP = "stop"


class Confidence(enum.StrEnum):
    """How sure a conclusion is."""

    CERTAIN = "certain"  # we did it ourselves, or the kernel or the device says so
    LIKELY = "likely"  # evidence of one kind says so, and nothing speaks against it
    GUESS = "guess"  # the best of weak evidence


class ClueKind(enum.StrEnum):
    """What the host can know about an ending beside its status."""

    OOM_KILL = "oom_kill"


@frozen
class Clue:
    """Something the host says about an ending, in words. `proof`: it is about this very process tree.

    Without proof it is about a group of processes that this tree is only a part of.
    """

    kind: ClueKind
    detail: str
    proof: bool


@frozen
class ExitStatus:
    """How a process ended: by exit code, by signal, or unknown because the status was lost.

    Exactly one of `code` and `signal` is set when the status is known, neither when it was lost. A lost
    status is never read as a success. `clues` is what else the host knows about this ending.
    """

    code: int | None = None
    signal: int | None = None
    clues: tuple[Clue, ...] = ()

    @classmethod
    def from_wait(cls, returncode: int) -> ExitStatus:
        """From the convention of `subprocess`: negative means killed by that signal."""
        return cls(signal=-returncode) if returncode < 0 else cls(code=returncode)

    @property
    def known(self) -> bool:
        """False when the status was lost, for example because somebody else reaped the process."""
        return self.code is not None or self.signal is not None

    @property
    def success(self) -> bool:
        """True only for a real exit code 0; a driver that tells of a signal as well tells nothing good."""
        return self.code == 0 and self.signal is None

    def __str__(self) -> str:
        if self.code is not None:
            return f"exit code {self.code}"
        if self.signal is not None:
            return f"killed by {signal_name(self.signal)}"
        return "exit status unknown"


LOST = ExitStatus()
"""The status of a process that ended without anybody being able to read how."""


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; `signal 99` for a number without a name."""
    return _SIGNALS.get(number) or f"signal {number}"


_SIGNALS = {int(one): one.name for one in signal.Signals}
"""The names of signals: to make a member of the enumeration takes ten times as long."""


@frozen
class Cause:
    """Why a start or a run failed.

    `heals` is False when trying again cannot help until somebody changes something (a missing binary, a
    bad flag): then nothing is retried. `evidence` has the facts the conclusion rests on, the weightiest
    first, and `confidence` says how sure it is.
    """

    kind: FailureClass
    stage: Stage
    message: str
    heals: bool = True
    remedy: str = ""
    exit: ExitStatus | None = None
    evidence: tuple[str, ...] = ()
    confidence: Confidence = Confidence.CERTAIN

    def __str__(self) -> str:
        return f"{self.stage} failed: {self.message}"
