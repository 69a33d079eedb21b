"""What was concluded from a failure, in words."""

from __future__ import annotations

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, Confidence, FailureClass, Stage
from pool_lifecycle.conclusions import NAMES, conclusion, facts, reckoned

CUDA = Cause(FailureClass.CUDA, Stage.RUN, "it ended", evidence=("CUDA error", "exit code 1"))


def test_every_class_has_a_name() -> None:
    """A new class is not forgotten; no two are called the same."""
    assert set(NAMES) == set(FailureClass)
    assert len(set(NAMES.values())) == len(NAMES)


@pytest.mark.parametrize(
    ("confidence", "words", "line"),
    [
        (Confidence.CERTAIN, "a CUDA failure", "run failed: it ended"),
        (Confidence.LIKELY, "probably a CUDA failure", "run failed: it ended (probably a CUDA failure)"),
        (Confidence.GUESS, "perhaps a CUDA failure", "run failed: it ended (perhaps a CUDA failure)"),
    ],
)
def test_a_sentence_says_how_sure_it_is(confidence: Confidence, words: str, line: str) -> None:
    """B-SUPER-x1: what is not certain is never put as if it were."""
    cause = evolve(CUDA, confidence=confidence)
    assert (conclusion(cause), reckoned(cause)) == (words, line)


def test_the_evidence_is_bounded_and_harmless() -> None:
    """S19: the weightiest facts, each cut; an engine's words cannot steer a terminal."""
    assert facts(CUDA) == "CUDA error; exit code 1"
    assert facts(evolve(CUDA, evidence=())) == ""
    many = facts(evolve(CUDA, evidence=("x" * 10_000, "\x1b[2J", "c", "d", "e")))
    assert many.endswith("...; \\x1b[2J; c; and 2 more")
    assert len(many) < 200
