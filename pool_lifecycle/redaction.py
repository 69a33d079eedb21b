"""Keeps secrets out of what people and programs are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "<hidden>"
"""Shown in place of a secret."""

_SECRET = frozenset(
    ("auth", "credential", "credentials", "hft", "key", "keys", "passwd", "password", "secret", "token")
)


def hide_secrets(flags: Iterable[str]) -> tuple[str, ...]:
    """The same flags, with the value hidden of each whose name speaks of a key, token or password.

    Both `--api-key value` and `--api-key=value` are known. Names are compared word by word, so that
    `--tokenizer` and `--max-tokens` keep their values.
    """
    shown: list[str] = []
    hide_next = False
    for flag in flags:
        name, equals, _ = flag.partition("=")
        secret = name.startswith("-") and not _SECRET.isdisjoint(re.split("[-_.]", name.lower()))
        if hide_next:
            shown.append(HIDDEN)
            hide_next = False
        else:
            shown.append(f"{name}={HIDDEN}" if secret and equals else flag)
            hide_next = secret and not equals
    return tuple(shown)


def shown_arguments(arguments: object) -> str:
    """The repr of a command's arguments with its secrets hidden; of anything that is none, nothing."""
    if not isinstance(arguments, tuple) or not all(isinstance(one, str) for one in arguments):
        return HIDDEN
    return repr(hide_secrets(arguments))
