"""Following a log however it looks, and wherever it goes."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import ECHOES, Pattern
from pool_lifecycle.log_follower import KEPT, LONG, LOOK, SHOWN, LogFollower, size
from pool_lifecycle.redaction import without

CUDA = Pattern("CUDA error", FailureClass.CUDA)
FULL = Pattern("memory", FailureClass.DEVICE_OUT_OF_MEMORY)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "chat.log"


def follow(log: Path, begin: int = 0, patterns: tuple[Pattern, ...] = (FULL, CUDA)) -> LogFollower:
    return LogFollower(str(log), begin, patterns, ECHOES)


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def found(follower: LogFollower) -> list[str]:
    return [one.line for one in follower.findings]


def test_a_finding_is_made_when_its_line_has_been_written(log: Path) -> None:
    """With the time of the look; what was there before this launch is not its own."""
    log.write_text("CUDA error of yesterday\n")
    follower = follow(log, size(str(log)))
    assert follower.look(1.0) is None
    append(log, "hello\nCUDA error: 7\nbye\n")
    newest = follower.look(2.0)
    assert newest is not None
    assert (newest.at, newest.line, newest.pattern, newest.rank) == (2.0, "CUDA error: 7", CUDA, 1)
    assert follower.look(3.0) is newest
    assert follower.last_line == "bye"


def test_a_line_is_read_once_it_has_ended_or_the_engine_has(log: Path) -> None:
    """Half a line is no line, until nothing more can come."""
    follower = follow(log)
    append(log, "one\nCUDA er")
    assert follower.look(1.0) is None
    assert follower.last_line == "one"
    append(log, "ror: 7")
    assert follower.look(2.0) is None
    assert follower.look(3.0, final=True) is not None
    assert follower.last_line == "CUDA error: 7"


def test_of_each_pattern_the_latest_line_is_remembered(log: Path) -> None:
    """S19: bounded, and the root cause is not pushed out by what it leads to."""
    follower = follow(log)
    append(log, "no memory\n" + "CUDA error: 1\n" * 1000 + "CUDA error: 2\n")
    follower.look(1.0)
    assert found(follower) == ["no memory", "CUDA error: 2"]
    append(log, "no memory again\nCUDA error: 3\nno memory once more\n")
    newest = follower.look(2.0)
    assert found(follower) == ["CUDA error: 3", "no memory once more"]
    assert newest is follower.findings[-1]


def test_no_more_than_a_few_findings_are_kept(log: Path) -> None:
    """S19: however many patterns a profile has."""
    patterns = tuple(Pattern(f"<{number}>", FailureClass.EXIT) for number in range(3 * KEPT))
    follower = follow(log, patterns=patterns)
    append(log, "".join(f"{pattern.text}\n" for pattern in patterns))
    follower.look(1.0)
    assert found(follower) == [pattern.text for pattern in patterns[-KEPT:]]


@pytest.mark.parametrize("gone", [Path.unlink, lambda log: log.rename(log.with_suffix(".1"))])
def test_a_log_rotated_by_renaming_or_deleting_is_followed(log: Path, gone: object) -> None:
    """FAULTS: the engine goes on writing to the file it has open, wherever that is now."""
    follower = follow(log)
    with log.open("a") as engine:
        engine.write("ready\n")
        engine.flush()
        follower.look(1.0)
        assert callable(gone)
        gone(log)
        log.write_text("CUDA error of somebody else\n")
        engine.write("memory is gone\n")
        engine.flush()
        follower.look(2.0)
    assert found(follower) == ["memory is gone"]


def test_a_log_rotated_by_copying_and_emptying_is_read_from_its_begin(log: Path) -> None:
    """FAULTS: copytruncate."""
    log.write_text("x" * LONG + "\n" + "x" * (LONG + 1))
    follower = follow(log, LONG + 1)
    follower.look(1.0)
    log.write_text("")
    append(log, "CUDA error: 7\n")
    follower.look(2.0)
    assert found(follower) == ["CUDA error: 7"]
    assert (follower.begin, follower.end) == (0, 14)


def test_a_log_emptied_before_the_first_look_is_read_from_its_begin(log: Path) -> None:
    """What is there is from this launch."""
    log.write_text("new words\n")
    follower = follow(log, 5000)
    follower.look(1.0)
    assert follower.last_line == "new words"


def test_a_log_that_is_not_there_yet_is_found_later(log: Path) -> None:
    """Its launcher may make it only after the launch."""
    follower = follow(log)
    assert size(str(log)) == 0
    assert follower.look(1.0) is None
    assert follower.read(0, 10) == b""
    append(log, "CUDA error\n")
    assert follower.look(2.0) is not None
    assert follower.read(0, 4) == b"CUDA"


def a_pipe(log: Path) -> None:
    os.mkfifo(log)


def a_link(log: Path) -> None:
    (log.parent / "secret").write_text("CUDA error: password\n")
    log.symlink_to(log.parent / "secret")


def a_folder(log: Path) -> None:
    log.mkdir()


@pytest.mark.parametrize("make", [a_pipe, a_link, a_folder])
def test_what_is_no_plain_file_has_no_lines(log: Path, make: object) -> None:
    """FAULTS: a FIFO is not waited for, a link not followed; neither is held open."""
    assert callable(make)
    make(log)
    follower = follow(log)
    assert follower.look(1.0, final=True) is None
    assert follower.last_line == ""
    assert follower.read(0, 10) == b""


def counted(follower: LogFollower, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes one look reads."""
    real, sizes = os.pread, []

    def counting(fd: int, count: int, offset: int) -> bytes:
        raw = real(fd, count, offset)
        sizes.append(len(raw))
        return raw

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", counting)
        follower.look(1.0, final=True)
    return sum(sizes)


