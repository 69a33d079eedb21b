"""Steps about sources of models: what they have, how they send it, and what was asked of them."""

from __future__ import annotations

import asyncio
import os
import threading

from features.chronicle import is_launch
from features.vocabulary import given, then, when
from features.world import CHAT, PATIENCE, World
from pool_lifecycle import Drivers, Interface
from pool_lifecycle import Models as Room
from pool_lifecycle.interfaces import StagedModel
from pool_lifecycle.model_records import ModelStaged
from pool_lifecycle_drivers.stage_fsspec import FsspecStager
from tests.hostile_models import Models, Page, serving

PATH = "/model.bin"
SIZE = 3 * 2**20


def source(world: World, page: Page) -> Page:
    """A source on this host that has one model, and a pool that wants it."""
    models = world.until_closed.enter_context(serving({PATH: page}))
    world.notes["source"] = models
    world.declare(model=f"{models.url}{PATH}")
    return page


def asked(world: World) -> Models:
    """What was asked of it."""
    found = world.notes["source"]
    assert isinstance(found, Models)
    return found


def staged(world: World) -> StagedModel:
    """What was told of the model once it was in place."""
    return next(one.model for one in world.chronicle.of(CHAT) if isinstance(one, ModelStaged))


@given("a model at a source")
def at_a_source(world: World) -> None:
    source(world, Page(os.urandom(SIZE)))


@given("a model at a source, and room for one like it")
async def with_room_for_one(world: World) -> None:
    source(world, Page(os.urandom(SIZE)))
    await world.manager.close()
    world.manager = world.make_manager(
        world.folder / "state",
        world.store,
        drivers=Drivers({Interface.MODEL_STAGER: {"fsspec": FsspecStager(grace=0.0)}}),
        models=Room(str(world.folder / "models"), 2 * SIZE - 1),
    )
    world.registry = world.manager.registry
    await world.manager.__aenter__()


@given("a model at a source that breaks off half way")
def breaks_off(world: World) -> None:
    source(world, Page(os.urandom(SIZE), cut=SIZE // 2))


@given("a model at a source, larger than the disk")
def too_large(world: World) -> None:
    source(world, Page(b"the begin of it", length=2**60))


@given("a model at a source that stops sending half way")
def stops_sending(world: World) -> None:
    source(world, Page(os.urandom(SIZE), cut=SIZE // 2, stall=threading.Event()))


@given("a chat model at a source")
def chat_model(world: World) -> None:
    from engine_kit.tiny_model import make_tiny_model  # noqa: PLC0415 - NumPy is slow to import

    source(world, Page(make_tiny_model(world.folder / "t.gguf").read_bytes()))


@when("the source works again and the pool is started")
async def works_again(world: World) -> None:
    asked(world).pages[PATH].cut = None
    asked(world).asked.clear()
    await world.attempt((await world.pool()).start())


@when("two pools that want it are started at once")
async def two_at_once(world: World) -> None:
    pools = [await world.pool(name) for name in (CHAT, "other")]
    await world.attempt(asyncio.gather(*(one.start() for one in pools)))


@when("two other pools come and go, each with a model of its own")
async def others_come_and_go(world: World) -> None:
    for name in ("second", "third"):
        asked(world).pages[f"/{name}"] = Page(os.urandom(SIZE))
        world.declare(model=f"{asked(world).url}/{name}")
        other = await world.pool(name)
        await other.start()
        await other.stop()
        await world.manager.remove(name)


@when("the pool is being started")
async def being_started(world: World) -> None:
    pool, page = await world.pool(), asked(world).pages[PATH]
    world.begin("start", pool.start())
    await asyncio.to_thread(page.stalled.wait, PATIENCE)


@then("people see that half of the model is there")
async def half_is_there(world: World) -> None:
    pool, page = await world.pool(), asked(world).pages[PATH]
    await world.until(lambda: (told := pool.status().staging) is not None and told.done == SIZE // 2)
    told = pool.status().staging
    assert told is not None
    assert told.total == SIZE
    assert page.stall is not None
    page.stall.set()


@then("both of them are ready")
def both_ready(world: World) -> None:
    assert world.error is None, repr(world.error)
    assert all(world.manager[name].status().ready for name in (CHAT, "other"))


@then("the model was fetched once")
def fetched_once(world: World) -> None:
    assert asked(world).ranges() == [""]


@then("only the missing half of the model was fetched")
def only_the_rest(world: World) -> None:
    assert asked(world).ranges() == [f"bytes={SIZE // 2}-"]


@then("nothing of the model was fetched")
def nothing_fetched(world: World) -> None:
    assert asked(world).count("GET") == 0


@then("there is one other model beside it")
def one_beside(world: World) -> None:
    assert len([*(world.folder / "models" / "blobs").iterdir()]) == 2


@then("the pool still has the very bytes that the source has")
@then("the engine is given the very bytes that the source has")
def the_very_bytes(world: World) -> None:
    with open(staged(world).path, "rb") as file:
        assert file.read() == asked(world).pages[PATH].content


@then("its size, kind and need of memory were told before the engine was launched")
def told_before_launch(world: World) -> None:
    told = list(world.chronicle.of(CHAT))
    launches = [at for at, one in enumerate(told) if is_launch(one)]
    model = next(one.model for one in told[: launches[0]] if isinstance(one, ModelStaged))
    assert model.details is not None
    assert model.details.architecture
    assert model.details.memory
    assert model.size == len(asked(world).pages[PATH].content)
