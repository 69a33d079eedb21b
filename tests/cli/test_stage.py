"""The command that puts a model in place."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.cli import stage
from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.cli.stage import Wanted, bytes_of, run, usual_folder
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import InUse, ModelDetails, ModelInfo, StagedModel, StageProgress
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.references import Reference
from pool_lifecycle.transfer import Meter

GB = 2**30
DETAILS = ModelDetails("gguf", "llama", "Q4_K_M", 7_240_000_000, 8192, 6 * GB)
HERE, THERE = "file:/a.gguf", "https://host/a.gguf"
TOO_FULL = Cause(FailureClass.STAGING, Stage.STAGING, "the disk is \x1b[2J full", remedy="free some space")


class Stager:
    """Stages at once what it is told to, or waits for ever."""

    def __init__(
        self,
        *looks: StageProgress,
        details: ModelDetails | None = DETAILS,
        error: Cause | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        self.looks, self.details, self.error, self.then = looks, details, error, then
        self.asked: list[str | None] = []
        self.kept: tuple[str, int | None] | None = None

    def keep_in(self, *, folder: str, limit: int | None, in_use: InUse) -> None:
        assert in_use() == frozenset()
        self.kept = (folder, limit)

    async def resolve(self, *, reference: str) -> ModelInfo:
        return ModelInfo(reference, "a.gguf")

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        self.asked += [reference, digest]
        for look in self.looks:
            progress(look)
        if self.then is not None:
            self.then()
            await asyncio.Event().wait()
        if self.error is not None:
            raise DriverError("test", self.error)
        return StagedModel(reference, "/cache/a.gguf", int(4.7 * GB), digest, self.details)

    async def evict(self, *, model: StagedModel) -> bool:
        return False


def staged(stager: Stager, reference: str = HERE, *, as_json: bool = False, limit: int | None = None) -> int:
    """The exit code of the command with this stager."""
    drivers = Drivers({Interface.MODEL_STAGER: {"file": stager, "fsspec": stager}})
    return run(
        Wanted(Reference.parse(reference), "sha256:0", Path("cache"), limit), as_json=as_json, drivers=drivers
    )


def test_it_says_what_the_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    """One fact a line, for people."""
    assert staged(Stager()) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "path         /cache/a.gguf",
        f"size         4.7 GiB ({int(4.7 * GB)} bytes)",
        "digest       sha256:0",
        "format       gguf",
        "architecture llama",
        "quantisation Q4_K_M",
        "parameters   7.2 billion",
        "context      8192 tokens",
        "memory       about 6.0 GiB to serve it",
    ]


def test_what_nobody_knows_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """No empty lines, no `None`."""
    for details in (None, ModelDetails("")):
        staged(Stager(details=details))
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
            "path",
            "size",
            "digest",
        ]


def test_programs_get_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything, with nothing else on standard output."""
    assert staged(Stager(StageProgress(1, 2)), as_json=True) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["path"], found["size"]) == (True, "/cache/a.gguf", int(4.7 * GB))
    assert found["details"]["architecture"] == "llama"


