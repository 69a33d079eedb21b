"""Why an engine ended: every rule by name, and what holds for any evidence."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.causes import (
    LOST,
    Cause,
    Clue,
    ClueKind,
    Confidence,
    ExitStatus,
    FailureClass,
    Stage,
)
from pool_lifecycle.interfaces import DeviceFault, FaultKind, Pattern
from pool_lifecycle.own_words import Finding
from pool_lifecycle.placement.xid import explains
from pool_lifecycle.verdict import FRESH, RULES, Asker, Evidence, FailedCheck, judge, unhealthy

F, C = FailureClass, Confidence
LOG = "/state/logs/chat.log"
NOW = 1000.0

SEGFAULT, ABORT, KILLED, TERMINATED = (
    ExitStatus(signal=number) for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM)
)
ZERO, ONE = ExitStatus(code=0), ExitStatus(code=1)

CUDA = Pattern("CUDA error", F.CUDA)
LOST_DEVICE = Pattern("GPU is lost", F.DEVICE_LOST, remedy="replace it")
FLAG = Pattern("unknown argument", F.BAD_CONFIG, heals=False, remedy="mend the flag")
CORE = Pattern("EngineDeadError", F.EXIT, remedy="read {log}")

OOM = Clue(ClueKind.OOM_KILL, "its cgroup counted 1 OOM kill", proof=True)
SHARED_OOM = Clue(ClueKind.OOM_KILL, "a cgroup that others are in counted 1 OOM kill", proof=False)
XID = DeviceFault("GPU-1", 31, "MMU fault")
GONE = DeviceFault("GPU-1", 79, "GPU has fallen off the bus")
CLEANED_UP = DeviceFault("GPU-1", 45, "")
HOT = DeviceFault("GPU-1", 95, "95 degrees", FaultKind.THERMAL)
SILENT = FailedCheck(0.0, "no answer within 10 s", silent=True)
BAD = FailedCheck(10.0, "status 500")


def said(pattern: Pattern, at: float = NOW, rank: int = 0) -> Finding:
    return Finding(at, pattern, f"{pattern.text} 7", rank)


def evidence(status: ExitStatus | None, **known: Any) -> Evidence:
    """Of an engine that had been healthy, unless it says otherwise."""
    usual: dict[str, Any] = {"at": NOW, "lived": 1.5, "healthy": True, "log": LOG}
    return Evidence(status, **(usual | known))


def with_clue(status: ExitStatus, *clues: Clue) -> ExitStatus:
    return evolve(status, clues=clues)


def deciding(one: Evidence) -> str:
    return next(rule.name for rule in RULES if rule.applies(one) is not None)


CASES: list[tuple[str, Evidence, FailureClass, Confidence]] = [
    ("asked for", evidence(TERMINATED, asked=Asker.OPERATOR), F.KILLED_BY_OPERATOR, C.CERTAIN),
    ("asked for", evidence(SEGFAULT, asked=Asker.OPERATOR), F.KILLED_BY_OPERATOR, C.CERTAIN),
    ("asked for", evidence(LOST, asked=Asker.MANAGER), F.MANAGER_EXIT, C.CERTAIN),
    (
        "failed before",
        evidence(KILLED, failure=Cause(F.HANG, Stage.RUN, "it hung", confidence=C.LIKELY)),
        F.HANG,
        C.LIKELY,
    ),
    ("host restart", evidence(LOST, rebooted=True), F.HOST_RESTART, C.CERTAIN),
    ("lost status", evidence(LOST), F.UNKNOWN, C.GUESS),
    ("lost status", evidence(with_clue(LOST, OOM), findings=(said(CUDA),)), F.UNKNOWN, C.GUESS),
    ("out of memory", evidence(with_clue(KILLED, OOM)), F.OUT_OF_MEMORY, C.CERTAIN),
    ("out of memory", evidence(with_clue(ONE, OOM)), F.OUT_OF_MEMORY, C.CERTAIN),
    ("out of memory", evidence(with_clue(KILLED, SHARED_OOM)), F.OUT_OF_MEMORY, C.LIKELY),
    ("out of memory", evidence(with_clue(KILLED, SHARED_OOM, OOM)), F.OUT_OF_MEMORY, C.CERTAIN),
    ("out of memory", evidence(with_clue(ExitStatus(code=137), SHARED_OOM)), F.OUT_OF_MEMORY, C.LIKELY),
    ("signal", evidence(with_clue(SEGFAULT, SHARED_OOM)), F.SIGNAL, C.CERTAIN),
    ("signal", evidence(KILLED), F.SIGNAL, C.CERTAIN),
    ("exit code", evidence(ExitStatus(code=137)), F.EXIT, C.CERTAIN),
    ("graceful", evidence(ZERO, graceful=True), F.GRACEFUL, C.CERTAIN),
    ("exit code", evidence(ZERO), F.EXIT, C.CERTAIN),
    ("exit code", evidence(ZERO, graceful=True, healthy=False), F.EXIT, C.CERTAIN),
    ("device report", evidence(ABORT, faults=(XID,)), F.CUDA, C.LIKELY),
    ("device report", evidence(ABORT, faults=(GONE,)), F.DEVICE_LOST, C.LIKELY),
    ("device report", evidence(ABORT, faults=(GONE, XID)), F.DEVICE_LOST, C.LIKELY),
    ("device report", evidence(ABORT, faults=(GONE,), findings=(said(CUDA),)), F.DEVICE_LOST, C.CERTAIN),
    (
        "device report",
        evidence(ONE, healthy=False, faults=(GONE,), findings=(said(FLAG),)),
        F.DEVICE_LOST,
        C.LIKELY,
    ),
    (
        "own words",
        evidence(ONE, healthy=False, faults=(XID,), findings=(said(FLAG),)),
        F.BAD_CONFIG,
        C.LIKELY,
    ),
    ("own words", evidence(ABORT, faults=(CLEANED_UP,), findings=(said(CUDA),)), F.CUDA, C.LIKELY),
    ("exit code", evidence(ONE, faults=(CLEANED_UP, HOT)), F.EXIT, C.CERTAIN),
    ("health", evidence(None, faults=(HOT,), checks=(BAD,)), F.HEALTH, C.LIKELY),
    ("device report", evidence(ABORT, faults=(XID,), findings=(said(CUDA),)), F.CUDA, C.CERTAIN),
    (
        "device report",
        evidence(ABORT, faults=(XID,), findings=(said(LOST_DEVICE),)),
        F.DEVICE_LOST,
        C.CERTAIN,
    ),
    ("device report", evidence(ONE, faults=(XID,), findings=(said(CORE),)), F.CUDA, C.LIKELY),
    ("device report", evidence(None, faults=(XID,), checks=(BAD,)), F.CUDA, C.LIKELY),
    ("signal", evidence(KILLED, faults=(XID,)), F.SIGNAL, C.CERTAIN),
    ("own words", evidence(ABORT, findings=(said(CUDA),)), F.CUDA, C.LIKELY),
    ("own words", evidence(ONE, findings=(said(CUDA),)), F.CUDA, C.LIKELY),
    ("own words", evidence(ZERO, findings=(said(CUDA, rank=1), said(CORE, rank=2))), F.CUDA, C.LIKELY),
    ("own words", evidence(ONE, findings=(said(CORE),)), F.EXIT, C.LIKELY),
    ("own words", evidence(ONE, healthy=False, findings=(said(FLAG, at=0.0),)), F.BAD_CONFIG, C.LIKELY),
    ("exit code", evidence(ONE, findings=(said(FLAG),)), F.EXIT, C.CERTAIN),
    ("exit code", evidence(ONE, findings=(said(CUDA, at=NOW - FRESH - 1),)), F.EXIT, C.CERTAIN),
    ("own words", evidence(ONE, findings=(said(CUDA, at=NOW - FRESH),)), F.CUDA, C.LIKELY),
    ("signal", evidence(KILLED, findings=(said(CUDA),)), F.SIGNAL, C.CERTAIN),
    ("signal", evidence(TERMINATED, findings=(said(CUDA),)), F.SIGNAL, C.CERTAIN),
    ("exit code", evidence(ExitStatus(code=137), findings=(said(CUDA),)), F.EXIT, C.CERTAIN),
    ("exit code", evidence(ExitStatus(code=143), findings=(said(CUDA),)), F.EXIT, C.CERTAIN),
    ("own words", evidence(ExitStatus(code=134), findings=(said(CUDA),)), F.CUDA, C.LIKELY),
    ("own words, unwell", evidence(None, checks=(SILENT, BAD), findings=(said(CUDA),)), F.CUDA, C.LIKELY),
    ("silence", evidence(None, checks=(SILENT, SILENT)), F.HANG, C.LIKELY),
    ("silence", evidence(None, checks=(SILENT,), findings=(said(CORE),)), F.HANG, C.LIKELY),
    ("health", evidence(None, checks=(SILENT, BAD)), F.HEALTH, C.LIKELY),
    ("health", evidence(None, checks=(BAD,)), F.HEALTH, C.LIKELY),
]


@pytest.mark.parametrize(("rule", "known", "kind", "sure"), CASES)
def test_a_rule_and_its_conclusion(rule: str, known: Evidence, kind: FailureClass, sure: Confidence) -> None:
    """B-SUPER-003, 005, 006, 009, x1, x2: the deciding rule, the class, and how sure it is."""
    cause = judge(known)
    assert (deciding(known), cause.kind, cause.confidence) == (rule, kind, sure)
    assert cause.message
    assert cause.evidence or known.failure is not None
    assert cause.exit == known.status


def test_every_rule_decides_something_and_has_a_reason() -> None:
    """Every rule of the table is named in a case above, in its own words, and tells why it is there."""
    assert {rule for rule, *_ in CASES} == {rule.name for rule in RULES}
    assert all(rule.why for rule in RULES)


MADE_ELSEWHERE = {F.START_TIMEOUT, F.STAGING, F.PREFLIGHT}
FROM_A_LOG = {F.DEVICE_OUT_OF_MEMORY, F.PORT_IN_USE}


def test_every_class_can_be_reached() -> None:
    """B-SUPER-x2: by the rules, by a pattern of that class, or where a failure needs no verdict."""
    by_words = {
        judge(evidence(ONE, healthy=False, findings=(said(Pattern("x", kind)),))).kind for kind in FROM_A_LOG
    }
    assert {kind for _, _, kind, _ in CASES} | by_words | MADE_ELSEWHERE == set(F)


def test_an_ending_is_told_with_its_last_line() -> None:
    """B-SUPER-005: the signal by its name; the last line even if nobody knows what it means."""
    cause = judge(evidence(SEGFAULT, last_line="oops"))
    assert str(cause) == "run failed: the engine ended after 1.5 s (killed by SIGSEGV); its last line: 'oops'"
    assert cause.evidence == ("killed by SIGSEGV", "oops")
    assert cause.remedy == "look at the engine's log, /state/logs/chat.log"


def test_an_early_ending_reads_well() -> None:
    """B-PRELOAD-031: the message of a failed start begins with `health check failed`, and is a sentence."""
    cause = judge(evidence(ONE, healthy=False, lived=0.004))
    assert str(cause) == (
        "health check failed: the engine ended 4 ms after its launch, before it was ready (exit code 1)"
    )


def test_known_words_decide_class_healing_and_remedy() -> None:
    """Exit code 1 with an unknown flag cannot heal; what was said weighs most."""
    cause = judge(evidence(ONE, healthy=False, findings=(said(FLAG),), last_line="usage: ..."))
    assert (cause.kind, cause.heals, cause.remedy) == (F.BAD_CONFIG, False, "mend the flag")
    assert cause.message.endswith("(exit code 1); it said: 'unknown argument 7'")
    assert cause.evidence == ("unknown argument 7", "exit code 1")


def test_a_remedy_may_name_the_log_and_there_is_always_one() -> None:
    """It says where to read on."""
    assert judge(evidence(ONE, findings=(said(CORE),))).remedy == f"read {LOG}"
    assert judge(evidence(ONE, findings=(said(CUDA),))).remedy == f"look at the engine's log, {LOG}"


def test_the_most_telling_words_decide_and_of_these_the_latest() -> None:
    """Patterns count in their profile's order, not in that of the lines."""
    older, newer = (Finding(NOW, LOST_DEVICE, line, 0) for line in ("GPU is lost 1", "GPU is lost 2"))
    cause = judge(evidence(ONE, findings=(older, newer, said(CUDA, rank=3))))
    assert (cause.kind, cause.evidence[0]) == (F.DEVICE_LOST, "GPU is lost 2")


