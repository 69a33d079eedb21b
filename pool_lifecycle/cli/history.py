"""What a pool has been through, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from pool_lifecycle.cli.words import printable
from pool_lifecycle.kept import Passage
from pool_lifecycle.sqlite_errors import told
from pool_lifecycle.sqlite_reading import passages, pools_with_history, reading
from pool_lifecycle.statedir import StateDir


def read(state_dir: Path, pool_id: str, limit: int) -> tuple[Passage, ...]:
    """The last passages of a pool, oldest first, whether or not a manager runs.

    Raises KeyError with the names of those there are when nothing is known of the pool, and StoreError.
    """
    path = StateDir(state_dir).database
    with told("cannot read", path), reading(path) as connection:
        found = passages(connection, pool_id, limit)
        if not found:
            raise KeyError(pools_with_history(connection))
        return found


def as_text(found: Iterable[Passage]) -> str:
    """One line for each: when, from where to where, and why; times are local."""
    return "".join(f"{_line(one)}\n" for one in found)


def as_json(pool_id: str, found: Iterable[Passage]) -> str:
    """One document, with all there is; `at` is in seconds since the epoch."""
    document = {"pool_id": pool_id, "passages": [attrs.asdict(one) for one in found]}
    return json.dumps(document, indent=2) + "\n"


def _line(one: Passage) -> str:
    when = datetime.fromtimestamp(one.at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    cause = f" ({one.cause})" if one.cause else ""
    way = one.source if one.source == one.target else f"{one.source} → {one.target}"
    return printable(f"{when}  {way}  {one.event}: {one.why}{cause}")