@pytest.mark.parametrize("as_json", [True, False])
def test_what_cannot_be_staged_is_told_with_what_would_help(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a code of its own; a hostile message steers no terminal."""
    assert staged(Stager(error=TOO_FULL), as_json=as_json) == Exit.NO_MODEL
    said = capsys.readouterr()
    assert said.err == "the disk is \\x1b[2J full; free some space\n"
    if as_json:
        assert json.loads(said.out) == {
            "ok": False,
            "message": TOO_FULL.message,
            "remedy": "free some space",
            "heals": True,
        }


@pytest.mark.parametrize(
    ("reference", "looks", "says"),
    [
        (
            THERE,
            (StageProgress(1, 2),),
            "what was fetched so far is kept; the same command goes on from there",
        ),
        (THERE, (), "nothing was changed"),
        (HERE, (StageProgress(1, 2),), "nothing was changed"),
    ],
)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_can_be_gone_on_with(
    reference: str,
    looks: tuple[StageProgress, ...],
    says: str,
    signum: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C ends it in order, and it says what is left of it."""
    stager = Stager(*looks, then=lambda: os.kill(os.getpid(), signum))
    assert staged(stager, reference) == BY_SIGNAL + signum
    assert capsys.readouterr().err == f"{signum.name}: {says}\n"


def test_a_cache_is_told_where_and_how_much() -> None:
    """Before anything is staged."""
    stager = Stager()
    staged(stager, THERE, limit=3)
    assert stager.kept == (str(Path("cache").absolute()), 3)
    assert stager.asked == [THERE, "sha256:0"]


def shown(to: Console, *looks: tuple[float, int]) -> str:
    """What is shown of a transfer of 100 MiB, seen at these seconds."""

    async def main() -> None:
        meter = Meter("file:a", 0.0)
        with stage._showing(to, "file:a", lambda: now) as show:
            for now, done in looks:
                meter.look(now, done, 100 * 2**20)
                show(meter)

    asyncio.run(main())
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def test_a_pipe_gets_a_line_now_and_then() -> None:
    """At milestones, each complete in itself."""
    to = Console(file=io.StringIO(), width=20)
    looks = [(float(now), now * 5 * 2**20) for now in range(12)]
    assert shown(to, *looks).splitlines() == [
        "file:a: 25.0 of 100 MiB, 5.0 MiB/s, 15.0 s left",
        "file:a: 50.0 of 100 MiB, 5.0 MiB/s, 10.0 s left",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_gets_a_bar(width: int) -> None:
    """As wide as there is room beside the numbers; gone when it is over."""
    to = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    drawn = shown(to, (0.0, 0), (1.0, 50 * 2**20))
    line = next(one for one in drawn.replace("\r", "\n").splitlines() if "50.0 of 100 MiB" in one)
    assert "━" in line
    assert "50.0 MiB/s, 1.0 s left" in line
    assert len(line.removeprefix("\x1b[2K")) <= width


@pytest.mark.parametrize(
    ("text", "count"),
    [(None, None), ("17", 17), ("200GiB", 200 * GB), ("1.5 t", 1536 * GB), ("3KIB", 3072), ("0.5M", 2**19)],
)
def test_sizes_are_understood_as_people_write_them(text: str | None, count: int | None) -> None:
    """Whatever the case of the letters."""
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "GiB", "3q", "3GB3", "1e3", "٣", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Nor is nothing at all."""
    with pytest.raises(ValueError, match=r"^.*$"):
        bytes_of(text)


def test_the_usual_folder_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the convention for desktops."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_folder() == tmp_path / "pool-lifecycle" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert usual_folder() == Path("/home/me/.cache/pool-lifecycle/models")


# --- as typed -------------------------------------------------------------------------------------------


def invoke(*args: object) -> Result:
    """The command, as if typed."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["stage", *map(str, args)])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["https://"], "must say what is meant after ://"),
        (["/a.gguf", "--digest", "abc"], "must be sha256: and 64 hexadecimal digits"),
        (["/a.gguf", "--limit", "many"], "must be a size such as 200GiB"),
    ],
)
def test_a_wrong_command_line_is_explained(args: list[str], says: str) -> None:
    """Before anything is looked at."""
    result = invoke(*args)
    assert result.exit_code == Exit.USAGE
    assert says in result.stderr


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """With the real driver."""
    result = invoke(tmp_path / "none.gguf")
    assert result.exit_code == Exit.NO_MODEL
    assert "does not exist" in result.stderr


def test_a_file_on_this_host_is_checked(tmp_path: Path) -> None:
    """With the real driver: it stays where it is."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"x" * 2000)
    result = invoke(path, "--json")
    assert result.exit_code == Exit.OK
    found = json.loads(result.stdout)
    assert (found["path"], found["size"], found["digest"]) == (str(path), 2000, None)
