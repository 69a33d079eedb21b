"""With which codes the commands end."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """An exit code; `docs/command-line.md` and `--help` list them."""

    OK = 0
    BAD_CONFIG = 1
    USAGE = 2
    NOTHING_CAN_RUN = 3
    STATE_DIR = 4
    STUCK = 5
    NOT_RUNNING = 6
    NOT_APPLIED = 7
    NO_MODEL = 8
    NO_GPU = 9
    WOULD_NOT_START = 10


BY_SIGNAL = 128
"""Plus the number of the signal that cut a command short: 130 for Ctrl-C, 143 for SIGTERM."""

MEANINGS: dict[int, str] = {
    Exit.OK: "fine: the file is right, every pool was stopped as asked, or every pool is as declared",
    Exit.BAD_CONFIG: "the configuration, or the trace, is wrong; every problem was told",
    Exit.USAGE: "the command line itself is wrong, or something it needs is not installed",
    Exit.NOTHING_CAN_RUN: "run: every pool has ended, one or more for a failure that cannot heal by itself",
    Exit.STATE_DIR: "run, history, apply: the state directory cannot be used, or another manager uses it",
    Exit.STUCK: "run: something of an engine could not be killed and is still there",
    Exit.NOT_RUNNING: "apply: no `run` of this file is under way, so nothing was changed",
    Exit.NOT_APPLIED: "apply: a pool did not become as declared, or the run ended meanwhile; each was told",
    Exit.NO_MODEL: "stage: the model cannot be put in place; why was told",
    Exit.NO_GPU: "gpus: there is no GPU, or the GPUs cannot be looked at; why was told",
    Exit.WOULD_NOT_START: "doctor: something would keep a pool from starting; everything was told",
    BY_SIGNAL + 2: "interrupted by Ctrl-C; run: by a second one, and what still ran was killed",
    BY_SIGNAL + 15: "the same by a second SIGTERM",
}