def test_a_kill_that_nobody_owns_up_to_is_no_want_of_memory() -> None:
    """B-SUPER-009, x1: and whoever reads it is told so."""
    cause = judge(evidence(KILLED))
    assert "nothing proves that it was the kernel" in cause.remedy
    assert LOG in cause.remedy


def test_a_kill_for_want_of_memory_names_its_proof_first() -> None:
    """B-SUPER-009: what the kernel counted weighs more than the signal."""
    cause = judge(evidence(with_clue(KILLED, SHARED_OOM, OOM), last_line="loading"))
    assert cause.evidence == (OOM.detail, "killed by SIGKILL")
    assert cause.message.endswith(OOM.detail)
    assert "more memory" in cause.remedy


def test_a_device_report_comes_before_the_words() -> None:
    """It weighs more."""
    cause = judge(evidence(ABORT, faults=(XID,), findings=(said(CUDA),)))
    assert cause.evidence == (
        "device GPU-1 reported Xid 31: GPU memory page fault (MMU fault)",
        "CUDA error 7",
        "killed by SIGABRT",
    )


def test_an_applications_fault_is_told_as_such() -> None:
    """B-SUPER-x1: the report is quoted, whose fault that is as a rule, and what to look at."""
    cause = judge(evidence(ABORT, faults=(XID,)))
    assert cause.message.endswith(
        "device GPU-1 reported Xid 31: GPU memory page fault (MMU fault), "
        "which is most often the fault of what runs there"
    )
    assert cause.remedy.startswith("look at what the engine was doing")
    assert cause.remedy.endswith(f"the engine's log is {LOG}")


