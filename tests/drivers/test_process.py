"""The launcher of local processes: how an engine comes to be, and what it is given."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pool_lifecycle.testing.check_launcher import check_launcher
from pool_lifecycle_drivers import pinned
from pool_lifecycle_drivers.process import LocalLauncher
from pool_lifecycle_drivers.procfs import read_entry
from tests.drivers.real_processes import LASTING, STUBBORN, Bench

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow


WRITES_AND_STAYS = "exec tail -n 1 -f /etc/passwd"
"""Not LASTING, which writes and then becomes another program: in that instant it carries no token."""


def conform(bench: Bench) -> Coroutine[Any, Any, None]:
    return check_launcher(
        LocalLauncher,
        lasting=lambda port: bench.sh(WRITES_AND_STAYS, port=port),
        stubborn=lambda port: bench.sh(STUBBORN, port=port),
        exiting=lambda port, code: bench.sh(f"exit {code}", port=port),
        impossible=lambda port: bench.request(str(bench.folder / "missing"), port=port),
    )


def test_it_keeps_every_promise_of_a_launcher(run_real: Run, bench: Bench) -> None:
    """The same check that the launcher in memory passes in virtual time."""
    run_real(conform(bench))
    assert bench.files() == set()


def test_without_pidfds_it_keeps_every_promise_too(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an old kernel, or in a sandbox that hides `pidfd_open`."""

    def hidden(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", hidden)
    monkeypatch.setattr(pinned, "POLL", 0.02)
    run_real(conform(bench))


def test_the_engine_is_exactly_the_command(run_real: Run, bench: Bench) -> None:
    """No shell touches the arguments; it starts in its directory, in a session of its own (B-PRELOAD-001)."""
    odd = ("$HOME", "a b", "*", "", "; exit 1", "naïve")
    show = (
        "import os, sys;"
        "print(sys.argv[1:], os.getcwd(), sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd')))"
    )

    async def main() -> None:
        request = bench.request(sys.executable, "-c", show, *odd, cwd=str(bench.folder))
        engine = await LocalLauncher().launch(request=request)
        entry = read_entry(engine.handle.pid or 0)
        assert entry is not None
        assert entry.session == engine.handle.pid
        assert (await engine.wait()).success
        await engine.stop(kill_after=0)

    leaked, other = os.pipe()
    os.set_inheritable(leaked, True)
    try:
        run_real(main())
    finally:
        os.close(leaked)
        os.close(other)
    assert bench.log() == f"{list(odd)} {bench.folder} True ['0', '1', '2', '3']\n"


def test_the_environment_is_built_from_nothing(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the manager's own spills over but what is allowed by name (B-DEVICE-011)."""
    for name in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "spilled")
    monkeypatch.setenv("LC_TIME", "C")
    request = bench.request("env", env={"MINE": "1"}, env_passthrough=("HF_TOKEN",))

    async def main() -> None:
        engine = await LocalLauncher().launch(request=request)
        await engine.wait()
        await engine.stop(kill_after=0)

    run_real(main())
    seen = dict(line.split("=", 1) for line in bench.log().splitlines())
    allowed = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "LC_TIME"}
    assert {"MINE": "1", "HF_TOKEN": "spilled", "SPT_NOENV": "1", "LC_TIME": "C"}.items() <= seen.items()
    assert seen["POOL_LIFECYCLE_TOKEN"] == request.token
    own = {"MINE", "HF_TOKEN", "SPT_NOENV", "POOL_LIFECYCLE_TOKEN", "POOL_LIFECYCLE_LAUNCH"}
    assert {name for name in seen if not name.startswith("LC_")} <= allowed | own


def test_all_output_goes_to_one_file_that_is_only_appended_to(run_real: Run, bench: Bench) -> None:
    """stdout and stderr of every launch, with where this one begins in the handle (B-PRELOAD-002)."""

    async def main() -> list[dict[str, Any]]:
        details = []
        for script in ("echo one; echo two >&2", "echo three >&2"):
            engine = await LocalLauncher().launch(request=bench.sh(script))
            details.append(json.loads(engine.handle.details))
            await engine.wait()
            await engine.stop(kill_after=0)
        return details

    first, second = run_real(main())
    assert bench.log() == "one\ntwo\nthree\n"
    assert (first["log_offset"], second["log_offset"]) == (0, len("one\ntwo\n"))
    mode = os.stat(first["log_path"]).st_mode
    assert (stat.S_IMODE(mode), stat.S_IMODE(os.stat(bench.folder / "logs").st_mode)) == (0o600, 0o700)


def test_the_pid_file_holds_digits_until_the_engine_is_stopped(run_real: Run, bench: Bench) -> None:
    """Written before launch returns, removed when nothing is left (B-PROC-020..022, B-PRELOAD-004)."""

    async def main() -> None:
        request = bench.sh(LASTING)
        engine = await LocalLauncher().launch(request=request)
        assert (bench.folder / "run" / "engine.pid").read_text() == str(engine.handle.pid)
        assert int(engine.handle.pid or 0) > 0
        await engine.stop(kill_after=5)
        assert bench.files() == set()

    run_real(main())


def test_the_end_of_an_older_launch_leaves_the_newer_pid_file(run_real: Run, bench: Bench) -> None:
    """Two launches of a pool overlap while it is reloaded by surge."""

    async def main() -> None:
        launcher = LocalLauncher()
        old = await launcher.launch(request=bench.sh(LASTING))
        new = await launcher.launch(request=bench.sh(LASTING))
        await old.stop(kill_after=5)
        assert (bench.folder / "run" / "engine.pid").read_text() == str(new.handle.pid)
        await new.stop(kill_after=5)
        assert bench.files() == set()

    run_real(main())


def test_fifty_launches_at_once_have_fifty_ports(run_real: Run, bench: Bench) -> None:
    """Also while the engines do not listen yet; a port is free again after the stop."""

    async def main() -> None:
        launcher = LocalLauncher()

        async def one() -> Any:
            port = await launcher.reserve_port(host="127.0.0.1")
            return await launcher.launch(request=bench.sh(LASTING, port=port))

        engines = await asyncio.gather(*(one() for _ in range(50)))
        assert len({engine.handle.port for engine in engines}) == 50
        await asyncio.gather(*(engine.stop(kill_after=5) for engine in engines))
        assert launcher._ports._pending == {}

    run_real(main())
