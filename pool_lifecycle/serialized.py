"""What is kept of pools and of their host, as JSON text, and back. Pure.

How a value is written and read follows from its type hints, so that no field can be forgotten; only what is
declared anew, or kept apart, is left out. What cannot be written, and what was not written here, is
Malformed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from attrs import AttrsInstance

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.json_codec import Codec, Law, Malformed, Memory, parsed, record
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Moment, Passage
from pool_lifecycle.snapshot import Instance, Rules, Snapshot

__all__ = [
    "Dumper",
    "Malformed",
    "dump",
    "dump_host",
    "dump_lease",
    "dump_passage",
    "load",
    "load_host",
    "load_lease",
    "load_passage",
]

APART: dict[type[AttrsInstance], dict[str, Any]] = {Snapshot: {"rules": Rules()}, Kept: {"leases": ()}}
"""What is not written, and what it is when it has been read: rules are declared anew, leases kept apart."""

FLEETING = frozenset((Kept, Moment, Passage, Snapshot))
"""What a document has one of, and every time another."""

POOLS = 500
"""How many pools a dumper remembers at most: each takes some KB."""

PARTS = 48
"""How many parts of a pool it remembers before it begins anew: some three times what a snapshot has."""


# --- what cannot be true, whatever the types say --------------------------------------------------------


def _launches(pool: Snapshot) -> tuple[Instance, ...]:
    return (*pool.engines, *pool.quarantine)


def _numbered(pool: Snapshot) -> bool:
    return pool.generation >= 0 and all(1 <= one.generation <= pool.generation for one in _launches(pool))


def _told_apart(pool: Snapshot) -> bool:
    return len({one.token for one in _launches(pool)}) == len(_launches(pool))


LAWS: dict[type[AttrsInstance], tuple[Law, ...]] = {
    Kept: (Law("next_token", "must be at least 1", lambda kept: kept.next_token >= 1),),
    Snapshot: (
        Law("epoch", "must be at least 0", lambda pool: pool.epoch >= 0),
        Law(
            "generation", "must be at least 0, and that of every engine, of which none is below 1", _numbered
        ),
        Law("engines", "must be at most two", lambda pool: len(pool.engines) <= 2),
        Law("engines", "must each have a token that no other has, also not in quarantine", _told_apart),
    ),
    # to the kernel a pid of 0 or less is a whole group of processes
    EngineHandle: (
        Law("pid", "must be above 0, or null", lambda handle: handle.pid is None or handle.pid > 0),
    ),
}
"""What holds of everything that is read."""


# --- writing and reading --------------------------------------------------------------------------------


def _codec(kind: type[AttrsInstance]) -> Codec:
    return record(kind, apart=APART, laws=LAWS, fleeting=FLEETING)


_KEPT, _HOST, _LEASE, _PASSAGE = map(_codec, (Kept, KeptHost, KeptLease, Passage))


def dump(kept: Kept) -> str:
    """A pool as text, but for its rules and leases. Raises Malformed for what its types do not allow."""
    return _KEPT.write(kept, Memory())


def load(text: str) -> Kept:
    """What `dump` made this text of, without leases and with the default rules. Raises Malformed."""
    kept: Kept = _KEPT.read(parsed(text))
    return kept


def dump_host(host: KeptHost) -> str:
    """What the pools of a host share, as text. Raises Malformed."""
    return _HOST.write(host, Memory())


def load_host(text: str) -> KeptHost:
    """What `dump_host` made this text of. Raises Malformed."""
    host: KeptHost = _HOST.read(parsed(text))
    return host


def dump_lease(lease: KeptLease) -> str:
    """A lease as text. Raises Malformed."""
    return _LEASE.write(lease, Memory())


def load_lease(text: str) -> KeptLease:
    """What `dump_lease` made this text of. Raises Malformed."""
    lease: KeptLease = _LEASE.read(parsed(text))
    return lease


def dump_passage(passage: Passage) -> str:
    """A passage as text. Raises Malformed."""
    return _PASSAGE.write(passage, Memory())


def load_passage(text: str) -> Passage:
    """What `dump_passage` made this text of. Raises Malformed."""
    passage: Passage = _PASSAGE.read(parsed(text))
    return passage


class Dumper:
    """Writes pools again and again, and only what is another object than the last time.

    It remembers the `POOLS` that were written last; others take as long as with `dump`. For one thread.
    """

    __slots__ = ("_memory", "_passages")

    def __init__(self) -> None:
        self._memory: Callable[[str], Memory] = lru_cache(POOLS)(lambda _pool_id: Memory())
        self._passages = Memory()

    def dump(self, kept: Kept) -> str:
        """As the function `dump`."""
        memory = self._memory(kept.snapshot.pool_id)
        if len(memory.parts) > PARTS:
            memory.parts.clear()
        return _KEPT.write(kept, memory)

    def dump_passage(self, passage: Passage) -> str:
        """As the function `dump_passage`."""
        return _PASSAGE.write(passage, self._passages)