def test_a_devices_own_fault_is_told_with_its_remedy() -> None:
    """B-GPU-x2: nobody is to blame who runs there, and what is to be done comes first."""
    cause = judge(evidence(ABORT, faults=(GONE,)))
    assert cause.message.endswith("device GPU-1 reported Xid 79: GPU has fallen off the bus")
    assert cause.remedy.startswith("start the host anew")


def test_of_several_reports_the_weightiest_decides_and_of_these_the_latest() -> None:
    """B-SUPER-x1: what isolates the device weighs more than what came after it."""
    second = evolve(XID, uuid="GPU-2")
    assert "GPU-2" in judge(evidence(ABORT, faults=(XID, second))).evidence[0]
    assert "Xid 79" in judge(evidence(ABORT, faults=(XID, GONE, second, CLEANED_UP))).evidence[0]


def test_who_asked_for_it_is_named() -> None:
    """B-SUPER-x4: what we did ourselves is no failure, however the engine took it."""
    cause = judge(evidence(TERMINATED, asked=Asker.OPERATOR))
    assert str(cause) == (
        "stop failed: it was ended for the operator, 1.5 s after its launch (killed by SIGTERM)"
    )
    assert "the manager, which left" in judge(evidence(ZERO, asked=Asker.MANAGER)).message


