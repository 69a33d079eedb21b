"""How numbers, names and sentences are put before people. Pure."""

from __future__ import annotations

SHOWN = 60
"""Characters of a name that somebody else chose which are shown at most."""

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


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


def size(count: float) -> str:
    """A number of bytes as people say it: `1 byte`, `16.0 MiB`, `310 MiB`."""
    amount, unit = _amount(count)
    return plural(int(amount), "byte") if unit == UNITS[0] else f"{amount} {unit}"


def part(done: float, total: float) -> str:
    """So many bytes of so many: `1.2 of 4.7 GiB`, `310 MiB of 4.7 GiB`."""
    amount, unit = _amount(done)
    return f"{amount if unit == _amount(total)[1] else size(done)} of {size(total)}"


def _amount(count: float) -> tuple[str, str]:
    for unit in UNITS:
        if count < 1023.5 or unit == UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f}" if unit == UNITS[0] or count >= 99.95 else f"{count:.1f}", unit


def amount(count: float) -> str:
    """A large number as people say it: `7.2 billion`, `494 million`, `1200`."""
    for least, unit in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= 0.9995 * least:
            share = count / least
            return f"{share:.0f} {unit}" if share >= 99.95 else f"{share:.1f} {unit}"
    return f"{count:.0f}"
