"""The conformance check for model stagers finds each broken promise, and passes a stager without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import ModelInfo, StagedModel, StageProgress
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.check_model_stager import check_model_stager
from pool_lifecycle.testing.memory import MemoryStager, StageScript

GOOD, MISSING = "mem:good", "mem:missing"

Progress = Callable[[StageProgress], None]


class Sound:
    """Keeps every promise; the broken ones below break one each."""

    stage_of_errors = Stage.STAGING
    size = 10

    async def resolve(self, *, reference: str) -> ModelInfo:
        if reference == MISSING:
            cause = Cause(FailureClass.STAGING, self.stage_of_errors, "no such model")
            raise DriverError("sound", cause)
        return ModelInfo(reference, "good", self.size)

    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        info = await Sound.resolve(self, reference=reference)
        await asyncio.sleep(1)
        self.report(progress)
        return StagedModel(info.reference, "/memory/good", 10)

    async def evict(self, *, model: StagedModel) -> bool:
        return False

    def report(self, progress: Progress) -> None:
        progress(StageProgress(5, 10))
        progress(StageProgress(10, 10))


class Invents(Sound):
    async def resolve(self, *, reference: str) -> ModelInfo:
        return ModelInfo(reference, "x")


class RaisesItsOwn(Sound):
    async def resolve(self, *, reference: str) -> ModelInfo:
        if reference == MISSING:
            raise FileNotFoundError
        return await super().resolve(reference=reference)


class BlamesTheRun(Sound):
    stage_of_errors = Stage.RUN


class Renames(Sound):
    async def resolve(self, *, reference: str) -> ModelInfo:
        return evolve(await super().resolve(reference=reference), reference="other")


class Nameless(Sound):
    async def resolve(self, *, reference: str) -> ModelInfo:
        return evolve(await super().resolve(reference=reference), name="")


class Incomplete(Sound):
    size = 11


class Relative(Sound):
    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        return evolve(await super().stage(reference=reference, digest=digest, progress=progress), path="good")


class GoesBack(Sound):
    def report(self, progress: Progress) -> None:
        progress(StageProgress(10, 10))
        progress(StageProgress(5, 10))


class StopsShort(Sound):
    def report(self, progress: Progress) -> None:
        progress(StageProgress(9, 10))


class Overflows(Sound):
    def report(self, progress: Progress) -> None:
        progress(StageProgress(10, 9))


class ReportsFromAThread(Sound):
    def report(self, progress: Progress) -> None:
        thread = threading.Thread(target=super().report, args=(progress,))
        thread.start()
        thread.join()


class SwallowsCancellation(Sound):
    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        try:
            return await super().stage(reference=reference, digest=digest, progress=progress)
        except asyncio.CancelledError:
            return StagedModel(reference, "/memory/good", 10)


class Changes(Sound):
    count = 0

    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        self.count += 1
        return evolve(
            await super().stage(reference=reference, digest=digest, progress=progress), path=f"/{self.count}"
        )


class DropsOthers(Sound):
    """Cancelling one of several ends the work of all."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[StagedModel]] = []

    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        task = asyncio.ensure_future(super().stage(reference=reference, digest=digest, progress=progress))
        self.tasks.append(task)
        try:
            return await task
        except asyncio.CancelledError:
            for other in self.tasks:
                other.cancel()
            raise


class FetchesEach(Sound):
    """Whoever asks has it fetched anew."""

    count = 0

    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        FetchesEach.count += 1
        return await super().stage(reference=reference, digest=digest, progress=progress)


DIGEST = "sha256:" + "0a" * 32


class Verifies(Sound):
    heals = False

    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        if digest not in (None, DIGEST):
            cause = Cause(FailureClass.STAGING, Stage.STAGING, "another digest", heals=self.heals)
            raise DriverError("sound", cause)
        staged = await super().stage(reference=reference, digest=digest, progress=progress)
        return evolve(staged, digest=digest)


class HopesForAnother(Verifies):
    heals = True


class EvictsTwice(Sound):
    async def evict(self, *, model: StagedModel) -> bool:
        return True


class NoStager(Sound):
    evict = None  # type: ignore[assignment]


def examine(make: Callable[[], Sound]) -> None:
    virtual_time.run(check_model_stager(make, reference=GOOD, missing=MISSING, on_disk=False))


def test_a_sound_stager_passes() -> None:
    """No promise is asked for that a plain stager does not keep."""
    examine(Sound)


def test_the_memory_stager_passes() -> None:
    """The memory driver keeps the promises of the real ones, in virtual time."""
    script = StageScript(takes=60, steps=7)
    virtual_time.run(
        check_model_stager(
            lambda: MemoryStager({GOOD: 1000}, script), reference=GOOD, missing=MISSING, on_disk=False
        )
    )


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (NoStager, "has the methods"),
        (Invents, "raises DriverError for a missing model, it does not return"),
        (RaisesItsOwn, "raises DriverError for a missing model, not FileNotFoundError"),
        (BlamesTheRun, "in the stage staging"),
        (Renames, "resolve keeps the reference"),
        (Nameless, "has a name"),
        (Incomplete, "the staged size is the resolved one"),
        (Relative, "absolute path"),
        (GoesBack, "never goes back"),
        (StopsShort, "ends with all 10 bytes"),
        (Overflows, "never goes beyond its total"),
        (ReportsFromAThread, "from the thread of the caller's loop"),
        (SwallowsCancellation, "lets CancelledError pass"),
        (Changes, "twice gives the same"),
        (EvictsTwice, "removes nothing the second time"),
        (DropsOthers, "harms none of the others"),
    ],
)
def test_a_broken_promise_is_named(make: Callable[[], Sound], promise: str) -> None:
    """Each broken promise is told in its own sentence."""
    with pytest.raises(AssertionError, match=promise):
        examine(make)


def test_a_model_fetched_for_each_who_asks_is_found_out() -> None:
    """By whoever counts."""
    with pytest.raises(AssertionError, match="fetched once"):
        virtual_time.run(
            check_model_stager(
                FetchesEach, reference=GOOD, missing=MISSING, on_disk=False, fetches=lambda: FetchesEach.count
            )
        )


@pytest.mark.parametrize(
    ("make", "promise"),
    [(Sound, "of another digest is refused"), (HopesForAnother, "does not heal"), (Verifies, None)],
)
def test_a_digest_is_verified(make: Callable[[], Sound], promise: str | None) -> None:
    """Of stagers that say so: the wrong one is refused for good, the right one is honoured."""
    check = check_model_stager(make, reference=GOOD, missing=MISSING, on_disk=False, digest=DIGEST)
    if promise is None:
        virtual_time.run(check)
        return
    with pytest.raises(AssertionError, match=promise):
        virtual_time.run(check)


@pytest.mark.parametrize(
    ("content", "removed", "promise"),
    [
        (None, False, "can be read"),
        (b"short", False, "is complete"),
        (b"0123456789", True, "exactly if it removed"),
    ],
)
def test_a_broken_promise_on_disk_is_named(
    tmp_path: Path, content: bytes | None, removed: bool, promise: str
) -> None:
    """The file has to be there, whole, and to stay unless evicting says that it went."""
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)

    class OnDisk(Sound):
        async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
            return evolve(
                await super().stage(reference=reference, digest=digest, progress=progress), path=str(path)
            )

        async def evict(self, *, model: StagedModel) -> bool:
            return removed

    with pytest.raises(AssertionError, match=promise):
        virtual_time.run(check_model_stager(OnDisk, reference=GOOD, missing=MISSING))
