"""One lease: a unit of admitted work, why one may be refused, and how it looks to somebody who waits."""

from __future__ import annotations

import enum
from types import TracebackType
from typing import ClassVar, Final, Protocol

from attrs import frozen

from pool_lifecycle.errors import LeaseRefused, PoolDraining, PoolNotReady
from pool_lifecycle.kept import KeptLease
from pool_lifecycle.wording import seconds, shown


class LeaseState(enum.StrEnum):
    """What has become of a lease. Only an active one holds a slot."""

    ACTIVE = "active"
    RELEASED = "released"
    EXPIRED = "expired"
    LOST = "lost"


# Members of an enum are slow to look up on Python 3.11, and these two are on the hot path.
ACTIVE: Final = LeaseState.ACTIVE
RELEASED: Final = LeaseState.RELEASED


@frozen
class GateReason:
    """Why no lease is granted: the pool's state, and whether that is a drain. It makes the errors.

    `due` is when what `remedy` speaks of will happen, on the book's clock.
    """

    state: str
    draining: bool = False
    what: str = ""
    remedy: str = ""
    due: float | None = None

    def error(self, pool_id: str, now: float) -> LeaseRefused:
        """A fresh PoolDraining or PoolNotReady that says so."""
        if self.draining:
            what = self.what or "is draining and takes no new leases"
            remedy = self.remedy or "use another pool, or resume this one"
            return PoolDraining(what, pool_id=pool_id, state=self.state, remedy=remedy)
        what = self.what or "does not grant leases"
        remedy = self.remedy or "start the pool and wait until it is ready"
        if self.due is not None:
            remedy += f" in {seconds(max(0.0, self.due - now))}"
        return PoolNotReady(what, pool_id=pool_id, state=self.state, remedy=remedy)


@frozen
class Serving:
    """The generation on which leases are granted, and where it is reached."""

    generation: int
    url: str


@frozen
class Blocker:
    """An active lease as seen by somebody who waits for its end. Times in seconds.

    `holder` and `kind` are made printable and cut after 60 characters.
    `expires_in` is None for a lease without a time to live, and 0 for one that is about to be reclaimed.
    """

    holder: str
    kind: str
    age: float
    token: int
    expires_in: float | None

    @classmethod
    def of(cls, lease: Lease, now: float) -> Blocker:
        """The lease as it is at `now`."""
        expires_in = None if lease.expires_at is None else max(0.0, lease.expires_at - now)
        return cls(
            shown(lease.holder), shown(lease.kind), max(0.0, now - lease.acquired_at), lease.token, expires_in
        )


class LeaseHome(Protocol):
    """What a lease needs of the book it stands in."""

    pool_id: str

    def release(self, lease: Lease, /) -> bool:
        """End the lease; False when that had happened before."""


class Lease:
    """One unit of admitted work. Read its attributes, never set them.

    `token` is the fencing token: of two leases of one pool the later one has the higher token, also
    across restarts of the engine. Times are seconds on the book's clock. As a context manager, plain or
    asynchronous, it releases itself at the end.
    """

    __slots__ = ("_book", "_serving", "acquired_at", "expires_at", "holder", "kind", "state", "token")

    lasting: ClassVar[bool] = False
    """Whether it outlives the program that granted it, being held by somebody else."""

    def __init__(  # noqa: PLR0917 - by position, because it is made on the hot path
        self,
        book: LeaseHome,
        serving: Serving,
        holder: str,
        kind: str,
        token: int,
        now: float,
        ttl: float | None,
    ) -> None:
        self._book = book
        self._serving = serving
        self.holder: Final = holder
        self.kind: Final = kind
        self.token: Final = token
        self.acquired_at: Final = now
        self.expires_at: Final = None if ttl is None else now + ttl
        self.state = ACTIVE

    @property
    def pool_id(self) -> str:
        """The pool it is a lease on."""
        return self._book.pool_id

    @property
    def generation(self) -> int:
        """The generation of the engine it is a lease on; never another one."""
        return self._serving.generation

    @property
    def url(self) -> str:
        """Where that generation of the engine is reached."""
        return self._serving.url

    def release(self) -> bool:
        """Give the slot back. False when it was given back before, expired, or was lost: nothing happens."""
        return self._book.release(self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lease {self.token} on {self.pool_id!r} held by {shown(self.holder)!r}: {self.state}>"


class LastingLease(Lease):
    """A lease whose holder is not in this program: it is kept until it is released, expires, or is lost."""

    __slots__ = ()

    lasting = True

    @classmethod
    def of(cls, book: LeaseHome, kept: KeptLease) -> LastingLease:
        """One that an earlier manager granted."""
        ttl = None if kept.expires_at is None else kept.expires_at - kept.since
        serving = Serving(kept.generation, kept.url)
        return cls(book, serving, kept.holder, kept.kind, kept.token, kept.since, ttl)

    def to_keep(self) -> KeptLease:
        """What a later manager has to know of it."""
        return KeptLease(
            self.token,
            self.generation,
            self.url,
            self.holder,
            self.kind,
            self.acquired_at,
            self.expires_at,
        )
