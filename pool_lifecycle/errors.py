"""Every error a user of the library can meet, as one small tree of values.

    PoolLifecycleError
    ├── ConfigError              a declared value is wrong; lists every problem it found
    ├── TableError               a transition table is damaged (raised when it is defined)
    ├── IllegalEvent             this state has no row for this event; nothing happened
    ├── PoolNotFound             no pool of that name
    ├── PoolExists               a pool of that name is already there
    ├── DeviceNotQuarantined     the device to be released is in no quarantine
    ├── LeaseRefused             no lease was granted
    │   ├── PoolNotReady         the pool does not serve at the moment
    │   ├── PoolDraining         the pool is draining and takes no new work
    │   └── NoFreeSlot           every slot is taken, and the wait (if any) ran out
    ├── StartFailed              the engine did not become ready; carries the cause
    ├── StartBarred              a circuit still allows no start; says which one, and until when
    ├── ReloadFailed             the model was not changed; carries the cause
    ├── ReloadRefused            the reload was not begun; nothing changed
    │   └── NoRoomForTwo         two engines cannot live side by side, as surge wants it
    ├── Superseded               a later command ended what this caller waited for
    ├── EngineStuck              the engine could not be ended; its residue is listed
    ├── CircuitOpen              a circuit breaker did not let the call through; says when it may
    ├── HandoffError             a handoff document has a field of the wrong type
    ├── EventsLost               the change stream no longer keeps the number asked for
    ├── StateDirError            the state directory cannot be used
    ├── StoreError               what happened could not be stored, or what was stored cannot be read
    ├── ManagerClosed            the manager has been closed
    └── DriverError              a driver failed; the one shape every foreign error is mapped to

Each carries its facts as fields and says what happened, to which pool, in which state, and what would
help. `remedy` is a sentence for a person, or empty where nothing can be advised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pool_lifecycle.redaction import HIDDEN

if TYPE_CHECKING:
    from pool_lifecycle.causes import Cause


class PoolLifecycleError(Exception):
    """The root. `pool_id` and `state` are None where no pool is concerned."""

    def __init__(
        self, what: str, *, pool_id: str | None = None, state: str | None = None, remedy: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.pool_id = pool_id
        self.state = state
        self.remedy = remedy

    def __str__(self) -> str:
        subject = "" if self.pool_id is None else f"pool {self.pool_id!r}"
        if subject and self.state is not None:
            subject += f" ({self.state})"
        sentence = f"{subject}: {self.what}" if subject else self.what
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class Problem:
    """One wrong value: where it stands, what it is, what would be valid."""

    __slots__ = ("file", "key", "valid", "value")

    def __init__(self, key: str, value: object, valid: str, *, file: str | None = None) -> None:
        self.key = key
        self.value = value
        self.valid = valid
        self.file = file

    def __str__(self) -> str:
        shown = _shown(self.value)
        where = f"{self.file}: " if self.file else ""
        return f"{where}{self.key} = {shown}: {self.valid}"

    def __repr__(self) -> str:
        return f"Problem({str(self)!r})"

    def at(self, *, file: str | None, prefix: str) -> Problem:
        """The same problem seen from outside: in `file`, under the key `prefix`."""
        key = f"{prefix}.{self.key}" if prefix and self.key else prefix or self.key
        return Problem(key, self.value, self.valid, file=file)


def _shown(value: object) -> str:
    if isinstance(value, str):
        value = _without_log_in(value)
    try:
        shown = repr(value)
    except ValueError:  # a whole number of more digits than Python is willing to write out
        shown = f"a huge {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _without_log_in(text: str) -> str:
    """A URL may be wrong just because of the password in it, or of a character of that."""
    scheme, colon, rest = text.partition("://")
    _log_in, at, where = rest.rpartition("@")
    return f"{scheme}{colon}{HIDDEN}{at}{where}" if at else text


class ConfigError(PoolLifecycleError, ValueError):
    """One or more declared values are wrong; `problems` has them all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class TableError(PoolLifecycleError, ValueError):
    """A table is damaged: `defects` has one sentence per defect."""

    def __init__(self, table: str, defects: Sequence[str]) -> None:
        self.table = table
        self.defects = tuple(defects)
        super().__init__(f"table {table!r}: " + "; ".join(defects))


