"""Why something ended, as values."""

from __future__ import annotations

import pytest

from pool_lifecycle.causes import LOST, ExitStatus


@pytest.mark.parametrize(
    ("status", "success"),
    [
        (ExitStatus(code=0), True),
        (ExitStatus.from_wait(0), True),
        (ExitStatus(code=1), False),
        (ExitStatus(signal=9), False),
        (LOST, False),
        (ExitStatus(code=0, signal=9), False),
    ],
)
def test_only_exit_code_0_and_nothing_else_is_a_success(status: ExitStatus, success: bool) -> None:
    """S16: not a lost status, nor one that contradicts itself."""
    assert status.success is success
