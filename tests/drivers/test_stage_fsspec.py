"""The stager for URLs, mostly with fsspec's memory in place of a network."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Caching, ModelStager, StagedModel, StageProgress
from pool_lifecycle.testing.check_model_stager import check_model_stager
from pool_lifecycle_drivers.stage_fsspec import FsspecStager
from tests.hostile_models import Page, serving

fsspec = pytest.importorskip("fsspec")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

CONTENT = hashlib.sha256(b"a model").digest() * 4096
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
EMPTY = b"\2\0\0\0\0\0\0\0{}"


@pytest.fixture
def memory() -> Iterator[Any]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], FsspecStager]]:
    made: list[FsspecStager] = []

    def new(limit: int | None = None, in_use: Any = frozenset, grace: float = 600.0) -> FsspecStager:
        stager = FsspecStager(timeout=30, grace=grace)
        stager.keep_in(folder=str(tmp_path / "cache"), limit=limit, in_use=in_use)
        made.append(stager)
        return stager

    yield new
    for stager in made:
        stager.cache.holds.close()


Make = Callable[..., FsspecStager]


def stage(run_real: Run, stager: FsspecStager, reference: str, digest: str | None = None) -> StagedModel:
    staged = run_real(stager.stage(reference=reference, digest=digest, progress=lambda _: None))
    assert isinstance(staged, StagedModel)
    return staged


def refusal(run_real: Run, stager: FsspecStager, reference: str, digest: str | None = None) -> DriverError:
    with pytest.raises(DriverError) as caught:
        stage(run_real, stager, reference, digest)
    assert caught.value.driver == "fsspec"
    assert caught.value.cause.remedy
    return caught.value


def test_it_keeps_the_promises_of_a_model_stager(run_real: Run, make: Make, memory: Any) -> None:
    """The public conformance check, digest included."""
    memory.pipe("/x/a.bin", CONTENT)
    run_real(
        check_model_stager(make, reference="memory://x/a.bin", missing="memory://x/none.bin", digest=DIGEST)
    )


def test_it_says_that_it_keeps_what_it_fetched(make: Make) -> None:
    """So that whoever runs it can say where, and how much."""
    assert isinstance(make(), Caching)
    assert isinstance(make(), ModelStager)


def test_nothing_is_made_before_there_is_something_to_keep(make: Make, tmp_path: Path) -> None:
    """Whoever only has local models has no cache folder."""
    make()
    assert not (tmp_path / "cache").exists()


def test_a_changed_model_is_fetched_again(run_real: Run, make: Make, memory: Any) -> None:
    """fsspec's own validator tells it. The one before stays until the room is needed."""
    stager = make()
    memory.pipe("/x/a.bin", CONTENT)
    first = stage(run_real, stager, "memory://x/a.bin")
    memory.pipe("/x/a.bin", CONTENT[::-1])
    second = stage(run_real, stager, "memory://x/a.bin")
    assert (Path(first.path).read_bytes(), Path(second.path).read_bytes()) == (CONTENT, CONTENT[::-1])


def test_a_folder_is_a_model_in_safetensors(run_real: Run, make: Make, memory: Any) -> None:
    """With its index: complete or not at all."""
    stager, index = make(), {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    memory.pipe("/x/big/model.safetensors.index.json", json.dumps(index).encode())
    memory.pipe("/x/big/m-1.safetensors", EMPTY)
    cause = refusal(run_real, stager, "memory://x/big").cause
    assert "'m-2.safetensors' first" in cause.message
    assert not cause.heals
    memory.pipe("/x/big/m-2.safetensors", EMPTY + b" ")
    memory.pipe("/x/big/m-2.safetensors", b"\3\0\0\0\0\0\0\0{} ")
    memory.pipe("/x/big/config.json", b"{}")
    memory.pipe("/x/big/other.bin", b"not part of it")
    staged = stage(run_real, stager, "memory://x/big")
    assert os.path.basename(staged.path) == "big"
    assert sorted(os.listdir(staged.path)) == [
        "config.json", "m-1.safetensors", "m-2.safetensors", "model.safetensors.index.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("memory://x/none.bin", "does not exist"),
        ("nosuchthing://x/a.bin", "cannot be opened"),
        ("file:/a.gguf", "use the stager 'file'"),
        ("hf:org/repo", "use the stager 'hub'"),
        ("https://", "after ://"),
        ("memory://x/a\0", "NUL"),
        ("s3://x/" + "a" * 5000, "4096"),
    ],
)
def test_what_cannot_be_staged_is_refused_for_good(
    run_real: Run, make: Make, memory: Any, reference: str, words: str
) -> None:
    """With what would be right; resolving says the same."""
    error = refusal(run_real, make(), reference)
    assert words in str(error.cause.message + error.cause.remedy)
    assert not error.cause.heals
    with pytest.raises(DriverError):
        run_real(make().resolve(reference=reference))


@pytest.mark.parametrize("digest", ["", "sha256:", "md5:" + "0" * 32, "sha256:../../../etc", DIGEST.upper()])
def test_a_digest_that_is_none_is_refused(run_real: Run, make: Make, memory: Any, digest: str) -> None:
    """It is part of a path later, so nothing but a digest may be one."""
    memory.pipe("/x/a.bin", CONTENT)
    assert not refusal(run_real, make(), "memory://x/a.bin", digest).cause.heals