class IllegalEvent(PoolLifecycleError):
    """The state has no row for the event. Nothing happened. `hint` is what would help in this case."""

    def __init__(self, pool_id: str, state: str, event: str, legal: Sequence[str], hint: str = "") -> None:
        self.event = event
        self.legal = tuple(legal)
        super().__init__(
            f"event '{event}' is not possible here, nothing changed",
            pool_id=pool_id,
            state=state,
            remedy=f"possible here: {', '.join(self.legal)}; {hint}".removesuffix("; "),
        )


class PoolNotFound(PoolLifecycleError, KeyError):
    """No pool of that name; `known` lists the names there are."""

    def __init__(self, pool_id: str, known: Iterable[str]) -> None:
        self.known = tuple(sorted(known))
        names = ", ".join(self.known) or "none"
        super().__init__(f"pool {pool_id!r} not found", remedy=f"known pools: {names}")
        self.pool_id = pool_id

    def __str__(self) -> str:  # KeyError would show the repr of its argument
        return f"{self.what}; {self.remedy}"


class PoolExists(PoolLifecycleError):
    """A pool of that name is already managed."""

    def __init__(self, pool_id: str) -> None:
        super().__init__("already exists", pool_id=pool_id, remedy="remove it first, or choose another id")


class DeviceNotQuarantined(PoolLifecycleError, KeyError):
    """No such device is in quarantine; `known` lists the names of those that are."""

    def __init__(self, device: str, known: Iterable[str]) -> None:
        self.device, self.known = device, tuple(sorted(known))
        names = ", ".join(self.known) or "none"
        super().__init__(f"device {device!r} is not in quarantine", remedy=f"those that are: {names}")

    def __str__(self) -> str:  # KeyError would show the repr of its argument
        return f"{self.what}; {self.remedy}"


class LeaseRefused(PoolLifecycleError):
    """No lease was granted; the subclass says why."""


class PoolNotReady(LeaseRefused):
    """The pool does not serve at the moment."""


class PoolDraining(LeaseRefused):
    """The pool is draining: leases in flight go on, new ones are refused."""


class NoFreeSlot(LeaseRefused):
    """Every slot is taken. `waited` is how long was waited for one, in seconds."""

    def __init__(
        self, what: str, *, slots: int, waited: float, pool_id: str, state: str | None = None
    ) -> None:
        self.slots = slots
        self.waited = waited
        super().__init__(
            what, pool_id=pool_id, state=state, remedy="wait longer for a slot, or give the pool more slots"
        )


class StartFailed(PoolLifecycleError):
    """The engine did not become ready. `cause` says why and whether a retry can help.

    `circuit` names the one that does not allow the next attempt, if it is for one; `due_in` is the number of
    seconds until the next attempt, or until that circuit allows a trial (None: nobody can say).
    """

    def __init__(
        self,
        cause: Cause,
        *,
        pool_id: str,
        state: str,
        remedy: str = "",
        circuit: str | None = None,
        due_in: float | None = None,
    ) -> None:
        self.cause = cause
        self.circuit = circuit
        self.due_in = due_in
        super().__init__(str(cause), pool_id=pool_id, state=state, remedy=remedy or cause.remedy)


class StartBarred(PoolLifecycleError):
    """What was asked is done as far as it can be, but `circuit` still allows no start.

    `due_in` is the number of seconds until it allows a trial; None where nobody can say.
    """

    def __init__(
        self, what: str, *, circuit: str, due_in: float | None, pool_id: str, state: str, remedy: str
    ) -> None:
        self.circuit = circuit
        self.due_in = due_in
        super().__init__(what, pool_id=pool_id, state=state, remedy=remedy)


