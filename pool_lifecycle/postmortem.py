"""What is remembered of a launch, and gathered into evidence when its engine ends."""

from __future__ import annotations

import os

from attrs import define, field

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass
from pool_lifecycle.interfaces import ECHOES, DeviceFault, Echo, EngineProfile, LaunchRequest
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.log_follower import LogFollower, size
from pool_lifecycle.redaction import secrets_of, without
from pool_lifecycle.snapshot import Intent, Snapshot
from pool_lifecycle.verdict import Asker, Evidence, FailedCheck, judge


@define(eq=False)
class Launch:
    """One launch: what was requested, when (seconds, on the loop's clock), and its part of the log.

    `asked` and `failure` are our record of who had it ended, or why the pool itself did; `ended` is set
    once either holds. `cause` is the verdict on its ending, `kept` whether its log is kept as a crash's,
    `unread` whether it was told that its log cannot be read.
    """

    request: LaunchRequest
    at: float
    log: LogFollower
    ended: bool = field(default=False, init=False)
    asked: Asker | None = field(default=None, init=False)
    failure: Cause | None = field(default=None, init=False)
    cause: Cause | None = field(default=None, init=False)
    kept: bool = field(default=False, init=False)
    unread: bool = field(default=False, init=False)

    @classmethod
    def of(
        cls, request: LaunchRequest, at: float, profile: EngineProfile, log_begin: int | None = None
    ) -> Launch:
        """About to be launched: what its engine writes comes after what the log holds now, or `log_begin`."""
        path = request.log_path
        echoes: tuple[Echo, ...] = getattr(profile, "echoes", ECHOES)
        hide = _Hiding(request)
        return cls(
            request,
            at,
            LogFollower(path, size(path) if log_begin is None else log_begin, profile.patterns, echoes, hide),
        )

    def end_for(self, snapshot: Snapshot) -> None:
        """Record on whose behalf it is ended; who came first is who did it."""
        if self.ended:
            return
        self.ended = True
        self.failure = self._failure(snapshot)
        if self.failure is None:
            self.asked = self._asker(snapshot)

    def _failure(self, snapshot: Snapshot) -> Cause | None:
        """Why it failed, whoever wants it to end by now; else why the pool did."""
        known = (*snapshot.engines, *snapshot.quarantine)
        own = next((one.failure for one in known if one.token == self.request.token), None)
        if own is not None or not self._failed_in(snapshot) or self._is_beside(snapshot):
            return own
        return snapshot.cause if snapshot.plan is None else snapshot.plan.cause

    def _failed_in(self, snapshot: Snapshot) -> bool:
        """Whether something failed in its time. What is stuck may have been about to end without that."""
        crashes = snapshot.crashes
        is_new = snapshot.state is not PoolState.STUCK or (bool(crashes) and crashes[-1].at >= self.at)
        return snapshot.state in FAILED and is_new

    def _is_beside(self, snapshot: Snapshot) -> bool:
        """Whether the pool's failure is that of another engine: the one that served, while that is kept."""
        failed = snapshot.server or snapshot.newest
        return failed is not None and failed.token != self.request.token

    def _asker(self, snapshot: Snapshot) -> Asker:
        if snapshot.intent is Intent.RUN_WHEN_LOADED:
            return Asker.MANAGER
        return Asker.POOL if self._failed_in(snapshot) else Asker.OPERATOR

    def leave(self) -> None:
        """Record that the manager ends it."""
        if not self.ended:
            self.ended, self.asked = True, Asker.MANAGER


FAILED = frozenset((PoolState.RECOVERING, PoolState.RELOADING_UNDOING, PoolState.STUCK))
"""Where engines are ended because something failed."""

NOT_KEPT = frozenset(
    (
        *(FailureClass.GRACEFUL, FailureClass.KILLED_BY_OPERATOR),
        *(FailureClass.MANAGER_EXIT, FailureClass.HOST_RESTART),
    )
)
"""Endings that are no crash, so that nobody needs the log."""


def judged(
    launch: Launch,
    status: ExitStatus | None,
    *,
    now: float,
    healthy: bool = True,
    graceful: bool = False,
    rebooted: bool = False,
    checks: tuple[FailedCheck, ...] = (),
    faults: tuple[DeviceFault, ...] = (),
) -> Cause:
    """Why the engine of `launch` ended with `status`, or, without one, is to be ended."""
    launch.log.look(now, final=status is not None)
    return judge(
        Evidence(
            status,
            at=now,
            lived=now - launch.at,
            healthy=healthy,
            graceful=graceful,
            rebooted=rebooted,
            asked=launch.asked,
            failure=launch.failure,
            last_line=launch.log.last_line,
            findings=launch.log.findings,
            checks=checks,
            faults=faults,
            log=launch.request.log_path,
        )
    )


class _Hiding:
    """Hides in a text what the engine is given and may repeat in its log, but nobody else is to read.

    What that is takes long to find out, which waits for the first text: a launch does not.
    """

    __slots__ = ("_inherited", "_request", "_secrets")

    def __init__(self, request: LaunchRequest) -> None:
        self._request = request
        self._inherited = tuple((name, os.environ.get(name, "")) for name in request.env_passthrough)
        self._secrets: frozenset[str] | None = None

    def __call__(self, text: str) -> str:
        if self._secrets is None:
            command = self._request.command
            self._secrets = secrets_of(command.argv, dict((*self._inherited, *command.env)))
        return without(self._secrets, text)
