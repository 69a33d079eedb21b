"""The testing package as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import sys, pool_lifecycle.testing
print(*({"pytest", "_pytest", "hypothesis"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_it_needs_no_test_framework() -> None:
    """Users choose their own; hypothesis comes only with `strategies`, which is imported by itself."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
