"""The tree of errors: what is drawn of it, and what a problem shows of a value."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pool_lifecycle import EngineSpec, PoolSpec, errors
from pool_lifecycle.errors import ConfigError, PoolLifecycleError, Problem

ROOT = "PoolLifecycleError"


def drawn() -> Iterator[tuple[str, str, str]]:
    """Every line of the drawing: the class, the one it is drawn below, and what is said of it."""
    assert errors.__doc__ is not None
    above = [ROOT]
    for line in errors.__doc__.splitlines():
        found = re.fullmatch(r"    ((?:│   )*)[├└]── (\w+) +(\S.*)", line)
        if found:
            depth = len(found[1]) // 4 + 1
            above[depth:] = [found[2]]
            yield found[2], above[depth - 1], found[3]


def below(kind: type[PoolLifecycleError]) -> Iterator[tuple[str, str]]:
    """Every class of this module below `kind`, with the one it comes from."""
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one.__name__, kind.__name__
            yield from below(one)


def test_the_tree_is_drawn_as_it_is() -> None:
    """Whoever looks there for what to catch finds every error, and below the right one."""
    lines = [(name, parent) for name, parent, _ in drawn()]
    assert len(lines) > 20
    assert sorted(lines) == sorted(below(PoolLifecycleError))


def test_everything_in_the_tree_is_an_error_of_its_own() -> None:
    """No two say the same, and each says it in one line."""
    said = [what for _, _, what in drawn()]
    assert len(set(said)) == len(said)


WRONG = [
    "https://me:hunter2@host/a.gguf",
    "s3://me:hunter2@bucket/a.gguf",
    "https://me:hunter2@host/a b.gguf",
    "https://me:hun/ter2@host/a.gguf",
    "https://me:hun ter2@host/a.gguf",
    "https://me:hun@ter2@host/a.gguf",
]


@pytest.mark.parametrize("model", WRONG)
def test_a_password_in_a_url_is_refused_and_not_shown(model: str) -> None:
    """S18 NoSecret: not even where it is what is wrong."""
    with pytest.raises(ConfigError) as caught:
        PoolSpec("chat", EngineSpec("engine"), model=model)
    (problem,) = caught.value.problems
    for text in (str(caught.value), str(problem), repr(problem), str(problem.at(file="x", prefix="pools"))):
        assert "hun" not in text
        assert "ter2" not in text
        assert "<hidden>@host" in text or "<hidden>@bucket" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("hf:org/repo@main@x", "'hf:org/repo@main@x'"),
        ("https://host/a", "'https://host/a'"),
        (["://a@b"], "['://a@b']"),
        (7, "7"),
        ("a@b://c", "'a@b://c'"),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
)
def test_other_values_are_shown_as_they_are(value: object, shown: str) -> None:
    """It would be hard to find what is meant."""
    assert str(Problem("model", value, "must be another")) == f"model = {shown}: must be another"
