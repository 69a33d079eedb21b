"""After the end of an engine: the evidence is gathered, and judged."""

from __future__ import annotations

import os

from attrs import frozen

from pool_lifecycle import logtail, verdict
from pool_lifecycle.causes import Cause, ExitStatus, Stage
from pool_lifecycle.interfaces import EngineProfile, LaunchRequest
from pool_lifecycle.redaction import secrets_of, without


@frozen
class Launch:
    """What is remembered of one launch: the request, when it was, where in the log it begins (bytes)."""

    request: LaunchRequest
    at: float
    log_offset: int


def judged(launch: Launch, status: ExitStatus, stage: Stage, *, now: float, profile: EngineProfile) -> Cause:
    """Why the engine of `launch` ended with `status`."""
    said = logtail.last_lines(launch.request.log_path, since=launch.log_offset)
    secrets = _secrets(launch.request)
    lines = tuple(without(secrets, line) for line in said)
    return verdict.ending(
        status,
        stage=stage,
        lived=now - launch.at,
        lines=lines,
        patterns=profile.patterns,
        log=launch.request.log_path,
    )


def _secrets(request: LaunchRequest) -> frozenset[str]:
    """What the engine was given and may repeat in its log, but nobody else is to read."""
    inherited = {name: os.environ.get(name, "") for name in request.env_passthrough}
    return secrets_of(request.command.argv, {**inherited, **dict(request.command.env)})
