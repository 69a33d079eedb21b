"""Steps about files that declare pools."""

from __future__ import annotations

import re

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle import config
from pool_lifecycle.errors import ConfigError

ENGINE = 'engine = { binary = "llama-server" }'


def write(world: World, text: str) -> None:
    (world.folder / "pools.toml").write_text(text)


async def read(world: World) -> config.Config:
    return config.load(world.folder / "pools.toml")


def refusal(world: World) -> ConfigError:
    assert isinstance(world.error, ConfigError), f"accepted: {world.answer!r}"
    return world.error


@given("a pools file:")
def pools_file(world: World) -> None:
    write(world, world.text)


@given('a pools file that says "{line}" about "{pool}"')
def says(world: World, line: str, pool: str) -> None:
    write(world, f"[pools.{pool}]\n{ENGINE}\n{line}\n")


@when("the file is read")
async def is_read(world: World) -> None:
    await world.attempt(read(world))


@when("the pools of the file are added")
async def are_added(world: World) -> None:
    for spec in (await read(world)).pools:
        await world.manager.add(spec)


@then('it is refused, naming the file, "{key}" and "{valid}"')
def refused(world: World, key: str, valid: str) -> None:
    (problem,) = refusal(world).problems
    assert (problem.file, problem.key) == (str(world.folder / "pools.toml"), key), problem
    assert valid in problem.valid, problem


@then("it is refused, naming {keys:Quoted}")
def refused_for(world: World, keys: str) -> None:
    wanted = re.findall(r'"([^"]+)"', keys)
    assert sorted(problem.key for problem in refusal(world).problems) == sorted(wanted)