class ReloadFailed(PoolLifecycleError):
    """The model was not changed. `cause` says why; `state` says how the pool is now."""

    def __init__(self, cause: Cause, *, pool_id: str, state: str) -> None:
        self.cause = cause
        super().__init__(f"reload failed: {cause}", pool_id=pool_id, state=state, remedy=cause.remedy)


class ReloadRefused(PoolLifecycleError):
    """The reload was not begun: another is under way, no permit, or it cannot fit."""


class NoRoomForTwo(ReloadRefused):
    """A surge was not begun, or not gone on with: there is no room for two engines. `cause` says why.

    The old engine serves, as before.
    """

    def __init__(self, cause: Cause, *, pool_id: str, state: str) -> None:
        self.cause = cause
        what = f"reload refused: {cause.message}"
        super().__init__(
            what, pool_id=pool_id, state=state, remedy=cause.remedy or "use strategy stage_first"
        )


class Superseded(PoolLifecycleError):
    """A later command ended what this caller waited for. `by` names that command."""

    def __init__(self, what: str, *, by: str, pool_id: str, state: str) -> None:
        self.by = by
        super().__init__(f"{what} was superseded by {by}", pool_id=pool_id, state=state)


class EngineStuck(PoolLifecycleError):
    """The engine could not be ended in time; it is watched until it is gone."""


class CircuitOpen(PoolLifecycleError):
    """A circuit breaker did not let the call through. `name` is the circuit's.

    `retry_in` says in how many seconds it allows one call as a trial; None while a trial decides.
    """

    pool_id = None

    def __init__(self, name: str, retry_in: float | None, state: str) -> None:
        self.name = name
        self.retry_in = retry_in
        self.state = state

    def __getattr__(self, name: str) -> str:
        """`what` and `remedy`, written when somebody reads them: to be refused has to cost little."""
        if name not in {"what", "remedy"}:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if self.retry_in is None:
            what, remedy = f"circuit {self.name!r} is half-open, its trial is under way", "try again soon"
        else:
            what = f"circuit {self.name!r} is open for {self.retry_in:.3g} s"
            remedy = "try again then, or reset it"
        return what if name == "what" else remedy


class HandoffError(PoolLifecycleError, ValueError):
    """A handoff document has a field of the wrong type; nothing was changed."""

    def __init__(self, field: str, value: object, valid: str) -> None:
        self.field = field
        self.value = value
        super().__init__(f"handoff field {field!r} is {value!r}", remedy=f"valid: {valid}")


class EventsLost(PoolLifecycleError):
    """Events after `asked` are no longer all kept; `oldest` is the oldest number that is."""

    def __init__(self, asked: int, oldest: int) -> None:
        self.asked = asked
        self.oldest = oldest
        super().__init__(
            f"events after number {asked} are no longer all kept (the oldest kept is {oldest})",
            remedy="take a snapshot and resume from its number",
        )


class StateDirError(PoolLifecycleError):
    """The state directory cannot be used: held by another manager, or not writable."""


class StoreError(PoolLifecycleError):
    """What happened could not be stored, or what was stored cannot be read. `path` is the store's file."""

    def __init__(self, what: str, *, path: str, pool_id: str | None = None, remedy: str = "") -> None:
        self.path = path
        super().__init__(what, pool_id=pool_id, remedy=remedy)


class ManagerClosed(PoolLifecycleError):
    """The manager has been closed, or the pool removed from it: nothing can be asked of them any more."""


class DriverError(PoolLifecycleError):
    """A driver failed. `cause` is what the pool needs to know: the class, the stage, whether it heals."""

    def __init__(self, driver: str, cause: Cause) -> None:
        self.driver = driver
        self.cause = cause
        super().__init__(f"{driver}: {cause}", remedy=cause.remedy)
