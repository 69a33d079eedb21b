"""What every engine profile promises, as one check.

    check_engine_profile(MyProfile)

Raises AssertionError with a sentence naming the broken promise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    Echo,
    EngineProfile,
    ExitZero,
    Pattern,
    Reach,
    WorkCounter,
)
from pool_lifecycle.verdict import TELLABLE

ARGS = ("--flag", "two words", "", "--json={'a': {}}", "-", "naïve")
"""Arguments a profile has no business with."""

MODEL = "/models/{port} $HOME 'a b'.gguf"
"""A model's path that invites to be interpreted."""


def check_engine_profile(
    make: Callable[[], EngineProfile], *, binary: str = "/opt/engine", args: tuple[str, ...] = ARGS
) -> None:
    """Check a profile made by `make`. `binary` and `args` must be ones it takes as they are."""
    profile = make()
    assert isinstance(profile, EngineProfile), "an engine profile has all that EngineProfile lists"
    assert profile.name, "a profile has a name"
    assert profile.health_path.startswith("/"), f"a path begins with /, unlike {profile.health_path!r}"
    assert isinstance(profile.exit_zero, ExitZero), f"exit_zero is an ExitZero, not {profile.exit_zero!r}"
    _sound_patterns(profile.patterns)
    _sound_echoes(getattr(profile, "echoes", ()))
    for model in (MODEL, None):
        context = CommandContext(binary, args, "127.0.0.1", 8080, slots=3, model_path=model)
        _sound_command(profile, make(), context)
    _sound_split(profile)
    _sound_work(getattr(profile, "work", None))


def _sound_patterns(patterns: tuple[Pattern, ...]) -> None:
    for pattern in patterns:
        assert isinstance(pattern, Pattern), f"patterns holds Patterns, not {pattern!r}"
        assert isinstance(pattern.kind, FailureClass), f"a pattern has a failure class, unlike {pattern}"
        assert pattern.kind in TELLABLE, f"no words in a log prove {pattern.kind}, as {pattern.text!r} is to"
        assert pattern.text.strip(), "a pattern looks for some text; an empty one is in every line"
        assert pattern.text.isprintable(), f"a pattern's text is part of one line, unlike {pattern.text!r}"
    for early, late in itertools.combinations(patterns, 2):
        assert early.text not in late.text, (
            f"every pattern can be the first match; {late.text!r} never is, because of {early.text!r}"
        )


def _sound_echoes(echoes: object) -> None:
    assert isinstance(echoes, tuple), f"echoes is a tuple, not {echoes!r}"
    for echo in echoes:
        assert isinstance(echo, Echo), f"echoes holds Echos, not {echo!r}"
        assert isinstance(echo.reach, Reach), f"an echo has a Reach, unlike {echo}"
        assert echo.text.strip(), "an echo looks for some text; an empty one would silence the whole log"
        assert echo.text.isprintable(), f"an echo's text is part of one line, unlike {echo.text!r}"


def _sound_command(profile: EngineProfile, other: EngineProfile, context: CommandContext) -> None:
    command = profile.command(context=context)
    assert isinstance(command, Command), f"command returns a Command, not {command!r}"
    argv = command.argv
    assert _texts(argv), f"a command line is a tuple of strings, not {argv!r}"
    assert argv[0] == context.binary, f"the command line begins with the binary, not with {argv[0]!r}"
    assert argv[len(argv) - len(context.args) :] == context.args, (
        f"the declared arguments come last and unchanged, unlike in {argv!r}"
    )
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in command.env), (
        "the added environment is pairs of strings"
    )
    assert command == profile.command(context=context) == other.command(context=context), (
        "a profile is pure: the same context gives the same command"
    )
    added = argv[1 : len(argv) - len(context.args)]
    assert context.model_path is None or not any("8080" in one and "/models/" in one for one in added), (
        f"a model's path is taken as it is, unlike in {argv!r}"
    )


def _sound_split(profile: EngineProfile) -> None:
    assert profile.split_flags(ratios=()) == (), "without a split there are no flags"
    assert profile.split_flags(ratios=(1.0,)) == (), "for a single GPU there are no flags"
    for ratios in ((0.5, 0.5), (0.75, 0.25)):
        try:
            flags = profile.split_flags(ratios=ratios)
        except DriverError:
            continue  # an engine may be unable to split like that, as long as it says so
        assert _texts(flags), f"flags are a tuple of strings, not {flags!r}"


def _sound_work(work: object) -> None:
    if work is None:
        return
    assert isinstance(work, WorkCounter), f"work is a WorkCounter, not {work!r}"
    assert work.path.startswith("/"), f"a path begins with /, unlike {work.path!r}"
    assert _texts(work.names), f"names is a tuple of strings, not {work.names!r}"
    assert _texts(work.pending), f"pending is a tuple of strings, not {work.pending!r}"
    assert work.names, "a counter of work has at least one metric"
    assert all((*work.names, *work.pending)), "every metric has a name"


def _texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
