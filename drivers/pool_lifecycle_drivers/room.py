"""Whether the host has room for an engine: memory for what it declares, disk for what it logs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle.wording import size

LEAST_DISK = 16 * 2**20
"""Bytes that have to be free for the log: an engine whose log cannot be written tells nobody why it died."""


def check_room(request: LaunchRequest) -> Iterator[Cause]:
    """Memory and disk. What is short for now may be enough later; what the host never has will not be."""
    yield from _check_memory(request.memory)
    yield from _check_disk(request.log_path)


def _check_memory(needed: int | None) -> Iterator[Cause]:
    if needed is None:
        return
    memory = psutil.virtual_memory()
    if needed <= memory.available:
        return
    heals = needed <= memory.total
    seen = (
        f"{size(memory.available)} are available" if heals else f"this host has {size(memory.total)} in all"
    )
    remedy = (
        "free some, or wait until something else ends" if heals else "use a larger host or a smaller model"
    )
    message = f"the engine needs {size(needed)} of memory, {seen}"
    yield Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, message, heals=heals, remedy=remedy)


def _check_disk(path: str) -> Iterator[Cause]:
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = psutil.disk_usage(folder).free
    if free < LEAST_DISK:
        message = f"{folder!r} has {size(free)} of disk left, too little for the engine's log"
        yield Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, message, remedy="free some disk space")