def test_of_a_flood_begin_and_end_are_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S19: a bounded look, whatever was written, that ends at the end."""
    append(log, "no memory\n" + "x\n" * LOOK + "CUDA error: 7\nthe end")
    follower = follow(log)
    assert counted(follower, monkeypatch) <= LOOK
    assert found(follower) == ["no memory", "CUDA error: 7"]
    assert follower.last_line == "the end"
    assert follower.end == size(str(log))


def test_half_a_line_after_a_gap_is_no_line(log: Path) -> None:
    """What stood before it, such as a quote, was passed over."""
    end = "CUDA error\n"
    append(log, "x\n" * LOOK + "she said " + end + "x" * (LOOK // 2 - len(end) - 1) + "\n")
    follower = follow(log)
    follower.look(1.0)
    assert follower.findings == ()
    assert follower.last_line == "x" * SHOWN


def test_a_line_of_a_gigabyte_is_passed_over(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS: a 1 GB line, of zeros: one bounded look, and the next line is a line again."""
    with log.open("wb") as file:
        file.write(b"first\n")
        file.truncate(2**30)
    follower = follow(log)
    assert counted(follower, monkeypatch) <= LOOK
    append(log, "CUDA error in the same line\nCUDA error: 7\n")
    follower.look(2.0)
    assert found(follower) == ["CUDA error: 7"]


def test_a_long_line_is_not_waited_for(log: Path) -> None:
    """It is read as far as it is, and the rest of it is no line of its own."""
    follower = follow(log)
    append(log, "memory " + "x" * LONG)
    assert follower.look(1.0) is not None
    append(log, " CUDA error\n")
    follower.look(2.0)
    (line,) = found(follower)
    assert len(line) == SHOWN
    append(log, "CUDA error: 7\n")
    follower.look(3.0)
    assert found(follower) == [line, "CUDA error: 7"]


def test_after_a_gap_a_talkative_engine_is_not_trusted(log: Path) -> None:
    """B-SUPER-x1: a prompt may have begun in what was passed over."""
    follower = follow(log)
    append(log, "prompt: 'hello'\n")
    follower.look(1.0)
    append(log, "x\n" * LOOK + "CUDA error: from a prompt\n")
    follower.look(2.0)
    assert follower.findings == ()


