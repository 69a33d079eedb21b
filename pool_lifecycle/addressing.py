"""Where an engine is reached."""

from __future__ import annotations

from pool_lifecycle.interfaces import EngineHandle

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound
"""Where an engine is reached that listens on every address."""


def reachable(host: str) -> str:
    """The address at which an engine bound to `host` is reached from this machine."""
    return _ANYWHERE.get(host, host)


def url_of(handle: EngineHandle) -> str:
    """Where the engine is reached."""
    host = reachable(handle.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{handle.port}"
