"""Why an engine ended, or has to be ended, from what is known about it. Pure.

`judge` takes everything known about one ending, a frozen `Evidence`, and returns its cause. The rules stand
in `RULES`, the weightiest evidence first; the first that applies decides. What only evidence of one kind
says is likely at best; two kinds are needed to blame a device, or a configuration, for words in a log. A
report of a device is one kind of evidence; one that does not isolate it may be about somebody else who uses
it, so that it does not outweigh words that name a fault of the engine's own.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import evolve, frozen

from pool_lifecycle.causes import Cause, Clue, ClueKind, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.interfaces import DeviceFault
from pool_lifecycle.own_words import Finding
from pool_lifecycle.placement import xid
from pool_lifecycle.wording import seconds

F = FailureClass

# --- the evidence ----------------------------------------------------------------------------------


class Asker(enum.StrEnum):
    """Who asked for the end of an engine that had not failed."""

    OPERATOR = "the operator"
    MANAGER = "the manager, which left"
    POOL = "its pool, as another engine of that had failed"


@frozen
class FailedCheck:
    """One health check that failed: when, on the wall clock (seconds), and what was seen instead.

    `silent`: nothing was answered in time, or the work stood still: it looks like a hang.
    """

    at: float
    detail: str
    silent: bool = False


@frozen
class Evidence:
    """What is known about an ending at `at` (seconds, on the loop's clock), `lived` seconds after the launch.

    `status` is None for an engine that lives but is taken for crashed. `asked` is who had it ended; `failure`
    why the pool itself ended it. `graceful`: the profile takes exit code 0 of an engine that had been healthy
    for a wish to stop. `findings` are own words of the engine that its profile knows, oldest first; `checks`
    the health checks in a row that failed last; `faults` what devices reported; `rebooted`: the host was
    started anew since the launch. `log` is where to read on.
    """

    status: ExitStatus | None
    at: float = 0.0
    lived: float = 0.0
    healthy: bool = False
    graceful: bool = False
    asked: Asker | None = None
    failure: Cause | None = None
    last_line: str = ""
    findings: tuple[Finding, ...] = ()
    checks: tuple[FailedCheck, ...] = ()
    faults: tuple[DeviceFault, ...] = ()
    rebooted: bool = False
    log: str = ""

    @property
    def stage(self) -> Stage:
        """The part of its life in which it ended."""
        return Stage.RUN if self.healthy or self.status is None else Stage.HEALTH


OWN_SIGNALS = frozenset(
    (
        *(signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE),
        *(signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
    )
)
"""Signals that a program brings upon itself; all others come from outside."""

OUTSIDE_CODES = frozenset(128 + number for number in signal.Signals if number not in OWN_SIGNALS)
"""Exit codes by which shells pass on that their program was killed from outside."""

DEVICE_CLASSES = frozenset((F.CUDA, F.DEVICE_LOST, F.DEVICE_OUT_OF_MEMORY))
MIDLIFE = DEVICE_CLASSES | {F.EXIT}
TELLABLE = MIDLIFE | {F.BAD_CONFIG, F.PORT_IN_USE}
"""What an engine's own words can tell at any time, and what else before it has been healthy: one that has
been had a usable configuration and its port. No words prove an OOM kill, for one."""

FRESH = 60.0
"""For so many seconds words may explain an ending; what an engine survived for longer did not end it."""

# --- the rules -------------------------------------------------------------------------------------


def judge(evidence: Evidence) -> Cause:
    """The cause of an ending. Every ending has one: the last rule applies to all."""
    for rule in RULES:
        cause = rule.applies(evidence)
        if cause is not None:
            return cause
    raise AssertionError("the last rule applies to all")


@frozen
class Rule:
    """A conclusion, and why it stands where it does. `applies` returns None where the rule does not."""

    name: str
    why: str
    applies: Callable[[Evidence], Cause | None]


def _asked_for(one: Evidence) -> Cause | None:
    if one.asked is None or one.status is None:
        return None
    kind = F.MANAGER_EXIT if one.asked is Asker.MANAGER else F.KILLED_BY_OPERATOR
    said = f"it was ended for {one.asked}, {seconds(one.lived)} after its launch ({one.status})"
    return Cause(kind, Stage.STOP, said, exit=one.status, evidence=(f"asked: {one.asked}", str(one.status)))


def _failed_before(one: Evidence) -> Cause | None:
    return None if one.failure is None else evolve(one.failure, exit=one.status)


def _rebooted(one: Evidence) -> Cause | None:
    if not one.rebooted:
        return None
    said = "the host was started anew, and ended it"
    return Cause(F.HOST_RESTART, one.stage, said, exit=one.status, evidence=("another boot id",))


def _lost(one: Evidence) -> Cause | None:
    if one.status is None or one.status.known:
        return None
    clues = tuple(clue.detail for clue in one.status.clues)
    return _ended(one, F.UNKNOWN, Confidence.GUESS, (str(one.status), *clues))


def _out_of_memory(one: Evidence) -> Cause | None:
    clues = one.status.clues if one.status is not None else ()
    kills = [clue for clue in clues if clue.kind is ClueKind.OOM_KILL and _bears_out(one.status, clue)]
    if not kills:
        return None
    kill = max(kills, key=lambda clue: clue.proof)
    sure = Confidence.CERTAIN if kill.proof else Confidence.LIKELY
    remedy = "give the engine or its group more memory, or it a smaller context or model"
    return _ended(one, F.OUT_OF_MEMORY, sure, (kill.detail, str(one.status)), more=kill.detail, remedy=remedy)


def _bears_out(status: ExitStatus | None, clue: Clue) -> bool:
    """A count of a group that others are in as well concerns us only if something of ours was killed."""
    killed = status is not None and (status.signal == signal.SIGKILL or status.code == 128 + signal.SIGKILL)
    return clue.proof or killed


def _graceful(one: Evidence) -> Cause | None:
    if not (one.graceful and one.healthy and one.status is not None and one.status.success):
        return None
    return _ended(one, F.GRACEFUL, Confidence.CERTAIN, (str(one.status), "it had been healthy"))


def _device(one: Evidence) -> Cause | None:
    fault = _reported(one)
    if fault is None or not (_unwell(one) or _ended_itself(one.status)):
        return None
    said, reported = _own_words(one), f"device {fault.uuid} reported {xid.told(fault)}"
    if said is not None and said.pattern.kind in DEVICE_CLASSES:
        told = evolve(_blamed(one, said), confidence=Confidence.CERTAIN)
        kind = F.DEVICE_LOST if xid.kind_of(fault) is F.DEVICE_LOST else told.kind
        return evolve(told, kind=kind, evidence=(reported, *told.evidence))
    if said is not None and said.pattern.kind not in MIDLIFE and not xid.isolates(fault):
        return None
    own = xid.blame(fault) is xid.Blame.APPLICATION
    more = f"{reported}, which is most often the fault of what runs there" if own else reported
    remedy = f"{xid.remedy(fault)}; the engine's log is {{log}}"
    evidence = (reported, *_seen(one))
    return _ended(one, xid.kind_of(fault), Confidence.LIKELY, evidence, more=more, remedy=remedy)


def _words(one: Evidence) -> Cause | None:
    said = _own_words(one)
    if said is None or not _ended_itself(one.status):
        return None
    return _blamed(one, said)


def _sick(one: Evidence) -> Cause | None:
    said = _own_words(one)
    if said is None or not _unwell(one) or said.pattern.kind not in DEVICE_CLASSES:
        return None
    return _blamed(one, said)


def _signal(one: Evidence) -> Cause | None:
    if one.status is None or one.status.signal is None:
        return None
    remedy = _KILLED if one.status.signal == signal.SIGKILL else ""
    return _ended(one, F.SIGNAL, Confidence.CERTAIN, _seen(one), more=_last(one), remedy=remedy)


_KILLED = (
    "find out who kills it (nothing proves that it was the kernel, for want of memory); its log is {log}"
)


def _exit(one: Evidence) -> Cause | None:
    if one.status is None:
        return None
    return _ended(one, F.EXIT, Confidence.CERTAIN, _seen(one), more=_last(one))


def _hang(one: Evidence) -> Cause | None:
    silent = one.checks and all(check.silent for check in one.checks)
    return _ended(one, F.HANG, Confidence.LIKELY, _seen(one), remedy=_BUSY) if silent else None


def _health(one: Evidence) -> Cause | None:
    return _ended(one, F.HEALTH, Confidence.LIKELY, _seen(one), remedy=_BUSY)


_BUSY = "look at the engine's log, {log}; if it was only busy, give it a larger health.timeout"

RULES = (
    Rule("asked for", "we did it ourselves: whatever it looks like, it is no failure", _asked_for),
    Rule("failed before", "we did that too, because of a failure: that is the cause", _failed_before),
    Rule("host restart", "nothing survives a reboot, and no engine causes one", _rebooted),
    Rule("lost status", "S16: without a status nothing else is certain", _lost),
    Rule("out of memory", "the kernel counts its own kills; SIGKILL alone would be no proof", _out_of_memory),
    Rule("graceful", "S16: only a real exit code 0 of an engine that had been healthy", _graceful),
    Rule("device report", "the driver's own report outweighs what the engine makes of it", _device),
    Rule("own words", "its own words and its own ending agree; a kill from outside needs no words", _words),
    Rule("own words, unwell", "it lives, but its words and its health checks agree", _sick),
    Rule("signal", "the kernel names it", _signal),
    Rule("exit code", "the engine chose it", _exit),
    Rule("silence", "whatever hangs is silent, and nothing was heard at all", _hang),
    Rule("health", "answers came, and were bad ones", _health),
)
"""The first rule that applies decides; above the last four stands what explains more than how it ended."""


# --- what the rules ask ----------------------------------------------------------------------------


def _ended_itself(status: ExitStatus | None) -> bool:
    """Whether the ending was the engine's own doing, as far as the status tells."""
    if status is None or not status.known:
        return False
    if status.signal is not None:
        return status.signal in OWN_SIGNALS
    return status.code not in OUTSIDE_CODES


def _unwell(one: Evidence) -> bool:
    return one.status is None and bool(one.checks)


def _reported(one: Evidence) -> DeviceFault | None:
    """The weightiest report that may explain it; of the same ones, the latest."""
    usable = [fault for fault in one.faults if xid.explains(fault)]
    return max(reversed(usable), key=xid.isolates, default=None)


def _own_words(one: Evidence) -> Finding | None:
    """The most telling words that may have to do with it; of the same ones, the latest."""
    if not one.findings:
        return None
    since, kinds = (one.at - FRESH, MIDLIFE) if one.healthy else (0.0, TELLABLE)
    usable = [said for said in one.findings if said.at >= since and said.pattern.kind in kinds]
    return min(reversed(usable), key=lambda said: said.rank, default=None)


# --- how it is put ---------------------------------------------------------------------------------


def _blamed(one: Evidence, said: Finding) -> Cause:
    known = said.pattern
    evidence = (said.line, *_seen(one, quoted=True))
    cause = _ended(one, known.kind, Confidence.LIKELY, evidence, more=str(said), remedy=known.remedy)
    return evolve(cause, heals=known.heals)


def _ended(
    one: Evidence,
    kind: FailureClass,
    sure: Confidence,
    evidence: tuple[str, ...],
    *,
    more: str = "",
    remedy: str = "",
) -> Cause:
    said = f"{_how(one)}; {more}" if more else _how(one)
    help_ = (remedy or "look at the engine's log, {log}").replace("{log}", one.log)
    return Cause(kind, one.stage, said, remedy=help_, exit=one.status, evidence=evidence, confidence=sure)


def _how(one: Evidence) -> str:
    if one.status is None:
        return _failed_checks(one.checks)
    after = seconds(one.lived)
    if one.healthy:
        return f"the engine ended after {after} ({one.status})"
    return f"the engine ended {after} after its launch, before it was ready ({one.status})"


def _last(one: Evidence) -> str:
    return f"its last line: {one.last_line!r}" if one.last_line else ""


def _seen(one: Evidence, *, quoted: bool = False) -> tuple[str, ...]:
    """The facts of the ending itself; the last line too, unless something weightier is `quoted`."""
    if one.status is None:
        return tuple(f"{_time(check).isoformat(timespec='seconds')}: {check.detail}" for check in one.checks)
    said = () if quoted or not one.last_line else (one.last_line,)
    return (str(one.status), *said)


TIMES_SHOWN = 5
"""With more failed checks the message has the first and the last time only; the evidence has them all."""


def _failed_checks(checks: tuple[FailedCheck, ...]) -> str:
    if not checks:
        return "it was taken for crashed"
    clock = [f"{_time(check):%H:%M:%S}" for check in checks]
    when = ", ".join(clock) if len(clock) <= TIMES_SHOWN else f"{clock[0]} to {clock[-1]}"
    what = "1 health check failed" if len(checks) == 1 else f"{len(checks)} health checks in a row failed"
    return f"{what} (at {when} UTC): {checks[-1].detail}"


def _time(check: FailedCheck) -> datetime:
    return datetime.fromtimestamp(check.at, UTC)


def unhealthy(checks: tuple[FailedCheck, ...], *, log: str) -> Cause:
    """The cause when as many health checks in a row failed as make a crash of a living engine."""
    return judge(Evidence(None, checks=checks, log=log))
