"""Prometheus' text format, as far as it takes to add up a counter. Whatever an engine writes is survived."""

from __future__ import annotations

import functools
import math
import re

LABELS = rb'(?:\{(?:[^"}\n]|"(?:[^"\\\n]|\\[^\n])*+")*+\})?+'
VALUE = rb"[ \t]++([-+0-9.eE]{1,64}+)(?=[ \t\r\n]|\Z)"
"""Nothing here is ever tried in a second way, so that hostile text is read in linear time too. NaN and the
infinities are no values here: they tell nothing of progress."""


def total(text: bytes, names: tuple[str, ...]) -> float | None:
    """The sum of every sample of the metrics `names`, whatever its labels; None when there is none."""
    numbers = [_number(match[1]) for match in _samples(names).finditer(text)]
    usable = [number for number in numbers if number is not None]
    sum_ = sum(usable)
    return sum_ if usable and math.isfinite(sum_) else None


@functools.lru_cache(maxsize=64)
def _samples(names: tuple[str, ...]) -> re.Pattern[bytes]:
    wanted = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb"^(?:" + wanted + rb")" + LABELS + VALUE, re.MULTILINE)


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