def test_what_is_shown_is_harmless_and_hides_secrets(log: Path) -> None:
    """S18: NUL, escapes and broken UTF-8 do not reach a terminal, and half a secret is not shown either."""
    secret = "s3cret" * 20
    follower = LogFollower(str(log), 0, (CUDA,), ECHOES, lambda text: text.replace(secret, "<hidden>"))
    log.write_bytes(b"\x1b[31mCUDA error\x00\xff\xfe\r\n" + b"x" * (SHOWN - 9) + secret.encode() + b"\n")
    newest = follower.look(1.0)
    assert newest is not None
    assert newest.line.isprintable()
    assert follower.last_line == "x" * (SHOWN - 9) + "<hidden>"


SECRET = "sup3r-secret-0123456789"


def hiding(log: Path, secret: str) -> LogFollower:
    return LogFollower(str(log), 0, (CUDA,), ECHOES, partial(without, {secret}))


@pytest.mark.parametrize("there", range(len(SECRET) + 1))
def test_no_piece_of_a_secret_is_shown_where_a_flood_is_cut(log: Path, there: int) -> None:
    """S18: nothing of a line is shown whose end was passed over."""
    lead = "x\n" * (LOOK // 4 - 50)
    line = "CUDA error: key=".rjust(LOOK // 2 - len(lead) - there)
    append(log, lead + line + SECRET + " " * LOOK)
    follower = hiding(log, SECRET)
    follower.look(1.0, final=True)
    assert follower.last_line == "x"
    assert follower.findings == ()


@pytest.mark.parametrize("there", [LONG, LONG + 1, 2 * LONG])
def test_no_piece_of_a_secret_longer_than_a_line_is_shown(log: Path, there: int) -> None:
    """S18: neither where a line is cut to be shown, nor where only so much of it has been written."""
    secret = "".join(map(str, range(LONG)))
    follower = hiding(log, secret)
    append(log, "CUDA error: " + secret[:there])
    follower.look(1.0)
    assert (follower.last_line, found(follower)) == ("CUDA error: <hidden>", ["CUDA error: <hidden>"])
    append(log, secret[there:] + "\nCUDA error: 7 " + secret + "\n")
    follower.look(2.0)
    assert found(follower) == ["CUDA error: 7 <hidden>"]


def test_last_words_that_end_within_a_secret_do_not_show_it(log: Path) -> None:
    """S18: an engine that was killed while it wrote one."""
    append(log, "key=" + SECRET[:9])
    follower = hiding(log, SECRET)
    follower.look(1.0, final=True)
    assert follower.last_line == "key=<hidden>"


def test_a_secret_need_not_be_text(log: Path) -> None:
    """S18: variables hold bytes, and an engine repeats them as they are."""
    log.write_bytes(b"key=\xffsecret\xfe!\n\0\n \n")
    follower = hiding(log, os.fsdecode(b"\xffsecret\xfe"))
    follower.look(1.0)
    assert follower.last_line == "key=<hidden>!"


def test_the_file_is_closed_with_its_follower(log: Path) -> None:
    """At most one descriptor an engine, and none that is left."""
    log.write_text("hello\n")

    def open_ones() -> set[str]:
        return {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}

    follower = follow(log)
    follower.look(1.0)
    assert str(log) in open_ones()
    del follower
    assert str(log) not in open_ones()


@pytest.fixture(scope="module")
def any_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "any.log"


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(0, 300))
def test_any_bytes_can_be_read_in_any_pieces(any_log: Path, pieces: list[bytes], begin: int) -> None:
    """Never an exception; all that is kept is printable and short; at the end everything has been read."""
    any_log.write_bytes(b"")
    follower = follow(any_log, begin)
    for piece in pieces:
        with any_log.open("ab") as file:
            file.write(piece)
        follower.look(1.0)
    follower.look(2.0, final=True)
    assert follower.end == size(str(any_log)) or follower.end == begin
    for line in (follower.last_line, *found(follower)):
        assert line.isprintable()
        assert len(line) <= SHOWN
