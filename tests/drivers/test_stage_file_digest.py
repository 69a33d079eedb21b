"""Models on this host whose digest is declared: verified once, with progress, and given up when cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.causes import Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import StagedModel, StageProgress
from pool_lifecycle_drivers import digests, known_files, stage_file
from pool_lifecycle_drivers.digests import read_digest
from pool_lifecycle_drivers.stage_file import FileStager
from tests.drivers.real_processes import until
from tests.drivers.small_models import SMALL, folder, gguf

Run = Callable[[Coroutine[Any, Any, Any]], Any]

CONTENT = gguf()
SIZE, DIGEST = len(CONTENT), "sha256:" + hashlib.sha256(CONTENT).hexdigest()
OTHER = "sha256:" + "0123456789ab" + 52 * "0"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    return path


def verify(
    stager: FileStager, path: Path, digest: str = DIGEST, seen: list[StageProgress] | None = None
) -> Coroutine[Any, Any, StagedModel]:
    reports: list[StageProgress] = [] if seen is None else seen
    return stager.stage(reference=str(path), digest=digest, progress=reports.append)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files count as unchanged for long."""
    monkeypatch.setattr(known_files, "SETTLED_NS", -(10**15))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes were read for a digest."""
    found: list[str] = []
    real = digests._of_file

    def counted(path: str, seen: digests.Seen) -> str:
        found.append(os.path.basename(path))
        return real(path, seen)

    monkeypatch.setattr(digests, "_of_file", counted)
    return found


def test_the_declared_model_is_staged(run_real: Run, model: Path) -> None:
    """The result has the digest that was verified."""
    assert run_real(verify(FileStager(), model)) == StagedModel(str(model), str(model), SIZE, DIGEST, SMALL)


def test_another_model_is_refused(run_real: Run, model: Path) -> None:
    """FAULTS: a wrong digest. Both are told, by their first twelve digits; it does not heal."""
    with pytest.raises(DriverError) as caught:
        run_real(verify(FileStager(), model, OTHER))
    cause = caught.value.cause
    assert cause.message == (
        f"{str(model)!r} is not the model that was declared: its digest is {DIGEST[:19]}…, not {OTHER[:19]}…"
    )
    assert cause.stage is Stage.STAGING
    assert not cause.heals


@pytest.mark.parametrize(
    "digest", ["", "0" * 64, "sha256:" + "0" * 63, "sha256:" + "A" * 64, DIGEST + "\n", "sha512:" + "0" * 128]
)
def test_a_malformed_digest_is_refused(run_real: Run, model: Path, digest: str, reads: list[str]) -> None:
    """There is one way to write it, which is told; nothing is read."""
    with pytest.raises(DriverError, match="sha256: and 64 hexadecimal digits in small letters") as caught:
        run_real(verify(FileStager(), model, digest))
    assert not caught.value.cause.heals
    assert reads == []


def test_the_digest_of_several_files_is_of_all(run_real: Run, tmp_path: Path, reads: list[str]) -> None:
    """As docs tell it: what `sha256sum * | sha256sum` prints in a folder with the model's files."""
    path = folder(tmp_path / "m")
    names = sorted(one.name for one in path.iterdir() if one.name != "README.md")
    lines = [f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    digest = "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
    assert run_real(verify(FileStager(), path, digest)).digest == digest
    assert sorted(reads) == names
    (path / "config.json").write_text("{}")
    with pytest.raises(DriverError, match="is not the model that was declared"):
        run_real(verify(FileStager(), path, digest))


def test_what_was_read_once_is_not_read_again(
    run_real: Run, model: Path, settled: None, reads: list[str]
) -> None:
    """A restart does not read 40 GB; neither to learn again that it is another model."""
    stager = FileStager()
    run_real(verify(stager, model))
    run_real(verify(stager, model))
    with pytest.raises(DriverError, match="is not the model that was declared"):
        run_real(verify(stager, model, OTHER))
    assert reads == [model.name]


def test_what_changed_is_read_again(run_real: Run, model: Path, settled: None, reads: list[str]) -> None:
    """FAULTS: the content changed. Header and digest are those of what lies there now."""
    stager = FileStager()
    run_real(verify(stager, model))
    new = model.with_name("new")
    new.write_bytes(CONTENT + b"\0")
    new.replace(model)
    with pytest.raises(DriverError, match="is not the model that was declared"):
        run_real(verify(stager, model))
    assert len(reads) == 2
    assert run_real(stager.resolve(reference=str(model))).size == SIZE + 1


def test_the_header_is_read_once(
    run_real: Run, model: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vocabulary takes a moment to pass over; while the file stays it is not done again."""
    stager = FileStager()
    first = run_real(stager.resolve(reference=str(model)))
    monkeypatch.setattr(stage_file, "examine", lambda _: pytest.fail("looked at again"))
    assert run_real(stager.resolve(reference=str(model))) == first


def test_progress_is_told_while_it_is_read(
    run_real: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, on the thread of the loop, never back, up to all of them."""
    monkeypatch.setattr(digests, "BLOCK", 100)
    monkeypatch.setattr(stage_file, "EVERY", 0.0)
    seen: list[StageProgress] = []
    run_real(verify(FileStager(), model, seen=seen))
    done = [one.done for one in seen]
    assert done == sorted(done)
    assert done[:2] == [100, 200]
    assert len(done) > SIZE // 100
    assert seen[-1] == StageProgress(SIZE, SIZE)
    assert {one.total for one in seen} == {SIZE}


def test_a_file_that_changes_meanwhile_is_refused_for_now(
    run_real: Run, model: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS: still being copied. That may heal, and nothing of it is remembered."""

    def grows(paths: Sequence[str], seen: digests.Seen) -> str:
        digest = read_digest(paths, seen)
        with model.open("ab") as file:
            file.write(b"more")
        return digest

    stager = FileStager()
    monkeypatch.setattr(stage_file, "read_digest", grows)
    with pytest.raises(DriverError, match="changed while its digest was read") as caught:
        run_real(verify(stager, model))
    assert caught.value.cause.heals
    monkeypatch.setattr(stage_file, "read_digest", read_digest)
    with pytest.raises(DriverError, match="is not the model that was declared"):
        run_real(verify(stager, model))


def test_a_file_that_grows_for_ever_is_not_read_for_ever(
    run_real: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ends when there is more than there was."""

    def endless(path: str, seen: digests.Seen) -> str:
        while True:
            seen(1)

    monkeypatch.setattr(digests, "_of_file", endless)
    with pytest.raises(DriverError, match="changed while its digest was read"):
        run_real(verify(FileStager(), model))


def test_a_cancelled_staging_stops_reading(
    run_real: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next block, while the caller is free at once; and no progress comes after that."""
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[StageProgress] = []
    read_on: list[str] = []

    def slow(path: str, tell: digests.Seen) -> str:
        began.set()
        go_on.wait(60)
        try:
            tell(1)
            read_on.append(path)
        finally:
            ended.set()
        return ""

    async def program() -> None:
        monkeypatch.setattr(digests, "_of_file", slow)
        staging = asyncio.ensure_future(verify(FileStager(), model, seen=seen))
        await until(began.is_set)
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        go_on.set()
        await until(ended.is_set)
        await asyncio.sleep(0)
        assert seen == []
        assert read_on == []

    run_real(program())


def test_cancelling_one_harms_no_other(run_real: Run, model: Path) -> None:
    """Two pools with one model."""

    async def program() -> None:
        stager = FileStager()
        one, two = (asyncio.ensure_future(verify(stager, model)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert (await two).digest == DIGEST
        with pytest.raises(asyncio.CancelledError):
            await one

    run_real(program())
