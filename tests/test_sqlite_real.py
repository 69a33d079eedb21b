"""The store in real programs: killed, traced, forked, on a disk that is full."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stored import opened

ROOT = Path(__file__).resolve().parent.parent
SAVING = (sys.executable, "-m", "tests.saving")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the program saves."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def _said(*command: str | Path) -> str:
    return subprocess.run(
        command,
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    ).stdout


def _until_killed(folder: Path, lines: int) -> Iterator[list[str]]:
    """What a program that saves had said when it was killed after so many lines."""
    with subprocess.Popen(
        [*SAVING, "endless", folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        try:
            for _ in range(lines):
                yield program.stdout.readline().split()
        finally:
            program.kill()
        yield from (line.split() for line in program.stdout if line.endswith("\n"))


@pytest.mark.parametrize("lines", [1, 30, 333, 1000])
def test_no_kill_undoes_what_was_acknowledged(folder: Path, lines: int) -> None:
    """S17: SIGKILL at any instant, also while the log is copied: every pool, passage and lease is there."""
    kept: dict[str, int] = {}
    leased = defaultdict[str, set[int]](set)
    for word, pool_id, number in _until_killed(folder, lines):
        if word == "kept":
            kept[pool_id] = int(number)
        else:
            leased[pool_id].add(int(number))
    with opened(folder / "state.db") as (store, found):
        assert found.troubles == ()
        assert len(found.pools) >= len(kept)
        for pool in found.pools:
            pool_id = pool.snapshot.pool_id
            last = kept.get(pool_id, 0)
            assert pool.next_token in {last, last + 5}  # at most one that had not yet been acknowledged
            assert {lease.token for lease in pool.leases} - {pool.next_token} <= leased[pool_id]
            assert {lease.token for lease in pool.leases} >= leased[pool_id]
            assert store.history(pool_id)[-1].why == f"reason {pool.next_token}"


def test_the_thread_that_saves_never_syncs(folder: Path) -> None:
    """FAULTS: slow fsync. As the kernel sees it: others do, over many logs, but never that one."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = folder.parent / "trace"
    trace = (strace, "-f", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-o", str(log))
    tried = subprocess.run([*trace, "true"], check=False, capture_output=True, text=True, timeout=100)
    if tried.returncode:
        pytest.skip(f"programs cannot be traced here: {tried.stderr}")
    with subprocess.Popen(
        [*trace, *SAVING, "traced", folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.read() == "done\n"
    calls = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    main = next(thread for thread, call in reversed(calls) if call.startswith("+++ exited"))
    syncs = [thread for thread, call in calls if "sync(" in call]
    assert len(syncs) > 20
    assert main not in syncs


def test_a_disk_with_no_space_is_told_and_what_waits_is_stored_when_there_is(folder: Path) -> None:
    """FAULTS: ENOSPC of a real file system; nobody asks for it again."""
    alone = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=1m none "$0" && exec "$@"',
        str(folder),
    )
    if (
        shutil.which("unshare") is None
        or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("nothing can be mounted here")
    told, kept, pools = _said(*alone, *SAVING, "full", folder).splitlines()
    assert "no space is left on the device" in told
    assert kept.startswith("kept pool-")
    assert pools == "pools 1"


def test_forked_programs_end_and_harm_nothing(folder: Path) -> None:
    """However the store's thread was at work when they were forked."""
    assert _said(*SAVING, "forking", folder) == "kept True\n"
    with opened(folder / "state.db") as (_, found):
        assert found.pools[0].next_token == 19
