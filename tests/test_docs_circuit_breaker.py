"""docs/circuit-breaker.md is true as far as it can be run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pool_lifecycle import CircuitOpen
from pool_lifecycle.circuit_breaker import CircuitBreaker, Permit

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "circuit-breaker.md").read_text(encoding="utf-8")


def test_the_sample_does_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    """It can be copied: pings pass, bad answers count, and the third one opens the circuit."""
    (sample,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(sample, names)
    assert capsys.readouterr().out == ""
    breaker, ping, download = names["catalogue"], names["ping"], names["download"]
    assert isinstance(breaker, CircuitBreaker)
    assert callable(ping)
    assert callable(download)
    assert ping() == "pong"
    for _ in range(3):
        assert download() == "done"
    with pytest.raises(CircuitOpen):
        ping()


def test_every_link_leads_somewhere() -> None:
    """To a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (DOCS / target).exists(), target


def test_every_name_of_the_permit_and_of_the_breaker_is_there() -> None:
    """What the page says can be asked of them can be."""
    for name in re.findall(r"`permit\.(\w+)\(", PAGE):
        assert callable(getattr(Permit, name)), name
    looking = PAGE[PAGE.index("## Looking") : PAGE.index("There is one lock")]
    named = re.findall(r"`(\w+)(?:\(\))?`", looking)
    assert {"state", "failures", "retry_in", "explain", "trip", "reset", "allow_one"} <= set(named)
    for name in named:
        assert hasattr(CircuitBreaker, name), name
