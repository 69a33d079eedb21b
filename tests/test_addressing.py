"""Where an engine is reached."""

from __future__ import annotations

import pytest

from pool_lifecycle.addressing import reachable, url_of
from pool_lifecycle.interfaces import EngineHandle


@pytest.mark.parametrize(
    ("bound", "reached", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "127.0.0.1", "http://127.0.0.1:80"),
        ("::", "::1", "http://[::1]:80"),
        ("::1", "::1", "http://[::1]:80"),
        ("localhost", "localhost", "http://localhost:80"),
    ],
)
def test_an_engine_is_reached_where_it_listens(bound: str, reached: str, url: str) -> None:
    """Who listens everywhere is reached on this machine; IPv6 addresses get their brackets."""
    assert reachable(bound) == reached
    assert url_of(EngineHandle("d", "t", bound, 80)) == url
