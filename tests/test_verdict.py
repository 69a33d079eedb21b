"""Why an engine ended."""

from __future__ import annotations

import pytest

from pool_lifecycle.causes import LOST, ExitStatus, FailureClass, Stage
from pool_lifecycle.interfaces import Pattern
from pool_lifecycle.verdict import FailedCheck, ending, recognise, unhealthy

LOG = "/state/logs/chat.log"
FLAG = Pattern("unknown argument", FailureClass.BAD_CONFIG, heals=False, remedy="mend the flag")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (ExitStatus(code=0), FailureClass.EXIT, "exit code 0"),
        (ExitStatus(code=1), FailureClass.EXIT, "exit code 1"),
        (ExitStatus(code=137), FailureClass.EXIT, "exit code 137"),
        (ExitStatus(signal=9), FailureClass.SIGNAL, "killed by SIGKILL"),
        (ExitStatus(signal=11), FailureClass.SIGNAL, "killed by SIGSEGV"),
        (LOST, FailureClass.UNKNOWN, "exit status unknown"),
    ],
)
def test_the_status_alone_gives_the_class(status: ExitStatus, kind: FailureClass, words: str) -> None:
    """B-SUPER-005, S16: the signal by name; a lost status is unknown; a SIGKILL alone is no OOM."""
    cause = ending(status, stage=Stage.RUN, lived=1.5, lines=(), patterns=(), log=LOG)
    assert cause.kind is kind
    assert str(cause) == f"run failed: the engine ended after 1.50 s ({words})"
    assert cause.exit == status
    assert cause.heals
    assert cause.remedy == "look at the engine's log, /state/logs/chat.log"


def test_the_last_line_is_quoted() -> None:
    """Even if nobody knows what it means; it is kept as evidence."""
    cause = ending(
        ExitStatus(code=1), stage=Stage.HEALTH, lived=0, lines=("a", "b"), patterns=(FLAG,), log=LOG
    )
    assert cause.message.endswith("(exit code 1); its last line: 'b'")
    assert cause.evidence == ("exit code 1", "b")


def test_known_words_decide_class_healing_and_remedy() -> None:
    """Exit code 1 with an unknown flag cannot heal."""
    lines = ("error: unknown argument: --fast", "usage: ...")
    cause = ending(ExitStatus(code=1), stage=Stage.HEALTH, lived=0, lines=lines, patterns=(FLAG,), log=LOG)
    assert (cause.kind, cause.heals, cause.remedy) == (FailureClass.BAD_CONFIG, False, "mend the flag")
    assert "it said: 'error: unknown argument: --fast'" in cause.message
    assert cause.exit == ExitStatus(code=1)


def test_a_pattern_without_a_remedy_leaves_the_usual_one() -> None:
    """There is always something to do."""
    cause = ending(
        ExitStatus(code=1),
        stage=Stage.RUN,
        lived=0,
        lines=("CUDA error",),
        patterns=(Pattern("CUDA error", FailureClass.CUDA),),
        log=LOG,
    )
    assert cause.remedy == "look at the engine's log, /state/logs/chat.log"


def test_a_remedy_may_name_the_log() -> None:
    """It says where to read on, not only that there is something to read."""
    pattern = Pattern("no model", FailureClass.EXIT, remedy="read the lines before it in {log}")
    cause = ending(
        ExitStatus(code=1), stage=Stage.RUN, lived=0, lines=("no model",), patterns=(pattern,), log=LOG
    )
    assert cause.remedy == "read the lines before it in /state/logs/chat.log"


CUDA = Pattern("CUDA error", FailureClass.CUDA)


def test_the_first_pattern_wins_with_its_last_line() -> None:
    """Patterns are tried in their order, not in that of the lines."""
    lines = ("unknown argument: -x", "CUDA error 1", "CUDA error 2", "bye")
    assert recognise(lines, (CUDA, FLAG)) == (CUDA, "CUDA error 2")
    assert recognise(iter(lines), (FLAG, CUDA)) == (FLAG, "unknown argument: -x")
    assert recognise(lines, ()) is None
    assert recognise((), (CUDA,)) is None


def test_failed_checks_are_told_with_their_times() -> None:
    """B-SUPER-002: how many, when, and what was seen last; each one is kept as evidence."""
    cause = unhealthy((FailedCheck(0.0, "refused"), FailedCheck(10.5, "no answer within 10 s")), log=LOG)
    assert (cause.kind, cause.heals, cause.exit) == (FailureClass.HEALTH, True, None)
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
