"""The stager for models that are already on this host."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.causes import FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import ModelInfo, StagedModel, StageProgress
from pool_lifecycle.testing.check_model_stager import check_model_stager
from pool_lifecycle_drivers import known_files
from pool_lifecycle_drivers.stage_file import FileStager
from tests.drivers.small_models import SMALL, folder, gguf, split

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def header(version: int = 3, tensors: int = 0, entries: int = 0, order: str = "<") -> bytes:
    return struct.pack(order + "4sIQQ", b"GGUF", version, tensors, entries)


SIZE = len(gguf())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "a model {port}%20.gguf"
    path.write_bytes(gguf())
    return path


def stage(reference: str, seen: list[StageProgress] | None = None) -> Coroutine[Any, Any, StagedModel]:
    reports: list[StageProgress] = [] if seen is None else seen
    return FileStager().stage(reference=reference, digest=None, progress=reports.append)


def refusal(run_real: Run, reference: str) -> DriverError:
    """The error of a reference, which is the same for resolving and for staging."""
    errors = []
    for call in (FileStager().resolve(reference=reference), stage(reference)):
        with pytest.raises(DriverError) as caught:
            run_real(call)
        errors.append(caught.value)
    assert errors[0].cause == errors[1].cause
    assert errors[0].cause.stage is Stage.STAGING
    assert errors[0].cause.kind is FailureClass.STAGING
    return errors[0]


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
def test_a_path_may_be_written_in_three_ways(run_real: Run, model: Path, form: str) -> None:
    """Plain, with file:, and as a file:// URL; the path itself is taken literally."""
    reference = form.format(model)
    assert run_real(stage(reference)) == StagedModel(reference, str(model), SIZE, None, SMALL)
    info = run_real(FileStager().resolve(reference=reference))
    assert info == ModelInfo(reference, model.name, SIZE, SMALL)


@pytest.mark.parametrize("form", ["{}", "file:{}"])
def test_a_relative_path_is_relative_to_the_current_folder(
    run_real: Run, model: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine gets an absolute path, so that its own folder makes no difference."""
    monkeypatch.chdir(model.parent)
    assert run_real(stage(form.format(model.name))).path == str(model)


def test_the_path_is_not_resolved_through_links(run_real: Run, model: Path, tmp_path: Path) -> None:
    """The parts of a split model lie beside the name that was given, not beside what it links to."""
    link = tmp_path / "folder" / "link.gguf"
    link.parent.mkdir()
    link.symlink_to(model)
    assert run_real(stage(str(link))) == StagedModel(str(link), str(link), SIZE, None, SMALL)


def test_progress_is_told_once_and_complete(run_real: Run, model: Path) -> None:
    """Nothing is copied: one report says that all is there."""
    seen: list[StageProgress] = []
    run_real(stage(str(model), seen))
    assert seen == [StageProgress(SIZE, SIZE)]


def test_other_formats_are_not_looked_into(run_real: Run, tmp_path: Path) -> None:
    """They may well be models, for all we know."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x08\0\0\0")
    assert run_real(stage(str(path))) == StagedModel(str(path), str(path), 4)


@pytest.mark.parametrize(
    "path", ["/nonexistent/model.gguf", "/etc/passwd/model.gguf", "/nonexistent/a\nb.gguf"]
)
def test_a_missing_file_does_not_heal(run_real: Run, path: str) -> None:
    """Somebody has to put it there; message and remedy name the path."""
    error = refusal(run_real, f"file:{path}")
    assert not error.cause.heals
    assert error.cause.message == f"{path!r} does not exist"
    assert repr(path) in error.cause.remedy


def test_a_folder_without_a_model_is_refused(run_real: Run, tmp_path: Path) -> None:
    """The remedy says to name a file in it."""
    error = refusal(run_real, str(tmp_path))
    assert "is a folder" in error.cause.message
    assert "name a model file" in error.cause.remedy
    assert not error.cause.heals


def test_a_folder_with_a_model_is_staged(run_real: Run, tmp_path: Path) -> None:
    """All its files together are the model."""
    path = folder(tmp_path / "m")
    staged = run_real(stage(f"file:{path}"))
    assert staged.path == str(path)
    assert staged.size == sum(one.stat().st_size for one in path.iterdir() if one.name != "README.md")
    assert staged.details.architecture == "LlamaForCausalLM"


def test_an_incomplete_folder_is_refused(run_real: Run, tmp_path: Path) -> None:
    """FAULTS: complete or not at all; the part that is missing is named."""
    path = folder(tmp_path / "m")
    (path / "model-00002-of-00002.safetensors").unlink()
    error = refusal(run_real, str(path))
    assert "'model-00002-of-00002.safetensors'" in error.cause.message
    assert not error.cause.heals


def test_a_split_model_is_all_its_parts(run_real: Run, tmp_path: Path) -> None:
    """The engine gets the first; a missing one is named."""
    first = split(tmp_path / "m")
    staged = run_real(stage(str(first)))
    assert staged.path == str(first)
    assert staged.size == sum(one.stat().st_size for one in tmp_path.iterdir())
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    assert "'m-00003-of-00003.gguf' is not there" in refusal(run_real, str(first)).cause.message


