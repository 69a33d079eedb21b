"""A pool's handoff document is as it was last wished for, however slow the disk is."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from pool_lifecycle import handoff
from pool_lifecycle.handing_off import HandingOff
from pool_lifecycle.handoff import Handoff

ONE, TWO = (Handoff("chat", "0", "generic", f"http://{name}", 1) for name in ("one", "two"))


class SlowDisk:
    """Lets a write go on when it is told to: just before the document is in its place, or just after."""

    def __init__(self, patch: pytest.MonkeyPatch, *, after: bool) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        write = Handoff.write

        def slowly(document: Handoff, path: str) -> None:
            if after:
                write(document, path)
            self.began.set()
            assert self.go_on.wait(60)
            if not after:
                write(document, path)

        patch.setattr(Handoff, "write", slowly)

    async def has_begun(self) -> None:
        """Return once a write is under way."""
        await asyncio.to_thread(self.began.wait, 60)


@pytest.fixture
def document(tmp_path: Path) -> HandingOff:
    """The document of a pool that nothing has been written of."""
    return HandingOff(str(tmp_path / "chat.json"))


@pytest.mark.parametrize("after", [False, True])
def test_a_withdrawal_in_the_middle_of_a_write_wins(
    document: HandingOff, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """B-PRELOAD-020: what has been withdrawn is not there; and the withdrawal waits for no disk."""
    disk = SlowDisk(monkeypatch, after=after)

    async def main() -> None:
        writing = asyncio.ensure_future(document.write(ONE, document.wish()))
        await disk.has_begun()
        document.withdraw()
        assert not writing.done()
        disk.go_on.set()
        await writing

    asyncio.run(main())
    assert not document.exists


def test_the_last_wish_counts_and_they_do_not_write_at_once(
    document: HandingOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes later waits for the one before, and is there in the end."""
    disk = SlowDisk(monkeypatch, after=False)

    async def main() -> None:
        first = asyncio.ensure_future(document.write(ONE, document.wish()))
        await disk.has_begun()
        second = asyncio.ensure_future(document.write(TWO, document.wish()))
        disk.go_on.set()
        await asyncio.gather(first, second)
        assert await document.url() == TWO.url

    asyncio.run(main())


def test_what_was_wished_for_before_a_withdrawal_is_not_written_after_it(document: HandingOff) -> None:
    """It took long to find out what is to be in it."""

    async def main() -> None:
        wish = document.wish()
        document.withdraw()
        await document.write(ONE, wish)

    asyncio.run(main())
    assert not document.exists


def test_a_document_that_is_wished_for_anew_is_written(document: HandingOff) -> None:
    """After a withdrawal, too."""

    async def main() -> str | None:
        document.withdraw()
        await document.write(ONE, document.wish())
        return await document.url()

    assert asyncio.run(main()) == ONE.url
    assert handoff.url_at(document.path) == ONE.url


def test_who_is_cancelled_leaves_nobody_writing(
    document: HandingOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread goes on; whoever waited for it goes when it has ended, so that the next one is alone."""
    disk = SlowDisk(monkeypatch, after=False)

    async def main() -> None:
        writing = asyncio.ensure_future(document.write(ONE, document.wish()))
        await disk.has_begun()
        writing.cancel()
        await asyncio.wait((writing,), timeout=0.05)
        assert not writing.done()
        disk.go_on.set()
        await asyncio.wait((writing,))
        assert writing.cancelled()

    asyncio.run(main())
    assert document.exists
