"""Models behind http, with a server that cuts, stalls, lies and redirects."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import StagedModel, StageProgress
from pool_lifecycle_drivers.fetch_http import HttpSource
from pool_lifecycle_drivers.fetch_source import Stopped, Trouble, Watch
from pool_lifecycle_drivers.stage_fsspec import FsspecStager
from tests.hostile_models import Models, Page, serving

pytestmark = pytest.mark.slow

Run = Callable[[Coroutine[Any, Any, Any]], Any]

CONTENT = hashlib.sha256(b"a model").digest() * 8192
"""256 KiB, in which no two places are alike for long."""

PATIENT = 20.0


@pytest.fixture
def models() -> Iterator[Models]:
    with serving() as served:
        yield served


@pytest.fixture
def stager(tmp_path: Path) -> Iterator[FsspecStager]:
    stager = FsspecStager(timeout=PATIENT)
    stager.keep_in(folder=str(tmp_path / "cache"), limit=None, in_use=frozenset)
    yield stager
    stager.cache.holds.close()


def stage(
    run_real: Run,
    stager: FsspecStager,
    url: str,
    digest: str | None = None,
    seen: list[StageProgress] | None = None,
) -> StagedModel:
    told: list[StageProgress] = [] if seen is None else seen
    staged = run_real(stager.stage(reference=url, digest=digest, progress=told.append))
    assert isinstance(staged, StagedModel)
    return staged


def refusal(run_real: Run, stager: FsspecStager, url: str) -> DriverError:
    with pytest.raises(DriverError) as caught:
        stage(run_real, stager, url)
    assert not [name for name in os.listdir(stager.cache.blobs) if name.startswith("sha256")]
    return caught.value


CUTS = [0, 1, 4095, 4096, 65535, 65536, 65537, 131072, len(CONTENT) - 1]


def test_a_body_cut_anywhere_is_gone_on_with(run_real: Run, stager: FsspecStager, models: Models) -> None:
    """FAULTS: cut at each chunk. One download goes through all cuts, and nothing is sent twice."""
    page = models.pages["/a.bin"] = Page(CONTENT)
    for cut in CUTS:
        page.cut = cut
        error = refusal(run_real, stager, models.url + "/a.bin")
        assert error.cause.heals
        assert f"cut off {len(CONTENT) - cut} bytes before its end" in error.cause.message
    page.cut = None
    assert Path(stage(run_real, stager, models.url + "/a.bin").path).read_bytes() == CONTENT
    assert models.ranges() == ["", "", *(f"bytes={cut}-" for cut in CUTS[1:])]


@pytest.mark.parametrize(
    "page",
    [
        Page(CONTENT, ranges=False),
        Page(CONTENT, tag='"2"'),
        Page(CONTENT, tag="", modified="Tue, 01 Jul 2025 00:00:00 GMT"),
        Page(CONTENT, tag='W/"1"'),
        Page(CONTENT, heads=False, tag='"2"'),
        Page(CONTENT[:99], tag='"2"'),
        Page(CONTENT, tag='"2"', ignores_condition=True),
    ],
    ids=["no ranges", "changed", "by date", "weak", "no HEAD", "changed and shorter", "condition ignored"],
)
def test_what_is_there_of_another_content_is_never_used(
    run_real: Run, stager: FsspecStager, models: Models, page: Page
) -> None:
    """FAULTS: content changed on resume, whatever the server can say about it."""
    models.pages["/a.bin"] = Page(bytes(len(CONTENT)), cut=1000)
    refusal(run_real, stager, models.url + "/a.bin")
    models.pages["/a.bin"] = page
    assert Path(stage(run_real, stager, models.url + "/a.bin").path).read_bytes() == page.content


def test_a_part_of_another_content_is_not_taken(models: Models) -> None:
    """A server that ignores the condition is found out by the validator of what it sends."""
    models.pages["/a.bin"] = Page(CONTENT, tag='"1"')
    source = HttpSource(models.url + "/a.bin")
    (file,) = source.look(Watch()).files
    models.pages["/a.bin"] = Page(CONTENT[::-1], tag='"2"', ignores_condition=True)
    body = source.open(file, 1000, Watch())
    assert (body.offset, body.validator) == (0, '"2"')
    body.close()


@pytest.mark.parametrize("tag", ['"1"', "", 'W/"1"'])
def test_by_its_date_a_download_is_gone_on_with(models: Models, tag: str) -> None:
    """A weak tag does not tell bytes apart; the time of the last change, with the size, does."""
    models.pages["/a.bin"] = Page(CONTENT, tag=tag, modified="Tue, 01 Jul 2025 00:00:00 GMT")
    source = HttpSource(models.url + "/a.bin")
    (file,) = source.look(Watch()).files
    assert file.validator == (tag if tag[:1] == '"' else "Tue, 01 Jul 2025 00:00:00 GMT")


def test_more_was_claimed_than_is_sent(run_real: Run, stager: FsspecStager, models: Models) -> None:
    """FAULTS: wrong length, too short."""
    models.pages["/a.bin"] = Page(CONTENT, length=len(CONTENT) + 7)
    assert "cut off 7 bytes before its end" in refusal(run_real, stager, models.url + "/a.bin").cause.message


def test_less_was_claimed_than_is_sent(run_real: Run, stager: FsspecStager, models: Models) -> None:
    """FAULTS: wrong length, too long. What is beyond the end is not read; the digest tells who is right."""
    models.pages["/a.bin"] = Page(CONTENT, length=len(CONTENT) - 7)
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    with pytest.raises(DriverError) as caught:
        stage(run_real, stager, models.url + "/a.bin", digest)
    assert not caught.value.cause.heals
    assert stage(run_real, stager, models.url + "/a.bin").size == len(CONTENT) - 7


def test_a_body_in_chunks_is_whole_or_refused(run_real: Run, stager: FsspecStager, models: Models) -> None:
    """Without a length, the last chunk says that it is whole."""
    page = models.pages["/a.bin"] = Page(CONTENT, chunked=True, cut=9999)
    assert refusal(run_real, stager, models.url + "/a.bin").cause.heals
    page.cut = None
    seen: list[StageProgress] = []
    assert Path(stage(run_real, stager, models.url + "/a.bin", seen=seen).path).read_bytes() == CONTENT
    assert seen[-1] == StageProgress(len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("status", "heals"),
    [
        (404, False),
        (410, False),
        (403, False),
        (500, True),
        (503, True),
        (429, True),
        (416, False),
        (418, False),
    ],
)
def test_answers_that_say_no(
    run_real: Run, stager: FsspecStager, models: Models, status: int, heals: bool
) -> None:
    """What the server can repair by itself heals; what somebody has to change does not."""
    stager.cache.prepare()
    models.pages["/a.bin"] = Page(status=status)
    cause = refusal(run_real, stager, models.url + "/a.bin").cause
    assert (cause.heals, str(status) in cause.message) == (heals, True)
    assert cause.remedy
    with pytest.raises(DriverError):
        run_real(stager.resolve(reference=models.url + "/a.bin"))


def test_an_answer_that_nothing_is_left_begins_anew(
    run_real: Run, stager: FsspecStager, models: Models
) -> None:
    """416 on resume: the content is shorter than what is there, or the server is confused."""
    models.pages["/a.bin"] = Page(CONTENT, cut=1000)
    refusal(run_real, stager, models.url + "/a.bin")
    source, watch = HttpSource(models.url + "/a.bin"), Watch()
    (file,) = source.look(watch).files
    models.pages["/a.bin"] = Page(CONTENT[:10])
    body = source.open(file, 1000, watch)
    assert (body.offset, body.size) == (0, 10)
    body.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(run_real: Run, stager: FsspecStager, models: Models, status: int) -> None:
    """The model keeps the name it was asked for by."""
    models.pages["/a.bin"] = Page(status=status, location="/deep/b.bin")
    models.pages["/deep/b.bin"] = Page(CONTENT)
    staged = stage(run_real, stager, models.url + "/a.bin")
    assert (Path(staged.path).name, staged.size) == ("a.bin", len(CONTENT))


@pytest.mark.parametrize("location", ["/a.bin", "ftp://127.0.0.1/a", "file:///etc/passwd", ""])
def test_redirects_that_lead_nowhere_are_refused(
    run_real: Run, stager: FsspecStager, models: Models, location: str
) -> None:
    """In a circle, or away from http."""
    stager.cache.prepare()
    models.pages["/a.bin"] = Page(status=302, location=location)
    error = refusal(run_real, stager, models.url + "/a.bin")
    assert not error.cause.heals


def test_a_token_is_taken_to_no_other_host(models: Models) -> None:
    """A store that is redirected to must not learn what the hub was told."""
    with serving({"/b.bin": Page(CONTENT)}) as other:
        models.pages["/a.bin"] = Page(status=302, location=other.url + "/b.bin")
        models.pages["/near.bin"] = Page(status=302, location="/c.bin")
        models.pages["/c.bin"] = Page(CONTENT)
        HttpSource(models.url + "/a.bin", {"Authorization": "Bearer t"}).look(Watch())
        HttpSource(models.url + "/near.bin", {"Authorization": "Bearer t"}).look(Watch())
    assert "authorization" not in other.asked[0].headers
    assert [one.headers.get("authorization") for one in models.asked] == ["Bearer t"] * 3


def test_nothing_is_taken_that_was_packed_on_the_way(
    run_real: Run, stager: FsspecStager, models: Models
) -> None:
    """Its length and digest would be those of something else."""
    models.pages["/a.bin"] = Page(CONTENT, encoding="gzip")
    cause = refusal(run_real, stager, models.url + "/a.bin").cause
    assert "compressed" in cause.message
    assert not cause.heals


def test_a_source_that_stalls_is_given_up(
    run_real: Run, tmp_path: Path, stager: FsspecStager, models: Models
) -> None:
    """FAULTS: stall. What came before is gone on with."""
    page = models.pages["/a.bin"] = Page(CONTENT, cut=5000, stall=threading.Event())
    hasty = FsspecStager(timeout=0.5)
    hasty.keep_in(folder=stager.cache.folder, limit=None, in_use=frozenset)
    cause = refusal(run_real, hasty, models.url + "/a.bin").cause
    assert cause.heals
    assert "stalled: nothing came for 0.5 s" in cause.message
    assert page.stall is not None
    page.stall.set()
    page.cut = None
    assert Path(stage(run_real, stager, models.url + "/a.bin").path).read_bytes() == CONTENT


def test_a_cancelled_read_ends_at_once(run_real: Run, stager: FsspecStager, models: Models) -> None:
    """The thread is woken out of a read that would have lasted long, and gives its lock back."""
    stall = threading.Event()
    page = models.pages["/a.bin"] = Page(CONTENT, cut=5000, stall=stall)

    async def program() -> None:
        reference = models.url + "/a.bin"
        staging = asyncio.ensure_future(
            stager.stage(reference=reference, digest=None, progress=lambda _: None)
        )
        await asyncio.to_thread(page.stalled.wait, 60)
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        stall.set()
        models.pages["/a.bin"] = Page(CONTENT)
        await stager.stage(reference=reference, digest=None, progress=lambda _: None)

    run_real(program())


def test_nobody_listens(run_real: Run, stager: FsspecStager) -> None:
    """A refused connection may heal, and says so."""
    stager.cache.prepare()
    with socket.socket() as taken:  # bound, but not listening, so that nobody else is there
        taken.bind(("127.0.0.1", 0))
        cause = refusal(run_real, stager, f"http://127.0.0.1:{taken.getsockname()[1]}/a.bin").cause
    assert cause.heals
    assert "Connection refused" in cause.message


def test_all_parts_of_a_split_model_are_fetched(run_real: Run, stager: FsspecStager, models: Models) -> None:
    """Whichever of them is named; one that is missing means that none is there."""
    names = [f"m-0000{number}-of-00002.safetensors" for number in (1, 2)]
    models.pages[f"/x/{names[0]}"] = Page(b"\2\0\0\0\0\0\0\0{}")
    stager.cache.prepare()
    assert "404" in refusal(run_real, stager, f"{models.url}/x/{names[0]}").cause.message
    models.pages[f"/x/{names[1]}"] = Page(b"\3\0\0\0\0\0\0\0{} ")
    staged = stage(run_real, stager, f"{models.url}/x/{names[1]}")
    assert (Path(staged.path).name, staged.size) == (names[0], 21)


def test_secrets_in_a_url_are_not_told(models: Models) -> None:
    """A signed URL's query is as good as a password."""
    with pytest.raises(Trouble) as caught:
        HttpSource(models.url + "/a.bin?X-Signature=secret").look(Watch())
    assert "secret" not in caught.value.message


def test_a_watch_that_was_stopped_asks_nobody(models: Models) -> None:
    """A cancelled staging does not begin with the next request."""
    watch = Watch()
    watch.stop()
    with pytest.raises(Stopped):
        HttpSource(models.url + "/a.bin").look(watch)
    assert not models.asked
