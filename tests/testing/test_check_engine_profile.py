"""The conformance check for engine profiles finds each broken promise, and passes a profile without one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import Command, CommandContext, Echo, ExitZero, Pattern, Reach, WorkCounter
from pool_lifecycle.testing.check_engine_profile import check_engine_profile
from pool_lifecycle.testing.memory import MemoryProfile


class Sound:
    """Keeps every promise; the broken ones below break one each."""

    name = "sound"
    health_path = "/health"
    exit_zero: Any = ExitZero.CRASH
    patterns: tuple[Any, ...] = (Pattern("CUDA error", FailureClass.CUDA),)
    work: Any = WorkCounter("/metrics", ("tokens_total",))
    echoes: Any = (Echo("prompt: ", Reach.LINE),)

    def command(self, *, context: CommandContext) -> Command:
        return Command((context.binary, f"--model={context.model_path}", *context.args))

    def split_flags(self, *, ratios: tuple[float, ...]) -> Any:
        return ("--split", str(len(ratios))) if len(ratios) > 1 else ()


class Nameless(Sound):
    name = ""


class NoPath(Sound):
    health_path = "health"


class NoExitZero(Sound):
    exit_zero = "crash"


class PlainWork(Sound):
    work = "/metrics"


class WorkNowhere(Sound):
    work = WorkCounter("metrics", ("tokens_total",))


class OneName(Sound):
    work = WorkCounter("/metrics", "tokens_total")  # type: ignore[arg-type]


class OneGauge(Sound):
    work = WorkCounter("/metrics", ("tokens_total",), "running")  # type: ignore[arg-type]


class NoCounter(Sound):
    work = WorkCounter("/metrics", ())


class EmptyName(Sound):
    work = WorkCounter("/metrics", ("tokens_total",), ("",))


class PlainPattern(Sound):
    patterns = ("CUDA error",)


class EmptyPattern(Sound):
    patterns = (Pattern(" ", FailureClass.CUDA),)


class Presumptuous(Sound):
    patterns = (Pattern("Killed", FailureClass.OUT_OF_MEMORY),)


class TwoLines(Sound):
    patterns = (Pattern("a\nb", FailureClass.CUDA),)


class Shadowed(Sound):
    patterns = (Pattern("CUDA error", FailureClass.CUDA), Pattern("CUDA error: full", FailureClass.EXIT))


class OneEcho(Sound):
    echoes = Echo("prompt: ")


class PlainEcho(Sound):
    echoes = ("prompt: ",)


class NoReach(Sound):
    echoes = (Echo("prompt: ", "far"),)  # type: ignore[arg-type]


class EmptyEcho(Sound):
    echoes = (Echo(""),)


class EchoOfTwoLines(Sound):
    echoes = (Echo("prompt\n"),)


class AnotherBinary(Sound):
    def command(self, *, context: CommandContext) -> Command:
        return Command(("sh", *context.args))


class ThroughAShell(Sound):
    def command(self, *, context: CommandContext) -> Command:
        return Command((context.binary, " ".join(context.args)))


class Formats(Sound):
    def command(self, *, context: CommandContext) -> Command:
        model = (context.model_path or "").replace("{port}", str(context.port))
        return Command((context.binary, model, *context.args))


class Impure(Sound):
    count = itertools.count()

    def command(self, *, context: CommandContext) -> Command:
        return Command((context.binary, str(next(self.count)), *context.args))


class NumbersInIt(Sound):
    def command(self, *, context: CommandContext) -> Any:
        return Command((context.binary, context.port, *context.args))  # type: ignore[arg-type]


class OddEnvironment(Sound):
    def command(self, *, context: CommandContext) -> Command:
        return Command((context.binary, *context.args), env=(("PORT", 1),))  # type: ignore[arg-type]


class SplitsOne(Sound):
    def split_flags(self, *, ratios: tuple[float, ...]) -> Any:
        return ("--split", "1")


class SplitsIntoText(Sound):
    def split_flags(self, *, ratios: tuple[float, ...]) -> Any:
        return "--split 2" if len(ratios) > 1 else ()


class NoWork(Sound):
    work = None


@pytest.mark.parametrize("make", [Sound, NoWork, MemoryProfile])
def test_a_sound_profile_passes(make: Callable[[], Any]) -> None:
    """No promise is asked for that a plain profile does not keep; the memory driver keeps them too."""
    check_engine_profile(make)


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (object, "has all that EngineProfile lists"),
        (Nameless, "has a name"),
        (NoPath, "begins with /"),
        (NoExitZero, "exit_zero is an ExitZero"),
        (PlainWork, "work is a WorkCounter"),
        (WorkNowhere, "a path begins with /"),
        (OneName, "names is a tuple of strings"),
        (OneGauge, "pending is a tuple of strings"),
        (NoCounter, "at least one metric"),
        (EmptyName, "every metric has a name"),
        (PlainPattern, "patterns holds Patterns"),
        (EmptyPattern, "looks for some text"),
        (Presumptuous, "no words in a log prove"),
        (TwoLines, "part of one line"),
        (Shadowed, "can be the first match"),
        (OneEcho, "echoes is a tuple"),
        (PlainEcho, "echoes holds Echos"),
        (NoReach, "an echo has a Reach"),
        (EmptyEcho, "silence the whole log"),
        (EchoOfTwoLines, "an echo's text is part of one line"),
        (AnotherBinary, "begins with the binary"),
        (ThroughAShell, "come last and unchanged"),
        (Formats, "taken as it is"),
        (Impure, "a profile is pure"),
        (NumbersInIt, "a tuple of strings"),
        (OddEnvironment, "pairs of strings"),
        (SplitsOne, "there are no flags"),
        (SplitsIntoText, "flags are a tuple"),
    ],
)
def test_a_broken_promise_is_named(make: Callable[[], Any], promise: str) -> None:
    """Each broken promise is told in its own sentence."""
    with pytest.raises(AssertionError, match=promise):
        check_engine_profile(make)
