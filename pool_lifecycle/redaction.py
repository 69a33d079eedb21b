"""Keeps secrets out of what people and programs are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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
        secret = name.startswith("-") and _is_secret(name)
        if hide_next:
            shown.append(HIDDEN)
            hide_next = False
        else:
            shown.append(f"{name}={HIDDEN}" if secret and equals else flag)
            hide_next = secret and not equals
    return tuple(shown)


def _is_secret(name: str) -> bool:
    return not _SECRET.isdisjoint(re.split("[-_.]", name.lower()))


LEAST, LEAST_NAMED = 12, 4
"""How many characters a variable's value needs to count as a secret: few where its name speaks of one, else
enough not to hide half of what an engine says."""


def secrets_of(arguments: Iterable[str], environment: Mapping[str, str]) -> frozenset[str]:
    """The texts given to an engine that it may repeat and nobody else should read.

    Values of arguments and variables whose names speak of a secret, and long values of any variable but
    paths.
    """
    given = tuple(arguments)
    hidden = zip(given, hide_secrets(given), strict=True)
    found = {was.partition("=")[2] if now != HIDDEN else was for was, now in hidden if was != now}
    for name, value in environment.items():
        if len(value) >= (LEAST_NAMED if _is_secret(name) else LEAST) and not value.startswith("/"):
            found.add(value)
    return frozenset(text for text in found if len(text) >= LEAST_NAMED)


def without(secrets: Iterable[str], text: str) -> str:
    """The text with every secret in it hidden; longer ones first, as one may be part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def shown_arguments(arguments: object) -> str:
    """The repr of a command's arguments with its secrets hidden; of anything that is none, nothing."""
    if not isinstance(arguments, tuple) or not all(isinstance(one, str) for one in arguments):
        return HIDDEN
    return repr(hide_secrets(arguments))
