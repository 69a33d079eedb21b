"""What is logged of models: how they come, and how they are changed."""

from __future__ import annotations

import json
import logging

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.interfaces import ModelDetails, StagedModel
from pool_lifecycle.logs import entry
from pool_lifecycle.model_entries import MODEL_ENTRIES
from pool_lifecycle.records import (
    ModelFrom,
    ModelStaged,
    NoReload,
    Record,
    ReloadBegan,
    ReloadEnd,
    ReloadEnded,
    ReloadNotBegun,
    StagingProgressed,
)
from pool_lifecycle.transfer import Transfer

GB = 2**30
CAUSE = Cause(FailureClass.STAGING, Stage.STAGING, "it was cut off")
OLD, NEW = Target("file:/old.gguf"), Target("file:/new.gguf", variant="1")
SEEN = StagingProgressed(
    "p", 1, Transfer("hf:org/m", int(1.2 * GB), int(4.7 * GB), 310.0 * 2**20, 11.3), milestone=False
)
DETAILS = ModelDetails("gguf", "llama", "Q4_K_M", 7_240_000_000, 8192, 6 * GB)
STAGED = ModelStaged(
    "p",
    1,
    StagedModel("hf:org/m", "/cache/m.gguf", int(4.7 * GB), "sha256:0", DETAILS),
    15.2,
    ModelFrom.FETCHED,
)
ENDED = ReloadEnded("p", 1, NEW, Strategy.STAGE_FIRST, ReloadEnd.COMMITTED, 12.3, 4.2)
FAILED = evolve(ENDED, end=ReloadEnd.FAILED, reason=FailureClass.STAGING, cause=CAUSE)

ENTRIES: list[tuple[Record, int, str]] = [
    (SEEN, logging.DEBUG, "staging hf:org/m: 1.2 of 4.7 GiB, 310 MiB/s, 11.3 s left"),
    (
        evolve(SEEN, milestone=True),
        logging.INFO,
        "staging hf:org/m: 1.2 of 4.7 GiB, 310 MiB/s, 11.3 s left",
    ),
    (
        STAGED,
        logging.INFO,
        "model hf:org/m is in place: 4.7 GiB, llama, Q4_K_M, 7.2 billion parameters, fetched in 15.2 s",
    ),
    (
        evolve(STAGED, came_from=ModelFrom.CACHE, model=evolve(STAGED.model, details=None)),
        logging.INFO,
        "model hf:org/m is in place: 4.7 GiB, taken from the cache in 15.2 s",
    ),
    (
        evolve(STAGED, came_from=ModelFrom.HERE, model=evolve(STAGED.model, details=ModelDetails("gguf"))),
        logging.INFO,
        "model hf:org/m is in place: 4.7 GiB, checked in 15.2 s",
    ),
    (
        evolve(STAGED, again=True, model=evolve(STAGED.model, details=None)),
        logging.DEBUG,
        "model hf:org/m is in place: 4.7 GiB, fetched in 15.2 s",
    ),
    (
        ReloadBegan("p", 1, OLD, NEW, Strategy.SURGE),
        logging.INFO,
        "the change to file:/new.gguf begins (surge)",
    ),
    (
        ReloadBegan("p", 1, evolve(NEW, variant="2"), NEW, Strategy.SURGE),
        logging.INFO,
        "the change to another engine for file:/new.gguf begins (surge)",
    ),
    (
        ENDED,
        logging.INFO,
        "the change to file:/new.gguf is done after 12.3 s; no lease could be granted for 4.2 s",
    ),
    (
        evolve(ENDED, gap=0.0, new=Target()),
        logging.INFO,
        "the change to no model is done after 12.3 s",
    ),
    (
        evolve(FAILED, end=ReloadEnd.UNTOUCHED, gap=0.0),
        logging.WARNING,
        (
            "the change to file:/new.gguf failed, and the old engine serves as before, after 12.3 s "
            "(staging failed: it was cut off)"
        ),
    ),
    (
        evolve(FAILED, end=ReloadEnd.RESTORED),
        logging.WARNING,
        (
            "the change to file:/new.gguf failed, and the old model serves again, after 12.3 s; "
            "no lease could be granted for 4.2 s"
        ),
    ),
    (
        FAILED,
        logging.ERROR,
        (
            "the change to file:/new.gguf failed, and nothing serves, after 12.3 s; "
            "no lease could be granted for 4.2 s"
        ),
    ),
    (
        ReloadNotBegun("p", 1, NoReload.BUSY),
        logging.WARNING,
        "a change of model was refused: another one is under way",
    ),
]