def test_failed_checks_are_told_with_their_times() -> None:
    """B-SUPER-002: how many, when, and what was seen last; each one is kept as evidence."""
    cause = unhealthy((FailedCheck(0.0, "refused"), FailedCheck(10.5, "no answer within 10 s")), log=LOG)
    assert (cause.kind, cause.heals, cause.exit) == (F.HEALTH, True, None)
    assert str(cause) == (
        "run failed: 2 health checks in a row failed (at 00:00:00, 00:00:10 UTC): no answer within 10 s"
    )
    assert cause.remedy.startswith("look at the engine's log, /state/logs/chat.log; if it was only busy")
    assert cause.evidence == (
        "1970-01-01T00:00:00+00:00: refused",
        "1970-01-01T00:00:10+00:00: no answer within 10 s",
    )
    once = unhealthy((FailedCheck(0.0, "refused"),), log=LOG)
    assert once.message == "1 health check failed (at 00:00:00 UTC): refused"


def test_the_times_of_many_failed_checks_are_not_all_told() -> None:
    """S19: the message is bounded, the evidence has them all."""
    cause = unhealthy(tuple(FailedCheck(10.0 * number, "refused") for number in range(100)), log=LOG)
    assert cause.message == "100 health checks in a row failed (at 00:00:00 to 00:16:30 UTC): refused"
    assert len(cause.evidence) == 100


