"""What tests of local processes share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle_drivers.engine import LocalEngine
from pool_lifecycle_drivers.process import LocalLauncher
from tests.drivers.real_processes import Bench, carriers, descriptors, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Use = Callable[[LocalEngine], Coroutine[Any, Any, Any]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def use(run_real: Run) -> Callable[[LaunchRequest, Use], Any]:
    """Launch an engine, let it write its first byte, use it, and see that a stop left nothing of it."""

    async def main(request: LaunchRequest, doing: Use) -> Any:
        before = descriptors()
        engine = await LocalLauncher().launch(request=request)
        await engine.output(after=0)
        try:
            result = await doing(engine)
        finally:  # also when the host does not allow the test
            await engine.stop(kill_after=0)
        assert carriers(request.token) == set()
        assert not (await engine.inspect()).pids
        await until(lambda: descriptors() == before)  # inotify is closed by a thread
        return result

    return lambda request, doing: run_real(main(request, doing))
