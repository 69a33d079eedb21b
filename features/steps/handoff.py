"""Steps about the handoff documents that ready pools write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from features.vocabulary import given, then
from features.world import World

KEYS = {"pool id": "pool_id", "replica id": "replica_id", "engine version": "engine_version"}
KEYS |= {"provisioning mode": "provisioning_mode", "device mask": "device_mask"}


def document(world: World) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(world.handoff_file.read_text())
    return read


@then("there is no handoff")
def none(world: World) -> None:
    assert not list((world.folder / "state" / "engines").iterdir())


@then('the handoff has the engine version "{version}"')
def has_version(world: World, version: str) -> None:
    assert document(world)["engine_version"] == version


@then('the handoff is that of "{pool}", for the devices "{mask}"')
def is_that_of(world: World, pool: str, mask: str) -> None:
    told = document(world)
    assert (told["pool_id"], told["device_mask"]) == (pool, mask), told


@then("the handoff says:")
async def says(world: World) -> None:
    status = (await world.pool()).status()
    values = {
        "url": status.url,
        "model": {"path": "/memory/chat.gguf"},
        "slots": status.slots,
        "flags": list(world.spec.engine.args),
    }
    rows = [world.table.headings, *(row.cells for row in world.table.rows)]
    wanted = {KEYS.get(name, name): values.get(name, told) for name, told in rows}
    assert document(world) == wanted, document(world)


@then("the handoff is written one fact to a line, indented")
def indented(world: World) -> None:
    lines = world.handoff_file.read_text().splitlines()
    for name in document(world):
        assert any(line.startswith(f'  "{name}": ') for line in lines), lines


@then('each of "{one}" and "{other}" has a handoff with its own name')
def each(world: World, one: str, other: str) -> None:
    for pool in (one, other):
        path = Path(world.manager.paths.handoff(pool))
        assert json.loads(path.read_text())["pool_id"] == pool


@given("somebody looks for the handoff the moment the registry says ready")
def look(world: World) -> None:
    async def watch() -> bool:
        async for change in world.manager.events():
            if change.data.get("ready"):
                return world.handoff_file.exists()
        return False

    world.begin("look", watch())


@then("the handoff was there")
async def was_there(world: World) -> None:
    await world.finish("look")
    assert world.answer is True