def test_a_part_lost_since_the_last_look_is_noticed(
    run_real: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of a model holds while all its files stay."""
    monkeypatch.setattr(known_files, "SETTLED_NS", -(10**15))
    stager, first = FileStager(), split(tmp_path / "m")
    run_real(stager.resolve(reference=str(first)))
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    with pytest.raises(DriverError, match=r"'m-00003-of-00003\.gguf' is not there"):
        run_real(stager.resolve(reference=str(first)))


def test_a_truncated_model_is_refused(run_real: Run, tmp_path: Path) -> None:
    """A download cut off among the tensors crashes every engine; how much is missing is told."""
    (tmp_path / "m.gguf").write_bytes(gguf()[:-300])
    error = refusal(run_real, str(tmp_path / "m.gguf"))
    assert "bytes of its tensors are missing" in error.cause.message
    assert not error.cause.heals


def test_an_empty_file_is_refused(run_real: Run, tmp_path: Path) -> None:
    """A download that never began is not a model."""
    (tmp_path / "m.gguf").touch()
    assert "is empty" in refusal(run_real, str(tmp_path / "m.gguf")).cause.message


@pytest.mark.parametrize("content", [b"GGU", b"version https://git-lfs", b"\0\0\0\0"])
def test_a_gguf_name_without_gguf_inside_is_refused(run_real: Run, tmp_path: Path, content: bytes) -> None:
    """A pointer or an error page under a model's name is found before the engine starts."""
    (tmp_path / "M.GGUF").write_bytes(content)
    error = refusal(run_real, str(tmp_path / "M.GGUF"))
    assert "is not a GGUF file" in error.cause.message
    assert not error.cause.heals


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GGUF", "ends within its header, after 4 bytes"),
        (header()[:-1], "ends within its header, after 23 bytes"),
        (header(tensors=291, entries=25), "counts 291 tensors and 25 entries, which 24 bytes cannot hold"),
        (header(entries=6) + b"x" * 77, "counts 0 tensors and 6 entries, which 101 bytes cannot hold"),
        (header(tensors=4, order=">") + b"x" * 95, "counts 4 tensors and 0 entries"),
        (header(version=0), "no version of GGUF is numbered 00 00 00 00"),
        (b"GGUF" + b"x" * 96, "no version of GGUF is numbered 78 78 78 78"),
    ],
)
def test_a_damaged_header_is_refused(run_real: Run, tmp_path: Path, content: bytes, words: str) -> None:
    """A download cut off in the header crashes every engine, so no launch is tried and no retry."""
    (tmp_path / "m.gguf").write_bytes(content)
    error = refusal(run_real, str(tmp_path / "m.gguf"))
    assert "is damaged: " in error.cause.message
    assert words in error.cause.message
    assert not error.cause.heals


@pytest.mark.parametrize(
    "content",
    [
        header(),
        gguf(),
        gguf(order=">"),
        gguf(version=2),
        header(1, tensors=2**63),
        header(4) + b"x" * 100,
        header(entries=1) + bytes(8) + b"\xff" * 20,
    ],
    ids=range(7),
)
def test_a_sound_header_is_accepted(run_real: Run, tmp_path: Path, content: bytes) -> None:
    """Of every version and byte order; what we do not understand is for the engine to judge."""
    (tmp_path / "m.gguf").write_bytes(content)
    assert run_real(stage(str(tmp_path / "m.gguf"))).size == len(content)


def test_a_fifo_is_refused_without_waiting_for_its_writer(run_real: Run, tmp_path: Path) -> None:
    """A pipe would be waited for, for ever."""
    os.mkfifo(tmp_path / "m.gguf")
    assert "is not a regular file" in refusal(run_real, str(tmp_path / "m.gguf")).cause.message


def test_a_device_and_a_socket_are_refused(run_real: Run, tmp_path: Path) -> None:
    """What is not a regular file is not a model."""
    assert "is not a regular file" in refusal(run_real, "/dev/zero").cause.message
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "m.gguf"))
        assert not refusal(run_real, str(tmp_path / "m.gguf")).cause.heals


@pytest.mark.parametrize(
    ("number", "heals"),
    [(errno.EACCES, False), (errno.ELOOP, False), (errno.EIO, True), (errno.EMFILE, True)],
)
def test_an_unreadable_file_heals_only_if_it_may_by_itself(
    run_real: Run, model: Path, monkeypatch: pytest.MonkeyPatch, number: int, heals: bool
) -> None:
    """Missing permission stays; a disk error or a lack of descriptors may pass."""

    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fails)
    error = refusal(run_real, str(model))
    assert error.cause.heals is heals
    assert repr(str(model)) in error.cause.message


@pytest.mark.parametrize(
    "reference", ["", "file:", "https://host/m.gguf", "file://host/m.gguf", "a\0b", "s3://b/m"]
)
def test_a_reference_that_is_no_local_path_is_refused(run_real: Run, reference: str) -> None:
    """Another scheme, another host or nothing at all is told as such."""
    error = refusal(run_real, reference)
    assert not error.cause.heals
    assert (
        "is not a file on this host" in error.cause.message or "is no model reference" in error.cause.message
    )


def test_a_disk_that_hangs_does_not_stop_the_loop(
    run_real: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is looked at in a thread, and cancelling does not wait for it."""
    release, real_open = threading.Event(), os.open

    def hangs(path: str, flags: int) -> int:
        release.wait(30)
        return real_open(path, flags)

    async def program() -> None:
        monkeypatch.setattr(os, "open", hangs)
        staging = asyncio.ensure_future(stage(str(model)))
        await asyncio.sleep(0)
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        release.set()

    run_real(program())


def test_evict_never_removes_the_users_file(run_real: Run, model: Path) -> None:
    """The file was there before and stays."""
    assert run_real(FileStager().evict(model=run_real(stage(str(model))))) is False
    assert model.exists()


def test_it_keeps_the_promises_of_a_model_stager(run_real: Run, model: Path) -> None:
    """The public conformance check."""
    run_real(check_model_stager(FileStager, reference=f"file:{model}", missing="file:/nonexistent/m.gguf"))
