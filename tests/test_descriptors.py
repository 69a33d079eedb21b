"""Room for descriptors. In processes of their own, as a table that has grown stays as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

SIZE = "print(next(row.split()[1] for row in open('/proc/self/status') if row.startswith('FDSize')))"


def _said(code: str) -> int:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr
    return int(done.stdout)


def test_there_is_room_before_it_is_needed() -> None:
    """The kernel's table is as large as is asked for, and nothing was left open in it."""
    made = "import os\nfrom pool_lifecycle.descriptors import make_room\nmake_room(2000)"
    assert _said(f"{made}\n{SIZE}") >= 2000
    assert _said(f"{made}\nprint(max(map(int, os.listdir('/proc/self/fd'))))") < 100


@pytest.mark.parametrize("allowed", [3, 40])
def test_no_more_room_than_is_allowed_is_no_error(allowed: int) -> None:
    """Nothing is raised where descriptors are few, or none is left."""
    limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({allowed}, 4096))"
    code = (
        f"import resource\nfrom pool_lifecycle.descriptors import make_room\n{limit}\nmake_room()\nprint(1)"
    )
    assert _said(code) == 1


def test_a_manager_makes_room() -> None:
    """It is there when its engines come, so that none of them has to wait for it."""
    manager = "async with PoolManager(folder):\n            pass"
    code = (
        "import asyncio, tempfile\nfrom pool_lifecycle import PoolManager\n"
        f"async def main():\n    with tempfile.TemporaryDirectory() as folder:\n        {manager}\n"
        f"import resource\n_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))\n"
        f"asyncio.run(main())\n{SIZE}"
    )
    assert _said(code) >= 1024
