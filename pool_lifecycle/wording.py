"""How numbers, names and sentences are put before people. Pure."""

from __future__ import annotations

SHOWN = 60
"""Characters of a name that somebody else chose which are shown at most."""


def sentence(text: str) -> str:
    """With a capital letter and a full stop; nothing stays nothing."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def plural(count: int, noun: str) -> str:
    """`1 lease`, `2 leases`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def ordinal(count: int) -> str:
    """`1st`, `2nd`, `11th`."""
    teens = count % 100 in {11, 12, 13}
    return f"{count}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"


def shown(name: str) -> str:
    """A name as it can stand in one line of a log or a screen: escaped where it is not printable, and cut."""
    return cut(name, SHOWN)


def cut(text: str, most: int) -> str:
    """Some text in one line: at most so many characters of it, escaped where they are not printable."""
    short = text if len(text) <= most else text[: most - 3] + "..."
    if short.isprintable():
        return short
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in short
    )


def seconds(value: float) -> str:
    """A duration as people say it: `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
