"""What is logged of models: how they come, and how they are changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs

from pool_lifecycle.conclusions import failure_fields, reckoned
from pool_lifecycle.events import Target
from pool_lifecycle.interfaces import ModelDetails
from pool_lifecycle.records import (
    ModelFrom,
    ModelStaged,
    NoReload,
    ReloadBegan,
    ReloadEnd,
    ReloadEnded,
    ReloadNotBegun,
    StagingProgressed,
)
from pool_lifecycle.transfer import Transfer
from pool_lifecycle.wording import amount, seconds, shown, size

Entry = tuple[int, str, dict[str, Any]]
"""Level, sentence, fields."""


def _progressed(record: StagingProgressed) -> Entry:
    fields = {name: value for name, value in _transfer(record.transfer).items() if value is not None}
    level = logging.INFO if record.milestone else logging.DEBUG
    return level, f"staging {shown(record.transfer.reference)}: {record.transfer}", fields


def _transfer(transfer: Transfer) -> dict[str, Any]:
    return {
        "model": transfer.reference,
        "bytes": transfer.done,
        "total_bytes": transfer.total,
        "bytes_per_second": None if transfer.rate is None else round(transfer.rate),
        "seconds_left": None if transfer.left is None else round(transfer.left, 3),
    }


def _staged(record: ModelStaged) -> Entry:
    model, details = record.model, record.model.details
    fields: dict[str, Any] = {
        "model": model.reference,
        "path": model.path,
        "bytes": model.size,
        "digest": model.digest,
        "duration_ms": round(record.duration * 1000),
        "came_from": str(record.came_from),
    }
    if details is not None:
        fields |= attrs.asdict(details)
    took = seconds(record.duration)
    how = {
        ModelFrom.FETCHED: f"fetched in {took}",
        ModelFrom.CACHE: f"taken from the cache in {took}",
        ModelFrom.HERE: f"checked in {took}",
    }[record.came_from]
    told = ", ".join((size(model.size), *described(details), how))
    level = logging.DEBUG if record.again else logging.INFO
    return level, f"model {shown(model.reference)} is in place: {told}", fields


def described(details: ModelDetails | None) -> tuple[str, ...]:
    """What a model's header tells, in words."""
    if details is None:
        return ()
    count = None if details.parameters is None else f"{amount(details.parameters)} parameters"
    return tuple(filter(None, (details.architecture, details.quantisation, count)))


def _began(record: ReloadBegan) -> Entry:
    fields = {"strategy": str(record.strategy), "model": record.new.model, "old_model": record.old.model}
    what = f"the change {_aim(record.new)} begins"
    if record.new.model == record.old.model:
        what = f"the change to another engine for {_named(record.new)} begins"
    return logging.INFO, f"{what} ({record.strategy})", fields


def _aim(target: Target) -> str:
    return f"to {_named(target)}"


def _named(target: Target) -> str:
    return "no model" if target.model is None else shown(target.model)


def _ended(record: ReloadEnded) -> Entry:
    fields: dict[str, Any] = {
        "outcome": str(record.end),
        "strategy": str(record.strategy),
        "model": record.new.model,
        "duration_ms": round(record.duration * 1000),
        "gap_ms": round(record.gap * 1000),
    }
    if record.cause is not None:
        fields |= failure_fields(record.cause)
    if record.reason is not None:
        fields["reason"] = str(record.reason)
    level, words = _RELOAD_ENDS[record.end]
    why = f" ({reckoned(record.cause)})" if record.cause is not None and record.end in _NEWS else ""
    gap = f"; no lease could be granted for {seconds(record.gap)}" if record.gap else ""
    return level, f"the change {_aim(record.new)} {words} after {seconds(record.duration)}{why}{gap}", fields


_E = ReloadEnd
_RELOAD_ENDS: dict[ReloadEnd, tuple[int, str]] = {
    _E.COMMITTED: (logging.INFO, "is done"),
    _E.RESTORED: (logging.WARNING, "failed, and the old model serves again,"),
    _E.REVERTED: (logging.WARNING, "failed, and the old engine serves again,"),
    _E.UNTOUCHED: (logging.WARNING, "failed, and the old engine serves as before,"),
    _E.ABORTED: (
        logging.WARNING,
        "was given up, as leases were left at the drain's deadline, and the old engine serves",
    ),
    _E.REFUSED: (logging.WARNING, "was given up, as a circuit opened meanwhile, and the old engine serves"),
    _E.CALLED_OFF: (logging.INFO, "was called off, and the old engine serves,"),
    _E.SUPERSEDED: (logging.INFO, "was overtaken by the wish that the pool ends"),
    _E.ENGINE_FINISHED: (logging.INFO, "was overtaken by the end of the engine"),
    _E.FAILED: (logging.ERROR, "failed, and nothing serves,"),
}
_NEWS = frozenset({_E.REVERTED, _E.UNTOUCHED})
"""Those ends that come with the failure behind them; of all others it has been told."""


def _not_begun(record: ReloadNotBegun) -> Entry:
    return (
        logging.WARNING,
        f"a change of model was refused: {_REFUSED[record.reason]}",
        {"reason": str(record.reason)},
    )


_REFUSED: dict[NoReload, str] = {
    NoReload.BUSY: "another one is under way",
    NoReload.NO_ROOM: "there is no room for two engines",
    NoReload.CIRCUIT_OPEN: "a circuit allows no start",
}


MODEL_ENTRIES: dict[type, Callable[[Any], Entry]] = {
    StagingProgressed: _progressed,
    ModelStaged: _staged,
    ReloadBegan: _began,
    ReloadEnded: _ended,
    ReloadNotBegun: _not_begun,
}
"""What is logged of each kind of these records."""