def test_without_fsspec_the_extra_is_named(
    run_real: Run, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever forgot it is told what to install; http needs none of it."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    cause = refusal(run_real, make(), "memory://x/a.bin").cause
    assert (cause.heals, "pool-lifecycle[staging]" in cause.remedy) == (False, True)


def test_the_least_recently_used_goes_when_the_limit_is_passed(
    run_real: Run, make: Make, memory: Any
) -> None:
    """What is in use stays, what another stager uses too, and what was just staged is given its time."""
    used: set[tuple[str, str | None]] = {("memory://x/0.bin", None)}
    stager = make(limit=3000, in_use=lambda: frozenset(used), grace=0.0)
    for number in range(4):
        memory.pipe(f"/x/{number}.bin", bytes([number]) * 1000)
    staged = [stage(run_real, stager, f"memory://x/{number}.bin") for number in range(4)]
    assert [os.path.exists(one.path) for one in staged] == [True, False, False, True]


def test_what_is_in_use_is_not_evicted(run_real: Run, make: Make, memory: Any) -> None:
    """Two pools may share a model: the one that lets it go does not take it from the other."""
    used: set[tuple[str, str | None]] = set()
    stager = make(in_use=lambda: frozenset(used))
    memory.pipe("/x/a.bin", CONTENT)
    model = stage(run_real, stager, "memory://x/a.bin")
    used.add(("memory://x/other.bin", DIGEST))
    assert run_real(stager.evict(model=model)) is False
    used.clear()
    elsewhere = StagedModel(model.reference, "/etc/passwd", 1, DIGEST)
    assert run_real(stager.evict(model=elsewhere)) is False, "only what lies in the cache is ours"
    assert run_real(stager.evict(model=model)) is True


def test_progress_ends_with_all_bytes(run_real: Run, make: Make, memory: Any) -> None:
    """Also when nothing had to be fetched."""
    memory.pipe("/x/a.bin", CONTENT)
    for _ in range(2):
        seen: list[StageProgress] = []
        run_real(make().stage(reference="memory://x/a.bin", digest=None, progress=seen.append))
        assert seen[-1] == StageProgress(len(CONTENT), len(CONTENT))


def test_a_folder_of_somebody_else_is_refused(run_real: Run, tmp_path: Path, memory: Any) -> None:
    """A link in the place of a folder of ours leads somewhere that nobody chose."""
    memory.pipe("/x/a.bin", CONTENT)
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache" / "blobs").symlink_to(tmp_path / "elsewhere")
    stager = FsspecStager()
    stager.keep_in(folder=str(tmp_path / "cache"), limit=None, in_use=frozenset)
    assert not refusal(run_real, stager, "memory://x/a.bin").cause.heals
    assert os.listdir(tmp_path / "elsewhere") == []


# --- for real --------------------------------------------------------------------------------------------

FETCH = """
import asyncio, sys
from pool_lifecycle_drivers.stage_fsspec import FsspecStager
stager = FsspecStager()
stager.keep_in(folder=sys.argv[1], limit=None, in_use=frozenset)
def told(news):
    print(news.done, flush=True)
print(asyncio.run(stager.stage(reference=sys.argv[2], digest=None, progress=told)).digest)
"""


@pytest.mark.slow
def test_it_keeps_its_promises_over_http(run_real: Run, make: Make) -> None:
    """One download however many ask, counted at the server."""
    with serving({"/a.bin": Page(CONTENT)}) as models:
        run_real(
            check_model_stager(
                make,
                reference=models.url + "/a.bin",
                missing=models.url + "/none.bin",
                digest=DIGEST,
                fetches=lambda: models.count("GET"),
            )
        )


@pytest.mark.slow
def test_two_stagers_at_once_fetch_a_model_once(run_real: Run, make: Make) -> None:
    """FAULTS: two stagers at once, here in one process; the second waits for the first."""

    async def program(reference: str) -> list[StagedModel]:
        asking = (
            one.stage(reference=reference, digest=None, progress=lambda _: None) for one in (make(), make())
        )
        return await asyncio.gather(*asking)

    with serving({"/a.bin": Page(CONTENT)}) as models:
        first, second = run_real(program(models.url + "/a.bin"))
        assert first == second
        assert models.count("GET") == 1


@pytest.mark.slow
def test_two_processes_at_once_fetch_a_model_once(tmp_path: Path) -> None:
    """FAULTS: two stagers at once, in two processes."""
    with serving({"/a.bin": Page(CONTENT)}) as models:
        argv = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), models.url + "/a.bin"]
        running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        told = [process.communicate()[0].split()[-1] for process in running]
        assert told == [DIGEST] * 2
        assert models.count("GET") == 1


@pytest.mark.slow
def test_a_killed_download_is_gone_on_with(tmp_path: Path) -> None:
    """FAULTS: kill in the middle. Nobody is left to clean up, and what is there is used."""
    page = Page(CONTENT, cut=50_000, stall=threading.Event())
    with serving({"/a.bin": page}) as models:
        argv = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), models.url + "/a.bin"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "50000\n" in iter(process.stdout.readline, ""), "all that was sent is told in the end"
            process.send_signal(signal.SIGKILL)
        assert page.stall is not None
        page.stall.set()
        page.cut = page.stall = None
        after = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert after.stdout.split()[-1] == DIGEST
        assert models.ranges() == ["", "bytes=50000-"]


FULL = """
import os, subprocess, sys
folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], folder + "/cache", sys.argv[3]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_is_told(tmp_path: Path, chunked: bool) -> None:
    """FAULTS: disk full, foreseen where the size is known, in the middle where it is not."""
    allowed = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=False, capture_output=True
    )
    if allowed.returncode:
        pytest.skip("no user namespaces, or no mounts in them, on this host")
    with serving({"/a.bin": Page(CONTENT, chunked=chunked)}) as models:
        argv = ["unshare", "-Urm", sys.executable, "-c", FULL, str(tmp_path), FETCH, models.url + "/a.bin"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = "is full: No space left on device" if chunked else "is short of"
    assert expected in done.stderr
    assert len(CONTENT) > 64 * 1024
