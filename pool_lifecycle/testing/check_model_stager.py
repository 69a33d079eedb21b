"""What every model stager promises, as one check.

    await check_model_stager(MyStager, reference="file:/models/a.gguf", missing="file:/nowhere")

Raises AssertionError with a sentence naming the broken promise.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

from pool_lifecycle.causes import Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import ModelInfo, ModelStager, StagedModel, StageProgress

SLACK = 10.0
"""Seconds within which a cancelled staging must have let go."""


async def check_model_stager(
    make: Callable[[], ModelStager],
    *,
    reference: str,
    missing: str,
    on_disk: bool = True,
    digest: str | None = None,
    fetches: Callable[[], int] | None = None,
) -> None:
    """Check a stager made by `make`.

    `reference` stands for a small model that can be staged, `missing` for none. `on_disk` False: the staged
    path names no real file (a stager for tests). `digest` is that of the model, to be given by stagers that
    verify; `fetches` tells how often the model's bytes have been asked for, by stagers that fetch them.
    """
    stager = make()
    assert isinstance(stager, ModelStager), "a model stager has the methods resolve, stage and evict"
    await _refuses(stager.resolve(reference=missing), "resolve")
    await _refuses(stager.stage(reference=missing, digest=None, progress=_ignore), "stage")
    await _cancelled(stager, reference)
    if digest is not None:
        await _verified(stager, reference, digest)
    info = _sound_info(await stager.resolve(reference=reference), reference)
    await _together(stager, info, fetches)
    model = await _staged(stager, info)
    again = await _staged(stager, info)
    assert again == model, f"staging a model twice gives the same, not {model} and {again}"
    _in_place(model, on_disk)
    await _evicted(stager, model, on_disk)


async def _verified(stager: ModelStager, reference: str, digest: str) -> None:
    """A wrong digest is refused for good, and does not stand in the way of the right one."""
    wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    try:
        staged = await stager.stage(reference=reference, digest=wrong, progress=_ignore)
    except DriverError as error:
        cause = error.cause
        assert cause.stage is Stage.STAGING, "a wrong digest is a failure of the stage staging"
        assert not cause.heals, "a wrong digest does not heal: somebody has to correct something"
    else:
        raise AssertionError(f"a model of another digest is refused, it does not return {staged!r}")
    staged = await stager.stage(reference=reference, digest=digest, progress=_ignore)
    assert staged.digest == digest, f"a staged model has the digest asked for, not {staged.digest}"
    await stager.evict(model=staged)


async def _together(stager: ModelStager, info: ModelInfo, fetches: Callable[[], int] | None) -> None:
    """Several ask at once, and one of them is cancelled."""
    before = 0 if fetches is None else fetches()
    asking = [asyncio.ensure_future(_staged(stager, info)) for _ in range(4)]
    await asyncio.sleep(0)
    asking[0].cancel()
    results = await asyncio.gather(*asking, return_exceptions=True)
    for result in results[1:]:
        assert not isinstance(result, asyncio.CancelledError), (
            "cancelling one of several who stage the same harms none of the others"
        )
        if isinstance(result, BaseException):
            raise result
    if fetches is not None:
        count = fetches() - before
        assert count <= 1, f"a model is fetched once however many ask for it, not {count} times"


async def _refuses(call: Awaitable[object], verb: str) -> None:
    try:
        result = await call
    except DriverError as error:
        cause = error.cause
        assert cause.stage is Stage.STAGING, f"{verb} fails in the stage staging, not {cause.stage}"
        assert cause.message, f"{verb} says what is wrong with a model"
    except Exception as error:
        raise AssertionError(f"{verb} raises DriverError for a missing model, not {error!r}") from error
    else:
        raise AssertionError(f"{verb} raises DriverError for a missing model, it does not return {result!r}")


async def _cancelled(stager: ModelStager, reference: str) -> None:
    staging = asyncio.ensure_future(stager.stage(reference=reference, digest=None, progress=_ignore))
    await asyncio.sleep(0)
    was_under_way = staging.cancel()
    await asyncio.wait((staging,), timeout=SLACK)
    assert staging.done(), f"a cancelled staging ends within {SLACK:g} s"
    assert staging.cancelled() is was_under_way, "a cancelled staging lets CancelledError pass"


def _sound_info(info: ModelInfo, reference: str) -> ModelInfo:
    assert isinstance(info, ModelInfo), f"resolve returns a ModelInfo, not {info!r}"
    assert info.reference == reference, f"resolve keeps the reference {reference!r}, not {info.reference!r}"
    assert info.name, "a resolved model has a name"
    assert info.size is None or info.size >= 0, f"a size is not negative, unlike {info.size}"
    return info


async def _staged(stager: ModelStager, info: ModelInfo) -> StagedModel:
    seen: list[StageProgress] = []
    threads: set[int] = set()

    def progress(step: StageProgress) -> None:
        seen.append(step)
        threads.add(threading.get_ident())

    model = await stager.stage(reference=info.reference, digest=None, progress=progress)
    assert isinstance(model, StagedModel), f"stage returns a StagedModel, not {model!r}"
    assert model.reference == info.reference, f"stage keeps the reference, not {model.reference!r}"
    assert info.size in {None, model.size}, f"the staged size is the resolved one, not {model.size}"
    _sound_progress(seen, model.size)
    assert threads <= {threading.get_ident()}, "progress is called from the thread of the caller's loop"
    return model


def _sound_progress(seen: list[StageProgress], size: int) -> None:
    done = [step.done for step in seen]
    assert done == sorted(done), f"progress never goes back, unlike {done}"
    assert not done or done[-1] == size, f"progress ends with all {size} bytes, not with {done[-1]}"
    assert all(step.total is None or step.done <= step.total for step in seen), (
        f"progress never goes beyond its total, unlike {seen}"
    )


def _in_place(model: StagedModel, on_disk: bool) -> None:
    assert os.path.isabs(model.path), f"a staged model has an absolute path, not {model.path!r}"
    if on_disk:
        assert os.access(model.path, os.R_OK), f"a staged model can be read at {model.path!r}"
    if on_disk and os.path.isfile(model.path):
        size = os.stat(model.path).st_size
        assert size == model.size, f"a staged file is complete: {model.size} bytes, not {size}"


async def _evicted(stager: ModelStager, model: StagedModel, on_disk: bool) -> None:
    removed = await stager.evict(model=model)
    assert isinstance(removed, bool), f"evict returns True or False, not {removed!r}"
    if on_disk:
        assert _exists(model) is not removed, "evict returns True exactly if it removed the model"
    assert await stager.evict(model=model) is False, "evicting a model twice removes nothing the second time"


def _exists(model: StagedModel) -> bool:
    return os.path.exists(model.path)


def _ignore(_: StageProgress) -> None:
    """A caller that does not care."""