@pytest.mark.parametrize(("record", "level", "sentence"), ENTRIES)
def test_every_record_is_a_sentence_with_its_level(record: Record, level: int, sentence: str) -> None:
    """For people; the fields are for programs, and plain values all of them."""
    found_level, message, fields = entry(record)
    assert (found_level, message) == (level, sentence)
    json.dumps(fields)


def test_no_kind_of_record_is_forgotten() -> None:
    """Each of them is tried above."""
    assert {type(record) for record, _, _ in ENTRIES} == set(MODEL_ENTRIES)


@pytest.mark.parametrize("end", ReloadEnd)
def test_every_end_of_a_change_has_its_words(end: ReloadEnd) -> None:
    """Whatever becomes of it."""
    level, message, fields = entry(evolve(ENDED, end=end))
    assert message.startswith("the change to file:/new.gguf ")
    assert " after 12.3 s" in message
    assert fields["outcome"] == end
    assert (level == logging.ERROR) == (end is ReloadEnd.FAILED)


@pytest.mark.parametrize("reason", [NoReload.BUSY, NoReload.NO_ROOM, NoReload.CIRCUIT_OPEN])
def test_every_refusal_has_its_words(reason: NoReload) -> None:
    """Those that there are when it is asked for."""
    assert entry(ReloadNotBegun("p", 1, reason))[2] == {"reason": reason}


def test_the_fields_of_a_model() -> None:
    """For programs: bytes, seconds, what its header says. What nobody knows is left out."""
    assert entry(SEEN)[2] == {
        "model": "hf:org/m",
        "bytes": int(1.2 * GB),
        "total_bytes": int(4.7 * GB),
        "bytes_per_second": 310 * 2**20,
        "seconds_left": 11.3,
    }
    assert entry(evolve(SEEN, transfer=Transfer("m", 3)))[2] == {"model": "m", "bytes": 3}
    assert entry(STAGED)[2] == {
        "model": "hf:org/m",
        "path": "/cache/m.gguf",
        "bytes": int(4.7 * GB),
        "digest": "sha256:0",
        "duration_ms": 15_200,
        "came_from": "fetched",
        "format": "gguf",
        "architecture": "llama",
        "quantisation": "Q4_K_M",
        "parameters": 7_240_000_000,
        "context": 8192,
        "memory": 6 * GB,
    }


def test_the_fields_of_a_change() -> None:
    """B-LOG-007: last_error on failure; the reason is the one that is counted."""
    fields = entry(evolve(FAILED, reason=NoReload.NO_ROOM))[2]
    assert (fields["duration_ms"], fields["gap_ms"], fields["outcome"]) == (12_300, 4_200, "failed")
    assert (fields["strategy"], fields["model"]) == ("stage_first", "file:/new.gguf")
    assert (fields["last_error"], fields["reason"]) == ("staging failed: it was cut off", "no_room")
    assert "reason" not in entry(ENDED)[2]


def test_a_hostile_reference_stays_one_line() -> None:
    """Neither a log is forged nor a terminal steered."""
    for record in (evolve(SEEN, transfer=Transfer("a\n\x1b[2J")), evolve(ENDED, new=Target("a\n\x1b[2J"))):
        assert entry(record)[1].isprintable()
