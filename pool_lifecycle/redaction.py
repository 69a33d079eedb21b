"""Keeps secrets out of what people and programs are shown. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias
from urllib.parse import unquote

HIDDEN = "<hidden>"
"""Shown in place of a secret."""

LEAST, LEAST_NAMED = 12, 4
"""How many characters a text needs to count as a secret: few where its name speaks of one, else enough not to
hide half of what an engine says. What is shorter than the fewer stays as it is wherever it is found."""

Span: TypeAlias = tuple[int, int]
"""Where a secret begins and ends in a text."""

# --- what is given to an engine ---------------------------------------------------------------------------


def hide_secrets(flags: Iterable[str]) -> tuple[str, ...]:
    """The same flags, with what is secret hidden.

    That is the value of each whose name speaks of a key, token, password or the like, as in `--api-key=value`
    or `--api-key value`, there with all values up to the next option; the value of an argument that is a
    variable or header of such a name; and what a URL has before its host's name to log in with.
    """
    given = tuple(flags)
    return tuple(_cut(flag, spans) for flag, spans in zip(given, _secret_spans(given), strict=True))


def secrets_of(arguments: Iterable[str], environment: Mapping[str, str]) -> frozenset[str]:
    """The texts given to an engine that it may repeat and nobody else should read.

    What `hide_secrets` hides, the same in variables, and long values of any variable but paths: whole and in
    the parts that an engine may repeat alone. None has fewer than `LEAST_NAMED` characters, as a shorter one
    would be found in everything.
    """
    given = tuple(arguments)
    found = _texts(given, _secret_spans(given))
    for name, value in environment.items():
        found |= _texts([value], [_log_in(value)])
        if _is_secret(name):
            found |= _parts(value)
        elif len(value) >= LEAST and not value.startswith("/"):
            found |= {line for line in (value, *value.split("\n")) if len(line) >= LEAST}
    found |= _texts(given, map(_log_in, given))
    return frozenset(form for text in found for form in _forms(text) if len(form) >= LEAST_NAMED) or NONE


def shown_arguments(arguments: object) -> str:
    """The repr of a command's arguments with its secrets hidden; of anything that is none, nothing."""
    if not isinstance(arguments, tuple) or not all(isinstance(one, str) for one in arguments):
        return HIDDEN
    return repr(hide_secrets(arguments))


def _secret_spans(flags: Iterable[str]) -> Iterator[list[Span]]:
    """Of each flag in turn, where its secrets are."""
    first = more = False  # whether this one is the first value of a secret option, or may be a further one
    for flag in flags:
        name, equals, _ = flag.partition("=")
        option = flag.startswith("-")
        secret = option and _is_secret(name)
        if first or (more and not option):
            yield [(0, len(flag))]
        else:
            yield [(len(name) + 1, len(flag))] if secret and equals else _log_in(flag)
        first = secret and not equals
        more = first or (more and not option)


def _cut(text: str, spans: list[Span]) -> str:
    for begin, end in reversed(spans):
        text = text[:begin] + HIDDEN + text[end:]
    return text


def _texts(texts: Iterable[str], spans: Iterable[list[Span]]) -> set[str]:
    marked = zip(texts, spans, strict=True)
    return {part for text, where in marked for begin, end in where for part in _parts(text[begin:end])}


NONE: frozenset[str] = frozenset()
"""No secrets: one value for all the engines that were given none."""

# --- names ------------------------------------------------------------------------------------------------

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where a word begins inside `camelCase`, or in `HTTPAuth`."""

_SECRET = re.compile(
    r"passw|passphrase|secret|credential"  # anywhere, as in PGPASSWORD
    r"|(?:token|pwd|(?<!by)(?<!com)pass|(?<!mon)(?<!hot)(?<!tur)keys?)(?![a-z])"  # words end so, as `apikey`
    r"|(?:api|auth|access)[-_.]?tokens(?![a-z])"  # unlike --max-tokens
    r"|(?<![a-z])(?:o?auth|authorization|authentication|bearer|creds?|hft|jwt)(?![a-z])"
)
"""What makes a name one of a secret. `keyboard`, `tokenizer` and `keyfile` (a path) are none."""

_FOLDERS = frozenset(("PWD", "OLDPWD"))
"""Where a shell is and was."""


def _is_secret(name: str) -> bool:
    return name not in _FOLDERS and _SECRET.search(_HUMP.sub("-", name).lower()) is not None


# --- within a text ----------------------------------------------------------------------------------------

_NAMED = re.compile(r"(?:-[^=]*=)?([A-Za-z][\w-]*)\s*[:=]\s*(.*)", re.DOTALL)
"""A variable or header, maybe as the value of an option: its name and its value."""

_URL = re.compile(r"://([^\s/?#:@]*)(?::([^\s/?#]*))?@")
"""Who logs in, and with what. Neither can hold `/`, so that nothing is looked at twice."""

_FEWEST = {1: LEAST, 2: LEAST_NAMED}
"""How long each has to be to count as a secret: a long user name may be a token."""

_SCHEME = re.compile(r"\A\s*(?:bearer|basic|token)\s+", re.IGNORECASE)
"""What comes before the secret in a header."""


def _log_in(text: str) -> list[Span]:
    """Where the text itself tells a secret: as a header does, or a URL."""
    named = _NAMED.match(text)
    if named and _is_secret(named[1]) and len(named[2]) >= LEAST_NAMED:
        return [named.span(2)]
    found = ((url, part) for url in _URL.finditer(text) for part in _FEWEST)
    return [url.span(part) for url, part in found if len(url[part] or "") >= _FEWEST[part]]


def _parts(text: str) -> set[str]:
    """A secret, and what may be used of it alone: its lines, what is between commas or after a scheme."""
    wholes = (text, _SCHEME.sub("", text), unquote(text))
    parts = {part for one in wholes for part in (one, *one.split("\n"), *re.split("[,\n]", one))}
    return {form for part in parts for form in (part, part.strip())}


def _forms(text: str) -> tuple[str, ...]:
    """A secret as it is, and as it is in Python's repr and in JSON."""
    return (text, repr(text)[1:-1], json.dumps(text)[1:-1])


# --- what an engine says ----------------------------------------------------------------------------------

_ENOUGH = 64
"""So many characters of a secret's begin are told for what they are without a look at the rest."""


def without(secrets: Iterable[str], text: str) -> str:
    """The text with every secret in it hidden, also one that the text's end cuts off.

    Longer ones first, as one may be part of another.
    """
    ordered = sorted(secrets, key=len, reverse=True)
    end = min((_cut_off(secret, text) for secret in ordered), default=len(text))
    shown = text[:end]
    for secret in ordered:
        shown = shown.replace(secret, HIDDEN)
    return shown if end == len(text) else shown + HIDDEN


def _cut_off(secret: str, text: str) -> int:
    """Where this secret begins with which the text ends, though not all of it may be there; else its end."""
    at = text.find(secret[:LEAST_NAMED], max(0, len(text) - len(secret)))
    while at >= 0 and not secret.startswith(text[at : at + _ENOUGH]):
        at = text.find(secret[:LEAST_NAMED], at + 1)
    return at if at >= 0 else len(text)
