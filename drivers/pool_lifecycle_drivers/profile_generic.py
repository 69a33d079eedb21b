"""Any program at all: its command line is written by whoever declares the pool."""

from __future__ import annotations

import re

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Command, CommandContext, ExitZero
from pool_lifecycle_drivers.log_patterns import ARGPARSE_PATTERNS, DEVICE_PATTERNS, PORT_PATTERNS

NAME = "generic"

PLACEHOLDER = re.compile(r"\{(host|port|model|slots)\}")


class GenericProfile:
    """Runs the binary with the arguments as declared.

    In each argument `{host}`, `{port}`, `{model}` and `{slots}` are replaced by their values. Every other
    brace stays as it is, and a value that holds such a word itself is not replaced again, so that a
    model's path or a JSON argument arrives unharmed. The binary is taken literally.

    Nothing is known about when such a program exits, so exit code 0 keeps its usual meaning: it was done.
    """

    name = NAME
    health_path = "/health"
    exit_zero = ExitZero.GRACEFUL
    patterns = DEVICE_PATTERNS + ARGPARSE_PATTERNS + PORT_PATTERNS

    def command(self, *, context: CommandContext) -> Command:
        """The binary and its arguments, filled in.

        Raises DriverError if an argument asks for the model and there is none.
        """
        values = {"host": context.host, "port": str(context.port), "slots": str(context.slots)}
        if context.model_path is not None:
            values["model"] = context.model_path
        return Command((context.binary, *(_filled(argument, values) for argument in context.args)))

    def split_flags(self, *, ratios: tuple[float, ...]) -> tuple[str, ...]:  # noqa: ARG002 - part of the protocol
        """None: how an unknown program splits a model is unknown."""
        return ()


def _filled(argument: str, values: dict[str, str]) -> str:
    try:
        return PLACEHOLDER.sub(lambda found: values[found[1]], argument)
    except KeyError:
        raise DriverError(NAME, _no_model(argument)) from None


def _no_model(argument: str) -> Cause:
    return Cause(
        FailureClass.BAD_CONFIG,
        Stage.PREFLIGHT,
        f"argument {argument!r} asks for a model and the pool declares none",
        heals=False,
        remedy="give the pool a model, or take {model} out of the engine's arguments",
    )
