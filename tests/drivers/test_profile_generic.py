"""The profile for any program at all."""

from __future__ import annotations

import pytest

from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Command, CommandContext, ExitZero
from pool_lifecycle.testing.check_engine_profile import check_engine_profile
from pool_lifecycle_drivers.profile_generic import GenericProfile


def argv(*args: str, model: str | None = "/m/a.gguf", host: str = "127.0.0.1") -> tuple[str, ...]:
    context = CommandContext("/opt/{port}/engine", args, host, 8080, slots=4, model_path=model)
    return GenericProfile().command(context=context).argv[1:]


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("{port}", "8080"),
        ("{host}:{port}", "127.0.0.1:8080"),
        ("--model={model}", "--model=/m/a.gguf"),
        ("{slots}{slots}", "44"),
        ("{ports}", "{ports}"),
        ("{Port} { port } {} {0} {{port}}", "{Port} { port } {} {0} {8080}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ("$PORT %s ~ \\1", "$PORT %s ~ \\1"),
        ("", ""),
    ],
)
def test_exactly_four_words_are_replaced(argument: str, filled: str) -> None:
    """B-PROC-002: the argument as declared, but for {host}, {port}, {model} and {slots}."""
    assert argv(argument) == (filled,)


def test_a_value_is_not_replaced_again() -> None:
    r"""A model whose path looks like a placeholder, or like a group of a pattern, arrives unharmed."""
    assert argv("{model} {host}", model=r"/m/{port}\1", host="{model}") == (r"/m/{port}\1 {model}",)


def test_the_binary_is_taken_literally() -> None:
    """B-PRELOAD-001: exactly the configured binary."""
    context = CommandContext("/opt/{port}/engine", (), "h", 1, slots=1)
    assert GenericProfile().command(context=context) == Command(("/opt/{port}/engine",))


def test_asking_for_a_model_that_is_not_there_is_told() -> None:
    """An argument with {model} in a pool without one does not heal, and the argument is named."""
    with pytest.raises(DriverError) as caught:
        argv("-m", "{model}", model=None)
    assert not caught.value.cause.heals
    assert "'{model}'" in caught.value.cause.message


def test_exit_code_0_is_graceful() -> None:
    """B-SUPER-006: nothing is known of the program, so 0 means what it usually means."""
    assert GenericProfile().exit_zero is ExitZero.GRACEFUL


def test_it_knows_no_flags_for_a_split() -> None:
    """How an unknown program splits a model is unknown."""
    assert GenericProfile().split_flags(ratios=(0.5, 0.5)) == ()


def test_it_keeps_the_promises_of_an_engine_profile() -> None:
    """The public conformance check."""
    check_engine_profile(GenericProfile)