# --- what holds for any evidence ------------------------------------------------------------------------

CLUES = st.builds(Clue, st.sampled_from(ClueKind), st.text(max_size=20), st.booleans())
STATUSES = st.builds(
    lambda status, clues: evolve(status, clues=clues),
    st.one_of(
        st.just(LOST),
        st.integers(0, 255).map(lambda code: ExitStatus(code=code)),
        st.integers(1, 70).map(lambda number: ExitStatus(signal=number)),
    ),
    st.lists(CLUES, max_size=3).map(tuple),
)
PATTERNS = st.builds(
    Pattern,
    st.text(max_size=20),
    st.sampled_from(F),
    st.booleans(),
    st.text(max_size=20),
)
TIMES = st.floats(0, 2e9)
EVIDENCE = st.builds(
    Evidence,
    st.none() | STATUSES,
    at=TIMES,
    lived=TIMES,
    healthy=st.booleans(),
    graceful=st.booleans(),
    asked=st.none() | st.sampled_from(Asker),
    last_line=st.text(max_size=20),
    findings=st.lists(st.builds(Finding, TIMES, PATTERNS, st.text(), st.integers(0, 9)), max_size=4).map(
        tuple
    ),
    checks=st.lists(st.builds(FailedCheck, TIMES, st.text(), st.booleans()), max_size=4).map(tuple),
    faults=st.lists(
        st.builds(
            DeviceFault, st.text(), st.integers() | st.integers(0, 172), st.text(), st.sampled_from(FaultKind)
        ),
        max_size=2,
    ).map(tuple),
    rebooted=st.booleans(),
    log=st.text(max_size=20),
)


@given(EVIDENCE)
def test_every_ending_gets_a_class_that_is_proven(one: Evidence) -> None:
    """S16: graceful only with a real status 0 of an engine that had been healthy and may; out_of_memory only
    with a clue; lost is unknown, unless we did it ourselves or the host restarted; nothing raises."""
    cause, status = judge(one), one.status
    assert cause.kind in F
    assert cause.message
    assert cause.evidence or (status is None and not one.checks)
    if cause.kind is F.GRACEFUL:
        assert status is not None
        assert (status.code, one.healthy, one.graceful) == (0, True, True)
    if cause.kind is F.OUT_OF_MEMORY:
        assert status is not None
        killed = 9 in (status.signal, (status.code or 0) - 128)
        assert any(clue.proof or killed for clue in status.clues)
        assert cause.confidence is C.LIKELY or any(clue.proof for clue in status.clues)
    if status is not None and not status.known and one.asked is None and not one.rebooted:
        assert cause.kind is F.UNKNOWN


@given(EVIDENCE)
def test_words_alone_convict_nobody(one: Evidence) -> None:
    """B-SUPER-x1: without words or a report, no device is to blame; with a kill from outside neither."""
    if not one.findings and not any(map(explains, one.faults)):
        assert judge(one).kind not in (F.CUDA, F.DEVICE_LOST, F.DEVICE_OUT_OF_MEMORY, F.BAD_CONFIG)
    killed = evolve(one, status=KILLED, asked=None, rebooted=False)
    assert judge(killed).kind is F.SIGNAL
    living = evolve(one, status=None, checks=(), rebooted=False)
    assert judge(living).kind is F.HEALTH


@given(EVIDENCE)
def test_a_bad_configuration_is_not_blamed_once_it_had_worked(one: Evidence) -> None:
    """What is never retried is concluded only from a start."""
    cause = judge(evolve(one, healthy=True))
    assert cause.heals or cause.kind in {F.CUDA, F.DEVICE_LOST, F.DEVICE_OUT_OF_MEMORY, F.EXIT}
    assert cause.kind not in (F.BAD_CONFIG, F.PORT_IN_USE)
